//! The configuration in use: one immutable snapshot at a time, and the mutable state (health, credit leases, turns)
//! that outlives it. A call takes the snapshot once and keeps it to its end.

mod accounts;
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
mod shared_map;
mod successor;
pub(crate) mod windows;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwapOption;
use proxyxai_contract::{
    clock::{Clock, Millis},
    id::{AccountId, KeyId, Level, Revision},
    lease::{LeasedCredit, PayerId, PostedBalance},
    money::Money,
    price::PriceTable,
    snapshot::{AccountConfig, KeyHealthReport, ProxySettings, SnapshotUpdate, UpstreamKey},
    usage::UsageRecord,
};
use tokio::sync::mpsc;

pub(crate) use accounts::AccountState;
use accounts::Accounts;
pub(crate) use client_keys::{Caller, FurtherKeyState, charge};
pub(crate) use credit_lease::{CreditHold, CreditLease, Figures, LeaseState};
pub(crate) use credit_wait::{ControlContact, CreditError};
pub(crate) use health::{KeyDowntime, KeyFailure, KeyQuery};
pub(crate) use key::{DialectNeed, KeyState};
pub(crate) use objects::{ControlQuery, ObjectIndex, ObjectListQuery};
use pool::UpstreamKeys;
pub(crate) use pool::{KeyPermit, KeyPool, PickQuery};
use retired_leases::RetiredLeases;
use successor::{NamedItems, NextAccounts};
pub(crate) use windows::{ASK_QUEUE_MAX, RateLimitWindows, WindowReservation};

/// Credit leases that may wait to ask control at once; others ask again a little later.
const LEASE_ASKS_MAX: usize = 4096;
/// Depth to which ancestors are followed; a deeper tree is a loop in the data.
const DEPTH_MAX: usize = 64;

/// One state of the configuration.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) revision: Revision,
    /// When it came into use.
    pub(crate) since: Millis,
    pub(crate) settings: Arc<ProxySettings>,
    pub(crate) prices: Arc<PriceTable>,
    accounts: Accounts,
    keys: Arc<UpstreamKeys>,
}

impl Snapshot {
    /// The account and its ancestors, nearest first.
    pub(crate) fn chain<'a>(&'a self, account: &'a AccountConfig) -> Vec<&'a AccountConfig> {
        self.accounts.chain(account)
    }

    /// The keys of a level.
    pub(crate) fn pool(&self, level: Level) -> &KeyPool {
        self.keys.pool(level)
    }

    /// The credit leases of all accounts, in no order.
    pub(crate) fn credit_leases(&self) -> impl Iterator<Item = &Arc<CreditLease>> {
        self.accounts.all().map(|state| &state.credit)
    }

    /// Returns a key, if it is usable at all.
    pub(crate) fn key(&self, id: KeyId) -> Option<&Arc<KeyState>> {
        self.keys.by_id.get(&id)
    }

    /// Returns an account, if it exists.
    pub(crate) fn account(&self, id: AccountId) -> Option<&Arc<AccountState>> {
        self.accounts.get(id)
    }

    /// All keys, in no order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Arc<KeyState>> {
        self.keys.by_id.values()
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

    /// Lets accounts of an update that are known just so share what is known of them, so that a full one takes no more
    /// memory than there are changes in it.
    pub(crate) fn share_known(&self, update: &mut SnapshotUpdate) {
        let Some(snapshot) = self.snapshot() else {
            return;
        };
        for account in &mut update.accounts {
            let known = snapshot.account(account.id);
            if let Some(known) = known.filter(|known| *known.account == **account) {
                *account = Arc::clone(&known.account);
            }
        }
    }

    /// Applies an update as a whole: the next call sees all of it. Returns the revision in use.
    pub(crate) fn apply(&self, update: SnapshotUpdate) -> Option<Revision> {
        let SnapshotUpdate {
            revision,
            full,
            more: _,
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
        let accounts = NamedItems {
            full,
            changed: accounts,
            removed: removed_accounts,
        };
        let keys = NamedItems {
            full,
            changed: keys,
            removed: removed_keys,
        };
        let before = self.snapshot();
        let known = before.as_ref();
        // Without a first full state there is nothing to apply changes to.
        let settings = settings.or_else(|| Some(Arc::clone(&known?.settings)))?;
        let is_new = known.is_none_or(|old| old.revision != revision);
        if is_new || !accounts.is_empty() || !keys.is_empty() {
            let prices = prices.or_else(|| Some(Arc::clone(&known?.prices)));
            let snapshot = Snapshot {
                revision,
                since: self.clock.now(),
                settings,
                prices: prices.unwrap_or_default(),
                accounts: self.next_accounts(known, accounts),
                keys: next_keys(known, keys),
            };
            self.store(known, snapshot);
        }
        self.apply_standings(&standings);
        self.apply_healths(healths);
        self.apply_leases(&leases, recalls);
        Some(revision)
    }

    /// The accounts after an update. Leases of deleted accounts and keys are kept until they are returned.
    fn next_accounts(
        &self,
        before: Option<&Arc<Snapshot>>,
        named: NamedItems<Arc<AccountConfig>, AccountId>,
    ) -> Accounts {
        let known = before.map(|old| old.accounts.clone()).unwrap_or_default();
        if named.is_empty() {
            return known;
        }
        let NextAccounts { accounts, retired } = successor::accounts(&known, named, &self.ask_tx);
        self.leaving.add(retired);
        accounts
    }

    fn store(&self, before: Option<&Arc<Snapshot>>, snapshot: Snapshot) {
        // Before any call can see the leases, because part of them was spent before this start.
        for (payer, cost) in self.take_owed() {
            match snapshot.credit_lease(payer) {
                Some(credit_lease) => credit_lease.charge(cost),
                None => self.leaving.credit_lease(payer, &self.ask_tx).charge(cost),
            }
        }
        let reloads = snapshot.settings.reload_count;
        if before.is_some_and(|old| reloads > old.settings.reload_count) {
            snapshot.keys().for_each(|key| key.health.wake());
        }
        self.current.store(Some(Arc::new(snapshot)));
    }

    fn apply_leases(&self, leases: &[LeasedCredit], recalls: Vec<PayerId>) {
        for lease in leases {
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
            if let Some(state) = snapshot.account(standing.account) {
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
        let keys = snapshot.iter().flat_map(|snapshot| snapshot.key_leases());
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
            if let Some(key) = snapshot.key(health.key) {
                key.health.apply_report(health, now);
            }
        }
    }
}

fn next_keys(
    before: Option<&Arc<Snapshot>>,
    named: NamedItems<UpstreamKey, KeyId>,
) -> Arc<UpstreamKeys> {
    let known = before.map(|old| Arc::clone(&old.keys)).unwrap_or_default();
    if named.is_empty() {
        return known;
    }
    Arc::new(successor::upstream_keys(&known, named))
}

#[cfg(test)]
mod successor_tests;
#[cfg(test)]
mod tests;
