//! Where calls go, by the same rules and configuration as on data planes.

use proxyxai_contract::{
    id::AccountId,
    load_balancing::LoadBalancing,
    plan::{self, RoutePlan, RouteRefusal},
    snapshot::{AccountConfig, ProxySettings},
};

use super::{Publisher, PublisherState};

/// The routing of a call.
#[derive(Debug)]
pub(crate) struct PlannedRoute {
    /// How calls are balanced over keys.
    pub(crate) rotation: LoadBalancing,
    /// Where the call goes, or why it is refused.
    pub(crate) plan: Result<RoutePlan, String>,
}

impl Publisher {
    /// The route of a call by an account for a model. Returns `None` if data planes do not know the account.
    pub(crate) fn route(&self, account: AccountId, model: &str) -> Option<PlannedRoute> {
        let state = self.state();
        let settings = state.catalogue.settings()?;
        let plan = planned(&state, settings, account, model)?;
        Some(PlannedRoute {
            rotation: settings.rotation,
            plan,
        })
    }
}

fn planned(
    state: &PublisherState,
    settings: &ProxySettings,
    account: AccountId,
    model: &str,
) -> Option<Result<RoutePlan, String>> {
    let chain = state.catalogue.chain(account);
    let (account, ancestors) = chain.split_first()?;
    let closed = |account: &&&AccountConfig| !account.access.models.allows(model);
    if let Some(keeper) = chain.iter().find(closed) {
        let name = &keeper.name;
        return Some(Err(format!(
            "The model {model:?} is not allowed by the account {name}"
        )));
    }
    let plan = plan::plan(account, ancestors, settings, Some(model)).map_err(|not| match not {
        RouteRefusal::Level { account, level } => {
            format!("The level {level} that serves this call is not allowed by the account {account}")
        }
        RouteRefusal::Model { account, model } => {
            format!("The model {model:?} that this call is mapped to is not one of the account {account}")
        }
    });
    let priced = |plan: RoutePlan| match state.catalogue.prices() {
        Some(prices) if settings.refuse_unpriced => plan.priced(prices).map_err(|model| {
            format!("The model {model:?} has no price, and this server refuses such models")
        }),
        Some(_) | None => Ok(plan),
    };
    Some(plan.and_then(priced))
}
