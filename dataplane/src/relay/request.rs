//! A request as it is sent upstream: what all its attempts share.

use std::borrow::{Borrow as _, Cow};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Uri, header, request::Parts, uri::PathAndQuery};
use proxyxai_contract::clock::Millis;

use super::{headers, query::without_credentials, receive::ReceivedBody, segments::BodySegments};
use crate::{
    decide::admit::Refusal,
    formats::{
        Dialect, Route,
        request::{RequestFacts, rewrite},
        upstream_path,
    },
    telemetry::X_REQUEST_ID,
};

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

/// What a request is, beside what its client sent.
pub(super) struct RequestOrigin<'a> {
    /// Path and query for the upstream.
    pub(super) target: PathAndQuery,
    pub(super) route: Route,
    pub(super) dialect: Dialect,
    /// The first model of its plan.
    pub(super) model: &'a str,
    pub(super) start: Millis,
}

/// A body as it is sent, and as it was read.
#[derive(Clone, Copy)]
struct BodyForms<'a> {
    whole: &'a Bytes,
    /// As it came, if it was compressed.
    packed: Option<&'a Bytes>,
}

impl PreparedRequest {
    pub(super) fn new(
        mut parts: Parts,
        origin: RequestOrigin<'_>,
        received: ReceivedBody,
        facts: RequestFacts,
    ) -> Self {
        let RequestOrigin {
            target,
            route,
            dialect,
            model,
            start,
        } = origin;
        let ReceivedBody {
            body: whole,
            packed,
            trailers,
        } = received;
        let forms = BodyForms {
            whole: &whole,
            packed: packed.as_ref(),
        };
        let (plain, asking) = bodies(forms, &facts, model, route);
        if let Some(trailers) = &trailers {
            headers::announce(&mut parts.headers, trailers);
        }
        Self {
            method: parts.method,
            request_id: request_id(&parts.headers),
            headers: parts.headers,
            dialect,
            route,
            target,
            whole,
            packed,
            trailers,
            plain,
            asking,
            facts,
            start,
        }
    }

    fn forms(&self) -> BodyForms<'_> {
        BodyForms {
            whole: &self.whole,
            packed: self.packed.as_ref(),
        }
    }

    /// The request asks for this model from here on.
    pub(super) fn name_model(&mut self, model: &str) {
        let (plain, asking) = bodies(self.forms(), &self.facts, model, self.route);
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
        let (plain, asking) = bodies(self.forms(), &self.facts, model, self.route);
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
    forms: BodyForms<'_>,
    facts: &RequestFacts,
    model: &str,
    route: Route,
) -> (BodySegments, Option<BodySegments>) {
    let BodyForms { whole, packed } = forms;
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
    headers
        .get(X_REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned()
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
