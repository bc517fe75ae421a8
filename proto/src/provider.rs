//! Base URLs of providers, and how a request path is joined to one.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    net::IpAddr,
};

use http::{
    Uri,
    uri::{Authority, PathAndQuery, Scheme},
};

use crate::Invalid;

/// The credential and body dialect of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProviderType {
    /// `Authorization: Bearer`.
    #[default]
    Standard,
    /// `x-api-key` only.
    Anthropic,
    /// `api-key` only.
    Azure,
}

impl ProviderType {
    /// Reads the value of `provider_type`; empty means standard.
    ///
    /// # Errors
    /// Errors if the type is unknown.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        match text {
            "" | "standard" => Ok(Self::Standard),
            "anthropic" => Ok(Self::Anthropic),
            "azure" => Ok(Self::Azure),
            _ => Err(Invalid::new(
                "provider_type",
                "must be standard, anthropic or azure",
            )),
        }
    }

    /// The value as written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Anthropic => "anthropic",
            Self::Azure => "azure",
        }
    }
}

/// The target of connections: scheme, host and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderOrigin {
    https: bool,
    authority: Authority,
    /// Hash of the other two fields, computed once: an authority hashes byte by byte, and every call looks up its
    /// connection by it.
    hash: u64,
}

impl Hash for ProviderOrigin {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl ProviderOrigin {
    fn new(https: bool, authority: Authority) -> Self {
        let mut hasher = DefaultHasher::new();
        (https, &authority).hash(&mut hasher);
        Self {
            https,
            authority,
            hash: hasher.finish(),
        }
    }

    /// Host and port, as given.
    pub const fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The origin as a URL without a path.
    pub fn uri(&self) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(if self.https {
            Scheme::HTTPS
        } else {
            Scheme::HTTP
        });
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(PathAndQuery::from_static("/"));
        // All three parts are set, so this is a valid URL.
        Uri::from_parts(parts).unwrap_or_default()
    }
}

/// A provider's base URL: http or https, no credentials, no query, no fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl {
    origin: ProviderOrigin,
    /// Without a trailing slash; empty for the root.
    path: String,
}

impl BaseUrl {
    /// Reads a base URL.
    ///
    /// # Errors
    /// Errors if it is not a URL, or has parts that a base URL must not have.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let bad = |problem: &str| Invalid::new("Provider", problem);
        if text.contains('#') || text.len() > 2048 {
            return Err(bad("must be a URL without a fragment"));
        }
        let uri: Uri = text.trim().parse().map_err(|_| bad("is not a URL"))?;
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(bad("must begin with http:// or https://")),
        };
        let authority = uri.authority().ok_or_else(|| bad("has no host"))?.clone();
        if authority.as_str().contains('@') {
            return Err(bad("must not hold credentials"));
        }
        let after_host = authority.as_str().strip_prefix(authority.host());
        let port_fits = after_host
            .is_some_and(|port| port.is_empty() || port == ":" || authority.port_u16().is_some());
        if authority.host().is_empty() || !port_fits {
            return Err(bad("has no usable host and port"));
        }
        if uri.query().is_some() {
            return Err(bad("must not have a query"));
        }
        let path = uri.path().trim_end_matches('/').to_owned();
        Ok(Self {
            origin: ProviderOrigin::new(https, authority),
            path,
        })
    }

    /// Like `parse`, but a missing scheme means https.
    ///
    /// # Errors
    /// As `parse`.
    pub fn parse_lenient(text: &str) -> Result<Self, Invalid> {
        if text.contains("://") {
            Self::parse(text)
        } else {
            Self::parse(&format!("https://{text}"))
        }
    }

    /// Host name or address, without port.
    pub fn host(&self) -> &str {
        self.origin.authority.host()
    }

    /// The target of its connections.
    pub const fn origin(&self) -> &ProviderOrigin {
        &self.origin
    }

    /// Host and port, for the `Host` header.
    pub const fn authority(&self) -> &Authority {
        &self.origin.authority
    }

    /// Whether it is https.
    pub const fn is_https(&self) -> bool {
        self.origin.https
    }

    /// The URL as text, without a trailing slash.
    pub fn text(&self) -> String {
        let scheme = if self.is_https() { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority(), self.path)
    }

    /// Joins a request's path and query to this base. A base that ends in a version, `/v1` or another, keeps it:
    /// Google's is `/v1beta/openai`, Zhipu's `/api/paas/v4`.
    ///
    /// # Errors
    /// Errors if the result is not a valid path.
    pub fn join(&self, target: &PathAndQuery) -> Result<PathAndQuery, Invalid> {
        if self.path.is_empty() {
            return Ok(target.clone());
        }
        let path_and_query = target.as_str();
        let rest = if self.path.split('/').any(is_version) {
            path_and_query
                .strip_prefix("/v1")
                .filter(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
                .unwrap_or(path_and_query)
        } else {
            path_and_query
        };
        let joined = format!("{}{rest}", self.path);
        PathAndQuery::from_maybe_shared(joined)
            .map_err(|_| Invalid::new("Provider", "makes no path with the request's"))
    }

    /// Whether keys would cross the open network in clear: plain http to a host that is not a local name or address.
    pub fn is_exposed(&self) -> bool {
        if self.is_https() {
            return false;
        }
        let host = self.host().to_ascii_lowercase();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        match host.parse::<IpAddr>() {
            Ok(IpAddr::V4(ip)) => !(ip.is_loopback() || ip.is_private() || ip.is_link_local()),
            Ok(IpAddr::V6(ip)) => {
                !(ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local())
            }
            // A name without a dot resolves only inside a private network.
            Err(_) => {
                let last = host.rsplit_once('.').map(|(_, last)| last);
                last.is_some_and(|last| !["local", "internal"].contains(&last))
            }
        }
    }
}

/// Whether a segment of a path is a version: `v1`, `v4`, `v1beta`, `v1alpha2`.
fn is_version(segment: &str) -> bool {
    let Some(number) = segment.strip_prefix('v') else {
        return false;
    };
    let stage = number.trim_start_matches(|char: char| char.is_ascii_digit());
    let stage = stage.trim_end_matches(|char: char| char.is_ascii_digit());
    number.starts_with(|char: char| char.is_ascii_digit()) && ["", "alpha", "beta"].contains(&stage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_keeps_its_own_version() {
        for (base, asked) in [
            ("/v1beta/openai", "/v1beta/openai/chat/completions?a=1"),
            ("/api/paas/v4", "/api/paas/v4/chat/completions?a=1"),
            ("/api/v3", "/api/v3/chat/completions?a=1"),
            ("/v2", "/v2/chat/completions?a=1"),
            ("/v1alpha1", "/v1alpha1/chat/completions?a=1"),
            ("/vault", "/vault/v1/chat/completions?a=1"),
            ("/v", "/v/v1/chat/completions?a=1"),
            ("/v1x", "/v1x/v1/chat/completions?a=1"),
            ("", "/v1/chat/completions?a=1"),
        ] {
            let base = BaseUrl::parse(&format!("https://h{base}")).unwrap();
            let target = PathAndQuery::from_static("/v1/chat/completions?a=1");
            assert_eq!(base.join(&target).unwrap(), asked);
        }
    }

    #[test]
    fn paths_are_joined_without_doubling_v1() {
        let join = |base: &str, path: &'static str| {
            let base = BaseUrl::parse(base).unwrap();
            base.join(&PathAndQuery::from_static(path)).unwrap()
        };
        assert_eq!(join("https://api.openai.com", "/v1/models"), "/v1/models");
        assert_eq!(
            join("https://api.openai.com/v1/", "/v1/models?a=1"),
            "/v1/models?a=1"
        );
        assert_eq!(
            join("https://h/openai/v1", "/v1/chat/completions"),
            "/openai/v1/chat/completions"
        );
        assert_eq!(join("https://h/prefix", "/v1/models"), "/prefix/v1/models");
        assert_eq!(join("https://h/v1", "/v1beta/x"), "/v1/v1beta/x");
    }

    #[test]
    fn what_is_no_base_url_is_refused() {
        for bad in [
            "",
            "api.openai.com",
            "ftp://h",
            "https://",
            "https://u:p@h",
            "https://h?x=1",
            "https://h/#f",
            "http://h:99999",
            "https:// h",
            "https://[::1",
            "javascript:alert(1)",
        ] {
            assert!(BaseUrl::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_missing_scheme_means_https_where_that_is_allowed() {
        let base = BaseUrl::parse_lenient("api.openai.com").unwrap();
        assert_eq!(base.text(), "https://api.openai.com");
    }

    #[test]
    fn only_plain_http_to_the_outside_is_exposed() {
        let exposed = |url: &str| BaseUrl::parse(url).unwrap().is_exposed();
        assert!(exposed("http://api.example.com"));
        assert!(exposed("http://8.8.8.8"));
        for safe in [
            "https://api.example.com",
            "http://127.0.0.1:1",
            "http://[::1]:1",
            "http://10.0.0.1",
            "http://llama",
        ] {
            assert!(!exposed(safe), "{safe}");
        }
    }
}
