//! The data plane: takes calls with client keys, relays them to providers over the key pool, meters
//! what passes, and hands the usage to control. It owns no account and names no database.

pub mod config;
mod decide;
mod error;
mod formats;
mod http;
mod link;
mod relay;
mod spool;
mod state;
pub mod telemetry;

use std::sync::Arc;

use axum::Router;
use proxyxai_contract::{clock::Clock, secret::Secret};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use config::{Config, Limits};
pub use error::Error;
pub use formats::tag::TagMembers;
pub use http::{Edge, HttpService, document, not_found, readiness};
pub use link::control_channel::ControlChannel;
pub use relay::client_address;
pub use telemetry::RequestId;

/// How long a data plane that stops tries to return its leases.
const GIVE_BACK_MAX: std::time::Duration = std::time::Duration::from_secs(2);

/// A running data plane.
#[derive(Debug)]
pub struct DataPlane {
    relay: relay::Relay,
    /// Shutdown of logs and traces.
    telemetry: telemetry::TelemetryShutdown,
    spool: spool::SpoolWriter,
    tasks: TaskTracker,
    watching: CancellationToken,
    reporting: CancellationToken,
    /// Tracked apart from the other tasks: unused credit is returned only after usage was reported.
    leases: TaskTracker,
    leasing: CancellationToken,
    /// Checks of work that ended after its call. They end before the spool is closed.
    looks: TaskTracker,
    looking: CancellationToken,
}

impl DataPlane {
    /// Opens the spool and starts to follow control. Calls get 503 until the first snapshot has arrived.
    ///
    /// # Errors
    /// Errors if the spool cannot be opened or TLS cannot be set up.
    pub fn start(
        config: Config,
        control: ControlChannel,
        node_token: &Secret,
        clock: Clock,
    ) -> Result<Self, Error> {
        let spool::OpenedSpool {
            spool,
            record_queue,
            writer,
            backlog,
        } = spool::open(&config.data_dir, &clock)?;
        let (telemetry, telemetry_shutdown) =
            telemetry::Telemetry::open(&config.telemetry, &config.node, &clock)?;
        let (objects, questions) = state::ObjectIndex::new();
        let (state, lease_asks) = state::RuntimeState::new(clock, &backlog, objects);
        let state = Arc::new(state);
        let (tasks, watching, reporting) = (
            TaskTracker::new(),
            CancellationToken::new(),
            CancellationToken::new(),
        );
        let link = link::ControlLink::new(control, node_token, &config, record_queue.epoch())?;
        let (learnt, health) = tokio::sync::mpsc::channel(relay::HEALTH_QUEUE_MAX);
        let (wanting, wanted) = tokio::sync::mpsc::channel(state::ASK_QUEUE_MAX);
        let outbox = relay::ControlOutbox { learnt, wanting };
        let parts = relay::RelayParts {
            state: Arc::clone(&state),
            spool,
            record_queue: record_queue.clone(),
            outbox,
            telemetry,
        };
        let relay = relay::Relay::new(config, parts)?;
        tasks.spawn(link::refusals::run(
            link.clone(),
            Arc::clone(&state),
            relay.telemetry.refusals(),
            reporting.clone(),
        ));
        tasks.spawn(link::watch::run(
            link.clone(),
            Arc::clone(&state),
            watching.clone(),
        ));
        tasks.spawn(link::report::run(
            link.clone(),
            Arc::clone(&state),
            record_queue,
            reporting.clone(),
        ));
        tasks.spawn(link::windows::run(link.clone(), wanted, watching.clone()));
        let asking = link::objects::run(link.clone(), questions, watching.clone());
        tasks.spawn(asking);
        tasks.spawn(link::health::run(link.clone(), health, watching.clone()));
        let (looks, looking) = (TaskTracker::new(), CancellationToken::new());
        looks.spawn(relay::deferred_work::run(relay.sibling(), looking.clone()));
        let (leases, leasing) = (TaskTracker::new(), CancellationToken::new());
        leases.spawn(link::lease::run(link, state, lease_asks, leasing.clone()));
        Ok(Self {
            relay,
            telemetry: telemetry_shutdown,
            spool: writer,
            tasks,
            watching,
            reporting,
            leases,
            leasing,
            looks,
            looking,
        })
    }

    /// The HTTP surface. `/x-*` and `/dashboard/*` go to `admin`, other requests that are not calls to `pages`.
    pub fn http_service(&self, admin: Admin, pages: Router) -> HttpService {
        HttpService::new(
            self.relay.sibling(),
            admin,
            pages,
            tokio::runtime::Handle::current(),
        )
    }

    /// Reports not ready from now on, but still takes calls.
    pub fn leave(&self) {
        self.relay.leave();
    }

    /// Refuses new calls from now on; open streams continue.
    pub fn drain(&self) {
        self.relay.drain();
    }

    /// Ends open calls at their next poll: streams with the error event of their protocol, calls without a response
    /// with 503.
    pub fn end_open_calls(&self) {
        self.relay.end_open_calls();
    }

    /// Reports the usage in the spool, within a few seconds, and ends the background tasks.
    pub async fn stop(self) {
        self.looking.cancel();
        self.looks.close();
        self.looks.wait().await;
        drop(self.relay);
        self.spool.close().await;
        self.telemetry.close().await;
        self.reporting.cancel();
        self.tasks.close();
        // The report task gives up by itself. What it could not report stays on disk.
        let reported = tokio::time::timeout(link::report::FLUSH_MAX, self.tasks.wait());
        self.watching.cancel();
        if reported.await.is_err() {
            tracing::warn!(
                "stopped with usage still spooled; it is handed in after the next start"
            );
        }
        self.leasing.cancel();
        self.leases.close();
        if tokio::time::timeout(GIVE_BACK_MAX, self.leases.wait())
            .await
            .is_err()
        {
            tracing::warn!("stopped with credit on lease; control takes it back in time");
        }
    }
}

/// Where `/x-*` and `/dashboard/*` are handled.
#[derive(Debug, Clone)]
pub enum Admin {
    /// The control plane of the same process.
    Local {
        /// The service of that control plane.
        router: Router,
        /// Why its storage is unreliable; `None` while it is sound.
        storage_fault: watch::Receiver<Option<String>>,
    },
    /// A control plane elsewhere, to which these requests are forwarded.
    Remote(proxyxai_contract::provider::BaseUrl),
    /// Not handled: these requests get 404.
    Nobody,
}

impl Admin {
    /// Returns why control cannot post costs, or `None` if it can.
    fn fault(&self) -> Option<String> {
        let Self::Local { storage_fault, .. } = self else {
            // A data plane keeps serving without its control plane, which has its own `/readyz`.
            return None;
        };
        storage_fault.borrow().clone()
    }
}
