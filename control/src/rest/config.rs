//! `/x-config`: the system's settings under the names of their environment variables. Secret ones are
//! shown as `***`, and stay as they are when that is sent back.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    body::{Body, Shape, body},
    failure::Failure,
    fields::{Settings, Texts},
    request::{Asker, JsonBody},
};
use crate::{Control, ops};

pub(super) async fn show(
    State(control): State<Control>,
    Asker(caller): Asker,
) -> Result<Json<Shown>, Failure> {
    let settings = ops::settings::get(&control, &caller).await?;
    Ok(Json(Shown {
        success: true,
        configs: settings,
    }))
}

pub(super) async fn update(
    State(control): State<Control>,
    Asker(caller): Asker,
    JsonBody(body): JsonBody<Settings>,
) -> Result<Json<Stored>, Failure> {
    let set = body.checked()?;
    let names: Vec<String> = set.keys().cloned().collect();
    let mut settings = ops::settings::update(&control, &caller, set, Vec::new()).await?;
    let updated: BTreeMap<_, _> = names
        .into_iter()
        .filter_map(|name| settings.remove_entry(&name))
        .collect();
    Ok(Json(Stored {
        success: true,
        updated,
        message: "Configurations updated successfully",
    }))
}

pub(super) async fn delete(
    State(control): State<Control>,
    Asker(caller): Asker,
    JsonBody(body): JsonBody<DropSettings>,
) -> Result<Json<Dropped>, Failure> {
    let Texts(keys) = body.keys;
    ops::settings::update(&control, &caller, BTreeMap::new(), keys.clone()).await?;
    Ok(Json(Dropped {
        success: true,
        deleted: keys,
        message: "Configurations deleted successfully (restored to default env)",
    }))
}

// === answers ===

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SettingsInEffect)]
pub(super) struct Shown {
    success: bool,
    /// By name; secret ones as `***`.
    configs: BTreeMap<String, String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SettingsUpdated)]
pub(super) struct Stored {
    success: bool,
    updated: BTreeMap<String, String>,
    message: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SettingsDeleted)]
pub(super) struct Dropped {
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
