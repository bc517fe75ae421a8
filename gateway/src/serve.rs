//! The HTTP server: accepts connections with Nagle off, bounds the request head in size and time,
//! and drains when told to.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use axum::body::Body;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{config::Server, memory, polite::Polite};

/// After a failed accept (out of file descriptors, mostly) some connections need time to end.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// Connections that one thread has been given and has not looked at yet.
const ACCEPTED_MAX: usize = 1024;

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

/// A connection on its way to a thread.
struct Accepted {
    socket: std::net::TcpStream,
    peer: SocketAddr,
    /// Room among all connections; given back when it ends.
    permit: OwnedSemaphorePermit,
    /// Counts it among its thread's.
    load: Arc<()>,
}

/// A thread that serves, with a runtime of its own. A call stays on one thread from its first byte to
/// its last, which saves the wake-ups of other threads that a shared runtime costs (see `bench/`).
struct Worker {
    sockets: mpsc::Sender<Accepted>,
    thread: JoinHandle<()>,
    load: Arc<()>,
}

/// Serves on as many threads as there are handlers until `stop`, then lets open answers go on for at
/// most `drain`.
///
/// # Errors
/// When a thread cannot be started.
pub(crate) async fn serve(
    listener: TcpListener,
    handlers: Vec<impl Handler>,
    limits: Server,
    stop: CancellationToken,
    drain: Duration,
) -> io::Result<()> {
    let workers: Vec<_> = handlers
        .into_iter()
        .map(|handler| Worker::start(handler, limits, drain))
        .collect::<Result<_, _>>()?;
    let room = Arc::new(Semaphore::new(limits.connections_max));
    while let Some(Some((socket, peer, permit))) =
        stop.run_until_cancelled(accept(&listener, &room)).await
    {
        let Some(worker) = workers
            .iter()
            .min_by_key(|worker| Arc::strong_count(&worker.load))
        else {
            break;
        };
        let load = Arc::clone(&worker.load);
        let Ok(socket) = socket.into_std() else {
            continue;
        };
        // A thread that is gone has panicked outside any call; the others go on.
        if worker
            .sockets
            .send(Accepted {
                socket,
                peer,
                permit,
                load,
            })
            .await
            .is_err()
        {
            tracing::error!("a serving thread is gone");
        }
    }
    drop(listener);
    // With its sender gone a thread gets no more connections and drains; all of them at the same time.
    let threads: Vec<_> = workers.into_iter().map(|worker| worker.thread).collect();
    for thread in threads {
        if tokio::task::spawn_blocking(|| thread.join()).await.is_err() {
            tracing::error!("a serving thread did not end well");
        }
    }
    Ok(())
}

impl Worker {
    fn start(handler: impl Handler, limits: Server, drain: Duration) -> io::Result<Self> {
        let (sockets, accepted) = mpsc::channel(ACCEPTED_MAX);
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let serving = work(accepted, handler, limits, drain);
        let thread = thread::Builder::new()
            .name("serve".to_owned())
            .spawn(move || runtime.block_on(serving))?;
        Ok(Self {
            sockets,
            thread,
            load: Arc::default(),
        })
    }
}

/// What one thread does.
async fn work(
    mut accepted: mpsc::Receiver<Accepted>,
    handler: impl Handler,
    limits: Server,
    drain: Duration,
) {
    let graceful = GracefulShutdown::new();
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.header_bytes_max);
    let (mut connections, bodies) = (JoinSet::new(), TaskTracker::new());
    let mut breaths = memory::breaths();
    loop {
        let Accepted {
            socket,
            peer,
            permit,
            load,
        } = tokio::select! {
            Some(_) = connections.join_next() => continue,
            _ = breaths.tick() => {
                memory::breathe();
                continue;
            }
            accepted = accepted.recv() => match accepted {
                Some(accepted) => accepted,
                None => break,
            },
        };
        let Ok(socket) = TcpStream::from_std(socket) else {
            continue;
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
        let connection = graceful.watch(builder.serve_connection(TokioIo::new(socket), service));
        connections.spawn(async move {
            // A client that breaks its connection is no news.
            if let Err(error) = connection.await {
                tracing::debug!(%peer, %error, "a connection ended early");
            }
            drop((permit, load));
        });
    }
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
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
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
