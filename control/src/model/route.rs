//! Where a call goes, and which keys it may get.

use proxyxai_contract::{
    id::AccountId,
    load_balancing::{KeyAffinity, KeyStrategy},
    plan::{ModelReason, PlanLevel},
    snapshot::HealthState,
};

use super::UpstreamKey;

/// What becomes of a call of an account for a model.
#[derive(Debug, Clone)]
pub struct RouteExplanation {
    /// Whose call.
    pub account: AccountId,
    /// Its name.
    pub name: String,
    /// As asked for.
    pub model: String,
    /// What keeps conversations on one key.
    pub affinity: KeyAffinity,
    /// Why it is refused, in words for people; none when it is let in.
    pub refusal: Option<String>,
    /// The models it is sent with, each for when the ones before could not be served.
    pub stages: Vec<RouteStage>,
}

/// One model of a route.
#[derive(Debug, Clone)]
pub struct RouteStage {
    /// As sent upstream and billed.
    pub model: String,
    /// Why this one.
    pub why: ModelReason,
    /// In the order they are tried.
    pub levels: Vec<RouteLevel>,
}

/// One level of a stage.
#[derive(Debug, Clone)]
pub struct RouteLevel {
    /// Which, and why.
    pub hop: PlanLevel,
    /// How its keys take turns.
    pub strategy: KeyStrategy,
    /// By id, which is their order of turns; where the turn is differs between data planes.
    pub keys: Vec<RouteKey>,
}

/// A key of a level.
#[derive(Debug, Clone)]
pub struct RouteKey {
    /// The key.
    pub key: UpstreamKey,
    /// Whether it serves this model.
    pub serves: bool,
    /// How it is, for this model.
    pub state: HealthState,
    /// Why it is not ready.
    pub reason: String,
}
