//! Starts and stops each role. Stopping follows the order in which calls flow: no new calls, streams end, usage is
//! handed in, control closes.

mod drain;
mod handlers;
mod node_name;
mod tasks;

use std::{fs, io::IsTerminal as _, net::SocketAddr, os::unix::fs::DirBuilderExt as _, path::Path};

use anyhow::{Context as _, anyhow};
use axum::routing::get;
use drain::{DrainSteps, serve_and_drain};
use handlers::{router_handler, surface_handlers};
use node_name::node_name;
use proxyxai_contract::{Invalid, clock::Clock, earnings::EarningCounters, secret::Secret};
use proxyxai_control::Control;
use proxyxai_dataplane::{Admin, ControlChannel, DataPlane, HttpService, readiness};
use tasks::ControlTasks;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tracing_subscriber::EnvFilter;

use crate::{
    config::Config, connection_limits::ConnectionLimits, console, file_size_limit, healthcheck,
    in_process, lingering::LingeringBody, listen::Listen, open_files, openapi::ServedApis,
    ownership, pages, serve,
};

/// The variables of listen addresses, named as the remedy if binding fails.
const HTTP_ADDRESS: &str = "`PORT` or `LISTEN`";
const GRPC_ADDRESS: &str = "`GRPC_PORT` or `GRPC_LISTEN`";
/// Scrapers are few.
const METRICS_CONNECTIONS_MAX: usize = 64;

/// What this process does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Role {
    /// Both planes in one process.
    AllInOne,
    /// The control plane.
    Control,
    /// A data plane.
    Dataplane,
    /// A request to a running gateway.
    Healthcheck,
}

/// Enough for control, the link and the administration together.
const BACKGROUND_THREADS: usize = 2;

/// Runs a role to its end.
///
/// # Errors
/// Errors if it cannot start.
pub(crate) fn run(role: Role, config: Config) -> anyhow::Result<()> {
    if let Role::Healthcheck = role {
        return healthcheck::run(config.listen.local_address(config.listen.port()));
    }
    let (data_dir, database) = (config.data_dir.clone(), config.control.database.clone());
    serve_role(role, config)
        .map_err(|error| ownership::with_ownership_hint(error, &data_dir, &database))
}

fn serve_role(role: Role, mut config: Config) -> anyhow::Result<()> {
    init_tracing(&config)?;
    cap_connections(role, &mut config);
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
        .with_context(|| {
            let problem = format!("{} cannot be made", config.data_dir.display());
            proxyxai_control::Error::from(Invalid::new("DATA_DIR", problem))
        })?;
    // Serving threads (`serve`) handle the calls; this runtime does everything else.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(BACKGROUND_THREADS)
        .enable_all()
        .build()
        .context("the runtime cannot start")?;
    runtime.block_on(async {
        match role {
            Role::AllInOne => run_all_in_one(config).await,
            Role::Control => run_control(config).await,
            Role::Dataplane | Role::Healthcheck => run_dataplane(config).await,
        }
    })
}

async fn run_all_in_one(config: Config) -> anyhow::Result<()> {
    let stopping = stop_signal()?;
    let http = config.listen.bind(HTTP_ADDRESS).await?;
    let grpc = bind_grpc(&config).await?;
    let control = Control::start(config.control.clone(), Clock::system())
        .await
        .context("control cannot start")?;
    let (channel, pipe) = in_process::channel();
    let planes = ControlTasks::start(&control, grpc, Some(pipe))?;
    let earned = Some(config.control.earned.clone());
    let data = start_data_plane(
        &config,
        (ControlChannel::fixed(channel), control.node_token()),
        earned,
    )?;
    let admin = Admin::Local {
        router: control.rest_router(),
        storage_fault: control.storage_fault(),
    };
    let surface = data.http_service(admin, pages::router(ServedApis::All));
    let measuring = start_metrics_server(&surface, &config).await?;
    let here = console::print_addresses(config.listen, http.local_addr()?, Some(planes.grpc));
    print_root_key(&control, &config.data_dir, here).await?;
    serve_and_drain(
        http,
        surface_handlers(surface, &config),
        &config,
        DrainSteps {
            stopping,
            leave: || data.leave(),
            drain: || data.drain(),
            cut: || data.end_open_calls(),
        },
    )
    .await?;
    measuring.stop();
    data.stop().await;
    planes.stop().await;
    Ok(())
}

async fn run_control(mut config: Config) -> anyhow::Result<()> {
    let stopping = stop_signal()?;
    let http = config.listen.bind(HTTP_ADDRESS).await?;
    let grpc = bind_grpc(&config).await?;
    let control = Control::start(config.control.clone(), Clock::system())
        .await
        .context("control cannot start")?;
    let tasks = ControlTasks::start(&control, grpc, None)?;
    let storage_fault = control.storage_fault();
    let router = control
        .rest_router()
        .route("/healthz", get(|| async { "ok\n" }))
        .route(
            "/readyz",
            get(move || async move { readiness(storage_fault.borrow().clone()) }),
        )
        .fallback_service(pages::router(ServedApis::Administration));
    let here = console::print_addresses(config.listen, http.local_addr()?, Some(tasks.grpc));
    print_root_key(&control, &config.data_dir, here).await?;
    let handler = router_handler(router, config.limits.trusted_proxies.clone());
    // Its `/readyz` reports the state of its storage, and administrators' clients retry.
    config.drain_delay = std::time::Duration::ZERO;
    let departure = DrainSteps {
        stopping,
        leave: || (),
        drain: || (),
        cut: || (),
    };
    serve_and_drain(http, vec![handler], &config, departure).await?;
    tasks.stop().await;
    Ok(())
}

async fn run_dataplane(config: Config) -> anyhow::Result<()> {
    let stopping = stop_signal()?;
    let addresses = config
        .control_grpc
        .as_deref()
        .context("CONTROL_GRPC: a data plane alone needs it")?;
    let token = config
        .control
        .node_token
        .clone()
        .context("NODE_TOKEN: a data plane alone needs it")?;
    let channel = ControlChannel::to_replicas(addresses)?;
    let http = config.listen.bind(HTTP_ADDRESS).await?;
    let data = start_data_plane(&config, (channel, &token), None)?;
    let (admin, serves) = match config.control_http.clone() {
        Some(control) => (Admin::Remote(control), ServedApis::All),
        None => (Admin::Nobody, ServedApis::Calls),
    };
    let surface = data.http_service(admin, pages::router(serves));
    let measuring = start_metrics_server(&surface, &config).await?;
    console::print_addresses(config.listen, http.local_addr()?, None);
    serve_and_drain(
        http,
        surface_handlers(surface, &config),
        &config,
        DrainSteps {
            stopping,
            leave: || data.leave(),
            drain: || data.drain(),
            cut: || data.end_open_calls(),
        },
    )
    .await?;
    measuring.stop();
    data.stop().await;
    Ok(())
}

async fn print_root_key(
    control: &Control,
    data_dir: &Path,
    http: SocketAddr,
) -> anyhow::Result<()> {
    if let Some(key) = control.first_root_key() {
        console::print_first_root_key(data_dir, http, key);
    } else {
        console::print_root_key_file(data_dir, control.root_key_file().await?);
    }
    Ok(())
}

/// Binds gRPC and its connection limits. This happens before anything is stored: a first start that cannot serve must
/// not leave a root key that was never shown.
async fn bind_grpc(config: &Config) -> anyhow::Result<(TcpListener, ConnectionLimits)> {
    let listener = Listen::At(config.grpc_listen).bind(GRPC_ADDRESS).await?;
    let server = &config.server;
    let proxies = config.limits.trusted_proxies.clone();
    let most = server.address_connections_max;
    let connection_limits = ConnectionLimits::new(config.grpc_connections_max, most, proxies);
    Ok((listener, connection_limits))
}

/// Lowers the connection limit to what fits into the process's limit of open files.
fn cap_connections(role: Role, config: &mut Config) {
    let files_each = match role {
        Role::Control => 1,
        Role::AllInOne | Role::Dataplane | Role::Healthcheck => 2,
    };
    let (wanted, limit) = (config.server.connections_max, open_files::raise_limit());
    let fit = open_files::connections_within(wanted, limit, files_each);
    if fit < wanted {
        tracing::warn!(
            CONNECTIONS_MAX = wanted, lowered_to = fit, open_files = ?limit,
            "more connections than files may be open (ulimit -n); fewer are taken"
        );
        config.server.connections_max = fit;
    }
}

fn start_data_plane(
    config: &Config,
    (channel, token): (ControlChannel, &Secret),
    earned: Option<EarningCounters>,
) -> anyhow::Result<DataPlane> {
    let data = proxyxai_dataplane::Config {
        node: node_name(config)?,
        data_dir: config.data_dir.clone(),
        limits: config.limits.clone(),
        metrics_token: config.metrics_token.clone(),
        earned,
        tag_members: config.tag_members.clone(),
        telemetry: config.telemetry.clone(),
    };
    DataPlane::start(data, channel, token, Clock::system()).context("the data plane cannot start")
}

/// Serves `/metrics` on its own address, if one is configured, for as long as calls are served.
async fn start_metrics_server(
    surface: &HttpService,
    config: &Config,
) -> anyhow::Result<serve::Shutdown> {
    let end = serve::Shutdown::default();
    let Some(address) = config.metrics_listen else {
        return Ok(end);
    };
    let listener = Listen::At(address).bind("`METRICS_LISTEN`").await?;
    console::print_metrics_address(listener.local_addr()?);
    let surface = surface.sibling();
    let handler =
        move |_peer: SocketAddr, request| surface.clone().measure::<LingeringBody>(request);
    let most = METRICS_CONNECTIONS_MAX;
    let connection_limits =
        ConnectionLimits::new(most, most, config.limits.trusted_proxies.clone());
    let serving = serve::serve(
        (listener, connection_limits),
        vec![handler],
        config.server,
        end.clone(),
    );
    tokio::spawn(async move {
        if let Err(error) = serving.await {
            tracing::error!(%error, "metrics are not served");
        }
    });
    Ok(end)
}

fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    file_size_limit::handle_sigxfsz()?;
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
        // Otherwise it would log a line about a line that cannot be written, and panic when that fails too.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal());
    let result = if config.log_json {
        subscriber.json().try_init()
    } else {
        subscriber.try_init()
    };
    result.map_err(|error| anyhow!("logging cannot start: {error}"))
}
