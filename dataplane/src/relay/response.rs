//! The response to the client: the provider's, unchanged, or an error body of the gateway's own.

use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, Version, header};
use proxyxai_contract::id::AccountId;

use super::{
    Call, Relay,
    abandoned::client_is_gone,
    attempt::{AttemptFailure, UpstreamResponse},
    body::{EventStream, RelayedBody},
    first_event::is_event_stream,
    headers,
    key_mask::{KeyMasker, cover_headers},
    limit_headers,
    meter::ResponseMeter,
    retry::RetryProgress,
};
use crate::{
    decide::admit::Refusal,
    formats::{Dialect, error_classifier::CASCADE_MARK, own_bodies},
    telemetry::{CallRecorder, RefusedRequest},
};

impl Relay {
    /// Relays a response whose first byte has arrived.
    pub(super) fn relay_response(
        &self,
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
        limit_headers::add_limit_headers(&mut parts.headers, call.charge.windows.left());
        let streamed = is_event_stream(&parts.headers);
        let has_events = streamed
            && call.metered
            && call.request.route.has_events()
            && parts.status.is_success();
        let by = call.charge.key().map(|key| (key.key.id, key.key.level));
        if let Some(recorder) = &mut call.charge.recorder {
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
            let mut room = self.buffer_budget.reservation();
            room.belong_to(&call.charge.account);
            EventStream::new(call.request.route, edits, room)
        });
        if let Some(key) = call.charge.key() {
            cover_headers(&mut parts.headers, &key.mask);
        }
        let cover = KeyMasker::new(parts.status, &rest, streamed);
        let meter = ResponseMeter::new(self, call, tries, parts.status, streamed);
        let body = RelayedBody::new(read, rest, (meter, cover), stream, &self.config);
        Response::from_parts(parts, Body::new(body))
    }

    /// Tells the client that every attempt failed, and records the call.
    pub(super) fn all_failed(
        &self,
        mut call: Box<Call>,
        progress: RetryProgress,
    ) -> Response<Body> {
        let family = call.request.dialect;
        let rests = self.downtimes(&call);
        let now = self.clock.now();
        let until = rests
            .iter()
            .filter(|rest| !rest.refused)
            .filter_map(|rest| rest.until)
            .min();
        let retry_after_ms = until.map(|until| until.since(now));
        let RetryProgress {
            tries,
            failure,
            full,
            ..
        } = progress;
        let by_root = call.key_query().account == AccountId::ROOT;
        let own = |refusal: Refusal| {
            let message = refusal.message();
            let response = refuse_saying(family, &refusal, &message);
            (response, Some((refusal.code(), message)))
        };
        let (mut response, refused) = match failure {
            Some(failure) if failure.is_loop() => own(Refusal::Loop),
            Some(failure) => (
                upstream_error(family, tries, (&failure, by_root), retry_after_ms),
                None,
            ),
            None if full || (!rests.is_empty() && rests.iter().all(|rest| rest.rate_limited)) => {
                own(Refusal::AllRateLimited {
                    retry_after_ms: retry_after_ms.unwrap_or(1000),
                })
            }
            None => own(Refusal::NoUpstreamKey {
                model: call.plan.model().to_owned(),
                unreached: by_root.then(|| self.unreached(&call)).flatten(),
                retry_after_ms,
            }),
        };
        let status = response.status();
        let headers = response.headers_mut();
        limit_headers::add_limit_headers(headers, call.charge.windows.left());
        let bill = &mut *call.charge;
        if let Some(recorder) = bill.recorder.as_mut().filter(|_| !client_is_gone()) {
            if let Some((code, message)) = refused {
                recorder.wanted(RefusedRequest::of_record(&bill.record));
                recorder.refused(code, message);
            }
            recorder.answers(status.as_u16(), None, headers);
        }
        if tries > 0 {
            ResponseMeter::new(self, call, tries, status, false).finish_failed();
        }
        response
    }
}

/// The error body for the last failure.
fn upstream_error(
    family: Dialect,
    tries: u32,
    (failure, by_root): (&AttemptFailure, bool),
    retry_after_ms: Option<i64>,
) -> Response<Body> {
    let AttemptFailure {
        status,
        reason,
        verdict: _,
        silence: _,
        connect_failure: unreached,
    } = failure;
    let mut message = format!(
        "The upstream did not answer the call; the last of {tries} attempts failed: {reason}"
    );
    if let Some((why, host)) = unreached.as_ref().filter(|_| by_root) {
        message.push_str(": ");
        message.push_str(&why.about(host));
    }
    let body = own_bodies::error_body(
        family,
        status.as_u16(),
        "upstream_error",
        "upstream_error",
        &message,
    );
    let mut response = respond(*status, body, retry_after_ms);
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
    family: Dialect,
    refusal: &Refusal,
    recorder: Option<&mut CallRecorder>,
) -> Response<Body> {
    let message = refusal.message();
    let mut response = refuse_saying(family, refusal, &message);
    if let Some(recorder) = recorder {
        recorder.refused(refusal.code(), message);
        recorder.answers(refusal.status(), None, response.headers_mut());
    }
    response
}

/// An error response of the gateway's own.
pub(crate) fn refuse(family: Dialect, refusal: &Refusal) -> Response<Body> {
    refuse_saying(family, refusal, &refusal.message())
}

fn refuse_saying(family: Dialect, refusal: &Refusal, message: &str) -> Response<Body> {
    let status =
        StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = own_bodies::error_body(
        family,
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
