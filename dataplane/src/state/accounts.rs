//! All accounts of a snapshot, by id and by the hashes of their client keys. A successor shares all but what an update
//! names, so an edit of one of a hundred thousand costs no more than an edit of one of ten.

use std::sync::Arc;

use proxyxai_contract::{client_key::KeyHash, id::AccountId, snapshot::AccountConfig};

use super::{
    CreditLease, DEPTH_MAX, RateLimitWindows,
    client_keys::{Caller, FurtherKeyState},
    share,
    shared_map::SharedMap,
};

/// An account with its credit, windows and shares.
#[derive(Debug)]
pub(crate) struct AccountState {
    pub(crate) account: Arc<AccountConfig>,
    /// The account below root that it belongs to; itself, if it is that or root.
    pub(crate) customer: AccountId,
    pub(crate) credit: Arc<CreditLease>,
    pub(crate) windows: Arc<RateLimitWindows>,
    pub(crate) keys: Box<[Arc<FurtherKeyState>]>,
    pub(super) path: share::ShareChain,
}

/// Accounts and callers.
#[derive(Debug, Clone, Default)]
pub(super) struct Accounts {
    by_id: SharedMap<AccountId, Arc<AccountState>>,
    by_hash: SharedMap<KeyHash, Caller>,
}

impl Accounts {
    pub(super) fn get(&self, id: AccountId) -> Option<&Arc<AccountState>> {
        self.by_id.get(&id)
    }

    /// The caller whose client key has this hash.
    pub(super) fn caller(&self, hash: KeyHash) -> Option<&Caller> {
        self.by_hash.get(&hash)
    }

    /// All accounts, in no order.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<AccountState>> {
        self.by_id.values()
    }

    /// The account and its ancestors, nearest first.
    pub(super) fn chain<'a>(&'a self, account: &'a AccountConfig) -> Vec<&'a AccountConfig> {
        let mut chain = vec![account];
        let mut parent = account.parent;
        while let Some(state) = parent.and_then(|id| self.get(id)) {
            if chain.len() >= DEPTH_MAX {
                break;
            }
            chain.push(&state.account);
            parent = state.account.parent;
        }
        chain
    }

    /// Whether an account is known just like this, and where in the tree it is.
    pub(super) fn has(&self, account: &AccountConfig) -> bool {
        self.get(account.id).is_some_and(|state| {
            // Below an account that could not be read, its path is short.
            let top = self.get(state.customer).and_then(|top| top.account.parent);
            *state.account == *account && top.is_none_or(|id| self.get(id).is_some())
        })
    }

    /// Removes accounts and stores others, with their client keys. All removals come first: a key may move from one
    /// account to another.
    pub(super) fn replace(&mut self, removed: &[AccountId], changed: &[Arc<AccountState>]) {
        let changed_ids = changed.iter().map(|state| state.account.id);
        for id in removed.iter().copied().chain(changed_ids) {
            let Some(old) = self.by_id.get(&id) else {
                continue;
            };
            for (hash, _) in old.callers() {
                if self
                    .by_hash
                    .get(&hash)
                    .is_some_and(|caller| caller.account.account.id == id)
                {
                    self.by_hash.remove(&hash);
                }
            }
        }
        for id in removed {
            self.by_id.remove(id);
        }
        // A further key never replaces an account's first key.
        for is_first in [false, true] {
            for (hash, caller) in changed.iter().flat_map(AccountState::callers) {
                let taken = || {
                    self.by_hash
                        .get(&hash)
                        .is_some_and(|known| known.key.is_none())
                };
                if caller.key.is_none() == is_first && (is_first || !taken()) {
                    self.by_hash.insert(hash, caller);
                }
            }
        }
        for state in changed {
            self.by_id.insert(state.account.id, Arc::clone(state));
        }
    }

    /// How many leaves of either map another one does not share.
    #[cfg(test)]
    pub(super) fn own_leaves(&self, other: &Self) -> usize {
        self.by_id.own_leaves(&other.by_id) + self.by_hash.own_leaves(&other.by_hash)
    }
}

impl AccountState {
    /// The hashes of its client keys, with the caller that each stands for.
    fn callers(self: &Arc<Self>) -> impl Iterator<Item = (KeyHash, Caller)> + '_ {
        let caller = |key| Caller {
            account: Arc::clone(self),
            key,
        };
        let first = self.account.key_hash.map(|hash| (hash, caller(None)));
        let further = self
            .keys
            .iter()
            .map(move |key| (key.key.key_hash, caller(Some(Arc::clone(key)))));
        further.chain(first)
    }
}
