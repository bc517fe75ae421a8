//! The response to the client: the provider's, unchanged, or an error body of the gateway's own.

use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, Version, header};
use proxyxai_contract::id::AccountId;

use super::{
    abandoned::client_is_gone,
    attempt::{AttemptFailure, UpstreamResponse},
    body::{BodyWatch, EventStream, RelayedBody},
    call::Call,
    charge::PendingCharge,
    context::Relay,
    first_event::is_event_stream,
    headers,
    key_mask::{KeyMasker, cover_headers},
    limit_headers,
    meter::ResponseMeter,
    retry::{RetryProgress, downtimes, unreached},
};
use crate::{
    decide::admit::Refusal,
    formats::{Dialect, error_classifier::CASCADE_MARK, own_bodies},
    telemetry::{CallRecorder, RefusedRequest},
};

/// Relays a response whose first byte has arrived.
pub(super) fn relay_response(
    relay: &Relay,
    mut call: Box<Call>,
    tries: u32,
    answer: UpstreamResponse,
) -> Response<Body> {
    let UpstreamResponse {
        mut parts,
        read,
        body: rest,
        asked_usage,
        span,
    } = answer;
    // The client's HTTP version applies between gateway and client.
    parts.version = Version::HTTP_11;
    if parts.headers.contains_key(header::TRANSFER_ENCODING) {
        // Chunked encoding overrides a declared length (RFC 9112, section 6.3).
        parts.headers.remove(header::CONTENT_LENGTH);
    }
    headers::strip_for_client(&mut parts.headers);
    headers::keep_upstream_id(&mut parts.headers, &call.request.headers);
    limit_headers::add_limit_headers(&mut parts.headers, call.charge.state.windows.left());
    let streamed = is_event_stream(&parts.headers);
    let has_events = streamed
        && call.is_metered()
        && call.request.route.has_events()
        && parts.status.is_success();
    let by = call.open.key().map(|key| (key.key.id, key.key.level));
    if let Some(recorder) = &mut call.charge.state.recorder {
        recorder.answers(parts.status.as_u16(), by, &mut parts.headers);
        recorder.answered(span);
        if streamed {
            recorder.streams();
        }
    }
    let edits = has_events && asked_usage;
    if edits {
        // The usage chunk is removed, so a declared length would be wrong.
        parts.headers.remove(header::CONTENT_LENGTH);
    }
    // Nothing can be added to a body of known length.
    let open_ended = !parts.headers.contains_key(header::CONTENT_LENGTH);
    let stream = (has_events && open_ended).then(|| {
        let mut reservation = relay.buffer_budget.reservation();
        reservation.belong_to(call.account());
        EventStream::new(call.request.route, edits, reservation)
    });
    if let Some(key) = call.open.key() {
        cover_headers(&mut parts.headers, &key.mask);
    }
    let watch = BodyWatch {
        key_mask: KeyMasker::new(parts.status, &rest, streamed),
        meter: ResponseMeter::new(call, tries, parts.status, streamed),
        stream,
    };
    let body = RelayedBody::new(read, rest, watch, &relay.config);
    Response::from_parts(parts, Body::new(body))
}

/// Tells the client that every attempt failed, and records the call.
pub(super) fn all_failed(
    relay: &Relay,
    mut call: Box<Call>,
    progress: RetryProgress,
) -> Response<Body> {
    let dialect = call.request.dialect;
    let now = relay.clock.now();
    let rests = downtimes(&call, now);
    let retry_after_ms = rests
        .iter()
        .filter(|rest| !rest.refused)
        .filter_map(|rest| rest.until)
        .min()
        .map(|until| until.since(now));
    let RetryProgress {
        tries,
        failure,
        full,
        ..
    } = progress;
    let by_root = call.key_query().account == AccountId::ROOT;
    let own = |refusal: Refusal| {
        let message = refusal.message();
        let response = refuse_saying(dialect, &refusal, &message);
        (response, Some((refusal.code(), message)))
    };
    let (mut response, refused) = match failure {
        Some(failure) if failure.is_loop() => own(Refusal::Loop),
        Some(failure) => {
            let message = failure_message(tries, &failure, by_root);
            let response = upstream_error(dialect, failure.status, &message, retry_after_ms);
            (response, None)
        }
        None if full || (!rests.is_empty() && rests.iter().all(|rest| rest.rate_limited)) => {
            own(Refusal::AllRateLimited {
                retry_after_ms: retry_after_ms.unwrap_or(1000),
            })
        }
        None => own(Refusal::NoUpstreamKey {
            model: call.plan.model().to_owned(),
            unreached: by_root.then(|| unreached(&call, now)).flatten(),
            retry_after_ms,
        }),
    };
    let status = response.status();
    let headers = response.headers_mut();
    limit_headers::add_limit_headers(headers, call.charge.state.windows.left());
    let PendingCharge { record, state, .. } = &mut *call.charge;
    if let Some(recorder) = state.recorder.as_mut().filter(|_| !client_is_gone()) {
        if let Some((code, message)) = refused {
            recorder.wanted(RefusedRequest::of_record(record));
            recorder.refused(code, message);
        }
        recorder.answers(status.as_u16(), None, headers);
    }
    if tries > 0 {
        ResponseMeter::new(call, tries, status, false).finish_failed();
    }
    response
}

/// Refuses a call that could not be recorded, and was not sent for that.
pub(super) fn refuse_unrecorded(mut call: Box<Call>) -> Response<Body> {
    let PendingCharge { record, state, .. } = &mut *call.charge;
    if let Some(recorder) = &mut state.recorder {
        recorder.wanted(RefusedRequest::of_record(record));
    }
    let recorder = state.recorder.as_mut();
    refuse_call(call.request.dialect, &Refusal::Unavailable, recorder)
}

/// What happened at the last of several attempts. Hosts are for root alone.
fn failure_message(tries: u32, failure: &AttemptFailure, by_root: bool) -> String {
    let AttemptFailure {
        reason,
        connect_failure,
        ..
    } = failure;
    let mut message = format!(
        "The upstream did not answer the call; the last of {tries} attempts failed: {reason}"
    );
    if let Some((why, host)) = connect_failure.as_ref().filter(|_| by_root) {
        message.push_str(": ");
        message.push_str(&why.about(host));
    }
    message
}

/// The error body for the last failure.
fn upstream_error(
    dialect: Dialect,
    status: StatusCode,
    message: &str,
    retry_after_ms: Option<i64>,
) -> Response<Body> {
    let body = own_bodies::error_body(
        dialect,
        status.as_u16(),
        "upstream_error",
        "upstream_error",
        message,
    );
    let mut response = respond(status, body, retry_after_ms);
    if matches!(status.as_u16(), 401..=403) {
        // The provider's keys were refused, not the client's: a lower node of a cascade must not give up its key for
        // that.
        let mark = HeaderValue::from_static("upstream_error");
        response.headers_mut().insert(CASCADE_MARK, mark);
    }
    response
}

/// The same as `refuse`, with the call's recorder.
pub(super) fn refuse_call(
    dialect: Dialect,
    refusal: &Refusal,
    recorder: Option<&mut CallRecorder>,
) -> Response<Body> {
    let message = refusal.message();
    let mut response = refuse_saying(dialect, refusal, &message);
    if let Some(recorder) = recorder {
        recorder.refused(refusal.code(), message);
        recorder.answers(refusal.status(), None, response.headers_mut());
    }
    response
}

/// An error response of the gateway's own.
pub(crate) fn refuse(dialect: Dialect, refusal: &Refusal) -> Response<Body> {
    refuse_saying(dialect, refusal, &refusal.message())
}

fn refuse_saying(dialect: Dialect, refusal: &Refusal, message: &str) -> Response<Body> {
    let status =
        StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = own_bodies::error_body(
        dialect,
        refusal.status(),
        refusal.code(),
        refusal.kind(),
        message,
    );
    let mut response = respond(status, body, refusal.retry_after_ms());
    if let Refusal::RateLimited(full) = refusal {
        limit_headers::add_limit_headers(response.headers_mut(), full.left);
    }
    if matches!(refusal, Refusal::ShareTaken { .. }) {
        // A client with too much in flight must not also keep a connection for each refusal.
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    if status == StatusCode::UPGRADE_REQUIRED {
        // What to use instead (RFC 9110, section 15.5.22).
        let headers = response.headers_mut();
        headers.insert(header::UPGRADE, HeaderValue::from_static("HTTP/1.1"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    if status == StatusCode::PAYMENT_REQUIRED {
        // A lower node of a cascade lets its key sleep instead of giving it up.
        let mark = HeaderValue::from_static(refusal.code());
        response.headers_mut().insert(CASCADE_MARK, mark);
    }
    response
}

fn respond(status: StatusCode, body: bytes::Bytes, retry_after_ms: Option<i64>) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    if let Some(ms) = retry_after_ms {
        let seconds = ms.max(0).saturating_add(999) / 1000;
        headers.insert(header::RETRY_AFTER, seconds.max(1).into());
    }
    response
}
