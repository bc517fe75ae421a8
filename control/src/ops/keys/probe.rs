//! One question to a provider, to see whether it takes a key.

use std::time::Duration;

use futures_util::StreamExt as _;
use http::uri::PathAndQuery;
use proxyxai_contract::{
    Invalid,
    provider::{BaseUrl, ProviderType},
    reach::Reach,
    secret::Secret,
    snapshot::KeyConfig,
};
use reqwest::{
    RequestBuilder, Response,
    dns::{Addrs, Name, Resolve, Resolving},
    header, redirect,
};

use crate::{Error, view::Probe};

const TIMEOUT_MS: u64 = 15_000;
const CONNECT_TIMEOUT_MS: u64 = 5_000;
/// Error bodies are short; more is not read.
const BODY_BYTES_MAX: usize = 64 * 1024;
const DETAIL_CHARS_MAX: usize = 200;
const ANTHROPIC_HOST: &str = "api.anthropic.com";
const ANTHROPIC_VERSION_NAME: &str = "anthropic-version";
const ANTHROPIC_VERSION: &str = "2023-06-01";

/// Asks for the list of models.
pub(super) async fn ask(
    reach: Reach,
    provider: &BaseUrl,
    secret: &Secret,
    config: &KeyConfig,
) -> Result<Probe, Error> {
    if let Err(Invalid { problem, .. }) = reach.check(provider) {
        return Ok(Probe {
            accepted: false,
            status: 0,
            detail: problem,
        });
    }
    let scheme = if provider.is_https() { "https" } else { "http" };
    let path = provider.join(&PathAndQuery::from_static("/v1/models"))?;
    let url = format!("{scheme}://{}{path}", provider.authority());
    let mut request = client(reach)?.get(url);
    for (name, value) in config.headers.iter() {
        request = request.header(name, value);
    }
    let says_version = config
        .headers
        .iter()
        .any(|(name, _)| name == ANTHROPIC_VERSION_NAME);
    let kind = (config.provider_type, says_version);
    let request = with_credential(request, provider, secret, kind)?;
    match request.send().await {
        Ok(response) => {
            let status = response.status();
            let detail = if status.is_success() {
                "accepted".to_owned()
            } else {
                said(response, secret).await
            };
            Ok(Probe {
                accepted: status.is_success(),
                status: status.as_u16(),
                detail,
            })
        }
        Err(error) => Ok(Probe {
            accepted: false,
            status: 0,
            detail: why_unreachable(&error).to_owned(),
        }),
    }
}

/// Made for each probe: they are rare, and a client that waits for one would cost memory all day.
fn client(reach: Reach) -> Result<reqwest::Client, Error> {
    // Only the first caller in the process can install it; it is the same one for all.
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::builder()
        .timeout(Duration::from_millis(TIMEOUT_MS))
        .connect_timeout(Duration::from_millis(CONNECT_TIMEOUT_MS))
        // A redirect would carry the secret to another host.
        .redirect(redirect::Policy::none())
        .dns_resolver(Within(reach))
        .build()
        .map_err(Error::internal)
}

/// Looks names up, and looks at what they are before anything is connected to.
struct Within(Reach);

impl Resolve for Within {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0;
        Box::pin(async move {
            let found: Vec<_> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            if found.iter().any(|address| !reach.allows(address.ip())) {
                return Err("no provider may be at this address".into());
            }
            let addresses: Addrs = Box::new(found.into_iter());
            Ok(addresses)
        })
    }
}

fn with_credential(
    request: RequestBuilder,
    provider: &BaseUrl,
    secret: &Secret,
    (kind, says_version): (ProviderType, bool),
) -> Result<RequestBuilder, Error> {
    let value = |text: String| {
        let mut value = header::HeaderValue::from_str(&text).map_err(Error::internal)?;
        value.set_sensitive(true);
        Ok::<_, Error>(value)
    };
    let clear = secret.expose();
    let anthropic =
        kind == ProviderType::Anthropic || provider.host().eq_ignore_ascii_case(ANTHROPIC_HOST);
    if anthropic {
        let request = if says_version {
            request
        } else {
            request.header(ANTHROPIC_VERSION_NAME, ANTHROPIC_VERSION)
        };
        return Ok(request.header("x-api-key", value(clear.to_owned())?));
    }
    Ok(match kind {
        ProviderType::Azure => request.header("api-key", value(clear.to_owned())?),
        ProviderType::Standard | ProviderType::Anthropic => {
            request.header(header::AUTHORIZATION, value(format!("Bearer {clear}"))?)
        }
    })
}

/// What the provider said of the key, in a few words and without the key.
async fn said(response: Response, secret: &Secret) -> String {
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(Ok(chunk)) = chunks.next().await {
        body.extend_from_slice(&chunk);
        if body.len() > BODY_BYTES_MAX {
            break;
        }
    }
    let json: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
    let message = json.as_ref().and_then(|json| {
        let paths = ["/error/message", "/message", "/error"];
        paths
            .iter()
            .find_map(|path| json.pointer(path).and_then(serde_json::Value::as_str))
    });
    cleaned(message.unwrap_or("refused"), secret)
}

fn cleaned(message: &str, secret: &Secret) -> String {
    // Providers like to repeat a part of the key, so words that share its end or beginning go too.
    let tail = secret.tail(4);
    let shares =
        |word: &str| word.contains(secret.expose()) || word.contains(tail) || word.contains("sk-");
    let words = message
        .split_whitespace()
        .map(|word| if shares(word) { "***" } else { word });
    let text = words.collect::<Vec<_>>().join(" ");
    text.chars()
        .filter(|char| !char.is_control())
        .take(DETAIL_CHARS_MAX)
        .collect()
}

fn why_unreachable(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the exchange failed"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_provider_says_is_shown_without_the_key() {
        let secret = Secret::new("sk-proj-abcdefghijklmnop1234");
        let said = "Incorrect API key provided: sk-proj-abcd***1234. See https://example.com";
        assert_eq!(
            cleaned(said, &secret),
            "Incorrect API key provided: *** See https://example.com"
        );
        assert_eq!(
            cleaned(&"x ".repeat(500), &secret).chars().count(),
            DETAIL_CHARS_MAX
        );
    }
}
