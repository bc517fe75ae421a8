//! `GET /x-conf?explain=MODEL&user=ID`: which keys a call would try, in order, and why.

use std::num::NonZeroU32;

use proxyxai_contract::{
    Invalid,
    clock::{Millis, Zone},
    plan::{LevelReason, ModelReason, PlanLevel, RuleOwner},
    snapshot::{HealthState, KeyConfig},
};
use serde::Serialize;
use utoipa::{ToSchema, openapi::Schema};

use super::{error::RestError, request::QueryParams, response::words};
use crate::{
    Control, Error,
    model::{Caller, RouteExplanation, RouteKey, RouteLevel, RouteStage, UpstreamKey},
    ops,
};

pub(super) async fn explain(
    control: &Control,
    caller: &Caller,
    model: &str,
    params: &QueryParams,
) -> Result<RouteResponse, RestError> {
    let user = params.text("user").or_else(|| params.text("u"));
    let route = ops::routes::explain(control, caller, model, user).await;
    // Errors name the parameter that the caller sent.
    let route = route.map_err(|error| match error {
        Error::Invalid(Invalid { field, problem }) if field == "model" => {
            Invalid::new("explain", problem).into()
        }
        other => other,
    })?;
    Ok(RouteResponse::of(route, &control.zone()))
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = Route)]
pub(super) struct RouteResponse {
    user: RouteAccount,
    model: String,
    affinity: &'static str,
    #[schema(required = true)]
    refusal: Option<String>,
    route: Vec<RouteStageRow>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = RouteUser)]
struct RouteAccount {
    #[serde(rename = "ID")]
    id: i64,
    name: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = RouteStage)]
struct RouteStageRow {
    model: String,
    #[schema(schema_with = model_reasons)]
    why: &'static str,
    #[schema(required = true)]
    by: Option<String>,
    levels: Vec<RouteLevelRow>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = RouteLevel)]
struct RouteLevelRow {
    #[schema(maximum = 10)]
    level: u8,
    #[schema(schema_with = level_reasons)]
    why: &'static str,
    #[schema(required = true)]
    by: Option<String>,
    strategy: &'static str,
    keys: Vec<RouteKeyRow>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = RouteKey)]
struct RouteKeyRow {
    #[serde(rename = "ID")]
    id: i64,
    name: String,
    partial_key: String,
    provider: String,
    weight: u16,
    /// 0 for none.
    max_concurrency: u32,
    #[schema(schema_with = states)]
    state: &'static str,
    #[schema(required = true)]
    until: Option<String>,
    reason: String,
}

impl RouteResponse {
    fn of(route: RouteExplanation, zone: &Zone) -> Self {
        let RouteExplanation {
            account,
            name,
            model,
            affinity,
            refusal,
            stages,
        } = route;
        Self {
            user: RouteAccount {
                id: account.get(),
                name,
            },
            model,
            affinity: affinity.as_str(),
            refusal,
            route: stages.into_iter().map(|it| stage(it, zone)).collect(),
        }
    }
}

fn model_reasons() -> Schema {
    words(["asked", "mapped", "failover"])
}

fn level_reasons() -> Schema {
    words(["account", "mapped", "switch-over"])
}

fn states() -> Schema {
    words([
        "off",
        "other-models",
        "ready",
        "asleep",
        "quarantined",
        "disabled",
    ])
}

fn stage(stage: RouteStage, zone: &Zone) -> RouteStageRow {
    let RouteStage { model, why, levels } = stage;
    let (why, by) = match why {
        ModelReason::Asked => ("asked", None),
        ModelReason::Mapped(giver) => ("mapped", Some(giver)),
        ModelReason::Failover(giver) => ("failover", Some(giver)),
    };
    RouteStageRow {
        model,
        why,
        by: by.map(by_whom),
        levels: levels.into_iter().map(|it| level(it, zone)).collect(),
    }
}

fn level(level: RouteLevel, zone: &Zone) -> RouteLevelRow {
    let RouteLevel {
        hop: PlanLevel { level, why },
        strategy,
        keys,
    } = level;
    let (why, by) = match why {
        LevelReason::Account => ("account", None),
        LevelReason::Mapped(giver) => ("mapped", Some(giver)),
        LevelReason::SwitchOver(giver) => ("switch-over", Some(giver)),
    };
    RouteLevelRow {
        level: level.get(),
        why,
        by: by.map(by_whom),
        strategy: strategy.as_str(),
        keys: keys.into_iter().map(|it| key(it, zone)).collect(),
    }
}

fn key(turn: RouteKey, zone: &Zone) -> RouteKeyRow {
    let RouteKey {
        key,
        state,
        reason,
        serves,
    } = turn;
    let UpstreamKey {
        id,
        name,
        provider,
        level: _,
        enabled,
        config,
        secret_hint,
        // `state` includes the key's state for this model.
        health: _,
        health_reason: _,
        created: _,
        updated: _,
    } = key;
    let KeyConfig {
        provider_type: _,
        include_usage: _,
        models: _,
        model_names: _,
        weight,
        max_concurrency,
        headers: _,
        price: _,
    } = config;
    let (state, until): (_, Option<Millis>) = match state {
        _ if !enabled => ("off", None),
        _ if !serves => ("other-models", None),
        HealthState::Ready => ("ready", None),
        HealthState::Sleeping { until } => ("asleep", Some(until)),
        HealthState::Quarantined { until } => ("quarantined", Some(until)),
        HealthState::Disabled => ("disabled", None),
    };
    RouteKeyRow {
        id: id.get(),
        name,
        partial_key: secret_hint,
        provider,
        weight,
        max_concurrency: max_concurrency.map_or(0, NonZeroU32::get),
        state,
        until: until.map(|until| zone.rfc3339(until)),
        reason,
    }
}

fn by_whom(giver: RuleOwner) -> String {
    match giver {
        RuleOwner::Account(id) => format!("account {id}"),
        RuleOwner::System => "system".to_owned(),
    }
}
