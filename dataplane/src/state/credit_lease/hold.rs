//! Credit that is reserved for one call out of a lease.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
};

use proxyxai_contract::money::Money;

use super::CreditLease;

/// Credit reserved for one call. It is free again if it is dropped without being settled.
pub(crate) struct CreditHold {
    credit_lease: Arc<CreditLease>,
    amount: Money,
    unbounded: bool,
}

impl CreditHold {
    pub(super) fn new(credit_lease: &Arc<CreditLease>, amount: Money) -> Self {
        Self {
            credit_lease: Arc::clone(credit_lease),
            amount,
            unbounded: false,
        }
    }

    /// Settles the hold with the actual cost, which may be more than was held.
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

    /// The reserved amount.
    pub(crate) const fn amount(&self) -> Money {
        self.amount
    }

    /// The call may cost more than it holds, by an unknown amount.
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
