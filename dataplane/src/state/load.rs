//! What a key has to do and how fast it is at it; outlives a change of its settings.

use std::{
    num::NonZeroU32,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU32, Ordering},
    },
    time::Duration,
};

use proxyxai_contract::clock::Millis;

use crate::decide::peak_ewma::PeakEwma;

/// The load of one key.
#[derive(Debug, Default)]
pub(crate) struct Load {
    under_way: AtomicU32,
    /// What it has earned and not yet spent, where keys are weighted.
    credit: AtomicI64,
    /// Locked only where the fastest key is looked for.
    pace: Mutex<PeakEwma>,
}

impl Load {
    /// Calls under way.
    pub(crate) fn under_way(&self) -> u32 {
        self.under_way.load(Ordering::Relaxed)
    }

    /// Whether it may not get another call.
    pub(crate) fn is_full(&self, cap: Option<NonZeroU32>) -> bool {
        cap.is_some_and(|cap| self.under_way() >= cap.get())
    }

    /// Counts one more call, unless it is full.
    pub(super) fn enter(&self, cap: Option<NonZeroU32>) -> bool {
        let Some(cap) = cap else {
            self.under_way.fetch_add(1, Ordering::Relaxed);
            return true;
        };
        let more = |now: u32| (now < cap.get()).then(|| now + 1);
        let entered = self
            .under_way
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        entered.is_ok()
    }

    /// One call less.
    pub(super) fn leave(&self) {
        self.under_way.fetch_sub(1, Ordering::Relaxed);
    }

    /// Adds to its credit and tells what it is then.
    pub(super) fn earn(&self, amount: i64) -> i64 {
        self.credit.fetch_add(amount, Ordering::Relaxed) + amount
    }

    /// The first byte of an answer came after this long.
    pub(crate) fn answered(&self, first_byte: Duration, now: Millis) {
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        *pace = pace.observe(first_byte, now);
    }

    /// What one more call would cost, for comparing keys.
    pub(super) fn cost(&self, now: Millis) -> f64 {
        let pace = *self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        pace.cost(self.under_way(), now)
    }
}
