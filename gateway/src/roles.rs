//! Starting and stopping each role. Stopping goes in the order in which calls flow: no new calls,
//! streams end, usage is handed in, control closes.

use std::{
    fs,
    io::{IsTerminal as _, Write as _},
    net::SocketAddr,
    num::NonZero,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use anyhow::{Context as _, anyhow};
use axum::{Router, body::Body, extract::ConnectInfo, response::IntoResponse as _, routing::get};
use hyper::Request;
use proxyxai_contract::{access::IpList, clock::Clock, id::NodeName, secret::Secret};
use proxyxai_control::Control;
use proxyxai_dataplane::{Admin, DataPlane, RequestId, Surface, client_address, readiness};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tower::ServiceExt as _;
use tracing_subscriber::EnvFilter;

use crate::{
    announce, channel,
    config::Config,
    healthcheck, memory,
    polite::Polite,
    serve::{self, Handler},
};

/// What this process is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Role {
    /// Both planes.
    AllInOne,
    /// The control plane.
    Control,
    /// A data plane.
    Dataplane,
    /// A question to a running gateway.
    Healthcheck,
}

/// Control, the link and the administration are never more than this busy at once.
const BACKGROUND_THREADS: usize = 2;

/// Runs a role to its end.
///
/// # Errors
/// When it cannot start.
pub(crate) fn run(role: Role, config: Config) -> anyhow::Result<()> {
    if let Role::Healthcheck = role {
        return healthcheck::run(config.listen);
    }
    init_tracing(&config)?;
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow!("TLS was set up twice"))?;
    for name in &config.ignored {
        tracing::info!(name, "this variable is known but not acted on");
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&config.data_dir)
        .with_context(|| format!("{} cannot be made", config.data_dir.display()))?;
    // Calls are served by threads of their own (`serve`); this runtime does everything else.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(BACKGROUND_THREADS)
        .enable_all()
        .build()
        .context("the runtime cannot start")?;
    runtime.block_on(async {
        match role {
            Role::AllInOne => all_in_one(config).await,
            Role::Control => control(config).await,
            Role::Dataplane | Role::Healthcheck => dataplane(config).await,
        }
    })
}

async fn all_in_one(config: Config) -> anyhow::Result<()> {
    let stopping = stop_signal()?;
    let http = bind(config.listen).await?;
    let control = Control::start(config.control.clone(), Clock::system())
        .await
        .context("control cannot start")?;
    let (channel, pipe) = channel::pair();
    let planes = ControlTasks::start(&control, config.grpc_listen, Some(pipe)).await?;
    let data = data_plane(&config, channel, control.node_token())?;
    let surface = data.surface(Admin::Local {
        router: control.rest_router(),
        storage_fault: control.storage_fault(),
    });
    announce::listening(
        http.local_addr()?,
        Some(planes.grpc),
        control.first_root_key(),
    );
    serve_and_drain(
        http,
        surface_handlers(surface, &config),
        &config,
        Departure {
            stopping,
            leave: || data.leave(),
            drain: || data.drain(),
        },
    )
    .await?;
    data.stop().await;
    planes.stop().await;
    Ok(())
}

async fn control(mut config: Config) -> anyhow::Result<()> {
    let stopping = stop_signal()?;
    let http = bind(config.listen).await?;
    let control = Control::start(config.control.clone(), Clock::system())
        .await
        .context("control cannot start")?;
    let tasks = ControlTasks::start(&control, config.grpc_listen, None).await?;
    let storage_fault = control.storage_fault();
    let router = control
        .rest_router()
        .route("/healthz", get(|| async { "ok\n" }))
        .route(
            "/readyz",
            get(move || async move { readiness(storage_fault.borrow().clone()) }),
        );
    announce::listening(
        http.local_addr()?,
        Some(tasks.grpc),
        control.first_root_key(),
    );
    let handler = router_handler(router, config.limits.trusted_proxies.clone());
    // Nobody asks control alone whether it is ready.
    config.drain_delay = std::time::Duration::ZERO;
    let departure = Departure {
        stopping,
        leave: || (),
        drain: || (),
    };
    serve_and_drain(http, vec![handler], &config, departure).await?;
    tasks.stop().await;
    Ok(())
}

async fn dataplane(config: Config) -> anyhow::Result<()> {
    let stopping = stop_signal()?;
    let address = config
        .control_grpc
        .as_deref()
        .context("CONTROL_GRPC: a data plane alone needs it")?;
    let token = config
        .control
        .node_token
        .clone()
        .context("NODE_TOKEN: a data plane alone needs it")?;
    let channel = proxyxai_dataplane::connect(address)?;
    let http = bind(config.listen).await?;
    let data = data_plane(&config, channel, &token)?;
    let admin = config
        .control_http
        .clone()
        .map_or(Admin::Nobody, Admin::Remote);
    let surface = data.surface(admin);
    announce::listening(http.local_addr()?, None, None);
    serve_and_drain(
        http,
        surface_handlers(surface, &config),
        &config,
        Departure {
            stopping,
            leave: || data.leave(),
            drain: || data.drain(),
        },
    )
    .await?;
    data.stop().await;
    Ok(())
}

fn data_plane(config: &Config, channel: Channel, token: &Secret) -> anyhow::Result<DataPlane> {
    let limits = &config.limits;
    let data = proxyxai_dataplane::Config {
        node: node_name(config)?,
        data_dir: config.data_dir.clone(),
        body_bytes_max: limits.body_bytes_max,
        body_idle: limits.body_idle,
        connect: limits.connect,
        first_byte: limits.first_byte,
        idle: limits.idle,
        keepalive: limits.keepalive,
        drain_bytes_max: limits.drain_bytes_max,
        drain: limits.drain,
        retry_deadline: limits.retry_deadline,
        tries_max: limits.tries_max,
        credit_wait: limits.credit_wait,
        idle_connections_max: limits.idle_connections_max,
        open_calls_max: limits.open_calls_max,
        buffer_bytes_max: limits.buffer_bytes_max,
        trusted_proxies: limits.trusted_proxies.clone(),
        sight: config.sight.clone(),
    };
    DataPlane::start(data, channel, token, Clock::system()).context("the data plane cannot start")
}

/// The configured name, or one that is made up once and kept: it must not change while usage of it
/// may still be spooled, and no two nodes of a cascade may share one.
fn node_name(config: &Config) -> anyhow::Result<NodeName> {
    if let Some(name) = &config.node_name {
        return Ok(name.clone());
    }
    let path = config.data_dir.join("node.name");
    if let Ok(kept) = fs::read_to_string(&path) {
        return NodeName::new(kept.trim())
            .with_context(|| format!("{} is damaged", path.display()));
    }
    let name = NodeName::new(&format!("node-{:08x}", fastrand::u32(..)))?;
    write_new(&path, name.as_str())?;
    Ok(name)
}

fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("{} cannot be written", path.display()))?;
    writeln!(file, "{text}")?;
    Ok(file.sync_all()?)
}

/// Calls go to the data plane directly; each serving thread has its own connections to providers.
fn surface_handlers(surface: Surface, config: &Config) -> Vec<impl Handler + use<>> {
    let handler = |surface: Surface| {
        move |peer: SocketAddr, request| surface.clone().answer(peer.ip(), request)
    };
    let siblings = (1..serving_threads(config)).map(|_| surface.sibling());
    let surfaces: Vec<_> = siblings.collect();
    surfaces.into_iter().chain([surface]).map(handler).collect()
}

fn serving_threads(config: &Config) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, NonZero::get);
    config.worker_threads.unwrap_or_else(cores)
}

/// A control plane alone is an ordinary axum application.
fn router_handler(router: Router, trusted: IpList) -> impl Handler {
    move |peer: SocketAddr, mut request: Request<Polite>| {
        let id = RequestId::settle(request.headers_mut());
        let address = client_address(peer.ip(), request.headers(), &trusted);
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(address));
        let answer = router.clone().oneshot(request);
        async {
            let mut response = answer.await.into_response();
            id.mark(response.headers_mut());
            response
        }
    }
}

/// How a role comes to its end.
struct Departure<S, L, D> {
    stopping: S,
    /// Says that no more calls are wanted.
    leave: L,
    /// Takes no more calls.
    drain: D,
}

async fn serve_and_drain(
    listener: TcpListener,
    handlers: Vec<impl Handler>,
    config: &Config,
    departure: Departure<impl Future<Output = ()>, impl Fn(), impl Fn()>,
) -> anyhow::Result<()> {
    let Departure {
        stopping,
        leave,
        drain,
    } = departure;
    let end = serve::End::default();
    let serving = serve::serve(listener, handlers, config.server, end.clone(), config.drain);
    tokio::pin!(serving);
    tokio::select! {
        ended = &mut serving => return ended.context("serving ended"),
        () = stopping => {}
    }
    tracing::info!("leaving");
    leave();
    end.leave();
    // Whoever balances the load has to see it before calls are refused.
    tokio::select! {
        ended = &mut serving => return ended.context("serving ended"),
        () = tokio::time::sleep(config.drain_delay) => {}
    }
    tracing::info!("draining");
    drain();
    end.stop();
    serving.await.context("serving did not end well")
}

/// The gRPC servers and background work of control.
struct ControlTasks {
    grpc: SocketAddr,
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl ControlTasks {
    async fn start(
        control: &Control,
        listen: SocketAddr,
        pipe: Option<channel::Incoming>,
    ) -> anyhow::Result<Self> {
        let listener = bind(listen).await?;
        let grpc = listener.local_addr()?;
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let incoming =
            tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
        let served = tonic::transport::Server::builder()
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
        // Posting is what a burst leaves behind, and it is done on these threads.
        let stopped = stop.clone();
        tasks.spawn(async move {
            let _stopped = stopped.run_until_cancelled(memory::keep_breathing()).await;
        });
        Ok(Self { grpc, tasks, stop })
    }

    async fn stop(mut self) {
        self.stop.cancel();
        // Watch streams of data planes that are still there do not end by themselves.
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

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("{address} cannot be listened on"))
}

fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

fn init_tracing(config: &Config) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.log_filter).context("RUST_LOG: is no log filter")?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // It would tell of a line that cannot be written with one more line there, and panic when that fails too.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal());
    let result = if config.log_json {
        subscriber.json().try_init()
    } else {
        subscriber.try_init()
    };
    result.map_err(|error| anyhow!("logging cannot start: {error}"))
}
