//! What passes through the proxy, read without being rebuilt: paths, request bodies, event streams,
//! usage, refusals, and the few bodies we write ourselves. Pure: bytes in, facts out; no I/O, no clock.

mod blocks;
pub(crate) mod conversation;
mod ends;
pub(crate) mod fault;
pub(crate) mod mask;
mod multipart;
pub(crate) mod opening;
pub(crate) mod reply;
pub(crate) mod request;
pub(crate) mod sse;
mod text;
pub(crate) mod usage;

use std::borrow::Cow;

pub(crate) use text::percent_decoded;

/// The dialect a client speaks, which decides the shape of our errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// Everything but Anthropic's routes.
    OpenAi,
    /// `/v1/messages` and what is below it.
    Anthropic,
}

/// The routes whose bodies or answers are looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// Chat completions.
    Chat,
    /// Text completions.
    Completions,
    /// Responses.
    Responses,
    /// Anthropic messages.
    Messages,
    /// Embeddings.
    Embeddings,
    /// Anything else, passed on as it comes.
    Other,
}

/// What a path says of a call, found out once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) family: Family,
    pub(crate) route: Route,
    /// Whether a POST to it names a model.
    pub(crate) takes_model: bool,
}

/// First segments that clients use without `/v1`.
const UNPREFIXED: [&str; 18] = [
    "assistants",
    "audio",
    "batches",
    "chat",
    "completions",
    "conversations",
    "embeddings",
    "files",
    "fine_tuning",
    "images",
    "messages",
    "models",
    "moderations",
    "realtime",
    "rerank",
    "responses",
    "threads",
    "uploads",
];

/// Endpoints beside the named routes whose request names a model.
const MODEL_ENDPOINTS: [&str; 11] = [
    "/audio/speech",
    "/audio/transcriptions",
    "/audio/translations",
    "/images/edits",
    "/images/generations",
    "/images/variations",
    "/messages/count_tokens",
    "/moderations",
    "/rerank",
    "/responses/compact",
    "/responses/input_tokens",
];

// === impl Family ===

impl Family {
    /// The family of a path, with or without `/v1` and a query.
    pub(crate) fn of(path: &str) -> Self {
        Self::at(&endpoint(path))
    }

    fn at(endpoint: &str) -> Self {
        match endpoint.strip_prefix("/messages") {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => Self::Anthropic,
            Some(_) | None => Self::OpenAi,
        }
    }
}

// === impl Place ===

impl Place {
    /// The place of a path, with or without `/v1` and a query.
    pub(crate) fn of(path: &str) -> Self {
        let endpoint = endpoint(path);
        let route = Route::at(&endpoint);
        Self {
            family: Family::at(&endpoint),
            route,
            takes_model: route.takes_model() || MODEL_ENDPOINTS.contains(&&*endpoint),
        }
    }
}

// === impl Route ===

impl Route {
    /// How many there are.
    pub(crate) const COUNT: usize = 6;

    fn at(endpoint: &str) -> Self {
        match endpoint {
            "/chat/completions" => Self::Chat,
            "/completions" => Self::Completions,
            "/responses" => Self::Responses,
            "/messages" => Self::Messages,
            "/embeddings" => Self::Embeddings,
            _ => Self::Other,
        }
    }

    /// Whether its request names a model. `Other` says no; `Place` knows more.
    const fn takes_model(self) -> bool {
        !matches!(self, Self::Other)
    }

    /// Whether the answer to a POST reports tokens that are to be counted.
    pub(crate) const fn is_metered(self) -> bool {
        !matches!(self, Self::Other)
    }

    /// Whether its streams are events of a protocol that is known here.
    pub(crate) const fn has_events(self) -> bool {
        matches!(
            self,
            Self::Chat | Self::Completions | Self::Responses | Self::Messages
        )
    }

    /// Whether a streamed answer carries usage only when `stream_options.include_usage` asks for it.
    pub(crate) const fn usage_is_optional(self) -> bool {
        matches!(self, Self::Chat | Self::Completions)
    }
}

/// Whether a path belongs to the proxy: everything below `/v1` but the old dashboard, and the aliases.
pub(crate) fn is_relayed(path: &str) -> bool {
    let upstream = upstream_path(path);
    upstream.starts_with("/v1/") && !upstream.starts_with("/v1/dashboard/")
}

/// The path and query to ask an upstream for: `/v1` before an unprefixed alias, `/v1/chat/completions`
/// for its `/v2` alias, everything else as it is.
pub(crate) fn upstream_path(path_and_query: &str) -> Cow<'_, str> {
    let query = memchr::memchr(b'?', path_and_query.as_bytes());
    let end = query.unwrap_or(path_and_query.len());
    let (path, query) = path_and_query.split_at(end);
    if path.starts_with("/v1/") {
        return Cow::Borrowed(path_and_query);
    }
    if path == "/v2/chat/completions" {
        return Cow::Owned(format!("/v1/chat/completions{query}"));
    }
    let first = path
        .strip_prefix('/')
        .and_then(|rest| rest.split('/').next());
    if first.is_some_and(|first| UNPREFIXED.contains(&first)) {
        return Cow::Owned(format!("/v1{path_and_query}"));
    }
    Cow::Borrowed(path_and_query)
}

/// Whether a path has a `.` or `..` segment, also written with `%2e`, `%2f`, `%5c` or `\`. Such a path
/// could mean another one upstream than the one that was checked here.
pub(crate) fn has_dot_segment(path: &str) -> bool {
    if memchr::memchr3(b'.', b'%', b'\\', path.as_bytes()).is_none() {
        return false;
    }
    let plain;
    let path = if path.contains(['%', '\\']) {
        let lower = path.to_ascii_lowercase();
        plain = lower
            .replace("%2e", ".")
            .replace("%2f", "/")
            .replace("%5c", "/")
            .replace('\\', "/");
        plain.as_str()
    } else {
        path
    };
    let path = path.split('?').next().unwrap_or(path);
    path.split('/')
        .any(|segment| segment == "." || segment == "..")
}

/// The path without query, version and trailing slash, as a lenient upstream would understand it.
fn endpoint(path: &str) -> Cow<'_, str> {
    let path = path.split('?').next().unwrap_or(path);
    let mut before = 0;
    let plain = path.bytes().all(|byte| {
        let doubled = before == b'/' && byte == b'/';
        before = byte;
        !doubled && byte != b'%' && !byte.is_ascii_uppercase()
    });
    if plain {
        return Cow::Borrowed(plain_endpoint(path));
    }
    let mut spelled = percent_decoded(path).to_ascii_lowercase();
    while spelled.contains("//") {
        spelled = spelled.replace("//", "/");
    }
    Cow::Owned(plain_endpoint(&spelled).to_owned())
}

fn plain_endpoint(path: &str) -> &str {
    let path = path.strip_suffix('/').unwrap_or(path);
    if path == "/v2/chat/completions" {
        return "/chat/completions";
    }
    path.strip_prefix("/v1")
        .filter(|rest| rest.starts_with('/'))
        .unwrap_or(path)
}

#[cfg(test)]
mod split_tests;
#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn route(path: &str) -> Route {
        Place::of(path).route
    }

    #[test]
    fn a_route_is_known_with_and_without_its_version() {
        for (path, expected) in [
            ("/v1/chat/completions", Route::Chat),
            ("/chat/completions", Route::Chat),
            ("/v2/chat/completions", Route::Chat),
            ("/v1/chat/completions/", Route::Chat),
            ("/v1/chat/completions?x=1", Route::Chat),
            ("/v1/completions", Route::Completions),
            ("/responses", Route::Responses),
            ("/v1/messages", Route::Messages),
            ("/embeddings", Route::Embeddings),
            ("/v1/models", Route::Other),
            ("/v1chat/completions", Route::Other),
            ("/v2/embeddings", Route::Other),
            // Some upstreams understand these, so they are metered like the plain spelling.
            ("/v1/chat%2Fcompletions", Route::Chat),
            ("/v1/chat/completi%6Fns", Route::Chat),
            ("/v1//chat/completions", Route::Chat),
            ("/v1/Chat/Completions", Route::Chat),
            ("/v1/chat/%zz", Route::Other),
            ("/v1/threads/t/messages", Route::Other),
        ] {
            assert_eq!(route(path), expected, "{path}");
        }
    }

    #[test]
    fn only_paths_below_messages_speak_anthropic() {
        assert_eq!(Family::of("/v1/messages/count_tokens"), Family::Anthropic);
        assert_eq!(Family::of("/messages?beta=true"), Family::Anthropic);
        assert_eq!(Family::of("/v1/messagesx"), Family::OpenAi);
        assert_eq!(Family::of("/v1/threads/t/messages"), Family::OpenAi);
    }

    #[test]
    fn paths_that_take_a_model_are_known() {
        for path in [
            "/v1/images/variations",
            "/audio/speech",
            "/v1/messages/count_tokens",
            "/v1/chat/completions",
        ] {
            assert!(Place::of(path).takes_model, "{path}");
        }
        for path in ["/v1/files", "/v1/models", "/v1/responses/resp_1", "/"] {
            assert!(!Place::of(path).takes_model, "{path}");
        }
    }

    #[test]
    fn an_alias_is_asked_for_under_v1() {
        for (path, upstream) in [
            ("/chat/completions", "/v1/chat/completions"),
            ("/v2/chat/completions?a=b", "/v1/chat/completions?a=b"),
            ("/models/gpt-4o?x", "/v1/models/gpt-4o?x"),
            ("/models?x=/v1/", "/v1/models?x=/v1/"),
            ("/files", "/v1/files"),
            ("/messages/count_tokens", "/v1/messages/count_tokens"),
        ] {
            assert_eq!(upstream_path(path), upstream);
        }
        for path in [
            "/v1/models",
            "/v1beta/models",
            "/filesystem",
            "/",
            "",
            "/x?y=/files",
            "/dashboard/info",
        ] {
            assert!(
                matches!(upstream_path(path), Cow::Borrowed(same) if same == path),
                "{path}"
            );
        }
    }

    #[test]
    fn dot_segments_are_seen_however_they_are_written() {
        for path in [
            "/v1/../x",
            "/v1/.",
            "/v1/%2e%2E/x",
            "/v1/.%2e",
            "/v1/%2E/",
            "/v1/..%2fx",
            "/v1/a%5C..%5cb",
            "/v1\\..\\x",
        ] {
            assert!(has_dot_segment(path), "{path}");
        }
        for path in [
            "/v1/models/gpt-4.1",
            "/v1/...",
            "/v1/a..b",
            "/v1/x?y=/../z",
            "/v1/%2e%2e%2e",
        ] {
            assert!(!has_dot_segment(path), "{path}");
        }
    }

    proptest! {
        #[test]
        fn asking_twice_changes_nothing_more(path in "/(v1|v2|chat|files|x)?(/[a-z]{0,4}){0,3}([?][a-z/]{0,4})?") {
            let once = upstream_path(&path).into_owned();
            prop_assert_eq!(upstream_path(&once).into_owned(), once.clone());
            prop_assert_eq!(route(&once), route(&path));
        }
    }
}
