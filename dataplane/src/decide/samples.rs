//! Accounts and settings for the tests of `decide`.

use proxyxai_contract::{
    access::ResourceList,
    client_key::{KeyHash, KeyHasher},
    clock::Zone,
    id::{AccountId, Level},
    load_balancing::LoadBalancing,
    money::{Money, Multiplier},
    routing::RoutingRules,
    snapshot::{AccessLists, AccountConfig, FurtherKey, ProxySettings},
    usage::AbandonedPolicy,
    window::{ModelLimits, RateLimits},
};

pub(crate) fn account(id: i64) -> AccountConfig {
    AccountConfig {
        id: AccountId::new(id).unwrap(),
        parent: (id != 1).then_some(AccountId::ROOT),
        name: format!("account-{id}"),
        key_hash: Some(hash()),
        enabled: true,
        level: Level::ZERO,
        gear: 1,
        rates: Multiplier::ONE,
        factor: Multiplier::ONE,
        hard_limit: None,
        limits: RateLimits::WIDE,
        model_limits: ModelLimits::default(),
        calls_max: None,
        access: AccessLists::ANY.into(),
        routing: RoutingRules::default().into(),
        further_keys: Vec::new(),
    }
}

fn hash() -> KeyHash {
    KeyHasher::new(&[7; 32]).unwrap().hash("sk-Xvs")
}

pub(crate) fn settings() -> ProxySettings {
    ProxySettings {
        routing: RoutingRules::default(),
        rotation: LoadBalancing::default(),
        resources: ResourceList::Any,
        passthrough: proxyxai_contract::passthrough::Passthrough::default(),
        model_limits: ModelLimits::default(),
        calls_per_account_max: None,
        call_min_balance: Money::from_nanos(1_000_000_000),
        refuse_unpriced: false,
        abandoned: AbandonedPolicy::ReadOn,
        keeps_refusals: true,
        hasher: KeyHasher::new(&[7; 32]).unwrap(),
        zone: Zone::UTC,
        reload_count: 0,
    }
}

/// A further client key without limits.
pub(crate) fn further_key(name: &str) -> FurtherKey {
    FurtherKey {
        id: proxyxai_contract::id::ClientKeyId::FIRST,
        name: name.to_owned(),
        key_hash: settings().hasher.hash(name),
        enabled: true,
        expires: None,
        credit_limit: None,
        rpm: None,
        models: proxyxai_contract::access::ModelList::Any,
    }
}
