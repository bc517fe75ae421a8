//! Upper bounds of an account: no more than its parent may use. They are checked when a field changes. Narrowing a
//! parent later blocks no other change of its children and bounds them at use (`plan` of the contract).

use proxyxai_contract::{
    Invalid,
    access::LevelList,
    id::{Level, Levels},
    money::Money,
};

use crate::model::Account;

/// What an account's ancestors leave to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InheritedBounds {
    /// Levels that the parent may use.
    pub(crate) levels: Levels,
    /// Level switches that its calls may make.
    pub(crate) gear: u8,
    /// The smallest month's limit of the ancestors.
    pub(crate) hard_limit: Option<Money>,
}

impl InheritedBounds {
    /// For accounts directly below root.
    pub(crate) const NONE: Self = Self {
        levels: Levels::ALL,
        gear: u8::MAX,
        hard_limit: None,
    };

    /// Checks changed fields against the bounds.
    ///
    /// # Errors
    /// Names the field that exceeds the parent's.
    pub(crate) fn check(&self, before: &Account, after: &Account) -> Result<(), Invalid> {
        if after.gear != before.gear && after.gear > self.gear {
            let problem = format!("must not be above the parent's {}", self.gear);
            return Err(Invalid::new("Gear", problem));
        }
        if after.level != before.level {
            self.check_levels("Level", [after.level])?;
        }
        let (rules, old) = (&after.routing, &before.routing);
        if rules.level_mapper != old.level_mapper {
            self.check_levels("LevelMapper", rules.level_mapper.levels())?;
        }
        if rules.switch_over != old.switch_over {
            self.check_levels("SwitchOver", rules.switch_over.levels())?;
        }
        if let LevelList::Only(levels) = &after.access.levels {
            let added = levels.iter().filter(|level| match &before.access.levels {
                LevelList::Only(old) => !old.contains(level),
                LevelList::Any => true,
            });
            self.check_levels("AllowLevels", added.copied())?;
        }
        match (after.hard_limit, self.hard_limit) {
            (Some(own), Some(most)) if after.hard_limit != before.hard_limit && own > most => {
                let problem = format!("must not be above the parent's {most}");
                Err(Invalid::new("HardLimit", problem))
            }
            _ => Ok(()),
        }
    }

    fn check_levels(
        &self,
        field: &str,
        levels: impl IntoIterator<Item = Level>,
    ) -> Result<(), Invalid> {
        let mut levels = levels.into_iter();
        match levels.find(|level| !self.levels.has(*level)) {
            Some(level) => {
                let may = if self.levels == Levels::default() {
                    "none".to_owned()
                } else {
                    self.levels.to_string()
                };
                let problem = format!("has level {level}; of the levels the parent may use {may}");
                Err(Invalid::new(field, problem))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn some(levels: &[i64]) -> impl Iterator<Item = Level> {
        levels.iter().map(|level| Level::new(*level).unwrap())
    }

    proptest! {
        #[test]
        fn only_levels_that_the_parent_may_use_pass(
            may in prop::collection::vec(0i64..11, 0..11), asked in prop::collection::vec(0i64..11, 0..4),
        ) {
            let bounds = InheritedBounds { levels: some(&may).collect(), ..InheritedBounds::NONE };
            let inside = asked.iter().all(|level| may.contains(level));
            let checked = bounds.check_levels("Level", some(&asked));
            prop_assert_eq!(checked.is_ok(), inside);
            prop_assert!(InheritedBounds::NONE.check_levels("Level", some(&asked)).is_ok());
        }
    }
}
