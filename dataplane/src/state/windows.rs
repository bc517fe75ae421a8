//! The rate limit windows of accounts and further client keys while calls begin and end: each payer's counters behind
//! their own lock, calls that wait for control, and what a call holds until its end. Accounts without limits never get
//! here.

use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use proxyxai_contract::{
    clock::{Millis, Zone},
    lease::PayerId,
    window::{WindowAsk, WindowGrant},
};
use tokio::sync::{Notify, futures::Notified, mpsc};

use crate::decide::limit::{
    self, CountedUnits, EffectiveLimit, RemainingLimits, WindowCounters, WindowDecision,
};

/// Accounts whose asks wait for the link. When it is full, calls check again by themselves.
pub(crate) const ASK_QUEUE_MAX: usize = 4096;

/// The windows of one account or further key.
#[derive(Debug)]
pub(crate) struct RateLimitWindows {
    payer: PayerId,
    /// Begun at the first call that is counted: most accounts have no limits.
    begun: OnceLock<Box<BegunWindows>>,
}

#[derive(Debug)]
struct BegunWindows {
    counters: Mutex<WindowCounters>,
    /// Whether the link was notified and has not collected the asks yet.
    queued: AtomicBool,
    answered: Notify,
}

/// A call's reservation in its windows. Dropped before the call has reached an upstream, it was never counted; after
/// that the request counts, and no tokens unless it is settled.
#[derive(Debug, Default)]
pub(crate) struct WindowReservation {
    /// The windows in which it is counted; empty once it is settled.
    windows: Vec<Arc<RateLimitWindows>>,
    taken: Vec<CountedUnits>,
    left: RemainingLimits,
    reached: AtomicBool,
}

/// Counts a call in all its windows, from its account up.
///
/// # Errors
/// Errors if the call is refused, or has to wait.
pub(crate) fn admit(
    places: &[(&Arc<RateLimitWindows>, &[EffectiveLimit<'_>])],
    tokens: Option<u64>,
    zone: &Zone,
    now: Millis,
    asks: &mpsc::Sender<Arc<RateLimitWindows>>,
) -> Result<WindowReservation, WindowDecision> {
    let (verdict, wanting) = {
        // Locks are always taken upwards, so there is no deadlock.
        let mut locked: Vec<_> = places
            .iter()
            .map(|(windows, _)| windows.counters())
            .collect();
        let limits = places.iter().map(|(_, limits)| *limits);
        let counters = locked.iter_mut().map(|counters| &mut **counters);
        let mut counted: Vec<_> = counters.zip(limits).collect();
        let verdict = limit::admit(&mut counted, tokens, zone, now);
        let wants = locked.iter().map(|counters| counters.wants());
        (
            verdict,
            places
                .iter()
                .zip(wants)
                .filter_map(|((windows, _), wants)| wants.then_some(*windows))
                .collect::<Vec<_>>(),
        )
    };
    for windows in wanting {
        windows.tell(asks);
    }
    match verdict {
        WindowDecision::Admitted { taken, left } => Ok(WindowReservation {
            windows: places
                .iter()
                .map(|(windows, _)| Arc::clone(windows))
                .collect(),
            taken,
            left,
            reached: AtomicBool::new(false),
        }),
        verdict => Err(verdict),
    }
}

impl RateLimitWindows {
    pub(crate) fn new(payer: impl Into<PayerId>) -> Self {
        Self {
            payer: payer.into(),
            begun: OnceLock::new(),
        }
    }

    /// The payer they belong to.
    pub(crate) const fn payer(&self) -> PayerId {
        self.payer
    }

    /// Notifies the link that there is something to ask for.
    fn tell(self: &Arc<Self>, asks: &mpsc::Sender<Arc<Self>>) {
        let queued = &self.begun().queued;
        if !queued.swap(true, Ordering::AcqRel) && asks.try_send(Arc::clone(self)).is_err() {
            queued.store(false, Ordering::Release);
        }
    }

    /// Resolves when control has answered. Create it before checking, so that no reply is missed.
    pub(crate) fn answered(&self) -> Notified<'_> {
        self.begun().answered.notified()
    }

    /// What to ask control for now.
    pub(crate) fn asks(&self) -> Vec<WindowAsk> {
        self.begun().queued.store(false, Ordering::Release);
        self.counters().asks()
    }

    /// Control has answered some asks; `None` if it could not be asked.
    pub(crate) fn hear(&self, grants: Option<&[WindowGrant]>) {
        {
            let mut counters = self.counters();
            match grants {
                Some(grants) => grants.iter().for_each(|grant| counters.granted(grant)),
                None => counters.failed(),
            }
        }
        self.begun().answered.notify_waiters();
    }

    fn counters(&self) -> MutexGuard<'_, WindowCounters> {
        // No code under the lock leaves a count half-changed.
        let counters = self.begun().counters.lock();
        counters.unwrap_or_else(PoisonError::into_inner)
    }

    fn begun(&self) -> &BegunWindows {
        self.begun.get_or_init(|| {
            Box::new(BegunWindows {
                counters: Mutex::new(WindowCounters::new(self.payer)),
                queued: AtomicBool::new(false),
                answered: Notify::const_new(),
            })
        })
    }
}

impl WindowReservation {
    /// What is left, with this call counted. Empty if no limit is in force.
    pub(crate) const fn left(&self) -> RemainingLimits {
        self.left
    }

    /// The call is about to reach an upstream.
    pub(crate) fn reach(&self) {
        self.reached.store(true, Ordering::Relaxed);
    }

    /// The call ended and used this many tokens.
    pub(crate) fn settle(&mut self, tokens: u64) {
        self.end(|counters, taken| counters.settle(taken, tokens));
    }

    /// Ends it in each window.
    fn end(&mut self, act: impl Fn(&mut WindowCounters, Vec<&CountedUnits>)) {
        for (place, windows) in std::mem::take(&mut self.windows).iter().enumerate() {
            let taken = self.taken.iter().filter(|taken| taken.place() == place);
            act(&mut windows.counters(), taken.collect());
        }
    }
}

impl Drop for WindowReservation {
    fn drop(&mut self) {
        if *self.reached.get_mut() {
            self.end(|counters, taken| counters.settle(taken, 0));
        } else {
            self.end(|counters, taken| counters.give_back(taken));
        }
    }
}
