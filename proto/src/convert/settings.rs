//! Settings of the data plane and the routing rules they share with accounts, between the wire and the domain. The
//! syntax of the rules is in `routing`.

use std::num::NonZeroU32;

use crate::{
    Invalid,
    access::AllowList,
    client_key::KeyHasher,
    clock::Zone,
    load_balancing::{KeyAffinity, LevelStrategies, LoadBalancing},
    money::Money,
    passthrough::Passthrough,
    routing::{LevelMapper, ModelFailover, ModelMapper, RoutingRules, SwitchOver},
    snapshot::ProxySettings,
    usage::AbandonedPolicy,
    window::ModelLimits,
    wire,
};

pub(super) fn settings_from_wire(settings: wire::ProxySettings) -> Result<ProxySettings, Invalid> {
    let wire::ProxySettings {
        routing,
        resources,
        call_min_balance_nanos,
        refuse_unpriced,
        client_key_hash_key,
        time_zone,
        reload_count,
        model_limits,
        key_strategy,
        affinity,
        hedge,
        passthrough,
        calls_per_account_max,
        abandoned,
        keeps_refusals,
    } = settings;
    Ok(ProxySettings {
        routing: routing_from_wire(&routing.unwrap_or_default())?,
        rotation: LoadBalancing {
            strategies: LevelStrategies::parse(&key_strategy)?,
            affinity: KeyAffinity::parse(&affinity)?,
            hedge,
        },
        resources: AllowList::parse(&resources)?,
        passthrough: Passthrough::parse(&passthrough)?,
        model_limits: ModelLimits::parse(&model_limits)?,
        calls_per_account_max: NonZeroU32::new(calls_per_account_max),
        call_min_balance: Money::from_nanos(call_min_balance_nanos),
        refuse_unpriced,
        // A control plane that does not know the policy sends none.
        abandoned: AbandonedPolicy::parse(&abandoned).unwrap_or_default(),
        keeps_refusals,
        hasher: KeyHasher::new(&client_key_hash_key)?,
        zone: Zone::new(&time_zone)?,
        reload_count,
    })
}

pub(super) fn settings_to_wire(settings: &ProxySettings) -> wire::ProxySettings {
    let ProxySettings {
        routing,
        rotation:
            LoadBalancing {
                strategies,
                affinity,
                hedge,
            },
        resources,
        passthrough,
        model_limits,
        calls_per_account_max,
        call_min_balance,
        refuse_unpriced,
        abandoned,
        keeps_refusals,
        hasher,
        zone,
        reload_count,
    } = settings;
    wire::ProxySettings {
        routing: Some(routing_to_wire(routing)),
        resources: resources.text(),
        call_min_balance_nanos: call_min_balance.nanos(),
        refuse_unpriced: *refuse_unpriced,
        abandoned: abandoned.as_str().to_owned(),
        keeps_refusals: *keeps_refusals,
        client_key_hash_key: hasher.key().to_vec(),
        time_zone: zone.name().to_owned(),
        reload_count: *reload_count,
        model_limits: model_limits.text(),
        key_strategy: strategies.text(),
        affinity: affinity.as_str().to_owned(),
        hedge: *hedge,
        passthrough: passthrough.text(),
        calls_per_account_max: calls_per_account_max.map_or(0, NonZeroU32::get),
    }
}

pub(super) fn routing_from_wire(routing: &wire::RoutingRules) -> Result<RoutingRules, Invalid> {
    let wire::RoutingRules {
        model_mapper,
        level_mapper,
        switch_over,
        model_failover,
    } = routing;
    Ok(RoutingRules {
        model_mapper: ModelMapper::parse(model_mapper)?,
        level_mapper: LevelMapper::parse(level_mapper)?,
        switch_over: SwitchOver::parse(switch_over)?,
        model_failover: ModelFailover::parse(model_failover)?,
    })
}

/// Routing rules for the wire.
pub fn routing_to_wire(routing: &RoutingRules) -> wire::RoutingRules {
    let RoutingRules {
        model_mapper,
        level_mapper,
        switch_over,
        model_failover,
    } = routing;
    wire::RoutingRules {
        model_mapper: model_mapper.text(),
        level_mapper: level_mapper.text(),
        switch_over: switch_over.text(),
        model_failover: model_failover.text(),
    }
}
