//! The request handlers of each role.

use std::{net::SocketAddr, num::NonZero};

use axum::{Router, body::Body, extract::ConnectInfo, response::IntoResponse as _};
use hyper::{Request, Response};
use proxyxai_contract::access::IpList;
use proxyxai_dataplane::{Edge, HttpService, client_address};
use tower::ServiceExt as _;

use crate::{config::Config, lingering::LingeringBody, serve::RequestHandler};

/// Handlers that send calls directly to the data plane. Each serving thread has its own connections to providers.
pub(super) fn surface_handlers(
    surface: HttpService,
    config: &Config,
) -> Vec<impl RequestHandler + use<>> {
    let siblings = (1..serving_threads(config)).map(|_| surface.sibling());
    let surfaces: Vec<_> = siblings.collect();
    surfaces
        .into_iter()
        .chain([surface])
        .map(SurfaceHandler)
        .collect()
}

/// Handles requests with a data plane.
#[derive(Clone)]
struct SurfaceHandler(HttpService);

impl RequestHandler for SurfaceHandler {
    fn handle(
        &self,
        peer: SocketAddr,
        request: Request<LingeringBody>,
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

/// The handler of a control plane alone, which is an ordinary axum application.
pub(super) fn router_handler(router: Router, trusted: IpList) -> impl RequestHandler {
    move |peer: SocketAddr, mut request: Request<LingeringBody>| {
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
