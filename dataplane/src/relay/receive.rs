//! Reads a client's request once: its body, within bounds of size and time, and what that says.

use std::{pin::pin, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, header, request::Parts};
use http_body::Body as _;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::time::Instant;
use tower::BoxError;

use super::{
    admission::CallHead,
    buffer_budget::{BufferExhausted, BufferReservation},
    headers, packed, request,
};
use crate::{
    Config,
    decide::admit::Refusal,
    formats::{
        request::{BadRequest, RequestFacts, in_target, read as read_facts},
        upstream_path,
    },
    telemetry::CallRecorder,
};

/// A body may take this many times the idle timeout, and longer only while it keeps this pace, in bytes a second.
const DRIP_FACTOR: u32 = 10;
const BODY_PACE: u64 = 1024;
/// A request's body.
pub(super) struct ReceivedBody {
    /// Uncompressed, to be read.
    pub(super) body: Bytes,
    /// As it came, if it was compressed.
    pub(super) packed: Option<Bytes>,
    /// `None` if there are none, as is usual.
    pub(super) trailers: Option<Box<HeaderMap>>,
}

/// A request's body, and what it says.
pub(super) struct ReadRequest {
    pub(super) received: ReceivedBody,
    pub(super) facts: RequestFacts,
}

/// Where the reading of a body is bounded and recorded.
pub(super) struct BodyIntake<'a> {
    pub(super) config: &'a Config,
    pub(super) reservation: &'a mut BufferReservation,
    pub(super) recorder: &'a mut CallRecorder,
}

/// Reads the body and what it says.
///
/// # Errors
/// Errors if it is too large, too slow or malformed, or there is no space for it.
pub(super) async fn receive<B>(
    head: &CallHead,
    takes_model: bool,
    body: B,
    intake: BodyIntake<'_>,
) -> Result<ReadRequest, Refusal>
where
    B: http_body::Body<Data = Bytes> + Send,
    B::Error: Into<BoxError>,
{
    let BodyIntake {
        config,
        reservation,
        recorder,
    } = intake;
    let CallHead {
        endpoint, parts, ..
    } = head;
    let coding = packed::check_encoding(parts, endpoint.found, takes_model)?;
    let received = read(config, reservation, &parts.headers, body, recorder.came()).await;
    recorder.has_body();
    let bytes_max = config.limits.body_bytes_max;
    let received = packed::unpack(received?, coding, reservation, bytes_max).await?;
    let facts = facts(parts, &received, takes_model).await?;
    Ok(ReadRequest { received, facts })
}

/// Reads the whole body, within its limits of size and idle time, counted from `start`, when its head arrived.
async fn read<B>(
    config: &Config,
    reservation: &mut BufferReservation,
    fields: &HeaderMap,
    body: B,
    start: Instant,
) -> Result<ReceivedBody, Refusal>
where
    B: http_body::Body<Data = Bytes> + Send,
    B::Error: Into<BoxError>,
{
    let too_large = Refusal::TooLarge {
        limit: config.limits.body_bytes_max,
    };
    let declared = fields
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > config.limits.body_bytes_max as u64) {
        return Err(too_large);
    }
    let mut limited = pin!(Limited::new(body, config.limits.body_bytes_max));
    if limited.is_end_stream() {
        return Ok(ReceivedBody {
            body: Bytes::new(),
            packed: None,
            trailers: None,
        });
    }
    let (mut gathered, mut trailers) = (BodyBuffer::default(), None);
    let (mut now, mut received) = (start, 0u64);
    loop {
        // A body that only drips ends here, however short each silence is.
        let paced = start
            + config.limits.body_idle * DRIP_FACTOR
            + Duration::from_secs(received / BODY_PACE);
        let limit = paced.min(now + config.limits.body_idle);
        let frame = match tokio::time::timeout_at(limit, limited.frame()).await {
            Err(_) => return Err(Refusal::SlowBody),
            Ok(None) => break,
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) if error.is::<LengthLimitError>() => return Err(too_large),
            Ok(Some(Err(_))) => {
                return Err(Refusal::Malformed(
                    "the request body ended early".to_owned(),
                ));
            }
        };
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => {
                trailers = frame
                    .into_trailers()
                    .ok()
                    .map(headers::without_credentials)
                    .filter(|trailers| !trailers.is_empty())
                    .map(Box::new);
                continue;
            }
        };
        received += data.len() as u64;
        hold(reservation, usize::try_from(received).unwrap_or(usize::MAX))?;
        gathered.push(data, declared);
        if limited.is_end_stream() {
            break;
        }
        now = Instant::now();
    }
    Ok(ReceivedBody {
        body: gathered.whole(),
        packed: None,
        trailers,
    })
}

/// Reserves buffer space for what has arrived of a body.
pub(super) fn hold(reservation: &mut BufferReservation, bytes: usize) -> Result<(), Refusal> {
    reservation.grow_to(bytes).map_err(|error| match error {
        BufferExhausted::Store => Refusal::Busy("request bodies are under way"),
        BufferExhausted::Share => {
            let owner = reservation.owner();
            Refusal::ShareTaken {
                account: owner.map_or_else(String::new, |owner| owner.account.name.clone()),
                what: "bytes of request bodies",
            }
        }
    })
}

/// What has arrived of a body. Most bodies are one piece, which is then never copied.
#[derive(Default)]
struct BodyBuffer {
    first: Bytes,
    rest: Vec<u8>,
}

impl BodyBuffer {
    fn push(&mut self, data: Bytes, declared: Option<u64>) {
        let Self { first, rest } = self;
        if first.is_empty() && rest.is_empty() {
            *first = data;
            return;
        }
        if rest.is_empty() {
            let declared = declared.and_then(|length| usize::try_from(length).ok());
            rest.reserve(declared.unwrap_or(first.len() * 2));
            rest.extend_from_slice(first);
        }
        rest.extend_from_slice(&data);
    }

    fn whole(self) -> Bytes {
        if self.rest.is_empty() {
            self.first
        } else {
            self.rest.into()
        }
    }
}

/// What the gateway needs to know about a body.
async fn facts(
    parts: &Parts,
    received: &ReceivedBody,
    names_model: bool,
) -> Result<RequestFacts, Refusal> {
    let content_type = parts
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let read = if names_model {
        |body: &[u8], content_type: &str| read_facts(body, content_type, true)
    } else {
        |body: &[u8], content_type: &str| read_facts(body, content_type, false)
    };
    let mut facts = request::beside(&received.body, content_type, read)
        .await?
        .map_err(|error: BadRequest| Refusal::Malformed(error.to_string()))?;
    if !names_model && parts.method == Method::POST {
        let path = upstream_path(parts.uri.path());
        facts.named.extend(in_target(&path, parts.uri.query()));
    }
    Ok(facts)
}
