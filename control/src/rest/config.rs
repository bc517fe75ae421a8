//! `/x-config`: the system's settings under the names of their environment variables. Secrets are shown as `***` and
//! stay unchanged when `***` is sent back.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    body::{Body, Shape, body},
    error::RestError,
    fields::{Settings, Texts},
    request::{AccountCaller, JsonBody},
};
use crate::{Control, ops};

pub(super) async fn show(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
) -> Result<Json<SettingsResponse>, RestError> {
    let settings = ops::settings::get(&control, &caller).await?;
    Ok(Json(SettingsResponse {
        success: true,
        configs: settings,
    }))
}

pub(super) async fn update(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    JsonBody(body): JsonBody<Settings>,
) -> Result<Json<SettingsStored>, RestError> {
    let set = body.checked()?;
    let names: Vec<String> = set.keys().cloned().collect();
    let mut settings = ops::settings::update(&control, &caller, set, Vec::new()).await?;
    let updated: BTreeMap<_, _> = names
        .into_iter()
        .filter_map(|name| settings.remove_entry(&name))
        .collect();
    Ok(Json(SettingsStored {
        success: true,
        updated,
        message: "Configurations updated successfully",
    }))
}

pub(super) async fn delete(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    JsonBody(body): JsonBody<DropSettings>,
) -> Result<Json<SettingsDropped>, RestError> {
    let Texts(keys) = body.keys;
    ops::settings::update(&control, &caller, BTreeMap::new(), keys.clone()).await?;
    Ok(Json(SettingsDropped {
        success: true,
        deleted: keys,
        message: "Configurations deleted successfully (restored to default env)",
    }))
}

// === responses ===

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SettingsInEffect)]
pub(super) struct SettingsResponse {
    success: bool,
    /// By name; secret ones as `***`.
    configs: BTreeMap<String, String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SettingsUpdated)]
pub(super) struct SettingsStored {
    success: bool,
    updated: BTreeMap<String, String>,
    message: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SettingsDeleted)]
pub(super) struct SettingsDropped {
    success: bool,
    deleted: Vec<String>,
    message: &'static str,
}

/// Settings that go back to what the environment says.
#[derive(Deserialize, ToSchema)]
pub(super) struct DropSettings {
    /// The names of the settings.
    keys: Texts,
}
body!(DropSettings);
