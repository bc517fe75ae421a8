//! A key's load: its in-flight calls and its latency. It survives a change of the key's settings.

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
    /// What it has earned and not spent, where keys are weighted.
    credit: AtomicI64,
    /// Locked only where the fastest key is selected.
    pace: Mutex<PeakEwma>,
}

impl Load {
    /// Number of in-flight calls.
    pub(crate) fn under_way(&self) -> u32 {
        self.under_way.load(Ordering::Relaxed)
    }

    /// Whether it is at its cap.
    pub(crate) fn is_full(&self, cap: Option<NonZeroU32>) -> bool {
        cap.is_some_and(|cap| self.under_way() >= cap.get())
    }

    /// Counts one more call, unless it is at its cap.
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

    /// Counts one call less.
    pub(super) fn leave(&self) {
        self.under_way.fetch_sub(1, Ordering::Relaxed);
    }

    /// Adds to its credit and returns the result.
    pub(super) fn earn(&self, amount: i64) -> i64 {
        self.credit.fetch_add(amount, Ordering::Relaxed) + amount
    }

    /// The first byte of a response arrived after this time.
    pub(crate) fn answered(&self, first_byte: Duration, now: Millis) {
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        *pace = pace.observe(first_byte, now);
    }

    /// The cost of one more call, to compare keys.
    pub(super) fn cost(&self, now: Millis) -> f64 {
        let pace = *self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        pace.cost(self.under_way(), now)
    }
}
