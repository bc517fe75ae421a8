//! The REST front: the paths and JSON shapes that existing pages and scripts know, over the same
//! operations as gRPC. Parses at the border, calls one operation, shapes the answer; decides nothing.

mod answer;
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
mod exports;
mod failure;
mod fields;
mod json;
mod keys;
mod ledger;
mod logs;
mod news;
mod nodes;
mod prices;
mod records;
mod refusals;
mod request;
mod rerate;
mod routes;
mod secrets;
mod spend;
#[cfg(test)]
mod tests;
mod users;
mod verify;
mod windows;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{get, post},
};

use self::failure::Failure;
use crate::Control;

/// The longest body is a settings change with a price table in it.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// All REST routes. Unknown paths answer 404 in the documented shape, so whoever serves this beside
/// other routes hands over `/x-*` and `/dashboard/*` as a whole. So it does what holds for every answer of a port:
/// its id, and that pages of other origins may read it.
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
        .route("/x-users/{identifier}/verify", post(verify::ask))
        .merge(client_keys())
        .route("/x-verify/{token}", get(verify::show).post(verify::confirm))
        .route("/x-dna", get(users::descendants))
        .route("/x-dna/{identifier}", get(users::descendant))
        .route("/x-info", get(users::info))
        .route("/x-bill", get(bill::descendants))
        .route(
            "/x-config",
            get(config::show)
                .put(config::update)
                .post(config::update)
                .delete(config::delete),
        )
        .route("/x-self", post(secrets::rotate_self))
        .route("/x-root", post(secrets::rotate_root))
        .route("/x-gkey", get(secrets::fresh_key))
        .route("/x-ekey/{text}", get(secrets::seal))
        .route("/x-dkey/{text}", get(secrets::open))
        .route("/x-bill.csv", get(exports::usage))
        .route("/x-ledger.csv", get(exports::ledger))
        .route("/x-usage", get(records::list))
        .route("/x-calls", get(calls::list))
        .route("/x-refusals", get(refusals::list))
        .route("/x-earnings", get(earnings::show))
        .route("/x-earnings.csv", get(exports::earnings))
        .route("/x-spend", get(spend::show))
        .route("/x-tags", get(earnings::tags))
        .route("/x-tags.csv", get(exports::tags))
        .route("/x-windows", get(windows::list))
        .route(
            "/x-news",
            get(news::posted).post(news::post).delete(news::delete),
        )
        .route(
            "/x-news/{target}",
            post(news::post_to).delete(news::delete_of),
        )
        .merge(running())
        .merge(dashboard())
        .fallback(|| async { Failure::UNKNOWN_PATH })
        .method_not_allowed_fallback(|| async { Failure::WRONG_METHOD })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(control)
}

/// Client keys that accounts have beside their first one.
fn client_keys() -> Router<Control> {
    Router::new()
        .route(
            "/x-users/{identifier}/keys",
            get(client_keys::list).post(client_keys::create),
        )
        .route(
            "/x-users/{identifier}/keys/{id}",
            get(client_keys::show)
                .put(client_keys::update)
                .post(client_keys::update)
                .delete(client_keys::delete),
        )
        .route(
            "/x-self/keys",
            get(client_keys::own).post(client_keys::create_own),
        )
        .route(
            "/x-self/keys/{id}",
            get(client_keys::show_own)
                .put(client_keys::update_own)
                .post(client_keys::update_own)
                .delete(client_keys::delete_own),
        )
}

/// What whoever runs the gateway looks after.
fn running() -> Router<Control> {
    Router::new()
        .route("/x-nodes", get(nodes::list))
        .route("/x-ledger", get(ledger::list))
        .route("/x-books", get(books::verify))
        .merge(prices::routes())
        .route("/x-keys/{filter}/probe", post(keys::probe))
}

/// What a caller asks about itself, under every path it has ever had.
fn dashboard() -> Router<Control> {
    let mut router = Router::new()
        .route("/dashboard/info", get(dashboard::info))
        .route("/dashboard/live", get(dashboard::info))
        .route("/dashboard/x-user-info", get(dashboard::info))
        .route("/dashboard/x_user/info", get(dashboard::info))
        .route("/dashboard/status", get(dashboard::status))
        .route("/dashboard/x-user-status", get(dashboard::status))
        .route("/dashboard/conf", get(dashboard::conf))
        .route("/dashboard/bill", get(bill::own))
        .route("/dashboard/logs", get(logs::list))
        .route("/dashboard/x-user-logs", get(logs::list))
        .route("/dashboard/news", get(news::board))
        .route("/dashboard/x-user-news", get(news::board));
    for version in ["", "/v1"] {
        let path = |name| format!("{version}/dashboard/billing/{name}");
        router = router
            .route(&path("usage"), get(billing::usage))
            .route(&path("subscription"), get(billing::subscription))
            .route(&path("credit_grants"), get(billing::credit_grants));
    }
    router
}
