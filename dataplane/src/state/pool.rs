//! The keys of one level, their turns, and the queue of calls that wait until one is free. How a key is picked is
//! decided in `decide::load_balancing`; this module has the state of those rules.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{AccountState, fair_queue::FairQueue, health::KeyQuery, key::KeyState};
use crate::{
    decide::{affinity, hedge::LatencyHistogram, load_balancing},
    formats::conversation::ConversationHash,
};
use proxyxai_contract::{
    clock::Millis,
    id::{KeyId, Level},
    load_balancing::KeyStrategy,
};

/// The keys of one level, in the order of their ids.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeyPool {
    pub(super) keys: Vec<Arc<KeyState>>,
    pub(super) pick_state: Arc<PickState>,
}

/// All upstream keys, by id and by level. Made anew only when one of them changes.
#[derive(Debug, Default)]
pub(super) struct UpstreamKeys {
    pub(super) by_id: HashMap<KeyId, Arc<KeyState>>,
    pools: [KeyPool; Level::COUNT],
}

impl UpstreamKeys {
    /// Other keys, with the turns that were taken so far.
    pub(super) fn with_keys(&self, by_id: HashMap<KeyId, Arc<KeyState>>) -> Self {
        let mut pools: [KeyPool; Level::COUNT] = Default::default();
        for (pool, old) in pools.iter_mut().zip(&self.pools) {
            pool.pick_state = Arc::clone(&old.pick_state);
        }
        let mut sorted: Vec<_> = by_id.values().map(Arc::clone).collect();
        sorted.sort_by_key(|state| state.key.id);
        for state in sorted {
            if let Some(pool) = pools.get_mut(usize::from(state.key.level.get())) {
                pool.keys.push(state);
            }
        }
        Self { by_id, pools }
    }

    /// The keys of a level.
    pub(super) fn pool(&self, level: Level) -> &KeyPool {
        // A level is below COUNT by construction; the fallback is never used.
        self.pools
            .get(usize::from(level.get()))
            .unwrap_or(&self.pools[0])
    }
}

/// State that survives a change of the keys.
#[derive(Debug, Default)]
pub(crate) struct PickState {
    /// Which key was picked last.
    last: AtomicUsize,
    /// Held while keys are weighed against each other.
    weighing: Mutex<()>,
    /// For calls that wait because keys are at their caps.
    queue: FairQueue,
    /// Latencies to the first byte; kept only where calls are hedged.
    first_byte_latency: Mutex<LatencyHistogram>,
}

/// What a call needs of a level.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PickQuery<'a> {
    pub(crate) query: KeyQuery<'a>,
    pub(crate) now: Millis,
    /// Keys that it has tried already.
    pub(crate) tried: &'a [KeyId],
    /// The one key that can serve it, if it is bound to one.
    pub(crate) only: Option<KeyId>,
    pub(crate) strategy: KeyStrategy,
    /// The conversation whose calls should get the same key, if any.
    pub(crate) conversation: Option<ConversationHash>,
}

/// A permit for one call on a key, released on drop.
#[derive(Debug)]
pub(crate) struct KeyPermit {
    pub(crate) key: Arc<KeyState>,
    /// The queue to wake; `None` if the key has no cap.
    pick_state: Option<Arc<PickState>>,
}

impl KeyPool {
    /// Returns a permit on the next usable key that was not tried. A `patient` caller skips keys that another call is
    /// probing.
    pub(crate) fn pick(&self, ask: &PickQuery<'_>, patient: bool) -> Option<KeyPermit> {
        let usable = |at: usize| {
            self.keys.get(at).is_some_and(|key| {
                key.is_usable(ask)
                    && !key.load.is_full(key.key.config.max_concurrency)
                    && !(patient && key.health.is_probing())
            })
        };
        // A key that has just come back is skipped now and then, unless there is no other, or it is the one of the
        // conversation.
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
            // Another call may have taken its last permit, or be the first after a sleep. Every failure here is another
            // call's success, so this ends.
            let permit = KeyPermit::take(key, &self.pick_state);
            if permit.is_some() && key.health.begin_probe(ask.query.model, ask.now) {
                return permit;
            }
        }
    }

    fn choose(&self, ask: &PickQuery<'_>, usable: &impl Fn(usize) -> bool) -> Option<usize> {
        let keys = self.keys.len();
        if let Some(conversation) = ask.conversation {
            let liking = |at: &usize| {
                let key = self.keys.get(*at).map(|key| key.key.id);
                key.map(|id| affinity::liking(conversation, id))
            };
            return (0..keys).filter(|at| usable(*at)).max_by_key(liking);
        }
        let last = || self.pick_state.last.load(Ordering::Relaxed);
        match ask.strategy {
            KeyStrategy::RoundRobin => self.next_in_turn(usable),
            KeyStrategy::Weighted => self.by_weight(usable),
            KeyStrategy::LeastBusy => {
                let busy = |at: usize| self.keys.get(at).map_or(0, |key| key.load.under_way());
                let at = load_balancing::least_busy(last(), keys, usable, busy)?;
                self.pick_state.last.store(at, Ordering::Relaxed);
                Some(at)
            }
            KeyStrategy::Fastest => {
                let cost = |at: usize| {
                    let key = self.keys.get(at);
                    key.map_or(f64::MAX, |key| key.load.cost(ask.now))
                };
                load_balancing::two_choices(keys, usable, cost, |below| fastrand::usize(..below))
            }
        }
    }

    fn next_in_turn(&self, usable: &impl Fn(usize) -> bool) -> Option<usize> {
        let mut last = self.pick_state.last.load(Ordering::Relaxed);
        loop {
            let next = load_balancing::next(last, self.keys.len(), usable)?;
            // Another call may have been faster. Each turn is given once, so shares stay even. Every failed exchange is
            // another call's success, so this ends.
            match self.pick_state.last.compare_exchange_weak(
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
            .pick_state
            .weighing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let earn = |at: usize| {
            self.keys.get(at).map_or((0, 0), |key| {
                let weight = i64::from(key.key.config.weight);
                (weight, key.load.earn(weight))
            })
        };
        let share = load_balancing::weighted(self.keys.len(), usable, earn)?;
        self.keys.get(share.at)?.load.earn(-share.pays);
        Some(share.at)
    }

    /// After how long a response of this level is slow; `None` while too little is known.
    pub(crate) fn slow_after(&self) -> Option<Duration> {
        self.waits().slow()
    }

    /// A response began after this time.
    pub(crate) fn answered(&self, first_byte: Duration) {
        self.waits().observe(first_byte);
    }

    fn waits(&self) -> MutexGuard<'_, LatencyHistogram> {
        // A panic elsewhere leaves the counts consistent.
        let waits = self.pick_state.first_byte_latency.lock();
        waits.unwrap_or_else(PoisonError::into_inner)
    }

    /// All keys.
    pub(crate) fn keys(&self) -> &[Arc<KeyState>] {
        &self.keys
    }

    /// Whether a fresh key that was not tried began its first call a short while ago.
    pub(crate) fn is_on_trial(&self, ask: &PickQuery<'_>) -> bool {
        self.keys
            .iter()
            .any(|key| key.health.is_on_trial(ask.now) && key.is_usable(ask))
    }

    /// Whether a probe is the only reason that no usable key can be picked.
    pub(crate) fn is_probing(&self, ask: &PickQuery<'_>) -> bool {
        self.usable(ask).any(|key| key.health.is_probing())
    }

    /// Whether a cap is the only reason that no usable key can be picked.
    pub(crate) fn is_full(&self, ask: &PickQuery<'_>) -> bool {
        self.usable(ask)
            .any(|key| key.load.is_full(key.key.config.max_concurrency))
    }

    fn usable(&self, ask: &PickQuery<'_>) -> impl Iterator<Item = &Arc<KeyState>> {
        let usable = |key: &&Arc<KeyState>| key.is_usable(ask);
        self.keys.iter().filter(usable)
    }

    /// Waits up to `patience` until a key at its cap is free; customers take turns. Returns `false` if too many calls
    /// wait already, in all or of this account.
    pub(crate) async fn wait_for_free(
        &self,
        account: &AccountState,
        patience: Duration,
        is_full: impl Fn() -> bool,
    ) -> bool {
        self.pick_state.queue.wait(account, patience, is_full).await
    }
}

impl KeyPermit {
    /// The key is not asked after all: calls that wait for its result need not wait longer.
    pub(crate) fn release_unused(self) {
        drop(self.key.health.probe());
    }

    fn take(key: &Arc<KeyState>, turns: &Arc<PickState>) -> Option<Self> {
        let cap = key.key.config.max_concurrency;
        key.load.enter(cap).then(|| Self {
            key: Arc::clone(key),
            pick_state: cap.map(|_| Arc::clone(turns)),
        })
    }
}

impl Drop for KeyPermit {
    fn drop(&mut self) {
        self.key.load.leave();
        if let Some(turns) = &self.pick_state {
            turns.queue.freed();
        }
    }
}
