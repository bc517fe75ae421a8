//! An account's money as a data plane sees it: what control last posted, less what this data plane
//! has spent since. Atomics, because every call of the account passes here.

use std::sync::atomic::{AtomicI64, Ordering};

use proxyxai_contract::{money::Money, snapshot::Standing};

/// Balance, month's use, and charges that control has not posted yet, in nano-dollars.
#[derive(Debug, Default)]
pub(crate) struct Purse {
    balance: AtomicI64,
    month_used: AtomicI64,
    unposted: AtomicI64,
}

impl Purse {
    /// Takes over posted figures.
    pub(crate) fn post(&self, standing: &Standing) {
        self.balance
            .store(standing.balance.nanos(), Ordering::Relaxed);
        self.month_used
            .store(standing.month_used.nanos(), Ordering::Relaxed);
    }

    /// A call has been charged here and not yet at control.
    pub(crate) fn charge(&self, cost: Money) {
        self.unposted.fetch_add(cost.nanos(), Ordering::Relaxed);
    }

    /// Control has posted charges of this data plane.
    pub(crate) fn acknowledge(&self, cost: Money) {
        self.unposted.fetch_sub(cost.nanos(), Ordering::Relaxed);
    }

    /// What is left to spend.
    pub(crate) fn balance(&self) -> Money {
        Money::from_nanos(self.balance.load(Ordering::Relaxed)).saturating_sub(self.unposted())
    }

    /// What this month has cost so far.
    pub(crate) fn month_used(&self) -> Money {
        Money::from_nanos(self.month_used.load(Ordering::Relaxed)).saturating_add(self.unposted())
    }

    fn unposted(&self) -> Money {
        Money::from_nanos(self.unposted.load(Ordering::Relaxed))
    }
}
