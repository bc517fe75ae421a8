//! The REST front: the paths and JSON shapes that existing pages and scripts know, over the same
//! operations as gRPC. Parses at the border, calls one operation, shapes the answer; decides nothing.

mod answer;
mod conf;
mod dashboard;
mod exports;
mod failure;
mod fields;
mod keys;
mod logs;
mod news;
mod request;
#[cfg(test)]
mod tests;
mod users;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{get, post},
};
use http::{HeaderName, Method, header};
use tower_http::cors::{Any, CorsLayer};

use self::failure::Failure;
use crate::Control;

/// The longest body is a settings change with a price table in it.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// All REST routes. Unknown paths answer 404 in the documented shape, so whoever serves this beside
/// other routes hands over `/x-*` and `/dashboard/*` as a whole.
pub(crate) fn router(control: Control) -> Router {
    Router::new()
        .route("/x-keys", get(keys::list).post(keys::create))
        .route(
            "/x-keys/{filter}",
            get(keys::filtered)
                .put(keys::update)
                .post(keys::update)
                .delete(keys::delete),
        )
        .route("/x-conf", get(conf::show).post(conf::update))
        .route("/x-users", get(users::children).post(users::create))
        .route(
            "/x-users/{identifier}",
            get(users::child)
                .put(users::update)
                .post(users::update)
                .delete(users::delete),
        )
        .route("/x-dna", get(users::descendants))
        .route("/x-dna/{identifier}", get(users::descendant))
        .route("/x-bill.csv", get(exports::usage))
        .route("/x-ledger.csv", get(exports::ledger))
        .route("/x-gkey", get(dashboard::fresh_key))
        .route("/dashboard/info", get(dashboard::info))
        .route("/dashboard/x-user-info", get(dashboard::info))
        .route("/dashboard/x_user/info", get(dashboard::info))
        .route("/dashboard/status", get(dashboard::status))
        .route("/dashboard/x-user-status", get(dashboard::status))
        .route("/dashboard/logs", get(logs::list))
        .route("/dashboard/x-user-logs", get(logs::list))
        .route("/dashboard/news", get(news::board))
        .route("/dashboard/x-user-news", get(news::board))
        .route("/x-news", post(news::post).delete(news::delete))
        .route(
            "/x-news/{target}",
            post(news::post_to).delete(news::delete_of),
        )
        .fallback(|| async { Failure::UNKNOWN_PATH })
        .method_not_allowed_fallback(|| async { Failure::WRONG_METHOD })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(cors())
        .with_state(control)
}

/// The pages that use these routes are served from other origins. Credentials travel in headers of
/// the caller's making, never in cookies, so any origin may ask.
fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::DELETE,
            Method::OPTIONS,
        ])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            HeaderName::from_static("x-api-key"),
        ])
        .expose_headers(answer::PAGE_HEADERS.map(HeaderName::from_static))
}
