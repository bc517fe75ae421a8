//! Builds the snapshot that follows another. It takes mutable state from the one before, even for a full update, so that
//! a reconnect forgets neither balances nor sleeping keys.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use proxyxai_contract::{
    id::{AccountId, KeyId},
    lease::PayerId,
    snapshot::{AccountConfig, UpstreamKey},
};

use super::{
    CreditLease, DEPTH_MAX, RateLimitWindows,
    accounts::{AccountState, Accounts},
    client_keys,
    credit_lease::LeaseAskSender,
    key::{KeyState, Lasting},
    pool::UpstreamKeys,
    share,
};

/// Accounts after an update.
pub(super) struct NextAccounts {
    pub(super) accounts: Accounts,
    /// The credit leases of accounts and keys that exist no more.
    pub(super) retired: Vec<(PayerId, Arc<CreditLease>)>,
}

/// Accounts and upstream keys that an update names.
pub(super) struct NamedItems<T, K> {
    /// Whether what it does not name does not exist.
    pub(super) full: bool,
    pub(super) changed: Vec<T>,
    pub(super) removed: Vec<K>,
}

impl<T, K> NamedItems<T, K> {
    /// Whether it leaves everything as it is.
    pub(super) const fn is_empty(&self) -> bool {
        !self.full && self.changed.is_empty() && self.removed.is_empty()
    }
}

/// Applies an update to accounts, and touches no account that it does not name.
pub(super) fn accounts(
    before: &Accounts,
    named: NamedItems<Arc<AccountConfig>, AccountId>,
    ask_tx: &LeaseAskSender,
) -> NextAccounts {
    let NamedItems {
        full,
        changed,
        mut removed,
    } = named;
    // Each but once, since all hashes of what was stored before are known, and no others.
    let changed = changed.into_iter().map(|account| (account.id, account));
    let mut changed: BTreeMap<_, _> = changed.collect();
    if full {
        let known = before.all().map(|state| state.account.id);
        removed = known.filter(|id| !changed.contains_key(id)).collect();
        changed.retain(|_, account| !before.has(account));
    }
    for id in &removed {
        changed.remove(id);
    }
    let states = account_states(before, &changed, ask_tx);
    let mut retired = Vec::new();
    for old in removed.iter().filter_map(|id| before.get(*id)) {
        retired.push((old.credit.payer(), Arc::clone(&old.credit)));
        retired.extend(client_keys::leases_beyond(old, &[]));
    }
    for new in &states {
        if let Some(old) = before.get(new.account.id) {
            retired.extend(client_keys::leases_beyond(old, &new.keys));
        }
    }
    let mut accounts = before.clone();
    accounts.replace(&removed, &states);
    NextAccounts { accounts, retired }
}

fn account_states(
    before: &Accounts,
    changed: &BTreeMap<AccountId, Arc<AccountConfig>>,
    ask_tx: &LeaseAskSender,
) -> Vec<Arc<AccountState>> {
    let state = |(account, (customer, path)): (&Arc<AccountConfig>, _)| {
        let id = account.id;
        let known = before.get(id);
        let credit = known.map(|state| Arc::clone(&state.credit));
        let windows = known.map(|state| Arc::clone(&state.windows));
        let keys = known.map_or(&[][..], |state| &state.keys);
        Arc::new(AccountState {
            customer,
            credit: credit.unwrap_or_else(|| Arc::new(CreditLease::new(id, ask_tx.clone()))),
            windows: windows.unwrap_or_else(|| Arc::new(RateLimitWindows::new(id))),
            keys: client_keys::states(id, &account.further_keys, keys, ask_tx),
            path,
            account: Arc::clone(account),
        })
    };
    let paths = paths(before, changed);
    changed.values().zip(paths).map(state).collect()
}

/// The customer of each account, and the shares that its calls take from. An account's parent never changes, so the
/// paths of unchanged accounts stay right.
fn paths(
    before: &Accounts,
    changed: &BTreeMap<AccountId, Arc<AccountConfig>>,
) -> Vec<(AccountId, share::ShareChain)> {
    let own = |account: &Arc<AccountConfig>| {
        let share = before
            .get(account.id)
            .and_then(|state| state.path.first().cloned());
        (account.parent, share.unwrap_or_default())
    };
    let new: HashMap<_, _> = changed
        .iter()
        .map(|(id, account)| (*id, own(account)))
        .collect();
    let above = |id: AccountId| {
        let of_known = || {
            let state = before.get(id)?;
            Some((state.account.parent, state.path.first().cloned()?))
        };
        new.get(&id).cloned().or_else(of_known)
    };
    let path = |account: &Arc<AccountConfig>| {
        let (mut customer, mut shares) = (account.id, Vec::new());
        let mut next = Some(account.id);
        while let Some((id, (Some(parent), share))) = next.and_then(|id| Some((id, above(id)?))) {
            if shares.len() >= DEPTH_MAX {
                break;
            }
            customer = id;
            shares.push(share);
            next = Some(parent);
        }
        (customer, shares.into())
    };
    changed.values().map(path).collect()
}

/// Applies an update to upstream keys.
pub(super) fn upstream_keys(
    before: &UpstreamKeys,
    named: NamedItems<UpstreamKey, KeyId>,
) -> UpstreamKeys {
    let NamedItems {
        full,
        changed,
        removed,
    } = named;
    let mut by_id = if full {
        HashMap::new()
    } else {
        before.by_id.clone()
    };
    for key in changed {
        // A key whose secret or provider changed starts with new health.
        let same = before
            .by_id
            .get(&key.id)
            .filter(|state| state.key.secret == key.secret && state.key.provider == key.provider);
        let health = same.map(|state| Arc::clone(&state.health));
        let load = same.map(|state| Arc::clone(&state.load));
        let offer = same.filter(|state| state.key.config.headers == key.config.headers);
        let offer = offer.map(|state| Arc::clone(&state.offer));
        let lasting = Lasting {
            health: health.unwrap_or_default(),
            load: load.unwrap_or_default(),
            offer: offer.unwrap_or_default(),
        };
        if let Some(state) = KeyState::new(key, lasting) {
            by_id.insert(state.key.id, Arc::new(state));
        }
    }
    for id in removed {
        by_id.remove(&id);
    }
    before.with_keys(by_id)
}
