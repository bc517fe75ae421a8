//! `GET /v1/models`: what the caller may ask for, in `OpenAI`'s list shape. Answered here, since one
//! provider's list would not be the pool's.

use std::collections::BTreeSet;

use axum::body::Body;
use http::{HeaderMap, Response};
use proxyxai_contract::{id::Level, snapshot::Account};

use super::json;
use crate::{
    decide::{
        admit::{self, Refusal},
        route,
    },
    formats::{Family, reply},
    live::Snapshot,
    relay::{Relay, refuse},
};

/// The list for one caller.
pub(super) fn list(relay: &Relay, headers: &HeaderMap) -> Response<Body> {
    let Some(snapshot) = relay.live.snapshot() else {
        return refuse(Family::OpenAi, &Refusal::Unavailable);
    };
    let account = match Relay::authenticate(&snapshot, headers) {
        Ok(account) => account,
        Err(refusal) => return refuse(Family::OpenAi, &refusal),
    };
    let chain = snapshot.chain(&account.account);
    if let Err(refusal) = admit::state(&chain) {
        return refuse(Family::OpenAi, &refusal);
    }
    let names = visible(&snapshot, &chain);
    json(reply::models_list(
        names.iter().map(String::as_str),
        relay.clock.now().0 / 1000,
    ))
}

/// Models of the providers in reachable levels, and names that mappers understand, as far as every
/// access list of the chain allows them.
fn visible(snapshot: &Snapshot, chain: &[&Account]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for model in snapshot.prices.models.keys() {
        names.insert(model.as_str());
    }
    for key in snapshot.keys() {
        names.extend(key.key.config.models.iter().map(String::as_str));
    }
    names.retain(|model| reachable(snapshot, chain, model));
    let mappers = chain
        .iter()
        .map(|account| &account.routing)
        .chain([&snapshot.settings.routing]);
    for rules in mappers {
        names.extend(rules.model_mapper.exact_sources());
    }
    let allowed = |model: &&str| {
        chain
            .iter()
            .all(|account| account.access.models.allows(model))
    };
    names
        .into_iter()
        .filter(allowed)
        .map(str::to_owned)
        .collect()
}

/// Whether a key that its route leads to belongs to a provider that has the model.
fn reachable(snapshot: &Snapshot, chain: &[&Account], model: &str) -> bool {
    let Ok(plan) = route::plan(chain, &snapshot.settings, Some(model)) else {
        return false;
    };
    let sold_by = snapshot
        .prices
        .models
        .get(&plan.model)
        .map(|price| price.provider.as_str());
    plan.levels.iter().any(|level: &Level| {
        snapshot.pool(*level).keys.iter().any(|key| {
            let listed = key.key.config.models.contains(&plan.model);
            let hosts = sold_by.and_then(|provider| snapshot.prices.provider_hosts.get(provider));
            listed
                || hosts
                    .is_some_and(|hosts| hosts.iter().any(|host| host == key.key.provider.host()))
        })
    })
}
