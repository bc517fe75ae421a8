//! Purses of accounts and further keys that were deleted: their calls under way go on spending what they hold, and the rest of their
//! leases goes back.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use proxyxai_contract::lease::Payer;

use super::purse::{Purse, Wishes};

/// Those that have something on lease, or something to be posted.
#[derive(Debug, Default)]
pub(super) struct Leaving(Mutex<HashMap<Payer, Arc<Purse>>>);

impl Leaving {
    /// Keeps purses, and asks for what is not used of them to go back.
    pub(super) fn add<'a>(&self, purses: impl Iterator<Item = (Payer, &'a Arc<Purse>)>) {
        for (payer, purse) in purses.filter(|(_, purse)| !purse.is_empty()) {
            self.map().insert(payer, Arc::clone(purse));
            purse.recall();
        }
    }

    /// The purse of one that is not known; a new one if need be.
    pub(super) fn purse(&self, payer: Payer, wishes: &Wishes) -> Arc<Purse> {
        let new = || Arc::new(Purse::new(payer, wishes.clone()));
        Arc::clone(self.map().entry(payer).or_insert_with(new))
    }

    pub(super) fn get(&self, payer: Payer) -> Option<Arc<Purse>> {
        self.map().get(&payer).map(Arc::clone)
    }

    /// All of them. Those that have become empty are forgotten.
    pub(super) fn all(&self) -> Vec<Arc<Purse>> {
        let mut map = self.map();
        map.retain(|_, purse| !purse.is_empty());
        map.values().map(Arc::clone).collect()
    }

    fn map(&self) -> MutexGuard<'_, HashMap<Payer, Arc<Purse>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
