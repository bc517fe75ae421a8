//! Waits for the first event of a response. Its status and headers are held until some content has arrived: a provider
//! that starts a response and then fails can still be replaced. What arrives meanwhile is buffered within bounds and
//! goes out with the rest.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header, response::Parts};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt as _;
use proxyxai_contract::clock::Clock;

use super::{attempt::AttemptFailure, call::Call, upstream_client::UpstreamBody};
use crate::formats::{
    error_classifier::{ClassifiedRefusal, classify_embedded},
    first_event::{FirstEvent, error_instead, may_become_error},
    sse::{self, EventCutter},
};

/// Bytes held of a stream without content yet. Some providers repeat the whole request first, twice; a longer stream is
/// forwarded as it is.
const HELD_BYTES_MAX: usize = 256 * 1024;
/// Approximate cost of a held frame beside its bytes.
const FRAME_BYTES: usize = 64;
/// A longer body, or one in more pieces, is not an error in place of a response.
const ERROR_BYTES_MAX: usize = 64 * 1024;
const ERROR_PIECES_MAX: usize = 32;

const EVENT_STREAM: &[u8] = b"text/event-stream";

/// A response whose head has arrived.
pub(super) struct ResponseHead {
    pub(super) parts: Parts,
    /// Frames that were read to see what it is.
    pub(super) read: VecDeque<Frame<Bytes>>,
    pub(super) body: UpstreamBody,
}

impl ResponseHead {
    pub(super) fn new(parts: Parts, rest: UpstreamBody) -> Self {
        Self {
            parts,
            read: VecDeque::new(),
            body: rest,
        }
    }

    pub(super) fn is_refusal(&self) -> bool {
        self.parts.status.is_client_error() || self.parts.status.is_server_error()
    }

    /// Waits until it is a response for the client.
    pub(super) async fn wait_for_first_event(
        &mut self,
        call: &Call,
        silence: Duration,
        clock: &Clock,
    ) -> Result<(), AttemptFailure> {
        if !call.is_metered() || !self.parts.status.is_success() {
            return self.first().await;
        }
        if is_event_stream(&self.parts.headers) && call.request.route.has_events() {
            return self.first_events(silence, clock).await;
        }
        self.first().await?;
        self.first_is_no_error(silence, clock).await
    }

    /// Reads on while the body may still be an error in place of a response.
    async fn first_is_no_error(
        &mut self,
        silence: Duration,
        clock: &Clock,
    ) -> Result<(), AttemptFailure> {
        let first = self.read.front().and_then(Frame::data_ref);
        let mut body = first.cloned().unwrap_or_default();
        for _ in 0..ERROR_PIECES_MAX {
            if body.len() > ERROR_BYTES_MAX {
                break;
            }
            if error_instead(&body) {
                return self.failed_within(&body, clock).map_or(Ok(()), Err);
            }
            if self.body.is_end_stream() || !may_become_error(&body) {
                break;
            }
            let Some(frame) = self.next(silence).await? else {
                break;
            };
            let more = frame.data_ref().map_or(&[][..], AsRef::as_ref);
            body = [&body, more].concat().into();
            self.read.push_back(frame);
        }
        Ok(())
    }

    /// Returns the next frame, or `None` at the end.
    async fn next(&mut self, silence: Duration) -> Result<Option<Frame<Bytes>>, AttemptFailure> {
        match tokio::time::timeout(silence, self.body.frame()).await {
            Ok(Some(Ok(frame))) => Ok(Some(frame)),
            Ok(Some(Err(_))) => Err(broke_off()),
            Ok(None) => Ok(None),
            Err(_) => {
                let reason = "the provider fell silent before it answered";
                Err(AttemptFailure::transport(
                    StatusCode::GATEWAY_TIMEOUT,
                    reason,
                ))
            }
        }
    }

    /// Waits for the first frame.
    async fn first(&mut self) -> Result<(), AttemptFailure> {
        if self.body.is_end_stream() {
            return Ok(());
        }
        match self.body.frame().await {
            Some(Err(_)) => Err(broke_off()),
            first => {
                self.read.extend(first.into_iter().flatten());
                Ok(())
            }
        }
    }

    /// Waits for the first event with content.
    async fn first_events(
        &mut self,
        silence: Duration,
        clock: &Clock,
    ) -> Result<(), AttemptFailure> {
        let (mut events, mut held) = (EventCutter::new(), 0usize);
        while held < HELD_BYTES_MAX && !self.body.is_end_stream() {
            let Some(frame) = self.next(silence).await? else {
                return Ok(());
            };
            let data = frame.data_ref().cloned().unwrap_or_default();
            held = held.saturating_add(data.len()).saturating_add(FRAME_BYTES);
            self.read.push_back(frame);
            let Some(run) = events.push(data) else {
                continue;
            };
            for event in sse::events(&run) {
                match FirstEvent::of(event) {
                    FirstEvent::Prelude => {}
                    FirstEvent::Answer => return Ok(()),
                    FirstEvent::Error(error) => {
                        return self.failed_within(&error, clock).map_or(Ok(()), Err);
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns the failure that an error in place of a response stands for, or `None` if the client is to see it.
    fn failed_within(&self, error: &[u8], clock: &Clock) -> Option<AttemptFailure> {
        let header = |name: &str| self.parts.headers.get(name)?.to_str().ok();
        let (status, ClassifiedRefusal { verdict, reason }) =
            classify_embedded(&header, error, clock.now())?;
        Some(AttemptFailure {
            silence: None,
            connect_failure: None,
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY),
            reason,
            verdict,
        })
    }
}

fn broke_off() -> AttemptFailure {
    let reason = "the provider broke off before it answered";
    AttemptFailure::transport(StatusCode::BAD_GATEWAY, reason)
}

/// Whether a response is an event stream that can be read.
pub(super) fn is_event_stream(headers: &HeaderMap) -> bool {
    let is = |value: &http::HeaderValue| {
        let start = value.as_bytes().get(..EVENT_STREAM.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(EVENT_STREAM))
    };
    let plain = |value: &http::HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    headers.get(header::CONTENT_TYPE).is_some_and(is)
        && headers.get(header::CONTENT_ENCODING).is_none_or(plain)
}
