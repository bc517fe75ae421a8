//! The life of one call: gate → authenticate → read → admit → route → attempt → relay → settle.
//! This file is the journey; each station has a file of its own.

mod answer;
mod attempt;
mod bill;
mod body;
mod client;
mod cover;
mod cutoff;
mod desk;
mod dial;
mod drain;
mod headers;
mod hedge;
mod inquiry;
mod limits;
mod memory;
mod meter;
mod opening;
mod packed;
mod query;
mod request;
mod rounds;
mod route;
mod segments;
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
use http::{HeaderValue, Request, Response, request::Parts};
use proxyxai_contract::{
    clock::Clock,
    lease::Shortage,
    money::Money,
    plan::Plan,
    snapshot::{Account, Health},
};
use tokio::sync::mpsc;
use tower::BoxError;

use crate::{
    Config, Error,
    decide::{
        address,
        admit::{self, Refusal},
        affinity::Conversation,
        gate,
        retry::Budget,
        spend, via,
    },
    formats::{
        endpoint::{self, Found},
        has_dot_segment,
        request::RequestFacts,
    },
    live::{AccountState, Hold, Live, NoCredit, Seat, Snapshot, Windows, credit},
    sight::{Sight, Story},
    spool::{Shelf, Spool},
};

pub(crate) use answer::refuse;
pub(crate) use client::Upstream;
pub(crate) use headers::{presented, strip_hop_by_hop};
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
    /// Whether its answer carries usage.
    metered: bool,
    bill: bill::Bill,
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
        let dialer = dial::Dialer::new(&config)?;
        let via = HeaderValue::from_str(&via::own(config.node.as_str()))
            .unwrap_or_else(|_| HeaderValue::from_static("1.1 proxyxai"));
        Ok(Self {
            budget: Arc::new(std::sync::Mutex::new(Budget::new(clock.now()))),
            client: Upstream::new(dialer, config.idle_connections_max),
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

    /// Answers one call.
    pub(crate) async fn call<B>(&self, peer: IpAddr, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<BoxError>,
    {
        let path = request.uri().path();
        let found = endpoint::find(request.method(), &endpoint::canonical(path));
        let family = found.family(path);
        let mut story = self.sight.begin(found.route(), &request);
        let cutoff = &self.office.cutoff;
        let let_in = Box::pin(self.let_in(peer, found, request, &mut story));
        let let_in = cutoff.unless_over(let_in).await;
        match let_in.unwrap_or(Err(Refusal::Unavailable)) {
            Ok(mut call) => {
                call.bill.story = Some(story);
                let answer = cutoff.unless_over(Box::pin(self.rounds(call))).await;
                answer.unwrap_or_else(|| refuse(family, &Refusal::Unavailable))
            }
            Err(refusal) => answer::refuse_call(family, &refusal, Some(&mut story)),
        }
    }

    async fn let_in<B>(
        &self,
        peer: IpAddr,
        found: Found,
        request: Request<B>,
        story: &mut Story,
    ) -> Result<Box<Call>, Refusal>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<BoxError>,
    {
        let mut open = self.open()?;
        let snapshot = self.live.snapshot().ok_or(Refusal::Unavailable)?;
        let (mut parts, body) = request.into_parts();
        let account = Self::authenticate(&snapshot, &parts.headers)?;
        story.is_of(account.account.id);
        self.check_way(&parts)?;
        let target = request::target(&parts.uri, &parts.headers)?;
        let path = target.path();
        let chain = snapshot.chain(&account.account);
        let way = gate::way((&parts.method, path), found, &chain, &snapshot.settings)?;
        let ip = self.client_address(peer, &parts.headers);
        self.admit(&snapshot, &account, &chain, (ip, path))?;
        let takes_model = way.takes_model();
        let reads = (&mut open.room, story, takes_model);
        let (received, facts) = self.receive(&parts, body, reads).await?;
        let body = &received.body;
        admit::model(&chain, takes_model, facts.model.as_deref())?;
        let later = gate::later(
            (&parts.method, path),
            facts.later,
            &chain,
            &snapshot.settings,
        )?;
        let fixed_price = later.or_else(|| way.fixed_price());
        let metered = takes_model || fixed_price.is_some();
        let plan = route::plan(&snapshot, &chain, &facts)?;
        let bounds = (path, body.len());
        let ceiling = match &fixed_price {
            Some(price) => route::fixed_ceiling(price, &account),
            None if takes_model => route::ceiling(&snapshot, &account, &plan, bounds, &facts),
            None => spend::Ceiling::default(),
        };
        let hold = self.set_aside(&snapshot, &account, ceiling).await?;
        // The last reason against a call, so that what is refused for another one does not count.
        let tokens = metered.then(|| limits::guess(found.route(), body.len(), facts.max_tokens));
        let asks = (facts.model.as_deref(), tokens);
        let counted = self.count(&snapshot, &account, &chain, asks).await?;
        let conversation = route::conversation(&snapshot, &parts.headers, body);
        if takes_model {
            request::say_json(&mut parts.headers, body);
        }
        headers::for_upstream(&mut parts.headers, self.via.clone(), takes_model);
        let start = self.clock.now();
        let family = found.family(path);
        let asked = (target, found.route(), family);
        let request = request::Prepared::new(parts, asked, received, facts, (plan.model(), start));
        let payer = bill::Payer {
            account,
            hold,
            counted,
            open,
            metered,
            fixed_price,
        };
        let bill = bill::Bill::new(self, snapshot, payer, &request, &plan);
        Ok(Box::new(Call {
            request,
            plan,
            stage: 0,
            conversation,
            metered,
            bill,
        }))
    }

    /// Reads the body and what it says.
    async fn receive<B>(
        &self,
        parts: &Parts,
        body: B,
        (room, story, takes_model): (&mut memory::Room, &mut Story, bool),
    ) -> Result<(request::Received, RequestFacts), Refusal>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<BoxError>,
    {
        let coding = packed::check(parts, takes_model)?;
        let received = request::read(&self.config, room, &parts.headers, body, story.came()).await;
        story.has_body();
        let largest = self.config.body_bytes_max;
        let received = packed::unpack(received?, coding, room, largest).await?;
        let facts = request::facts(parts, &received, takes_model)?;
        Ok((received, facts))
    }

    /// Whether the caller may make a call at this path at all.
    fn admit(
        &self,
        snapshot: &Snapshot,
        account: &AccountState,
        chain: &[&Account],
        (ip, path): (IpAddr, &str),
    ) -> Result<(), Refusal> {
        admit::admit(&admit::Admission {
            chain,
            settings: &snapshot.settings,
            ip,
            path,
            balance: account.purse.balance(),
            month_used: account.purse.month_used(),
            now: self.clock.now(),
        })
    }

    /// Refuses what has been here before, and what could mean another path upstream.
    fn check_way(&self, parts: &Parts) -> Result<(), Refusal> {
        let via = parts.headers.get_all(http::header::VIA);
        via::check(
            via.iter().filter_map(|value| value.to_str().ok()),
            self.config.node.as_str(),
        )
        .map_err(|_| Refusal::Loop)?;
        if has_dot_segment(parts.uri.path()) {
            return Err(Refusal::Malformed("the path has a dot segment".to_owned()));
        }
        Ok(())
    }

    /// Sets aside what the call may cost at most. Root's calls are minted.
    async fn set_aside(
        &self,
        snapshot: &Snapshot,
        account: &AccountState,
        spend::Ceiling { hold, beyond }: spend::Ceiling,
    ) -> Result<Option<Hold>, Refusal> {
        if hold == Money::ZERO || account.account.parent.is_none() {
            return Ok(None);
        }
        let patience = self.config.credit_wait;
        let held = credit::hold(&account.purse, self.live.reach(), hold, patience).await;
        let aside = |mut held: Hold| {
            held.may_exceed(beyond);
            Some(held)
        };
        held.map(aside).map_err(|no| match no {
            NoCredit::Short(Shortage::Balance) => Refusal::NotCovered {
                account: account.account.name.clone(),
                balance: account.purse.balance(),
                ceiling: hold,
            },
            NoCredit::Short(Shortage::Month) => {
                admit::month_is_over(&snapshot.settings.zone, &account.account, self.clock.now())
            }
            NoCredit::OutOfReach => Refusal::Unavailable,
        })
    }

    /// Counts the call among the open ones, if it may begin at all.
    fn open(&self) -> Result<OpenCall, Refusal> {
        if self.draining.load(Ordering::Relaxed) || !self.spool().has_room() {
            return Err(Refusal::Unavailable);
        }
        let (open, calls) = OpenCall::enter(&self.office, self.memory.room());
        if calls > self.config.open_calls_max {
            return Err(Refusal::Busy("calls are open"));
        }
        Ok(open)
    }

    /// Where a request comes from.
    pub(crate) fn client_address(&self, peer: IpAddr, headers: &http::HeaderMap) -> IpAddr {
        let forwarded = headers.get_all("x-forwarded-for");
        let forwarded = forwarded.iter().filter_map(|value| value.to_str().ok());
        address::client(peer, forwarded, &self.config.trusted_proxies)
    }

    /// The account whose key is presented.
    pub(crate) fn authenticate(
        snapshot: &Snapshot,
        headers: &http::HeaderMap,
    ) -> Result<Arc<AccountState>, Refusal> {
        presented(headers)
            .and_then(|key| snapshot.authenticate(key))
            .map(Arc::clone)
            .ok_or(Refusal::Unauthenticated)
    }

    /// Passes on what was learnt about a key.
    fn tell(&self, health: Option<Health>) {
        if let Some(health) = health {
            tracing::info!(key.id = health.key.get(), model = health.model, state = ?health.state, reason = health.reason, "key health changed");
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
    /// For its body.
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
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.office.open_calls.fetch_sub(1, Ordering::Relaxed);
    }
}
