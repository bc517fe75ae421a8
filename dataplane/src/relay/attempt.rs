//! One attempt on one key: send, wait for the first byte, judge. Nothing has gone to the client when this ends, so
//! every failure here may be retried on another key.

mod failure;
mod judge;

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, response::Parts};
use http_body::Frame;
use tokio::time::Instant;

pub(super) use failure::AttemptFailure;
pub(super) use judge::is_storm;

use super::{
    call::Call, context::Relay, first_event::ResponseHead, headers, key_check::start_key_check,
    segments::BodySegments, upstream_client::UpstreamBody,
};
use crate::{
    formats::{Dialect, error_classifier::FaultVerdict},
    state::{KeyFailure, KeyState},
    telemetry::{AttemptInfo, AttemptResult, AttemptSpan},
};

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

/// Makes one attempt now. Its failure has been recorded with the key when this returns.
pub(super) async fn attempt(
    relay: &Relay,
    call: &Call,
    key: &Arc<KeyState>,
    now: Instant,
) -> AttemptOutcome {
    let _probe = key.health.probe();
    let trying = relay.telemetry.begin_attempt();
    let span = span(call, key);
    let sent = send(relay, call, key, span.as_ref(), now).await;
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
        AttemptOutcome::Failed(failure) => failure.counted(),
    });
    note(relay, call, key, &outcome);
    outcome
}

/// Records the outcome with the key.
fn note(relay: &Relay, call: &Call, key: &Arc<KeyState>, outcome: &AttemptOutcome) {
    let (id, want) = (key.key.id, call.key_query());
    match outcome {
        // A refusal for the client's own fault proves the key as well as a success does.
        AttemptOutcome::Answer(answer) => {
            if answer.parts.status.is_success() {
                key.health.serve(want.account, relay.clock.now());
            }
            relay.report_health(key.health.succeed(id, want));
        }
        AttemptOutcome::Failed(failure) => {
            tracing::debug!(
                key.id = id.get(),
                status = failure.status.as_u16(),
                reason = failure.reason,
                "attempt failed"
            );
            let verdict = settled(relay, call, key, failure.verdict);
            let refused = verdict == FaultVerdict::RetryQuarantine;
            let unreached = failure.connect_failure.as_ref();
            let about = unreached.map(|(why, host)| why.about(host));
            let trouble = KeyFailure {
                verdict,
                reason: about.as_deref().unwrap_or(&failure.reason),
                connect_failure: unreached.map(|(why, _)| *why),
                storm: refused && is_storm(relay, call.snapshot(), key),
            };
            let now = relay.clock.now();
            relay.report_health(key.health.fail(id, want, trouble, now));
        }
    }
}

/// Decides a refusal that may be the key's fault or the call's. A key that never answered gets no benefit of the
/// doubt. Others are checked in the background, and the call does not wait for that.
fn settled(relay: &Relay, call: &Call, key: &Arc<KeyState>, verdict: FaultVerdict) -> FaultVerdict {
    if verdict != FaultVerdict::RetryDoubt {
        return verdict;
    }
    if call.is_metered() && !key.health.has_served() {
        return FaultVerdict::RetryQuarantine;
    }
    start_key_check(relay, call, key);
    if call.is_metered() {
        verdict
    } else {
        FaultVerdict::RetryOnly
    }
}

async fn send(
    relay: &Relay,
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
        *request.headers_mut() = request_headers(call, key, &body);
        if let Some(span) = span {
            span.inject(request.headers_mut());
        }
        request
    };
    // One timer covers both waits: for the head, and from there for the first content.
    let mut begun = None;
    let exchange = async {
        let response = relay.client.send(provider.origin(), request).await;
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
            .wait_for_first_event(call, relay.config.limits.idle, &relay.clock)
            .await
    };
    let in_time = {
        // Pinned here, because it is large and would be moved into the timer otherwise.
        let exchange = std::pin::pin!(exchange);
        tokio::time::timeout_at(now + relay.config.limits.first_byte, exchange).await
    };
    match (in_time, begun) {
        (Ok(Err(failure)), _) => Err(failure),
        (Ok(Ok(())), Some(begun)) if begun.is_refusal() => {
            // Boxed, because it is rarely needed and would make every attempt's state larger.
            Box::pin(judge::judge(relay, begun, call.is_metered())).await
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

fn request_headers(call: &Call, key: &KeyState, body: &BodySegments) -> HeaderMap {
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

/// The attempt's span, if the call is traced.
fn span(call: &Call, key: &KeyState) -> Option<AttemptSpan> {
    let asks = AttemptInfo {
        key: &key.key,
        method: &call.request.method,
        model: call.model(),
    };
    call.charge
        .state
        .recorder
        .as_ref()?
        .begin_attempt_span(&asks)
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
