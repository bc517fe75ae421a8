//! The HTTP server: accepts connections with Nagle's algorithm off, limits the request head in size and time, and
//! drains on request.

use std::{
    convert::Infallible,
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Waker,
    thread::{self, JoinHandle},
    time::Duration,
};

use axum::body::Body;

use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::{Body as _, Incoming},
    header::{self, HeaderName, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use proxyxai_dataplane::RequestId;
use tokio::{
    net::{TcpListener, TcpStream},
    runtime,
    sync::mpsc,
    task::JoinSet,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    allocator,
    config::ServerLimits,
    connection_limits::{ConnectionLimits, ConnectionPermit},
    framing::{Framing, HeadInspector, InspectedStream, framing},
    lingering::LingeringBody,
};

/// After a failed accept (mostly out of file descriptors), wait for some connections to end.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// Large enough to read a head and a body of 64 KiB at once. With less, the body comes in pieces, each of which costs
/// another system call and a copy.
const READ_BYTES: usize = 128 * 1024;
/// The most connections that wait for one thread to take them.
const ACCEPTED_MAX: usize = 1024;
/// How long responses that the gateway ends may take to reach their clients.
const FLUSH_MAX: Duration = Duration::from_secs(1);

/// Sent with 431. A head longer than one read gets the bare 431 of hyper.
const HEAD_TOO_LONG: &str = "The head of the request is too long.";

/// The response to a client whose address has too many connections.
const TOO_MANY_CONNECTIONS: &str = concat!(
    "HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nContent-Length: 182\r\nRetry-After: 1\r\n",
    "Connection: close\r\n\r\n",
    r#"{"error":{"message":"Too many connections from this address","type":"rate_limit_error","code":"too_many_connections","param":null},"message":"Too many connections from this address"}"#
);

/// Controls the shutdown of the server; clones are one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shutdown {
    closing: Arc<AtomicBool>,
    stop: CancellationToken,
    cut: CancellationToken,
}

/// Handles requests; one clone for each connection.
pub(crate) trait RequestHandler: Clone + Send + Sync + 'static {
    /// Handles a request from `peer`.
    fn handle(
        &self,
        peer: SocketAddr,
        request: Request<LingeringBody>,
    ) -> impl Future<Output = Response<Body>> + Send + 'static;

    /// Waits until calls that continue without a connection have ended.
    fn wait_abandoned(&self) -> impl Future<Output = ()> + Send + 'static {
        std::future::ready(())
    }
}

impl<F, A> RequestHandler for F
where
    F: Fn(SocketAddr, Request<LingeringBody>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response<Body>> + Send + 'static,
{
    fn handle(
        &self,
        peer: SocketAddr,
        request: Request<LingeringBody>,
    ) -> impl Future<Output = Response<Body>> + Send + 'static {
        self(peer, request)
    }
}

/// A connection on its way to a serving thread.
struct AcceptedConnection {
    socket: std::net::TcpStream,
    peer: SocketAddr,
    /// One of all connections; released on drop.
    permit: ConnectionPermit,
    /// Counts it among the connections of its thread.
    load: Arc<()>,
}

/// The service of one connection.
struct ConnectionService<H> {
    peer: SocketAddr,
    handler: H,
    /// Tasks that read on after a call was refused early.
    lingering: TaskTracker,
    head_bytes_max: usize,
    head: Arc<HeadInspector>,
    end: Shutdown,
}

/// A serving thread with its own runtime. A call stays on one thread from its first byte to its last, which saves the
/// wake-ups of other threads that a shared runtime costs (see `bench/`).
struct ServingThread {
    sockets: mpsc::Sender<AcceptedConnection>,
    thread: JoinHandle<()>,
    load: Arc<()>,
}

/// Serves on as many threads as there are handlers until it shall stop, then drains open responses until it shall cut
/// them.
///
/// # Errors
/// Errors if a thread cannot be started.
pub(crate) async fn serve(
    (listener, connection_limits): (TcpListener, ConnectionLimits),
    handlers: Vec<impl RequestHandler>,
    limits: ServerLimits,
    end: Shutdown,
) -> io::Result<()> {
    let workers: Vec<_> = handlers
        .into_iter()
        .map(|handler| ServingThread::start(handler, limits, &end))
        .collect::<Result<_, _>>()?;
    while let Some(Some((socket, peer, place))) = end
        .stop
        .run_until_cancelled(accept(&listener, &connection_limits))
        .await
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
        // A thread that is gone has panicked outside any call; the others continue.
        if worker
            .sockets
            .send(AcceptedConnection {
                socket,
                peer,
                permit: place,
                load,
            })
            .await
            .is_err()
        {
            tracing::error!("a serving thread is gone");
        }
    }
    drop(listener);
    // Dropping its sender makes a thread drain, so all threads drain at the same time.
    let threads: Vec<_> = workers.into_iter().map(|worker| worker.thread).collect();
    for thread in threads {
        if tokio::task::spawn_blocking(|| thread.join()).await.is_err() {
            tracing::error!("a serving thread did not end well");
        }
    }
    Ok(())
}

// === impl Shutdown ===

impl Shutdown {
    /// From now on responses close their connections, so that no client reuses one.
    pub(crate) fn close_after_responses(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// Stops accepting connections.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Ends the time for open responses. Handlers already know: every connection is polled once more, so that its
    /// response can end itself, and is cut a moment later.
    pub(crate) fn cut(&self) {
        self.cut.cancel();
    }

    fn mark_closing(&self, answer: Response<Body>) -> Response<Body> {
        if self.closing.load(Ordering::Relaxed) {
            with_connection_close(answer)
        } else {
            answer
        }
    }
}

// === impl ServingThread ===

impl ServingThread {
    fn start(
        handler: impl RequestHandler,
        limits: ServerLimits,
        end: &Shutdown,
    ) -> io::Result<Self> {
        let (sockets, accepted) = mpsc::channel(ACCEPTED_MAX);
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let serving = serve_connections(accepted, handler, limits, end.clone());
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

/// Runs one serving thread.
async fn serve_connections(
    mut accepted: mpsc::Receiver<AcceptedConnection>,
    handler: impl RequestHandler,
    limits: ServerLimits,
    end: Shutdown,
) {
    let graceful = GracefulShutdown::new();
    // A child token for each thread, so that connections of different threads do not share a lock.
    let cut = end.cut.child_token();
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.header_bytes_max.max(READ_BYTES));
    let (mut connections, bodies) = (JoinSet::new(), TaskTracker::new());
    let mut breaths = allocator::trim_interval();
    loop {
        let AcceptedConnection {
            socket,
            peer,
            permit: place,
            load,
        } = tokio::select! {
            Some(_) = connections.join_next() => continue,
            _ = breaths.tick() => {
                allocator::trim_allocator();
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
        // A request shares the service of its connection, so that state shared by all threads is not touched for each
        // request.
        let head = HeadInspector::new(limits.header_bytes_max);
        let socket = InspectedStream::new(socket, Arc::clone(&head), limits.send_timeout);
        let door = Arc::new(ConnectionService {
            peer,
            handler: handler.clone(),
            lingering: bodies.clone(),
            head_bytes_max: limits.header_bytes_max,
            head,
            end: end.clone(),
        });
        let service = service_fn(move |request| {
            let door = Arc::clone(&door);
            // Check here, not when the future is polled: hyper may read on before that.
            let judged = door.check_framing(request);
            async move { Ok::<_, Infallible>(door.answer(judged).await) }
        });
        let connection = graceful.watch(builder.serve_connection(TokioIo::new(socket), service));
        let served = poll_again_on_cut(connection, cut.clone());
        connections.spawn(async move {
            // A client that breaks its connection is not worth a warning.
            if let Err(error) = served.await {
                tracing::debug!(%peer, %error, "a connection ended early");
            }
            drop((place, load));
        });
    }
    let mut drained = pin!(async {
        graceful.shutdown().await;
        handler.wait_abandoned().await;
    });
    tokio::select! {
        () = &mut drained => {}
        () = cut.cancelled() => {
            if tokio::time::timeout(FLUSH_MAX, drained).await.is_err() {
                tracing::warn!("connections whose answers did not end are cut");
            }
        }
    }
    // Calls that are cut here must be settled before the usage is handed in.
    connections.shutdown().await;
}

/// Serves a connection, and polls it once more when responses are to end, which polls its response as well. So an open
/// call needs no wake-up of its own, and costs nothing extra.
async fn poll_again_on_cut<C: Future>(connection: C, cut: CancellationToken) -> C::Output {
    let (mut connection, mut cut) = (pin!(connection), pin!(cut.cancelled()));
    let mut waiting: Option<Waker> = None;
    poll_fn(|cx| {
        // Register the waker once, not for each chunk of a stream.
        let known = waiting.as_ref();
        if !known.is_some_and(|waker| waker.will_wake(cx.waker())) {
            let _cut = cut.as_mut().poll(cx);
            waiting = Some(cx.waker().clone());
        }
        connection.as_mut().poll(cx)
    })
    .await
}

impl<H: RequestHandler> ConnectionService<H> {
    /// Checks the framing of a request by its head, which is not kept.
    fn check_framing(&self, request: Request<Incoming>) -> (Framing, Request<LingeringBody>) {
        let waits = request.headers().contains_key(header::EXPECT);
        let framing = framing(&request, &self.head);
        let next = self.head.begin_body(request.body().size_hint().exact());
        let polite = request.map(|body| LingeringBody::new(body, waits, &self.lingering, next));
        (framing, polite)
    }

    async fn answer(
        &self,
        (framing, request): (Framing, Request<LingeringBody>),
    ) -> Response<Body> {
        if let Framing::Refused(problem) = framing {
            return with_connection_close(refusal_response(
                StatusCode::BAD_REQUEST,
                "invalid_request",
                problem,
            ));
        }
        if head_bytes(&request) > self.head_bytes_max {
            let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            return refusal_response(status, "head_too_long", HEAD_TOO_LONG);
        }
        let answer = self.handler.handle(self.peer, request).await;
        match framing {
            Framing::Unseen => with_connection_close(answer),
            Framing::Plain | Framing::Refused(_) => self.end.mark_closing(answer),
        }
    }
}

/// Approximate size of a head on the wire, in bytes.
fn head_bytes<B>(request: &Request<B>) -> usize {
    let path = request.uri().path_and_query();
    let path = path.map_or(0, |path| path.as_str().len());
    let field = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 4;
    path + request.headers().iter().map(field).sum::<usize>()
}

/// Makes a response close its connection.
fn with_connection_close(mut answer: Response<Body>) -> Response<Body> {
    let close = HeaderValue::from_static("close");
    answer.headers_mut().insert(header::CONNECTION, close);
    answer
}

/// A refusal of a request that no handler sees. The texts are constants and need no escaping.
fn refusal_response(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    let body = format!(
        r#"{{"error":{{"message":"{message}","type":"invalid_request_error","code":"{code}","param":null}},"message":"{message}"}}"#
    );
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    RequestId::settle(&mut HeaderMap::new()).mark(response.headers_mut());
    response
}

/// The next connection, once the limits allow it. Returns `None` if the semaphore is closed, which never happens.
async fn accept(
    listener: &TcpListener,
    connection_limits: &ConnectionLimits,
) -> Option<(TcpStream, SocketAddr, ConnectionPermit)> {
    loop {
        let permit = connection_limits.acquire().await?;
        match listener.accept().await {
            Ok((stream, peer)) => {
                let Some(place) = connection_limits.admit(peer.ip(), permit) else {
                    // Best effort; nothing waits for it.
                    let _written = stream.try_write(TOO_MANY_CONNECTIONS.as_bytes());
                    continue;
                };
                // Otherwise every chunk of a stream may wait for an acknowledgement, about 40 ms.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%peer, %error, "Nagle's algorithm could not be switched off");
                }
                // On a dual-stack socket IPv4 addresses arrive as IPv4-mapped IPv6 addresses.
                let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                return Some((stream, peer, place));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}
