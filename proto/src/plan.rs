//! Where a call goes: the models it may be sent with and, for each, the levels whose keys may serve it,
//! in order and with the rule behind each. Data planes obey it and control explains it. Which key of a
//! level a call gets is picked later, attempt by attempt.

use crate::{
    id::{AccountId, Level},
    price::PriceTable,
    routing::RoutingRules,
    snapshot::{Account, ProxySettings},
};

/// Where a call goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// At least one, no model twice. The next is for when no key of the one before can serve the call.
    pub stages: Vec<Stage>,
}

/// One model and where it is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// What the provider sees and what is billed; empty when the call names no model.
    pub model: String,
    /// Why this model.
    pub why: ModelReason,
    /// At least one, no level twice.
    pub hops: Vec<Hop>,
}

/// A level of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    /// Which.
    pub level: Level,
    /// Why this level.
    pub why: LevelReason,
}

/// Whose rule it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Giver {
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
    Mapped(Giver),
    /// By a model failover.
    Failover(Giver),
}

/// Why a call goes to a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LevelReason {
    /// It is the account's.
    Account,
    /// By a level mapper.
    Mapped(Giver),
    /// By a switch-over.
    SwitchOver(Giver),
}

/// An account, of the chain, whose list leaves out the level that a call belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LevelNotAllowed {
    /// Its name.
    pub account: String,
    /// The level.
    pub level: Level,
}

impl Plan {
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

/// Plans a call of an account, whose `ancestors` are given nearest first.
///
/// A substitute is looked up under the mapped model's name, is never mapped itself and has no substitutes
/// of its own. One whose level is not allowed is left out, as a call that asked for it would be refused.
///
/// # Errors
/// When the level that the call belongs to is not allowed.
pub fn plan(
    account: &Account,
    ancestors: &[&Account],
    settings: &ProxySettings,
    asked: Option<&str>,
) -> Result<Plan, LevelNotAllowed> {
    let scope = Scope {
        account,
        ancestors,
        settings,
    };
    let mapped = asked.and_then(|asked| {
        scope.find(
            |rules| !rules.model_mapper.is_empty(),
            |rules| rules.model_mapper.map(asked),
        )
    });
    let (model, why) = match mapped {
        Some((target, giver)) => (target, ModelReason::Mapped(giver)),
        None => (asked.unwrap_or_default(), ModelReason::Asked),
    };
    let mut stages = vec![Stage {
        model: model.to_owned(),
        why,
        hops: scope.hops(asked.map(|_| model))?,
    }];
    let chain = asked.and_then(|_| {
        scope.find(
            |rules| !rules.model_failover.is_empty(),
            |rules| rules.model_failover.chain(model),
        )
    });
    for (substitute, giver) in chain
        .into_iter()
        .flat_map(|(names, giver)| names.iter().map(move |name| (name, giver)))
    {
        if stages.iter().any(|stage| stage.model == *substitute) {
            continue;
        }
        if let Ok(hops) = scope.hops(Some(substitute)) {
            stages.push(Stage {
                model: substitute.clone(),
                why: ModelReason::Failover(giver),
                hops,
            });
        }
    }
    Ok(Plan { stages })
}

/// Whose rules count for a call.
struct Scope<'a> {
    account: &'a Account,
    ancestors: &'a [&'a Account],
    settings: &'a ProxySettings,
}

impl<'a> Scope<'a> {
    /// What the account's own rules say, else those of the nearest ancestor that has such rules, else
    /// the system's.
    fn find<T>(
        &self,
        has_rule: impl Fn(&RoutingRules) -> bool,
        rule: impl Fn(&'a RoutingRules) -> Option<T>,
    ) -> Option<(T, Giver)> {
        let nearest = || {
            let mut ancestors = self.ancestors.iter();
            ancestors.find(|account| has_rule(&account.routing))
        };
        let of = |account: &'a Account| {
            rule(&account.routing).map(|found| (found, Giver::Account(account.id)))
        };
        of(self.account)
            .or_else(|| nearest().and_then(|ancestor| of(ancestor)))
            .or_else(|| rule(&self.settings.routing).map(|found| (found, Giver::System)))
    }

    /// The level of a model and those it fails over to: at most `gear` switches, each level once. A
    /// level that is not allowed is passed over and counts as no switch.
    fn hops(&self, model: Option<&str>) -> Result<Vec<Hop>, LevelNotAllowed> {
        let mapped = model.and_then(|model| {
            self.find(
                |rules| !rules.level_mapper.is_empty(),
                |rules| rules.level_mapper.map(model),
            )
        });
        let (first, why) = match mapped {
            Some((level, giver)) => (level, LevelReason::Mapped(giver)),
            None => (self.account.level, LevelReason::Account),
        };
        if let Some(keeper) = self.keeper(first) {
            return Err(LevelNotAllowed {
                account: keeper.name.clone(),
                level: first,
            });
        }
        let mut seen = [false; Level::COUNT];
        let mut visit = |level: Level| {
            let fresh = seen.get_mut(usize::from(level.get()));
            fresh.is_some_and(|seen| !std::mem::replace(seen, true))
        };
        visit(first);
        let mut hops = vec![Hop { level: first, why }];
        let mut at = first;
        while hops.len() <= usize::from(self.account.gear) {
            let next = self.find(
                |rules| !rules.switch_over.is_empty(),
                |rules| rules.switch_over.next(at),
            );
            let Some((level, giver)) = next.filter(|(level, _)| visit(*level)) else {
                break;
            };
            at = level;
            if self.keeper(at).is_none() {
                let why = LevelReason::SwitchOver(giver);
                hops.push(Hop { level, why });
            }
        }
        Ok(hops)
    }

    /// The first account that does not allow a level.
    fn keeper(&self, level: Level) -> Option<&'a Account> {
        [self.account]
            .into_iter()
            .chain(self.ancestors.iter().copied())
            .find(|account| !account.access.levels.allows(level))
    }
}

#[cfg(test)]
mod tests;
