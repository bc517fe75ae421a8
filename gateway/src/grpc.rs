//! The socket of control's gRPC: the number of connections, their idle timeout, and how much one may request at once.
//! Data planes ping theirs every ten seconds; administrators' clients reconnect.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{Instant, Sleep},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{
    Server,
    server::{Connected, TcpConnectInfo},
};

use crate::connection_limits::{ConnectionLimits, ConnectionPermit};

/// A connection without traffic for this long is closed.
const IDLE_MAX: Duration = Duration::from_mins(5);
/// Maximum time until the response to a request begins. No call of control takes longer.
const REQUEST_MAX: Duration = Duration::from_mins(5);
/// A data plane whose host is gone is noticed after these two, and its name is free again.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// The most requests that one connection may have open.
const STREAMS_MAX: u32 = 128;
/// The most bytes of one request's metadata.
const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// The most accepted connections that wait to be served.
const ACCEPTED_MAX: usize = 64;
/// After a failed accept, wait for some connections to end.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// A server with the limits of one connection.
pub(crate) fn server() -> Server {
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .timeout(REQUEST_MAX)
        .max_concurrent_streams(STREAMS_MAX)
        .concurrency_limit_per_connection(STREAMS_MAX as usize)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
}

/// Accepted connections within the limits, and the future that accepts them.
pub(crate) fn incoming(
    listener: TcpListener,
    connection_limits: ConnectionLimits,
) -> (
    ReceiverStream<io::Result<IdleTimeoutStream>>,
    impl Future<Output = ()>,
) {
    let (sender, accepted) = mpsc::channel(ACCEPTED_MAX);
    let accepting = async move {
        while let Some(permit) = connection_limits.acquire().await {
            let (socket, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a gRPC connection could not be accepted");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                    continue;
                }
            };
            let Some(place) = connection_limits.admit(peer.ip(), permit) else {
                continue;
            };
            if let Err(error) = socket.set_nodelay(true) {
                tracing::debug!(%peer, %error, "Nagle's algorithm could not be switched off");
            }
            if sender
                .send(Ok(IdleTimeoutStream::new(socket, place)))
                .await
                .is_err()
            {
                return;
            }
        }
    };
    (ReceiverStream::new(accepted), accepting)
}

/// A connection that ends after its idle timeout.
#[derive(Debug)]
pub(crate) struct IdleTimeoutStream {
    socket: TcpStream,
    idle_timer: Pin<Box<Sleep>>,
    _place: ConnectionPermit,
}

impl IdleTimeoutStream {
    fn new(socket: TcpStream, place: ConnectionPermit) -> Self {
        Self {
            socket,
            idle_timer: Box::pin(tokio::time::sleep(IDLE_MAX)),
            _place: place,
        }
    }

    fn reset_idle_timer(&mut self) {
        self.idle_timer.as_mut().reset(Instant::now() + IDLE_MAX);
    }
}

impl Connected for IdleTimeoutStream {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.socket.connect_info()
    }
}

impl AsyncRead for IdleTimeoutStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.socket).poll_read(cx, buffer) {
            Poll::Ready(read) => {
                self.reset_idle_timer();
                Poll::Ready(read)
            }
            Poll::Pending => self
                .idle_timer
                .as_mut()
                .poll(cx)
                .map(|()| Err(io::ErrorKind::TimedOut.into())),
        }
    }
}

impl AsyncWrite for IdleTimeoutStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        if written.is_ready() {
            self.reset_idle_timer();
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, bytes);
        if written.is_ready() {
            self.reset_idle_timer();
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}
