//! The REST front: the paths and JSON shapes that existing pages and scripts use, over the same operations as gRPC. It
//! parses the request, calls one operation and shapes the response.

mod audit_log;
mod bill;
mod billing;
mod body;
mod books;
mod calls;
mod client_keys;
mod conf;
mod config;
mod dashboard;
mod days;
mod earnings;
mod email_verification;
mod error;
mod exports;
mod fields;
mod handler_spec;
mod json;
mod keys;
mod ledger;
mod news;
mod nodes;
mod openapi;
mod paths;
mod prices;
mod query;
mod records;
mod refusals;
mod request;
mod rerate;
mod response;
mod routes;
mod schema_flatten;
mod secrets;
mod spend;
#[cfg(test)]
mod tests;
mod users;
mod windows;

use axum::{Router, extract::DefaultBodyLimit};
use utoipa::openapi::OpenApi;

use self::error::RestError;
use crate::Control;

/// The longest body is a settings change that contains a price table.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// All REST routes. Unknown paths return 404 in the documented shape, so a server with other routes must pass all of
/// `/x-*` and `/dashboard/*` here. That server also sets what every response of its port carries: the request id and
/// the CORS headers.
pub(crate) fn router(control: Control) -> Router {
    paths::table()
        .into_router()
        .fallback(|| async { RestError::UNKNOWN_PATH })
        .method_not_allowed_fallback(|| async { RestError::WRONG_METHOD })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(control)
}

/// The `OpenAPI` document of these routes.
pub(crate) fn document() -> OpenApi {
    paths::table().into_document()
}
