//! Converts explained routes to wire messages.

use proxyxai_contract::{
    convert::health_state_to_wire,
    plan::{LevelReason, ModelReason, PlanLevel, RuleOwner},
    wire::{self, route_level, route_stage, rule_giver},
};

use super::keys::key_to_wire;
use crate::model::{RouteExplanation, RouteKey, RouteLevel, RouteStage};

pub(super) fn route_to_wire(route: RouteExplanation) -> wire::ExplainRouteResponse {
    let RouteExplanation {
        account,
        name,
        // The caller knows the model that it asked for.
        model: _,
        affinity,
        refusal,
        stages,
    } = route;
    wire::ExplainRouteResponse {
        account_id: account.get(),
        account_name: name,
        refusal: refusal.unwrap_or_default(),
        affinity: affinity.as_str().to_owned(),
        stages: stages.into_iter().map(stage).collect(),
    }
}

fn stage(stage: RouteStage) -> wire::RouteStage {
    use route_stage::Why;
    let RouteStage { model, why, levels } = stage;
    let (why, by) = match why {
        ModelReason::Asked => (Why::Asked, None),
        ModelReason::Mapped(giver) => (Why::Mapped, Some(giver)),
        ModelReason::Failover(giver) => (Why::Failover, Some(giver)),
    };
    wire::RouteStage {
        model,
        why: why.into(),
        by: by.map(giver),
        levels: levels.into_iter().map(level).collect(),
    }
}

fn level(level: RouteLevel) -> wire::RouteLevel {
    use route_level::Why;
    let RouteLevel {
        hop: PlanLevel { level, why },
        strategy,
        keys,
    } = level;
    let (why, by) = match why {
        LevelReason::Account => (Why::Account, None),
        LevelReason::Mapped(giver) => (Why::Mapped, Some(giver)),
        LevelReason::SwitchOver(giver) => (Why::SwitchOver, Some(giver)),
    };
    wire::RouteLevel {
        level: level.get().into(),
        why: why.into(),
        by: by.map(giver),
        strategy: strategy.as_str().to_owned(),
        keys: keys.into_iter().map(turn).collect(),
    }
}

fn turn(turn: RouteKey) -> wire::RouteKey {
    let RouteKey {
        key,
        state,
        reason,
        serves,
    } = turn;
    wire::RouteKey {
        key: Some(key_to_wire(key)),
        health: Some(health_state_to_wire(state, &reason)),
        serves,
    }
}

const fn giver(giver: RuleOwner) -> wire::RuleGiver {
    let giver = match giver {
        RuleOwner::Account(id) => rule_giver::Giver::AccountId(id.get()),
        RuleOwner::System => rule_giver::Giver::System(true),
    };
    wire::RuleGiver { giver: Some(giver) }
}
