//! One attempt on one key: send, wait for the first byte, judge. Nothing has gone to the client when this ends, so
//! every failure here may be retried on another key.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, response::Parts};
use http_body::Frame;
use http_body_util::BodyExt as _;
use proxyxai_contract::{attempt, provider::BaseUrl};
use tokio::time::Instant;

use super::{
    Call, Relay,
    first_event::ResponseHead,
    headers,
    segments::BodySegments,
    upstream_client::{SendError, UpstreamBody},
};
use crate::{
    decide::{connect_failure::ConnectFailure, health::storm},
    formats::{
        Dialect,
        error_classifier::{ClassifiedRefusal, FaultVerdict, UpstreamRefusal, classify},
    },
    state::{KeyFailure, KeyState, Snapshot},
    telemetry::{AttemptInfo, AttemptResult, AttemptSpan},
};

/// How much of a refusal is read to judge it, and how long that may take.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;
const REFUSAL_WAIT: Duration = Duration::from_secs(10);

/// The outcome of an attempt.
pub(super) enum AttemptOutcome {
    /// A response for the client.
    Answer(Box<UpstreamResponse>),
    /// A refusal or failure that another key may not have.
    Failed(AttemptFailure),
}

/// A response that has begun.
pub(super) struct UpstreamResponse {
    pub(super) parts: Parts,
    /// Frames that were read to judge it.
    pub(super) read: VecDeque<Frame<Bytes>>,
    pub(super) body: UpstreamBody,
    /// Whether the gateway asked for usage on the client's behalf.
    pub(super) asked_usage: bool,
    /// The attempt's span in the trace; it ends with the response.
    pub(super) span: Option<AttemptSpan>,
}

/// Why an attempt failed, in a form that the client may see.
#[derive(Debug, Clone)]
pub(super) struct AttemptFailure {
    /// The provider's status, or 502 or 504 if there was none.
    pub(super) status: StatusCode,
    /// The provider's words, or what happened; without secrets.
    pub(super) reason: String,
    pub(super) verdict: FaultVerdict,
    /// What happened instead of a response; `None` if the provider said what is wrong.
    pub(super) silence: Option<attempt::AttemptOutcome>,
    /// Why there was no connection, and to which host; for root alone.
    pub(super) connect_failure: Option<(ConnectFailure, Arc<str>)>,
}

impl AttemptFailure {
    /// Whether a node above has seen the call before.
    pub(super) fn is_loop(&self) -> bool {
        self.status == StatusCode::LOOP_DETECTED
    }

    /// The result under which it is counted.
    const fn seen(&self) -> AttemptResult {
        match self.verdict {
            FaultVerdict::RetrySleepPair { .. } => AttemptResult::RateLimited,
            FaultVerdict::RetrySleepKey { .. } | FaultVerdict::RetryBlame => AttemptResult::Failed,
            FaultVerdict::RetryQuarantine | FaultVerdict::RetryDoubt => AttemptResult::Refused,
            FaultVerdict::RetryOnly | FaultVerdict::Deliver => AttemptResult::PassedOn,
        }
    }

    /// The outcome for the record, with the provider's status if there was one.
    pub(super) fn came_to(&self) -> (attempt::AttemptOutcome, Option<u16>) {
        if let Some(silence) = self.silence {
            return (silence, None);
        }
        let outcome = match self.verdict {
            FaultVerdict::RetrySleepPair { .. } => attempt::AttemptOutcome::RateLimited,
            FaultVerdict::RetrySleepKey { .. } | FaultVerdict::RetryBlame => {
                attempt::AttemptOutcome::Failed
            }
            FaultVerdict::RetryQuarantine | FaultVerdict::RetryDoubt => {
                attempt::AttemptOutcome::Refused
            }
            FaultVerdict::RetryOnly | FaultVerdict::Deliver => attempt::AttemptOutcome::PassedOn,
        };
        (outcome, Some(self.status.as_u16()))
    }

    /// Whether the same call may retry this key: the failure was momentary, or the provider said when to come back.
    pub(super) fn may_pass(&self) -> bool {
        let hinted = match self.verdict {
            FaultVerdict::RetrySleepKey { hint_ms } | FaultVerdict::RetrySleepPair { hint_ms } => {
                hint_ms.is_some()
            }
            FaultVerdict::Deliver
            | FaultVerdict::RetryQuarantine
            | FaultVerdict::RetryDoubt
            | FaultVerdict::RetryBlame
            | FaultVerdict::RetryOnly => false,
        };
        hinted || matches!(self.status.as_u16(), 408 | 425)
    }

    /// Whether the call itself may be the cause.
    pub(super) fn may_be_the_calls(&self) -> bool {
        self.verdict == FaultVerdict::RetryBlame
    }

    /// There was no response, perhaps because of the request.
    pub(super) fn transport(status: StatusCode, reason: &str) -> Self {
        let silence = match status {
            StatusCode::GATEWAY_TIMEOUT => attempt::AttemptOutcome::TimedOut,
            _ => attempt::AttemptOutcome::Broken,
        };
        Self {
            status,
            reason: reason.to_owned(),
            verdict: FaultVerdict::RetryBlame,
            silence: Some(silence),
            connect_failure: None,
        }
    }

    /// No request reached the provider.
    fn unreachable(reason: &str) -> Self {
        Self {
            status: StatusCode::BAD_GATEWAY,
            reason: reason.to_owned(),
            verdict: FaultVerdict::RetrySleepKey { hint_ms: None },
            silence: Some(attempt::AttemptOutcome::Unreached),
            connect_failure: None,
        }
    }

    fn lost(lost: SendError, provider: &BaseUrl) -> Self {
        match lost {
            SendError::Unreachable(why) => Self {
                connect_failure: Some((why, provider.authority().as_str().into())),
                ..Self::unreachable("the provider cannot be reached")
            },
            SendError::Broken => {
                let reason = "the connection to the provider broke";
                Self::transport(StatusCode::BAD_GATEWAY, reason)
            }
        }
    }
}

impl Relay {
    /// Makes one attempt now. Its failure has been recorded with the key when this returns.
    pub(super) async fn attempt(
        &self,
        call: &Call,
        key: &Arc<KeyState>,
        now: Instant,
    ) -> AttemptOutcome {
        let _probe = key.health.probe();
        let trying = self.telemetry.begin_attempt();
        let span = span(call, key);
        let sent = self.send(call, key, span.as_ref(), now).await;
        let mut outcome = sent.unwrap_or_else(AttemptOutcome::Failed);
        match (&mut outcome, span) {
            (AttemptOutcome::Answer(answer), span) => answer.span = span,
            (AttemptOutcome::Failed(failure), Some(span)) => {
                span.failed(failure.status.as_u16(), &failure.reason);
            }
            (AttemptOutcome::Failed(_), None) => {}
        }
        trying.ended(match &outcome {
            AttemptOutcome::Answer(_) => AttemptResult::Answered,
            AttemptOutcome::Failed(failure) => failure.seen(),
        });
        self.note(call, key, &outcome);
        outcome
    }

    /// Records the outcome with the key.
    fn note(&self, call: &Call, key: &Arc<KeyState>, outcome: &AttemptOutcome) {
        let (id, want) = (key.key.id, call.key_query());
        match outcome {
            // A refusal for the client's own fault proves the key as well as a success does.
            AttemptOutcome::Answer(answer) => {
                if answer.parts.status.is_success() {
                    key.health.serve(want.account, self.clock.now());
                }
                self.report_health(key.health.succeed(id, want));
            }
            AttemptOutcome::Failed(failure) => {
                tracing::debug!(
                    key.id = id.get(),
                    status = failure.status.as_u16(),
                    reason = failure.reason,
                    "attempt failed"
                );
                let verdict = self.settled(call, key, failure.verdict);
                let refused = verdict == FaultVerdict::RetryQuarantine;
                let unreached = failure.connect_failure.as_ref();
                let about = unreached.map(|(why, host)| why.about(host));
                let trouble = KeyFailure {
                    verdict,
                    reason: about.as_deref().unwrap_or(&failure.reason),
                    connect_failure: unreached.map(|(why, _)| *why),
                    storm: refused && self.storm(&call.charge.snapshot, key),
                };
                let now = self.clock.now();
                self.report_health(key.health.fail(id, want, trouble, now));
            }
        }
    }

    /// Decides a refusal that may be the key's fault or the call's. A key that never answered gets no benefit of the
    /// doubt. Others are checked in the background, and the call does not wait for that.
    fn settled(&self, call: &Call, key: &Arc<KeyState>, verdict: FaultVerdict) -> FaultVerdict {
        if verdict != FaultVerdict::RetryDoubt {
            return verdict;
        }
        if call.metered && !key.health.has_served() {
            return FaultVerdict::RetryQuarantine;
        }
        self.start_key_check(call, key);
        if call.metered {
            verdict
        } else {
            FaultVerdict::RetryOnly
        }
    }

    async fn send(
        &self,
        call: &Call,
        key: &Arc<KeyState>,
        span: Option<&AttemptSpan>,
        now: Instant,
    ) -> Result<AttemptOutcome, AttemptFailure> {
        let config = &key.key.config;
        let name = config.upstream_name(call.model());
        let (body, asked_usage) = if name == call.model() {
            call.request.body(config.include_usage)
        } else {
            call.request.body_naming(name, config.include_usage)
        };
        let provider = &key.key.provider;
        let path = provider
            .join(&call.request.target)
            .map_err(|_| AttemptFailure::unreachable("the provider's address cannot be used"))?;
        let request = || {
            let mut request = Request::new(body.clone());
            *request.method_mut() = call.request.method.clone();
            *request.uri_mut() = path.clone().into();
            *request.headers_mut() = Self::headers(call, key, &body);
            if let Some(span) = span {
                span.inject(request.headers_mut());
            }
            request
        };
        // One timer covers both waits: for the head, and from there for the first content.
        let mut begun = None;
        let exchange = async {
            let response = self.client.send(provider.origin(), request).await;
            let (parts, body) = response
                .map_err(|lost| AttemptFailure::lost(lost, provider))?
                .into_parts();
            if parts.status.is_informational() {
                // The request did not ask to switch protocols.
                return Err(AttemptFailure::transport(
                    StatusCode::BAD_GATEWAY,
                    "the provider changed the protocol",
                ));
            }
            let begun = begun.insert(ResponseHead::new(parts, body));
            if begun.is_refusal() {
                return Ok(());
            }
            begun
                .wait_for_first_event(call, self.config.limits.idle, &self.clock)
                .await
        };
        let in_time = {
            // Pinned here, because it is large and would be moved into the timer otherwise.
            let exchange = std::pin::pin!(exchange);
            tokio::time::timeout_at(now + self.config.limits.first_byte, exchange).await
        };
        match (in_time, begun) {
            (Ok(Err(failure)), _) => Err(failure),
            (Ok(Ok(())), Some(begun)) if begun.is_refusal() => {
                // Boxed, because it is rarely needed and would make every attempt's state larger.
                Box::pin(self.judge(begun.parts, begun.body, call.metered)).await
            }
            (Ok(Ok(())), Some(begun)) => Ok(answer(begun, asked_usage)),
            // The stream has shown signs of life, and the client has waited long enough to see them.
            (Err(_), Some(begun)) if !begun.read.is_empty() => Ok(answer(begun, asked_usage)),
            (Err(_) | Ok(Ok(())), _) => Err(AttemptFailure::transport(
                StatusCode::GATEWAY_TIMEOUT,
                "no answer from the provider in time",
            )),
        }
    }

    fn headers(call: &Call, key: &KeyState, body: &BodySegments) -> HeaderMap {
        let mut headers = call.request.headers.clone();
        headers.insert(http::header::HOST, key.host.clone());
        headers::add_key_headers(
            &mut headers,
            key,
            call.request.dialect == Dialect::Anthropic,
        );
        if let Some(length) = headers.get_mut(http::header::CONTENT_LENGTH) {
            *length = body.len().into();
        }
        if body.is_unpacked() {
            headers.remove(http::header::CONTENT_ENCODING);
        }
        headers
    }

    /// Reads the beginning of a refusal and decides whose fault it is.
    async fn judge(
        &self,
        parts: Parts,
        mut body: UpstreamBody,
        of_model: bool,
    ) -> Result<AttemptOutcome, AttemptFailure> {
        let (mut read, mut text) = (VecDeque::new(), Vec::new());
        let reading = async {
            while text.len() < REFUSAL_BYTES_MAX {
                match body.frame().await {
                    Some(Ok(frame)) => {
                        text.extend_from_slice(frame.data_ref().map_or(&[], AsRef::as_ref));
                        read.push_back(frame);
                    }
                    // A refusal that breaks off is judged by what has arrived of it.
                    Some(Err(_)) | None => break,
                }
            }
        };
        let patience = REFUSAL_WAIT.min(self.config.limits.first_byte);
        let in_time = tokio::time::timeout(patience, reading).await.is_ok();
        let header = |name: &str| {
            parts
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let refusal = UpstreamRefusal {
            status: parts.status.as_u16(),
            body: &text,
            of_model,
        };
        let ClassifiedRefusal { verdict, reason } = classify(refusal, &header, self.clock.now());
        match verdict {
            FaultVerdict::Deliver if in_time => {
                Ok(AttemptOutcome::Answer(Box::new(UpstreamResponse {
                    parts,
                    read,
                    body,
                    asked_usage: false,
                    span: None,
                })))
            }
            FaultVerdict::Deliver => Err(AttemptFailure::transport(
                StatusCode::GATEWAY_TIMEOUT,
                "the provider's answer stalled",
            )),
            verdict => Err(AttemptFailure {
                status: parts.status,
                reason,
                verdict,
                silence: None,
                connect_failure: None,
            }),
        }
    }

    /// Whether so many keys of this provider were refused that the keys are likely not at fault. Keys that were
    /// quarantined before that became clear sleep instead.
    pub(super) fn storm(&self, snapshot: &Snapshot, key: &KeyState) -> bool {
        let now = self.clock.now();
        let host = key.key.provider.host();
        let siblings: Vec<_> = snapshot
            .keys()
            .filter(|other| other.key.provider.host() == host && other.key.id != key.key.id)
            .collect();
        let refused = siblings
            .iter()
            .filter(|sibling| sibling.health.refused_lately(now));
        let storm = storm(refused.clone().count() + 1, siblings.len() + 1);
        if storm {
            refused
                .for_each(|sibling| self.report_health(sibling.health.calm(sibling.key.id, now)));
        }
        storm
    }
}

/// The attempt's span, if the call is traced.
fn span(call: &Call, key: &KeyState) -> Option<AttemptSpan> {
    let asks = AttemptInfo {
        key: &key.key,
        method: &call.request.method,
        model: call.model(),
    };
    call.charge.recorder.as_ref()?.begin_attempt_span(&asks)
}

fn answer(begun: ResponseHead, asked_usage: bool) -> AttemptOutcome {
    let ResponseHead {
        parts,
        read,
        body: rest,
    } = begun;
    AttemptOutcome::Answer(Box::new(UpstreamResponse {
        parts,
        read,
        body: rest,
        asked_usage,
        span: None,
    }))
}
