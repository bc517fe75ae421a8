//! What a call comes to: its record as far as it is known, the credit held for it, and its entry in the
//! spool's journal. From the moment a metered call is sent there is always a record that a killed
//! process would leave, and one call leaves one record, however it ends.

mod close;

use std::sync::{Arc, atomic::AtomicUsize};

use bytes::Bytes;
use http::StatusCode;
use proxyxai_contract::{
    bill::{self, Sum, Used},
    clock::{Clock, Millis},
    money::Money,
    part::Part,
    plan::Plan,
    price::{self, ModelPrice},
    usage::{Images, Measure, Tokens, UsageRecord},
};
use tokio_util::task::TaskTracker;

use super::{
    OpenCall, Relay, abandoned::Leaving, cutoff::Cutoff, desk::Desk, objects::Follow, record,
    request::Prepared,
};
use crate::{
    formats::{
        Route,
        usage::{Asked, Bounds, estimate},
    },
    live::{AccountState, Caller, Counted, FurtherKeyState, Hold, KeyState, Seat, Snapshot},
    sight::Story,
    spool::{Spool, Ticket},
};

/// When a process is killed, its calls are charged by the length of their requests, which says little
/// when there are pictures in them; so no more than this counts.
const GUESS_BYTES_MAX: usize = 256 * 1024;

/// A call that is to be paid for. Dropped while a provider may be at work on it, it closes itself as
/// interrupted.
pub(super) struct Bill {
    pub(super) record: UsageRecord,
    pub(super) account: Arc<AccountState>,
    /// The further client key that it was made with.
    client_key: Option<Arc<FurtherKeyState>>,
    /// The request's own bytes, for counting its tokens when nobody else does; not a copy.
    body: Bytes,
    route: Route,
    /// Whether its answer carries usage.
    pub(super) metered: bool,
    pub(super) fixed_price: Option<Box<ModelPrice>>,
    /// Whether an attempt is out of which nothing is known yet.
    at_upstream: bool,
    ticket: Option<Ticket>,
    holds: Holds,
    /// Its share of the account's windows.
    pub(super) counted: Counted,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) office: Arc<Office>,
    clock: Clock,
    /// Keeps the call counted as open until its answer has ended.
    open: Option<OpenCall>,
    /// Told when the bill is closed.
    pub(super) story: Option<Story>,
    /// What was used beside tokens and pictures.
    pub(super) pieces: Vec<(Part, u64)>,
    /// What the request itself tells of its use, where its model has a price of that.
    asked: Option<Asked>,
    /// The longest prompt of several calls that the record is of.
    longest: Option<u64>,
    /// What else is to be made of the answer.
    pub(super) follow: Option<Box<Follow>>,
    own: bool,
    /// For the case that its client leaves.
    pub(super) leaving: Leaving,
    /// When the latest attempt was sent.
    pub(super) sent: Millis,
}

/// Where bills go. Each serving thread has one of its own: what it holds is shared by all threads, and
/// counting its users at each call would have the processors wait for each other.
#[derive(Debug, Clone)]
pub(super) struct Office {
    pub(super) spool: Spool,
    pub(super) desk: Desk,
    pub(super) open_calls: Arc<AtomicUsize>,
    pub(super) cutoff: Cutoff,
    /// Calls that go on without their clients.
    pub(super) tasks: TaskTracker,
}

/// Credit set aside for a call; none for one that costs nothing.
#[derive(Debug, Default)]
pub(super) struct Holds {
    /// None for root's calls.
    pub(super) account: Option<Hold>,
    /// Of what its client key may spend; none for one without a limit.
    pub(super) key: Option<Hold>,
}

/// Whose call it is, and what was set aside for it.
pub(super) struct Payer {
    pub(super) caller: Caller,
    pub(super) holds: Holds,
    pub(super) counted: Counted,
    pub(super) open: OpenCall,
    pub(super) metered: bool,
    /// Most tokens that its answer may have.
    pub(super) output_max: u64,
    /// What the call costs whatever it uses, where that is so.
    pub(super) fixed_price: Option<Box<ModelPrice>>,
}

impl Bill {
    pub(super) fn new(
        relay: &Relay,
        snapshot: Arc<Snapshot>,
        payer: Payer,
        request: &Prepared,
        plan: &Plan,
    ) -> Box<Self> {
        let Payer {
            caller,
            holds,
            counted,
            open,
            metered,
            output_max,
            fixed_price,
        } = payer;
        let leaving = Leaving {
            // Others write no text.
            output_max: if request.route.has_events() {
                output_max
            } else {
                0
            },
            is_whole: !request.facts.stream,
            asks_reasoning: request.facts.reasons,
            ..Leaving::default()
        };
        let record = record::begun(&snapshot, &caller, request, plan);
        let Caller {
            account,
            key: client_key,
        } = caller;
        Box::new(Self {
            record,
            account,
            client_key,
            body: request.whole.clone(),
            route: request.route,
            metered,
            fixed_price,
            at_upstream: false,
            ticket: None,
            holds,
            counted,
            snapshot,
            office: Arc::clone(&relay.office),
            clock: relay.clock.clone(),
            open: Some(open),
            story: None,
            pieces: Vec::new(),
            asked: Asked::of(request.path()),
            longest: None,
            follow: None,
            own: false,
            leaving,
            sent: request.start,
        })
    }

    /// The gateway itself asks, and only what comes of it is worth a record.
    pub(super) const fn is_own(&mut self) {
        self.own = true;
    }

    /// Whether its work may go on after the call.
    pub(super) fn may_go_on(&self) -> bool {
        self.follow.as_ref().is_some_and(|follow| follow.later)
    }

    /// Whether its call makes an object.
    pub(super) fn makes(&self) -> bool {
        self.follow.as_ref().is_some_and(|follow| follow.makes())
    }

    /// What is set aside for it: of its account, and for root's calls of the limit of their key alone.
    pub(super) fn held(&self) -> Money {
        let hold = self.holds.account.as_ref().or(self.holds.key.as_ref());
        hold.map_or(Money::ZERO, Hold::amount)
    }

    /// The attempts from here on are of this model, which is the one to be paid for.
    pub(super) fn name_model(&mut self, model: &str, images: Images) {
        self.record.model_used = record::name(model);
        self.record.images = images;
    }

    /// Keeps the place on a key until the answer has ended.
    pub(super) fn keep(&mut self, seat: Seat) {
        if let Some(open) = &mut self.open {
            open.seat = Some(seat);
        }
    }

    /// Whether the time for open calls is over.
    pub(super) fn is_cut_off(&self) -> bool {
        self.office.cutoff.has_come()
    }

    /// The key that answers it.
    pub(super) fn key(&self) -> Option<&KeyState> {
        let seat = self.open.as_ref()?.seat.as_ref()?;
        Some(&seat.key)
    }

    /// Notes that an attempt is about to be sent. False when that cannot be written: the call must not
    /// be sent then, for nobody would know of it after a kill.
    pub(super) fn sent(&mut self, key: &KeyState, tries: u32) -> bool {
        self.record.tries = tries;
        if !self.metered {
            return true;
        }
        self.record.key = Some(key.key.id);
        self.record.level = key.key.level;
        self.record.status = record::INTERRUPTED;
        self.record.measure = Measure::Partial;
        self.record.tokens = self.guess(0);
        self.pieces = self.guess_pieces();
        self.at_upstream = true;
        self.sent = self.clock.now();
        self.price(true);
        self.note();
        if self.ticket.is_none() {
            self.ticket = self.office.spool.begin(&self.record);
        }
        // Not sent, and so not to be paid for either.
        self.at_upstream = self.ticket.is_some();
        self.at_upstream
    }

    /// Notes that the attempt failed, which costs nothing.
    pub(super) fn failed(&mut self) {
        self.at_upstream = false;
        self.record.key = None;
        self.record.status = StatusCode::BAD_GATEWAY.as_u16();
        self.record.measure = Measure::Measured;
        self.costs_nothing();
        self.note();
    }

    /// Writes what is known by now into the journal.
    pub(super) fn note(&mut self) {
        if let Some(ticket) = &mut self.ticket {
            self.office.spool.note(ticket, &self.record);
        }
    }

    /// Tokens by the length of what went out and came back; none for pictures and recordings.
    pub(super) fn guess(&self, delivered_bytes: u64) -> Tokens {
        if self.route.is_metered() {
            estimate(self.body.len().min(GUESS_BYTES_MAX), delivered_bytes)
        } else {
            Tokens::default()
        }
    }

    /// What the request itself tells, where that is charged and nobody else tells it.
    pub(super) fn asked(&self) -> Option<Asked> {
        // Mostly it tells nothing, and then no price is looked up.
        let asked = self.asked.filter(|_| self.fixed_price.is_none())?;
        let price = self.snapshot.prices.find(&self.record.model_used)?;
        let charged = price.of(asked.part()).is_some_and(|it| it > Money::ZERO);
        charged.then_some(asked)
    }

    /// The same by the length of the request, until it is counted.
    pub(super) fn guess_pieces(&self) -> Vec<(Part, u64)> {
        let asked = self.asked().into_iter();
        asked
            .map(|it| (it.part(), it.guess(self.body.len())))
            .collect()
    }

    /// Whether the tokens of this call can be counted from its text.
    pub(super) const fn is_text(&self) -> bool {
        self.route.is_metered()
    }

    /// What its model can do, as far as that is known.
    pub(super) fn bounds(&self) -> Bounds {
        let price = self.snapshot.prices.find(&self.record.model_used);
        price.map_or_else(Bounds::default, |price| Bounds {
            input: price.max_input,
            output: price.max_output,
        })
    }

    /// Lets go of the request.
    pub(super) fn forget_prompt(&mut self) {
        self.body = Bytes::new();
    }

    /// Sets the price of the tokens.
    pub(super) fn price(&mut self, billable: bool) {
        let account = &self.account.account;
        let prices = &self.snapshot.prices;
        let fixed = self.fixed_price.as_deref();
        let Some(price) = fixed.or_else(|| prices.find(&self.record.model_used)) else {
            if billable {
                self.record.sum = bill::without_price(&self.used());
            }
            return;
        };
        let version = fixed.map_or(prices.version.as_str(), |_| price::NO_TABLE);
        if self.record.price_version != version {
            version.clone_into(&mut self.record.price_version);
        }
        self.record.priced = true;
        if !billable {
            return;
        }
        let longest = self.longest.unwrap_or(self.record.tokens.input);
        let sum = bill::lines_of_many(price, &self.used(), longest);
        let cost = sum.cost(account.rates, account.factor);
        self.record.sum = sum;
        if let Some(cost) = cost {
            self.record.cost = cost;
        } else {
            // Token counts beyond any model's reach are a fault of the provider's, which must
            // not ruin the account.
            tracing::error!(request.id = self.record.request_id, tokens = ?self.record.tokens, "usage cannot be priced");
            self.record.priced = false;
        }
    }

    fn used(&self) -> Used<'_> {
        Used {
            tokens: &self.record.tokens,
            images: &self.record.images,
            pieces: &self.pieces,
            tier: &self.record.tier,
        }
    }

    /// Nothing is to be paid, as far as is known.
    pub(super) fn costs_nothing(&mut self) {
        self.record.tokens = Tokens::default();
        self.record.cost = Money::ZERO;
        self.record.sum = Sum::default();
    }

    /// Takes the word of the provider, which was named several models to choose from, for the one that answered. One
    /// without a price is another name of the one that was asked for.
    pub(super) fn answered_by(&mut self, model: &str) {
        let prices = &self.snapshot.prices;
        let entry = |name: &str| prices.find(name).map(std::ptr::from_ref);
        let other = entry(model).is_some_and(|one| Some(one) != entry(&self.record.model_used));
        if other && self.fixed_price.is_none() {
            self.record.model_used = record::name(model);
        }
    }

    /// Takes the bill out of its place; what stays there closes nothing.
    fn take(&mut self) -> Self {
        Self {
            record: self.record.clone(),
            account: Arc::clone(&self.account),
            client_key: self.client_key.clone(),
            body: std::mem::take(&mut self.body),
            route: self.route,
            metered: self.metered,
            fixed_price: self.fixed_price.take(),
            at_upstream: std::mem::take(&mut self.at_upstream),
            ticket: self.ticket.take(),
            holds: std::mem::take(&mut self.holds),
            counted: std::mem::take(&mut self.counted),
            snapshot: Arc::clone(&self.snapshot),
            office: Arc::clone(&self.office),
            clock: self.clock.clone(),
            open: self.open.take(),
            story: self.story.take(),
            pieces: std::mem::take(&mut self.pieces),
            asked: self.asked,
            longest: self.longest,
            follow: self.follow.take(),
            own: self.own,
            leaving: self.leaving,
            sent: self.sent,
        }
    }
}
