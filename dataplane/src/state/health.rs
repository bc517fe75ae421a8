//! The current health of one key, shared by all calls. What a failure means is decided in `decide::health`. This module
//! stores it, so that the common case costs two atomic reads.

mod memory;

use std::{
    pin::Pin,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use proxyxai_contract::{
    clock::Millis,
    id::{AccountId, KeyId},
    snapshot::{HealthState, KeyHealthReport},
};
use tokio::sync::{Notify, futures::Notified};

use self::memory::{HealthRecord, Pair, make_room};
use super::served::Served;
use crate::{
    decide::{
        blame::Blamer,
        connect_failure::ConnectFailure,
        health::{Backoff, slow_start},
    },
    formats::error_classifier::FaultVerdict,
};

/// Refusals within this time count towards a storm.
const STORM_WINDOW_MS: i64 = 60_000;
/// How long other calls wait for the first result of a fresh key, in milliseconds.
pub(super) const PROBATION_MS: i64 = 250;
/// Least time between two checks of a key, in milliseconds.
const INQUIRY_MS: i64 = 5000;

/// Health of one key, as a whole and for single models.
#[derive(Debug)]
pub(crate) struct KeyHealth {
    /// Until when the key as a whole is out of rotation; `i64::MAX` for disabled.
    closed_until: AtomicI64,
    /// Number of models for which the key sleeps.
    pairs_asleep: AtomicUsize,
    /// Number of accounts for which it rests.
    blamed: AtomicUsize,
    served: Served,
    /// When it was last checked, in milliseconds.
    inquired_at: AtomicI64,
    /// Whether it has answered since it was loaded or woken. Until then it gets one call at a time.
    proven: AtomicBool,
    probing: AtomicBool,
    /// When that call began, in milliseconds.
    probed_at: AtomicI64,
    /// When it was last asked after a sleep, in milliseconds; 0 for a key that never slept.
    back_at: AtomicI64,
    /// Wakes calls that wait for the result of a probe. Successes of a proven key do not touch it.
    changed: Notify,
    inner: Mutex<HealthRecord>,
}

/// What a call needs a key for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyQuery<'w> {
    pub(crate) model: &'w str,
    pub(crate) account: AccountId,
    /// The account below root that it belongs to.
    pub(crate) customer: AccountId,
    pub(crate) dialect_need: super::DialectNeed,
}

/// How an attempt failed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyFailure<'t> {
    pub(crate) verdict: FaultVerdict,
    pub(crate) reason: &'t str,
    /// Why there was no connection.
    pub(crate) connect_failure: Option<ConnectFailure>,
    /// Whether many keys of the provider were refused at once.
    pub(crate) storm: bool,
}

/// How a key rests, to decide how long to wait and what to report to the client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyDowntime {
    /// When it may be asked again; `None` if it is usable or disabled.
    pub(crate) until: Option<Millis>,
    /// Refused by its provider, or disabled.
    pub(crate) refused: bool,
    /// Asleep for a rate limit.
    pub(crate) rate_limited: bool,
    /// Asleep because there was no connection.
    pub(crate) connect_failure: Option<ConnectFailure>,
}

impl Default for KeyHealth {
    fn default() -> Self {
        Self {
            closed_until: AtomicI64::new(0),
            pairs_asleep: AtomicUsize::new(0),
            blamed: AtomicUsize::new(0),
            served: Served::default(),
            inquired_at: AtomicI64::new(0),
            proven: AtomicBool::new(false),
            probing: AtomicBool::new(false),
            probed_at: AtomicI64::new(0),
            back_at: AtomicI64::new(0),
            changed: Notify::new(),
            inner: Mutex::default(),
        }
    }
}

impl KeyHealth {
    /// Whether it may be asked for this now.
    pub(crate) fn is_usable(&self, want: KeyQuery<'_>, now: Millis) -> bool {
        if now.0 < self.closed_until.load(Ordering::Relaxed) {
            return false;
        }
        if self.pairs_asleep.load(Ordering::Relaxed) + self.blamed.load(Ordering::Relaxed) == 0 {
            return true;
        }
        let inner = self.lock();
        let pair = inner.pairs.get(want.model);
        pair.is_none_or(|pair| pair.is_usable(now)) && inner.blames.of(want.account).is_usable(now)
    }

    /// Whether it has ever answered, as far as this data plane knows.
    pub(crate) fn has_served(&self) -> bool {
        self.served.anybody()
    }

    /// Whether it has lately answered accounts other than this one.
    pub(crate) fn serves_others(&self, than: AccountId, now: Millis) -> bool {
        self.served.others(than, now)
    }

    /// It has answered a call of this account.
    pub(crate) fn serve(&self, account: AccountId, now: Millis) {
        self.served.note(account, now);
    }

    /// Whether it may get this call: always if it has its full share again, else as often as its share has grown.
    /// `random` is from 0 to 999.
    pub(crate) fn is_trusted(&self, now: Millis, random: impl FnOnce() -> u32) -> bool {
        let back = self.back_at.load(Ordering::Relaxed);
        back == 0 || {
            let share = slow_start(Millis(back), now);
            share >= 1000 || random() < share
        }
    }

    /// Whether another call is probing it.
    pub(crate) fn is_probing(&self) -> bool {
        !self.proven.load(Ordering::Relaxed) && self.probing.load(Ordering::Relaxed)
    }

    /// Whether its very first call began a short while ago. A key that only slept is not waited for: calls go to the
    /// others meanwhile.
    pub(crate) fn is_on_trial(&self, now: Millis) -> bool {
        self.trial_left(now).is_some()
    }

    /// How much longer it counts as on trial; `None` if it does not.
    pub(super) fn trial_left(&self, now: Millis) -> Option<Duration> {
        if !self.is_probing() || self.closed_until.load(Ordering::Relaxed) != 0 {
            return None;
        }
        let begun = Millis(self.probed_at.load(Ordering::Relaxed));
        let left = u64::try_from(PROBATION_MS - now.since(begun)).ok()?;
        (left > 0).then(|| Duration::from_millis(left))
    }

    /// Resolves when a probe ends or its state changes from here on, also before it is polled.
    pub(super) fn next_change(&self) -> Pin<Box<Notified<'_>>> {
        let mut change = Box::pin(self.changed.notified());
        change.as_mut().enable();
        change
    }

    /// A call is about to ask it; while it is unproven, other calls wait for the result. Returns `false` if another
    /// call has just begun to probe it for this model.
    pub(crate) fn begin_probe(&self, model: &str, now: Millis) -> bool {
        if self.pairs_asleep.load(Ordering::Relaxed) > 0
            && let Some(pair) = self.lock().pairs.get_mut(model)
        {
            if !pair.is_usable(now) {
                return false;
            }
            pair.asked = Some(now);
            self.back_at.store(now.0, Ordering::Relaxed);
            self.changed.notify_waiters();
        }
        if !self.proven.load(Ordering::Relaxed) {
            if self.closed_until.load(Ordering::Relaxed) != 0 {
                self.back_at.store(now.0, Ordering::Relaxed);
            }
            self.probed_at.store(now.0, Ordering::Relaxed);
            self.probing.store(true, Ordering::Relaxed);
        }
        true
    }

    /// Ends a probe however its attempt ends, also when its client leaves.
    pub(crate) fn probe(&self) -> ProbeGuard<'_> {
        ProbeGuard(self)
    }

    /// It answered. Returns the report for other data planes.
    pub(crate) fn succeed(&self, key: KeyId, want: KeyQuery<'_>) -> Option<KeyHealthReport> {
        let KeyQuery { model, account, .. } = want;
        let asleep = self.pairs_asleep.load(Ordering::Relaxed) > 0
            || self.blamed.load(Ordering::Relaxed) > 0;
        // Nearly always. A write would invalidate the cache line of other CPUs each time.
        if self.proven.load(Ordering::Relaxed) && !asleep {
            return None;
        }
        self.proven.store(true, Ordering::Relaxed);
        let mut inner = self.lock();
        self.probing.store(false, Ordering::Relaxed);
        let pair = inner.pairs.remove(model).is_some();
        let whole =
            std::mem::replace(&mut inner.whole, Backoff::READY).state() != HealthState::Ready;
        inner.refused_at = None;
        inner.connect_failure = None;
        inner.doubted_by = None;
        inner.blames.acquit(account);
        self.mirror(&inner);
        drop(inner);
        let ready = |model| KeyHealthReport {
            key,
            model,
            state: HealthState::Ready,
            reason: String::new(),
        };
        match (whole, pair) {
            (true, _) => Some(ready(None)),
            (false, true) => Some(ready(Some(model.to_owned()))),
            (false, false) => None,
        }
    }

    /// It failed. Returns the report for other data planes.
    pub(crate) fn fail(
        &self,
        key: KeyId,
        want: KeyQuery<'_>,
        trouble: KeyFailure<'_>,
        now: Millis,
    ) -> Option<KeyHealthReport> {
        let KeyFailure {
            verdict,
            reason,
            connect_failure: lost,
            storm,
        } = trouble;
        let blamer = Blamer {
            account: want.account,
            customer: want.customer,
        };
        let mut inner = self.lock();
        inner.connect_failure = lost;
        let verdict = inner.weigh(verdict, blamer, now);
        // A rate limit of one model, or a slow moment, says nothing against the key itself.
        if matches!(
            verdict,
            FaultVerdict::RetrySleepKey { .. } | FaultVerdict::RetryQuarantine
        ) {
            self.proven.store(false, Ordering::Relaxed);
        }
        self.probing.store(false, Ordering::Relaxed);
        let news = inner.note(verdict, want.model, storm, now);
        self.mirror(&inner);
        news.map(|(model, state)| KeyHealthReport {
            key,
            model,
            state,
            reason: reason.to_owned(),
        })
    }

    /// Its refusal was part of a storm, so it sleeps as after a failure. Returns the report for other data planes.
    pub(crate) fn calm(&self, key: KeyId, now: Millis) -> Option<KeyHealthReport> {
        let mut inner = self.lock();
        let HealthState::Quarantined { .. } = inner.whole.state() else {
            return None;
        };
        inner.whole = Backoff::READY.slept(now, None);
        self.mirror(&inner);
        let reason = "most keys of the provider were refused at once".to_owned();
        Some(KeyHealthReport {
            key,
            model: None,
            state: HealthState::Ready,
            reason,
        })
    }

    /// Its response to this account's call broke off.
    pub(crate) fn broke_off(&self, blamer: Blamer, now: Millis) {
        let mut inner = self.lock();
        if inner.blames.add(blamer, now) {
            inner.whole = inner.whole.slept(now, None);
            self.proven.store(false, Ordering::Relaxed);
        }
        self.mirror(&inner);
    }

    /// Whether to start a key check now; if so, no other starts for a while.
    pub(crate) fn may_inquire(&self, now: Millis) -> bool {
        let last = self.inquired_at.load(Ordering::Relaxed);
        let due = last == 0 || now.since(Millis(last)) >= INQUIRY_MS;
        let order = Ordering::Relaxed;
        due && self
            .inquired_at
            .compare_exchange(last, now.0, order, order)
            .is_ok()
    }

    /// During the check, calls go to other keys, or wait a moment for the result.
    pub(crate) fn begin_inquiry(&self, now: Millis) -> ProbeGuard<'_> {
        self.proven.store(false, Ordering::Relaxed);
        self.probed_at.store(now.0, Ordering::Relaxed);
        self.probing.store(true, Ordering::Relaxed);
        ProbeGuard(self)
    }

    /// It is accepted: what this account was refused was its call's fault.
    pub(crate) fn vouch(&self, account: AccountId) {
        let mut inner = self.lock();
        inner.blames.acquit(account);
        self.proven.store(true, Ordering::Relaxed);
        self.mirror(&inner);
    }

    /// Applies what another data plane learnt.
    pub(crate) fn apply_report(&self, health: KeyHealthReport, now: Millis) {
        let KeyHealthReport {
            key: _,
            model,
            state,
            reason: _,
        } = health;
        let mut inner = self.lock();
        let of_whole = model.is_none();
        if let Some(model) = model {
            let pair = inner.pairs.get(&model).copied().unwrap_or_default();
            let backoff = pair.backoff.learnt(state, now);
            make_room(&mut inner.pairs);
            if backoff.state() == HealthState::Ready {
                inner.pairs.remove(&model);
            } else {
                inner.pairs.insert(model, Pair { backoff, ..pair });
            }
        } else {
            inner.whole = inner.whole.learnt(state, now);
            if matches!(state, HealthState::Quarantined { .. }) {
                inner.refused_at = Some(now);
            }
        }
        if of_whole && state != HealthState::Ready {
            self.proven.store(false, Ordering::Relaxed);
        }
        self.mirror(&inner);
    }

    /// Clears all failures.
    pub(crate) fn wake(&self) {
        let mut inner = self.lock();
        *inner = HealthRecord::default();
        self.back_at.store(0, Ordering::Relaxed);
        self.proven.store(false, Ordering::Relaxed);
        self.probing.store(false, Ordering::Relaxed);
        self.mirror(&inner);
    }

    /// How it rests for a call.
    pub(crate) fn downtime(&self, want: KeyQuery<'_>, now: Millis) -> KeyDowntime {
        let inner = self.lock();
        let pair = inner.pairs.get(want.model).copied().unwrap_or_default();
        let blame = inner.blames.of(want.account);
        let ends = [inner.whole, pair.backoff, blame].map(|backoff| match backoff.state() {
            HealthState::Sleeping { until } | HealthState::Quarantined { until } if now < until => {
                Some(until)
            }
            HealthState::Sleeping { .. }
            | HealthState::Quarantined { .. }
            | HealthState::Ready
            | HealthState::Disabled => None,
        });
        let refused = match inner.whole.state() {
            HealthState::Disabled => true,
            HealthState::Quarantined { until } => now < until,
            HealthState::Ready | HealthState::Sleeping { .. } => false,
        };
        let [whole_end, pair_end, blame_end] = ends;
        KeyDowntime {
            until: whole_end.max(pair_end).max(blame_end),
            refused,
            rate_limited: pair_end.is_some() && !refused,
            connect_failure: inner.connect_failure.filter(|_| whole_end.is_some()),
        }
    }

    /// Its state as a whole, and those of its sleeping models.
    pub(crate) fn standing(&self) -> (HealthState, Vec<HealthState>) {
        let inner = self.lock();
        let pairs = inner.pairs.values().map(|pair| pair.backoff.state());
        (inner.whole.state(), pairs.collect())
    }

    /// Whether its provider refused it within the last minute.
    pub(crate) fn refused_lately(&self, now: Millis) -> bool {
        self.lock()
            .refused_at
            .is_some_and(|at| now.since(at) < STORM_WINDOW_MS)
    }

    /// Updates the atomics from the record, and wakes calls that wait for news; called with the lock held.
    fn mirror(&self, inner: &HealthRecord) {
        let until = match inner.whole.state() {
            HealthState::Ready => 0,
            HealthState::Sleeping { until } | HealthState::Quarantined { until } => until.0,
            HealthState::Disabled => i64::MAX,
        };
        self.closed_until.store(until, Ordering::Relaxed);
        self.pairs_asleep
            .store(inner.pairs.len(), Ordering::Relaxed);
        self.blamed.store(inner.blames.len(), Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, HealthRecord> {
        // A panic under the lock leaves the state consistent.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An attempt in flight.
#[derive(Debug)]
pub(crate) struct ProbeGuard<'a>(&'a KeyHealth);

impl Drop for ProbeGuard<'_> {
    fn drop(&mut self) {
        if self.0.probing.load(Ordering::Relaxed) {
            self.0.probing.store(false, Ordering::Relaxed);
            self.0.changed.notify_waiters();
        }
    }
}
