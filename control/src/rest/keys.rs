//! `/x-keys`: upstream keys.

use std::{collections::BTreeMap, num::NonZeroU32};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use proxyxai_contract::{
    Invalid,
    clock::Zone,
    id::{KeyId, Level},
    key_headers::KeyHeaders,
    key_price::KeyPrice,
    provider::ProviderType,
    secret::Secret,
    snapshot::KeyConfig,
};
use serde::Serialize;

use super::{
    answer::paged,
    failure::{Failure, of_field},
    fields::Fields,
    request::{Asker, Given, Params, Segment},
};
use crate::{
    Control, ops,
    view::{Caller, KeyChange, KeyFilter, KeyView, Listing, NewKey, Page, Probe},
};

pub(super) async fn list(
    State(control): State<Control>,
    Asker(caller): Asker,
    params: Params,
) -> Result<Response, Failure> {
    let id = params.whole("id")?.map(KeyId::new).transpose()?;
    let filter = KeyFilter {
        id,
        level: params.level()?,
        provider: params.text("provider").map(ToOwned::to_owned),
    };
    listed(&control, &caller, filter, params.page()?).await
}

/// `/x-keys/{id}`, `/x-keys/L{n}` or `/x-keys/{provider host}`.
pub(super) async fn filtered(
    State(control): State<Control>,
    Asker(caller): Asker,
    segment: Segment,
    params: Params,
) -> Result<Response, Failure> {
    let page = params.page()?;
    if segment.0.bytes().all(|byte| byte.is_ascii_digit()) {
        let key = ops::keys::get(&control, &caller, segment.key_id()?).await?;
        let listing = Listing {
            rows: vec![key],
            total: 1,
        };
        let zone = control.zone();
        return Ok(paged(listing, page, |key| row(key, &zone)));
    }
    let mut filter = KeyFilter {
        level: segment.level_filter()?,
        ..KeyFilter::default()
    };
    if filter.level.is_none() {
        filter.provider = Some(segment.0);
    }
    listed(&control, &caller, filter, page).await
}

async fn listed(
    control: &Control,
    caller: &Caller,
    filter: KeyFilter,
    page: Page,
) -> Result<Response, Failure> {
    let listing = ops::keys::list(control, caller, filter, page).await?;
    let zone = control.zone();
    Ok(paged(listing, page, |key| row(key, &zone)))
}

pub(super) async fn create(
    State(control): State<Control>,
    Asker(caller): Asker,
    body: Fields,
) -> Result<Response, Failure> {
    body.check_spelling(&FIELDS)?;
    let new = NewKey {
        secret: Secret::new(body.required_text("SecretKey")?),
        name: body.text("Name")?.unwrap_or_default(),
        provider: body.text("Provider")?.filter(|text| !text.is_empty()),
        level: body.level("Level")?.unwrap_or(Level::ZERO),
        enabled: body.flag("Status")?.unwrap_or(true),
        config: config(&body)?.unwrap_or_default(),
    };
    let key = ops::keys::create(&control, &caller, new).await?;
    let warning = ops::keys::mixed_level(&control, &caller, &key).await?;
    Ok(written("add", key, warning, &control.zone()))
}

pub(super) async fn update(
    State(control): State<Control>,
    Asker(caller): Asker,
    segment: Segment,
    body: Fields,
) -> Result<Response, Failure> {
    body.check_spelling(&FIELDS)?;
    // Clients that send a whole row back send the mask with it.
    let secret = body.text("SecretKey")?.filter(|text| text != MASK);
    let change = KeyChange {
        secret: secret.map(Secret::new),
        name: body.text("Name")?,
        provider: body.text("Provider")?,
        level: body.level("Level")?,
        enabled: body.flag("Status")?,
        config: config(&body)?,
    };
    let key = ops::keys::update(&control, &caller, segment.key_id()?, change).await?;
    let warning = ops::keys::mixed_level(&control, &caller, &key).await?;
    Ok(written("update", key, warning, &control.zone()))
}

pub(super) async fn delete(
    State(control): State<Control>,
    Asker(caller): Asker,
    segment: Segment,
) -> Result<Response, Failure> {
    let key = ops::keys::delete(&control, &caller, segment.key_id()?).await?;
    Ok(written("delete", key, None, &control.zone()))
}

/// `POST /x-keys/{id}/probe`: whether the provider takes the key, and for `Model` where one is named.
pub(super) async fn probe(
    State(control): State<Control>,
    Asker(caller): Asker,
    segment: Segment,
    Given(body): Given,
) -> Result<Json<Probed>, Failure> {
    body.only(&["Model"])?;
    let model = body.text("Model")?;
    let probe = ops::keys::probe(&control, &caller, segment.key_id()?, model.as_deref()).await;
    let Probe {
        accepted,
        status,
        detail,
        duration_ms,
    } = probe.map_err(|error| of_field(error, "Model"))?;
    Ok(Json(Probed {
        accepted,
        status,
        detail,
        duration_ms,
    }))
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Probed {
    accepted: bool,
    /// 0 when it could not be reached.
    status: u16,
    detail: String,
    #[serde(rename = "DurationMS")]
    duration_ms: u64,
}

/// The fields of a key, those that are only shown among them.
const FIELDS: [&str; 10] = [
    "ID",
    "Name",
    "SecretKey",
    "Provider",
    "Level",
    "Status",
    "Config",
    "config",
    "CreatedAt",
    "UpdatedAt",
];

/// The members of `Config`.
const CONFIG: [&str; 8] = [
    "provider_type",
    "include_usage",
    "models",
    "model_names",
    "weight",
    "max_concurrency",
    "headers",
    "price",
];

/// `Config`, or `config` as newer clients call it.
fn config(body: &Fields) -> Result<Option<KeyConfig>, Invalid> {
    let name = if body.has("Config") {
        "Config"
    } else {
        "config"
    };
    let Some(config) = body.object(name)? else {
        return Ok(None);
    };
    config.check_spelling(&CONFIG)?;
    let models = config.texts("models")?.unwrap_or_default();
    let names = config.object("model_names")?;
    let names = names.map(|names| names.pairs()).transpose()?;
    let provider_type = config.text("provider_type")?.unwrap_or_default();
    let config = KeyConfig {
        provider_type: ProviderType::parse(&provider_type)?,
        include_usage: config.flag("include_usage")?.unwrap_or(true),
        models,
        model_names: names.unwrap_or_default().into_iter().collect(),
        weight: KeyConfig::weight_of(config.whole("weight")?.unwrap_or_default())?,
        max_concurrency: KeyConfig::concurrency_of(
            config.whole("max_concurrency")?.unwrap_or_default(),
        )?,
        headers: headers(&config)?,
        price: KeyPrice::parse(&config.json("price")?.unwrap_or_default())?,
    };
    config.check_models()?;
    Ok(Some(config))
}

fn headers(config: &Fields) -> Result<KeyHeaders, Invalid> {
    let headers = config.object("headers")?;
    let pairs = headers.map(|headers| headers.pairs()).transpose()?;
    let pairs = pairs.unwrap_or_default();
    KeyHeaders::parse(
        pairs
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str())),
    )
}

// === answers ===

const MASK: &str = "***";

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct KeyRow {
    #[serde(rename = "ID")]
    id: i64,
    name: String,
    secret_key: &'static str,
    provider: String,
    level: u8,
    status: bool,
    config: ConfigRow,
    created_at: String,
    updated_at: String,
}

#[derive(Debug, Serialize)]
struct ConfigRow {
    provider_type: &'static str,
    include_usage: bool,
    models: Vec<String>,
    model_names: BTreeMap<String, String>,
    weight: u16,
    /// 0 for none.
    max_concurrency: u32,
    headers: BTreeMap<String, String>,
    /// Empty for the list.
    price: serde_json::Value,
}

#[derive(Debug, Serialize)]
struct Written {
    success: bool,
    #[serde(rename = "Action")]
    action: &'static str,
    #[serde(rename = "Key")]
    key: KeyRow,
    #[serde(rename = "Warning", skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
}

fn written(action: &'static str, key: KeyView, warning: Option<String>, zone: &Zone) -> Response {
    let answer = Written {
        success: true,
        action,
        key: row(key, zone),
        warning,
    };
    Json(answer).into_response()
}

fn row(key: KeyView, zone: &Zone) -> KeyRow {
    let KeyView {
        id,
        name,
        provider,
        level,
        enabled,
        config,
        // Neither belongs to this shape; `/x-conf` tells who sleeps and why.
        secret_hint: _,
        health: _,
        health_reason: _,
        created,
        updated,
    } = key;
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
    KeyRow {
        id: id.get(),
        name,
        secret_key: MASK,
        provider,
        level: level.get(),
        status: enabled,
        config: ConfigRow {
            provider_type: provider_type.as_str(),
            include_usage,
            models,
            model_names,
            weight,
            max_concurrency: max_concurrency.map_or(0, NonZeroU32::get),
            headers: headers.texts(),
            price: price.value(),
        },
        created_at: zone.rfc3339(created),
        updated_at: zone.rfc3339(updated),
    }
}
