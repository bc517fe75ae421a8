//! `/x-conf`: the system's settings under their older names, and the state of the key pool.

use std::collections::{BTreeMap, BTreeSet};

use axum::{Json, extract::State};
use proxyxai_contract::{
    Invalid,
    clock::{Millis, Zone},
    id::KeyId,
    money::Money,
    snapshot::{HealthState, KeyHealthReport},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::{
    body::{Body, Shape, body},
    error::RestError,
    fields::{DollarAmount, Flag, ObjectText, Rules, Text, Whole},
    query::{ParamType, QueryParam, U, USER, query},
    request::{AccountCaller, JsonBody, QueryParams},
    response::Dollars,
    routes,
};
use crate::{
    Control, Error,
    domain::setting::{self, Setting},
    model::{Caller, Page, UpstreamKey, UpstreamKeyFilter},
    ops,
    ops::settings::SettingsScope,
};

const PAGE_ROWS: u64 = 1000;
/// Upper bound on the pages of keys that are read to find the names of failing ones.
const PAGES_MAX: u64 = 100;

pub(super) const QUERY: [QueryParam; 3] = [
    query(
        "explain",
        ParamType::Text,
        "A model: returns the keys that a call for it would be tried on, instead of the settings",
    ),
    USER,
    U,
];

pub(super) async fn show(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    params: QueryParams,
) -> Result<Json<ConfOrRoute>, RestError> {
    if let Some(model) = params.text("explain") {
        let route = routes::explain(&control, &caller, model, &params).await?;
        return Ok(Json(ConfOrRoute::Route(route)));
    }
    let mut settings = ops::settings::get(&control, &caller).await?;
    let healths = ops::keys::health(&control, &caller).await?;
    let keys = unwell_keys(&control, &caller, &healths).await?;
    let zone = control.zone();
    // A key refused by its provider counts as disabled, even while it is still checked from time to time.
    let rows = |refused: bool| {
        let wanted = healths
            .iter()
            .filter(|health| is_refused(health.state) == Some(refused));
        wanted
            .filter_map(|health| Some(unwell_row(health, keys.get(&health.key)?, &zone)))
            .collect()
    };
    let mut take = |name| settings.remove(name).unwrap_or_default();
    let conf = SystemConf {
        resources: take(setting::RESOURCES.name),
        level_mapper: take(setting::LEVEL_MAPPER.name),
        model_mapper: take(setting::MODEL_MAPPER.name),
        model_failover: take(setting::MODEL_FAILOVER.name),
        key_strategy: take(setting::KEY_STRATEGY.name),
        affinity: take(setting::AFFINITY.name),
        hedge: take(setting::HEDGE.name),
        model_limits: model_limits(&take(setting::MODEL_LIMITS.name)),
        switch_over: take(setting::SWITCH_OVER.name),
        user_min_balance: dollars(
            &setting::USER_MIN_BALANCE,
            &take(setting::USER_MIN_BALANCE.name),
        ),
        user_api_balance: dollars(
            &setting::USER_API_BALANCE,
            &take(setting::USER_API_BALANCE.name),
        ),
        sleeping_keys: rows(false),
        disabled_keys: rows(true),
    };
    Ok(Json(ConfOrRoute::Conf(Box::new(conf))))
}

/// Stores the given settings and removes what accounts below have set in their place. Unlike `/x-config`, this applies
/// to every account.
pub(super) async fn update(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    JsonBody(body): JsonBody<UpdateConf>,
) -> Result<Json<SystemConfUpdated>, RestError> {
    let load_keys = body.load_keys.as_ref().is_some_and(|it| it.0);
    let ignored = ignored(&body);
    let settings = settings(body)?;
    let mut set = BTreeMap::new();
    let mut updated = Map::new();
    for (name, setting, given) in settings.clone() {
        if let Some((text, shown)) = given {
            updated.insert(name.to_owned(), shown);
            set.insert(setting.to_owned(), text);
        }
    }
    if !set.is_empty() {
        let stored = ops::settings::change(
            &control,
            &caller,
            set,
            Vec::new(),
            SettingsScope::AllAccounts,
        )
        .await;
        stored.map_err(|error| as_named_here(error, &settings))?;
    } else if !load_keys {
        // A caller that may not read the settings may not send an empty change either.
        ops::settings::get(&control, &caller).await?;
    }
    if load_keys {
        ops::keys::reload(&control, &caller).await?;
        updated.insert("LoadKeys".to_owned(), true.into());
    }
    Ok(Json(SystemConfUpdated {
        success: true,
        updated,
        ignored,
    }))
}

/// Settings that then apply to all accounts: the accounts' own values are removed.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct UpdateConf {
    /// Maps models to others.
    model_mapper: Option<Rules>,
    /// Maps models to levels: `pattern=level`.
    level_mapper: Option<Rules>,
    /// The level that a call switches to if its own has no usable key: `from=to,…`.
    switch_over: Option<Text>,
    /// Models to fall back to if one is not available: `source=first|second`, at most 16 in a chain.
    model_failover: Option<Rules>,
    /// How a key of a level is chosen: `round-robin`, `weighted`, `least-busy` or `fastest`; by level as in
    /// `fastest,2=weighted`.
    key_strategy: Option<Text>,
    /// What keeps a conversation on one key: `off`, `session` or `prefix`.
    affinity: Option<Text>,
    /// `on` also sends a call to a second key when the first is slower than 95 % of answers; or `off`.
    hedge: Option<Text>,
    /// Limits by model, such as `{"gpt-4*": {"rpm": 5, "tpd": 100000}}`; an empty object for none.
    model_limits: Option<ObjectText>,
    /// Paths that may be called, comma separated; `{id}` stands for any segment, a trailing `/*` for everything below.
    resources: Option<Text>,
    /// Least opening credit of an account, in dollars.
    user_min_balance: Option<DollarAmount>,
    /// Balance that managing accounts needs, in dollars.
    user_api_balance: Option<DollarAmount>,
    /// Accepted for older scripts and without effect, as the answer says.
    log_enable: Option<Flag>,
    /// Accepted for older scripts and without effect, as the answer says.
    #[schema(value_type = Option<i64>)]
    stats_interval: Option<Whole<i64>>,
    /// If true, the key pool is reloaded.
    load_keys: Option<Flag>,
}
body!(UpdateConf);

/// A field, its setting and, if the field was given, the setting's text and the value for the response.
type SettingUpdate = (&'static str, &'static str, Option<(String, Value)>);

fn settings(body: UpdateConf) -> Result<[SettingUpdate; 11], Invalid> {
    let text = |text: Option<Text>| text.map(|it| (it.0.clone(), it.0.into()));
    let rules = |rules: Option<Rules>| text(rules.map(|it| Text(it.0)));
    let dollars = |amount: Option<DollarAmount>| {
        amount.map(|DollarAmount(amount)| {
            let text = amount.to_string();
            let plain = text.trim_start_matches('$').to_owned();
            (plain, json!(Dollars(amount)))
        })
    };
    let limits = body.model_limits.map(ObjectText::checked).transpose()?;
    let limits = limits.map(|text| (text.clone(), model_limits(&text).into()));
    Ok([
        (
            "ModelMapper",
            setting::MODEL_MAPPER.name,
            rules(body.model_mapper),
        ),
        (
            "LevelMapper",
            setting::LEVEL_MAPPER.name,
            rules(body.level_mapper),
        ),
        (
            "SwitchOver",
            setting::SWITCH_OVER.name,
            text(body.switch_over),
        ),
        (
            "ModelFailover",
            setting::MODEL_FAILOVER.name,
            rules(body.model_failover),
        ),
        (
            "KeyStrategy",
            setting::KEY_STRATEGY.name,
            text(body.key_strategy),
        ),
        ("Affinity", setting::AFFINITY.name, text(body.affinity)),
        ("Hedge", setting::HEDGE.name, text(body.hedge)),
        ("ModelLimits", setting::MODEL_LIMITS.name, limits),
        ("Resources", setting::RESOURCES.name, text(body.resources)),
        (
            "UserMinBalance",
            setting::USER_MIN_BALANCE.name,
            dollars(body.user_min_balance),
        ),
        (
            "UserApiBalance",
            setting::USER_API_BALANCE.name,
            dollars(body.user_api_balance),
        ),
    ])
}

fn ignored(body: &UpdateConf) -> Vec<&'static str> {
    let log_enable = body.log_enable.as_ref().map(|_| "LogEnable");
    let stats_interval = body.stats_interval.as_ref().map(|_| "StatsInterval");
    log_enable.into_iter().chain(stats_interval).collect()
}

/// Errors name the field of the body instead of the setting.
fn as_named_here(error: Error, settings: &[SettingUpdate]) -> Error {
    let Error::Invalid(invalid) = error else {
        return error;
    };
    let mut settings = settings.iter();
    match settings.find(|(_, setting, _)| *setting == invalid.field) {
        Some((name, _, _)) => invalid.under(*name).into(),
        None => invalid.into(),
    }
}

/// The keys with a reported failure.
async fn unwell_keys(
    control: &Control,
    caller: &Caller,
    healths: &[KeyHealthReport],
) -> Result<BTreeMap<KeyId, UpstreamKey>, Error> {
    let wanted: BTreeSet<KeyId> = healths.iter().map(|health| health.key).collect();
    let mut found = BTreeMap::new();
    for page in 1..=PAGES_MAX {
        if found.len() == wanted.len() {
            break;
        }
        let page = Page {
            page,
            size: PAGE_ROWS,
        };
        let listing = ops::keys::list(control, caller, UpstreamKeyFilter::default(), page).await?;
        let last = page.page * page.size >= listing.total;
        let rows = listing.rows.into_iter().map(|key| (key.id, key));
        found.extend(rows.filter(|(id, _)| wanted.contains(id)));
        if last {
            break;
        }
    }
    Ok(found)
}

// === responses ===

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SystemConfOrRoute)]
#[serde(untagged)]
pub(super) enum ConfOrRoute {
    Conf(Box<SystemConf>),
    Route(routes::RouteResponse),
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SystemConfUpdated)]
pub(super) struct SystemConfUpdated {
    success: bool,
    /// What was stored, by the names of the body.
    updated: Map<String, Value>,
    /// Names that are accepted and without effect.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ignored: Vec<&'static str>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = SystemConf)]
pub(super) struct SystemConf {
    resources: String,
    level_mapper: String,
    model_mapper: String,
    model_failover: String,
    key_strategy: String,
    affinity: String,
    hedge: String,
    #[schema(value_type = BTreeMap<String, BTreeMap<String, u64>>)]
    model_limits: Map<String, Value>,
    switch_over: String,
    user_min_balance: Dollars,
    user_api_balance: Dollars,
    sleeping_keys: Vec<UnwellKey>,
    disabled_keys: Vec<UnwellKey>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
struct UnwellKey {
    #[serde(rename = "ID")]
    id: i64,
    name: String,
    provider: String,
    #[schema(maximum = 10)]
    level: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    until: Option<String>,
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    model: Option<String>,
}

fn unwell_row(health: &KeyHealthReport, key: &UpstreamKey, zone: &Zone) -> UnwellKey {
    UnwellKey {
        id: key.id.get(),
        name: key.name.clone(),
        provider: key.provider.clone(),
        level: key.level.get(),
        until: until(health.state).map(|until| zone.rfc3339(until)),
        reason: health.reason.clone(),
        model: health.model.clone(),
    }
}

/// Returns `None` for a healthy key.
fn is_refused(state: HealthState) -> Option<bool> {
    match state {
        HealthState::Ready => None,
        HealthState::Sleeping { .. } => Some(false),
        HealthState::Quarantined { .. } | HealthState::Disabled => Some(true),
    }
}

fn until(state: HealthState) -> Option<Millis> {
    match state {
        HealthState::Ready | HealthState::Disabled => None,
        HealthState::Sleeping { until } | HealthState::Quarantined { until } => Some(until),
    }
}

/// Stored settings were checked, so this always parses.
fn model_limits(text: &str) -> Map<String, Value> {
    let limits = setting::MODEL_LIMITS.parse(text);
    limits.unwrap_or_default().object()
}

/// Stored settings were checked, so this always parses.
fn dollars(setting: &Setting<Money>, text: &str) -> Dollars {
    Dollars(setting.parse(text).unwrap_or(Money::ZERO))
}
