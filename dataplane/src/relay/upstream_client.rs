//! The HTTP client for providers: hyper's connections in the gateway's own pool, one for each serving thread. Clients
//! put layers around a connection that a relayed call does not need, and each costs every call.
//!
//! This saves about a tenth of a small call's CPU next to hyper-util's client, and half of it next to reqwest (see
//! `bench/`).

use std::{
    collections::{HashMap, VecDeque},
    fmt, io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use proxyxai_contract::{price::FastHashState, provider::ProviderOrigin};
use tokio::time::Instant;

use super::{dial::Dialer, segments::BodySegments};
use crate::decide::connect_failure::ConnectFailure;

/// An idle connection is closed after this time. Most providers wait longer.
const IDLE_MAX: Duration = Duration::from_mins(1);

/// A client for provider calls; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct UpstreamClient {
    dialer: Dialer,
    pool: Arc<ConnectionPool>,
}

/// Why there is no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SendError {
    /// There was no connection.
    Unreachable(ConnectFailure),
    /// The connection broke, or what came over it was not HTTP.
    Broken,
}

/// A provider's response on its way. Once it is read completely, its connection returns to the pool; if it is dropped
/// before that, the connection is closed.
pub(crate) struct UpstreamBody {
    body: Incoming,
    connection: Option<PooledConnection>,
}

/// A connection in use.
struct PooledConnection {
    sender: SendRequest<BodySegments>,
    origin: ProviderOrigin,
    pool: Arc<ConnectionPool>,
}

/// Idle connections.
struct ConnectionPool {
    idle: Mutex<Idle>,
    /// Most idle connections for each origin.
    most: usize,
}

struct Idle {
    /// Oldest first.
    by_origin: HashMap<ProviderOrigin, VecDeque<IdleConnection>, FastHashState>,
    /// Whether a task closes connections that idle too long.
    swept: bool,
}

struct IdleConnection {
    sender: SendRequest<BodySegments>,
    since: Instant,
}

impl UpstreamClient {
    /// With a pool that keeps this many connections for each origin.
    pub(crate) fn new(dialer: Dialer, most: usize) -> Self {
        let idle = Idle {
            by_origin: HashMap::default(),
            swept: false,
        };
        Self {
            dialer,
            pool: Arc::new(ConnectionPool {
                idle: Mutex::new(idle),
                most,
            }),
        }
    }

    /// The same with its own connections: a connection that two threads use costs a wake-up of the other one for each
    /// call.
    pub(crate) fn sibling(&self) -> Self {
        Self::new(self.dialer.clone(), self.pool.most)
    }

    /// Sends a request and waits for the head of the response.
    ///
    /// # Errors
    /// Errors if there is no response.
    pub(crate) async fn send(
        &self,
        to: &ProviderOrigin,
        request: impl Fn() -> Request<BodySegments>,
    ) -> Result<Response<UpstreamBody>, SendError> {
        let mut next = request();
        while let Some(mut sender) = self.pool.take(to) {
            match sender.try_send_request(next).await {
                Ok(answer) => return Ok(self.reply(to, sender, answer)),
                Err(mut failed) => {
                    let unsent = failed.take_message();
                    let is_stale = is_stale(failed.error());
                    match unsent {
                        Some(unsent) => next = unsent,
                        // The provider closed it at the moment of its use, which is not the key's fault.
                        None if is_stale => {
                            next = request();
                            break;
                        }
                        None => return Err(SendError::Broken),
                    }
                }
            }
        }
        // Boxed, because it is rarely needed and would make every call's state as large.
        let mut sender = Box::pin(self.connect(to)).await?;
        let answer = sender.send_request(next).await;
        answer
            .map(|answer| self.reply(to, sender, answer))
            .map_err(|error| {
                tracing::debug!(%error, "a call to a provider failed");
                SendError::Broken
            })
    }

    async fn connect(&self, to: &ProviderOrigin) -> Result<SendRequest<BodySegments>, SendError> {
        let stream = self.dialer.dial(to).await.map_err(SendError::Unreachable)?;
        let (sender, connection) = http1::handshake(stream)
            .await
            .map_err(|_| SendError::Broken)?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a provider's connection ended early");
            }
        });
        Ok(sender)
    }

    fn reply(
        &self,
        origin: &ProviderOrigin,
        sender: SendRequest<BodySegments>,
        answer: Response<Incoming>,
    ) -> Response<UpstreamBody> {
        let connection = PooledConnection {
            sender,
            origin: origin.clone(),
            pool: Arc::clone(&self.pool),
        };
        answer.map(|body| {
            let mut reply = UpstreamBody {
                body,
                connection: Some(connection),
            };
            reply.release_at_end();
            reply
        })
    }
}

/// Whether an idle connection was closed before any of the response arrived.
fn is_stale(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref());
    let reset = source.is_some_and(|error: &io::Error| {
        matches!(
            error.kind(),
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
        )
    });
    error.is_incomplete_message() || reset
}

impl ConnectionPool {
    /// Returns the connection that was used last, which is the least likely to have been closed meanwhile.
    fn take(&self, origin: &ProviderOrigin) -> Option<SendRequest<BodySegments>> {
        let idle = &mut *self.idle();
        let waiting = idle.by_origin.get_mut(origin)?;
        // One whose request is still being written, though it was answered, stays for later.
        let ready = waiting
            .iter()
            .rposition(|waiting| waiting.sender.is_ready())?;
        waiting.remove(ready).map(|waiting| waiting.sender)
    }

    fn put(self: &Arc<Self>, origin: ProviderOrigin, sender: SendRequest<BodySegments>) {
        if sender.is_closed() {
            return;
        }
        let idle = &mut *self.idle();
        let since = Instant::now();
        if !std::mem::replace(&mut idle.swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
        let waiting = idle.by_origin.entry(origin).or_default();
        if waiting.len() >= self.most {
            waiting.pop_front();
        }
        waiting.push_back(IdleConnection { sender, since });
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        // Code under the lock cannot leave it half-changed.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes connections that idle too long, also without further calls, until none is idle.
async fn sweep(pool: Weak<ConnectionPool>) {
    loop {
        tokio::time::sleep(IDLE_MAX / 2).await;
        let Some(pool) = pool.upgrade() else {
            return;
        };
        let idle = &mut *pool.idle();
        idle.sweep(Instant::now());
        idle.swept = !idle.by_origin.is_empty();
        if !idle.swept {
            return;
        }
    }
}

impl Idle {
    fn sweep(&mut self, now: Instant) {
        self.by_origin.retain(|_, waiting| {
            waiting.retain(|waiting| !waiting.sender.is_closed() && now - waiting.since < IDLE_MAX);
            !waiting.is_empty()
        });
    }
}

impl fmt::Debug for ConnectionPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

impl UpstreamBody {
    /// Returns the connection to the pool once there is nothing more to read from it.
    fn release_at_end(&mut self) {
        if self.body.is_end_stream() {
            self.release();
        }
    }

    fn release(&mut self) {
        if let Some(PooledConnection {
            sender,
            origin,
            pool,
        }) = self.connection.take()
        {
            pool.put(origin, sender);
        }
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            None => self.release(),
            Some(Ok(_)) => self.release_at_end(),
            // Nothing more arrives on it.
            Some(Err(_)) => self.connection = None,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use hyper_util::rt::TokioIo;
    use proxyxai_contract::provider::BaseUrl;
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_nothing_uses_is_closed_also_when_there_are_no_more_calls() {
        let base = BaseUrl::parse("http://127.0.0.1:1").unwrap();
        let pool = Arc::new(ConnectionPool {
            idle: Mutex::new(Idle {
                by_origin: HashMap::default(),
                swept: false,
            }),
            most: 8,
        });
        for _ in 0..2 {
            let (ours, mut theirs) = tokio::io::duplex(1024);
            let (sender, connection) = http1::handshake(TokioIo::new(ours)).await.unwrap();
            tokio::spawn(connection);
            pool.put(base.origin().clone(), sender);
            let begun = Instant::now();
            assert_eq!(theirs.read(&mut [0; 1]).await.unwrap(), 0);
            let waited = begun.elapsed();
            assert!(waited >= IDLE_MAX && waited < IDLE_MAX * 2, "{waited:?}");
        }
    }
}
