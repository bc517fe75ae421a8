//! `/openapi.json`: what this process serves, composed of the documents of its planes. A data plane that forwards the
//! administration includes it as well, in its own version.

use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock},
};

use axum::{
    Router,
    response::{IntoResponse as _, Response},
    routing::get,
};
use bytes::Bytes;
use http::header;
use proxyxai_control::Control;
use utoipa::openapi::{
    ComponentsBuilder, Content, HttpMethod, InfoBuilder, LicenseBuilder, Object, OpenApi,
    OpenApiBuilder, Paths, ResponseBuilder, Tag, Type,
    path::OperationBuilder,
    security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
};

const PATH: &str = "/openapi.json";
const TAG: &str = "The system";
const BEARER: &str = "A client key. `Authorization: KEY`, without `Bearer`, is understood as well.";
const ABOUT: &str = "An open gateway for AI API keys: calls to providers, and the administration of keys, accounts and \
    credit. Every answer carries `x-request-id`. Money is a JSON number of dollars; times are RFC 3339. A path \
    that takes other methods answers 405, with `Allow`. The pages for people are not in this document.";

/// What a process serves.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ServedApis {
    /// Calls, and the administration, served here or forwarded.
    All,
    /// Only calls.
    Calls,
    /// Only the administration.
    Administration,
}

/// The document of what is served.
pub(crate) fn document(serves: ServedApis) -> OpenApi {
    let (calls, administration) = match serves {
        ServedApis::All => (true, true),
        ServedApis::Calls => (true, false),
        ServedApis::Administration => (false, true),
    };
    let mut document = gateway_document();
    if administration {
        document.merge(Control::rest_document());
    }
    if calls {
        document.merge(proxyxai_dataplane::document());
    }
    let mut tags = document.tags.take().unwrap_or_default();
    // Planes share some tags; the last one is kept.
    let mut seen = BTreeSet::new();
    tags.reverse();
    tags.retain(|tag| seen.insert(tag.name.clone()));
    tags.reverse();
    document.tags = Some(tags);
    document
}

/// Serves the document. It is composed on the first request, as most processes are never asked.
pub(crate) fn route(serves: ServedApis) -> Router {
    let text = OnceLock::new();
    let text = Arc::new(text);
    Router::new().route(
        PATH,
        get(move || async move { answer(text.get_or_init(|| written(serves)).clone()) }),
    )
}

fn written(serves: ServedApis) -> Bytes {
    // It contains only strings, numbers and maps with string keys, so serialization cannot fail.
    document(serves).to_json().unwrap_or_default().into()
}

fn answer(text: Bytes) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}

/// The common base: what every process serves, and what applies to the whole document.
fn gateway_document() -> OpenApi {
    let license = LicenseBuilder::new()
        .name("MIT OR Apache-2.0")
        .identifier(Some("MIT OR Apache-2.0"));
    let info = InfoBuilder::new()
        .title("ProxyXAI")
        .description(Some(ABOUT))
        .version(env!("CARGO_PKG_VERSION"))
        .license(Some(license.build()));
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(BEARER));
    let header = ApiKeyValue::with_description("x-api-key", "A client key.");
    let components = ComponentsBuilder::new()
        .security_scheme("bearer", SecurityScheme::Http(bearer.build()))
        .security_scheme("apiKey", SecurityScheme::ApiKey(ApiKey::Header(header)));
    OpenApiBuilder::new()
        .info(info.build())
        .paths(own_paths())
        .components(Some(components.build()))
        .tags(Some([Tag::new(TAG)]))
        .build()
}

fn own_paths() -> Paths {
    let object = Object::with_type(Type::Object);
    let text = || Object::with_type(Type::String);
    let json = [("200", "An OpenAPI document.", "application/json", object)];
    let health = [("200", "It does.", "text/plain", text())];
    let ready = [
        ("200", "They are.", "text/plain", text()),
        ("503", "They are not, and why.", "text/plain", text()),
    ];
    let mut paths = Paths::new();
    let mut put = |path: &str, operation: OperationBuilder| {
        paths.add_path_operation(path, vec![HttpMethod::Get], operation.tag(TAG).build());
    };
    put(PATH, operation("getDocument", "This document", json));
    put(
        "/healthz",
        operation("getHealth", "Whether the process runs", health),
    );
    put(
        "/readyz",
        operation("getReadiness", "Whether calls are wanted", ready),
    );
    paths
}

/// An operation with these responses: status, description, content type and schema.
fn operation<const N: usize>(
    id: &str,
    summary: &str,
    answers: [(&str, &str, &str, Object); N],
) -> OperationBuilder {
    let mut operation = OperationBuilder::new()
        .operation_id(Some(id))
        .summary(Some(summary));
    for (status, about, kind, schema) in answers {
        let response = ResponseBuilder::new()
            .description(about)
            .content(kind, Content::new(Some(schema)));
        operation = operation.response(status, response.build());
    }
    operation
}
