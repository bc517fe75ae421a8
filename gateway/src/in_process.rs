//! The in-process link between the planes: the same gRPC contract over a pipe instead of a socket,
//! so that one process and a fleet share one code path.

use std::io;

use hyper_util::rt::TokioIo;
use tokio::{io::DuplexStream, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};

/// How many bytes one side may send before the other reads.
const PIPE_BYTES: usize = 256 * 1024;

/// The server's end: new connections.
pub(crate) type PipeConnections = ReceiverStream<io::Result<DuplexStream>>;

/// A channel, and its connections for the server.
pub(crate) fn channel() -> (Channel, PipeConnections) {
    let (sender, receiver) = mpsc::channel(4);
    let connector = tower::service_fn(move |_| {
        let sender = sender.clone();
        async move {
            let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
            sender
                .send(Ok(theirs))
                .await
                .map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
            Ok::<_, io::Error>(TokioIo::new(ours))
        }
    });
    // The address is never resolved.
    let channel = Endpoint::from_static("http://in-process").connect_with_connector_lazy(connector);
    (channel, ReceiverStream::new(receiver))
}
