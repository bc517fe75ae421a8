//! `GET /v1/models`: what the caller may ask for, in `OpenAI`'s list shape. Answered here, since one
//! provider's list would not be the pool's.

use std::{collections::BTreeSet, net::IpAddr};

use axum::body::Body;
use http::{HeaderMap, Response};
use proxyxai_contract::{plan::plan, snapshot::Account};

use super::json;
use crate::{
    decide::admit::{self, Refusal},
    formats::{Family, reply, upstream_path},
    live::Snapshot,
    relay::{Relay, refuse},
};

/// Whether this is the list that a path is for.
pub(super) fn is_asked(path: &str) -> bool {
    matches!(path, "/v1/models" | "/models" | "/dashboard/models")
}

/// The list for one caller. Where it may be asked for is judged as for a call.
pub(super) fn list(relay: &Relay, peer: IpAddr, path: &str, headers: &HeaderMap) -> Response<Body> {
    names(relay, peer, path, headers).map_or_else(
        |refusal| refuse(Family::OpenAi, &refusal),
        |names| {
            json(reply::models_list(
                names.iter().map(String::as_str),
                relay.clock.now().0 / 1000,
            ))
        },
    )
}

fn names(
    relay: &Relay,
    peer: IpAddr,
    path: &str,
    headers: &HeaderMap,
) -> Result<BTreeSet<String>, Refusal> {
    let snapshot = relay.live.snapshot().ok_or(Refusal::Unavailable)?;
    let account = Relay::authenticate(&snapshot, headers)?;
    let chain = snapshot.chain(&account.account);
    admit::state(&chain)?;
    admit::address(&chain, relay.client_address(peer, headers))?;
    let path = upstream_path(path);
    // The dashboard's is no path of the proxy.
    if path.starts_with("/v1/") {
        admit::resource(&chain, &snapshot.settings, &path)?;
    }
    Ok(visible(&snapshot, &chain))
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
    let Some((account, ancestors)) = chain.split_first() else {
        return false;
    };
    let Ok(plan) = plan(account, ancestors, &snapshot.settings, Some(model)) else {
        return false;
    };
    let Some(stage) = plan.stages.first() else {
        return false;
    };
    let sold_by = snapshot
        .prices
        .models
        .get(&stage.model)
        .map(|price| price.provider.as_str());
    stage.hops.iter().any(|hop| {
        snapshot.pool(hop.level).keys().iter().any(|key| {
            let listed = key.key.config.models.contains(&stage.model);
            let hosts = sold_by.and_then(|provider| snapshot.prices.provider_hosts.get(provider));
            listed
                || hosts
                    .is_some_and(|hosts| hosts.iter().any(|host| host == key.key.provider.host()))
        })
    })
}
