//! Headers that the operator adds to the calls of a key: its organisation and project, beta flags. Everyone who may see
//! the key sees them, so names of credentials are refused. So are headers that the gateway itself writes.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};

use crate::Invalid;

/// More are a mistake.
const HEADERS_MAX: usize = 32;
const NAME_BYTES_MAX: usize = 128;
const VALUE_BYTES_MAX: usize = 1024;

/// Headers that belong to one connection, frame a message, describe its body, or are written by the gateway.
const NOT_SETTABLE: &[&str] = &[
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "traceparent",
    "tracestate",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-request-id",
];

/// Words in the names of headers that carry credentials.
const CREDENTIALS: &[&str] = &[
    "auth",
    "authorization",
    "cookie",
    "cookie2",
    "credential",
    "credentials",
    "key",
    "apikey",
    "passwd",
    "password",
    "secret",
    "token",
];

/// Headers in the order of their names, each once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyHeaders(Vec<(HeaderName, HeaderValue)>);

impl KeyHeaders {
    /// Takes pairs of names and values.
    ///
    /// # Errors
    /// Errors if there are too many, one must not be set, or a name comes twice, ignoring case.
    pub fn parse<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, Invalid> {
        let mut headers = BTreeMap::new();
        for (name, value) in pairs {
            let bad = |problem: &str| {
                let shown: String = name.chars().take(NAME_BYTES_MAX).collect();
                Invalid::new("headers", format!("{shown:?} {problem}"))
            };
            let parsed = HeaderName::from_bytes(name.as_bytes()).ok();
            let parsed = parsed.filter(|_| name.len() <= NAME_BYTES_MAX);
            let parsed = parsed.ok_or_else(|| bad("is no name of a header"))?;
            if NOT_SETTABLE.contains(&parsed.as_str()) {
                return Err(bad("is written by the gateway for each call"));
            }
            if is_credential(parsed.as_str()) {
                return Err(bad("is a credential, which has its place in SecretKey"));
            }
            let plain = |byte: u8| matches!(byte, b' '..=b'~');
            let fits = (1..=VALUE_BYTES_MAX).contains(&value.len())
                && value.trim() == value
                && value.bytes().all(plain);
            let written = HeaderValue::from_str(value).ok().filter(|_| fits);
            let written =
                written.ok_or_else(|| bad("must have 1 to 1024 signs of visible ASCII"))?;
            if headers
                .insert(parsed.as_str().to_owned(), (parsed, written))
                .is_some()
            {
                return Err(bad("is given twice"));
            }
        }
        if headers.len() > HEADERS_MAX {
            return Err(Invalid::new(
                "headers",
                format!("must be at most {HEADERS_MAX}"),
            ));
        }
        Ok(Self(headers.into_values().collect()))
    }

    /// Each header.
    pub fn iter(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    /// The headers as text, by name.
    pub fn texts(&self) -> BTreeMap<String, String> {
        let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
        let pairs = self.iter();
        pairs
            .map(|(name, value)| (name.as_str().to_owned(), text(value)))
            .collect()
    }
}

/// Whether the name of a header says that its value is a credential.
fn is_credential(name: &str) -> bool {
    let part = |part: &str| CREDENTIALS.contains(&part);
    name.split(['-', '_', '.']).any(part)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(name: &str, value: &str) -> Result<KeyHeaders, Invalid> {
        KeyHeaders::parse([(name, value)])
    }

    #[test]
    fn whose_account_a_key_is_and_what_it_tries_can_be_said() {
        for name in [
            "OpenAI-Organization",
            "OpenAI-Project",
            "OpenAI-Beta",
            "anthropic-beta",
            "anthropic-version",
            "HTTP-Referer",
            "X-Title",
            "x-goog-user-project",
            "x-max-tokens",
        ] {
            let headers = of(name, "org_1, two").unwrap();
            let name = name.to_ascii_lowercase();
            assert_eq!(headers.texts(), [(name, "org_1, two".to_owned())].into());
        }
    }

    #[test]
    fn what_is_not_the_operators_to_say_is_refused_by_name() {
        for name in [
            "Host",
            "Connection",
            "Transfer-Encoding",
            "Content-Length",
            "TE",
            "Upgrade",
            "Expect",
            "Via",
            "Authorization",
            "Proxy-Authorization",
            "X-Api-Key",
            "api-key",
            "x-goog-api-key",
            "Cookie",
            "cf-aig-authorization",
            "X-Amz-Security-Token",
            "Content-Type",
            "Accept-Encoding",
        ] {
            let problem = of(name, "x").unwrap_err().to_string();
            assert!(problem.contains(name), "{problem}");
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        for (name, value) in [
            ("", "x"),
            ("a b", "x"),
            ("a\r\nb", "x"),
            ("ä", "x"),
            ("a", ""),
            ("a", " x"),
            ("a", "x\r\nHost: y"),
            ("a", "\u{e4}"),
            ("a", "x\0"),
        ] {
            assert!(of(name, value).is_err(), "{name:?} {value:?}");
        }
        assert!(of("a", &"x".repeat(1025)).is_err());
        let twice = KeyHeaders::parse([("OpenAI-Beta", "a"), ("openai-beta", "b")]);
        assert!(twice.unwrap_err().problem.contains("twice"));
        let many: Vec<_> = (0..33).map(|n| format!("x-{n}")).collect();
        assert!(KeyHeaders::parse(many.iter().map(|name| (name.as_str(), "x"))).is_err());
    }

    proptest! {
        #[test]
        fn what_is_taken_is_taken_again(name in "[A-Za-z-]{1,12}", value in ".{0,12}") {
            if let Ok(headers) = of(&name, &value) {
                let texts = headers.texts();
                let again = KeyHeaders::parse(texts.iter().map(|(name, value)| (name.as_str(), value.as_str())));
                prop_assert_eq!(again, Ok(headers));
            }
        }
    }
}
