//! Updates of the configuration. A data plane leaves out single items that it cannot read and names
//! them; it never applies half of one.

use super::{
    millis_from_wire, millis_to_wire, signed, standing_from_wire, standing_to_wire, unsigned,
};
use crate::{
    Invalid,
    access::AllowList,
    client_key::{KeyHash, KeyHasher},
    clock::Zone,
    id::{AccountId, KeyId, Level, Revision},
    money::{Money, Multiplier},
    price::{ModelPrice, PriceTable},
    provider::{BaseUrl, ProviderType},
    routing::{LevelMapper, ModelMapper, RoutingRules, SwitchOver},
    secret::Secret,
    snapshot::{
        Access, Account, Health, HealthState, KeyConfig, ProxySettings, RateLimits, Rejection,
        Update, UpstreamKey,
    },
    wire,
};

/// Reads an update; items that cannot be read are left out and named.
pub fn update_from_wire(update: wire::Update) -> (Update, Vec<Rejection>) {
    let wire::Update {
        revision,
        full,
        accounts,
        removed_account_ids,
        keys,
        removed_key_ids,
        settings,
        prices,
        standings,
        healths,
    } = update;
    let mut rejections = Vec::new();
    let mut refuse = |kind, item: String, error: Invalid| {
        rejections.push(Rejection {
            kind,
            item,
            problem: error.to_string(),
        });
    };
    let mut read = Update {
        full,
        ..Update::empty(Revision(revision))
    };
    for entry in accounts {
        let id = entry.id.to_string();
        match account_from_wire(entry) {
            Ok(account) => read.accounts.push(account),
            Err(error) => refuse("account", id, error),
        }
    }
    for entry in keys {
        let id = entry.id.to_string();
        match key_from_wire(entry) {
            Ok(key) => read.keys.push(key),
            Err(error) => refuse("key", id, error),
        }
    }
    if let Some(settings) = settings {
        match settings_from_wire(settings) {
            Ok(settings) => read.settings = Some(settings),
            Err(error) => refuse("settings", error.field.clone(), error),
        }
    }
    if let Some(table) = prices {
        let (table, bad) = prices_from_wire(table);
        read.prices = Some(table);
        for (model, error) in bad {
            refuse("price", model, error);
        }
    }
    read.removed_accounts = removed_account_ids
        .into_iter()
        .filter_map(|id| AccountId::new(id).ok())
        .collect();
    read.removed_keys = removed_key_ids
        .into_iter()
        .filter_map(|id| KeyId::new(id).ok())
        .collect();
    read.standings = standings
        .iter()
        .filter_map(|standing| standing_from_wire(standing).ok())
        .collect();
    read.healths = healths
        .into_iter()
        .filter_map(|health| health_from_wire(health).ok())
        .collect();
    (read, rejections)
}

/// An update for the wire.
pub fn update_to_wire(update: &Update) -> wire::Update {
    let Update {
        revision,
        full,
        accounts,
        removed_accounts,
        keys,
        removed_keys,
        settings,
        prices,
        standings,
        healths,
    } = update;
    wire::Update {
        revision: revision.0,
        full: *full,
        accounts: accounts.iter().map(account_to_wire).collect(),
        removed_account_ids: removed_accounts.iter().map(|id| id.get()).collect(),
        keys: keys.iter().map(key_to_wire).collect(),
        removed_key_ids: removed_keys.iter().map(|id| id.get()).collect(),
        settings: settings.as_ref().map(settings_to_wire),
        prices: prices.as_ref().map(prices_to_wire),
        standings: standings.iter().map(standing_to_wire).collect(),
        healths: healths.iter().map(health_to_wire).collect(),
    }
}

fn account_from_wire(entry: wire::AccountEntry) -> Result<Account, Invalid> {
    let wire::AccountEntry {
        id,
        parent_id,
        name,
        key_hash,
        enabled,
        level,
        gear,
        rates_micros,
        factor_micros,
        hard_limit_nanos,
        limits,
        access,
        routing,
    } = entry;
    Ok(Account {
        id: AccountId::new(id)?,
        parent: if parent_id == 0 {
            None
        } else {
            Some(AccountId::new(parent_id).map_err(|e| e.under("parent_id"))?)
        },
        name,
        key_hash: match <[u8; 32]>::try_from(key_hash.as_slice()) {
            Ok(hash) => Some(KeyHash(hash)),
            Err(_) if key_hash.is_empty() => None,
            Err(_) => return Err(Invalid::new("key_hash", "must be 32 bytes or empty")),
        },
        enabled,
        level: Level::new(level.into())?,
        gear: u8::try_from(gear).map_err(|_| Invalid::new("gear", "is out of range"))?,
        rates: Multiplier::from_micros(rates_micros).map_err(|e| e.under("rates_micros"))?,
        factor: Multiplier::from_micros(factor_micros).map_err(|e| e.under("factor_micros"))?,
        hard_limit: (hard_limit_nanos > 0).then(|| Money::from_nanos(hard_limit_nanos)),
        limits: limits_from_wire(limits.unwrap_or_default())?,
        access: access_from_wire(&access.ok_or_else(|| Invalid::new("access", "is missing"))?)?,
        routing: routing_from_wire(&routing.unwrap_or_default())?,
    })
}

fn account_to_wire(account: &Account) -> wire::AccountEntry {
    let Account {
        id,
        parent,
        name,
        key_hash,
        enabled,
        level,
        gear,
        rates,
        factor,
        hard_limit,
        limits,
        access,
        routing,
    } = account;
    wire::AccountEntry {
        id: id.get(),
        parent_id: parent.map_or(0, AccountId::get),
        name: name.clone(),
        key_hash: key_hash.map(|hash| hash.0.to_vec()).unwrap_or_default(),
        enabled: *enabled,
        level: level.get().into(),
        gear: (*gear).into(),
        rates_micros: rates.micros(),
        factor_micros: factor.micros(),
        hard_limit_nanos: hard_limit.map_or(0, Money::nanos),
        limits: Some(limits_to_wire(limits)),
        access: Some(access_to_wire(access)),
        routing: Some(routing_to_wire(routing)),
    }
}

fn key_from_wire(entry: wire::KeyEntry) -> Result<UpstreamKey, Invalid> {
    let wire::KeyEntry {
        id,
        secret,
        provider,
        level,
        config,
    } = entry;
    Ok(UpstreamKey {
        id: KeyId::new(id)?,
        secret: Secret::new(secret),
        provider: BaseUrl::parse(&provider)?,
        level: Level::new(level.into())?,
        config: config_from_wire(config.unwrap_or_default())?,
    })
}

fn key_to_wire(key: &UpstreamKey) -> wire::KeyEntry {
    let UpstreamKey {
        id,
        secret,
        provider,
        level,
        config,
    } = key;
    wire::KeyEntry {
        id: id.get(),
        secret: secret.expose().to_owned(),
        provider: provider.text(),
        level: level.get().into(),
        config: Some(config_to_wire(config)),
    }
}

/// Reads a key's config.
///
/// # Errors
/// When the provider type is unknown or the list of models is too long.
pub fn config_from_wire(config: wire::KeyConfig) -> Result<KeyConfig, Invalid> {
    let wire::KeyConfig {
        provider_type,
        include_usage,
        models,
    } = config;
    if models.len() > 1000
        || models
            .iter()
            .any(|model| model.is_empty() || model.len() > 255)
    {
        return Err(Invalid::new(
            "models",
            "must be at most 1000 names of 1 to 255 bytes",
        ));
    }
    Ok(KeyConfig {
        provider_type: ProviderType::parse(&provider_type)?,
        include_usage: include_usage.unwrap_or(true),
        models,
    })
}

/// A key's config for the wire.
pub fn config_to_wire(config: &KeyConfig) -> wire::KeyConfig {
    let KeyConfig {
        provider_type,
        include_usage,
        models,
    } = config;
    wire::KeyConfig {
        provider_type: provider_type.as_str().to_owned(),
        include_usage: Some(*include_usage),
        models: models.clone(),
    }
}

fn settings_from_wire(settings: wire::ProxySettings) -> Result<ProxySettings, Invalid> {
    let wire::ProxySettings {
        routing,
        resources,
        call_min_balance_nanos,
        refuse_unpriced,
        client_key_hash_key,
        time_zone,
        reload_count,
    } = settings;
    Ok(ProxySettings {
        routing: routing_from_wire(&routing.unwrap_or_default())?,
        resources: AllowList::parse(&resources)?,
        call_min_balance: Money::from_nanos(call_min_balance_nanos),
        refuse_unpriced,
        hasher: KeyHasher::new(&client_key_hash_key)?,
        zone: Zone::new(&time_zone)?,
        reload_count,
    })
}

fn settings_to_wire(settings: &ProxySettings) -> wire::ProxySettings {
    let ProxySettings {
        routing,
        resources,
        call_min_balance,
        refuse_unpriced,
        hasher,
        zone,
        reload_count,
    } = settings;
    wire::ProxySettings {
        routing: Some(routing_to_wire(routing)),
        resources: resources.text(),
        call_min_balance_nanos: call_min_balance.nanos(),
        refuse_unpriced: *refuse_unpriced,
        client_key_hash_key: hasher.key().to_vec(),
        time_zone: zone.name().to_owned(),
        reload_count: *reload_count,
    }
}

/// Reads six windows; all must be present and not negative.
///
/// # Errors
/// Names the window that is wrong.
pub fn limits_from_wire(limits: wire::RateLimits) -> Result<RateLimits, Invalid> {
    let wire::RateLimits {
        rpm,
        rph,
        rpd,
        tpm,
        tph,
        tpd,
    } = limits;
    Ok(RateLimits {
        rpm: unsigned("RPM", rpm)?,
        rph: unsigned("RPH", rph)?,
        rpd: unsigned("RPD", rpd)?,
        tpm: unsigned("TPM", tpm)?,
        tph: unsigned("TPH", tph)?,
        tpd: unsigned("TPD", tpd)?,
    })
}

/// Six windows for the wire.
pub fn limits_to_wire(limits: &RateLimits) -> wire::RateLimits {
    let RateLimits {
        rpm,
        rph,
        rpd,
        tpm,
        tph,
        tpd,
    } = *limits;
    wire::RateLimits {
        rpm: signed(rpm),
        rph: signed(rph),
        rpd: signed(rpd),
        tpm: signed(tpm),
        tph: signed(tph),
        tpd: signed(tpd),
    }
}

fn access_from_wire(access: &wire::AccessLists) -> Result<Access, Invalid> {
    let wire::AccessLists {
        ips,
        models,
        levels,
        resources,
    } = access;
    Ok(Access {
        ips: AllowList::parse(ips)?,
        models: AllowList::parse(models)?,
        levels: AllowList::parse(levels)?,
        resources: AllowList::parse(resources)?,
    })
}

fn access_to_wire(access: &Access) -> wire::AccessLists {
    let Access {
        ips,
        models,
        levels,
        resources,
    } = access;
    wire::AccessLists {
        ips: ips.text(),
        models: models.text(),
        levels: levels.text(),
        resources: resources.text(),
    }
}

fn routing_from_wire(routing: &wire::RoutingRules) -> Result<RoutingRules, Invalid> {
    let wire::RoutingRules {
        model_mapper,
        level_mapper,
        switch_over,
    } = routing;
    Ok(RoutingRules {
        model_mapper: ModelMapper::parse(model_mapper)?,
        level_mapper: LevelMapper::parse(level_mapper)?,
        switch_over: SwitchOver::parse(switch_over)?,
    })
}

fn routing_to_wire(routing: &RoutingRules) -> wire::RoutingRules {
    let RoutingRules {
        model_mapper,
        level_mapper,
        switch_over,
    } = routing;
    wire::RoutingRules {
        model_mapper: model_mapper.text(),
        level_mapper: level_mapper.text(),
        switch_over: switch_over.text(),
    }
}

fn prices_from_wire(table: wire::PriceTable) -> (PriceTable, Vec<(String, Invalid)>) {
    let wire::PriceTable {
        version,
        models,
        provider_hosts,
    } = table;
    let mut read = PriceTable {
        version,
        ..PriceTable::default()
    };
    let mut bad = Vec::new();
    for entry in models {
        let model = entry.model.clone();
        match price_from_wire(entry) {
            Ok(price) => drop(read.models.insert(model, price)),
            Err(error) => bad.push((model, error)),
        }
    }
    for line in provider_hosts {
        if let Some((provider, hosts)) = line.split_once('=') {
            read.provider_hosts.insert(
                provider.to_owned(),
                hosts.split(',').map(str::to_owned).collect(),
            );
        }
    }
    (read, bad)
}

fn prices_to_wire(table: &PriceTable) -> wire::PriceTable {
    let PriceTable {
        version,
        models,
        provider_hosts,
    } = table;
    wire::PriceTable {
        version: version.clone(),
        models: models
            .iter()
            .map(|(model, price)| price_to_wire(model, price))
            .collect(),
        provider_hosts: provider_hosts
            .iter()
            .map(|(provider, hosts)| format!("{provider}={}", hosts.join(",")))
            .collect(),
    }
}

fn price_from_wire(price: wire::ModelPrice) -> Result<ModelPrice, Invalid> {
    let wire::ModelPrice {
        model: _,
        provider,
        input_text,
        output_text,
        cached_text,
        cache_write,
        reason_text,
        input_audio,
        output_audio,
        cached_audio,
        input_image,
        output_image,
        call,
        rates_micros,
    } = price;
    let amount = |field: &str, nanos: i64| match Money::from_nanos(nanos) {
        money if money.is_negative() => Err(Invalid::new(field, "must not be negative")),
        money => Ok(money),
    };
    let optional =
        |field: &str, nanos: Option<i64>| nanos.map(|nanos| amount(field, nanos)).transpose();
    Ok(ModelPrice {
        provider,
        input_text: amount("input_text", input_text)?,
        output_text: amount("output_text", output_text)?,
        cached_text: optional("cached_text", cached_text)?,
        cache_write: optional("cache_write", cache_write)?,
        reason_text: optional("reason_text", reason_text)?,
        input_audio: optional("input_audio", input_audio)?,
        output_audio: optional("output_audio", output_audio)?,
        cached_audio: optional("cached_audio", cached_audio)?,
        input_image: optional("input_image", input_image)?,
        output_image: optional("output_image", output_image)?,
        call: amount("call", call)?,
        rates: Multiplier::from_micros(rates_micros)?,
    })
}

fn price_to_wire(model: &str, price: &ModelPrice) -> wire::ModelPrice {
    let ModelPrice {
        provider,
        input_text,
        output_text,
        cached_text,
        cache_write,
        reason_text,
        input_audio,
        output_audio,
        cached_audio,
        input_image,
        output_image,
        call,
        rates,
    } = price;
    wire::ModelPrice {
        model: model.to_owned(),
        provider: provider.clone(),
        input_text: input_text.nanos(),
        output_text: output_text.nanos(),
        cached_text: cached_text.map(Money::nanos),
        cache_write: cache_write.map(Money::nanos),
        reason_text: reason_text.map(Money::nanos),
        input_audio: input_audio.map(Money::nanos),
        output_audio: output_audio.map(Money::nanos),
        cached_audio: cached_audio.map(Money::nanos),
        input_image: input_image.map(Money::nanos),
        output_image: output_image.map(Money::nanos),
        call: call.nanos(),
        rates_micros: rates.micros(),
    }
}

/// Reads a health entry.
///
/// # Errors
/// When the key id, the state or its end is wrong.
pub fn health_from_wire(entry: wire::HealthEntry) -> Result<Health, Invalid> {
    let wire::HealthEntry {
        key_id,
        model,
        health,
    } = entry;
    let health = health.ok_or_else(|| Invalid::new("health", "is missing"))?;
    let until = || millis_from_wire("until_time", health.until_time.as_ref());
    let state = match health.state() {
        wire::key_health::State::Ready => HealthState::Ready,
        wire::key_health::State::Sleeping => HealthState::Sleeping { until: until()? },
        wire::key_health::State::Quarantined => HealthState::Quarantined { until: until()? },
        wire::key_health::State::Disabled => HealthState::Disabled,
        wire::key_health::State::Unspecified => return Err(Invalid::new("state", "is missing")),
    };
    Ok(Health {
        key: KeyId::new(key_id).map_err(|error| error.under("key_id"))?,
        model: (!model.is_empty()).then_some(model),
        state,
        reason: health.reason,
    })
}

/// A health entry for the wire.
pub fn health_to_wire(health: &Health) -> wire::HealthEntry {
    let Health {
        key,
        model,
        state,
        reason,
    } = health;
    wire::HealthEntry {
        key_id: key.get(),
        model: model.clone().unwrap_or_default(),
        health: Some(health_state_to_wire(*state, reason)),
    }
}

/// A state with its reason for the wire.
pub fn health_state_to_wire(state: HealthState, reason: &str) -> wire::KeyHealth {
    use wire::key_health::State;
    let (state, until) = match state {
        HealthState::Ready => (State::Ready, None),
        HealthState::Sleeping { until } => (State::Sleeping, Some(until)),
        HealthState::Quarantined { until } => (State::Quarantined, Some(until)),
        HealthState::Disabled => (State::Disabled, None),
    };
    wire::KeyHealth {
        state: state.into(),
        until_time: until.map(millis_to_wire),
        reason: reason.to_owned(),
    }
}
