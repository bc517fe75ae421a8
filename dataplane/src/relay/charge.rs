//! The charge of a call: its usage record so far, the credit reserved for it, and its entry in the spool's journal.
//! Once a metered call is sent, a killed process always leaves a record of it, and one call leaves one record, however
//! it ends.

mod close;

use std::sync::{Arc, atomic::AtomicUsize};

use bytes::Bytes;
use http::StatusCode;
use proxyxai_contract::{
    bill::{self, BilledUsage, CallBill},
    clock::{Clock, Millis},
    money::Money,
    part::BillPart,
    plan::RoutePlan,
    price::{self, ModelPrice},
    tokens::{ImageUsage, TokenUsage},
    usage::{UsageMeasure, UsageRecord},
};
use tokio_util::task::TaskTracker;

use super::{
    abandoned::AbandonInfo, context::Relay, cutoff::Cutoff, record, request::PreparedRequest,
    token_counter::TokenCounter,
};
use crate::{
    formats::{
        Route,
        usage::{ModelBounds, RequestMeasure, estimate},
    },
    spool::{JournalTicket, Spool},
    state::{
        AccountState, Caller, CreditHold, FurtherKeyState, KeyState, Snapshot, WindowReservation,
    },
    telemetry::CallRecorder,
};

/// Calls of a killed process are charged by the length of their requests. That says little about requests with
/// pictures, so no more than this counts.
const GUESS_BYTES_MAX: usize = 256 * 1024;

/// The charge of a call in progress. If it is dropped while a provider may be at work, it closes itself as interrupted.
pub(super) struct PendingCharge {
    pub(super) record: UsageRecord,
    /// When the latest attempt was sent; before that, when the call began.
    pub(super) sent: Millis,
    pub(super) basis: ChargeBasis,
    pub(super) state: ChargeState,
}

/// What a charge is computed from and where it goes, from its beginning to its end. A charge that closes itself needs
/// all of it, so it is kept here and not with the call.
#[derive(Clone)]
pub(super) struct ChargeBasis {
    /// For the prices and the policy of abandoned calls.
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) account: Arc<AccountState>,
    /// The further client key of the call.
    client_key: Option<Arc<FurtherKeyState>>,
    pub(super) sinks: Arc<ChargeSinks>,
    pub(super) clock: Clock,
    route: Route,
    /// Whether the response carries usage.
    pub(super) metered: bool,
    /// Use that the request itself states, where its model has a price for that.
    request_measure: Option<RequestMeasure>,
    /// The gateway makes the call itself; only its results are worth a record.
    own: bool,
}

/// What changes until a charge is closed. Taken out as a whole, it leaves a charge that closes nothing.
#[derive(Default)]
pub(super) struct ChargeState {
    /// Whether an attempt is out with unknown outcome.
    at_upstream: bool,
    ticket: Option<JournalTicket>,
    credit_holds: CreditHolds,
    /// Its share of the account's windows.
    pub(super) windows: WindowReservation,
    pub(super) fixed_price: Option<Box<ModelPrice>>,
    /// The request's bytes, shared, to count its tokens if no provider reports them.
    body: Bytes,
    /// Use beside tokens and images.
    pub(super) pieces: Vec<(BillPart, u64)>,
    /// The longest prompt of several calls that share the record.
    longest: Option<u64>,
    /// For the case that its client leaves: to estimate what was written unseen.
    pub(super) abandon_info: AbandonInfo,
    /// Finished with the final record, which may be counted on another thread after the call.
    pub(super) recorder: Option<CallRecorder>,
}

/// Where charges go. Each serving thread has its own: it holds shared parts, and counting their users for each call
/// would make the CPUs contend.
#[derive(Debug, Clone)]
pub(super) struct ChargeSinks {
    pub(super) spool: Spool,
    pub(super) token_counter: TokenCounter,
    pub(super) open_calls: Arc<AtomicUsize>,
    pub(super) cutoff: Cutoff,
    /// Calls that continue without their clients.
    pub(super) tasks: TaskTracker,
}

/// Credit reserved for a call; empty if it costs nothing.
#[derive(Debug, Default)]
pub(super) struct CreditHolds {
    /// `None` for root's calls.
    pub(super) account: Option<CreditHold>,
    /// From its client key's limit; `None` for a key without one.
    pub(super) key: Option<CreditHold>,
}

/// Who is charged for the call, and what was reserved for it.
pub(super) struct Billing {
    pub(super) billed: Caller,
    pub(super) credit_holds: CreditHolds,
    pub(super) windows: WindowReservation,
    pub(super) metered: bool,
    /// Most tokens that the response may have.
    pub(super) output_max: u64,
    /// What the call costs regardless of its use, where the price is fixed.
    pub(super) fixed_price: Option<Box<ModelPrice>>,
}

impl Billing {
    /// For a call that the gateway makes itself, which reserves nothing.
    pub(super) fn of_own(billed: Caller) -> Self {
        Self {
            billed,
            credit_holds: CreditHolds::default(),
            windows: WindowReservation::default(),
            metered: false,
            output_max: 0,
            fixed_price: None,
        }
    }
}

impl PendingCharge {
    pub(super) fn new(
        relay: &Relay,
        snapshot: Arc<Snapshot>,
        billing: Billing,
        request: &PreparedRequest,
        plan: &RoutePlan,
    ) -> Box<Self> {
        let Billing {
            billed,
            credit_holds,
            windows,
            metered,
            output_max,
            fixed_price,
        } = billing;
        let record = record::begun(&snapshot, &billed, request, plan);
        let abandon_info = AbandonInfo {
            // Other routes write no text.
            output_max: if request.route.has_events() {
                output_max
            } else {
                0
            },
            is_whole: !request.facts.stream,
            asks_reasoning: request.facts.reasons,
            ..AbandonInfo::default()
        };
        let basis = ChargeBasis {
            snapshot,
            account: billed.account,
            client_key: billed.key,
            sinks: Arc::clone(&relay.sinks),
            clock: relay.clock.clone(),
            route: request.route,
            metered,
            request_measure: RequestMeasure::of(request.path()),
            own: false,
        };
        let state = ChargeState {
            credit_holds,
            windows,
            fixed_price,
            body: request.whole.clone(),
            abandon_info,
            ..ChargeState::default()
        };
        Box::new(Self {
            record,
            sent: request.start,
            basis,
            state,
        })
    }

    /// The gateway makes the call itself; only its results are worth a record.
    pub(super) const fn is_own(&mut self) {
        self.basis.own = true;
    }

    /// What is reserved for it: of its account, and for root's calls only of the key's limit.
    pub(super) fn held(&self) -> Money {
        let CreditHolds { account, key } = &self.state.credit_holds;
        let hold = account.as_ref().or(key.as_ref());
        hold.map_or(Money::ZERO, CreditHold::amount)
    }

    /// Attempts from here on are for this model, which is the one to charge.
    pub(super) fn name_model(&mut self, model: &str, images: ImageUsage) {
        self.record.model_used = record::name(model);
        self.record.images = images;
    }

    /// Whether the drain is over.
    pub(super) fn is_cut_off(&self) -> bool {
        self.basis.sinks.cutoff.has_come()
    }

    /// Records in the journal that an attempt is about to be sent. Returns `false` if that fails: then the call must
    /// not be sent, because it would be lost after a kill.
    pub(super) fn note_sent(&mut self, key: &KeyState, tries: u32) -> bool {
        self.record.tries = tries;
        if !self.basis.metered {
            return true;
        }
        self.record.key = Some(key.key.id);
        self.record.level = key.key.level;
        self.record.status = record::INTERRUPTED;
        self.record.measure = UsageMeasure::Partial;
        self.record.tokens = self.guess(0);
        self.state.pieces = self.guess_pieces();
        self.state.at_upstream = true;
        self.sent = self.basis.clock.now();
        self.price(true);
        self.note();
        if self.state.ticket.is_none() {
            self.state.ticket = self.basis.sinks.spool.begin(&self.record);
        }
        // Not sent, so not charged either.
        self.state.at_upstream = self.state.ticket.is_some();
        self.state.at_upstream
    }

    /// Records that the attempt failed, which costs nothing.
    pub(super) fn failed(&mut self) {
        self.state.at_upstream = false;
        self.record.key = None;
        self.record.status = StatusCode::BAD_GATEWAY.as_u16();
        self.record.measure = UsageMeasure::Measured;
        self.costs_nothing();
        self.note();
    }

    /// Writes what is known so far into the journal.
    pub(super) fn note(&mut self) {
        if let Some(ticket) = &mut self.state.ticket {
            self.basis.sinks.spool.note(ticket, &self.record);
        }
    }

    /// Estimates tokens by the length of request and response; none for images and recordings.
    pub(super) fn guess(&self, delivered_bytes: u64) -> TokenUsage {
        if self.basis.route.is_metered() {
            estimate(self.state.body.len().min(GUESS_BYTES_MAX), delivered_bytes)
        } else {
            TokenUsage::default()
        }
    }

    /// What the request itself states, where that is charged and not reported by the provider.
    pub(super) fn request_measure(&self) -> Option<RequestMeasure> {
        // Most requests state nothing, and then no price is looked up.
        let asked = self
            .basis
            .request_measure
            .filter(|_| self.state.fixed_price.is_none())?;
        let price = self.basis.snapshot.prices.find(&self.record.model_used)?;
        let charged = price.of(asked.part()).is_some_and(|it| it > Money::ZERO);
        charged.then_some(asked)
    }

    /// The same, estimated by the length of the request until it is counted.
    pub(super) fn guess_pieces(&self) -> Vec<(BillPart, u64)> {
        let asked = self.request_measure().into_iter();
        asked
            .map(|it| (it.part(), it.guess(self.state.body.len())))
            .collect()
    }

    /// Whether the call's tokens can be counted from its text.
    pub(super) const fn is_text(&self) -> bool {
        self.basis.route.is_metered()
    }

    /// What its model can do, as far as that is known.
    pub(super) fn bounds(&self) -> ModelBounds {
        let price = self.basis.snapshot.prices.find(&self.record.model_used);
        price.map_or_else(ModelBounds::default, |price| ModelBounds {
            input: price.max_input,
            output: price.max_output,
        })
    }

    /// Drops the request's bytes.
    pub(super) fn forget_prompt(&mut self) {
        self.state.body = Bytes::new();
    }

    /// Sets the cost of the tokens.
    pub(super) fn price(&mut self, billable: bool) {
        let account = &self.basis.account.account;
        let prices = &self.basis.snapshot.prices;
        let fixed = self.state.fixed_price.as_deref();
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
        let longest = self.state.longest.unwrap_or(self.record.tokens.input);
        let sum = bill::lines_of_many(price, &self.used(), longest);
        let cost = sum.cost(account.rates, account.factor);
        self.record.sum = sum;
        if let Some(cost) = cost {
            self.record.cost = cost;
        } else {
            // Token counts beyond any model's reach are a fault of the provider's, which must not ruin the account.
            tracing::error!(request.id = self.record.request_id, tokens = ?self.record.tokens, "usage cannot be priced");
            self.record.priced = false;
        }
    }

    fn used(&self) -> BilledUsage<'_> {
        BilledUsage {
            tokens: &self.record.tokens,
            images: &self.record.images,
            pieces: &self.state.pieces,
            tier: &self.record.tier,
        }
    }

    /// Nothing is charged, as far as is known.
    pub(super) fn costs_nothing(&mut self) {
        self.record.tokens = TokenUsage::default();
        self.record.cost = Money::ZERO;
        self.record.sum = CallBill::default();
    }

    /// Charges the model that the provider says has answered, out of several that the request named. A model without a
    /// price is another name of the requested one.
    pub(super) fn answered_by(&mut self, model: &str) {
        let prices = &self.basis.snapshot.prices;
        let entry = |name: &str| prices.find(name).map(std::ptr::from_ref);
        let other = entry(model).is_some_and(|one| Some(one) != entry(&self.record.model_used));
        if other && self.state.fixed_price.is_none() {
            self.record.model_used = record::name(model);
        }
    }

    /// Takes the charge out; the one left in its place closes nothing.
    fn take(&mut self) -> Box<Self> {
        Box::new(Self {
            record: self.record.clone(),
            sent: self.sent,
            basis: self.basis.clone(),
            state: std::mem::take(&mut self.state),
        })
    }
}
