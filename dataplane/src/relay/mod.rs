//! The life of one call: gate → authenticate → read → admit → route → attempt → relay → settle.
//! This file is the journey; each station has a file of its own.

mod abandoned;
mod answer;
mod attempt;
mod attempts;
mod bill;
mod body;
mod client;
mod cover;
mod cutoff;
mod desk;
mod dial;
mod entry;
mod headers;
mod hedge;
mod inquiry;
pub(crate) mod later;
mod limits;
mod memory;
mod meter;
mod objects;
mod offers;
mod opening;
mod packed;
mod query;
mod record;
mod request;
mod rounds;
mod route;
mod segments;
mod terms;
mod waits;

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
    plan::Plan,
    snapshot::{Account, Health, ProxySettings},
};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use tower::BoxError;

use crate::{
    Config, Error,
    decide::{admit::Refusal, affinity::Conversation, retry::Budget, via},
    formats::endpoint,
    live::{AccountState, Caller, Dialect, Live, Seat, Snapshot, Windows},
    sight::Sight,
    spool::{Shelf, Spool},
};

use abandoned::BeforeAnswer;
pub(crate) use answer::refuse;
pub(crate) use client::Upstream;
pub use headers::client_address;
pub(crate) use headers::{
    X_FORWARDED_FOR, asks_websocket, presented, speaks_anthropic, strip_hop_by_hop,
};
pub(crate) use segments::Segments;

/// News about keys that wait for the link. When it is full, news is dropped: it would be stale.
pub(crate) const HEALTH_QUEUE_MAX: usize = 1024;

/// Everything a call needs. Each serving thread has one; only the client, with its connections, is its
/// own.
#[derive(Debug, Clone)]
pub(crate) struct Relay {
    pub(crate) config: Arc<Config>,
    pub(crate) live: Arc<Live>,
    pub(crate) client: Upstream,
    /// To control, which may be anywhere.
    pub(crate) inner: Upstream,
    pub(crate) clock: Clock,
    pub(crate) sight: Sight,
    pub(crate) shelf: Shelf,
    office: Arc<bill::Office>,
    outbox: Outbox,
    budget: Arc<std::sync::Mutex<Budget>>,
    memory: memory::Memory,
    leaving: Arc<AtomicBool>,
    draining: Arc<AtomicBool>,
    via: HeaderValue,
}

/// What calls leave for the link to pass on.
#[derive(Debug, Clone)]
pub(crate) struct Outbox {
    /// What was learnt about keys.
    pub(crate) learnt: mpsc::Sender<Health>,
    /// Accounts that need units of windows.
    pub(crate) wanting: mpsc::Sender<Arc<Windows>>,
}

/// A call that has been let in.
struct Call {
    request: request::Prepared,
    plan: Plan,
    /// Which stage of the plan it is at.
    stage: usize,
    /// Whether it belongs to others that should get the same key.
    conversation: Option<Conversation>,
    /// What a key has to speak.
    dialect: Dialect,
    /// The one key that has what it refers to, where it refers to something.
    only: Option<KeyId>,
    /// Whether its answer carries usage.
    metered: bool,
    bill: Box<bill::Bill>,
}

impl Relay {
    /// # Errors
    /// When the client towards providers or a thread cannot be made.
    pub(crate) fn new(
        config: Config,
        live: Arc<Live>,
        (spool, shelf): (Spool, Shelf),
        outbox: Outbox,
        sight: Sight,
    ) -> Result<Self, Error> {
        let clock = live.clock().clone();
        let dialer = dial::Dialer::new(&config, Some(config.provider_reach))?;
        let inner = dial::Dialer::new(&config, None)?;
        let via = HeaderValue::from_str(&via::own(config.node.as_str()))
            .unwrap_or_else(|_| HeaderValue::from_static("1.1 proxyxai"));
        Ok(Self {
            budget: Arc::new(std::sync::Mutex::new(Budget::new(clock.now()))),
            client: Upstream::new(dialer, config.idle_connections_max),
            inner: Upstream::new(inner, config.idle_connections_max),
            sight,
            memory: memory::Memory::new(config.buffer_bytes_max),
            config: Arc::new(config),
            live,
            clock,
            shelf,
            office: Arc::new(bill::Office {
                spool,
                desk: desk::Desk::start().map_err(Error::Thread)?,
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

    /// The same for another thread, with connections of its own.
    pub(crate) fn sibling(&self) -> Self {
        Self {
            client: self.client.sibling(),
            inner: self.inner.sibling(),
            sight: self.sight.sibling(),
            office: Arc::new(bill::Office::clone(&self.office)),
            ..self.clone()
        }
    }

    /// It is not ready from now on, and takes calls all the same.
    pub(crate) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// New calls are refused from now on.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Open calls end themselves from now on, each when it is polled next.
    pub(crate) fn cut(&self) {
        self.office.cutoff.come();
    }

    /// Calls that are open now.
    pub(crate) fn open_calls(&self) -> usize {
        self.office.open_calls.load(Ordering::Relaxed)
    }

    /// Those of them that go on without their clients.
    pub(crate) fn abandoned_calls(&self) -> usize {
        self.office.tasks.len()
    }

    /// Usage on its way to disk.
    pub(crate) fn spool(&self) -> &Spool {
        &self.office.spool
    }

    /// Why calls are not wanted or would not be taken; none when they are.
    pub(crate) fn obstacle(&self) -> Option<String> {
        if self.leaving.load(Ordering::Relaxed) || self.draining.load(Ordering::Relaxed) {
            return Some("it is stopping".to_owned());
        }
        if self.live.snapshot().is_none() {
            return Some("it has no configuration from control yet".to_owned());
        }
        if let Some(fault) = self.shelf.fault() {
            return Some(format!("usage cannot be written to disk: {fault}"));
        }
        let full = !self.spool().has_room();
        full.then(|| "usage that waits for the disk has filled its room".to_owned())
    }

    /// Waits until the calls have ended that go on without their clients.
    pub(crate) async fn wait_abandoned(&self) {
        let tasks = &self.office.tasks;
        tasks.close();
        tasks.wait().await;
    }

    /// Answers one call.
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
        let family = found.family(path, says_anthropic);
        let mut story = self.sight.begin(found.route(), &request);
        let cutoff = &self.office.cutoff;
        let spoken = (found, says_anthropic);
        let let_in = Box::pin(self.let_in(peer, spoken, request, &mut story));
        let let_in = cutoff.unless_over(let_in).await;
        match let_in.unwrap_or(Err(Refusal::Unavailable)) {
            Ok(mut call) => {
                call.bill.story = Some(story);
                let has_to_be_heard = call.bill.may_go_on();
                let answer = if has_to_be_heard || call.bill.reads_on() {
                    let relay = Arc::clone(self);
                    let rounds = async move { relay.rounds(call).await };
                    let rounds = BeforeAnswer::new(rounds, Arc::clone(self), has_to_be_heard);
                    cutoff.unless_over(rounds).await
                } else {
                    cutoff.unless_over(Box::pin(self.rounds(call))).await
                };
                answer.unwrap_or_else(|| refuse(family, &Refusal::Unavailable))
            }
            Err(refusal) => answer::refuse_call(family, &refusal, Some(&mut story)),
        }
    }

    /// Where a request comes from.
    pub(crate) fn client_address(&self, peer: IpAddr, headers: &http::HeaderMap) -> IpAddr {
        client_address(peer, headers, &self.config.trusted_proxies)
    }

    /// Whose key is presented.
    pub(crate) fn authenticate(
        &self,
        snapshot: &Snapshot,
        headers: &http::HeaderMap,
    ) -> Result<Caller, Refusal> {
        let key = presented(headers).ok_or(Refusal::Unauthenticated)?;
        let caller = snapshot.authenticate(key, || self.clock.now());
        caller.cloned()
    }

    /// Passes on what was learnt about a key.
    fn tell(&self, health: Option<Health>) {
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
    office: Arc<bill::Office>,
    /// Its place on the key that answers it.
    seat: Option<Seat>,
    /// For its body; whose it is, once the call counts among its account's.
    room: memory::Room,
}

impl OpenCall {
    /// And how many are open with it.
    fn enter(office: &Arc<bill::Office>, room: memory::Room) -> (Self, usize) {
        let before = office.open_calls.fetch_add(1, Ordering::Relaxed);
        let open = Self {
            office: Arc::clone(office),
            seat: None,
            room,
        };
        (open, before.saturating_add(1))
    }

    /// Counts it among its account's.
    fn enter_share(
        &mut self,
        (account, chain): (&Arc<AccountState>, &[&Account]),
        settings: &ProxySettings,
        open_calls_max: usize,
    ) -> Result<(), Refusal> {
        self.room.belong_to(account);
        account.enter(chain, settings, open_calls_max)
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        if let Some(account) = self.room.owner() {
            account.leave();
        }
        self.office.open_calls.fetch_sub(1, Ordering::Relaxed);
    }
}
