//! The keys of one level, whose turn it is, and a place for calls that wait until one is free. By which
//! rule a key is picked is decided in `decide::pick`; here is what the rules remember.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{AccountState, health::Want, key::KeyState, queue::Queue};
use crate::decide::{affinity::Conversation, hedge::Waits, pick};
use proxyxai_contract::{clock::Millis, id::KeyId, rotation::Strategy};

/// The keys of one level, in the order of their ids.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pool {
    pub(super) keys: Vec<Arc<KeyState>>,
    pub(super) turns: Arc<Turns>,
}

/// What outlives a change of the keys.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// Which key was picked last.
    last: AtomicUsize,
    /// Held while keys are weighed against each other.
    weighing: Mutex<()>,
    /// For a key that is at its cap.
    queue: Queue,
    /// How long answers took to begin; kept only where calls are hedged.
    waits: Mutex<Waits>,
}

/// What a call wants of a level.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) want: Want<'a>,
    pub(crate) now: Millis,
    /// Keys it has tried already.
    pub(crate) tried: &'a [KeyId],
    /// The one key that will do, where it is only one.
    pub(crate) only: Option<KeyId>,
    pub(crate) strategy: Strategy,
    /// Whether it belongs to others that should get the same key.
    pub(crate) conversation: Option<Conversation>,
}

/// A place on a key, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) key: Arc<KeyState>,
    /// Who may be waiting for it; none when the key has no cap.
    turns: Option<Arc<Turns>>,
}

impl Pool {
    /// A place on the next usable key that was not tried yet. A `patient` caller leaves out keys that are
    /// just being probed by another call.
    pub(crate) fn pick(&self, ask: &Ask<'_>, patient: bool) -> Option<Seat> {
        let usable = |at: usize| {
            self.keys.get(at).is_some_and(|key| {
                key.is_usable(ask)
                    && !key.load.is_full(key.key.config.max_concurrency)
                    && !(patient && key.health.is_probing())
            })
        };
        // A key that has just come back is passed over now and then, unless there is no other, or it is
        // the one that a conversation keeps to.
        let gentle = |at: usize| {
            let random = || fastrand::u32(..1000);
            let trusted = |key: &Arc<KeyState>| key.health.is_trusted(ask.now, random);
            usable(at) && (ask.conversation.is_some() || self.keys.get(at).is_some_and(trusted))
        };
        loop {
            let at = self
                .choose(ask, &gentle)
                .or_else(|| self.choose(ask, &usable));
            let key = self.keys.get(at?)?;
            // Another call may have taken its last place, or be the first after a sleep. Every failure
            // here is another call's success, so this ends.
            let seat = Seat::take(key, &self.turns);
            if seat.is_some() && key.health.begin_probe(ask.want.model, ask.now) {
                return seat;
            }
        }
    }

    fn choose(&self, ask: &Ask<'_>, usable: &impl Fn(usize) -> bool) -> Option<usize> {
        let keys = self.keys.len();
        if let Some(conversation) = ask.conversation {
            let liking = |at: &usize| {
                let key = self.keys.get(*at).map(|key| key.key.id);
                key.map(|id| conversation.liking(id))
            };
            return (0..keys).filter(|at| usable(*at)).max_by_key(liking);
        }
        let last = || self.turns.last.load(Ordering::Relaxed);
        match ask.strategy {
            Strategy::RoundRobin => self.next_in_turn(usable),
            Strategy::Weighted => self.by_weight(usable),
            Strategy::LeastBusy => {
                let busy = |at: usize| self.keys.get(at).map_or(0, |key| key.load.under_way());
                let at = pick::least_busy(last(), keys, usable, busy)?;
                self.turns.last.store(at, Ordering::Relaxed);
                Some(at)
            }
            Strategy::Fastest => {
                let cost = |at: usize| {
                    let key = self.keys.get(at);
                    key.map_or(f64::MAX, |key| key.load.cost(ask.now))
                };
                pick::two_choices(keys, usable, cost, |below| fastrand::usize(..below))
            }
        }
    }

    fn next_in_turn(&self, usable: &impl Fn(usize) -> bool) -> Option<usize> {
        let mut last = self.turns.last.load(Ordering::Relaxed);
        loop {
            let next = pick::next(last, self.keys.len(), usable)?;
            // Another call may have been faster; each turn is given once, so shares stay even. Every
            // failed exchange is another call's success, so this ends.
            match self.turns.last.compare_exchange_weak(
                last,
                next,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Some(next),
                Err(newer) => last = newer,
            }
        }
    }

    fn by_weight(&self, usable: &impl Fn(usize) -> bool) -> Option<usize> {
        // What it guards is kept with the keys, which outlive this pool.
        let _weighing = self
            .turns
            .weighing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let earn = |at: usize| {
            self.keys.get(at).map_or((0, 0), |key| {
                let weight = i64::from(key.key.config.weight);
                (weight, key.load.earn(weight))
            })
        };
        let share = pick::weighted(self.keys.len(), usable, earn)?;
        self.keys.get(share.at)?.load.earn(-share.pays);
        Some(share.at)
    }

    /// After how long an answer of this level is slow; none while too little is known.
    pub(crate) fn slow_after(&self) -> Option<Duration> {
        self.waits().slow()
    }

    /// An answer began after this long.
    pub(crate) fn answered(&self, first_byte: Duration) {
        self.waits().seen(first_byte);
    }

    fn waits(&self) -> MutexGuard<'_, Waits> {
        // Counts are whole whatever happens.
        let waits = self.turns.waits.lock();
        waits.unwrap_or_else(PoisonError::into_inner)
    }

    /// All keys.
    pub(crate) fn keys(&self) -> &[Arc<KeyState>] {
        &self.keys
    }

    /// Whether a fresh key that was not tried yet is having its first call, and not for long.
    pub(crate) fn is_on_trial(&self, ask: &Ask<'_>) -> bool {
        self.keys
            .iter()
            .any(|key| key.health.is_on_trial(ask.now) && key.is_usable(ask))
    }

    /// Whether the only thing that keeps a usable key from being picked is a probe.
    pub(crate) fn is_probing(&self, ask: &Ask<'_>) -> bool {
        self.usable(ask).any(|key| key.health.is_probing())
    }

    /// Whether the only thing that keeps a usable key from being picked is its cap.
    pub(crate) fn is_full(&self, ask: &Ask<'_>) -> bool {
        self.usable(ask)
            .any(|key| key.load.is_full(key.key.config.max_concurrency))
    }

    fn usable(&self, ask: &Ask<'_>) -> impl Iterator<Item = &Arc<KeyState>> {
        let usable = |key: &&Arc<KeyState>| key.is_usable(ask);
        self.keys.iter().filter(usable)
    }

    /// Waits until a key that was at its cap is free, customers in turn, for so long at most. False when too
    /// many wait already, in all or of this account.
    pub(crate) async fn freed(
        &self,
        account: &AccountState,
        patience: Duration,
        is_full: impl Fn() -> bool,
    ) -> bool {
        self.turns.queue.wait(account, patience, is_full).await
    }
}

impl Seat {
    /// The key is not asked after all: whoever waits for a verdict on it waits in vain.
    pub(crate) fn leave_unused(self) {
        drop(self.key.health.probe());
    }

    fn take(key: &Arc<KeyState>, turns: &Arc<Turns>) -> Option<Self> {
        let cap = key.key.config.max_concurrency;
        key.load.enter(cap).then(|| Self {
            key: Arc::clone(key),
            turns: cap.map(|_| Arc::clone(turns)),
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.key.load.leave();
        if let Some(turns) = &self.turns {
            turns.queue.freed();
        }
    }
}
