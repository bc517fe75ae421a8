//! Which endpoint a request is for. A path is understood in the one spelling that goes on to the provider: what a
//! lenient provider would read as an endpoint, and what stands for none here, is refused.

mod table;

use std::borrow::Cow;

use http::Method;
use proxyxai_contract::object::ObjectKind;

use super::{Dialect, Route, text};
use table::{ENDPOINTS, OF_BOTH};

/// Segments that clients put before an endpoint's own, whatever they took the base to be.
const VERSIONS: [&str; 2] = ["v1", "openai"];
/// Endpoints below these take forms.
const FORMS: [&str; 7] = [
    "/audio/",
    "/containers",
    "/files",
    "/images/",
    "/skills",
    "/uploads",
    "/videos",
];
/// At most so many of them.
const VERSIONS_MAX: usize = 3;

/// A row of the register.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) verb: Verb,
    /// Without version; `{name}` is any segment.
    path: &'static str,
    pub(crate) dialect: Dialect,
    /// Whose bodies and answers it has.
    pub(crate) route: Route,
    pub(crate) billing: BillingRule,
    /// What its answer is about, under its `id`, is the caller's from then on.
    pub(crate) makes: Option<ObjectKind>,
    /// What the first parameter of the path is the id of.
    names: Option<ObjectKind>,
    /// What it lists, which is answered here.
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

/// How a call of an endpoint is paid for. There is no row without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BillingRule {
    /// By what the model that its request names is used for.
    ByModel,
    /// By what the models are used for that its calls name, when they are done.
    ByCalls,
    /// The same, of calls that stand in a file.
    ByFile,
    /// Costs nothing at any provider.
    Free,
    /// Not at all, for this reason: the operator may open it at a price of his own.
    Closed(&'static str),
}

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndpointMatch {
    /// To an endpoint.
    Row(&'static Endpoint),
    /// To one that is paid for, or about somebody's objects, by another method than its own or in another spelling.
    Misspelt,
    /// Nobody knows.
    Unknown,
}

impl EndpointMatch {
    /// Whose bodies and answers it has.
    pub(crate) fn route(self) -> Route {
        match self {
            Self::Row(row) => row.route,
            Self::Misspelt | Self::Unknown => Route::Other,
        }
    }

    /// Whether it is an endpoint that is known.
    pub(crate) const fn is_row(self) -> bool {
        matches!(self, Self::Row(_))
    }

    /// The dialect of its answers; `says_anthropic` tells that the client speaks Anthropic's.
    pub(crate) fn dialect(self, path: &str, says_anthropic: bool) -> Dialect {
        match self {
            Self::Row(row) if says_anthropic && row.is_of_both() => Dialect::Anthropic,
            Self::Row(row) => row.dialect,
            Self::Misspelt | Self::Unknown if says_anthropic => Dialect::Anthropic,
            Self::Misspelt | Self::Unknown => Dialect::of(path),
        }
    }

    /// What a key has to speak for a call that names no model, as far as that is known.
    pub(crate) fn spoken(self, says_anthropic: bool) -> Option<Dialect> {
        match self {
            Self::Row(row) if row.takes_model() => None,
            Self::Row(_) => Some(self.dialect("", says_anthropic)),
            Self::Misspelt | Self::Unknown => says_anthropic.then_some(Dialect::Anthropic),
        }
    }
}

impl Endpoint {
    /// Whether Anthropic and others have an endpoint of that name.
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

    /// The path that a provider is asked for, with its parameters as `{name}`.
    pub(crate) fn url(&self) -> String {
        format!("/v1{}", self.path)
    }

    /// Whether its path is about an object.
    pub(crate) const fn names_object(&self) -> bool {
        self.names.is_some()
    }

    /// Whether the object that its path is about is gone when this is done.
    pub(crate) fn deletes(&self) -> bool {
        self.verb == Verb::Delete && self.names.is_some() && self.path.ends_with("/{id}")
    }

    /// Whether a request names a model.
    pub(crate) const fn takes_model(&self) -> bool {
        matches!(self.billing, BillingRule::ByModel)
    }

    /// Whether its body may be a form; all others are JSON.
    pub(crate) fn takes_form(&self) -> bool {
        FORMS.iter().any(|start| self.path.starts_with(start))
    }

    /// Whether it is a batch of calls that name theirs.
    pub(crate) const fn takes_calls(&self) -> bool {
        matches!(self.billing, BillingRule::ByCalls)
    }

    /// Whether it is one of calls that stand in a file.
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

/// The path that a provider is asked for: `/v1` and the endpoint's own, whatever came before that and however
/// many slashes there were. What is no endpoint's stays as it is.
pub(crate) fn canonical(path: &str) -> Cow<'_, str> {
    // Mostly.
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

/// The model whose entry a path of the lists of models asks for, whatever version is before it.
pub(crate) fn model_of(path: &str) -> Option<String> {
    let path = canonical(path);
    let id = path.strip_prefix("/v1/models/")?;
    Some(text::percent_decoded(id))
}

/// Whether a path is the list of models, or an entry of it.
pub(crate) fn is_models(path: &str) -> bool {
    // Mostly it is not, which shows at once.
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

/// The object that a canonical path is about, also where it is no row's but below one.
pub(crate) fn object(path: &str) -> Option<(ObjectKind, &str)> {
    let own = path.strip_prefix("/v1")?;
    ENDPOINTS.iter().find_map(|row| {
        let kind = row.names?;
        let (start, _) = row.path.split_once('{')?;
        let id = own.strip_prefix(start)?.split('/').next()?;
        (!id.is_empty()).then_some((kind, id))
    })
}

/// A path without version, doubled slashes and one at the end; none when that is not there to be taken away.
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

/// Whether a path without version is a row's. A model's name may have slashes in it.
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

/// Whether a segment can be the id of something, and nothing else.
fn is_id(segment: &str) -> bool {
    !segment.bytes().all(|byte| byte == b'.')
        && segment
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-.:~@".contains(&byte))
}

/// The same for a part of a model's name, whose slashes may be escaped.
fn is_name(segment: &str) -> bool {
    let plain = segment
        .replace("%2F", "_")
        .replace("%2f", "_")
        .replace("%3A", "_");
    is_id(&plain)
}

/// What a lenient reader makes of a path: its segments, with `.` and `..` resolved.
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

/// Whether a path has a `.` or `..` segment for the same reader. Such a path could mean another one upstream than the
/// one that was checked here.
pub(crate) fn has_dot_segment(path: &str) -> bool {
    let path = path.split('?').next().unwrap_or(path);
    // Nearly always there is nothing to look at.
    if memchr::memchr3(b'.', b'%', b'\\', path.as_bytes()).is_none() {
        return false;
    }
    let read = lenient(path);
    let mut segments = read.split('/').map(bare_segment);
    segments.any(|segment| matches!(segment, "." | ".."))
}

/// Decoded, twice for what was escaped twice, and in small letters.
fn lenient(path: &str) -> String {
    let read = text::percent_decoded(&text::percent_decoded(path));
    read.to_ascii_lowercase().replace('\\', "/")
}

/// A segment without parameters after a `;`, blanks, and what is behind a NUL.
fn bare_segment(segment: &str) -> &str {
    let end = segment.find([';', '\0', '?', '#']).unwrap_or(segment.len());
    segment.get(..end).unwrap_or_default().trim()
}

#[cfg(test)]
mod reference_tests;
#[cfg(test)]
mod tests;
