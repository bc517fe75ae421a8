//! The configuration in use: one immutable snapshot at a time, and the mutable state (health, credit leases, turns)
//! that outlives it. A call takes the snapshot once and keeps it to its end.

mod client_keys;
mod credit_lease;
pub(crate) mod credit_wait;
mod fair_queue;
mod health;
mod key;
mod listed_models;
mod load;
mod objects;
mod pool;
mod probation;
mod retired_leases;
mod served;
mod share;
pub(crate) mod windows;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwapOption;
use proxyxai_contract::{
    client_key::KeyHash,
    clock::{Clock, Millis},
    id::{AccountId, KeyId, Level, Revision},
    lease::{PayerId, PostedBalance},
    money::Money,
    price::{FastHashState, PriceTable},
    snapshot::{AccountConfig, KeyHealthReport, ProxySettings, SnapshotUpdate, UpstreamKey},
    usage::UsageRecord,
};
use tokio::sync::mpsc;

pub(crate) use client_keys::{Caller, FurtherKeyState, charge};
pub(crate) use credit_lease::{CreditHold, CreditLease, Figures, LeaseState};
pub(crate) use credit_wait::{ControlContact, CreditError};
pub(crate) use health::{KeyDowntime, KeyFailure, KeyQuery};
use key::Lasting;
pub(crate) use key::{DialectNeed, KeyState};
pub(crate) use objects::{ControlQuery, ObjectIndex, ObjectListQuery};
pub(crate) use pool::{KeyPermit, KeyPool, PickQuery};
use retired_leases::RetiredLeases;
pub(crate) use windows::{ASK_QUEUE_MAX, RateLimitWindows, WindowReservation};

/// Credit leases that may wait to ask control at once; others ask again a little later.
const LEASE_ASKS_MAX: usize = 4096;
/// Depth to which ancestors are followed; a deeper tree is a loop in the data.
const DEPTH_MAX: usize = 64;

/// An account with its credit, windows and shares.
#[derive(Debug)]
pub(crate) struct AccountState {
    pub(crate) account: AccountConfig,
    /// The account below root that it belongs to; itself, if it is that or root.
    pub(crate) customer: AccountId,
    pub(crate) credit: Arc<CreditLease>,
    pub(crate) windows: Arc<RateLimitWindows>,
    pub(crate) keys: Vec<Arc<FurtherKeyState>>,
    path: share::ShareChain,
}

/// One state of the configuration.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) revision: Revision,
    /// When it came into use.
    pub(crate) since: Millis,
    pub(crate) settings: ProxySettings,
    pub(crate) prices: Arc<PriceTable>,
    accounts: HashMap<AccountId, Arc<AccountState>, FastHashState>,
    by_hash: HashMap<KeyHash, Caller, FastHashState>,
    keys: HashMap<KeyId, Arc<KeyState>>,
    pools: [KeyPool; Level::COUNT],
}

impl Snapshot {
    /// The account and its ancestors, nearest first.
    pub(crate) fn chain<'a>(&'a self, account: &'a AccountConfig) -> Vec<&'a AccountConfig> {
        let mut chain = vec![account];
        let mut parent = account.parent;
        while let Some(state) = parent.and_then(|id| self.accounts.get(&id)) {
            if chain.len() >= DEPTH_MAX {
                break;
            }
            chain.push(&state.account);
            parent = state.account.parent;
        }
        chain
    }

    /// The keys of a level.
    pub(crate) fn pool(&self, level: Level) -> &KeyPool {
        // A level is below COUNT by construction; the fallback is never used.
        self.pools
            .get(usize::from(level.get()))
            .unwrap_or(&self.pools[0])
    }

    /// The credit leases of all accounts, in no order.
    pub(crate) fn credit_leases(&self) -> impl Iterator<Item = &Arc<CreditLease>> {
        self.accounts.values().map(|state| &state.credit)
    }

    /// Returns a key, if it is usable at all.
    pub(crate) fn key(&self, id: KeyId) -> Option<&Arc<KeyState>> {
        self.keys.get(&id)
    }

    /// Returns an account, if it exists.
    pub(crate) fn account(&self, id: AccountId) -> Option<&Arc<AccountState>> {
        self.accounts.get(&id)
    }

    /// All keys, in no order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Arc<KeyState>> {
        self.keys.values()
    }
}

/// The current snapshot.
#[derive(Debug)]
pub(crate) struct RuntimeState {
    current: ArcSwapOption<Snapshot>,
    clock: Clock,
    ask_tx: mpsc::Sender<Arc<CreditLease>>,
    reach: ControlContact,
    /// Charged before this start and not posted; the first snapshot's credit leases begin with it.
    owed: Mutex<HashMap<PayerId, Money>>,
    leaving: RetiredLeases,
    objects: ObjectIndex,
}

impl RuntimeState {
    /// Starts with nothing but the charges from before this start that are not posted. Credit leases that want more
    /// credit arrive at the receiver.
    pub(crate) fn new(
        clock: Clock,
        backlog: &[UsageRecord],
        objects: ObjectIndex,
    ) -> (Self, mpsc::Receiver<Arc<CreditLease>>) {
        let (ask_tx, lease_asks) = mpsc::channel(LEASE_ASKS_MAX);
        let mut owed: HashMap<PayerId, Money> = HashMap::new();
        for record in backlog {
            let payers = [Some(record.account.into()), record.key_payer()];
            for payer in payers.into_iter().flatten() {
                let total = owed.entry(payer).or_default();
                *total = total.saturating_add(record.charge());
            }
        }
        let state = Self {
            current: ArcSwapOption::const_empty(),
            clock,
            ask_tx,
            reach: ControlContact::new(),
            owed: Mutex::new(owed),
            leaving: RetiredLeases::default(),
            objects,
        };
        (state, lease_asks)
    }

    /// The source of time.
    pub(crate) const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Index of the owners of providers' objects.
    pub(crate) const fn objects(&self) -> &ObjectIndex {
        &self.objects
    }

    /// When control last replied.
    pub(crate) const fn reach(&self) -> &ControlContact {
        &self.reach
    }

    /// The snapshot in use; `None` before the first update.
    pub(crate) fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.current.load_full()
    }

    /// Applies an update as a whole: the next call sees all of it. Returns the revision in use.
    pub(crate) fn apply(&self, update: SnapshotUpdate) -> Option<Revision> {
        let before = self.snapshot();
        let SnapshotUpdate {
            revision,
            full,
            accounts,
            removed_accounts,
            keys,
            removed_keys,
            settings,
            prices,
            standings,
            healths,
            leases,
            recalls,
        } = update;
        let base = before.as_deref().filter(|_| !full);
        // Without a first full state there is nothing to apply changes to.
        let settings = settings.or_else(|| before.as_ref().map(|old| old.settings.clone()))?;
        let changed = full
            || base.is_none_or(|old| old.revision != revision)
            || !(accounts.is_empty()
                && removed_accounts.is_empty()
                && keys.is_empty()
                && removed_keys.is_empty());
        if changed {
            let woken = before
                .as_ref()
                .is_some_and(|old| settings.reload_count > old.settings.reload_count);
            let mut build = Build::from(base, before.as_deref(), &self.ask_tx);
            build.accounts(accounts, &removed_accounts);
            build.keys(keys, &removed_keys);
            let prices = prices
                .map(Arc::new)
                .or_else(|| Some(Arc::clone(&before.as_ref()?.prices)))
                .unwrap_or_default();
            let snapshot = build.finish(revision, self.clock.now(), settings, prices);
            self.keep_purses(before.as_deref(), &snapshot);
            if woken {
                snapshot.keys().for_each(|key| key.health.wake());
            }
            self.current.store(Some(Arc::new(snapshot)));
        }
        self.apply_standings(&standings);
        self.apply_healths(healths);
        for lease in &leases {
            // An unknown account was deleted while this data plane was away.
            let credit_lease = self.credit_lease(lease.payer);
            let credit_lease = credit_lease
                .unwrap_or_else(|| self.leaving.credit_lease(lease.payer, &self.ask_tx));
            credit_lease.leased(lease);
        }
        for credit_lease in recalls
            .into_iter()
            .filter_map(|payer| self.credit_lease(payer))
        {
            credit_lease.recall();
        }
        Some(revision)
    }

    /// Runs before any call can see the snapshot's credit leases, because part of what is on lease was spent already.
    /// Leases of deleted accounts are kept until they are returned.
    fn keep_purses(&self, before: Option<&Snapshot>, snapshot: &Snapshot) {
        for (payer, cost) in self.take_owed() {
            match snapshot.credit_lease(payer) {
                Some(credit_lease) => credit_lease.charge(cost),
                None => self.leaving.credit_lease(payer, &self.ask_tx).charge(cost),
            }
        }
        let accounts = before.into_iter().flat_map(|before| &before.accounts);
        let accounts = accounts.filter(|(id, _)| !snapshot.accounts.contains_key(id));
        let accounts = accounts.map(|(id, state)| (PayerId::from(*id), &state.credit));
        let keys = before.into_iter().flat_map(Snapshot::key_purses);
        let keys = keys.filter(|(payer, _)| snapshot.credit_lease(*payer).is_none());
        self.leaving.add(accounts.chain(keys));
    }

    fn take_owed(&self) -> HashMap<PayerId, Money> {
        let mut owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut owed)
    }

    /// Applies posted balances.
    pub(crate) fn apply_standings(&self, standings: &[PostedBalance]) {
        let Some(snapshot) = self.snapshot() else {
            return;
        };
        for standing in standings {
            if let Some(state) = snapshot.accounts.get(&standing.account) {
                state.credit.post(standing);
            }
        }
    }

    /// The credit lease of an account or a further key, if it exists, or was deleted and still has credit on lease.
    pub(crate) fn credit_lease(&self, payer: impl Into<PayerId>) -> Option<Arc<CreditLease>> {
        let (payer, snapshot) = (payer.into(), self.snapshot()?);
        let known = snapshot.credit_lease(payer).map(Arc::clone);
        known.or_else(|| self.leaving.get(payer))
    }

    /// The credit leases of all accounts and further keys, and of deleted ones that still have credit on lease.
    pub(crate) fn credit_leases(&self) -> Vec<Arc<CreditLease>> {
        let snapshot = self.snapshot();
        let accounts = snapshot
            .iter()
            .flat_map(|snapshot| snapshot.credit_leases());
        let keys = snapshot.iter().flat_map(|snapshot| snapshot.key_purses());
        let known = accounts
            .chain(keys.map(|(_, credit_lease)| credit_lease))
            .cloned();
        known.chain(self.leaving.all()).collect()
    }

    fn apply_healths(&self, healths: Vec<KeyHealthReport>) {
        let Some(snapshot) = self.snapshot() else {
            return;
        };
        let now = self.clock.now();
        for health in healths {
            if let Some(key) = snapshot.keys.get(&health.key) {
                key.health.apply_report(health, now);
            }
        }
    }
}

/// Builds a snapshot. It takes mutable state from the snapshot before, even for a full update, so that a reconnect
/// forgets neither balances nor sleeping keys.
struct Build<'a> {
    accounts: HashMap<AccountId, Arc<AccountState>, FastHashState>,
    keys: HashMap<KeyId, Arc<KeyState>>,
    before: Option<&'a Snapshot>,
    ask_tx: &'a mpsc::Sender<Arc<CreditLease>>,
}

impl<'a> Build<'a> {
    fn from(
        base: Option<&Snapshot>,
        before: Option<&'a Snapshot>,
        ask_tx: &'a mpsc::Sender<Arc<CreditLease>>,
    ) -> Self {
        Self {
            accounts: base.map(|old| old.accounts.clone()).unwrap_or_default(),
            keys: base.map(|old| old.keys.clone()).unwrap_or_default(),
            before,
            ask_tx,
        }
    }

    fn accounts(&mut self, changed: Vec<AccountConfig>, removed: &[AccountId]) {
        let paths = self.paths(&changed);
        for (account, (customer, path)) in changed.into_iter().zip(paths) {
            let known = self.before.and_then(|old| old.accounts.get(&account.id));
            let credit_lease = known.map_or_else(
                || Arc::new(CreditLease::new(account.id, self.ask_tx.clone())),
                |state| Arc::clone(&state.credit),
            );
            let windows = known.map_or_else(
                || Arc::new(RateLimitWindows::new(account.id)),
                |state| Arc::clone(&state.windows),
            );
            let id = account.id;
            let before = known.map_or(&[][..], |state| &state.keys);
            let keys = client_keys::states(id, &account.further_keys, before, self.ask_tx);
            let state = AccountState {
                account,
                customer,
                credit: credit_lease,
                windows,
                keys,
                path,
            };
            self.accounts.insert(id, Arc::new(state));
        }
        for id in removed {
            self.accounts.remove(id);
        }
    }

    /// The customer of each account, and the shares that its calls take from. An account's parent never changes, so the
    /// paths of unchanged accounts stay right.
    fn paths(&self, changed: &[AccountConfig]) -> Vec<(AccountId, share::ShareChain)> {
        let known = |id: AccountId| {
            let before = || self.before.and_then(|old| old.accounts.get(&id));
            self.accounts.get(&id).or_else(before)
        };
        let own = |account: &AccountConfig| {
            let share = known(account.id).and_then(|state| state.path.first().cloned());
            (account.parent, share.unwrap_or_default())
        };
        let new: HashMap<_, _> = changed
            .iter()
            .map(|account| (account.id, own(account)))
            .collect();
        let above = |id: AccountId| {
            let of_known = || {
                let state = known(id)?;
                Some((state.account.parent, state.path.first().cloned()?))
            };
            new.get(&id).cloned().or_else(of_known)
        };
        let path = |account: &AccountConfig| {
            let (mut customer, mut shares) = (account.id, Vec::new());
            let mut next = Some(account.id);
            while let Some((id, (Some(parent), share))) = next.and_then(|id| Some((id, above(id)?)))
            {
                if shares.len() >= DEPTH_MAX {
                    break;
                }
                customer = id;
                shares.push(share);
                next = Some(parent);
            }
            (customer, shares.into())
        };
        changed.iter().map(path).collect()
    }

    fn keys(&mut self, changed: Vec<UpstreamKey>, removed: &[KeyId]) {
        for key in changed {
            let known = self.before.and_then(|old| old.keys.get(&key.id));
            // A key whose secret or provider changed starts with new health.
            let same = known.filter(|state| {
                state.key.secret == key.secret && state.key.provider == key.provider
            });
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
                self.keys.insert(state.key.id, Arc::new(state));
            }
        }
        for id in removed {
            self.keys.remove(id);
        }
    }

    fn finish(
        self,
        revision: Revision,
        since: Millis,
        settings: ProxySettings,
        prices: Arc<PriceTable>,
    ) -> Snapshot {
        let by_hash = client_keys::by_hash(self.accounts.values());
        let mut pools: [KeyPool; Level::COUNT] = Default::default();
        if let Some(before) = self.before {
            for (pool, old) in pools.iter_mut().zip(&before.pools) {
                pool.pick_state = Arc::clone(&old.pick_state);
            }
        }
        let mut sorted: Vec<_> = self.keys.values().map(Arc::clone).collect();
        sorted.sort_by_key(|state| state.key.id);
        for state in sorted {
            if let Some(pool) = pools.get_mut(usize::from(state.key.level.get())) {
                pool.keys.push(state);
            }
        }
        Snapshot {
            revision,
            since,
            settings,
            prices,
            accounts: self.accounts,
            by_hash,
            keys: self.keys,
            pools,
        }
    }
}

#[cfg(test)]
mod tests;
