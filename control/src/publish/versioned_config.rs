//! The configuration in memory. Each item has the revision at which it changed, so that the difference between any two
//! revisions can be computed. It reads no database.

use std::{iter, sync::Arc};

use proxyxai_contract::{
    id::{AccountId, KeyId, Revision},
    money::Money,
    price::PriceTable,
    snapshot::{AccountConfig, ProxySettings, SnapshotUpdate, UpstreamKey},
    window::WindowKey,
};

use super::{limits, versioned_map::VersionedMap};

/// The greatest depth of the tree of accounts, as data planes see it.
const DEPTH_MAX: usize = 64;

/// The whole configuration that data planes get.
#[derive(Debug, Default)]
pub(super) struct VersionedConfig {
    revision: Revision,
    /// Removals up to this revision are dropped.
    floor: Revision,
    accounts: VersionedMap<AccountId, AccountConfig>,
    keys: VersionedMap<KeyId, UpstreamKey>,
    settings: Option<(Revision, Arc<ProxySettings>)>,
    prices: Option<(Revision, Arc<PriceTable>)>,
}

/// The changes that a refresh found.
#[derive(Debug, Default)]
pub(super) struct ConfigChanges {
    /// New states of accounts; `None` if removed.
    pub(super) accounts: Vec<(AccountId, Option<AccountConfig>)>,
    /// New states of keys; `None` if removed or disabled.
    pub(super) keys: Vec<(KeyId, Option<UpstreamKey>)>,
    /// The current settings.
    pub(super) settings: Option<ProxySettings>,
    /// The current prices.
    pub(super) prices: Option<PriceTable>,
}

// === impl VersionedConfig ===

impl VersionedConfig {
    /// The current revision.
    pub(super) const fn revision(&self) -> Revision {
        self.revision
    }

    /// Applies the changes up to a revision. Items without a change keep their old revision.
    pub(super) fn apply(&mut self, changes: ConfigChanges, revision: Revision) {
        let ConfigChanges {
            accounts,
            keys,
            settings,
            prices,
        } = changes;
        for (id, account) in accounts {
            self.accounts.put(id, account, revision);
        }
        for (id, key) in keys {
            self.keys.put(id, key, revision);
        }
        put(&mut self.settings, settings, revision);
        put(&mut self.prices, prices, revision);
        self.revision = revision;
        self.floor = self.floor.max(self.accounts.prune()).max(self.keys.prune());
    }

    /// The changes since a revision; everything if it is `None`.
    pub(super) fn update(&self, since: Option<Revision>) -> SnapshotUpdate {
        let newer = |at: Revision| since.is_none_or(|since| at > since);
        let mut update = SnapshotUpdate {
            full: since.is_none(),
            ..SnapshotUpdate::empty(self.revision)
        };
        (update.accounts, update.removed_accounts) = self.accounts.since(since);
        let (keys, removed_keys) = self.keys.since(since);
        update.keys = keys.iter().map(|key| key.as_ref().clone()).collect();
        update.removed_keys = removed_keys;
        update.settings = self
            .settings
            .as_ref()
            .filter(|(at, _)| newer(*at))
            .map(|(_, item)| Arc::clone(item));
        update.prices = self
            .prices
            .as_ref()
            .filter(|(at, _)| newer(*at))
            .map(|(_, item)| Arc::clone(item));
        update
    }

    /// Whether removals since this revision are dropped already.
    pub(super) fn has_forgotten(&self, since: Revision) -> bool {
        since < self.floor
    }

    /// An account and its ancestors up to root, as data planes know them. Empty if they do not know it.
    pub(super) fn chain(&self, id: AccountId) -> Vec<&AccountConfig> {
        let parent = |account: &&AccountConfig| self.accounts.get(account.parent?);
        iter::successors(self.accounts.get(id), parent)
            .take(DEPTH_MAX)
            .collect()
    }

    /// The settings as data planes know them.
    pub(super) fn settings(&self) -> Option<&ProxySettings> {
        self.settings.as_ref().map(|(_, item)| item.as_ref())
    }

    /// The prices as data planes know them.
    pub(super) fn prices(&self) -> Option<&PriceTable> {
        self.prices.as_ref().map(|(_, item)| item.as_ref())
    }

    /// Whether this key is enabled.
    pub(super) fn has_key(&self, id: KeyId) -> bool {
        self.keys.get(id).is_some()
    }

    /// The limit of a window, as far as it is known here.
    pub(super) fn limit(&self, key: &WindowKey) -> Option<u64> {
        let chain = self.chain(key.account);
        limits::most(&chain, &self.settings()?.model_limits, key)
    }

    /// The smallest monthly limit among the ancestors of an account.
    pub(super) fn month_limit_above(&self, id: AccountId) -> Option<Money> {
        let chain = self.chain(id);
        let above = chain.iter().skip(1);
        above.filter_map(|account| account.hard_limit).min()
    }

    /// Whether data planes know this account.
    pub(super) fn has_account(&self, id: AccountId) -> bool {
        self.accounts.get(id).is_some()
    }
}

fn put<T: PartialEq>(slot: &mut Option<(Revision, Arc<T>)>, item: Option<T>, revision: Revision) {
    if let Some(item) = item
        && slot.as_ref().is_none_or(|(_, old)| **old != item)
    {
        *slot = Some((revision, Arc::new(item)));
    }
}

#[cfg(test)]
mod tests {
    use proxyxai_contract::{
        id::Level, money::Multiplier, routing::RoutingRules, snapshot::AccessLists,
        window::RateLimits,
    };

    use super::{super::versioned_map::REMOVALS_MAX, *};

    fn account(id: i64, name: &str) -> (AccountId, Option<AccountConfig>) {
        let id = AccountId::new(id).unwrap();
        let account = AccountConfig {
            id,
            parent: None,
            name: name.to_owned(),
            key_hash: None,
            enabled: true,
            level: Level::ZERO,
            gear: 0,
            rates: Multiplier::ONE,
            factor: Multiplier::ONE,
            hard_limit: None,
            limits: RateLimits::WIDE,
            model_limits: proxyxai_contract::window::ModelLimits::default(),
            calls_max: None,
            access: AccessLists::ANY.into(),
            routing: RoutingRules::default().into(),
            further_keys: Vec::new(),
        };
        (id, Some(account))
    }

    fn with_accounts(accounts: Vec<(AccountId, Option<AccountConfig>)>) -> ConfigChanges {
        ConfigChanges {
            accounts,
            ..ConfigChanges::default()
        }
    }

    #[test]
    fn an_update_holds_what_changed_since_and_nothing_else() {
        let mut catalogue = VersionedConfig::default();
        catalogue.apply(
            with_accounts(vec![account(1, "root"), account(2, "bob")]),
            Revision(1),
        );
        catalogue.apply(
            with_accounts(vec![account(1, "root"), account(2, "rob")]),
            Revision(2),
        );
        let update = catalogue.update(Some(Revision(1)));
        assert_eq!(
            update
                .accounts
                .iter()
                .map(|account| account.name.as_str())
                .collect::<Vec<_>>(),
            ["rob"]
        );
        assert!(!update.full);
        assert_eq!(
            catalogue.update(Some(Revision(2))),
            SnapshotUpdate::empty(Revision(2))
        );
        assert_eq!(catalogue.update(None).accounts.len(), 2);
    }

    #[test]
    fn a_removal_is_told_to_those_who_knew_and_left_out_of_a_full_update() {
        let mut catalogue = VersionedConfig::default();
        catalogue.apply(with_accounts(vec![account(2, "bob")]), Revision(1));
        let id = AccountId::new(2).unwrap();
        catalogue.apply(with_accounts(vec![(id, None)]), Revision(2));
        assert_eq!(catalogue.update(Some(Revision(1))).removed_accounts, [id]);
        let full = catalogue.update(None);
        assert!(full.full && full.accounts.is_empty() && full.removed_accounts.is_empty());
    }

    #[test]
    fn who_lags_behind_forgotten_removals_is_told_so() {
        let mut catalogue = VersionedConfig::default();
        let count = i64::try_from(REMOVALS_MAX).unwrap() + 1;
        for id in 1..=count {
            let revision = u64::try_from(id).unwrap() * 2;
            catalogue.apply(with_accounts(vec![account(id, "bob")]), Revision(revision));
            let id = AccountId::new(id).unwrap();
            catalogue.apply(with_accounts(vec![(id, None)]), Revision(revision + 1));
        }
        assert!(catalogue.has_forgotten(Revision(2)));
        assert!(!catalogue.has_forgotten(catalogue.revision()));
    }
}
