//! `GET /v1/models` and `/v1/models/{id}`: the models a caller may use, in the client's dialect. Served here, since one
//! provider's list would not be the pool's. Provider lists are fetched in the background.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use axum::body::Body;
use http::{HeaderMap, Response, Uri};
use proxyxai_contract::{
    id::Level,
    plan::plan,
    snapshot::{AccountConfig, FurtherKey, KeyConfig},
};

use super::json;
use crate::{
    decide::admit::{self, Refusal},
    formats::{Dialect, endpoint, own_bodies, upstream_path},
    relay::{Relay, model_discovery, refuse, speaks_anthropic},
    state::{KeyState, Snapshot},
};

/// Whether a path is this list or one model of it.
pub(super) fn is_asked(path: &str) -> bool {
    matches!(path, "/v1/models" | "/models" | "/dashboard/models") || endpoint::is_models(path)
}

/// The list for one caller, or one model of it. Access is checked as for a call.
pub(super) async fn answer(
    relay: &Relay,
    peer: IpAddr,
    uri: &Uri,
    headers: &HeaderMap,
) -> Response<Body> {
    let anthropic = speaks_anthropic(headers);
    let dialect = if anthropic {
        Dialect::Anthropic
    } else {
        Dialect::OpenAi
    };
    let names = match names(relay, peer, uri.path(), headers).await {
        Ok(names) => names,
        Err(refusal) => return refuse(dialect, &refusal),
    };
    let now = relay.clock.now().0 / 1000;
    let body = match endpoint::model_of(uri.path()) {
        Some(id) if !names.contains(&id) => {
            let path = uri.path().chars().take(200).collect();
            return refuse(dialect, &Refusal::NotFound { path });
        }
        Some(id) if anthropic => own_bodies::anthropic_model(&id),
        Some(id) => own_bodies::model(&id, now),
        None if anthropic => {
            let page = own_bodies::Page::of(uri.query().unwrap_or_default());
            own_bodies::anthropic_models(&names, &page)
        }
        None => own_bodies::models_list(names.iter().map(String::as_str), now),
    };
    json(body)
}

async fn names(
    relay: &Relay,
    peer: IpAddr,
    path: &str,
    headers: &HeaderMap,
) -> Result<BTreeSet<String>, Refusal> {
    let snapshot = relay.state.snapshot().ok_or(Refusal::Unavailable)?;
    let caller = relay.authenticate(&snapshot, headers)?;
    let chain = snapshot.chain(&caller.account.account);
    admit::state(&chain)?;
    admit::address(&chain, relay.client_address(peer, headers))?;
    let path = upstream_path(path);
    // The dashboard's path is not a path of the proxy.
    if path.starts_with("/v1/") {
        admit::resource(&chain, &snapshot.settings, &path)?;
    }
    let silent = |key: &&Arc<KeyState>| is_open(&key.key.config);
    let asked: Vec<_> = snapshot.keys().filter(silent).collect();
    model_discovery::refresh(relay, asked.iter().copied());
    let view = CallerModels {
        snapshot: &snapshot,
        chain: &chain,
        key: caller.key.as_deref().map(|state| &state.key),
    };
    let mut names = view.visible();
    if names.is_empty() {
        // Wait only if the list would be empty otherwise.
        model_discovery::wait_for_first(&asked).await;
        names = view.visible();
    }
    if names.is_empty() {
        names = view.priced();
    }
    Ok(names)
}

/// The models that one caller may use.
struct CallerModels<'a> {
    snapshot: &'a Snapshot,
    chain: &'a [&'a AccountConfig],
    key: Option<&'a FurtherKey>,
}

impl CallerModels<'_> {
    /// Models of the keys in reachable levels and names that mappers understand, as far as every access list of the
    /// chain allows them and they may be called.
    fn visible(&self) -> BTreeSet<String> {
        let offers: Vec<LevelModels<'_>> = (0..Level::COUNT)
            .filter_map(|level| Level::new(i64::try_from(level).ok()?).ok())
            .map(|level| LevelModels::of(self.snapshot, level))
            .collect();
        let has_keys = |level, model: &str| self.has_key(level, model);
        let all = offers.iter().flat_map(LevelModels::names);
        let mut names: BTreeSet<String> = BTreeSet::new();
        for name in all.collect::<HashSet<_>>() {
            if self.is_allowed(name)
                && self.leads(name, |level, model| {
                    let there = offers.get(usize::from(level.get()));
                    there.is_some_and(|offers| offers.has(model))
                })
            {
                names.insert(name.to_owned());
            }
        }
        let mappers = self.chain.iter().map(|account| &*account.routing);
        for rules in mappers.chain([&self.snapshot.settings.routing]) {
            let sources = rules.model_mapper.exact_sources();
            let usable = sources.filter(|name| self.is_allowed(name) && self.leads(name, has_keys));
            names.extend(usable.map(str::to_owned));
        }
        names
    }

    /// Models with a price that at least one key would be asked for, because nothing rules them out.
    fn priced(&self) -> BTreeSet<String> {
        let names = self.snapshot.prices.models.keys();
        let names = names.filter(|name| {
            self.is_allowed(name) && self.leads(name, |level, model| self.has_key(level, model))
        });
        names.cloned().collect()
    }

    fn has_key(&self, level: Level, model: &str) -> bool {
        let mut keys = self.snapshot.pool(level).keys().iter();
        keys.any(|key| key.key.config.serves(model))
    }

    fn is_allowed(&self, model: &str) -> bool {
        let mut lists = self.chain.iter().map(|account| &account.access.models);
        let of_key = self.key.is_none_or(|key| key.models.allows(model));
        of_key && lists.all(|models| models.allows(model))
    }

    /// Whether a call for a model would be admitted and routed to a level that serves what it is mapped to.
    fn leads(&self, model: &str, serves: impl Fn(Level, &str) -> bool) -> bool {
        let Self {
            snapshot, chain, ..
        } = self;
        let Some((account, ancestors)) = chain.split_first() else {
            return false;
        };
        let settings = &snapshot.settings;
        let Ok(plan) = plan(account, ancestors, settings, Some(model)) else {
            return false;
        };
        let Some(stage) = plan.stages.first() else {
            return false;
        };
        let needs_price = settings.refuse_unpriced && !ancestors.is_empty();
        (!needs_price || snapshot.prices.find(&stage.model).is_some())
            && stage.hops.iter().any(|hop| serves(hop.level, &stage.model))
    }
}

/// Whether a key's models are not listed name by name.
fn is_open(config: &KeyConfig) -> bool {
    config.models.is_empty() || config.models.iter().any(|model| model.contains('*'))
}

/// What the keys of a level serve: the operator's list, else the provider's, else the price table's.
struct LevelModels<'s> {
    said: HashSet<&'s str>,
    /// The provider's lists; a key's configuration says which of them it serves.
    listed: Vec<(Arc<BTreeSet<String>>, &'s KeyConfig)>,
}

impl<'s> LevelModels<'s> {
    fn of(snapshot: &'s Snapshot, level: Level) -> Self {
        let (mut said, mut listed) = (HashSet::new(), Vec::new());
        let mut hosts: HashMap<&str, Vec<&KeyConfig>> = HashMap::new();
        for key in snapshot.pool(level).keys() {
            let config = &key.key.config;
            let exact = config.models.iter().filter(|model| !model.contains('*'));
            said.extend(exact.chain(config.model_names.keys()).map(String::as_str));
            if !is_open(config) {
                continue;
            }
            match key.offer.listed() {
                Some(names) => listed.push((names, config)),
                None => hosts
                    .entry(key.key.provider.host())
                    .or_default()
                    .push(config),
            }
        }
        let prices = &snapshot.prices;
        let configs = |hosts_of: &[String]| -> Vec<&KeyConfig> {
            let there = hosts_of.iter().filter_map(|host| hosts.get(host.as_str()));
            there.flatten().copied().collect()
        };
        let sellers: HashMap<&str, Vec<&KeyConfig>> = prices
            .provider_hosts
            .iter()
            .map(|(provider, hosts_of)| (provider.as_str(), configs(hosts_of)))
            .collect();
        let sold = prices.models.iter().filter(|(name, price)| {
            let keys = sellers.get(price.provider.as_str());
            keys.is_some_and(|keys| keys.iter().any(|config| config.serves(name)))
        });
        said.extend(sold.map(|(name, _)| name.as_str()));
        Self { said, listed }
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let listed = self.listed.iter().flat_map(|(names, config)| {
            let served = names.iter().filter(|name| config.serves(name));
            served.map(String::as_str)
        });
        self.said.iter().copied().chain(listed)
    }

    fn has(&self, model: &str) -> bool {
        let mut listed = self.listed.iter();
        self.said.contains(model)
            || listed.any(|(names, config)| names.contains(model) && config.serves(model))
    }
}
