//! Explains where calls go.

use proxyxai_contract::{
    Invalid,
    id::Level,
    load_balancing::LoadBalancing,
    plan::{PlanLevel, PlanStage},
    snapshot::{HealthState, KeyHealthReport},
};

use crate::{
    Control, Error,
    model::{Caller, RouteExplanation, RouteKey, RouteLevel, RouteStage, UpstreamKey},
    ops, store,
};

const MODEL_BYTES_MAX: usize = 255;

/// Whether this may be a model's name.
pub(super) fn check_model(model: &str) -> Result<(), Invalid> {
    if model.is_empty() || model.len() > MODEL_BYTES_MAX || model.chars().any(char::is_control) {
        let problem = format!("must be a model, 1 to {MODEL_BYTES_MAX} bytes");
        return Err(Invalid::new("model", problem));
    }
    Ok(())
}

/// The models, levels and keys that a call of an account would try, in order and with reasons. Without an account it is
/// the caller's own call.
pub(crate) async fn explain(
    control: &Control,
    caller: &Caller,
    model: &str,
    account: Option<&str>,
) -> Result<RouteExplanation, Error> {
    ops::root_only(caller, "only root may see which keys serve a call")?;
    check_model(model)?;
    let account = match account {
        Some(identifier) => ops::accounts::find(control, caller, identifier).await?,
        None => ops::accounts::caller(control, caller).await?,
    };
    let publisher = control.publisher();
    let (store, vault, now) = (control.store(), control.vault(), control.now());
    publisher.refresh(store, vault, now).await?;
    let route = publisher.route(account.id, model);
    let route = route.ok_or_else(|| ops::no_such_account(&account.name))?;
    let keys = store::keys::living(store).await?;
    let pool = KeyPool {
        keys: keys
            .into_iter()
            .map(|record| ops::keys::with_health(control, record.key))
            .collect(),
        healths: publisher.healths(now),
        rotation: route.rotation,
    };
    let (plan, refusal) = match route.plan {
        Ok(plan) => (plan.stages, None),
        Err(refusal) => (Vec::new(), Some(refusal)),
    };
    Ok(RouteExplanation {
        account: account.id,
        name: account.name,
        model: model.to_owned(),
        affinity: route.rotation.affinity,
        refusal,
        stages: plan.into_iter().map(|stage| pool.stage(stage)).collect(),
    })
}

/// The keys to route to.
struct KeyPool {
    keys: Vec<UpstreamKey>,
    /// Only keys that are not ready.
    healths: Vec<KeyHealthReport>,
    rotation: LoadBalancing,
}

impl KeyPool {
    fn stage(&self, stage: PlanStage) -> RouteStage {
        let PlanStage { model, why, hops } = stage;
        let level = |hop: PlanLevel| RouteLevel {
            hop,
            strategy: self.rotation.strategies.of(hop.level),
            keys: self.turns(hop.level, &model),
        };
        RouteStage {
            levels: hops.into_iter().map(level).collect(),
            model,
            why,
        }
    }

    fn turns(&self, level: Level, model: &str) -> Vec<RouteKey> {
        let turn = |key: &UpstreamKey| {
            let said = self.healths.iter().filter(|health| health.key == key.id);
            let of = |whole: bool| {
                said.clone().find(|health| match &health.model {
                    None => whole,
                    Some(of) => !whole && of == model,
                })
            };
            // A fault of the whole key counts before a fault for one model.
            let (state, reason) = of(true)
                .or_else(|| of(false))
                .map_or((HealthState::Ready, ""), |health| {
                    (health.state, health.reason.as_str())
                });
            RouteKey {
                key: key.clone(),
                serves: key.config.serves(model),
                state,
                reason: reason.to_owned(),
            }
        };
        let of_level = self.keys.iter().filter(|key| key.level == level);
        of_level.map(turn).collect()
    }
}
