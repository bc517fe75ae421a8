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
    provider::ProviderType,
    secret::Secret,
    snapshot::KeyConfig,
};
use serde::Serialize;

use super::{
    answer::paged,
    failure::Failure,
    fields::Fields,
    request::{Asker, Params, Segment},
};
use crate::{
    Control, ops,
    view::{Caller, KeyChange, KeyFilter, KeyView, Listing, NewKey, Page},
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
    let new = NewKey {
        secret: Secret::new(body.required_text("SecretKey")?),
        name: body.text("Name")?.unwrap_or_default(),
        provider: body.text("Provider")?.filter(|text| !text.is_empty()),
        level: body.level("Level")?.unwrap_or(Level::ZERO),
        enabled: body.flag("Status")?.unwrap_or(true),
        config: config(&body)?.unwrap_or_default(),
    };
    let key = ops::keys::create(&control, &caller, new).await?;
    Ok(written("add", key, &control.zone()))
}

pub(super) async fn update(
    State(control): State<Control>,
    Asker(caller): Asker,
    segment: Segment,
    body: Fields,
) -> Result<Response, Failure> {
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
    Ok(written("update", key, &control.zone()))
}

pub(super) async fn delete(
    State(control): State<Control>,
    Asker(caller): Asker,
    segment: Segment,
) -> Result<Response, Failure> {
    let key = ops::keys::delete(&control, &caller, segment.key_id()?).await?;
    Ok(written("delete", key, &control.zone()))
}

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
    let models = config.texts("models")?.unwrap_or_default();
    let nameless = |model: &String| model.is_empty() || model.len() > 255;
    if models.len() > 1000 || models.iter().any(nameless) {
        return Err(Invalid::new(
            "models",
            "must be at most 1000 names of 1 to 255 bytes",
        ));
    }
    let provider_type = config.text("provider_type")?.unwrap_or_default();
    Ok(Some(KeyConfig {
        provider_type: ProviderType::parse(&provider_type)?,
        include_usage: config.flag("include_usage")?.unwrap_or(true),
        models,
        weight: KeyConfig::weight_of(config.whole("weight")?.unwrap_or_default())?,
        max_concurrency: KeyConfig::concurrency_of(
            config.whole("max_concurrency")?.unwrap_or_default(),
        )?,
        headers: headers(&config)?,
    }))
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
    weight: u16,
    /// 0 for none.
    max_concurrency: u32,
    headers: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
struct Written {
    success: bool,
    #[serde(rename = "Action")]
    action: &'static str,
    #[serde(rename = "Key")]
    key: KeyRow,
}

fn written(action: &'static str, key: KeyView, zone: &Zone) -> Response {
    let answer = Written {
        success: true,
        action,
        key: row(key, zone),
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
        weight,
        max_concurrency,
        headers,
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
            weight,
            max_concurrency: max_concurrency.map_or(0, NonZeroU32::get),
            headers: headers.texts(),
        },
        created_at: zone.rfc3339(created),
        updated_at: zone.rfc3339(updated),
    }
}
