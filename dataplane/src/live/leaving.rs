//! Purses of accounts that were deleted: their calls under way go on spending what they hold, and the rest of their
//! leases goes back.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use proxyxai_contract::id::AccountId;

use super::purse::{Purse, Wishes};

/// Those that have something on lease, or something to be posted.
#[derive(Debug, Default)]
pub(super) struct Leaving(Mutex<HashMap<AccountId, Arc<Purse>>>);

impl Leaving {
    /// Keeps purses, and asks for what is not used of them to go back.
    pub(super) fn add<'a>(&self, purses: impl Iterator<Item = (AccountId, &'a Arc<Purse>)>) {
        for (account, purse) in purses.filter(|(_, purse)| !purse.is_empty()) {
            self.map().insert(account, Arc::clone(purse));
            purse.recall();
        }
    }

    /// The purse of an account that is not known; a new one if need be.
    pub(super) fn purse(&self, account: AccountId, wishes: &Wishes) -> Arc<Purse> {
        let new = || Arc::new(Purse::new(account, wishes.clone()));
        Arc::clone(self.map().entry(account).or_insert_with(new))
    }

    pub(super) fn get(&self, account: AccountId) -> Option<Arc<Purse>> {
        self.map().get(&account).map(Arc::clone)
    }

    /// All of them. Those that have become empty are forgotten.
    pub(super) fn all(&self) -> Vec<Arc<Purse>> {
        let mut map = self.map();
        map.retain(|_, purse| !purse.is_empty());
        map.values().map(Arc::clone).collect()
    }

    fn map(&self) -> MutexGuard<'_, HashMap<AccountId, Arc<Purse>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
