//! What every call needs: the configuration, the state, clients for providers, and where usage and news go. It also has
//! the node's readiness and the steps of its end.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use http::{HeaderMap, HeaderValue};
use proxyxai_contract::{clock::Clock, snapshot::KeyHealthReport};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::{
    buffer_budget::BufferBudget,
    charge::ChargeSinks,
    cutoff::Cutoff,
    dial::Dialer,
    headers::{client_address, credential_from},
    token_counter::TokenCounter,
    upstream_client::UpstreamClient,
};
use crate::{
    Config, Error,
    decide::{admit::Refusal, retry_budget::RetryBudget, via},
    spool::{RecordQueue, Spool},
    state::{Caller, RateLimitWindows, RuntimeState, Snapshot},
    telemetry::Telemetry,
};

/// Key health reports that wait for the link. When it is full, new ones are dropped: they would be stale.
pub(crate) const HEALTH_QUEUE_MAX: usize = 1024;

/// Everything a call needs. Each serving thread has one; only the client and its connections are not shared.
#[derive(Debug, Clone)]
pub(crate) struct Relay {
    pub(crate) config: Arc<Config>,
    pub(crate) state: Arc<RuntimeState>,
    pub(crate) client: UpstreamClient,
    /// For control, at any address.
    pub(crate) control_client: UpstreamClient,
    pub(crate) clock: Clock,
    pub(crate) telemetry: Telemetry,
    pub(crate) record_queue: RecordQueue,
    pub(super) sinks: Arc<ChargeSinks>,
    pub(super) outbox: ControlOutbox,
    retry_budget: Arc<Mutex<RetryBudget>>,
    pub(super) buffer_budget: BufferBudget,
    leaving: Arc<AtomicBool>,
    draining: Arc<AtomicBool>,
    /// This node's entry in the `Via` header of requests.
    pub(super) via: HeaderValue,
}

/// What a relay is made of, besides its configuration.
#[derive(Debug)]
pub(crate) struct RelayParts {
    pub(crate) state: Arc<RuntimeState>,
    pub(crate) spool: Spool,
    pub(crate) record_queue: RecordQueue,
    pub(crate) outbox: ControlOutbox,
    pub(crate) telemetry: Telemetry,
}

/// What calls leave for the link to send to control.
#[derive(Debug, Clone)]
pub(crate) struct ControlOutbox {
    /// Reports about key health.
    pub(crate) learnt: mpsc::Sender<KeyHealthReport>,
    /// Accounts that need units of windows.
    pub(crate) wanting: mpsc::Sender<Arc<RateLimitWindows>>,
}

impl Relay {
    /// # Errors
    /// Errors if the client for providers or a thread cannot be made.
    pub(crate) fn new(config: Config, parts: RelayParts) -> Result<Self, Error> {
        let RelayParts {
            state,
            spool,
            record_queue,
            outbox,
            telemetry,
        } = parts;
        let clock = state.clock().clone();
        let to_providers = Dialer::new(&config, Some(config.limits.provider_reach))?;
        let to_control = Dialer::new(&config, None)?;
        let via = HeaderValue::from_str(&via::own(config.node.as_str()))
            .unwrap_or_else(|_| HeaderValue::from_static("1.1 proxyxai"));
        Ok(Self {
            retry_budget: Arc::new(Mutex::new(RetryBudget::new(clock.now()))),
            client: UpstreamClient::new(to_providers, config.limits.idle_connections_max),
            control_client: UpstreamClient::new(to_control, config.limits.idle_connections_max),
            telemetry,
            buffer_budget: BufferBudget::new(config.limits.buffer_bytes_max),
            config: Arc::new(config),
            state,
            clock,
            record_queue,
            sinks: Arc::new(ChargeSinks {
                spool,
                token_counter: TokenCounter::start().map_err(Error::Thread)?,
                open_calls: Arc::default(),
                cutoff: Cutoff::default(),
                tasks: TaskTracker::new(),
            }),
            outbox,
            leaving: Arc::default(),
            draining: Arc::default(),
            via,
        })
    }

    /// The same for another thread, with its own connections.
    pub(crate) fn sibling(&self) -> Self {
        Self {
            client: self.client.sibling(),
            control_client: self.control_client.sibling(),
            telemetry: self.telemetry.sibling(),
            sinks: Arc::new(ChargeSinks::clone(&self.sinks)),
            ..self.clone()
        }
    }

    /// Reports not ready from now on, but still takes calls.
    pub(crate) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// Refuses new calls from now on.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Makes open calls end themselves, each at its next poll.
    pub(crate) fn end_open_calls(&self) {
        self.sinks.cutoff.come();
    }

    /// Waits until abandoned calls have ended.
    pub(crate) async fn wait_abandoned(&self) {
        let tasks = &self.sinks.tasks;
        tasks.close();
        tasks.wait().await;
    }

    /// Number of open calls.
    pub(crate) fn open_calls(&self) -> usize {
        self.sinks.open_calls.load(Ordering::Relaxed)
    }

    /// Number of those that continue without their clients.
    pub(crate) fn abandoned_calls(&self) -> usize {
        self.sinks.tasks.len()
    }

    /// Usage on its way to disk.
    pub(crate) fn spool(&self) -> &Spool {
        &self.sinks.spool
    }

    /// Whether a call may begin.
    pub(super) fn takes_calls(&self) -> bool {
        !self.draining.load(Ordering::Relaxed)
            && !self.state.reach().is_refused()
            && self.spool().has_room()
    }

    /// Returns why calls are not wanted or would be refused, or `None` if the node is ready.
    pub(crate) fn unready_reason(&self) -> Option<String> {
        if self.leaving.load(Ordering::Relaxed) || self.draining.load(Ordering::Relaxed) {
            return Some("it is stopping".to_owned());
        }
        if self.state.reach().is_refused() {
            return Some(
                "another data plane with its NODE_NAME is connected to control".to_owned(),
            );
        }
        if self.state.snapshot().is_none() {
            return Some("it has no configuration from control yet".to_owned());
        }
        if let Some(fault) = self.record_queue.fault() {
            return Some(format!("usage cannot be written to disk: {fault}"));
        }
        let full = !self.spool().has_room();
        full.then(|| "usage that waits for the disk has filled its room".to_owned())
    }

    /// The address that a request comes from.
    pub(crate) fn client_address(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        client_address(peer, headers, &self.config.limits.trusted_proxies)
    }

    /// The caller whose key is presented.
    pub(crate) fn authenticate(
        &self,
        snapshot: &Snapshot,
        headers: &HeaderMap,
    ) -> Result<Caller, Refusal> {
        let key = credential_from(headers).ok_or(Refusal::Unauthenticated)?;
        let caller = snapshot.authenticate(key, || self.clock.now());
        caller.cloned()
    }

    /// What is left for retries and hedges.
    pub(super) fn retry_budget(&self) -> MutexGuard<'_, RetryBudget> {
        // A panic elsewhere leaves the budget consistent.
        let budget = self.retry_budget.lock();
        budget.unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes on what was learnt about a key.
    pub(super) fn report_health(&self, health: Option<KeyHealthReport>) {
        if let Some(health) = health {
            tracing::info!(key.id = health.key.get(), model = health.model, state = %health.state, reason = health.reason, "key health changed");
            if self.outbox.learnt.try_send(health).is_err() {
                tracing::debug!("too much news about keys; some was not passed on");
            }
        }
    }
}
