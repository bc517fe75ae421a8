//! Calls from pages in browsers: <https://fetch.spec.whatwg.org/#http-cors-protocol>. Every page may call, for a
//! call needs a key that no browser sends by itself; a preflight carries none and gets no further than here.

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};

const ANY: HeaderValue = HeaderValue::from_static("*");
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, DELETE");
/// How long a browser need not ask again, seconds. None of them keeps an answer longer than two hours.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

/// Whether a browser asks what it may send.
pub(super) fn is_preflight<B>(request: &Request<B>) -> bool {
    request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// It may send what it likes.
pub(super) fn preflight(asked: &HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    // A `*` would not cover `Authorization`.
    if let Some(names) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    headers.insert(
        header::VARY,
        HeaderValue::from_static("access-control-request-headers"),
    );
    response
}

/// Paths whose refusal of a key no page may read: the original's billing page shows such a key as unauthorised only when
/// the browser keeps the answer from it, and waits for ever otherwise.
const CLOSED_WHEN_REFUSED: [&str; 2] = ["/dashboard/x_user/info", "/dashboard/x-user-info"];

/// Whether a page may read what this path answers to a key that is not good.
pub(super) fn tells_refusals(path: &str) -> bool {
    !CLOSED_WHEN_REFUSED.contains(&path)
}

/// Lets the page read an answer, whatever a provider says about pages of its own.
pub(super) fn open(headers: &mut HeaderMap) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, ANY);
    headers.remove(header::ACCESS_CONTROL_ALLOW_CREDENTIALS);
}
