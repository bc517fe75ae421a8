//! Limits that ancestors set to where an account's calls go: no account gets further than each account between it and
//! root, no matter who made its rules. Root is the operator, who may use everything.
//!
//! - **Models.** Each ancestor must be able to get the mapped model itself: under the requested name, or under the
//!   model's own name if its list allows that and nothing maps it to another. So an account that maps `fast=gpt-x` for
//!   its descendants need not allow `gpt-x`, and a descendant cannot bypass its list by its own mapper.
//! - **Substitutes.** They follow the same rule, and may also be substitutes of the ancestor.
//! - **Levels.** An account may give the levels of its `AllowLevels`; without such a list, those that its own call for
//!   the model would be tried on. An account's own level beyond that is replaced by its parent's.
//! - **Gear.** The smallest applies.

use super::{AccountRules, RouteRefusal};
use crate::{
    access::LevelList,
    id::{Level, Levels},
    routing::RoutingRules,
    snapshot::AccountConfig,
};

/// The levels that its ancestors allow an account.
#[derive(Debug, Clone, Copy)]
pub(super) struct LevelBounds {
    /// Levels it may use.
    pub(super) may: Levels,
    /// The level of calls that no level mapper changes.
    pub(super) home: Level,
}

impl LevelBounds {
    /// All levels, for an account of level `home`.
    pub(super) const fn all(home: Level) -> Self {
        Self {
            may: Levels::ALL,
            home,
        }
    }
}

impl<'a> AccountRules<'a> {
    /// The parent, if it restricts its descendants.
    fn above(self) -> Option<Self> {
        let (account, ancestors) = self.ancestors.split_first()?;
        account.parent.is_some().then_some(Self {
            account,
            ancestors,
            system: self.system,
        })
    }

    /// All such ancestors, nearest first.
    fn all_above(self) -> impl Iterator<Item = Self> {
        std::iter::successors(self.above(), |scope| scope.above())
    }

    /// Whether its calls may go elsewhere than those of an ancestor. Most accounts inherit everything, so there is
    /// nothing to check.
    pub(super) fn may_differ(self) -> bool {
        let differs = |account: &AccountConfig, above: &AccountConfig| {
            account.level != above.level
                || account.gear > above.gear
                || account.access.levels != LevelList::Any
                || !account.routing.is_empty()
        };
        let mut at = self;
        while let Some(above) = at.above() {
            if differs(at.account, above.account) {
                return true;
            }
            at = above;
        }
        false
    }

    /// How many level switches a call may make.
    pub(super) fn gear(self) -> u8 {
        let above = self.all_above().map(|scope| scope.account.gear);
        above.fold(self.account.gear, u8::min)
    }

    /// The levels that its ancestors allow this account for a model.
    pub(super) fn reach_above(self, model: Option<&str>) -> LevelBounds {
        let own = self.account.level;
        let Some(above) = self.above() else {
            return LevelBounds::all(own);
        };
        let (may, home) = above.reach(model);
        let home = if may.has(own) { own } else { home };
        LevelBounds { may, home }
    }

    /// The levels that an account may use itself for a model, and where its calls begin.
    fn reach(self, model: Option<&str>) -> (Levels, Level) {
        let above = self.reach_above(model);
        let own = match &self.account.access.levels {
            LevelList::Only(levels) => levels.iter().copied().collect(),
            LevelList::Any => match self.hops(model, above) {
                Ok(hops) => hops.iter().map(|hop| hop.level).collect(),
                Err(_) => Levels::default(),
            },
        };
        (above.may.intersection(own), above.home)
    }

    /// The nearest ancestor that may not use a level.
    pub(super) fn bound_of_level(
        self,
        level: Level,
        model: Option<&str>,
    ) -> Option<&'a AccountConfig> {
        let mut above = self.all_above();
        let bound = above.find(|scope| !scope.reach(model).0.has(level));
        bound.map(|scope| scope.account)
    }

    /// Checks that each ancestor could get `model` itself.
    ///
    /// # Errors
    /// Errors with the nearest ancestor that could not.
    pub(super) fn check_model(self, asked: &str, model: &str) -> Result<(), RouteRefusal> {
        let gets = |scope: &Self| scope.name(asked) == model || scope.says(model);
        match self.all_above().find(|scope| !gets(scope)) {
            Some(bound) => Err(RouteRefusal::Model {
                account: bound.account.name.clone(),
                model: model.to_owned(),
            }),
            None => Ok(()),
        }
    }

    /// Whether each ancestor could use this substitute.
    pub(super) fn may_substitute(self, model: &str, substitute: &str) -> bool {
        let has = |scope: &Self| {
            let names = scope.substitutes(model).map_or(&[][..], |(names, _)| names);
            names.iter().any(|name| name == substitute) || scope.says(substitute)
        };
        self.all_above().all(|scope| has(&scope))
    }

    /// Whether its call for this model is admitted, and sent with this very model.
    fn says(self, model: &str) -> bool {
        let mut chain = std::iter::successors(Some(self), |scope| scope.above());
        chain.all(|scope| scope.account.access.models.allows(model) && scope.name(model) == model)
    }

    /// The model that its call would be sent with.
    fn name<'n>(self, asked: &'n str) -> &'n str
    where
        'a: 'n,
    {
        self.mapped(asked).map_or(asked, |(target, _)| target)
    }

    /// The levels that an account may use for at least one model.
    fn levels(self) -> Levels {
        let above = self.above().map_or(Levels::ALL, Self::levels);
        if let LevelList::Only(levels) = &self.account.access.levels {
            return above.intersection(levels.iter().copied().collect());
        }
        let of_ancestors = self.ancestors.iter().map(|account| &*account.routing);
        let nearest = of_ancestors.filter(|rules| !rules.level_mapper.is_empty());
        let rules = [&*self.account.routing, self.system];
        let mapped = rules.into_iter().chain(nearest.take(1));
        let mapped = mapped.flat_map(|rules| rules.level_mapper.levels());
        let first = mapped.chain([self.reach_above(None).home]);
        let first: Levels = first.filter(|level| above.has(*level)).collect();
        let switches = first.iter().flat_map(|level| self.switches(level, above));
        let switches = switches.map(|(level, _)| level);
        first.iter().chain(switches).collect()
    }
}

/// The levels that an account may use for at least one model, and so may give to its descendants. Root may use all.
pub fn levels(
    account: &AccountConfig,
    ancestors: &[&AccountConfig],
    system: &RoutingRules,
) -> Levels {
    let scope = AccountRules {
        account,
        ancestors,
        system,
    };
    match account.parent {
        Some(_) => scope.levels(),
        None => Levels::ALL,
    }
}
