//! Reads a client's request once, and keeps what all its attempts share.

use std::{
    borrow::{Borrow as _, Cow},
    pin::pin,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Uri, header, request::Parts, uri::PathAndQuery};
use http_body::Body as _;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use proxyxai_contract::clock::Millis;
use tokio::time::Instant;
use tower::BoxError;

use super::{
    buffer_budget::{BufferExhausted, BufferReservation},
    headers,
    query::without_credentials,
    segments::BodySegments,
};
use crate::{
    Config,
    decide::admit::Refusal,
    formats::{
        Dialect, Route,
        request::{BadRequest, RequestFacts, in_target, read as read_facts, rewrite},
        upstream_path,
    },
    telemetry::X_REQUEST_ID,
};

/// A body may take this many times the idle timeout, and longer only while it keeps this pace, in bytes a second.
const DRIP_FACTOR: u32 = 10;
const BODY_PACE: u64 = 1024;
/// Parsed on the call's own thread: takes less than a millisecond.
const READ_AT_ONCE_BYTES: usize = 1024 * 1024;

/// A request as it is sent upstream, except for what depends on the key.
pub(super) struct PreparedRequest {
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    /// Path and query, with `/v1`, whichever alias the client used.
    pub(super) target: PathAndQuery,
    pub(super) route: Route,
    pub(super) dialect: Dialect,
    pub(super) facts: RequestFacts,
    /// The body, uncompressed.
    pub(super) whole: Bytes,
    /// The body as it came, if it was compressed.
    packed: Option<Bytes>,
    /// Trailers of the request.
    trailers: Option<Box<HeaderMap>>,
    pub(super) request_id: String,
    pub(super) start: Millis,
    plain: BodySegments,
    asking: Option<BodySegments>,
}

/// A request's body.
pub(super) struct ReceivedBody {
    /// Uncompressed, to be read.
    pub(super) body: Bytes,
    /// As it came, if it was compressed.
    pub(super) packed: Option<Bytes>,
    /// `None` if there are none, as is usual.
    pub(super) trailers: Option<Box<HeaderMap>>,
}

impl PreparedRequest {
    pub(super) fn new(
        mut parts: Parts,
        (target, route, family): (PathAndQuery, Route, Dialect),
        ReceivedBody {
            body,
            packed,
            trailers,
        }: ReceivedBody,
        facts: RequestFacts,
        (model, start): (&str, Millis),
    ) -> Self {
        let whole = (&body, packed.as_ref());
        let (plain, asking) = bodies(whole, &facts, model, route);
        if let Some(trailers) = &trailers {
            headers::announce(&mut parts.headers, trailers);
        }
        Self {
            method: parts.method,
            request_id: request_id(&parts.headers),
            headers: parts.headers,
            dialect: family,
            route,
            target,
            whole: body,
            packed,
            trailers,
            plain,
            asking,
            facts,
            start,
        }
    }

    /// The request asks for this model from here on.
    pub(super) fn name_model(&mut self, model: &str) {
        let whole = (&self.whole, self.packed.as_ref());
        let (plain, asking) = bodies(whole, &self.facts, model, self.route);
        self.plain = plain;
        self.asking = asking;
    }

    /// Returns the body for a key, and whether it asks for usage on the client's behalf.
    pub(super) fn body(&self, may_ask: bool) -> (BodySegments, bool) {
        let (body, asks) = match &self.asking {
            Some(asking) if may_ask => (asking.clone(), true),
            _ => (self.plain.clone(), false),
        };
        (body.followed_by(self.trailers.clone()), asks)
    }

    /// The same, with the provider's own name for the model.
    pub(super) fn body_naming(&self, model: &str, may_ask: bool) -> (BodySegments, bool) {
        let whole = (&self.whole, self.packed.as_ref());
        let (plain, asking) = bodies(whole, &self.facts, model, self.route);
        let (body, asks) = match asking {
            Some(asking) if may_ask => (asking, true),
            _ => (plain, false),
        };
        (body.followed_by(self.trailers.clone()), asks)
    }

    /// Path without query.
    pub(super) fn path(&self) -> &str {
        self.target.path()
    }
}

/// Sets the content type of a body that was read as JSON, so that every reader reads it so.
pub(super) fn say_json(headers: &mut HeaderMap, body: &[u8]) {
    if !body.is_empty() {
        let said = headers.entry(header::CONTENT_TYPE);
        said.or_insert(HeaderValue::from_static("application/json"));
    }
}

/// The body that asks for a model, and the one that also asks for usage, where that applies. A compressed body stays
/// compressed if nothing in it changes.
fn bodies(
    (whole, packed): (&Bytes, Option<&Bytes>),
    facts: &RequestFacts,
    model: &str,
    route: Route,
) -> (BodySegments, Option<BodySegments>) {
    let asked = facts.model.as_deref();
    let mapped = asked.filter(|asked| *asked != model).map(|_| model);
    let segments = |ask| {
        let changed = BodySegments::new(rewrite(whole, facts, mapped, ask).into_pieces());
        if packed.is_some() {
            changed.unpacked()
        } else {
            changed
        }
    };
    let asking = (facts.stream && facts.may_ask_usage(route)).then(|| segments(true));
    let plain = match packed {
        Some(packed) if mapped.is_none() => BodySegments::new([packed.clone()]),
        Some(_) | None => segments(false),
    };
    (plain, asking)
}

/// Reads the whole body, within its limits of size and idle time, counted from `start`, when its head arrived.
pub(super) async fn read<B>(
    config: &Config,
    room: &mut BufferReservation,
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
                let own = frame.into_trailers().ok();
                let own = own.map(headers::without_credentials);
                trailers = own.filter(|own| !own.is_empty()).map(Box::new);
                continue;
            }
        };
        received += data.len() as u64;
        hold(room, usize::try_from(received).unwrap_or(usize::MAX))?;
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
pub(super) fn hold(room: &mut BufferReservation, bytes: usize) -> Result<(), Refusal> {
    let account = |room: &BufferReservation| room.owner().map(|owner| owner.account.name.clone());
    room.grow_to(bytes).map_err(|no| match no {
        BufferExhausted::Store => Refusal::Busy("request bodies are under way"),
        BufferExhausted::Share => Refusal::ShareTaken {
            account: account(room).unwrap_or_default(),
            what: "bytes of request bodies",
        },
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

/// Runs `read` on a body, with `known`. A long body is read on another thread, so that other calls on this one go on;
/// `known` is copied only for that.
///
/// # Errors
/// Errors if reading broke off.
pub(super) async fn beside<K, T>(
    body: &Bytes,
    known: &K,
    read: fn(&[u8], &K) -> T,
) -> Result<T, Refusal>
where
    K: ToOwned<Owned: Send + 'static> + ?Sized + 'static,
    T: Send + 'static,
{
    if body.len() <= READ_AT_ONCE_BYTES {
        return Ok(read(body, known));
    }
    let (body, known) = (body.clone(), known.to_owned());
    let read = tokio::task::spawn_blocking(move || read(&body, known.borrow()));
    read.await.map_err(|_| Refusal::Unavailable)
}

/// What the gateway needs to know about a body.
pub(super) async fn facts(
    parts: &Parts,
    received: &ReceivedBody,
    names_model: bool,
) -> Result<RequestFacts, Refusal> {
    let headers = &parts.headers;
    let said = headers.get(header::CONTENT_TYPE);
    let said = said.and_then(|value| value.to_str().ok());
    let said = said.unwrap_or_default();
    let read = if names_model {
        |body: &[u8], said: &str| read_facts(body, said, true)
    } else {
        |body: &[u8], said: &str| read_facts(body, said, false)
    };
    let facts = beside(&received.body, said, read).await?;
    let mut facts = facts.map_err(|error: BadRequest| Refusal::Malformed(error.to_string()))?;
    if !names_model && parts.method == Method::POST {
        let path = upstream_path(parts.uri.path());
        facts.named.extend(in_target(&path, parts.uri.query()));
    }
    Ok(facts)
}

/// The path and query for the upstream.
pub(super) fn target(uri: &Uri, fields: &HeaderMap) -> Result<PathAndQuery, Refusal> {
    let asked = uri.path_and_query();
    let path = upstream_path(asked.map_or("/", PathAndQuery::as_str));
    let presented = || headers::credential_from(fields);
    let path = match path {
        Cow::Borrowed(path) => without_credentials(path, presented),
        Cow::Owned(path) => Cow::Owned(without_credentials(&path, presented).into_owned()),
    };
    match path {
        // Mostly it is unchanged and not copied.
        Cow::Borrowed(_) => Ok(asked.cloned()),
        Cow::Owned(path) => PathAndQuery::from_maybe_shared(path).map(Some),
    }
    .map(|target| target.unwrap_or_else(|| PathAndQuery::from_static("/")))
    .map_err(|_| Refusal::Malformed("the path is too long".to_owned()))
}

/// The id that a request carries.
fn request_id(headers: &HeaderMap) -> String {
    let id = headers.get(X_REQUEST_ID);
    let id = id.and_then(|value| value.to_str().ok());
    id.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use std::thread::{self, ThreadId};

    use super::*;

    #[tokio::test]
    async fn only_a_long_body_is_read_on_another_thread() {
        let read = |_: &[u8], known: &str| (thread::current().id(), known.len());
        let ask = async |len: usize| -> (ThreadId, usize) {
            let body = Bytes::from(vec![b' '; len]);
            beside(&body, "known", read).await.unwrap()
        };
        let own = thread::current().id();
        assert_eq!(ask(READ_AT_ONCE_BYTES).await, (own, 5));
        let (other, known) = ask(READ_AT_ONCE_BYTES + 1).await;
        assert!(other != own && known == 5);
    }
}
