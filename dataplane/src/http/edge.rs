//! What every HTTP request needs, whichever service handles it: a request id, and CORS for pages in browsers.

use axum::body::Body;
use http::{Request, Response, StatusCode, header};

use super::cors;
use crate::RequestId;

/// A request while it is handled.
#[derive(Debug)]
pub struct Edge {
    id: RequestId,
    from_page: bool,
    tells_refusals: bool,
}

impl Edge {
    /// Takes a request in, and answers a CORS preflight.
    ///
    /// # Errors
    /// Errors with the response to a preflight.
    pub fn enter<B>(request: &mut Request<B>) -> Result<Self, Box<Response<Body>>> {
        let id = RequestId::settle(request.headers_mut());
        let from_page = request.headers().contains_key(header::ORIGIN);
        if from_page && cors::is_preflight(request) {
            let mut answer = cors::preflight(request.headers());
            id.mark(answer.headers_mut());
            return Err(Box::new(answer));
        }
        Ok(Self {
            id,
            from_page,
            tells_refusals: !from_page || cors::tells_refusals(request.uri().path()),
        })
    }

    /// Completes the headers of the response.
    pub fn leave(self, answer: &mut Response<Body>) {
        self.id.mark(answer.headers_mut());
        let is_told = self.tells_refusals || answer.status() != StatusCode::UNAUTHORIZED;
        if self.from_page && is_told {
            cors::open(answer.headers_mut());
        }
    }
}
