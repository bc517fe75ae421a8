//! The HTTP surface: dispatches each path to its handler. It is a plain function, because every layer of a router would
//! add cost to each call.

mod cors;
mod document;
mod edge;
mod forward;
mod lists;
mod metrics;
mod models;

use std::{net::IpAddr, sync::Arc};

use axum::{Router, body::Body, extract::ConnectInfo, response::IntoResponse as _};
use bytes::Bytes;
pub use document::document;
pub use edge::Edge;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use proxyxai_contract::object::ObjectKind;
use tokio::runtime::Handle;
use tower::{BoxError, ServiceExt as _};

use crate::{
    Admin,
    decide::admit::{self, Refusal},
    formats::{Dialect, endpoint::EndpointMatch, is_relayed},
    relay::{self, Relay, asks_websocket, refuse},
    telemetry::EndpointKind,
};

/// Handles all requests of a data plane. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HttpService(Arc<ServiceState>);

#[derive(Debug)]
struct ServiceState {
    relay: Arc<Relay>,
    admin: Admin,
    /// Pages of the dashboard.
    pages: Router,
    /// Runtime of the administration, so that it does not hold up the calls of a serving thread.
    home: Handle,
}

impl HttpService {
    pub(crate) fn new(relay: Relay, admin: Admin, pages: Router, home: Handle) -> Self {
        Self(Arc::new(ServiceState {
            relay: Arc::new(relay),
            admin,
            pages,
            home,
        }))
    }

    /// Waits until abandoned calls have ended.
    pub async fn wait_abandoned(self) {
        self.0.relay.wait_abandoned().await;
    }

    /// The same service for another thread, with its own connections to providers.
    #[must_use]
    pub fn sibling(&self) -> Self {
        let ServiceState {
            relay,
            admin,
            pages,
            home,
        } = &*self.0;
        Self::new(relay.sibling(), admin.clone(), pages.clone(), home.clone())
    }

    /// Handles one request from `peer`. Every response carries the request id.
    pub async fn answer<B>(self, peer: IpAddr, mut request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let edge = match Edge::enter(&mut request) {
            Ok(edge) => edge,
            Err(preflight) => return *preflight,
        };
        let relay = &self.0.relay;
        let place = local_endpoint(request.method(), request.uri().path());
        // A WebSocket is refused like a call, on any path.
        let place = place.filter(|_| !asks_websocket(request.headers()));
        let mut response = match place {
            None => relay::call(relay, peer, request).await,
            Some(place) => {
                let response = Box::pin(self.clone().page(place, peer, request)).await;
                relay
                    .telemetry
                    .page(place.kind(response.status()), response.status().as_u16());
                response
            }
        };
        edge.leave(&mut response);
        response
    }

    /// Handles a request on the address that serves only metrics.
    #[expect(clippy::unused_async, reason = "servers wait for every answer alike")]
    pub async fn measure<B: Send>(self, request: Request<B>) -> Response<Body> {
        let mut request = request.map(drop);
        let edge = match Edge::enter(&mut request) {
            Ok(edge) => edge,
            Err(preflight) => return *preflight,
        };
        let mut response = match (request.method(), request.uri().path()) {
            (&Method::GET, "/metrics") => metrics::open(&self.0.relay),
            (_, path) => not_found(path),
        };
        edge.leave(&mut response);
        response
    }

    /// Handles a request that is not a call.
    async fn page<B>(
        self,
        place: LocalEndpoint,
        peer: IpAddr,
        request: Request<B>,
    ) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let ServiceState { relay, .. } = &*self.0;
        let path = request.uri().path();
        match place {
            LocalEndpoint::Models => {
                models::answer(relay, peer, request.uri(), request.headers()).await
            }
            LocalEndpoint::List(kind, found) => {
                let asked = lists::ListRequest {
                    kind,
                    found,
                    uri: request.uri(),
                    headers: request.headers(),
                };
                lists::answer(relay, peer, asked).await
            }
            LocalEndpoint::Administration => self.administer(peer, request).await,
            LocalEndpoint::Pages => match path {
                "/metrics" => metrics::page(relay, peer, request.headers()),
                "/healthz" => "ok\n".into_response(),
                "/readyz" => self.ready(),
                _ => {
                    let page = self.0.pages.clone().oneshot(request.map(|_| Body::empty()));
                    page.await.into_response()
                }
            },
            LocalEndpoint::Unknown => not_found(path),
        }
    }

    /// `/readyz`: whether calls are accepted, and if not, why.
    fn ready(&self) -> Response<Body> {
        let ServiceState { relay, admin, .. } = &*self.0;
        readiness(relay.unready_reason().or_else(|| admin.fault()))
    }

    /// Passes a request to control.
    async fn administer<B>(self, peer: IpAddr, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let ServiceState {
            relay, admin, home, ..
        } = &*self.0;
        if let Err(refusal) = may_administer(relay, peer, request.headers()) {
            return refuse(Dialect::OpenAi, &refusal);
        }
        match admin {
            Admin::Local { router, .. } => {
                let address = relay.client_address(peer, request.headers());
                let mut request = request.map(Body::new);
                request.extensions_mut().insert(ConnectInfo(address));
                let answer = router.clone().oneshot(request);
                let answered = home.spawn(answer).await;
                answered.map_or_else(
                    |_| refuse(Dialect::OpenAi, &Refusal::Unavailable),
                    axum::response::IntoResponse::into_response,
                )
            }
            Admin::Remote(base) => Box::pin(forward::forward(relay, base, peer, request)).await,
            Admin::Nobody => not_found(request.uri().path()),
        }
    }
}

/// Where a request that is not a call goes.
#[derive(Debug, Clone, Copy)]
enum LocalEndpoint {
    Models,
    List(ObjectKind, EndpointMatch),
    Administration,
    Pages,
    Unknown,
}

impl LocalEndpoint {
    /// The kind under which it is counted.
    fn kind(self, status: StatusCode) -> EndpointKind {
        match self {
            Self::Pages if status == StatusCode::NOT_FOUND => EndpointKind::Unknown,
            Self::Models | Self::List(..) => EndpointKind::Models,
            Self::Administration => EndpointKind::Administration,
            Self::Pages => EndpointKind::Pages,
            Self::Unknown => EndpointKind::Unknown,
        }
    }
}

/// Returns where a request goes, or `None` for a call, which is relayed.
fn local_endpoint(method: &Method, path: &str) -> Option<LocalEndpoint> {
    if *method == Method::GET {
        if models::is_asked(path) {
            return Some(LocalEndpoint::Models);
        }
        if let Some((kind, found)) = lists::find(path) {
            return Some(LocalEndpoint::List(kind, found));
        }
    }
    if is_relayed(path) {
        return None;
    }
    let administers = ["/x-", "/dashboard/", "/v1/dashboard/"];
    let administers = administers.iter().any(|start| path.starts_with(start));
    Some(match *method {
        _ if administers => LocalEndpoint::Administration,
        Method::GET | Method::HEAD => LocalEndpoint::Pages,
        _ => LocalEndpoint::Unknown,
    })
}

/// Whether the key may be used from this address. Control checks whose key it is and what it may do, and checks
/// everything before the first snapshot.
fn may_administer(relay: &Relay, peer: IpAddr, headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(snapshot) = relay.state.snapshot() else {
        return Ok(());
    };
    match relay.authenticate(&snapshot, headers) {
        Ok(caller) => admit::address(
            &snapshot.chain(&caller.account.account),
            relay.client_address(peer, headers),
        ),
        Err(_) => Ok(()),
    }
}

/// The `/readyz` response; `obstacle` says why it is not ready.
pub fn readiness(obstacle: Option<String>) -> Response<Body> {
    let Some(why) = obstacle else {
        return "ready\n".into_response();
    };
    let text = format!("not ready: {why}\n");
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

/// The 404 for an unknown path, in the shape that its clients expect.
pub fn not_found(path: &str) -> Response<Body> {
    let path_shown = path.chars().take(200).collect();
    refuse(Dialect::of(path), &Refusal::NotFound { path: path_shown })
}

/// A JSON response.
fn json(body: Bytes) -> Response<Body> {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}
