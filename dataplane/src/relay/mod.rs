//! The life of one call: gate → authenticate → read → admit → route → attempt → relay → settle. This file has the sequence;
//! each step has a file of its own.

mod abandoned;
mod admission;
mod attempt;
mod attempts;
mod body;
mod buffer_budget;
mod charge;
mod cutoff;
pub(crate) mod deferred_work;
mod dial;
mod first_event;
mod headers;
mod hedge;
mod key_check;
mod key_mask;
mod limit_headers;
mod meter;
mod model_discovery;
mod objects;
mod packed;
mod query;
mod record;
mod request;
mod response;
mod retry;
mod route;
mod segments;
mod terms;
mod timeouts;
mod token_counter;
mod upstream_client;

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use proxyxai_contract::{
    clock::Clock,
    id::KeyId,
    plan::RoutePlan,
    snapshot::{AccountConfig, KeyHealthReport, ProxySettings},
};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use tower::BoxError;

use crate::{
    Config, Error,
    decide::{admit::Refusal, retry_budget::RetryBudget, via},
    formats::{conversation::ConversationHash, endpoint},
    spool::{RecordQueue, Spool},
    state::{
        AccountState, Caller, DialectNeed, KeyPermit, RateLimitWindows, RuntimeState, Snapshot,
    },
    telemetry::Telemetry,
};

use abandoned::PendingResponse;
pub use headers::client_address;
pub(crate) use headers::{
    X_FORWARDED_FOR, asks_websocket, credential_from, speaks_anthropic, strip_hop_by_hop,
};
pub(crate) use response::refuse;
pub(crate) use segments::BodySegments;
pub(crate) use upstream_client::UpstreamClient;

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
    sinks: Arc<charge::ChargeSinks>,
    outbox: ControlOutbox,
    retry_budget: Arc<std::sync::Mutex<RetryBudget>>,
    buffer_budget: buffer_budget::BufferBudget,
    leaving: Arc<AtomicBool>,
    draining: Arc<AtomicBool>,
    via: HeaderValue,
}

/// What calls leave for the link to send to control.
#[derive(Debug, Clone)]
pub(crate) struct ControlOutbox {
    /// Reports about key health.
    pub(crate) learnt: mpsc::Sender<KeyHealthReport>,
    /// Accounts that need units of windows.
    pub(crate) wanting: mpsc::Sender<Arc<RateLimitWindows>>,
}

/// A call that has been admitted.
struct Call {
    request: request::PreparedRequest,
    plan: RoutePlan,
    /// Index of its stage in the plan.
    stage: usize,
    /// The conversation whose calls should get the same key, if any.
    conversation: Option<ConversationHash>,
    /// The dialect that a key must speak.
    dialect_need: DialectNeed,
    /// The one key that has the objects it refers to, if any.
    pinned_key: Option<KeyId>,
    /// Whether its response carries usage.
    metered: bool,
    charge: Box<charge::PendingCharge>,
}

impl Relay {
    /// # Errors
    /// Errors if the client for providers or a thread cannot be made.
    pub(crate) fn new(
        config: Config,
        live: Arc<RuntimeState>,
        (spool, shelf): (Spool, RecordQueue),
        outbox: ControlOutbox,
        sight: Telemetry,
    ) -> Result<Self, Error> {
        let clock = live.clock().clone();
        let dialer = dial::Dialer::new(&config, Some(config.limits.provider_reach))?;
        let inner = dial::Dialer::new(&config, None)?;
        let via = HeaderValue::from_str(&via::own(config.node.as_str()))
            .unwrap_or_else(|_| HeaderValue::from_static("1.1 proxyxai"));
        Ok(Self {
            retry_budget: Arc::new(std::sync::Mutex::new(RetryBudget::new(clock.now()))),
            client: UpstreamClient::new(dialer, config.limits.idle_connections_max),
            control_client: UpstreamClient::new(inner, config.limits.idle_connections_max),
            telemetry: sight,
            buffer_budget: buffer_budget::BufferBudget::new(config.limits.buffer_bytes_max),
            config: Arc::new(config),
            state: live,
            clock,
            record_queue: shelf,
            sinks: Arc::new(charge::ChargeSinks {
                spool,
                token_counter: token_counter::TokenCounter::start().map_err(Error::Thread)?,
                open_calls: Arc::default(),
                cutoff: cutoff::Cutoff::default(),
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
            sinks: Arc::new(charge::ChargeSinks::clone(&self.sinks)),
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

    /// Returns why calls are not wanted or would be refused, or `None` if the node is ready.
    pub(crate) fn unready_reason(&self) -> Option<String> {
        if self.leaving.load(Ordering::Relaxed) || self.draining.load(Ordering::Relaxed) {
            return Some("it is stopping".to_owned());
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

    /// Waits until abandoned calls have ended.
    pub(crate) async fn wait_abandoned(&self) {
        let tasks = &self.sinks.tasks;
        tasks.close();
        tasks.wait().await;
    }

    /// Handles one call.
    pub(crate) async fn call<B>(
        self: &Arc<Self>,
        peer: IpAddr,
        request: Request<B>,
    ) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<BoxError>,
    {
        let path = request.uri().path();
        let found = endpoint::find(request.method(), &endpoint::canonical(path));
        let says_anthropic = speaks_anthropic(request.headers());
        let family = found.dialect(path, says_anthropic);
        let mut recorder = self.telemetry.begin(found.route(), &request);
        let cutoff = &self.sinks.cutoff;
        let spoken = (found, says_anthropic);
        let let_in = Box::pin(self.admit(peer, spoken, request, &mut recorder));
        let let_in = cutoff.unless_over(let_in).await;
        match let_in.unwrap_or(Err(Refusal::Unavailable)) {
            Ok(mut call) => {
                call.charge.recorder = Some(recorder);
                let has_to_be_heard = call.charge.may_go_on();
                let answer = if has_to_be_heard || call.charge.reads_on() {
                    let relay = Arc::clone(self);
                    let rounds = async move { relay.retry_loop(call).await };
                    let rounds = PendingResponse::new(rounds, Arc::clone(self), has_to_be_heard);
                    cutoff.unless_over(rounds).await
                } else {
                    cutoff.unless_over(Box::pin(self.retry_loop(call))).await
                };
                answer.unwrap_or_else(|| refuse(family, &Refusal::Unavailable))
            }
            Err(refusal) => response::refuse_call(family, &refusal, Some(&mut recorder)),
        }
    }

    /// The address that a request comes from.
    pub(crate) fn client_address(&self, peer: IpAddr, headers: &http::HeaderMap) -> IpAddr {
        client_address(peer, headers, &self.config.limits.trusted_proxies)
    }

    /// The caller whose key is presented.
    pub(crate) fn authenticate(
        &self,
        snapshot: &Snapshot,
        headers: &http::HeaderMap,
    ) -> Result<Caller, Refusal> {
        let key = credential_from(headers).ok_or(Refusal::Unauthenticated)?;
        let caller = snapshot.authenticate(key, || self.clock.now());
        caller.cloned()
    }

    /// Passes on what was learnt about a key.
    fn report_health(&self, health: Option<KeyHealthReport>) {
        if let Some(health) = health {
            tracing::info!(key.id = health.key.get(), model = health.model, state = %health.state, reason = health.reason, "key health changed");
            if self.outbox.learnt.try_send(health).is_err() {
                tracing::debug!("too much news about keys; some was not passed on");
            }
        }
    }
}

/// An open call; counted until it is dropped.
#[derive(Debug)]
struct OpenCall {
    sinks: Arc<charge::ChargeSinks>,
    /// Its permit on the key that answers it.
    permit: Option<KeyPermit>,
    /// For its body; counts for the account once the call is among its open ones.
    reservation: buffer_budget::BufferReservation,
}

impl OpenCall {
    /// Counts the call, and returns how many are open with it.
    fn enter(
        office: &Arc<charge::ChargeSinks>,
        room: buffer_budget::BufferReservation,
    ) -> (Self, usize) {
        let before = office.open_calls.fetch_add(1, Ordering::Relaxed);
        let open = Self {
            sinks: Arc::clone(office),
            permit: None,
            reservation: room,
        };
        (open, before.saturating_add(1))
    }

    /// Counts it among its account's open calls.
    fn enter_share(
        &mut self,
        (account, chain): (&Arc<AccountState>, &[&AccountConfig]),
        settings: &ProxySettings,
        open_calls_max: usize,
    ) -> Result<(), Refusal> {
        self.reservation.belong_to(account);
        account.enter(chain, settings, open_calls_max)
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        if let Some(account) = self.reservation.owner() {
            account.leave();
        }
        self.sinks.open_calls.fetch_sub(1, Ordering::Relaxed);
    }
}
