//! The windows of one account while calls come and go: its counters behind a lock of its own, calls
//! that wait for control, and what a call holds until its end. Accounts without limits never get here.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use proxyxai_contract::{
    clock::{Millis, Zone},
    id::AccountId,
    window::{WindowAsk, WindowGrant},
};
use tokio::sync::{Notify, futures::Notified, mpsc};

use crate::decide::limit::{Counters, Left, Limit, Taken, Verdict};

/// Accounts that wait for the link to ask control. When it is full, calls look again by themselves.
pub(crate) const ASK_QUEUE_MAX: usize = 4096;

/// What an account has left.
#[derive(Debug)]
pub(crate) struct Windows {
    account: AccountId,
    counters: Mutex<Counters>,
    /// Whether the link has been told and has not looked yet.
    queued: AtomicBool,
    answered: Notify,
}

/// A call's share of its windows. Dropped before the call has reached an upstream, it was never
/// counted; after that the request counts, and no tokens unless it is settled.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    windows: Option<Arc<Windows>>,
    taken: Vec<Taken>,
    left: Left,
    reached: AtomicBool,
}

impl Windows {
    pub(crate) const fn new(account: AccountId) -> Self {
        Self {
            account,
            counters: Mutex::new(Counters::new(account)),
            queued: AtomicBool::new(false),
            answered: Notify::const_new(),
        }
    }

    /// Whose they are.
    pub(crate) const fn account(&self) -> AccountId {
        self.account
    }

    /// Counts a call, or tells why not.
    ///
    /// # Errors
    /// When it is refused, or has to wait.
    pub(crate) fn admit(
        self: &Arc<Self>,
        limits: &[Limit<'_>],
        tokens: Option<u64>,
        zone: &Zone,
        now: Millis,
        asks: &mpsc::Sender<Arc<Self>>,
    ) -> Result<Counted, Verdict> {
        let (verdict, wants) = {
            let mut counters = self.counters();
            let verdict = counters.admit(limits, tokens, zone, now);
            (verdict, counters.wants())
        };
        if wants {
            self.tell(asks);
        }
        match verdict {
            Verdict::Admitted { taken, left } => Ok(Counted {
                windows: Some(Arc::clone(self)),
                taken,
                left,
                reached: AtomicBool::new(false),
            }),
            verdict => Err(verdict),
        }
    }

    /// Lets the link know that there is something to ask for.
    fn tell(self: &Arc<Self>, asks: &mpsc::Sender<Arc<Self>>) {
        if !self.queued.swap(true, Ordering::AcqRel) && asks.try_send(Arc::clone(self)).is_err() {
            self.queued.store(false, Ordering::Release);
        }
    }

    /// Ends when control has answered. To be had before looking, so that no answer is missed.
    pub(crate) fn answered(&self) -> Notified<'_> {
        self.answered.notified()
    }

    /// What control is to be asked for now.
    pub(crate) fn asks(&self) -> Vec<WindowAsk> {
        self.queued.store(false, Ordering::Release);
        self.counters().asks()
    }

    /// Control has answered some asks; none means that it could not be asked.
    pub(crate) fn hear(&self, grants: Option<&[WindowGrant]>) {
        {
            let mut counters = self.counters();
            match grants {
                Some(grants) => grants.iter().for_each(|grant| counters.granted(grant)),
                None => counters.failed(),
            }
        }
        self.answered.notify_waiters();
    }

    fn counters(&self) -> MutexGuard<'_, Counters> {
        // No code that runs under the lock leaves a count half-changed.
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counted {
    /// What is left, with this call counted. Nothing when no limit is in force.
    pub(crate) const fn left(&self) -> Left {
        self.left
    }

    /// The call is about to reach an upstream.
    pub(crate) fn reach(&self) {
        self.reached.store(true, Ordering::Relaxed);
    }

    /// The call ended after so many tokens.
    pub(crate) fn settle(&mut self, tokens: u64) {
        if let Some(windows) = self.windows.take() {
            windows.counters().settle(&self.taken, tokens);
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Some(windows) = self.windows.take() else {
            return;
        };
        if *self.reached.get_mut() {
            windows.counters().settle(&self.taken, 0);
        } else {
            windows.counters().give_back(&self.taken);
        }
    }
}
