//! Keeps the configuration in memory and streams it to data planes: all of it first, then what
//! changed. Also passes on money and key health, and waits until a change is in use everywhere.
//! It changes nothing in the store.

mod catalogue;
mod subscribers;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use catalogue::{Catalogue, Changes};
use futures_util::{Stream, stream};
use jiff::civil::Date;
use proxyxai_contract::{
    access::ResourceList,
    clock::{Millis, Zone},
    id::{AccountId, KeyId, NodeName, Revision},
    price::PriceTable,
    price_file,
    provider::BaseUrl,
    routing::{LevelMapper, ModelMapper, RoutingRules, SwitchOver},
    snapshot::{Account, Health, HealthState, ProxySettings, Standing, Update, UpstreamKey},
};
use subscribers::Subscribers;
use tokio::sync::{Mutex as AsyncMutex, watch};

use crate::{
    Error,
    config::Config,
    domain::setting,
    store::{self, AccountRecord, KeyRecord, Store},
    vault::Vault,
    view::Days,
};

/// The publisher.
pub(crate) struct Publisher {
    config: Config,
    state: Mutex<State>,
    /// Held while news is read from the store and handed out, so that older news never overtakes newer.
    order: AsyncMutex<()>,
    /// Moves when there may be something to tell.
    news: watch::Sender<u64>,
    /// Moves when a data plane acknowledged something or went away.
    acknowledged: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    catalogue: Catalogue,
    subscribers: Subscribers,
    /// First day of the month that standings were last told for.
    month: Option<Date>,
    /// The setting that the prices were last made of.
    pricing: Option<String>,
}

/// What a stream has to do next.
enum Turn {
    /// Tell this.
    Tell(Box<Update>),
    /// Wait for news.
    Wait,
    /// End.
    Over,
}

/// One stream. Gone from the books when it is dropped.
struct Watcher {
    publisher: Arc<Publisher>,
    id: u64,
    sent: Option<Revision>,
    news: watch::Receiver<u64>,
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
            store::keys::living(store).await?
        } else {
            store::keys::changed_since(store, last).await?
        };
        let stored = store::settings::all(store).await?;
        let standings = if first {
            Vec::new()
        } else {
            self.standings_of(store, &accounts, now).await?
        };
        let value = |name: &str| effective(stored.get(name), name, &self.config);
        let changes = Changes {
            accounts: accounts.into_iter().map(account_entry).collect(),
            keys: keys.into_iter().map(|key| key_entry(key, vault)).collect(),
            settings: Some(proxy_settings(
                &value,
                vault,
                &self.config.zone,
                standing.reloads,
            )),
            prices: self.prices(value(setting::PRICING)),
        };
        {
            let mut state = self.state();
            state.catalogue.apply(changes, standing.revision);
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

    /// Looks for changes that another replica made.
    pub(crate) async fn follow(
        &self,
        store: &Store,
        vault: &Vault,
        now: Millis,
    ) -> Result<(), Error> {
        self.state().subscribers.sweep(now);
        if store.is_shared() {
            self.refresh(store, vault, now).await
        } else {
            Ok(())
        }
    }

    /// Where the configuration stands.
    pub(crate) fn revision(&self) -> Revision {
        self.state().catalogue.revision()
    }

    /// Streams updates to a data plane.
    pub(crate) async fn watch(
        self: &Arc<Self>,
        store: &Store,
        node: NodeName,
        now: Millis,
    ) -> Result<impl Stream<Item = Update> + Send + 'static + use<>, Error> {
        let order = self.order.lock().await;
        let accounts = store::accounts::snapshot(store, now).await?;
        let standings = self.standings_of(store, &accounts, now).await?;
        let watcher = Watcher {
            publisher: Arc::clone(self),
            id: self.state().subscribers.join(node, standings, now),
            sent: None,
            news: self.news.subscribe(),
        };
        drop(order);
        // The older stream of the node has to notice that it is over.
        self.tell();
        Ok(stream::unfold(watcher, Watcher::next))
    }

    /// A data plane runs on this revision.
    pub(crate) fn acknowledge(&self, node: &NodeName, revision: Revision) {
        self.state().subscribers.acknowledge(node, revision);
        self.acknowledged
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Whether the node watches now.
    pub(crate) fn is_watching(&self, node: &NodeName) -> bool {
        self.state().subscribers.is_watching(node)
    }

    /// Money of these accounts moved; data planes are told with the next flush.
    pub(crate) fn mark(&self, accounts: impl IntoIterator<Item = AccountId>) {
        self.state().subscribers.mark(accounts);
    }

    /// Tells data planes of money that moved, and of everybody's when a month begins.
    pub(crate) async fn flush_standings(&self, store: &Store, now: Millis) -> Result<(), Error> {
        let month = self.config.zone.day(now).first_of_month();
        let (marked, new_month) = {
            let mut state = self.state();
            let new_month = state.month.replace(month).is_some_and(|last| last != month);
            (
                state.subscribers.take_marked(),
                new_month && !state.subscribers.is_empty(),
            )
        };
        if marked.is_empty() && !new_month {
            return Ok(());
        }
        let ids: Vec<_> = marked.iter().copied().collect();
        let told = self
            .read_and_tell(store, (!new_month).then_some(&ids), now)
            .await;
        if told.is_err() {
            self.mark(marked);
        }
        told
    }

    /// Standings of accounts, as of now.
    pub(crate) async fn standings_of(
        &self,
        store: &impl store::Db,
        accounts: &[AccountRecord],
        now: Millis,
    ) -> Result<Vec<Standing>, Error> {
        let ids: Vec<_> = accounts.iter().map(|record| record.view.id).collect();
        // A long list of ids costs more to send than the few rows it would keep away.
        let some = (ids.len() <= 500).then_some(ids.as_slice());
        let used = store::usage::costs(store, some, self.month(now)).await?;
        let standing = |record: &AccountRecord| Standing {
            account: record.view.id,
            balance: record.view.balance,
            month_used: used.get(&record.view.id).copied().unwrap_or_default(),
        };
        Ok(accounts
            .iter()
            .filter(|record| record.deleted.is_none())
            .map(standing)
            .collect())
    }

    /// The calendar month of this moment.
    pub(crate) fn month(&self, now: Millis) -> Days {
        let today = self.config.zone.day(now);
        Days {
            start: today.first_of_month(),
            end: today.last_of_month(),
        }
    }

    /// Takes in what a data plane learnt about keys.
    pub(crate) fn report_health(&self, node: &NodeName, healths: Vec<Health>) {
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
    pub(crate) fn healths(&self, now: Millis) -> Vec<Health> {
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
            state.subscribers.tell_standings(&standings);
        }
        self.tell();
        Ok(())
    }

    /// The price table, unless it is as it was: reading it takes longer than all the rest.
    fn prices(&self, pricing: String) -> Option<PriceTable> {
        if self.state().pricing.as_ref() == Some(&pricing) {
            return None;
        }
        let table = price_file::load(Some(&pricing))
            .map_err(|error| log_setting(&error))
            .ok();
        self.state().pricing = Some(pricing);
        table
    }

    fn tell(&self) {
        self.news
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    fn state(&self) -> MutexGuard<'_, State> {
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

// === impl Watcher ===

impl Watcher {
    async fn next(mut self) -> Option<(Update, Self)> {
        loop {
            self.news.borrow_and_update();
            match self.turn() {
                Turn::Tell(update) => {
                    self.sent = Some(update.revision);
                    return Some((*update, self));
                }
                Turn::Wait => self.news.changed().await.ok()?,
                Turn::Over => return None,
            }
        }
    }

    fn turn(&self) -> Turn {
        let mut state = self.publisher.state();
        let Some(pending) = state.subscribers.take(self.id) else {
            return Turn::Over;
        };
        if self
            .sent
            .is_some_and(|sent| state.catalogue.has_forgotten(sent))
        {
            // It watches again and gets everything, money included.
            return Turn::Over;
        }
        let current = self.sent == Some(state.catalogue.revision());
        if current && pending.is_empty() {
            return Turn::Wait;
        }
        let mut update = state.catalogue.update(self.sent);
        (update.standings, update.healths) = pending.into_parts();
        Turn::Tell(Box::new(update))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.publisher.state().subscribers.leave(self.id);
        self.publisher
            .acknowledged
            .send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// The value of a setting in effect. One that cannot be used must not keep the program from
/// starting, so it counts as not stored.
pub(crate) fn effective(stored: Option<&String>, name: &str, config: &Config) -> String {
    match stored {
        Some(value) => match setting::check(name, value) {
            Ok(()) => value.clone(),
            Err(error) => {
                log_setting(&error);
                config.setting_default(name)
            }
        },
        None => config.setting_default(name),
    }
}

fn log_setting(error: &proxyxai_contract::Invalid) {
    tracing::error!(
        setting = error.field,
        problem = error.problem,
        "a setting cannot be used; its default is"
    );
}

fn proxy_settings(
    value: &impl Fn(&str) -> String,
    vault: &Vault,
    zone: &Zone,
    reloads: u64,
) -> ProxySettings {
    // Each value was checked; what a check lets through, the same reader reads.
    ProxySettings {
        routing: RoutingRules {
            model_mapper: ModelMapper::parse(&value(setting::MODEL_MAPPER)).unwrap_or_default(),
            level_mapper: LevelMapper::parse(&value(setting::LEVEL_MAPPER)).unwrap_or_default(),
            switch_over: SwitchOver::parse(&value(setting::SWITCH_OVER)).unwrap_or_default(),
        },
        resources: ResourceList::parse(&value(setting::RESOURCES)).unwrap_or(ResourceList::Any),
        call_min_balance: setting::dollars(&value(setting::CALL_MIN_BALANCE)).unwrap_or_default(),
        refuse_unpriced: value(setting::UNPRICED).trim() == "refuse",
        hasher: vault.hasher().clone(),
        zone: zone.clone(),
        reload_count: reloads,
    }
}

fn account_entry(record: AccountRecord) -> (AccountId, Option<Account>) {
    let AccountRecord {
        view,
        key_hash,
        gone,
        deleted,
        ..
    } = record;
    let account = Account {
        id: view.id,
        parent: view.parent,
        name: view.name,
        key_hash: key_hash.filter(|_| deleted.is_none()),
        enabled: view.enabled,
        level: view.level,
        gear: view.gear,
        rates: view.rates,
        factor: view.factor,
        hard_limit: view.hard_limit,
        limits: view.limits,
        access: view.access,
        routing: view.routing,
    };
    (view.id, (!gone).then_some(account))
}

fn key_entry(record: KeyRecord, vault: &Vault) -> (KeyId, Option<UpstreamKey>) {
    let id = record.view.id;
    if record.deleted.is_some() || !record.view.enabled {
        return (id, None);
    }
    let opened = vault.open_sealed(&record.view.provider, &record.sealed);
    let provider = BaseUrl::parse(&record.view.provider).map_err(Into::into);
    let key = opened.and_then(|secret| {
        provider.map(|provider| UpstreamKey {
            id,
            secret,
            provider,
            level: record.view.level,
            config: record.view.config,
        })
    });
    (id, key.inspect_err(|error| tracing::error!(key.id = id.get(), error = ?error, "an upstream key is left out")).ok())
}
