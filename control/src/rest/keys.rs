//! `/x-keys`: upstream keys.

use std::{collections::BTreeMap, num::NonZeroU32};

use axum::{Json, extract::State};
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
use serde::{Deserialize, Serialize};
use utoipa::{ToSchema, openapi::Schema};

use super::{
    body::{Body, Shape, body},
    error::{RestError, of_field},
    fields::{Flag, Inside, LevelNumber, ObjectText, Pairs, Text, Texts, Whole},
    request::{AccountCaller, JsonBody, OptionalBody, PathParam, QueryParams},
    response::{MASK, PagedResponse, mask, paged, words},
    users::actions,
};
use crate::{
    Control,
    model::{
        Caller, KeyState, Listing, NewUpstreamKey, Page, ProbeResult, UpstreamKey,
        UpstreamKeyChange, UpstreamKeyFilter,
    },
    ops,
};

pub(super) async fn list(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    params: QueryParams,
) -> Result<PagedResponse<UpstreamKeyRow>, RestError> {
    let id = params.int("id")?.map(KeyId::new).transpose()?;
    let filter = UpstreamKeyFilter {
        id,
        level: params.level()?,
        provider: params.text("provider").map(ToOwned::to_owned),
        search: params.text("search").map(ToOwned::to_owned),
        state: params.text("state").map(KeyState::parse).transpose()?,
    };
    listed(&control, &caller, filter, params.page()?).await
}

/// `/x-keys/{id}`, `/x-keys/L{n}` or `/x-keys/{provider host}`.
pub(super) async fn filtered(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    segment: PathParam,
    params: QueryParams,
) -> Result<PagedResponse<UpstreamKeyRow>, RestError> {
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
    let mut filter = UpstreamKeyFilter {
        level: segment.level_filter()?,
        ..UpstreamKeyFilter::default()
    };
    if filter.level.is_none() {
        filter.provider = Some(segment.0);
    }
    listed(&control, &caller, filter, page).await
}

async fn listed(
    control: &Control,
    caller: &Caller,
    filter: UpstreamKeyFilter,
    page: Page,
) -> Result<PagedResponse<UpstreamKeyRow>, RestError> {
    let listing = ops::keys::list(control, caller, filter, page).await?;
    let zone = control.zone();
    Ok(paged(listing, page, |key| row(key, &zone)))
}

pub(super) async fn create(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    JsonBody(CreateKey { needed, rest }): JsonBody<CreateKey>,
) -> Result<Json<UpstreamKeyChanged>, RestError> {
    let provider = rest.provider.map(|it| it.0);
    let new = NewUpstreamKey {
        secret: Secret::new(needed.secret_key.0),
        name: rest.name.map(|it| it.0).unwrap_or_default(),
        provider: provider.filter(|text| !text.is_empty()),
        level: rest.level.map_or(Level::ZERO, |it| it.0),
        enabled: rest.status.is_none_or(|it| it.0),
        config: config(rest.config.or(rest.newer_config))?.unwrap_or_default(),
    };
    let key = ops::keys::create(&control, &caller, new).await?;
    let warning = ops::keys::mixed_level(&control, &caller, &key).await?;
    Ok(written("add", key, warning, &control.zone()))
}

pub(super) async fn update(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    segment: PathParam,
    JsonBody(body): JsonBody<UpdateKey>,
) -> Result<Json<UpstreamKeyChanged>, RestError> {
    // Clients that send a whole row back include the mask.
    let secret = body.secret_key.map(|it| it.0).filter(|text| text != MASK);
    let change = UpstreamKeyChange {
        secret: secret.map(Secret::new),
        name: body.name.map(|it| it.0),
        provider: body.provider.map(|it| it.0),
        level: body.level.map(|it| it.0),
        enabled: body.status.map(|it| it.0),
        config: config(body.config.or(body.newer_config))?,
    };
    let key = ops::keys::update(&control, &caller, segment.key_id()?, change).await?;
    let warning = ops::keys::mixed_level(&control, &caller, &key).await?;
    Ok(written("update", key, warning, &control.zone()))
}

pub(super) async fn delete(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    segment: PathParam,
) -> Result<Json<UpstreamKeyChanged>, RestError> {
    let key = ops::keys::delete(&control, &caller, segment.key_id()?).await?;
    Ok(written("delete", key, None, &control.zone()))
}

/// `POST /x-keys/{id}/probe`: whether the provider accepts the key, and for which model if `Model` is given.
pub(super) async fn probe(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    segment: PathParam,
    OptionalBody(body): OptionalBody<ProbeKey>,
) -> Result<Json<ProbeKeyResponse>, RestError> {
    let model = body.and_then(|body| body.model).map(|it| it.0);
    let probe = ops::keys::probe(&control, &caller, segment.key_id()?, model.as_deref()).await;
    let ProbeResult {
        accepted,
        status,
        detail,
        duration_ms,
    } = probe.map_err(|error| of_field(error, "Model"))?;
    Ok(Json(ProbeKeyResponse {
        accepted,
        status,
        detail,
        duration_ms,
    }))
}

/// What a provider is asked with a key.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct ProbeKey {
    /// The model that is called, for one token of answer, which the provider charges the operator; without one the
    /// provider is asked for its list of models.
    model: Option<Text>,
}
body!(ProbeKey);

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = KeyProbe)]
pub(super) struct ProbeKeyResponse {
    accepted: bool,
    /// 0 when it could not be reached.
    status: u16,
    detail: String,
    #[serde(rename = "DurationMS")]
    duration_ms: u64,
}

/// A new upstream key: everything that can be changed of one, with its secret.
#[derive(ToSchema)]
pub(super) struct CreateKey {
    #[serde(flatten)]
    needed: KeyNeeds,
    #[serde(flatten)]
    rest: UpdateKey,
}
body!(CreateKey: needed KeyNeeds, rest UpdateKey);

/// What an upstream key cannot be added without.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
struct KeyNeeds {
    /// The provider's credential, 20 characters at least. It is never shown.
    secret_key: Text,
}
body!(KeyNeeds);

/// Changes of an upstream key. What is left out stays as it is, or is at its default in a new key. A whole row of a
/// listing may be sent back: what is only shown is passed over.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UpdateKey {
    /// A display name.
    name: Option<Text>,
    /// The provider's credential, 20 characters at least. `***`, as it is shown, leaves it as it is.
    secret_key: Option<Text>,
    /// The provider's base address, with its version segment where it has one (`https://…/v1beta/openai`); a bare host
    /// gets `/v1`. `OpenAI` by default.
    provider: Option<Text>,
    /// Its level; by default 0.
    level: Option<LevelNumber>,
    /// If false, it is not used. Default: true.
    status: Option<Flag>,
    /// How it is used. Replaces the whole configuration: fields that are left out return to their defaults.
    #[schema(value_type = Option<KeySettings>)]
    config: Option<Inside<KeySettings>>,
    /// The same as `Config`, which takes precedence.
    #[serde(rename = "config")]
    #[schema(value_type = Option<KeySettings>)]
    newer_config: Option<Inside<KeySettings>>,
}
body!(UpdateKey, shown: ["ID", "CreatedAt", "UpdatedAt"]);

/// How an upstream key is used.
#[derive(Deserialize, ToSchema)]
pub(super) struct KeySettings {
    /// `standard`, `anthropic` or `azure`: the provider's API and the header of the key. Default: `standard`.
    provider_type: Option<Text>,
    /// Whether usage may be requested at the end of streams. Default: true.
    include_usage: Option<Flag>,
    /// The only models that it serves, `*` matches anything; at most 1000. If empty, all.
    models: Option<Texts>,
    /// What this provider calls a model, by its name here, such as `{"gpt-4o": "my-deployment"}`. Prices and records go by
    /// the name here; what is named here is served, whatever `models` says.
    #[schema(value_type = Option<Pairs>)]
    model_names: Option<Inside<Pairs>>,
    /// Its share with the strategy `weighted`; 1 by default, also for 0.
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 1000)]
    weight: Option<Whole<i64>>,
    /// Concurrent calls; 0, the default, for no limit.
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 1_000_000)]
    max_concurrency: Option<Whole<i64>>,
    /// Headers that each call with it carries, such as `openai-organization`.
    #[schema(value_type = Option<Pairs>)]
    headers: Option<Inside<Pairs>>,
    /// What calls with it cost the operator, such as `{"Factor": 0.7}`; the list of prices when it is missing.
    price: Option<ObjectText>,
}
body!(KeySettings);

fn config(given: Option<Inside<KeySettings>>) -> Result<Option<KeyConfig>, Invalid> {
    given
        .map(Inside::read)
        .transpose()?
        .map(key_config)
        .transpose()
}

fn key_config(config: KeySettings) -> Result<KeyConfig, Invalid> {
    let text = |text: Option<Text>| text.map(|it| it.0).unwrap_or_default();
    let whole = |number: Option<Whole<i64>>| number.map_or(0, |it| it.0);
    let price = config.price.map(ObjectText::checked).transpose()?;
    let config = KeyConfig {
        provider_type: ProviderType::parse(&text(config.provider_type))?,
        include_usage: config.include_usage.is_none_or(|it| it.0),
        models: config.models.map(|it| it.0).unwrap_or_default(),
        model_names: pairs(config.model_names)?.into_iter().collect(),
        weight: KeyConfig::weight_of(whole(config.weight))?,
        max_concurrency: KeyConfig::concurrency_of(whole(config.max_concurrency))?,
        headers: headers(&pairs(config.headers)?)?,
        price: KeyPrice::parse(&price.unwrap_or_default())?,
    };
    config.check_models()?;
    Ok(config)
}

fn pairs(given: Option<Inside<Pairs>>) -> Result<Vec<(String, String)>, Invalid> {
    let pairs = given.map(Inside::read).transpose()?;
    Ok(pairs.into_iter().flat_map(Pairs::texts).collect())
}

fn headers(pairs: &[(String, String)]) -> Result<KeyHeaders, Invalid> {
    let pairs = pairs.iter();
    KeyHeaders::parse(pairs.map(|(name, value)| (name.as_str(), value.as_str())))
}

// === responses ===

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = UpstreamKey)]
pub(super) struct UpstreamKeyRow {
    #[serde(rename = "ID")]
    id: i64,
    name: String,
    #[schema(schema_with = mask)]
    secret_key: &'static str,
    provider: String,
    #[schema(maximum = 10)]
    level: u8,
    status: bool,
    config: KeyConfigRow,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UpstreamKeyConfig)]
struct KeyConfigRow {
    #[schema(schema_with = provider_types)]
    provider_type: &'static str,
    include_usage: bool,
    models: Vec<String>,
    model_names: BTreeMap<String, String>,
    weight: u16,
    /// 0 for none.
    max_concurrency: u32,
    headers: BTreeMap<String, String>,
    /// Empty for the list.
    #[schema(value_type = Object)]
    price: serde_json::Value,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UpstreamKeyChanged)]
pub(super) struct UpstreamKeyChanged {
    success: bool,
    #[serde(rename = "Action")]
    #[schema(schema_with = actions)]
    action: &'static str,
    #[serde(rename = "Key")]
    key: UpstreamKeyRow,
    #[serde(rename = "Warning", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    warning: Option<String>,
}

fn provider_types() -> Schema {
    use ProviderType::{Anthropic, Azure, Standard};
    words([Standard, Anthropic, Azure].map(ProviderType::as_str))
}

fn written(
    action: &'static str,
    key: UpstreamKey,
    warning: Option<String>,
    zone: &Zone,
) -> Json<UpstreamKeyChanged> {
    Json(UpstreamKeyChanged {
        success: true,
        action,
        key: row(key, zone),
        warning,
    })
}

fn row(key: UpstreamKey, zone: &Zone) -> UpstreamKeyRow {
    let UpstreamKey {
        id,
        name,
        provider,
        level,
        enabled,
        config,
        // Neither belongs to this shape; `/x-conf` shows which keys are out of rotation and why.
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
    UpstreamKeyRow {
        id: id.get(),
        name,
        secret_key: MASK,
        provider,
        level: level.get(),
        status: enabled,
        config: KeyConfigRow {
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
