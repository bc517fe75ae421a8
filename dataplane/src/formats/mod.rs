//! Formats of the data that passes through the proxy, read without rebuilding it: paths, request bodies, event streams,
//! usage and refusals. Also the few bodies that the gateway writes. Pure functions of bytes: no I/O, no clock.

pub(crate) mod batch;
mod blocks;
pub(crate) mod conversation;
pub(crate) mod endpoint;
pub(crate) mod error_classifier;
pub(crate) mod first_event;
mod json_skip;
mod lenient;
pub(crate) mod model_list;
mod multipart;
pub(crate) mod object_list;
pub(crate) mod own_bodies;
pub(crate) mod references;
pub(crate) mod request;
pub(crate) mod secret_mask;
pub(crate) mod sound;
pub(crate) mod sse;
pub(crate) mod tag;
mod text;
pub(crate) mod usage;
mod word_finder;

use std::borrow::Cow;

pub(crate) use endpoint::has_dot_segment;
pub(crate) use text::{parameters, percent_decoded};

/// The dialect that a client speaks. It decides the shape of the gateway's errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// All routes except Anthropic's.
    OpenAi,
    /// `/v1/messages` and everything below it.
    Anthropic,
}

/// Routes whose bodies or responses are inspected.
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
    /// Anything else, relayed unchanged.
    Other,
}

// === impl Dialect ===

impl Dialect {
    /// The dialect of a path.
    pub(crate) fn of(path: &str) -> Self {
        let path = endpoint::canonical(path);
        match path.strip_prefix("/v1/messages") {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => Self::Anthropic,
            Some(_) | None => Self::OpenAi,
        }
    }
}

// === impl Route ===

impl Route {
    /// Number of routes.
    pub(crate) const COUNT: usize = 6;

    /// Whether the response to a POST reports tokens that are counted.
    pub(crate) const fn is_metered(self) -> bool {
        !matches!(self, Self::Other)
    }

    /// Whether its streams use a known event protocol.
    pub(crate) const fn has_events(self) -> bool {
        matches!(
            self,
            Self::Chat | Self::Completions | Self::Responses | Self::Messages
        )
    }

    /// Whether a streamed response contains usage only if `stream_options.include_usage` asks for it.
    pub(crate) const fn usage_is_optional(self) -> bool {
        matches!(self, Self::Chat | Self::Completions)
    }
}

/// Whether a path is relayed: everything below `/v1` except the old dashboard, and endpoints without `/v1`.
pub(crate) fn is_relayed(path: &str) -> bool {
    let path = endpoint::canonical(path);
    path.starts_with("/v1/") && !path.starts_with("/v1/dashboard/")
}

/// The path and query to request from an upstream.
pub(crate) fn upstream_path(path_and_query: &str) -> Cow<'_, str> {
    let query = memchr::memchr(b'?', path_and_query.as_bytes());
    let end = query.unwrap_or(path_and_query.len());
    let (path, query) = path_and_query.split_at(end);
    match endpoint::canonical(path) {
        Cow::Borrowed(_) => Cow::Borrowed(path_and_query),
        Cow::Owned(path) => Cow::Owned(path + query),
    }
}

#[cfg(test)]
mod split_tests;
#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_paths_below_messages_speak_anthropic() {
        assert_eq!(Dialect::of("/v1/messages/count_tokens"), Dialect::Anthropic);
        assert_eq!(Dialect::of("/messages"), Dialect::Anthropic);
        assert_eq!(Dialect::of("/v1/messagesx"), Dialect::OpenAi);
        assert_eq!(Dialect::of("/v1/threads/t/messages"), Dialect::OpenAi);
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
            "/v1/..;a=b/x",
            "/v1/%252e%252e/x",
            "/v1/..%20/x",
            "/v1/..%00/x",
            "/v1/a%3f/..",
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
        }
    }
}
