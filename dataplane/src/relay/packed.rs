//! Checks what the head of a request says of its body, so that no provider can read it differently, and decompresses
//! bodies. It works in steps and yields between them.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, VIA},
    request::Parts,
};

use super::{
    buffer_budget::BufferReservation,
    receive::{self, ReceivedBody},
};
use crate::{
    decide::admit::Refusal,
    formats::{
        endpoint::EndpointMatch,
        request::{
            decompress::{ContentCoding, Decompressor, bytes_max},
            in_query,
        },
    },
};

/// Headers that must not be dropped on the way: without them a provider reads another body, or a loop is not noticed.
const KEPT: [HeaderName; 3] = [CONTENT_TYPE, CONTENT_ENCODING, VIA];
/// Decompressed in one step: about a tenth of a millisecond.
const STEP_BYTES: usize = 64 * 1024;

/// Refuses a head that describes its body ambiguously. Returns how the body is compressed, if it has to be read.
pub(super) fn check_encoding(
    parts: &Parts,
    found: EndpointMatch,
    names_model: bool,
) -> Result<Option<ContentCoding>, Refusal> {
    let known = found.is_row();
    let headers = &parts.headers;
    let wrong = |problem: String| Err(Refusal::Malformed(problem));
    if let Some(name) = taken_off(headers) {
        return wrong(format!("Connection must not name {name}"));
    }
    // A query may name models as well.
    let strays = parts.uri.query().filter(|_| names_model);
    if let Some(name) = strays.and_then(in_query) {
        return wrong(format!("{name} belongs into the body, not into the query"));
    }
    let once = |name: HeaderName| {
        let mut values = headers.get_all(&name).iter();
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(Refusal::Malformed(format!("{name} is given twice"))),
            (said, None) => Ok(said),
        }
    };
    // Requests to an unknown endpoint may have any content type.
    let said = if known { once(CONTENT_TYPE)? } else { None };
    let readable = |said: &HeaderValue| said.to_str().is_ok_and(|said| !said.trim().is_empty());
    if said.is_some_and(|said| !readable(said)) {
        return wrong("content-type cannot be read".to_owned());
    }
    if let (EndpointMatch::Row(row), Some(said)) = (found, said)
        && is_form(said)
        && !row.takes_form()
    {
        return wrong("the body must be JSON on this path: application/json".to_owned());
    }
    let said = once(CONTENT_ENCODING)?;
    let plain = |said: &HeaderValue| said.as_bytes().eq_ignore_ascii_case(b"identity");
    let Some(said) = said.filter(|said| !plain(said)) else {
        return Ok(None);
    };
    let said = said.to_str().unwrap_or("?");
    if said.contains(',') {
        return wrong("only one content encoding is supported".to_owned());
    }
    let coding = ContentCoding::of(said.trim());
    let unknown = || Refusal::UnknownCoding(said.to_owned());
    coding.map(Some).ok_or_else(unknown)
}

/// Whether a body is declared to be a form, whose fields are not all checked where JSON is expected.
fn is_form(said: &HeaderValue) -> bool {
    let said = said.to_str().unwrap_or_default().trim_start();
    let begins = |with: &str| {
        let start = said.get(..with.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(with))
    };
    begins("multipart/") || begins("application/x-www-form-urlencoded")
}

/// Returns a required header that would be dropped, because `Connection` names it.
fn taken_off(headers: &HeaderMap) -> Option<HeaderName> {
    let mut named = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let kept = |named: &str| {
        let is = |name: &&HeaderName| named.trim().eq_ignore_ascii_case(name.as_str());
        KEPT.iter().find(is).cloned()
    };
    named.find_map(kept)
}

/// Decompresses a body, within the limits of one that came uncompressed, and within the shared buffer budget.
pub(super) async fn unpack(
    received: ReceivedBody,
    coding: Option<ContentCoding>,
    reservation: &mut BufferReservation,
    body_bytes_max: usize,
) -> Result<ReceivedBody, Refusal> {
    let Some(coding) = coding.filter(|_| !received.body.is_empty()) else {
        return Ok(received);
    };
    let damaged = || {
        let name = coding.name();
        Refusal::Malformed(format!("the request body is not one sound piece of {name}"))
    };
    let packed = received.body;
    let limit = bytes_max(packed.len(), body_bytes_max);
    let mut unpacking = Decompressor::new(coding, packed.clone()).map_err(|_| damaged())?;
    let beside = packed.len() + unpacking.memory_bytes();
    let mut body = Vec::new();
    loop {
        make_space(&mut body, beside, reservation)?;
        let made = unpacking.step(STEP_BYTES, &mut body);
        if made.map_err(|_| damaged())? == 0 {
            break;
        }
        if body.len() > limit {
            return Err(Refusal::TooLarge { limit });
        }
        if body.len() > STEP_BYTES {
            tokio::task::yield_now().await;
        }
    }
    drop(unpacking);
    body.shrink_to_fit();
    reservation.shrink(packed.len() + body.len());
    Ok(ReceivedBody {
        body: Bytes::from(body),
        packed: Some(packed),
        trailers: received.trailers,
    })
}

/// Makes space for a step, if the budget allows.
fn make_space(
    body: &mut Vec<u8>,
    beside: usize,
    reservation: &mut BufferReservation,
) -> Result<(), Refusal> {
    let (held, needed) = (body.capacity(), body.len() + STEP_BYTES);
    if needed <= held {
        return Ok(());
    }
    let grown = needed.max(held * 2);
    // Both buffers exist while one is copied to the other.
    receive::hold(reservation, beside + held + grown)?;
    body.reserve_exact(grown - body.len());
    Ok(())
}
