//! Which headers cross the gateway. End-to-end headers do. Those of one connection, credentials, and account names do
//! not: a client's would count against the key, and a provider's would tell clients about the pool.

use std::net::IpAddr;

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{self, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, VIA},
};
use proxyxai_contract::{access::IpList, client_key, provider::ProviderType};

use super::terms::MAX_COST;
use crate::{
    decide::address,
    state::KeyState,
    telemetry::{UPSTREAM_REQUEST_ID, X_REQUEST_ID},
};

pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(crate) const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const API_KEY: HeaderName = HeaderName::from_static("api-key");
const ANTHROPIC_VERSION: HeaderName = HeaderName::from_static("anthropic-version");
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");
/// The version that Anthropic documents for its Messages API.
const ANTHROPIC_VERSION_DEFAULT: HeaderValue = HeaderValue::from_static("2023-06-01");

/// Removes hop-by-hop headers, in place.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    strip(headers, |name, _| is_hop_by_hop(name));
}

/// Whether a header belongs to one connection (RFC 9110, section 7.6.1).
fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Whether a request asks for a WebSocket, alone or among other protocols. Of those, `h2c` may be ignored (RFC 9110,
/// section 7.8); a WebSocket client cannot use an ordinary response.
pub(crate) fn asks_websocket(headers: &HeaderMap) -> bool {
    let protocols = headers.get_all(header::UPGRADE).iter();
    protocols
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|protocol| {
            let name = protocol.split(|byte| *byte == b'/').next();
            name.is_some_and(|name| name.trim_ascii().eq_ignore_ascii_case(b"websocket"))
        })
}

/// Whether a header is a credential or names its account. In any dialect, only the key may set these.
fn is_credential(name: &str) -> bool {
    let known = |name: &str| {
        name.ends_with("api-key")
            || matches!(
                name,
                "anthropic-organization-id"
                    | "anthropic-workspace-id"
                    | "authorization"
                    | "cookie"
                    | "helicone-auth"
                    | "ocp-apim-subscription-key"
                    | "openai-organization"
                    | "openai-project"
                    | "proxy-authorization"
                    | "x-access-token"
                    | "x-amz-security-token"
                    | "x-auth-token"
                    | "x-goog-user-project"
            )
    };
    // Some servers treat `_` like `-` in names.
    known(name) || (name.contains('_') && known(&name.replace('_', "-")))
}

/// Whether a provider's header says whose key answered, or is for its own browser pages.
fn is_providers_own(name: &str) -> bool {
    is_hop_by_hop(name)
        || matches!(
            name,
            "anthropic-organization-id"
                | "anthropic-workspace-id"
                | "openai-organization"
                | "openai-project"
                | "set-cookie"
                | "set-cookie2"
                | "x-goog-user-project"
        )
}

/// Whether a client's header is not for the upstream: it belongs to the client's connection, is a credential, or would
/// turn the checked method into another.
fn is_clients_own(name: &str) -> bool {
    is_hop_by_hop(name)
        || is_credential(name)
        || matches!(
            name,
            "expect"
                | "x-http-method"
                | "x-http-method-override"
                | "x-method-override"
                | "x-proxyxai-tag"
                | MAX_COST
        )
}

/// Removes from a response what is not for the client.
pub(super) fn strip_for_client(headers: &mut HeaderMap) {
    strip(headers, |name, _| is_providers_own(name));
}

/// Removes headers, and those that `Connection` names. Checking each header that is there costs less than looking for
/// each that might be.
fn strip(headers: &mut HeaderMap, goes: impl Fn(&str, &HeaderValue) -> bool) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // The request id always crosses.
        .filter(|name| *name != X_REQUEST_ID)
        .collect();
    let going = headers
        .iter()
        .filter(|(name, value)| goes(name.as_str(), value));
    let going: Vec<HeaderName> = going.map(|(name, _)| name.clone()).collect();
    for name in going.iter().chain(&named) {
        headers.remove(name);
    }
}

/// Renames the provider's own request id, since the call has one already. A node above uses the call's id and has
/// already renamed the provider's.
pub(crate) fn keep_upstream_id(answer: &mut HeaderMap, request: &HeaderMap) {
    if let Some(id) = answer.remove(X_REQUEST_ID)
        && request.get(X_REQUEST_ID) != Some(&id)
    {
        answer.insert(UPSTREAM_REQUEST_ID, id);
    }
}

/// Turns a client's headers into the part that all attempts share. A request that declares its length keeps doing so;
/// one that does not (mostly a GET) stays without.
pub(crate) fn prepare_for_upstream(headers: &mut HeaderMap, via: HeaderValue, metered: bool) {
    let framed = [CONTENT_LENGTH, header::TRANSFER_ENCODING]
        .iter()
        .any(|name| headers.contains_key(name));
    let takes_trailers = takes_trailers(headers);
    let key = credential_from(headers).map(|key| key.as_bytes().to_vec());
    let holds_key = |value: &HeaderValue| {
        let key = key.as_deref().unwrap_or_default();
        !key.is_empty() && holds(value.as_bytes(), key)
    };
    // Each attempt sets these two anew; removing them would only cost time.
    let said_anew = |name: &str| matches!(name, "host" | "content-length");
    // Some protocols carry keys in fields of their own, such as `Sec-WebSocket-Protocol`.
    strip(headers, |name, value| {
        !said_anew(name) && (is_clients_own(name) || holds_key(value))
    });
    if metered {
        // A compressed response could not be metered as it passes.
        headers.insert(
            header::ACCEPT_ENCODING,
            HeaderValue::from_static("identity"),
        );
    }
    headers.append(VIA, via);
    if framed {
        // Set to the length of what is sent, which an attempt may change.
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    if takes_trailers {
        headers.insert(header::TE, TRAILERS);
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
}

/// Whether a value contains the key. Most are too short for that.
fn holds(value: &[u8], key: &[u8]) -> bool {
    value.len() >= key.len() && memchr::memmem::find(value, key).is_some()
}

/// Whether the client accepts trailers after a response.
fn takes_trailers(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::TE).iter();
    let mut items = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    items.any(|item| item.trim().eq_ignore_ascii_case("trailers"))
}

/// The trailers of a request that may cross.
pub(crate) fn without_credentials(mut trailers: HeaderMap) -> HeaderMap {
    strip(&mut trailers, |name, _| is_credential(name));
    trailers
}

/// Prepares a request for trailers, which need chunked encoding and have to be announced.
pub(crate) fn announce(headers: &mut HeaderMap, trailers: &HeaderMap) {
    headers.remove(CONTENT_LENGTH);
    headers.insert(
        header::TRANSFER_ENCODING,
        HeaderValue::from_static("chunked"),
    );
    let announced: Vec<_> = headers.get_all(header::TRAILER).iter().cloned().collect();
    let announced = |name: &HeaderName| {
        let lists = announced.iter().filter_map(|value| value.to_str().ok());
        lists
            .flat_map(|list| list.split(','))
            .any(|item| item.trim().eq_ignore_ascii_case(name.as_str()))
    };
    for name in trailers.keys().filter(|name| !announced(name)) {
        headers.append(header::TRAILER, name.clone().into());
    }
}

/// Adds the key's headers, its credential last. Headers set by the operator override the client's.
pub(crate) fn add_key_headers(headers: &mut HeaderMap, key: &KeyState, anthropic_route: bool) {
    for (name, value) in key.key.config.headers.iter() {
        headers.insert(name.clone(), value.clone());
    }
    authorize(headers, key, anthropic_route);
}

/// Adds the key's credential.
fn authorize(headers: &mut HeaderMap, key: &KeyState, anthropic_route: bool) {
    match key.key.config.provider_type {
        ProviderType::Azure => drop(headers.insert(API_KEY, key.bare.clone())),
        ProviderType::Anthropic => anthropic_only(headers, key),
        ProviderType::Standard if key.key.provider.host() == "api.anthropic.com" => {
            anthropic_only(headers, key);
        }
        ProviderType::Standard => {
            headers.insert(AUTHORIZATION, key.bearer.clone());
            if anthropic_route {
                headers.insert(X_API_KEY, key.bare.clone());
            }
        }
    }
}

fn anthropic_only(headers: &mut HeaderMap, key: &KeyState) {
    headers.insert(X_API_KEY, key.bare.clone());
    headers
        .entry(ANTHROPIC_VERSION)
        .or_insert(ANTHROPIC_VERSION_DEFAULT);
}

/// Whether a client speaks the Anthropic dialect, on any path: its clients send the version that they know.
pub(crate) fn speaks_anthropic(headers: &HeaderMap) -> bool {
    headers.contains_key(ANTHROPIC_VERSION)
}

/// The client's address: the peer, or the one that trusted proxies report.
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &IpList) -> IpAddr {
    let forwarded = headers
        .get_all(X_FORWARDED_FOR)
        .iter()
        .filter_map(|value| value.to_str().ok());
    address::client(peer, forwarded, trusted)
}

/// The client key in a request, in any of its forms.
pub(crate) fn credential_from(headers: &HeaderMap) -> Option<&str> {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok();
    client_key::credential_from(text(AUTHORIZATION), text(X_API_KEY))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn what_connection_names_does_not_cross() {
        let mut headers = map(&[
            ("connection", "x-one, close, x-request-id"),
            ("x-one", "1"),
            ("x-request-id", "id"),
            ("x-two", "2"),
            ("te", "trailers"),
        ]);
        strip_hop_by_hop(&mut headers);
        assert_eq!(headers, map(&[("x-two", "2"), ("x-request-id", "id")]));
    }

    #[test]
    fn a_providers_id_of_an_answer_takes_another_name() {
        let request = map(&[("x-request-id", "ours")]);
        for (came, goes) in [
            (
                &[("x-request-id", "theirs")][..],
                &[("x-upstream-request-id", "theirs")][..],
            ),
            (&[("x-request-id", "ours")], &[]),
            (
                &[
                    ("x-request-id", "ours"),
                    ("x-upstream-request-id", "theirs"),
                ],
                &[("x-upstream-request-id", "theirs")],
            ),
            (&[("request-id", "theirs")], &[("request-id", "theirs")]),
        ] {
            let mut answer = map(came);
            keep_upstream_id(&mut answer, &request);
            assert_eq!(answer, map(goes));
        }
    }

    #[test]
    fn no_credential_of_the_client_goes_upstream() {
        let mut headers = map(&[
            ("authorization", "Bearer K"),
            ("x-api-key", "K"),
            ("api-key", "K"),
            ("x-goog-api-key", "K"),
            ("x-litellm-api-key", "other"),
            ("openai_project", "proj"),
            ("x-http-method-override", "DELETE"),
            ("cookie", "K"),
            ("openai-organization", "org"),
            ("openai-project", "proj"),
            (
                "sec-websocket-protocol",
                "realtime, openai-insecure-api-key.K",
            ),
            ("x-own", "1"),
        ]);
        prepare_for_upstream(
            &mut headers,
            HeaderValue::from_static("1.1 proxyxai-a"),
            false,
        );
        assert_eq!(headers, map(&[("x-own", "1"), ("via", "1.1 proxyxai-a")]));
    }

    #[test]
    fn whose_key_answered_is_not_told() {
        let mut headers = map(&[
            ("openai-organization", "org"),
            ("anthropic-organization-id", "id"),
            ("set-cookie", "a=b"),
            ("openai-version", "2020-10-01"),
        ]);
        strip_for_client(&mut headers);
        assert_eq!(headers, map(&[("openai-version", "2020-10-01")]));
    }
}
