//! Converts stored records to what data planes get. Records that cannot be used are skipped and logged.

use std::sync::{Arc, LazyLock};

use proxyxai_contract::{
    Invalid,
    clock::Zone,
    id::{AccountId, KeyId},
    key_price::KeyPrice,
    load_balancing::LoadBalancing,
    provider::BaseUrl,
    routing::RoutingRules,
    snapshot::{AccessLists, AccountConfig, FurtherKey, KeyConfig, ProxySettings, UpstreamKey},
};

use super::effective_settings::EffectiveSettings;
use crate::{
    domain::setting,
    store::{AccountRecord, KeyRecord},
    vault::Vault,
};

pub(super) fn log_setting(error: &Invalid) {
    tracing::error!(
        setting = error.field,
        problem = error.problem,
        "a setting cannot be used; its default is"
    );
}

pub(super) fn proxy_settings(
    settings: &EffectiveSettings<'_>,
    vault: &Vault,
    zone: &Zone,
    reloads: u64,
) -> Result<ProxySettings, Invalid> {
    Ok(ProxySettings {
        routing: RoutingRules {
            model_mapper: settings.get(&setting::MODEL_MAPPER)?,
            level_mapper: settings.get(&setting::LEVEL_MAPPER)?,
            switch_over: settings.get(&setting::SWITCH_OVER)?,
            model_failover: settings.get(&setting::MODEL_FAILOVER)?,
        },
        rotation: LoadBalancing {
            strategies: settings.get(&setting::KEY_STRATEGY)?,
            affinity: settings.get(&setting::AFFINITY)?,
            hedge: settings.get(&setting::HEDGE)?,
        },
        resources: settings.get(&setting::RESOURCES)?,
        passthrough: settings.get(&setting::PASSTHROUGH)?,
        model_limits: settings.get(&setting::MODEL_LIMITS)?,
        calls_per_account_max: settings.get(&setting::CALLS_PER_ACCOUNT_MAX)?,
        call_min_balance: settings.get(&setting::CALL_MIN_BALANCE)?,
        refuse_unpriced: settings.get(&setting::UNPRICED)?,
        abandoned: settings.get(&setting::ABANDONED)?,
        keeps_refusals: settings.get(&setting::REFUSAL_RETENTION_DAYS)? > 0,
        hasher: vault.hasher().clone(),
        zone: zone.clone(),
        reload_count: reloads,
    })
}

/// The new state of an account; `None` if it is gone.
pub(super) type AccountEntry = (AccountId, Option<AccountConfig>);

/// Accounts without a restriction, or without rules, are most, so these are kept once.
static ANY_ACCESS: LazyLock<Arc<AccessLists>> = LazyLock::new(|| Arc::new(AccessLists::ANY));
static NO_RULES: LazyLock<Arc<RoutingRules>> = LazyLock::new(Arc::default);

pub(super) fn account_entry(record: AccountRecord, further_keys: Vec<FurtherKey>) -> AccountEntry {
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
        access: shared(view.access, &ANY_ACCESS),
        routing: shared(view.routing, &NO_RULES),
        further_keys: Vec::new(),
    }
}

/// The common value, if it is equal.
fn shared<T: PartialEq>(value: T, common: &Arc<T>) -> Arc<T> {
    if value == **common {
        Arc::clone(common)
    } else {
        Arc::new(value)
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
