//! The tasks of a control plane beside HTTP.

use std::net::SocketAddr;

use proxyxai_control::Control;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{allocator, connection_limits::ConnectionLimits, grpc, in_process};

/// The gRPC servers and background jobs of control.
pub(super) struct ControlTasks {
    pub(super) grpc: SocketAddr,
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl ControlTasks {
    pub(super) fn start(
        control: &Control,
        (listener, connection_limits): (TcpListener, ConnectionLimits),
        pipe: Option<in_process::PipeConnections>,
    ) -> anyhow::Result<Self> {
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let (incoming, accepting) = grpc::incoming(listener, connection_limits);
        let stopped = stop.clone();
        tasks.spawn(async move {
            let _stopped = stopped.run_until_cancelled(accepting).await;
        });
        let served = grpc::server()
            .add_routes(control.grpc_routes())
            .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
        tasks.spawn(async move { log_end(served.await) });
        if let Some(pipe) = pipe {
            let served = tonic::transport::Server::builder()
                .add_routes(control.grpc_routes())
                .serve_with_incoming_shutdown(pipe, stop.clone().cancelled_owned());
            tasks.spawn(async move { log_end(served.await) });
        }
        tasks.spawn(control.clone().run(stop.clone()));
        // A burst of calls is followed by posting, which runs on these threads.
        let stopped = stop.clone();
        tasks.spawn(async move {
            let _stopped = stopped
                .run_until_cancelled(allocator::trim_periodically())
                .await;
        });
        Ok(Self {
            grpc: address,
            tasks,
            stop,
        })
    }

    pub(super) async fn stop(mut self) {
        self.stop.cancel();
        // Watch streams of connected data planes do not end by themselves.
        let patience = std::time::Duration::from_millis(500);
        let ended = tokio::time::timeout(patience, async {
            while self.tasks.join_next().await.is_some() {}
        })
        .await;
        if ended.is_err() {
            tracing::debug!("data planes were still connected");
        }
    }
}

fn log_end(result: Result<(), tonic::transport::Error>) {
    if let Err(error) = result {
        tracing::error!(%error, "a gRPC server ended");
    }
}
