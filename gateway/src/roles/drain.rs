//! The shutdown of a role, in the order in which calls flow.

use anyhow::Context as _;
use tokio::net::TcpListener;

use crate::{
    config::Config,
    connection_limits::ConnectionLimits,
    serve::{self, RequestHandler},
};

/// The steps of a shutdown.
pub(super) struct DrainSteps<S, L, D, C> {
    pub(super) stopping: S,
    /// Announces that no more calls are wanted.
    pub(super) leave: L,
    /// Stops taking calls.
    pub(super) drain: D,
    /// Makes open calls end themselves.
    pub(super) cut: C,
}

pub(super) async fn serve_and_drain(
    listener: TcpListener,
    handlers: Vec<impl RequestHandler>,
    config: &Config,
    departure: DrainSteps<impl Future<Output = ()>, impl Fn(), impl Fn(), impl Fn()>,
) -> anyhow::Result<()> {
    let DrainSteps {
        stopping,
        leave,
        drain,
        cut,
    } = departure;
    let end = serve::Shutdown::default();
    let proxies = config.limits.trusted_proxies.clone();
    let limits = config.server;
    let connection_limits = ConnectionLimits::new(
        limits.connections_max,
        limits.address_connections_max,
        proxies,
    );
    let serving = serve::serve((listener, connection_limits), handlers, limits, end.clone());
    tokio::pin!(serving);
    tokio::select! {
        ended = &mut serving => return ended.context("serving ended"),
        () = stopping => {}
    }
    tracing::info!("leaving");
    leave();
    end.close_after_responses();
    // Load balancers have to see it before calls are refused.
    tokio::select! {
        ended = &mut serving => return ended.context("serving ended"),
        () = tokio::time::sleep(config.drain_delay) => {}
    }
    tracing::info!("draining");
    drain();
    end.stop();
    tokio::select! {
        ended = &mut serving => return ended.context("serving did not end well"),
        () = tokio::time::sleep(config.drain) => {}
    }
    tracing::warn!("the drain time is over; open answers are ended");
    cut();
    end.cut();
    serving.await.context("serving did not end well")
}
