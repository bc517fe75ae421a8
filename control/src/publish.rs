//! Keeps the configuration in memory and streams it to data planes: first all of it, then changes. It also passes on
//! balances and key health, and waits until a change is in use everywhere. It writes nothing to the store.

mod acknowledgement;
mod convert;
mod effective_settings;
mod key_pricing;
mod limits;
mod posted_balances;
mod routes;
mod subscribers;
mod update_stream;
mod versioned_config;
mod versioned_map;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub(crate) use convert::as_known;
use convert::{AccountEntry, account_entry, key_entry, log_setting, proxy_settings};
pub(crate) use effective_settings::EffectiveSettings;
use futures_util::Stream;
use jiff::civil::Date;
pub(crate) use key_pricing::TermsByKey;
use key_pricing::{KeyPricing, rule};
use proxyxai_contract::{
    clock::Millis,
    id::{AccountId, KeyId, NodeName, Revision},
    lease::{PayerId, PostedBalance},
    money::Money,
    price::PriceTable,
    price_file::{self, PriceEntries},
    snapshot::{HealthState, KeyHealthReport, SnapshotUpdate},
    window::WindowKey,
};
use subscribers::Subscribers;
use tokio::sync::{Mutex as AsyncMutex, watch};
use versioned_config::{ConfigChanges, VersionedConfig};

use crate::{
    Error,
    config::Config,
    model::NodeProcess,
    store::{self, AccountRecord, Store},
    vault::Vault,
};

/// How long a recall by another replica is passed on. Each replica looks once a second.
const RECALL_HEARD_MS: i64 = 2_500;

/// Publishes the configuration to data planes.
pub(crate) struct Publisher {
    config: Config,
    state: Mutex<PublisherState>,
    /// Held while changes are read from the store and sent, so that older changes never overtake newer ones.
    order: AsyncMutex<()>,
    /// Changes if there may be something to send.
    news: watch::Sender<u64>,
    /// Changes if a data plane acknowledged a revision or disconnected.
    acknowledged: watch::Sender<u64>,
    /// Name of this replica.
    replica: String,
    /// Changes if another replica published more.
    elsewhere: watch::Sender<u64>,
}

#[derive(Default)]
struct PublisherState {
    catalogue: VersionedConfig,
    subscribers: Subscribers,
    /// What calls on each key cost.
    rules: KeyPricing,
    /// First day of the month for which balances were last sent.
    month: Option<Date>,
    /// The price version that was last sent.
    prices: Option<String>,
    /// When the next price version comes into force.
    prices_next: Option<Millis>,
    /// The balances that were last sent to all.
    sent: HashMap<AccountId, PostedBalance>,
    /// The newest known posting.
    posting: Option<i64>,
}

// === impl Publisher ===

impl Publisher {
    /// A publisher that has loaded nothing yet.
    pub(crate) fn new(config: &Config, replica: &str) -> Self {
        Self {
            config: config.clone(),
            state: Mutex::default(),
            order: AsyncMutex::new(()),
            news: watch::Sender::new(0),
            acknowledged: watch::Sender::new(0),
            replica: replica.to_owned(),
            elsewhere: watch::Sender::new(0),
        }
    }

    /// Catches up with the store and notifies the data planes. Changes that arrive while one caller reads are read
    /// together by the next.
    pub(crate) async fn refresh(
        &self,
        store: &Store,
        vault: &Vault,
        now: Millis,
    ) -> Result<(), Error> {
        let _order = self.order.lock().await;
        let last = self.revision();
        let standing = store::revisions::current(store).await?;
        if standing.revision == last {
            return Ok(());
        }
        let first = last == Revision(0);
        let keys = if first {
            store::keys::all(store).await?
        } else {
            store::keys::changed_since(store, last).await?
        };
        let settings = EffectiveSettings::read(store, &self.config).await?;
        let (accounts, standings) = if first {
            (all_accounts(store, now).await?, Vec::new())
        } else {
            let changed = store::accounts::changed_since(store, last, now).await?;
            let standings = self.standings_of(store, &changed, now).await?;
            (account_entries(store, changed).await?, standings)
        };
        let rules: Vec<_> = keys.iter().map(rule).collect();
        let (prices, fields) = self.prices(store, now).await?.unzip();
        let changes = ConfigChanges {
            accounts,
            keys: keys.into_iter().map(|key| key_entry(key, vault)).collect(),
            settings: Some(proxy_settings(
                &settings,
                vault,
                &self.config.zone,
                standing.reloads,
            )?),
            prices,
        };
        {
            let state = &mut *self.state();
            state.catalogue.apply(changes, standing.revision);
            let none = PriceTable::default();
            let table = state.catalogue.prices().unwrap_or(&none);
            state.rules.apply(rules, fields, table);
            state.sent.extend(
                standings
                    .iter()
                    .map(|standing| (standing.account, *standing)),
            );
            state.subscribers.tell_standings(&standings);
        }
        self.tell();
        Ok(())
    }

    /// Looks for changes and postings by other replicas.
    pub(crate) async fn follow(
        &self,
        store: &Store,
        vault: &Vault,
        now: Millis,
    ) -> Result<(), Error> {
        self.refresh(store, vault, now).await?;
        let known = {
            let mut state = self.state();
            state.subscribers.sweep(now);
            state.posting
        };
        let (newest, touched) = store::ledger::touched_since(store, known).await?;
        if store.is_shared() {
            let since = now.plus(-RECALL_HEARD_MS);
            let recalled = store::leases::recalled_since(store, since).await?;
            self.recall(recalled, None);
        }
        let mut state = self.state();
        state.posting = Some(newest);
        state.subscribers.mark(touched);
        Ok(())
    }

    /// The revision of the configuration.
    pub(crate) fn revision(&self) -> Revision {
        self.state().catalogue.revision()
    }

    /// Streams updates to a data plane.
    pub(crate) async fn watch(
        self: &Arc<Self>,
        store: &Store,
        process: NodeProcess,
        now: Millis,
    ) -> Result<impl Stream<Item = SnapshotUpdate> + Send + 'static + use<>, Error> {
        let order = self.order.lock().await;
        let standings = self.all_standings(store, now).await?;
        let leases = store::leases::all_of_node(store, &process.name).await?;
        // Leases of a lost spool cannot be spent: their usage would not be counted.
        let leases = leases
            .into_iter()
            .filter(|held| held.epoch == process.epoch);
        let leases = leases.map(|held| held.lease).collect();
        let updates = update_stream::begin(self, process, standings, leases, now);
        drop(order);
        // Wakes the node's older stream, which must end.
        self.tell();
        self.acknowledged
            .send_modify(|count| *count = count.wrapping_add(1));
        Ok(updates)
    }

    /// What calls on each key cost the operator.
    pub(crate) fn terms(&self) -> Arc<TermsByKey> {
        self.state().rules.terms()
    }

    /// The number of data planes that watch now.
    pub(crate) fn watching(&self) -> usize {
        self.state().subscribers.len()
    }

    /// Asks data planes, except one, to return unused credit of these payers.
    pub(crate) fn recall(
        &self,
        payers: impl IntoIterator<Item = impl Into<PayerId>>,
        save: Option<&NodeName>,
    ) {
        let payers = payers.into_iter().map(Into::into);
        if self.state().subscribers.recall(payers, save) {
            self.tell();
        }
    }

    /// The limit of a window. Returns `None` if it depends on the model of a call.
    pub(crate) fn limit(&self, key: &WindowKey) -> Option<u64> {
        self.state().catalogue.limit(key)
    }

    /// The smallest month's limit of an account's ancestors, as data planes know it.
    pub(crate) fn month_limit_above(&self, id: AccountId) -> Option<Money> {
        self.state().catalogue.month_limit_above(id)
    }

    /// Whether the node watches now.
    pub(crate) fn is_watching(&self, node: &NodeName) -> bool {
        self.state().subscribers.is_watching(node)
    }

    /// Stores what a data plane reported about keys.
    pub(crate) fn report_health(&self, node: &NodeName, healths: Vec<KeyHealthReport>) {
        {
            let state = &mut *self.state();
            for health in healths {
                if state.catalogue.has_key(health.key) {
                    state.subscribers.report(node, &health);
                }
            }
        }
        self.tell();
    }

    /// Forgets the bad health of a key.
    pub(crate) fn wake_key(&self, key: KeyId) {
        self.state().subscribers.wake_key(key);
        self.tell();
    }

    /// Forgets the bad health of all keys.
    pub(crate) fn wake_all(&self) {
        self.state().subscribers.wake_all();
    }

    /// The health of all keys that are not ready.
    pub(crate) fn healths(&self, now: Millis) -> Vec<KeyHealthReport> {
        let state = self.state();
        let healths = state.subscribers.healths(now).into_iter();
        healths
            .filter(|health| state.catalogue.has_key(health.key))
            .collect()
    }

    /// The health of a key as a whole, with its reason.
    pub(crate) fn health_of(&self, key: KeyId, now: Millis) -> (HealthState, String) {
        self.state().subscribers.health_of(key, now)
    }

    /// Whether another price version has come into force since the last check.
    pub(crate) fn prices_due(&self, now: Millis) -> bool {
        self.state().prices_next.is_some_and(|next| next <= now)
    }

    /// The price table in force. Returns `None` if it did not change: reading it takes longer than all the rest.
    async fn prices(
        &self,
        store: &Store,
        now: Millis,
    ) -> Result<Option<(PriceTable, PriceEntries)>, Error> {
        let version = store::prices::version_at(store, now).await?;
        let next = store::prices::next_after(store, now).await?;
        self.state().prices_next = next;
        let Some(version) = version else {
            return Ok(None);
        };
        if self.state().prices.as_ref() == Some(&version) {
            return Ok(None);
        }
        let Some(found) = store::prices::get(store, &version).await? else {
            return Ok(None);
        };
        let read = price_file::compose_with_entries(&found.text, &found.overrides);
        self.state().prices = Some(version.clone());
        // An invalid table stored by an older program must not stop this one.
        let read = read.inspect_err(log_setting).ok();
        Ok(read.map(|(table, fields)| (PriceTable { version, ..table }, fields)))
    }

    fn tell(&self) {
        self.news
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    fn state(&self) -> MutexGuard<'_, PublisherState> {
        // No code under the lock leaves the state half-changed, so a poisoned lock is safe to use.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All accounts of the first snapshot. They are read in pages, since rows take several times what is kept of them.
async fn all_accounts(store: &Store, now: Millis) -> Result<Vec<AccountEntry>, Error> {
    let (mut entries, mut next) = (Vec::new(), Some(0));
    while let Some(after) = next {
        let (page, last) = store::accounts::snapshot_page(store, after, now).await?;
        entries.extend(account_entries(store, page).await?);
        next = last;
    }
    Ok(entries)
}

/// Accounts with their further client keys, as data planes get them.
async fn account_entries(
    store: &Store,
    records: Vec<AccountRecord>,
) -> Result<Vec<AccountEntry>, Error> {
    let ids: Vec<_> = records.iter().map(|record| record.account.id).collect();
    let mut further = store::client_keys::known(store, &ids).await?;
    let entry = |record: AccountRecord| {
        let keys = further.remove(&record.account.id);
        account_entry(record, keys.unwrap_or_default())
    };
    Ok(records.into_iter().map(entry).collect())
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher")
            .field("revision", &self.revision())
            .finish_non_exhaustive()
    }
}
