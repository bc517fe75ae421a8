//! The HTTP surface: sends each path to the room that answers it. No layer wraps the relayed calls,
//! because each would cost every call.

mod forward;
mod models;

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, State},
    response::{Html, IntoResponse as _},
    routing::get,
};
use http::{Request, Response, StatusCode, header};
use tower::ServiceExt as _;

use crate::{
    Admin,
    decide::admit::Refusal,
    formats::{Route, is_relayed},
    relay::{Relay, refuse},
};

/// Shown at `/`.
const INDEX: &str = include_str!("index.html");

struct Surface {
    relay: Arc<Relay>,
    admin: Admin,
}

/// Builds the surface.
pub(crate) fn router(relay: Arc<Relay>, admin: Admin) -> Router {
    let surface = Arc::new(Surface { relay, admin });
    Router::new()
        .route("/", get(|| async { Html(INDEX) }))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .fallback(dispatch)
        .with_state(surface)
}

async fn ready(State(surface): State<Arc<Surface>>) -> (StatusCode, &'static str) {
    if surface.relay.ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

async fn dispatch(
    State(surface): State<Arc<Surface>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request<Body>,
) -> Response<Body> {
    let path = request.uri().path();
    if models::is_list(path) && request.method() == http::Method::GET {
        return models::list(&surface.relay, &request);
    }
    if is_relayed(path) {
        return surface.relay.call(peer.ip(), request).await;
    }
    if ["/x-", "/dashboard/", "/v1/dashboard/"]
        .iter()
        .any(|start| path.starts_with(start))
    {
        return match &surface.admin {
            Admin::Local(router) => router.clone().oneshot(request).await.into_response(),
            Admin::Remote(base) => forward::forward(&surface.relay, base, peer.ip(), request).await,
            Admin::Nobody => not_found(path),
        };
    }
    not_found(path)
}

fn not_found(path: &str) -> Response<Body> {
    refuse(
        Route::of(path).family(),
        &Refusal::NotFound {
            path: path.chars().take(200).collect(),
        },
    )
}

/// A JSON answer.
fn json(body: bytes::Bytes) -> Response<Body> {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}
