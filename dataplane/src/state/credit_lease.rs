//! An account's money as a data plane sees it, or what a further client key may spend: what control last posted, and
//! the credit on lease here.
//! A call holds the most it can cost before it begins and settles for what it did cost. Atomics,
//! because every call of the account passes here; the lock is for what happens once a slice.

mod figures;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use proxyxai_contract::{
    lease::{LeaseAnswer, LeaseAsk, LeaseShortage, LeasedCredit, PayerId, PostedBalance},
    money::Money,
};
use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};

pub(crate) use self::figures::{Figures, LeaseState};
use crate::decide::lease_sizing::{self, Position};

/// Purses that want to ask control for something. One is in it at most once.
pub(crate) type LeaseAskSender = mpsc::Sender<Arc<CreditLease>>;

/// How long unused credit goes straight back after somebody else needed it.
const RECALL: Duration = Duration::from_secs(2);
/// Credit that nothing used for this long goes back.
const IDLE: Duration = Duration::from_mins(1);

/// Balance, month's use, lease and charges that control has not posted yet, in nano-dollars.
pub(crate) struct CreditLease {
    payer: PayerId,
    balance: AtomicI64,
    month_used: AtomicI64,
    unposted: AtomicI64,
    /// The lease, less what is held and what is unposted.
    free: AtomicI64,
    held: AtomicI64,
    /// Calls under way that may cost more than they hold.
    unbounded: AtomicI64,
    /// What calls did cost beyond what they held.
    exceeded: AtomicI64,
    /// With less free than this, more is asked for.
    low: AtomicI64,
    recalled: AtomicBool,
    /// Whether it is among the wishes, or being asked for.
    asking: AtomicBool,
    ledger: Mutex<LeaseLedger>,
    /// Credit may have become free, or control has answered.
    changed: Notify,
    ask_tx: LeaseAskSender,
}

struct LeaseLedger {
    version: u64,
    amount: Money,
    /// Given back, and not yet confirmed.
    gave: Money,
    /// The version that it was given back on.
    gave_on: u64,
    slice: Money,
    asked: Instant,
    recalled: Option<Instant>,
    waiting: Vec<Money>,
    answers: u64,
    answered: Instant,
    answer: ControlReply,
}

/// What control last said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ControlReply {
    /// What was needed has come.
    Granted,
    /// It has not.
    Short {
        /// Why.
        shortage: LeaseShortage,
        /// What other data planes have on lease.
        elsewhere: Money,
    },
    /// Control could not be asked.
    OutOfReach,
}

/// Credit set aside for one call. Dropped without being settled, it is free again.
pub(crate) struct CreditHold {
    credit_lease: Arc<CreditLease>,
    amount: Money,
    unbounded: bool,
}

/// A call that waits for credit.
pub(super) struct CreditWaiter<'a> {
    credit_lease: &'a CreditLease,
    need: Money,
    since: u64,
}

// === impl Purse ===

impl CreditLease {
    /// Nothing is known of it yet.
    pub(crate) fn new(payer: impl Into<PayerId>, wishes: LeaseAskSender) -> Self {
        Self {
            payer: payer.into(),
            balance: AtomicI64::default(),
            month_used: AtomicI64::default(),
            unposted: AtomicI64::default(),
            free: AtomicI64::default(),
            held: AtomicI64::default(),
            unbounded: AtomicI64::default(),
            exceeded: AtomicI64::default(),
            low: AtomicI64::default(),
            recalled: AtomicBool::default(),
            asking: AtomicBool::default(),
            ledger: Mutex::new(LeaseLedger {
                version: 0,
                amount: Money::ZERO,
                gave: Money::ZERO,
                gave_on: 0,
                slice: Money::ZERO,
                asked: Instant::now(),
                recalled: None,
                waiting: Vec::new(),
                answers: 0,
                answered: Instant::now(),
                answer: ControlReply::Granted,
            }),
            changed: Notify::new(),
            ask_tx: wishes,
        }
    }

    /// Whose it is.
    pub(crate) const fn payer(&self) -> PayerId {
        self.payer
    }

    /// Takes over posted figures.
    pub(crate) fn post(&self, standing: &PostedBalance) {
        self.balance
            .store(standing.balance.nanos(), Ordering::Relaxed);
        self.month_used
            .store(standing.month_used.nanos(), Ordering::Relaxed);
    }

    /// Credit for a call, if there is enough on lease.
    pub(crate) fn try_reserve(self: &Arc<Self>, amount: Money) -> Option<CreditHold> {
        let nanos = amount.nanos();
        let enough = |free: i64| (free >= nanos).then(|| free.saturating_sub(nanos));
        let before = self
            .free
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, enough)
            .ok()?;
        self.held.fetch_add(nanos, Ordering::Relaxed);
        if before.saturating_sub(nanos) < self.low.load(Ordering::Relaxed) {
            self.ask();
        }
        Some(CreditHold {
            credit_lease: Arc::clone(self),
            amount,
            unbounded: false,
        })
    }

    /// A call of before the last restart has been charged here, and not yet at control.
    pub(crate) fn charge(&self, cost: Money) {
        self.unposted.fetch_add(cost.nanos(), Ordering::Relaxed);
        self.free.fetch_sub(cost.nanos(), Ordering::Relaxed);
    }

    /// Control has posted charges of this data plane, and says what the lease is after them.
    pub(crate) fn posted(&self, cost: Money, lease: Option<&LeasedCredit>) {
        self.unposted.fetch_sub(cost.nanos(), Ordering::Relaxed);
        let change = {
            let book = &mut *self.ledger();
            lease.map_or(Money::ZERO, |lease| book.take_over(lease))
        };
        self.add_free(cost.saturating_add(change));
    }

    /// Control tells the lease by itself, at the beginning of a stream.
    pub(crate) fn leased(&self, lease: &LeasedCredit) {
        let change = self.ledger().take_over(lease);
        self.add_free(change);
    }

    /// Somebody else needs the credit that is not used here.
    pub(crate) fn recall(self: &Arc<Self>) {
        self.ledger().recalled = Some(Instant::now() + RECALL);
        self.recalled.store(true, Ordering::Relaxed);
        self.ask();
    }

    /// Gives credit back that nothing has used for a while.
    pub(crate) fn return_idle(self: &Arc<Self>) {
        let idle = {
            let book = &mut *self.ledger();
            let idle = book.asked.elapsed() > IDLE && book.waiting.is_empty();
            if idle {
                book.slice = Money::ZERO;
                book.asked = Instant::now();
            }
            book.gave > Money::ZERO || (idle && book.amount > Money::ZERO)
        };
        let unused = self.held.load(Ordering::Relaxed) == 0
            && self.unposted.load(Ordering::Relaxed) == 0
            && self.free.load(Ordering::Relaxed) > 0;
        if idle && unused {
            self.recall();
        }
    }

    /// What to ask control for. Nobody else asks until [`answered`](Self::answered).
    pub(crate) fn next_ask(&self) -> Option<LeaseAsk> {
        let book = &mut *self.ledger();
        let recalled = book.recalled.is_some_and(|until| until > Instant::now());
        if !recalled {
            book.recalled = None;
            self.recalled.store(false, Ordering::Relaxed);
        }
        if book.gave > Money::ZERO {
            // Whether this was done is not known; on the same version it is done once. A report may have
            // moved the lease since: on a newer version it would be done again.
            let mut ask = self.lease_ask(book, book.gave.negated(), Money::ZERO);
            ask.version = book.gave_on;
            return Some(ask);
        }
        let free = Money::from_nanos(self.free.load(Ordering::Relaxed));
        let least = book.waiting.iter().min().copied();
        let low = free.nanos() < self.low.load(Ordering::Relaxed);
        if least.is_some() || low {
            let lasted = i64::try_from(book.asked.elapsed().as_millis()).unwrap_or(i64::MAX);
            book.slice = lease_sizing::slice(book.slice, lasted, least.unwrap_or_default());
            book.asked = Instant::now();
            self.low.store(book.slice.nanos() / 4, Ordering::Relaxed);
        }
        let wish = lease_sizing::lease_change(&Position {
            free,
            least,
            waiting: book.waiting.iter().copied().sum(),
            slice: book.slice,
            recalled,
        })?;
        if wish.change.is_negative() {
            let back = wish.change.nanos();
            let enough = |free: i64| (free >= -back).then(|| free.saturating_add(back));
            self.free
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, enough)
                .ok()?;
            (book.gave, book.gave_on) = (wish.change.negated(), book.version);
        }
        Some(self.lease_ask(book, wish.change, wish.need))
    }

    fn lease_ask(&self, book: &LeaseLedger, change: Money, need: Money) -> LeaseAsk {
        LeaseAsk {
            payer: self.payer,
            version: book.version,
            change,
            need,
        }
    }

    /// Takes in what control made of the last ask; none when it could not be asked.
    pub(crate) fn answered(self: &Arc<Self>, answer: Option<&LeaseAnswer>) {
        let again = {
            let book = &mut *self.ledger();
            book.answers = book.answers.wrapping_add(1);
            book.answered = Instant::now();
            let Some(answer) = answer else {
                book.answer = ControlReply::OutOfReach;
                drop_asking(self);
                return;
            };
            let change = book.take_over(&answer.lease);
            if change < book.slice {
                // Control had less: asking for that much with each call would help nobody.
                book.slice = change.max(Money::ZERO);
                self.low.store(book.slice.nanos() / 4, Ordering::Relaxed);
            }
            let gave = std::mem::take(&mut book.gave);
            self.add_free(change.saturating_add(gave));
            self.post(&answer.standing);
            book.answer =
                answer
                    .shortage
                    .map_or(ControlReply::Granted, |shortage| ControlReply::Short {
                        shortage,
                        elsewhere: answer.elsewhere,
                    });
            answer.shortage.is_none() && !book.waiting.is_empty()
        };
        drop_asking(self);
        if again && self.free.load(Ordering::Relaxed) <= 0 {
            self.ask();
        }
    }

    /// Nothing is to be asked after all.
    pub(crate) fn not_asked(&self) {
        self.asking.store(false, Ordering::Release);
    }

    /// Puts the credit lease among the wishes, unless it is there.
    pub(super) fn ask(self: &Arc<Self>) {
        if !self.asking.swap(true, Ordering::Acquire)
            && self.ask_tx.try_send(Arc::clone(self)).is_err()
        {
            // A full queue is worked off within milliseconds; whoever waits asks again.
            self.not_asked();
        }
    }

    /// The same for a call that waits, which leaves control alone for a while after it had nothing.
    pub(super) fn ask_again(self: &Arc<Self>, pause: Duration) {
        let wait = {
            let book = self.ledger();
            matches!(book.answer, ControlReply::Short { .. }) && book.answered.elapsed() < pause
        };
        if !wait {
            self.ask();
        }
    }

    /// Registers a waiting call.
    pub(super) fn wait(&self, need: Money) -> CreditWaiter<'_> {
        let book = &mut *self.ledger();
        book.waiting.push(need);
        CreditWaiter {
            credit_lease: self,
            need,
            since: book.answers,
        }
    }

    /// Resolves when credit may have become free or control has answered.
    pub(super) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    /// What is left to spend.
    pub(crate) fn balance(&self) -> Money {
        Money::from_nanos(self.balance.load(Ordering::Relaxed)).saturating_sub(self.unposted())
    }

    /// What this month has cost so far.
    pub(crate) fn month_used(&self) -> Money {
        Money::from_nanos(self.month_used.load(Ordering::Relaxed)).saturating_add(self.unposted())
    }

    /// Whether anything is on lease.
    pub(crate) fn has_lease(&self) -> bool {
        self.ledger().amount > Money::ZERO
    }

    /// Whether nothing is on lease, held or yet to be posted.
    pub(super) fn is_empty(&self) -> bool {
        let none = |amount: &AtomicI64| amount.load(Ordering::Relaxed) == 0;
        !self.has_lease() && none(&self.held) && none(&self.unposted)
    }

    /// What calls under way hold.
    pub(crate) fn held(&self) -> Money {
        Money::from_nanos(self.held.load(Ordering::Relaxed))
    }

    fn unposted(&self) -> Money {
        Money::from_nanos(self.unposted.load(Ordering::Relaxed))
    }

    fn add_free(&self, amount: Money) {
        self.free.fetch_add(amount.nanos(), Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    fn ledger(&self) -> MutexGuard<'_, LeaseLedger> {
        // No code under the lock leaves the book half-written.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn drop_asking(credit_lease: &CreditLease) {
    credit_lease.not_asked();
    credit_lease.changed.notify_waiters();
}

impl fmt::Debug for CreditLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Purse")
            .field("payer", &self.payer)
            .field("free", &self.free)
            .field("held", &self.held)
            .field("unposted", &self.unposted)
            .finish_non_exhaustive()
    }
}

// === impl Book ===

impl LeaseLedger {
    /// Takes over a newer state of the lease and returns by how much it differs.
    fn take_over(&mut self, lease: &LeasedCredit) -> Money {
        if lease.version <= self.version {
            return Money::ZERO;
        }
        let change = lease.amount.saturating_sub(self.amount);
        (self.version, self.amount) = (lease.version, lease.amount);
        change
    }
}

// === impl Hold ===

impl CreditHold {
    /// The call has ended and cost this much, which may be more than was held.
    pub(crate) fn settle(mut self, cost: Money) {
        let exceeded = cost.saturating_sub(self.amount);
        if exceeded > Money::ZERO {
            self.credit_lease
                .exceeded
                .fetch_add(exceeded.nanos(), Ordering::Relaxed);
        }
        self.credit_lease
            .unposted
            .fetch_add(cost.nanos(), Ordering::Relaxed);
        self.release(cost);
    }

    /// What is set aside.
    pub(crate) const fn amount(&self) -> Money {
        self.amount
    }

    /// The call may cost more than it holds, and nobody knows how much.
    pub(crate) fn may_exceed(&mut self) {
        self.unbounded = true;
        self.credit_lease.unbounded.fetch_add(1, Ordering::Relaxed);
    }

    fn release(&mut self, cost: Money) {
        let amount = std::mem::take(&mut self.amount);
        let unbounded = std::mem::take(&mut self.unbounded);
        let credit_lease = &self.credit_lease;
        if unbounded {
            credit_lease.unbounded.fetch_sub(1, Ordering::Relaxed);
        }
        credit_lease
            .held
            .fetch_sub(amount.nanos(), Ordering::Relaxed);
        credit_lease.add_free(amount.saturating_sub(cost));
        if credit_lease.recalled.load(Ordering::Relaxed) {
            credit_lease.ask();
        }
    }
}

impl Drop for CreditHold {
    fn drop(&mut self) {
        if self.amount > Money::ZERO {
            self.release(Money::ZERO);
        }
    }
}

impl fmt::Debug for CreditHold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hold").field(&self.amount).finish()
    }
}

// === impl Waiting ===

impl CreditWaiter<'_> {
    /// What control has answered since this was last asked, or since the call began to wait.
    pub(super) fn answer(&mut self) -> Option<ControlReply> {
        let book = self.credit_lease.ledger();
        (std::mem::replace(&mut self.since, book.answers) != book.answers).then_some(book.answer)
    }
}

impl Drop for CreditWaiter<'_> {
    fn drop(&mut self) {
        let book = &mut *self.credit_lease.ledger();
        if let Some(at) = book.waiting.iter().position(|need| *need == self.need) {
            book.waiting.swap_remove(at);
        }
    }
}
