//! `/x-conf`: the system's settings under their older names, and the state of the key pool.

use std::collections::{BTreeMap, BTreeSet};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use proxyxai_contract::{
    Invalid,
    clock::{Millis, Zone},
    id::KeyId,
    money::Money,
    snapshot::{Health, HealthState},
    window::ModelLimits,
};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    answer::Dollars,
    failure::Failure,
    fields::Fields,
    request::{Asker, Params},
    routes,
};
use crate::{
    Control, Error,
    domain::setting,
    ops,
    ops::settings::Scope,
    view::{Caller, KeyFilter, KeyView, Page},
};

/// Settings that can be set here: name in the body, name of the setting.
const SETTINGS: [(&str, &str); 11] = [
    ("ModelMapper", "MODEL_MAPPER"),
    ("LevelMapper", "LEVEL_MAPPER"),
    ("SwitchOver", "SWITCH_OVER"),
    ("ModelFailover", "MODEL_FAILOVER"),
    ("KeyStrategy", "KEY_STRATEGY"),
    ("Affinity", "AFFINITY"),
    ("Hedge", "HEDGE"),
    ("ModelLimits", "MODEL_LIMITS"),
    ("Resources", "RESOURCES"),
    ("UserMinBalance", "USER_MIN_BALANCE"),
    ("UserApiBalance", "USER_API_BALANCE"),
];
/// Known to older scripts. Nothing acts on them, and the answer says so.
const IGNORED: [&str; 2] = ["LogEnable", "StatsInterval"];
/// Loads the key pool anew.
const LOAD_KEYS: &str = "LoadKeys";
const PAGE_ROWS: u64 = 1000;
/// So many pages of keys are looked through for the names of unwell ones.
const PAGES_MAX: u64 = 100;

pub(super) async fn show(
    State(control): State<Control>,
    Asker(caller): Asker,
    params: Params,
) -> Result<Response, Failure> {
    if let Some(model) = params.text("explain") {
        let route = routes::explain(&control, &caller, model, &params).await?;
        return Ok(Json(route).into_response());
    }
    let mut settings = ops::settings::get(&control, &caller).await?;
    let healths = ops::keys::health(&control, &caller).await?;
    let keys = unwell_keys(&control, &caller, &healths).await?;
    let zone = control.zone();
    // What its provider refused is disabled, also while it is still asked again now and then.
    let rows = |refused: bool| {
        let wanted = healths
            .iter()
            .filter(|health| is_refused(health.state) == Some(refused));
        wanted
            .filter_map(|health| Some(unwell_row(health, keys.get(&health.key)?, &zone)))
            .collect()
    };
    let mut take = |name| settings.remove(name).unwrap_or_default();
    let conf = Conf {
        resources: take("RESOURCES"),
        level_mapper: take("LEVEL_MAPPER"),
        model_mapper: take("MODEL_MAPPER"),
        model_failover: take("MODEL_FAILOVER"),
        key_strategy: take("KEY_STRATEGY"),
        affinity: take("AFFINITY"),
        hedge: take("HEDGE"),
        model_limits: model_limits(&take("MODEL_LIMITS")),
        switch_over: take("SWITCH_OVER"),
        user_min_balance: dollars(&take("USER_MIN_BALANCE")),
        user_api_balance: dollars(&take("USER_API_BALANCE")),
        sleeping_keys: rows(false),
        disabled_keys: rows(true),
    };
    Ok(Json(conf).into_response())
}

/// Stores what is given, and takes away what accounts have of their own in its place: unlike
/// `/x-config`, this counts for every account below, whatever it had.
pub(super) async fn update(
    State(control): State<Control>,
    Asker(caller): Asker,
    body: Fields,
) -> Result<Json<Value>, Failure> {
    let names = SETTINGS.into_iter().map(|(name, _)| name);
    let names: Vec<_> = names.chain(IGNORED).chain([LOAD_KEYS]).collect();
    body.only(&names)?;
    let load_keys = body.flag(LOAD_KEYS)?.unwrap_or(false);
    body.flag("LogEnable")?;
    body.whole::<i64>("StatsInterval")?;
    let mut set = BTreeMap::new();
    let mut updated = Map::new();
    for (name, setting) in SETTINGS {
        if let Some((value, shown)) = read(&body, name)? {
            updated.insert(name.to_owned(), shown);
            set.insert(setting.to_owned(), value);
        }
    }
    if !set.is_empty() {
        let stored =
            ops::settings::change(&control, &caller, set, Vec::new(), Scope::AllAccounts).await;
        stored.map_err(as_named_here)?;
    } else if !load_keys {
        // Whoever may not see the settings may not send an empty change either.
        ops::settings::get(&control, &caller).await?;
    }
    if load_keys {
        ops::keys::reload(&control, &caller).await?;
        updated.insert(LOAD_KEYS.to_owned(), true.into());
    }
    let mut answer = json!({ "success": true, "updated": updated });
    let ignored: Vec<_> = IGNORED.into_iter().filter(|name| body.has(name)).collect();
    if !ignored.is_empty() {
        answer["ignored"] = json!(ignored);
    }
    Ok(Json(answer))
}

/// A field as the text of its setting, and as the answer shows it.
fn read(body: &Fields, name: &str) -> Result<Option<(String, Value)>, Invalid> {
    let text = match name {
        "UserMinBalance" | "UserApiBalance" => {
            return Ok(body.amount(name)?.map(|amount| {
                let text = amount.to_string();
                let plain = text.trim_start_matches('$').to_owned();
                (plain, json!(Dollars(amount)))
            }));
        }
        "ModelLimits" => {
            let limits = body.json(name)?;
            return Ok(limits.map(|text| (text.clone(), model_limits(&text).into())));
        }
        "Resources" | "SwitchOver" | "KeyStrategy" | "Affinity" | "Hedge" => body.text(name)?,
        _ => body.rules(name)?,
    };
    Ok(text.map(|text| (text.clone(), text.into())))
}

/// A refusal names the field of the body, not the setting behind it.
fn as_named_here(error: Error) -> Error {
    let Error::Invalid(invalid) = error else {
        return error;
    };
    let known = SETTINGS
        .into_iter()
        .find(|(_, setting)| *setting == invalid.field);
    match known {
        Some((name, _)) => invalid.under(name).into(),
        None => invalid.into(),
    }
}

/// The keys that something is reported of.
async fn unwell_keys(
    control: &Control,
    caller: &Caller,
    healths: &[Health],
) -> Result<BTreeMap<KeyId, KeyView>, Error> {
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
        let listing = ops::keys::list(control, caller, KeyFilter::default(), page).await?;
        let last = page.page * page.size >= listing.total;
        let rows = listing.rows.into_iter().map(|key| (key.id, key));
        found.extend(rows.filter(|(id, _)| wanted.contains(id)));
        if last {
            break;
        }
    }
    Ok(found)
}

// === answer ===

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Conf {
    resources: String,
    level_mapper: String,
    model_mapper: String,
    model_failover: String,
    key_strategy: String,
    affinity: String,
    hedge: String,
    model_limits: Map<String, Value>,
    switch_over: String,
    user_min_balance: Dollars,
    user_api_balance: Dollars,
    sleeping_keys: Vec<UnwellKey>,
    disabled_keys: Vec<UnwellKey>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct UnwellKey {
    #[serde(rename = "ID")]
    id: i64,
    name: String,
    provider: String,
    level: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
}

fn unwell_row(health: &Health, key: &KeyView, zone: &Zone) -> UnwellKey {
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

/// None for a key that is well.
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

/// What is stored has been checked, so it can always be read.
fn model_limits(setting: &str) -> Map<String, Value> {
    ModelLimits::parse(setting).unwrap_or_default().object()
}

/// What is stored has been checked, so there is always an amount.
fn dollars(setting: &str) -> Dollars {
    Dollars(setting::dollars(setting).unwrap_or(Money::ZERO))
}
