//! The web pages and the documentation they show: static files inside the program.

use std::sync::LazyLock;

use axum::{
    Router,
    body::Body,
    response::{IntoResponse as _, Redirect},
    routing::get,
};
use http::{HeaderName, HeaderValue, Request, Response, Uri, header};
use memory_serve::{CacheControl, MemoryServe};
use proxyxai_dataplane::not_found;
use tower::ServiceExt as _;

use crate::openapi::{self, ServedApis};

/// Folders that are pages.
const PAGES: [(&str, &str, &str); 5] = [
    ("/console", "/console/", "/console/index.html"),
    ("/billing", "/billing/", "/billing/index.html"),
    ("/user", "/user/", "/user/index.html"),
    ("/docs", "/docs/", "/docs/index.html"),
    ("/docs/api", "/docs/api/", "/docs/api/index.html"),
];

/// Nothing inline, nothing from other origins.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
];

/// Unpacked on the first request: most data planes never serve them.
static FILES: LazyLock<Router> = LazyLock::new(files);

/// Serves `GET` and `HEAD` of the pages and of `/openapi.json`, and 404 for any other path.
pub(crate) fn router(serves: ServedApis) -> Router {
    openapi::route(serves).fallback(|request: Request<Body>| async {
        let answer = FILES.clone().oneshot(request).await;
        answer.into_response()
    })
}

#[expect(
    unused_qualifications,
    reason = "the library's macro imports what the code it includes names in full"
)]
fn assets() -> (MemoryServe, MemoryServe) {
    (memory_serve::load!("pages"), memory_serve::load!("docs"))
}

fn files() -> Router {
    let (mut pages, docs) = assets();
    // An ETag and revalidation each time: the files of a page must fit together after an update.
    let cache = CacheControl::NoCache;
    pages = pages.html_cache_control(cache).cache_control(cache);
    for (_, folder, index) in PAGES {
        pages = pages.add_alias(folder, index);
    }
    let docs = docs.index_file(None).cache_control(cache);
    let mut router = pages.into_router();
    for (name, folder, _) in PAGES {
        // The URLs in a page are relative to its folder.
        router = router.route(
            name,
            get(move || async move { Redirect::permanent(folder) }),
        );
    }
    router
        .nest("/docs/text", docs.into_router())
        .layer(axum::middleware::map_response(protect))
        .fallback(|uri: Uri| async move { not_found(uri.path()) })
        .method_not_allowed_fallback(|uri: Uri| async move { not_found(uri.path()) })
}

async fn protect(mut response: Response<Body>) -> Response<Body> {
    for (name, value) in HEADERS {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}
