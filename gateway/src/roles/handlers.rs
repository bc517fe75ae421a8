//! What answers requests in each role.

use std::{net::SocketAddr, num::NonZero};

use axum::{Router, body::Body, extract::ConnectInfo, response::IntoResponse as _};
use hyper::{Request, Response};
use proxyxai_contract::access::IpList;
use proxyxai_dataplane::{Edge, Surface, client_address};
use tower::ServiceExt as _;

use crate::{config::Config, polite::Polite, serve::Handler};

/// Calls go to the data plane directly; each serving thread has its own connections to providers.
pub(super) fn surface_handlers(surface: Surface, config: &Config) -> Vec<impl Handler + use<>> {
    let siblings = (1..serving_threads(config)).map(|_| surface.sibling());
    let surfaces: Vec<_> = siblings.collect();
    surfaces.into_iter().chain([surface]).map(Calls).collect()
}

/// Answers with a data plane.
#[derive(Clone)]
struct Calls(Surface);

impl Handler for Calls {
    fn answer(
        &self,
        peer: SocketAddr,
        request: Request<Polite>,
    ) -> impl Future<Output = Response<Body>> + Send + 'static {
        self.0.clone().answer(peer.ip(), request)
    }

    fn wait_abandoned(&self) -> impl Future<Output = ()> + Send + 'static {
        self.0.clone().wait_abandoned()
    }
}

fn serving_threads(config: &Config) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, NonZero::get);
    config.worker_threads.unwrap_or_else(cores)
}

/// A control plane alone is an ordinary axum application.
pub(super) fn router_handler(router: Router, trusted: IpList) -> impl Handler {
    move |peer: SocketAddr, mut request: Request<Polite>| {
        let edge = Edge::enter(&mut request);
        let address = client_address(peer.ip(), request.headers(), &trusted);
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(address));
        let answer = router.clone().oneshot(request);
        async {
            let edge = match edge {
                Ok(edge) => edge,
                Err(preflight) => return *preflight,
            };
            let mut response = answer.await.into_response();
            edge.leave(&mut response);
            response
        }
    }
}
