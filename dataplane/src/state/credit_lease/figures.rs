//! The state of an account's credit on this data plane, for reports.

use std::sync::atomic::{AtomicI64, Ordering};

use proxyxai_contract::money::Money;

use super::CreditLease;

/// An account's credit on this data plane, for reports.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Figures {
    /// On lease from control.
    pub(crate) leased: Money,
    /// Reserved for in-flight calls.
    pub(crate) held: Money,
    /// Charged and not yet posted by control.
    pub(crate) unposted: Money,
    /// In-flight calls that may cost more than they hold.
    pub(crate) unbounded: u64,
    /// What calls cost beyond what they held, since the start.
    pub(crate) exceeded: Money,
}

/// The state of the credit on lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeaseState {
    /// There is none.
    Absent,
    /// Calls can be paid from it.
    Active,
    /// All of it is held or spent.
    Exhausted,
    /// Unused credit is returned as it becomes free.
    Recalled,
    /// Some was returned, and control has not confirmed it.
    Returning,
}

impl CreditLease {
    /// The current figures.
    pub(crate) fn figures(&self) -> Figures {
        let read = |nanos: &AtomicI64| Money::from_nanos(nanos.load(Ordering::Relaxed));
        Figures {
            leased: self
                .begun_ledger()
                .map(|book| book.amount)
                .unwrap_or_default(),
            held: read(&self.held),
            unposted: read(&self.unposted),
            unbounded: u64::try_from(self.unbounded.load(Ordering::Relaxed)).unwrap_or_default(),
            exceeded: read(&self.exceeded),
        }
    }

    /// The state of the lease.
    pub(crate) fn lease_state(&self) -> LeaseState {
        let Some(book) = self.begun_ledger() else {
            return LeaseState::Absent;
        };
        if book.gave > Money::ZERO {
            LeaseState::Returning
        } else if book.amount <= Money::ZERO {
            LeaseState::Absent
        } else if self.recalled.load(Ordering::Relaxed) {
            LeaseState::Recalled
        } else if self.free.load(Ordering::Relaxed) <= 0 {
            LeaseState::Exhausted
        } else {
            LeaseState::Active
        }
    }
}
