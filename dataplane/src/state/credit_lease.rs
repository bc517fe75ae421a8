//! The credit of an account, or of a further client key, on this data plane: what control last posted, and the credit
//! on lease here. A call reserves the most it can cost before it begins, and settles its actual cost.
//!
//! It uses atomics, because every call of the account passes here; the lock is for what happens once per slice.

mod figures;
mod hold;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicI32, AtomicI64, Ordering},
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

pub(crate) use self::{
    figures::{Figures, LeaseState},
    hold::CreditHold,
};
use crate::decide::lease_sizing::{self, Position, SliceUse};

/// Queue of credit leases that have something to ask control. Each is in it at most once.
pub(crate) type LeaseAskSender = mpsc::Sender<Arc<CreditLease>>;

/// How long unused credit is returned at once after another node needed it.
const RECALL: Duration = Duration::from_secs(2);

/// Balance, month's use, lease and charges that control has not posted yet, in nano-dollars.
pub(crate) struct CreditLease {
    payer: PayerId,
    balance: AtomicI64,
    month_used: AtomicI64,
    unposted: AtomicI64,
    /// The lease, minus what is held and what is unposted.
    free: AtomicI64,
    held: AtomicI64,
    /// In-flight calls that may cost more than they hold.
    unbounded: AtomicI32,
    /// What calls cost beyond what they held.
    exceeded: AtomicI64,
    /// With less free than this, more is requested.
    low: AtomicI64,
    recalled: AtomicBool,
    /// Whether it is in the queue, or its request is in flight.
    asking: AtomicBool,
    /// Begun at the first use: most accounts of a large gateway make no call on one data plane.
    ledger: OnceLock<Box<Mutex<LeaseLedger>>>,
    /// Notified when credit may have become free, or control has answered.
    changed: Notify,
    ask_tx: LeaseAskSender,
}

struct LeaseLedger {
    version: u64,
    amount: Money,
    /// Returned, and not confirmed yet.
    gave: Money,
    /// The lease version at which it was returned.
    gave_on: u64,
    slice: Money,
    /// When control last answered, and what was free or held then.
    asked: Instant,
    had: Money,
    /// What was free or held when it last changed, and when that was found.
    used: (Money, Instant),
    recalled: Option<Instant>,
    waiting: Vec<Money>,
    answers: u64,
    answered: Instant,
    answer: ControlReply,
}

/// Control's last reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ControlReply {
    /// It granted what was needed.
    Granted,
    /// It did not.
    Short {
        /// Why.
        shortage: LeaseShortage,
        /// Credit that other data planes have on lease.
        elsewhere: Money,
    },
    /// Control could not be asked.
    OutOfReach,
}

/// A call that waits for credit.
pub(super) struct CreditWaiter<'a> {
    credit_lease: &'a CreditLease,
    need: Money,
    since: u64,
}

impl CreditLease {
    /// A lease of which nothing is known yet.
    pub(crate) fn new(payer: impl Into<PayerId>, ask_tx: LeaseAskSender) -> Self {
        Self {
            payer: payer.into(),
            balance: AtomicI64::default(),
            month_used: AtomicI64::default(),
            unposted: AtomicI64::default(),
            free: AtomicI64::default(),
            held: AtomicI64::default(),
            unbounded: AtomicI32::default(),
            exceeded: AtomicI64::default(),
            low: AtomicI64::default(),
            recalled: AtomicBool::default(),
            asking: AtomicBool::default(),
            ledger: OnceLock::new(),
            changed: Notify::new(),
            ask_tx,
        }
    }

    /// The payer it belongs to.
    pub(crate) const fn payer(&self) -> PayerId {
        self.payer
    }

    /// Applies posted figures.
    pub(crate) fn post(&self, standing: &PostedBalance) {
        self.balance
            .store(standing.balance.nanos(), Ordering::Relaxed);
        self.month_used
            .store(standing.month_used.nanos(), Ordering::Relaxed);
    }

    /// Reserves credit for a call, if enough is on lease.
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
        Some(CreditHold::new(self, amount))
    }

    /// Charges a call from before the last restart that control has not posted yet.
    pub(crate) fn charge(&self, cost: Money) {
        self.unposted.fetch_add(cost.nanos(), Ordering::Relaxed);
        self.free.fetch_sub(cost.nanos(), Ordering::Relaxed);
    }

    /// Control has posted charges of this data plane and sends the lease that remains.
    pub(crate) fn posted(&self, cost: Money, lease: Option<&LeasedCredit>) {
        self.unposted.fetch_sub(cost.nanos(), Ordering::Relaxed);
        let change = {
            let book = &mut *self.ledger();
            lease.map_or(Money::ZERO, |lease| book.take_over(lease))
        };
        self.add_free(cost.saturating_add(change));
    }

    /// Control sends the lease by itself, at the beginning of a stream.
    pub(crate) fn leased(&self, lease: &LeasedCredit) {
        let change = self.ledger().take_over(lease);
        self.add_free(change);
    }

    /// Another node needs the credit that is unused here.
    pub(crate) fn recall(self: &Arc<Self>) {
        self.ledger().recalled = Some(Instant::now() + RECALL);
        self.recalled.store(true, Ordering::Relaxed);
        self.ask();
    }

    /// Returns credit that was unused for this long.
    pub(crate) fn return_idle(self: &Arc<Self>, unused: Duration) {
        let available = self.available();
        let is_idle = {
            let Some(book) = &mut self.begun_ledger() else {
                return;
            };
            if book.used.0 != available || !book.waiting.is_empty() {
                book.used = (available, Instant::now());
            }
            let is_idle = book.used.1.elapsed() >= unused;
            if is_idle {
                book.slice = Money::ZERO;
                book.asked = Instant::now();
            }
            book.gave > Money::ZERO || (is_idle && book.amount > Money::ZERO)
        };
        let is_unused = self.held.load(Ordering::Relaxed) == 0
            && self.unposted.load(Ordering::Relaxed) == 0
            && self.free.load(Ordering::Relaxed) > 0;
        if is_idle && is_unused {
            self.recall();
        }
    }

    /// What is free or held. Only grants and costs change it.
    fn available(&self) -> Money {
        let free = Money::from_nanos(self.free.load(Ordering::Relaxed));
        free.saturating_add(self.held())
    }

    /// Returns what to ask control for, so that an account can go on for `island` without it. There is no further ask
    /// until [`answered`](Self::answered).
    pub(crate) fn next_ask(&self, island: Duration) -> Option<LeaseAsk> {
        let book = &mut *self.ledger();
        let recalled = book.recalled.is_some_and(|until| until > Instant::now());
        if !recalled {
            book.recalled = None;
            self.recalled.store(false, Ordering::Relaxed);
        }
        if book.gave > Money::ZERO {
            // It is unknown whether control applied this; at the same version it is applied once. A report may have
            // moved the lease since: at a newer version it would be applied again.
            let mut ask = self.lease_ask(book, book.gave.negated(), Money::ZERO);
            ask.version = book.gave_on;
            return Some(ask);
        }
        let free = Money::from_nanos(self.free.load(Ordering::Relaxed));
        let least = book.waiting.iter().min().copied();
        let low = free.nanos() < self.low.load(Ordering::Relaxed);
        if least.is_some() || low {
            let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
            let used = SliceUse {
                slice: book.slice,
                spent: book.had.saturating_sub(self.available()),
                lasted_ms: millis(book.asked.elapsed()),
                need: least.unwrap_or_default(),
            };
            book.slice = lease_sizing::slice(&used, millis(island));
            (book.asked, book.had) = (Instant::now(), self.available());
            let low = lease_sizing::low_mark(book.slice);
            self.low.store(low.nanos(), Ordering::Relaxed);
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

    /// Applies control's reply to the last ask; `None` if control could not be asked.
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
                // Control had less, so asking for that much with each call would be useless.
                book.slice = change.max(Money::ZERO);
                let low = lease_sizing::low_mark_of_rest(book.slice);
                self.low.store(low.nanos(), Ordering::Relaxed);
            }
            let gave = std::mem::take(&mut book.gave);
            let more = change.saturating_add(gave);
            self.add_free(more);
            book.had = book.had.saturating_add(more);
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

    /// There is nothing to ask after all.
    pub(crate) fn not_asked(&self) {
        self.asking.store(false, Ordering::Release);
    }

    /// Puts the credit lease into the queue, unless it is there.
    pub(super) fn ask(self: &Arc<Self>) {
        if !self.asking.swap(true, Ordering::Acquire)
            && self.ask_tx.try_send(Arc::clone(self)).is_err()
        {
            // A full queue is emptied within milliseconds; a waiting call asks again.
            self.not_asked();
        }
    }

    /// The same for a waiting call, which pauses for a while after control had nothing.
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

    /// The cost of this month so far.
    pub(crate) fn month_used(&self) -> Money {
        Money::from_nanos(self.month_used.load(Ordering::Relaxed)).saturating_add(self.unposted())
    }

    /// Whether anything is on lease.
    pub(crate) fn has_lease(&self) -> bool {
        self.begun_ledger()
            .is_some_and(|book| book.amount > Money::ZERO)
    }

    /// Whether nothing is on lease, held or yet to be posted.
    pub(super) fn is_empty(&self) -> bool {
        let none = |amount: &AtomicI64| amount.load(Ordering::Relaxed) == 0;
        !self.has_lease() && none(&self.held) && none(&self.unposted)
    }

    /// What in-flight calls hold.
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
        // No code under the lock leaves the ledger half-written.
        let ledger = self.ledger.get_or_init(Box::default);
        ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ledger, unless nothing was ever on lease or asked for.
    fn begun_ledger(&self) -> Option<MutexGuard<'_, LeaseLedger>> {
        self.ledger.get().map(|_| self.ledger())
    }
}

fn drop_asking(credit_lease: &CreditLease) {
    credit_lease.not_asked();
    credit_lease.changed.notify_waiters();
}

impl fmt::Debug for CreditLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreditLease")
            .field("payer", &self.payer)
            .field("free", &self.free)
            .field("held", &self.held)
            .field("unposted", &self.unposted)
            .finish_non_exhaustive()
    }
}

impl Default for LeaseLedger {
    fn default() -> Self {
        Self {
            version: 0,
            amount: Money::ZERO,
            gave: Money::ZERO,
            gave_on: 0,
            slice: Money::ZERO,
            asked: Instant::now(),
            had: Money::ZERO,
            used: (Money::ZERO, Instant::now()),
            recalled: None,
            waiting: Vec::new(),
            answers: 0,
            answered: Instant::now(),
            answer: ControlReply::Granted,
        }
    }
}

impl LeaseLedger {
    /// Applies a newer state of the lease and returns by how much it differs.
    fn take_over(&mut self, lease: &LeasedCredit) -> Money {
        if lease.version <= self.version {
            return Money::ZERO;
        }
        let change = lease.amount.saturating_sub(self.amount);
        (self.version, self.amount) = (lease.version, lease.amount);
        change
    }
}

impl CreditWaiter<'_> {
    /// Control's reply since this was last called, or since the call began to wait.
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
