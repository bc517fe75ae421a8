//! Upstream keys and their health between the wire and the domain. When a key may be used is decided elsewhere.

use prost::Message as _;

use super::{millis_from_wire, millis_to_wire};
use crate::{
    Invalid,
    id::{KeyId, Level},
    key_headers::KeyHeaders,
    key_price::KeyPrice,
    provider::{BaseUrl, ProviderType},
    secret::Secret,
    snapshot::{HealthState, KeyConfig, KeyHealthReport, UpstreamKey},
    wire,
};

pub(super) fn key_from_wire(entry: wire::KeyEntry) -> Result<UpstreamKey, Invalid> {
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

pub(super) fn key_to_wire(key: &UpstreamKey) -> wire::KeyEntry {
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
/// Errors if the provider type is unknown, the list of models is too long, a number is out of range or a header must
/// not be set.
pub fn config_from_wire(config: wire::KeyConfig) -> Result<KeyConfig, Invalid> {
    let wire::KeyConfig {
        provider_type,
        include_usage,
        models,
        weight,
        max_concurrency,
        headers,
        price,
        model_names,
    } = config;
    let config = KeyConfig {
        provider_type: ProviderType::parse(&provider_type)?,
        include_usage: include_usage.unwrap_or(true),
        models,
        model_names: model_names.into_iter().collect(),
        weight: KeyConfig::weight_of(weight.into())?,
        max_concurrency: KeyConfig::concurrency_of(max_concurrency.into())?,
        headers: KeyHeaders::parse(
            headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        )?,
        price: KeyPrice::parse(&price)?,
    };
    config.check_models()?;
    Ok(config)
}

/// A key's config for the wire.
pub fn config_to_wire(config: &KeyConfig) -> wire::KeyConfig {
    let KeyConfig {
        provider_type,
        include_usage,
        models,
        model_names,
        weight,
        max_concurrency,
        headers,
        price,
    } = config;
    // Both are far below the maximum of the wire type.
    let cap = max_concurrency.map_or(0, |cap| i32::try_from(cap.get()).unwrap_or(i32::MAX));
    wire::KeyConfig {
        provider_type: provider_type.as_str().to_owned(),
        include_usage: Some(*include_usage),
        models: models.clone(),
        model_names: model_names.clone().into_iter().collect(),
        weight: (*weight).into(),
        max_concurrency: cap,
        headers: headers.texts().into_iter().collect(),
        price: price.text(),
    }
}

/// Reads a health entry.
///
/// # Errors
/// Errors if the key id, the state or its end is invalid.
pub fn health_from_wire(entry: wire::HealthEntry) -> Result<KeyHealthReport, Invalid> {
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
    Ok(KeyHealthReport {
        key: KeyId::new(key_id).map_err(|error| error.under("key_id"))?,
        model: (!model.is_empty()).then_some(model),
        state,
        reason: health.reason,
    })
}

/// A health report as bytes.
pub fn health_to_bytes(health: &KeyHealthReport) -> Vec<u8> {
    health_to_wire(health).encode_to_vec()
}

/// Reads what [`health_to_bytes`] wrote.
///
/// # Errors
/// Errors if it is something else.
pub fn health_from_bytes(bytes: &[u8]) -> Result<KeyHealthReport, Invalid> {
    let entry = wire::HealthEntry::decode(bytes);
    health_from_wire(entry.map_err(|error| Invalid::new("health", error.to_string()))?)
}

/// A health entry for the wire.
pub fn health_to_wire(health: &KeyHealthReport) -> wire::HealthEntry {
    let KeyHealthReport {
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
