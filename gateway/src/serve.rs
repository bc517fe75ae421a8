//! The HTTP server: accepts connections with Nagle off, bounds the request head in size and time,
//! and drains when told to.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use axum::body::Body;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{config::Server, polite::Polite};

/// A request head with more fields than this is refused with 431.
const HEADER_FIELDS_MAX: usize = 256;
/// After a failed accept (out of file descriptors, mostly) some connections need time to end.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Answers requests; one clone for each connection.
pub(crate) trait Handler: Clone + Send + Sync + 'static {
    /// Answers a request that came from `peer`.
    fn answer(
        self,
        peer: SocketAddr,
        request: Request<Polite>,
    ) -> impl Future<Output = Response<Body>> + Send + 'static;
}

impl<F, A> Handler for F
where
    F: Fn(SocketAddr, Request<Polite>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response<Body>> + Send + 'static,
{
    fn answer(
        self,
        peer: SocketAddr,
        request: Request<Polite>,
    ) -> impl Future<Output = Response<Body>> + Send + 'static {
        self(peer, request)
    }
}

/// Serves until `stop`, then lets open answers go on for at most `drain`.
pub(crate) async fn serve(
    listener: TcpListener,
    handler: impl Handler,
    limits: Server,
    stop: CancellationToken,
    drain: Duration,
) {
    let graceful = GracefulShutdown::new();
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.header_bytes_max)
        .max_headers(HEADER_FIELDS_MAX);
    let room = Arc::new(Semaphore::new(limits.connections_max));
    let (mut connections, bodies) = (JoinSet::new(), TaskTracker::new());
    loop {
        let (stream, peer, permit) = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &room) => match accepted {
                Some(accepted) => accepted,
                None => break,
            },
        };
        let (handler, bodies) = (handler.clone(), bodies.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let (parts, body) = request.into_parts();
            let body = Polite::new(body, &parts.headers, &bodies);
            let answer = handler
                .clone()
                .answer(peer, Request::from_parts(parts, body));
            async { Ok::<_, Infallible>(answer.await) }
        });
        let connection = graceful.watch(builder.serve_connection(TokioIo::new(stream), service));
        connections.spawn(async move {
            // A client that breaks its connection is no news.
            if let Err(error) = connection.await {
                tracing::debug!(%peer, %error, "a connection ended early");
            }
            drop(permit);
        });
    }
    drop(listener);
    if tokio::time::timeout(drain, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("the drain time is over; open answers are cut");
    }
    // What is cut here has to be settled before the usage is handed in.
    connections.shutdown().await;
}

/// The next connection, when there is room for one. None when the semaphore is closed, which is never.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Without this every chunk of a stream may wait for an acknowledgement, about 40 ms.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%peer, %error, "Nagle's algorithm could not be switched off");
                }
                return Some((stream, peer, permit));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}
