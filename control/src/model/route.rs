//! An explained route: where a call goes, and which keys it may use.

use proxyxai_contract::{
    id::AccountId,
    load_balancing::{KeyAffinity, KeyStrategy},
    plan::{ModelReason, PlanLevel},
    snapshot::HealthState,
};

use super::UpstreamKey;

/// The route of an account's call for a model.
#[derive(Debug, Clone)]
pub struct RouteExplanation {
    /// The account.
    pub account: AccountId,
    /// Its name.
    pub name: String,
    /// As asked for.
    pub model: String,
    /// What keeps conversations on one key.
    pub affinity: KeyAffinity,
    /// Why the call is refused, for people; `None` if it is admitted.
    pub refusal: Option<String>,
    /// The models to try, in order.
    pub stages: Vec<RouteStage>,
}

/// One model of the route.
#[derive(Debug, Clone)]
pub struct RouteStage {
    /// The model as sent upstream and billed.
    pub model: String,
    /// Why this model is tried.
    pub why: ModelReason,
    /// Its levels, in the order they are tried.
    pub levels: Vec<RouteLevel>,
}

/// One level of a stage.
#[derive(Debug, Clone)]
pub struct RouteLevel {
    /// The level, and why it is tried.
    pub hop: PlanLevel,
    /// How a key of the level is chosen.
    pub strategy: KeyStrategy,
    /// Its keys by id, which is their rotation order. The next key differs between data planes.
    pub keys: Vec<RouteKey>,
}

/// A key of a level.
#[derive(Debug, Clone)]
pub struct RouteKey {
    /// The key.
    pub key: UpstreamKey,
    /// Whether it serves this model.
    pub serves: bool,
    /// Its health for this model.
    pub state: HealthState,
    /// Why it is not ready.
    pub reason: String,
}
