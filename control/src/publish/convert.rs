//! Converts stored records to what data planes get. Records that cannot be used are skipped and logged.

use proxyxai_contract::{
    Invalid,
    access::ResourceList,
    clock::Zone,
    id::{AccountId, KeyId},
    key_price::KeyPrice,
    load_balancing::{self, KeyAffinity, LevelStrategies, LoadBalancing},
    passthrough::Passthrough,
    provider::BaseUrl,
    routing::{LevelMapper, ModelFailover, ModelMapper, RoutingRules, SwitchOver},
    snapshot::{AccountConfig, FurtherKey, KeyConfig, ProxySettings, UpstreamKey},
    usage::AbandonedPolicy,
    window::ModelLimits,
};

use crate::{
    config::Config,
    domain::setting,
    store::{AccountRecord, KeyRecord},
    vault::Vault,
};

/// The value of a setting in effect. A stored value that is not valid must not keep the program from starting, so it is
/// ignored.
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

pub(super) fn log_setting(error: &Invalid) {
    tracing::error!(
        setting = error.field,
        problem = error.problem,
        "a setting cannot be used; its default is"
    );
}

pub(super) fn proxy_settings(
    value: &impl Fn(&str) -> String,
    vault: &Vault,
    zone: &Zone,
    reloads: u64,
) -> ProxySettings {
    // Each value was validated when it was stored, by the same parser.
    ProxySettings {
        routing: RoutingRules {
            model_mapper: ModelMapper::parse(&value(setting::MODEL_MAPPER)).unwrap_or_default(),
            level_mapper: LevelMapper::parse(&value(setting::LEVEL_MAPPER)).unwrap_or_default(),
            switch_over: SwitchOver::parse(&value(setting::SWITCH_OVER)).unwrap_or_default(),
            model_failover: ModelFailover::parse(&value(setting::MODEL_FAILOVER))
                .unwrap_or_default(),
        },
        rotation: LoadBalancing {
            strategies: LevelStrategies::parse(&value(setting::KEY_STRATEGY)).unwrap_or_default(),
            affinity: KeyAffinity::parse(&value(setting::AFFINITY)).unwrap_or_default(),
            hedge: load_balancing::hedge(&value(setting::HEDGE)).unwrap_or_default(),
        },
        resources: ResourceList::parse(&value(setting::RESOURCES)).unwrap_or(ResourceList::Any),
        passthrough: Passthrough::parse(&value(setting::PASSTHROUGH)).unwrap_or_default(),
        model_limits: ModelLimits::parse(&value(setting::MODEL_LIMITS)).unwrap_or_default(),
        calls_per_account_max: setting::calls(&value(setting::CALLS_PER_ACCOUNT_MAX))
            .unwrap_or_default(),
        call_min_balance: setting::dollars(&value(setting::CALL_MIN_BALANCE)).unwrap_or_default(),
        refuse_unpriced: value(setting::UNPRICED).trim() == "refuse",
        abandoned: AbandonedPolicy::parse(&value(setting::ABANDONED)).unwrap_or_default(),
        keeps_refusals: setting::refusal_days(&value(setting::REFUSAL_RETENTION_DAYS))
            .is_ok_and(|days| days > 0),
        hasher: vault.hasher().clone(),
        zone: zone.clone(),
        reload_count: reloads,
    }
}

pub(super) fn account_entry(
    record: AccountRecord,
    further_keys: Vec<FurtherKey>,
) -> (AccountId, Option<AccountConfig>) {
    let (id, gone) = (record.account.id, record.gone);
    let known = || AccountConfig {
        further_keys,
        ..as_known(record)
    };
    (id, (!gone).then(known))
}

/// The account as data planes get it, without its further client keys.
pub(crate) fn as_known(record: AccountRecord) -> AccountConfig {
    let AccountRecord {
        account: view,
        key_hash,
        deleted,
        ..
    } = record;
    let enabled = view.is_active();
    AccountConfig {
        id: view.id,
        parent: view.parent,
        name: view.name,
        key_hash: key_hash.filter(|_| deleted.is_none()),
        enabled,
        level: view.level,
        gear: view.gear,
        rates: view.rates,
        factor: view.factor,
        hard_limit: view.hard_limit,
        limits: view.limits,
        model_limits: view.model_limits,
        calls_max: view.calls_max,
        access: view.access,
        routing: view.routing,
        further_keys: Vec::new(),
    }
}

pub(super) fn key_entry(record: KeyRecord, vault: &Vault) -> (KeyId, Option<UpstreamKey>) {
    let id = record.key.id;
    if record.deleted.is_some() || !record.key.enabled {
        return (id, None);
    }
    let opened = vault.open_sealed(&record.key.provider, &record.sealed);
    let provider = BaseUrl::parse(&record.key.provider).map_err(Into::into);
    let key = opened.and_then(|secret| {
        provider.map(|provider| UpstreamKey {
            id,
            secret,
            provider,
            level: record.key.level,
            // Only the operator may know the cost of a key.
            config: KeyConfig {
                price: KeyPrice::default(),
                ..record.key.config
            },
        })
    });
    (id, key.inspect_err(|error| tracing::error!(key.id = id.get(), error = ?error, "an upstream key is left out")).ok())
}
