//! Names from OpenTelemetry's conventions for HTTP and for generative AI. Pure.

use http::Method;
use proxyxai_contract::tokens::TokenUsage;

use crate::formats::Route;

/// Providers with a name in the conventions, by the end of their hosts.
const PROVIDERS: [(&str, &str); 12] = [
    ("api.openai.com", "openai"),
    ("openai.azure.com", "azure.ai.openai"),
    ("services.ai.azure.com", "azure.ai.inference"),
    ("anthropic.com", "anthropic"),
    ("generativelanguage.googleapis.com", "gcp.gemini"),
    ("aiplatform.googleapis.com", "gcp.vertex_ai"),
    ("deepseek.com", "deepseek"),
    ("x.ai", "x_ai"),
    ("mistral.ai", "mistral_ai"),
    ("groq.com", "groq"),
    ("perplexity.ai", "perplexity"),
    ("cohere.com", "cohere"),
];

/// The method, as one of a few fixed words.
pub(super) fn method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        _ => "_OTHER",
    }
}

/// The path of a known route.
pub(super) const fn path(route: Route) -> Option<&'static str> {
    match route {
        Route::Chat => Some("/v1/chat/completions"),
        Route::Completions => Some("/v1/completions"),
        Route::Responses => Some("/v1/responses"),
        Route::Messages => Some("/v1/messages"),
        Route::Embeddings => Some("/v1/embeddings"),
        Route::Other => None,
    }
}

/// The operation of a route.
pub(super) const fn operation(route: Route) -> Option<&'static str> {
    match route {
        Route::Chat | Route::Responses | Route::Messages => Some("chat"),
        Route::Completions => Some("text_completion"),
        Route::Embeddings => Some("embeddings"),
        Route::Other => None,
    }
}

/// The provider's name. A provider without one in the conventions is named by its dialect.
pub(super) fn provider(host: &str, route: Route) -> &'static str {
    let is_at = |end: &str| {
        let before = host.strip_suffix(end);
        before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
    };
    let named = PROVIDERS.iter().find(|(end, _)| is_at(end));
    named.map_or(
        match route {
            Route::Messages => "anthropic",
            Route::Chat
            | Route::Completions
            | Route::Responses
            | Route::Embeddings
            | Route::Other => "openai",
        },
        |(_, name)| name,
    )
}

/// Tokens by kind. Kinds without tokens are left out, except prompt and output.
pub(super) fn usage(tokens: &TokenUsage) -> impl Iterator<Item = (&'static str, u64)> {
    let parts = [
        ("gen_ai.usage.cache_read.input_tokens", tokens.cached),
        (
            "gen_ai.usage.cache_creation.input_tokens",
            tokens.cache_write,
        ),
        ("gen_ai.usage.reasoning.output_tokens", tokens.reasoning),
    ];
    let totals = [
        ("gen_ai.usage.input_tokens", tokens.input),
        ("gen_ai.usage.output_tokens", tokens.output),
    ];
    let met = parts.into_iter().filter(|(_, count)| *count > 0);
    totals.into_iter().chain(met)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn providers_are_known_by_their_hosts_and_others_by_their_dialect() {
        for (host, route, name) in [
            ("api.openai.com", Route::Chat, "openai"),
            ("my.openai.azure.com", Route::Chat, "azure.ai.openai"),
            ("api.anthropic.com", Route::Messages, "anthropic"),
            ("api.x.ai", Route::Responses, "x_ai"),
            ("relax.ai", Route::Chat, "openai"),
            ("gateway.example.com", Route::Messages, "anthropic"),
            ("gateway.example.com", Route::Embeddings, "openai"),
        ] {
            assert_eq!(provider(host, route), name, "{host}");
        }
    }

    #[test]
    fn a_method_that_nobody_knows_is_no_new_word() {
        assert_eq!(method(&Method::POST), "POST");
        assert_eq!(method(&Method::from_bytes(b"BREW").unwrap()), "_OTHER");
    }
}
