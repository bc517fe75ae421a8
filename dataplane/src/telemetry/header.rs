//! Headers in which the gateway reports how it got a response; only those that the configuration asks for.

use std::time::Duration;

use http::{HeaderMap, HeaderName};
use proxyxai_contract::{
    Invalid,
    id::{KeyId, Level},
};

const PREFIX: &str = "x-proxyxai-";

/// One of these headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GatewayHeader {
    /// The id of the upstream key that answered.
    Key,
    /// The level of that key.
    Level,
    /// Attempts made.
    Tries,
    /// The gateway's own time until the response's head, in microseconds.
    Overhead,
}

/// The values of the headers.
#[derive(Debug, Clone, Copy)]
pub(super) struct GatewayHeaderValues {
    pub(super) by: Option<(KeyId, Level)>,
    pub(super) tries: u32,
    pub(super) overhead: Duration,
}

impl GatewayHeader {
    const ALL: [Self; 4] = [Self::Key, Self::Level, Self::Tries, Self::Overhead];

    const fn name(self) -> HeaderName {
        HeaderName::from_static(match self {
            Self::Key => "x-proxyxai-key",
            Self::Level => "x-proxyxai-level",
            Self::Tries => "x-proxyxai-tries",
            Self::Overhead => "x-proxyxai-overhead-us",
        })
    }

    /// Parses a list such as `key, tries`; whole header names are accepted too.
    ///
    /// # Errors
    /// Errors if there is no such header.
    pub fn list(text: &str) -> Result<Vec<Self>, Invalid> {
        let words = text.split([',', ' ']).filter(|word| !word.is_empty());
        words
            .map(|word| {
                let word = word.to_ascii_lowercase();
                let word = word.strip_prefix(PREFIX).unwrap_or(&word);
                let named = |header: &Self| {
                    let name = header.name();
                    name.as_str().strip_prefix(PREFIX) == Some(word)
                };
                let header = Self::ALL.into_iter().find(named);
                let problem = "must be a list of key, level, tries and overhead-us";
                header.ok_or_else(|| Invalid::new("headers", problem))
            })
            .collect()
    }
}

/// Puts the configured headers into a response. Those of a node above are removed, since they would be taken for this
/// one's.
pub(super) fn insert_headers(
    wanted: &[GatewayHeader],
    said: &GatewayHeaderValues,
    headers: &mut HeaderMap,
) {
    if wanted.is_empty() {
        return;
    }
    for header in GatewayHeader::ALL {
        headers.remove(header.name());
    }
    for header in wanted {
        let value = match header {
            GatewayHeader::Key => said.by.map(|(key, _)| key.get().into()),
            GatewayHeader::Level => said.by.map(|(_, level)| u16::from(level.get()).into()),
            GatewayHeader::Tries => Some(said.tries.into()),
            GatewayHeader::Overhead => {
                let micros = u64::try_from(said.overhead.as_micros());
                Some(micros.unwrap_or(u64::MAX).into())
            }
        };
        if let Some(value) = value {
            headers.insert(header.name(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_named_with_and_without_their_prefix() {
        let all = GatewayHeader::list("key,level, TRIES overhead-us").unwrap();
        assert_eq!(all, GatewayHeader::ALL);
        let whole = GatewayHeader::list("x-proxyxai-key, X-ProxyXAI-Overhead-US").unwrap();
        assert_eq!(whole, [GatewayHeader::Key, GatewayHeader::Overhead]);
        assert_eq!(GatewayHeader::list("").unwrap(), []);
        for bad in ["secret", "key,x-key", "keys"] {
            assert!(GatewayHeader::list(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_node_above_does_not_speak_for_this_one() {
        let mut headers = HeaderMap::new();
        headers.insert("x-proxyxai-key", 99.into());
        let said = GatewayHeaderValues {
            by: None,
            tries: 0,
            overhead: Duration::from_micros(35),
        };
        insert_headers(&[], &said, &mut headers);
        assert_eq!(headers["x-proxyxai-key"], "99", "nothing is asked for");
        insert_headers(&GatewayHeader::ALL, &said, &mut headers);
        let names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["x-proxyxai-tries", "x-proxyxai-overhead-us"]);
        assert_eq!(headers["x-proxyxai-overhead-us"], "35");
    }
}
