//! Finds the endpoint of a request. A path must have the spelling that is forwarded to the provider. A path that is no
//! endpoint here but could be one to a lenient provider is refused.

mod table;

use std::borrow::Cow;

use http::Method;
use proxyxai_contract::object::ObjectKind;

use super::{Dialect, Route, text};
use table::{ENDPOINTS, OF_BOTH};

/// Segments that clients add before an endpoint's path, depending on their base URL.
const VERSIONS: [&str; 2] = ["v1", "openai"];
/// Endpoints below these accept forms.
const FORMS: [&str; 7] = [
    "/audio/",
    "/containers",
    "/files",
    "/images/",
    "/skills",
    "/uploads",
    "/videos",
];
/// The most of them that a path may have.
const VERSIONS_MAX: usize = 3;

/// A row of the register.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) verb: Verb,
    /// Without version; `{name}` matches any segment.
    path: &'static str,
    pub(crate) dialect: Dialect,
    /// Format of its bodies and responses.
    pub(crate) route: Route,
    pub(crate) billing: BillingRule,
    /// The object whose `id` is in the response; the caller owns it from then on.
    pub(crate) makes: Option<ObjectKind>,
    /// The kind of object whose id is the first path parameter.
    names: Option<ObjectKind>,
    /// The kind of object it lists. The gateway answers such lists itself.
    pub(crate) lists: Option<ObjectKind>,
}

/// Methods of endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Post,
    Put,
    Delete,
}

/// How a call of an endpoint is billed. Every row has a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BillingRule {
    /// By the use of the model that the request names.
    ByModel,
    /// By the use of the models that its calls name, once they are done.
    ByCalls,
    /// Like `ByCalls`, for calls in a file.
    ByFile,
    /// Free at every provider.
    Free,
    /// Not relayed, for this reason. The operator may open it at a price of its own.
    Closed(&'static str),
}

/// The result of looking up a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndpointMatch {
    /// A known endpoint.
    Row(&'static Endpoint),
    /// A path that, with another method or spelling, is billed or belongs to an owned object.
    Misspelt,
    /// Not an endpoint.
    Unknown,
}

impl EndpointMatch {
    /// Format of its bodies and responses.
    pub(crate) fn route(self) -> Route {
        match self {
            Self::Row(row) => row.route,
            Self::Misspelt | Self::Unknown => Route::Other,
        }
    }

    /// Whether it is a known endpoint.
    pub(crate) const fn is_row(self) -> bool {
        matches!(self, Self::Row(_))
    }

    /// The dialect of its responses. `says_anthropic` means that the client speaks Anthropic's.
    pub(crate) fn dialect(self, path: &str, says_anthropic: bool) -> Dialect {
        match self {
            Self::Row(row) if says_anthropic && row.is_of_both() => Dialect::Anthropic,
            Self::Row(row) => row.dialect,
            Self::Misspelt | Self::Unknown if says_anthropic => Dialect::Anthropic,
            Self::Misspelt | Self::Unknown => Dialect::of(path),
        }
    }

    /// The dialect that a key must speak for a call without a model, if known.
    pub(crate) fn spoken(self, says_anthropic: bool) -> Option<Dialect> {
        match self {
            Self::Row(row) if row.takes_model() => None,
            Self::Row(_) => Some(self.dialect("", says_anthropic)),
            Self::Misspelt | Self::Unknown => says_anthropic.then_some(Dialect::Anthropic),
        }
    }
}

impl Endpoint {
    /// Whether Anthropic and others both have an endpoint of that name.
    pub(crate) fn is_of_both(&self) -> bool {
        OF_BOTH.contains(&self.path)
    }

    const fn makes(mut self, kind: ObjectKind) -> Self {
        self.makes = Some(kind);
        self
    }

    const fn names(mut self, kind: ObjectKind) -> Self {
        self.names = Some(kind);
        self
    }

    const fn lists(mut self, kind: ObjectKind) -> Self {
        self.lists = Some(kind);
        self
    }

    /// The path at the provider, with its parameters as `{name}`.
    pub(crate) fn url(&self) -> String {
        format!("/v1{}", self.path)
    }

    /// Whether its path identifies an object.
    pub(crate) const fn names_object(&self) -> bool {
        self.names.is_some()
    }

    /// Whether it deletes the object in its path.
    pub(crate) fn deletes(&self) -> bool {
        self.verb == Verb::Delete && self.names.is_some() && self.path.ends_with("/{id}")
    }

    /// Whether a request names a model.
    pub(crate) const fn takes_model(&self) -> bool {
        matches!(self.billing, BillingRule::ByModel)
    }

    /// Whether its body may be a form; all others accept JSON only.
    pub(crate) fn takes_form(&self) -> bool {
        FORMS.iter().any(|start| self.path.starts_with(start))
    }

    /// Whether it is a batch whose calls name their models.
    pub(crate) const fn takes_calls(&self) -> bool {
        matches!(self.billing, BillingRule::ByCalls)
    }

    /// Whether it is a batch whose calls are in a file.
    pub(crate) const fn takes_file(&self) -> bool {
        matches!(self.billing, BillingRule::ByFile)
    }
}

impl Verb {
    fn is(self, method: &Method) -> bool {
        match self {
            Self::Get => method == Method::GET,
            Self::Post => method == Method::POST,
            Self::Put => method == Method::PUT,
            Self::Delete => method == Method::DELETE,
        }
    }
}

/// Every row of the register.
pub(crate) fn all() -> &'static [Endpoint] {
    ENDPOINTS
}

/// The path for the provider: `/v1` and the endpoint's own, without other prefixes and repeated slashes. A path that is
/// no endpoint's stays unchanged.
pub(crate) fn canonical(path: &str) -> Cow<'_, str> {
    // The common case.
    if ENDPOINTS
        .iter()
        .take(5)
        .any(|row| path.strip_prefix("/v1") == Some(row.path))
    {
        return Cow::Borrowed(path);
    }
    match bare(path) {
        Some(own) if path.strip_prefix("/v1") == Some(&own) => Cow::Borrowed(path),
        Some(own) if ENDPOINTS.iter().any(|row| fits(row.path, &own)) => {
            Cow::Owned(format!("/v1{own}"))
        }
        _ => Cow::Borrowed(path),
    }
}

/// The model in the path of a model list entry, with any version before it.
pub(crate) fn model_of(path: &str) -> Option<String> {
    let path = canonical(path);
    let id = path.strip_prefix("/v1/models/")?;
    Some(text::percent_decoded(id))
}

/// Whether a path is the list of models or an entry of it.
pub(crate) fn is_models(path: &str) -> bool {
    // A quick check, since most paths are not.
    path.contains("models")
        && matches!(find(&Method::GET, &canonical(path)), EndpointMatch::Row(row) if row.path.starts_with("/models"))
}

/// Finds the row of a canonical path.
pub(crate) fn find(method: &Method, path: &str) -> EndpointMatch {
    let own = path.strip_prefix("/v1").unwrap_or_default();
    let row = |row: &&Endpoint| row.verb.is(method) && fits(row.path, own);
    if let Some(row) = ENDPOINTS.iter().find(row) {
        return EndpointMatch::Row(row);
    }
    let plain = plain(path);
    let read = bare(&plain).unwrap_or_default();
    let guarded = |row: &Endpoint| {
        let owned = row.names.is_some() || row.makes.is_some();
        (row.takes_model() || owned) && fits(row.path, &read)
    };
    if ENDPOINTS.iter().any(guarded) {
        return EndpointMatch::Misspelt;
    }
    EndpointMatch::Unknown
}

/// The object that a canonical path is about, even if the path is below an endpoint and not one itself.
pub(crate) fn object(path: &str) -> Option<(ObjectKind, &str)> {
    let own = path.strip_prefix("/v1")?;
    ENDPOINTS.iter().find_map(|row| {
        let kind = row.names?;
        let (start, _) = row.path.split_once('{')?;
        let id = own.strip_prefix(start)?.split('/').next()?;
        (!id.is_empty()).then_some((kind, id))
    })
}

/// A path without version, repeated slashes and trailing slash. Returns `None` if it has none of these.
fn bare(path: &str) -> Option<String> {
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    let mut rest = segments.clone();
    for _ in 0..VERSIONS_MAX {
        match segments.next() {
            Some(first) if VERSIONS.contains(&first) => rest = segments.clone(),
            // An old alias of one client.
            Some("v2") if path == "/v2/chat/completions" => rest = segments.clone(),
            _ => break,
        }
    }
    let mut own = String::with_capacity(path.len());
    for segment in rest {
        own.push('/');
        own.push_str(segment);
    }
    (!own.is_empty()).then_some(own)
}

/// Whether a path without version matches a row. A model's name may contain slashes.
fn fits(row: &str, path: &str) -> bool {
    let Some((start, parameters)) = row.split_once('{') else {
        return row == path;
    };
    let Some(rest) = path.strip_prefix(start) else {
        return false;
    };
    if parameters == "model}" {
        return !rest.is_empty() && rest.split('/').all(is_name);
    }
    if parameters == "part}" {
        return !rest.is_empty();
    }
    let mut wanted = parameters.split('/');
    wanted.next();
    let mut found = rest.split('/');
    if !found.next().is_some_and(is_id) {
        return false;
    }
    loop {
        match (wanted.next(), found.next()) {
            (None, None) => return true,
            (Some(wanted), Some(found)) if wanted.starts_with('{') => {
                if !is_id(found) {
                    return false;
                }
            }
            (Some(wanted), Some(found)) if wanted == found => {}
            _ => return false,
        }
    }
}

/// Whether a segment can only be an id.
fn is_id(segment: &str) -> bool {
    !segment.bytes().all(|byte| byte == b'.')
        && segment
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-.:~@".contains(&byte))
}

/// Like `is_id`, for part of a model's name, whose slashes may be escaped.
fn is_name(segment: &str) -> bool {
    let plain = segment
        .replace("%2F", "_")
        .replace("%2f", "_")
        .replace("%3A", "_");
    is_id(&plain)
}

/// A path as a lenient parser reads it: its segments, with `.` and `..` resolved.
fn plain(path: &str) -> String {
    let read = lenient(path);
    let mut segments: Vec<&str> = Vec::new();
    for segment in read.split('/').map(bare_segment) {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            own => segments.push(own),
        }
    }
    format!("/{}", segments.join("/"))
}

/// Whether a lenient parser finds a `.` or `..` segment. Upstream, such a path could mean another one than was checked
/// here.
pub(crate) fn has_dot_segment(path: &str) -> bool {
    let path = path.split('?').next().unwrap_or(path);
    // The common case: nothing to check.
    if memchr::memchr3(b'.', b'%', b'\\', path.as_bytes()).is_none() {
        return false;
    }
    let read = lenient(path);
    let mut segments = read.split('/').map(bare_segment);
    segments.any(|segment| matches!(segment, "." | ".."))
}

/// Percent-decoded twice, against double escapes, and in lower case.
fn lenient(path: &str) -> String {
    let read = text::percent_decoded(&text::percent_decoded(path));
    read.to_ascii_lowercase().replace('\\', "/")
}

/// A segment without parameters after `;`, blanks, and anything after NUL.
fn bare_segment(segment: &str) -> &str {
    let end = segment.find([';', '\0', '?', '#']).unwrap_or(segment.len());
    segment.get(..end).unwrap_or_default().trim()
}

#[cfg(test)]
mod reference_tests;
#[cfg(test)]
mod tests;
