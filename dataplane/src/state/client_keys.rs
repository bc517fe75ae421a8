//! Further client keys of accounts, with their own credit and windows, and the caller that a presented key belongs to.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use proxyxai_contract::{
    clock::Millis,
    id::{AccountId, ClientKeyId},
    lease::PayerId,
    money::Money,
    snapshot::{AccountConfig, FurtherKey},
};

use super::{AccountState, CreditLease, RateLimitWindows, Snapshot, credit_lease::LeaseAskSender};
use crate::decide::admit::{CallerScope, KeyRefusal, Refusal};

/// A further client key with its credit and windows.
#[derive(Debug)]
pub(crate) struct FurtherKeyState {
    pub(crate) key: FurtherKey,
    pub(crate) credit: Arc<CreditLease>,
    pub(crate) windows: Arc<RateLimitWindows>,
}

/// The caller that presents a key.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) account: Arc<AccountState>,
    /// `None` for the account's first key.
    pub(crate) key: Option<Arc<FurtherKeyState>>,
}

impl Caller {
    /// Checks that the key is in force.
    ///
    /// # Errors
    /// Errors if it is switched off or has expired.
    pub(super) fn in_force(&self, now: impl FnOnce() -> Millis) -> Result<(), Refusal> {
        let Some(FurtherKeyState { key, .. }) = self.key.as_deref() else {
            return Ok(());
        };
        let expired = key.is_expired(now());
        if key.enabled && !expired {
            return Ok(());
        }
        Err(Refusal::Key(KeyRefusal::NotInForce {
            key: key.name.clone(),
            expired,
        }))
    }

    /// The account with its ancestors, and its key.
    pub(crate) fn scope<'a>(&'a self, chain: &'a [&'a AccountConfig]) -> CallerScope<'a> {
        CallerScope {
            chain,
            key: self.key.as_deref().map(|state| &state.key),
        }
    }
}

impl Snapshot {
    /// Returns the caller that a client key belongs to. Only further keys ask for the time.
    ///
    /// # Errors
    /// Errors if the key is unknown or not in force.
    pub(crate) fn authenticate(
        &self,
        presented: &str,
        now: impl FnOnce() -> Millis,
    ) -> Result<&Caller, Refusal> {
        let caller = self.accounts.caller(self.settings.hasher.hash(presented));
        let caller = caller.ok_or(Refusal::Unauthenticated)?;
        caller.in_force(now).map(|()| caller)
    }

    /// Returns a further client key, if it still exists.
    pub(crate) fn further_key(
        &self,
        account: AccountId,
        id: ClientKeyId,
    ) -> Option<&Arc<FurtherKeyState>> {
        let keys = &self.accounts.get(account)?.keys;
        keys.iter().find(|state| state.key.id == id)
    }

    /// The credit leases of all further client keys, with their payers.
    pub(super) fn key_leases(&self) -> impl Iterator<Item = (PayerId, &Arc<CreditLease>)> {
        let keys = self.accounts.all().flat_map(|state| &state.keys);
        keys.map(|key| (key.credit.payer(), &key.credit))
    }

    /// The credit lease of a payer.
    pub(super) fn credit_lease(&self, payer: PayerId) -> Option<&Arc<CreditLease>> {
        match payer.client_key {
            None => self.accounts.get(payer.account).map(|it| &it.credit),
            Some(key) => self.further_key(payer.account, key).map(|it| &it.credit),
        }
    }
}

/// Charges a cost for which nothing was reserved to the key and its account.
pub(crate) fn charge(account: &AccountState, key: Option<&FurtherKeyState>, cost: Money) {
    account.credit.charge(cost);
    if let Some(key) = key {
        key.credit.charge(cost);
    }
}

/// The states of an account's further keys. Those that existed before keep their credit and windows.
pub(super) fn states(
    account: AccountId,
    keys: &[FurtherKey],
    before: &[Arc<FurtherKeyState>],
    ask_tx: &LeaseAskSender,
) -> Box<[Arc<FurtherKeyState>]> {
    let before: HashMap<ClientKeyId, _> = before.iter().map(|one| (one.key.id, one)).collect();
    let state = |key: &FurtherKey| {
        let payer = PayerId {
            account,
            client_key: Some(key.id),
        };
        let known = before.get(&key.id);
        if let Some(known) = known.filter(|known| known.key.credit_limit != key.credit_limit) {
            // The credit on lease belonged to the former limit.
            known.credit.recall();
        }
        let credit_lease = known.map(|state| Arc::clone(&state.credit));
        let windows = known.map(|state| Arc::clone(&state.windows));
        Arc::new(FurtherKeyState {
            key: key.clone(),
            credit: credit_lease
                .unwrap_or_else(|| Arc::new(CreditLease::new(payer, ask_tx.clone()))),
            windows: windows.unwrap_or_else(|| Arc::new(RateLimitWindows::new(payer))),
        })
    };
    keys.iter().map(state).collect()
}

/// The credit leases of an account's further keys that are not among these any more.
pub(super) fn leases_beyond(
    old: &AccountState,
    keys: &[Arc<FurtherKeyState>],
) -> Vec<(PayerId, Arc<CreditLease>)> {
    let left: HashSet<_> = keys.iter().map(|state| state.key.id).collect();
    let gone = old
        .keys
        .iter()
        .filter(|state| !left.contains(&state.key.id));
    gone.map(|state| (state.credit.payer(), Arc::clone(&state.credit)))
        .collect()
}
