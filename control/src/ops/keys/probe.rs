//! One request to a provider, to check whether it accepts a key and serves a model.

use std::time::Duration;

use futures_util::StreamExt as _;
use http::uri::PathAndQuery;
use proxyxai_contract::{
    Invalid,
    egress::EgressPolicy,
    provider::{BaseUrl, ProviderType},
    secret::Secret,
    snapshot::KeyConfig,
};
use reqwest::{
    RequestBuilder, Response,
    dns::{Addrs, Name, Resolve, Resolving},
    header, redirect,
};

use tokio::time::Instant;

use super::probe_call::{self, ProbeApi, ProbeResponse};
use crate::{Error, model::ProbeResult};

/// For the whole check: a model may reason before its first token.
const TIMEOUT: Duration = Duration::from_secs(30);
const LATE: &str = "no answer in time";
const CONNECT_TIMEOUT_MS: u64 = 5_000;
/// Error bodies are short; more is not read.
const BODY_BYTES_MAX: usize = 64 * 1024;
const DETAIL_CHARS_MAX: usize = 200;
const ANTHROPIC_HOST: &str = "api.anthropic.com";
const ANTHROPIC_VERSION_NAME: &str = "anthropic-version";
const ANTHROPIC_VERSION: &str = "2023-06-01";

/// A key and the place to try it.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProbeTarget<'a> {
    pub(super) reach: EgressPolicy,
    pub(super) provider: &'a BaseUrl,
    pub(super) secret: &'a Secret,
    pub(super) config: &'a KeyConfig,
}

/// Requests the list of models, or the smallest possible call of a model.
pub(super) async fn ask(
    target: ProbeTarget<'_>,
    model: Option<&str>,
) -> Result<ProbeResult, Error> {
    let began = Instant::now();
    let answered = async {
        match model {
            None => target.asked(None).await,
            Some(model) => target.tried(model).await,
        }
    };
    let answer = match target.reach.check(target.provider) {
        Err(Invalid { problem, .. }) => ProbeResponse::none(&problem),
        Ok(()) => match tokio::time::timeout(TIMEOUT, answered).await {
            Ok(answer) => answer?,
            Err(_) => ProbeResponse::none(LATE),
        },
    };
    let accepted = probe_call::serves(&answer);
    let ProbeResponse { status, said } = answer;
    Ok(ProbeResult {
        accepted,
        status,
        detail: if accepted {
            "accepted".to_owned()
        } else {
            cleaned(&said, target.secret)
        },
        duration_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    })
}

impl ProbeTarget<'_> {
    /// Calls a model, and once more in the other form if the provider requires it.
    async fn tried(self, model: &str) -> Result<ProbeResponse, Error> {
        let form = ProbeApi::of(model, self.is_anthropic());
        let answer = self.asked(Some((form, model))).await?;
        match probe_call::other_form(form, &answer) {
            Some(other) => self.asked(Some((other, model))).await,
            None => Ok(answer),
        }
    }

    async fn asked(self, call: Option<(ProbeApi, &str)>) -> Result<ProbeResponse, Error> {
        let Self {
            reach,
            provider,
            config,
            ..
        } = self;
        let scheme = if provider.is_https() { "https" } else { "http" };
        let path = call.map_or("/v1/models", |(form, _)| form.path());
        let path = provider.join(&PathAndQuery::from_static(path))?;
        let url = format!("{scheme}://{}{path}", provider.authority());
        let client = client(reach)?;
        let mut request = match call {
            None => client.get(url),
            Some((form, model)) => client.post(url).json(&form.body(model)),
        };
        for (name, value) in config.headers.iter() {
            request = request.header(name, value);
        }
        match self.with_credential(request)?.send().await {
            Ok(response) => Ok(said(response).await),
            Err(error) => Ok(ProbeResponse::none(why_unreachable(&error))),
        }
    }

    fn is_anthropic(self) -> bool {
        self.config.provider_type == ProviderType::Anthropic
            || self.provider.host().eq_ignore_ascii_case(ANTHROPIC_HOST)
    }

    fn with_credential(self, request: RequestBuilder) -> Result<RequestBuilder, Error> {
        let value = |text: String| {
            let mut value = header::HeaderValue::from_str(&text).map_err(Error::internal)?;
            value.set_sensitive(true);
            Ok::<_, Error>(value)
        };
        let clear = self.secret.expose();
        if self.is_anthropic() {
            let mut headers = self.config.headers.iter();
            let request = if headers.any(|(name, _)| name == ANTHROPIC_VERSION_NAME) {
                request
            } else {
                request.header(ANTHROPIC_VERSION_NAME, ANTHROPIC_VERSION)
            };
            return Ok(request.header("x-api-key", value(clear.to_owned())?));
        }
        Ok(match self.config.provider_type {
            ProviderType::Azure => request.header("api-key", value(clear.to_owned())?),
            ProviderType::Standard | ProviderType::Anthropic => {
                request.header(header::AUTHORIZATION, value(format!("Bearer {clear}"))?)
            }
        })
    }
}

/// Created for each probe: probes are rare, and an idle client would only use memory.
fn client(reach: EgressPolicy) -> Result<reqwest::Client, Error> {
    // Only the first call in the process can install it; all install the same one.
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::builder()
        .timeout(TIMEOUT)
        .connect_timeout(Duration::from_millis(CONNECT_TIMEOUT_MS))
        // A redirect would carry the secret to another host.
        .redirect(redirect::Policy::none())
        .dns_resolver(ReachResolver(reach))
        .build()
        .map_err(Error::internal)
}

/// Resolves names and checks the addresses before connecting.
struct ReachResolver(EgressPolicy);

impl Resolve for ReachResolver {
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

/// The provider's message, shortened; empty if it reports no error.
async fn said(response: Response) -> ProbeResponse {
    let status = response.status();
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(Ok(chunk)) = chunks.next().await {
        body.extend_from_slice(&chunk);
        if body.len() > BODY_BYTES_MAX {
            break;
        }
    }
    let objection = probe_call::objection(&body);
    let said = match objection {
        None if status.is_success() => String::new(),
        None => "refused".to_owned(),
        Some(said) => said,
    };
    ProbeResponse {
        status: status.as_u16(),
        said,
    }
}

fn cleaned(message: &str, secret: &Secret) -> String {
    // Providers often quote a part of the key, so words that share its end or beginning are removed too.
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
        LATE
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
