//! What the control plane of this process has posted since it started, for the metrics of the data plane beside it.
//! Clones share the counters.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use crate::money::Money;

/// Two sums that only grow, in dollars of the list.
#[derive(Debug, Clone, Default)]
pub struct EarningCounters(Arc<CounterSums>);

#[derive(Debug, Default)]
struct CounterSums {
    cost: AtomicI64,
    expense: AtomicI64,
}

impl EarningCounters {
    /// Adds what calls cost their accounts, and what they cost the operator.
    pub fn add(&self, cost: Money, expense: Money) {
        self.0.cost.fetch_add(cost.nanos(), Ordering::Relaxed);
        self.0.expense.fetch_add(expense.nanos(), Ordering::Relaxed);
    }

    /// What calls cost their accounts.
    pub fn cost(&self) -> Money {
        Money::from_nanos(self.0.cost.load(Ordering::Relaxed))
    }

    /// What calls cost the operator.
    pub fn expense(&self) -> Money {
        Money::from_nanos(self.0.expense.load(Ordering::Relaxed))
    }
}
