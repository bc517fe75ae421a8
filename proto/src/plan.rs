//! Where a call goes: the models it may be sent with and the levels whose keys may serve each, in order, with the rule
//! behind each. Data planes follow the plan and control explains it.
//!
//! The key within a level is picked later, for each attempt. Limits set by ancestors are in `ancestors`.

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
    /// At least one, no model twice. The next stage is used if no key of the previous one can serve the call.
    pub stages: Vec<PlanStage>,
}

/// One model and the levels that serve it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanStage {
    /// The model that the provider sees and that is billed; empty if the call names none.
    pub model: String,
    /// Why this model.
    pub why: ModelReason,
    /// At least one, no level twice.
    pub hops: Vec<PlanLevel>,
}

/// A level of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanLevel {
    /// The level.
    pub level: Level,
    /// Why this level.
    pub why: LevelReason,
}

/// The owner of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleOwner {
    /// The account itself, or its nearest ancestor that has such rules.
    Account(AccountId),
    /// The system.
    System,
}

/// Why a call is sent with a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelReason {
    /// It was requested, and no rule maps it.
    Asked,
    /// By a model mapper.
    Mapped(RuleOwner),
    /// By a model failover.
    Failover(RuleOwner),
}

/// Why a call goes to a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LevelReason {
    /// It is the account's level, or its parent's if the parent may not use the account's.
    Account,
    /// By a level mapper.
    Mapped(RuleOwner),
    /// By a switch-over.
    SwitchOver(RuleOwner),
}

/// Why a call cannot go anywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteRefusal {
    /// A level that must not be used.
    Level {
        /// Name of the account in the chain that may not use it.
        account: String,
        /// The level.
        level: Level,
    },
    /// A mapped model that must not be used.
    Model {
        /// Name of the ancestor that could not get it itself.
        account: String,
        /// The model.
        model: String,
    },
}

impl RoutePlan {
    /// The model that is tried first. The fallback is for an empty plan, which is never made.
    pub fn model(&self) -> &str {
        self.stages.first().map_or("", |stage| &stage.model)
    }

    /// The level that is tried first.
    pub fn level(&self) -> Option<Level> {
        let first = self.stages.first().and_then(|stage| stage.hops.first());
        first.map(|hop| hop.level)
    }

    /// Removes substitutes without a price, for systems that refuse unpriced models.
    ///
    /// # Errors
    /// Errors with the first model if that has no price.
    pub fn priced(mut self, prices: &PriceTable) -> Result<Self, String> {
        let has_price = |model: &str| prices.find(model).is_some();
        if !has_price(self.model()) {
            return Err(self.model().to_owned());
        }
        self.stages.retain(|stage| has_price(&stage.model));
        Ok(self)
    }
}

/// Plans a call of an account. `ancestors` start with the nearest. The caller has checked that every list of the chain
/// allows the requested model.
///
/// Substitutes are looked up under the mapped model's name. A substitute is not mapped itself and has no substitutes.
/// It is left out if its level is not allowed, as a call for it would be refused.
///
/// No account gets further than each of its ancestors; see the module `ancestors`.
///
/// # Errors
/// Errors if the level of the call, or the model that it is mapped to, is not allowed.
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

/// The routing rules that apply to a call.
#[derive(Clone, Copy)]
struct AccountRules<'a> {
    account: &'a AccountConfig,
    ancestors: &'a [&'a AccountConfig],
    system: &'a RoutingRules,
}

impl<'a> AccountRules<'a> {
    /// What the account's own rules say; else those of the nearest ancestor that has such rules; else the system's.
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

    /// The model that a model is mapped to.
    fn mapped(&self, asked: &str) -> Option<(&'a str, RuleOwner)> {
        self.find(
            |rules| !rules.model_mapper.is_empty(),
            |rules| rules.model_mapper.map(asked),
        )
    }

    /// The substitutes of a model.
    fn substitutes(&self, model: &str) -> Option<(&'a [String], RuleOwner)> {
        self.find(
            |rules| !rules.model_failover.is_empty(),
            |rules| rules.model_failover.chain(model),
        )
    }

    /// The level of a model and those it fails over to: at most `gear` switches, each level once. A level that is not
    /// allowed is skipped and does not count as a switch.
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

    /// The levels that a level fails over to.
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

    /// The first account whose list excludes a level.
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
