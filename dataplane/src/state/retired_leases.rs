//! Credit leases of deleted accounts and further keys: their in-flight calls continue to spend what they hold, and the
//! rest of the leases is returned.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use proxyxai_contract::lease::PayerId;

use super::credit_lease::{CreditLease, LeaseAskSender};

/// Those with something on lease or to be posted.
#[derive(Debug, Default)]
pub(super) struct RetiredLeases(Mutex<HashMap<PayerId, Arc<CreditLease>>>);

impl RetiredLeases {
    /// Keeps credit leases, and recalls their unused credit.
    pub(super) fn add(&self, credit_leases: Vec<(PayerId, Arc<CreditLease>)>) {
        for (payer, credit_lease) in credit_leases {
            if !credit_lease.is_empty() {
                self.map().insert(payer, Arc::clone(&credit_lease));
                credit_lease.recall();
            }
        }
    }

    /// The credit lease of a deleted payer; created if it is missing.
    pub(super) fn credit_lease(&self, payer: PayerId, ask_tx: &LeaseAskSender) -> Arc<CreditLease> {
        let new = || Arc::new(CreditLease::new(payer, ask_tx.clone()));
        Arc::clone(self.map().entry(payer).or_insert_with(new))
    }

    pub(super) fn get(&self, payer: PayerId) -> Option<Arc<CreditLease>> {
        self.map().get(&payer).map(Arc::clone)
    }

    /// All of them; empty ones are dropped.
    pub(super) fn all(&self) -> Vec<Arc<CreditLease>> {
        let mut map = self.map();
        map.retain(|_, credit_lease| !credit_lease.is_empty());
        map.values().map(Arc::clone).collect()
    }

    fn map(&self) -> MutexGuard<'_, HashMap<PayerId, Arc<CreditLease>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
