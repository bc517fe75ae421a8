//! Keeps the configuration in memory and streams it to data planes: all of it first, then what
//! changed. Also passes on money and key health, and waits until a change is in use everywhere.
//! It changes nothing in the store.

mod convert;
mod key_pricing;
mod limits;
mod routes;
mod subscribers;
mod update_stream;
mod versioned_config;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use convert::{account_entry, key_entry, log_setting, proxy_settings};
pub(crate) use convert::{as_known, effective};
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
    model::DateRange,
    store::{self, AccountRecord, Store},
    vault::Vault,
};

/// The money of more accounts than this is read together with everybody's.
const IDS_MAX: usize = 5_000;
/// A recall that another replica left word of is passed on for this long; each looks once a second.
const RECALL_HEARD_MS: i64 = 2_500;

/// The publisher.
pub(crate) struct Publisher {
    config: Config,
    state: Mutex<PublisherState>,
    /// Held while news is read from the store and handed out, so that older news never overtakes newer.
    order: AsyncMutex<()>,
    /// Moves when there may be something to tell.
    news: watch::Sender<u64>,
    /// Moves when a data plane acknowledged something or went away.
    acknowledged: watch::Sender<u64>,
}

#[derive(Default)]
struct PublisherState {
    catalogue: VersionedConfig,
    subscribers: Subscribers,
    /// What calls on keys cost.
    rules: KeyPricing,
    /// First day of the month that standings were last told for.
    month: Option<Date>,
    /// The version of the prices that was last told.
    prices: Option<String>,
    /// When the next version comes into force.
    prices_next: Option<Millis>,
    /// Money as it was last told to all.
    told: HashMap<AccountId, PostedBalance>,
    /// The newest posting that is known.
    posting: Option<i64>,
}

// === impl Publisher ===

impl Publisher {
    /// Nothing is known yet.
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            config: config.clone(),
            state: Mutex::default(),
            order: AsyncMutex::new(()),
            news: watch::Sender::new(0),
            acknowledged: watch::Sender::new(0),
        }
    }

    /// Catches up with the store and tells the data planes. Changes that pile up while one caller
    /// reads are read by the next one together.
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
        let accounts = if first {
            store::accounts::snapshot(store, now).await?
        } else {
            store::accounts::changed_since(store, last, now).await?
        };
        let keys = if first {
            store::keys::all(store).await?
        } else {
            store::keys::changed_since(store, last).await?
        };
        let stored = store::settings::all(store).await?;
        let standings = if first {
            Vec::new()
        } else {
            self.standings_of(store, &accounts, now).await?
        };
        let rules: Vec<_> = keys.iter().map(rule).collect();
        let (prices, fields) = self.prices(store, now).await?.unzip();
        let value = |name: &str| effective(stored.get(name), name, &self.config);
        let ids: Vec<_> = accounts.iter().map(|record| record.account.id).collect();
        let mut further = store::client_keys::known(store, (!first).then_some(&ids)).await?;
        let mut entry = |record: AccountRecord| {
            let keys = further.remove(&record.account.id);
            account_entry(record, keys.unwrap_or_default())
        };
        let changes = ConfigChanges {
            accounts: accounts.into_iter().map(&mut entry).collect(),
            keys: keys.into_iter().map(|key| key_entry(key, vault)).collect(),
            settings: Some(proxy_settings(
                &value,
                vault,
                &self.config.zone,
                standing.reloads,
            )),
            prices,
        };
        {
            let state = &mut *self.state();
            state.catalogue.apply(changes, standing.revision);
            let none = PriceTable::default();
            let table = state.catalogue.prices().unwrap_or(&none);
            state.rules.apply(rules, fields, table);
            state.told.extend(
                standings
                    .iter()
                    .map(|standing| (standing.account, *standing)),
            );
            state.subscribers.tell_standings(&standings);
        }
        self.tell();
        Ok(())
    }

    /// After a committed change: catches up, then waits until all data planes that watch use it,
    /// though not for ever.
    pub(crate) async fn changed(
        &self,
        store: &Store,
        vault: &Vault,
        now: Millis,
    ) -> Result<(), Error> {
        self.refresh(store, vault, now).await?;
        let revision = self.revision();
        let mut acknowledged = self.acknowledged.subscribe();
        let all_have = async {
            loop {
                acknowledged.borrow_and_update();
                if self.state().subscribers.all_have(revision)
                    || acknowledged.changed().await.is_err()
                {
                    return;
                }
            }
        };
        let wait = Duration::from_millis(self.config.publish_wait_ms);
        if tokio::time::timeout(wait, all_have).await.is_err() {
            tracing::debug!(
                revision = revision.0,
                "a data plane has not yet acknowledged a change"
            );
        }
        Ok(())
    }

    /// Looks for changes and postings that another replica made.
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

    /// Where the configuration stands.
    pub(crate) fn revision(&self) -> Revision {
        self.state().catalogue.revision()
    }

    /// Streams updates to a data plane.
    pub(crate) async fn watch(
        self: &Arc<Self>,
        store: &Store,
        (node, epoch): (NodeName, u64),
        now: Millis,
    ) -> Result<impl Stream<Item = SnapshotUpdate> + Send + 'static + use<>, Error> {
        let order = self.order.lock().await;
        let accounts = store::accounts::snapshot(store, now).await?;
        let standings = self.standings_of(store, &accounts, now).await?;
        let leases = store::leases::all_of_node(store, &node).await?;
        // What was on lease to a spool that is lost cannot be spent: its usage would not count against it.
        let leases = leases.into_iter().filter(|held| held.epoch == epoch);
        let leases = leases.map(|held| held.lease).collect();
        let updates = update_stream::begin(self, node, standings, leases, now);
        drop(order);
        // The older stream of the node has to notice that it is over.
        self.tell();
        Ok(updates)
    }

    /// What calls on each key cost the operator.
    pub(crate) fn terms(&self) -> Arc<TermsByKey> {
        self.state().rules.terms()
    }

    /// How many data planes watch now.
    pub(crate) fn watching(&self) -> usize {
        self.state().subscribers.len()
    }

    /// Asks data planes, save for one, to give back the credit of these that they do not use.
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

    /// A data plane runs on this revision.
    pub(crate) fn acknowledge(&self, node: &NodeName, revision: Revision) {
        self.state().subscribers.acknowledge(node, revision);
        self.acknowledged
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// The most that a window can have; none when that is not known without the model of a call.
    pub(crate) fn limit(&self, key: &WindowKey) -> Option<u64> {
        self.state().catalogue.limit(key)
    }

    /// The smallest limit of a month of the accounts above one, as data planes know it.
    pub(crate) fn month_limit_above(&self, id: AccountId) -> Option<Money> {
        self.state().catalogue.month_limit_above(id)
    }

    /// Whether the node watches now.
    pub(crate) fn is_watching(&self, node: &NodeName) -> bool {
        self.state().subscribers.is_watching(node)
    }

    /// Money of these accounts moved; data planes are told with the next flush.
    pub(crate) fn mark(&self, accounts: impl IntoIterator<Item = AccountId>) {
        self.state().subscribers.mark(accounts);
    }

    /// Money of these accounts moved, and a node has it as an answer. Others are told with the next flush; without
    /// others there is nothing to read again.
    pub(crate) fn answered(
        &self,
        node: &NodeName,
        accounts: impl IntoIterator<Item = AccountId>,
        standings: &[PostedBalance],
    ) {
        let state = &mut *self.state();
        if state.subscribers.are_only(node) {
            let told = standings.iter().map(|told| (told.account, *told));
            state.told.extend(told);
        } else {
            state.subscribers.mark(accounts);
        }
    }

    /// Tells data planes of money that moved, and of everybody's when a month begins.
    pub(crate) async fn flush_standings(&self, store: &Store, now: Millis) -> Result<(), Error> {
        let month = self.config.zone.day(now).first_of_month();
        let (marked, last_month, new_month) = {
            let mut state = self.state();
            let last = state.month.replace(month);
            let new_month = last.is_some_and(|last| last != month) && !state.subscribers.is_empty();
            (state.subscribers.take_marked(), last, new_month)
        };
        if marked.is_empty() && !new_month {
            return Ok(());
        }
        let ids: Vec<_> = marked.iter().copied().collect();
        let told = self
            .read_and_tell(store, (!new_month).then_some(&ids), now)
            .await;
        if told.is_err() {
            let mut state = self.state();
            state.subscribers.mark(marked);
            state.month = last_month;
        }
        told
    }

    /// Standings of accounts, as of now.
    pub(crate) async fn standings_of(
        &self,
        store: &impl store::Db,
        accounts: &[AccountRecord],
        now: Millis,
    ) -> Result<Vec<PostedBalance>, Error> {
        let ids: Vec<_> = accounts.iter().map(|record| record.account.id).collect();
        // A list of all costs more to send than the few rows it would keep away.
        let some = (ids.len() <= IDS_MAX).then_some(ids.as_slice());
        let used = store::usage::costs(store, some, self.month(now)).await?;
        let standing = |record: &AccountRecord| PostedBalance {
            account: record.account.id,
            balance: record.account.balance,
            month_used: used.get(&record.account.id).copied().unwrap_or_default(),
        };
        Ok(accounts
            .iter()
            .filter(|record| record.deleted.is_none())
            .map(standing)
            .collect())
    }

    /// The calendar month of this moment.
    pub(crate) fn month(&self, now: Millis) -> DateRange {
        let today = self.config.zone.day(now);
        DateRange {
            start: today.first_of_month(),
            end: today.last_of_month(),
        }
    }

    /// Takes in what a data plane learnt about keys.
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

    /// Forgets that a key was sick.
    pub(crate) fn wake_key(&self, key: KeyId) {
        self.state().subscribers.wake_key(key);
        self.tell();
    }

    /// Forgets that any key was sick.
    pub(crate) fn wake_all(&self) {
        self.state().subscribers.wake_all();
    }

    /// Everything that is not ready.
    pub(crate) fn healths(&self, now: Millis) -> Vec<KeyHealthReport> {
        let state = self.state();
        let healths = state.subscribers.healths(now).into_iter();
        healths
            .filter(|health| state.catalogue.has_key(health.key))
            .collect()
    }

    /// How a key is as a whole, and why.
    pub(crate) fn health_of(&self, key: KeyId, now: Millis) -> (HealthState, String) {
        self.state().subscribers.health_of(key, now)
    }

    async fn read_and_tell(
        &self,
        store: &Store,
        ids: Option<&Vec<AccountId>>,
        now: Millis,
    ) -> Result<(), Error> {
        let _order = self.order.lock().await;
        let accounts = match ids {
            Some(ids) => store::accounts::some(store, ids, now).await?,
            None => store::accounts::snapshot(store, now).await?,
        };
        let mut standings = self.standings_of(store, &accounts, now).await?;
        {
            let state = &mut *self.state();
            // An account that data planes have not heard of yet comes with its own update.
            standings.retain(|standing| state.catalogue.has_account(standing.account));
            standings.retain(|standing| {
                state.told.insert(standing.account, *standing) != Some(*standing)
            });
            state.subscribers.tell_standings(&standings);
        }
        self.tell();
        Ok(())
    }

    /// Whether another version of the prices has come into force since the last look.
    pub(crate) fn prices_due(&self, now: Millis) -> bool {
        self.state().prices_next.is_some_and(|next| next <= now)
    }

    /// The price table in force, unless it is as it was: reading it takes longer than all the rest.
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
        // One that an older program stored must not keep this one from serving.
        let read = read.inspect_err(log_setting).ok();
        Ok(read.map(|(table, fields)| (PriceTable { version, ..table }, fields)))
    }

    fn tell(&self) {
        self.news
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    fn state(&self) -> MutexGuard<'_, PublisherState> {
        // No code that runs under the lock leaves the state half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher")
            .field("revision", &self.revision())
            .finish_non_exhaustive()
    }
}
