//! CORS for pages in browsers: <https://fetch.spec.whatwg.org/#http-cors-protocol>. Any page may call, because a call
//! needs a key that no browser sends by itself. A preflight has no key and is answered here.

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};

const ANY: HeaderValue = HeaderValue::from_static("*");
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, DELETE");
/// How long a browser may cache a preflight, in seconds. No browser caches one for more than two hours.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

/// Whether this is a CORS preflight.
pub(super) fn is_preflight<B>(request: &Request<B>) -> bool {
    request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// Allows everything that the preflight asks for.
pub(super) fn preflight(asked: &HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    // `*` does not cover `Authorization`.
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

/// Paths whose refusal of a key is hidden from pages. The original's billing page shows a key as unauthorised only when
/// the browser blocks the response; otherwise it waits for ever.
const CLOSED_WHEN_REFUSED: [&str; 2] = ["/dashboard/x_user/info", "/dashboard/x-user-info"];

/// Whether a page may read this path's response to a bad key.
pub(super) fn tells_refusals(path: &str) -> bool {
    !CLOSED_WHEN_REFUSED.contains(&path)
}

/// Lets pages read the response, and replaces the provider's own CORS headers.
pub(super) fn open(headers: &mut HeaderMap) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, ANY);
    headers.remove(header::ACCESS_CONTROL_ALLOW_CREDENTIALS);
}
