//! Where a call goes: the models it may be sent with and, for each, the levels whose keys may serve it,
//! in order and with the rule behind each. Data planes obey it and control explains it. Which key of a
//! level a call gets is picked later, attempt by attempt. What the accounts above leave of it is in `above`.

mod ancestors;

use crate::{
    id::{AccountId, Level, Levels},
    price::PriceTable,
    routing::RoutingRules,
    snapshot::{AccountConfig, ProxySettings},
};

pub use ancestors::levels;

use ancestors::LevelBounds;

/// Where a call goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutePlan {
    /// At least one, no model twice. The next is for when no key of the one before can serve the call.
    pub stages: Vec<PlanStage>,
}

/// One model and where it is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanStage {
    /// What the provider sees and what is billed; empty when the call names no model.
    pub model: String,
    /// Why this model.
    pub why: ModelReason,
    /// At least one, no level twice.
    pub hops: Vec<PlanLevel>,
}

/// A level of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanLevel {
    /// Which.
    pub level: Level,
    /// Why this level.
    pub why: LevelReason,
}

/// Whose rule it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleOwner {
    /// The account's own, or its nearest ancestor's that has such rules.
    Account(AccountId),
    /// The system's.
    System,
}

/// Why a call goes out with a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelReason {
    /// It was asked for, and nobody maps it.
    Asked,
    /// By a model mapper.
    Mapped(RuleOwner),
    /// By a model failover.
    Failover(RuleOwner),
}

/// Why a call goes to a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LevelReason {
    /// It is the account's, or its parent's where that may not use the account's.
    Account,
    /// By a level mapper.
    Mapped(RuleOwner),
    /// By a switch-over.
    SwitchOver(RuleOwner),
}

/// What keeps a call from going anywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteRefusal {
    /// The level that it belongs to.
    Level {
        /// The account, of the chain, that may not use it.
        account: String,
        /// Which.
        level: Level,
    },
    /// The model that it is mapped to.
    Model {
        /// The account, of those above, that could not get it itself.
        account: String,
        /// Which.
        model: String,
    },
}

impl RoutePlan {
    /// What is tried first; the fallback is for an empty plan, which nobody makes.
    pub fn model(&self) -> &str {
        self.stages.first().map_or("", |stage| &stage.model)
    }

    /// Where it is tried first.
    pub fn level(&self) -> Option<Level> {
        let first = self.stages.first().and_then(|stage| stage.hops.first());
        first.map(|hop| hop.level)
    }

    /// Leaves out substitutes without a price, for where such models are refused.
    ///
    /// # Errors
    /// Names the first model when it has none itself.
    pub fn priced(mut self, prices: &PriceTable) -> Result<Self, String> {
        let has_price = |model: &str| prices.find(model).is_some();
        if !has_price(self.model()) {
            return Err(self.model().to_owned());
        }
        self.stages.retain(|stage| has_price(&stage.model));
        Ok(self)
    }
}

/// Plans a call of an account, whose `ancestors` are given nearest first. That each list of the chain allows the
/// model asked for is looked at before.
///
/// A substitute is looked up under the mapped model's name, is never mapped itself and has no substitutes
/// of its own. One whose level is not allowed is left out, as a call that asked for it would be refused.
///
/// Nobody gets further than each account above: `above` says what that means.
///
/// # Errors
/// When the level that the call belongs to is not allowed, or the model that it is mapped to.
pub fn plan(
    account: &AccountConfig,
    ancestors: &[&AccountConfig],
    settings: &ProxySettings,
    asked: Option<&str>,
) -> Result<RoutePlan, RouteRefusal> {
    let scope = AccountRules {
        account,
        ancestors,
        system: &settings.routing,
    };
    let bounded = scope.may_differ();
    let mapped = asked.and_then(|asked| scope.mapped(asked));
    let (model, why) = match mapped {
        Some((target, giver)) => (target, ModelReason::Mapped(giver)),
        None => (asked.unwrap_or_default(), ModelReason::Asked),
    };
    if let Some(asked) = asked.filter(|_| bounded) {
        scope.check_model(asked, model)?;
    }
    let reach = |model| {
        if bounded {
            scope.reach_above(model)
        } else {
            LevelBounds::all(account.level)
        }
    };
    let named = asked.map(|_| model);
    let mut stages = vec![PlanStage {
        model: model.to_owned(),
        why,
        hops: scope.hops(named, reach(named))?,
    }];
    let chain = asked.and_then(|_| scope.substitutes(model));
    for (substitute, giver) in chain
        .into_iter()
        .flat_map(|(names, giver)| names.iter().map(move |name| (name, giver)))
    {
        let known = stages.iter().any(|stage| stage.model == *substitute);
        if known || (bounded && !scope.may_substitute(model, substitute)) {
            continue;
        }
        let named = Some(substitute.as_str());
        if let Ok(hops) = scope.hops(named, reach(named)) {
            stages.push(PlanStage {
                model: substitute.clone(),
                why: ModelReason::Failover(giver),
                hops,
            });
        }
    }
    Ok(RoutePlan { stages })
}

/// Whose rules count for a call.
#[derive(Clone, Copy)]
struct AccountRules<'a> {
    account: &'a AccountConfig,
    ancestors: &'a [&'a AccountConfig],
    system: &'a RoutingRules,
}

impl<'a> AccountRules<'a> {
    /// What the account's own rules say, else those of the nearest ancestor that has such rules, else
    /// the system's.
    fn find<T>(
        &self,
        has_rule: impl Fn(&RoutingRules) -> bool,
        rule: impl Fn(&'a RoutingRules) -> Option<T>,
    ) -> Option<(T, RuleOwner)> {
        let nearest = || {
            let mut ancestors = self.ancestors.iter();
            ancestors.find(|account| has_rule(&account.routing))
        };
        let of = |account: &'a AccountConfig| {
            rule(&account.routing).map(|found| (found, RuleOwner::Account(account.id)))
        };
        of(self.account)
            .or_else(|| nearest().and_then(|ancestor| of(ancestor)))
            .or_else(|| rule(self.system).map(|found| (found, RuleOwner::System)))
    }

    /// What a model is mapped to.
    fn mapped(&self, asked: &str) -> Option<(&'a str, RuleOwner)> {
        self.find(
            |rules| !rules.model_mapper.is_empty(),
            |rules| rules.model_mapper.map(asked),
        )
    }

    /// What stands in for a model.
    fn substitutes(&self, model: &str) -> Option<(&'a [String], RuleOwner)> {
        self.find(
            |rules| !rules.model_failover.is_empty(),
            |rules| rules.model_failover.chain(model),
        )
    }

    /// The level of a model and those it fails over to: at most `gear` switches, each level once. A
    /// level that is not allowed is passed over and counts as no switch.
    fn hops(
        &self,
        model: Option<&str>,
        reach: LevelBounds,
    ) -> Result<Vec<PlanLevel>, RouteRefusal> {
        let mapped = model.and_then(|model| {
            self.find(
                |rules| !rules.level_mapper.is_empty(),
                |rules| rules.level_mapper.map(model),
            )
        });
        let (first, why) = match mapped {
            Some((level, giver)) => (level, LevelReason::Mapped(giver)),
            None => (reach.home, LevelReason::Account),
        };
        if let Some(keeper) = self.restricting_account(first, model, reach) {
            return Err(RouteRefusal::Level {
                account: keeper.name.clone(),
                level: first,
            });
        }
        let switches = self.switches(first, reach.may);
        let switches = switches.into_iter().map(|(level, giver)| PlanLevel {
            level,
            why: LevelReason::SwitchOver(giver),
        });
        Ok([PlanLevel { level: first, why }]
            .into_iter()
            .chain(switches)
            .collect())
    }

    /// Where a level fails over to.
    fn switches(&self, first: Level, may: Levels) -> Vec<(Level, RuleOwner)> {
        let mut seen = Levels::default();
        seen.insert(first);
        let (mut found, mut at) = (Vec::new(), first);
        let gear = usize::from(self.gear());
        while found.len() < gear {
            let next = self.find(
                |rules| !rules.switch_over.is_empty(),
                |rules| rules.switch_over.next(at),
            );
            let Some((level, giver)) = next.filter(|(level, _)| seen.insert(*level)) else {
                break;
            };
            at = level;
            if may.has(at) && self.list_without(at).is_none() {
                found.push((level, giver));
            }
        }
        found
    }

    /// The first account that may not use a level.
    fn restricting_account(
        &self,
        level: Level,
        model: Option<&str>,
        reach: LevelBounds,
    ) -> Option<&'a AccountConfig> {
        let listed = self.list_without(level);
        if listed.is_some() || reach.may.has(level) {
            return listed;
        }
        self.bound_of_level(level, model)
    }

    /// The first account whose list leaves a level out.
    fn list_without(&self, level: Level) -> Option<&'a AccountConfig> {
        [self.account]
            .into_iter()
            .chain(self.ancestors.iter().copied())
            .find(|account| !account.access.levels.allows(level))
    }
}

#[cfg(test)]
mod ancestors_tests;
#[cfg(test)]
mod tests;
