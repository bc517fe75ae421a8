//! Where a call goes: the model it is sent with and the levels whose keys may serve it, in order. Which
//! key of a level it gets is picked later, attempt by attempt.

use proxyxai_contract::{
    id::Level,
    routing::RoutingRules,
    snapshot::{Account, ProxySettings},
};

use super::refusal::Refusal;

/// Where a call goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// What the provider sees and what is billed; empty when the call names no model.
    pub(crate) model: String,
    /// At least one level, none twice.
    pub(crate) levels: Vec<Level>,
}

/// Plans a call of the first account of `chain`, whose ancestors follow it.
///
/// # Errors
/// When the level that the call belongs to is not allowed.
pub(crate) fn plan(
    chain: &[&Account],
    settings: &ProxySettings,
    asked: Option<&str>,
) -> Result<Plan, Refusal> {
    let account = chain.first().ok_or(Refusal::Unauthenticated)?;
    let mapped = asked.map(|asked| {
        let rule = |rules: &RoutingRules| !rules.model_mapper.is_empty();
        let target = sources(chain, settings, rule).find_map(|rules| rules.model_mapper.map(asked));
        target.unwrap_or(asked)
    });
    let rule = |rules: &RoutingRules| !rules.level_mapper.is_empty();
    let level = mapped.and_then(|model| {
        sources(chain, settings, rule).find_map(|rules| rules.level_mapper.map(model))
    });
    let first = level.unwrap_or(account.level);
    if let Some(keeper) = keeper(chain, first) {
        return Err(Refusal::LevelNotAllowed {
            account: keeper.name.clone(),
            level: first,
        });
    }
    Ok(Plan {
        model: mapped.unwrap_or_default().to_owned(),
        levels: levels(chain, settings, first, account.gear),
    })
}

/// The level and those it fails over to: at most `gear` switches, each level once. A level that is not
/// allowed is passed over and counts as no switch.
fn levels(chain: &[&Account], settings: &ProxySettings, first: Level, gear: u8) -> Vec<Level> {
    let rule = |rules: &RoutingRules| !rules.switch_over.is_empty();
    let next = |from| sources(chain, settings, rule).find_map(|rules| rules.switch_over.next(from));
    let mut seen = vec![first];
    let mut levels = vec![first];
    let mut at = first;
    while levels.len() <= usize::from(gear) {
        match next(at) {
            Some(level) if !seen.contains(&level) => at = level,
            Some(_) | None => break,
        }
        seen.push(at);
        if keeper(chain, at).is_none() {
            levels.push(at);
        }
    }
    levels
}

/// The first account that does not allow a level.
fn keeper<'a>(chain: &[&'a Account], level: Level) -> Option<&'a Account> {
    chain
        .iter()
        .copied()
        .find(|account| !account.access.levels.allows(level))
}

/// The account's own rules, then those of the nearest ancestor that has such rules, then the system's.
fn sources<'a>(
    chain: &[&'a Account],
    settings: &'a ProxySettings,
    has_rule: impl Fn(&RoutingRules) -> bool,
) -> impl Iterator<Item = &'a RoutingRules> {
    let own = chain.first().map(|account| &account.routing);
    let mut ancestors = chain.iter().skip(1).map(|account| &account.routing);
    let nearest = ancestors.find(|rules| has_rule(rules));
    own.into_iter().chain(nearest).chain([&settings.routing])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proxyxai_contract::access::LevelList;

    use super::*;
    use crate::decide::samples::{account, rules, settings};

    fn levels_of(plan: &Plan) -> Vec<u8> {
        plan.levels.iter().map(|level| level.get()).collect()
    }

    #[test]
    fn the_own_map_wins_then_the_nearest_ancestor_with_one_then_the_system() {
        let (mut own, mut parent, mut root) = (account(7), account(3), account(1));
        let mut system = settings();
        system.routing = rules("a=system,b=system,c=system,d=system", "", "");
        root.routing = rules("a=root,b=root,c=root", "", "");
        let ask = |own: &Account, parent: &Account, model| {
            plan(&[own, parent, &root], &system, Some(model))
                .unwrap()
                .model
        };
        assert_eq!(ask(&own, &parent, "a"), "root");
        assert_eq!(ask(&own, &parent, "d"), "system");
        assert_eq!(ask(&own, &parent, "e"), "e");
        parent.routing = rules("b=parent", "", "");
        assert_eq!(ask(&own, &parent, "b"), "parent");
        // Only the nearest ancestor's map counts, so root's is not asked any more.
        assert_eq!(ask(&own, &parent, "c"), "system");
        own.routing = rules("a=own", "", "");
        assert_eq!(ask(&own, &parent, "a"), "own");
        assert_eq!(ask(&own, &parent, "own"), "own");
    }

    #[test]
    fn a_target_is_never_mapped_again() {
        let mut system = settings();
        system.routing = rules("a=b,b=c", "", "");
        assert_eq!(plan(&[&account(1)], &system, Some("a")).unwrap().model, "b");
    }

    #[test]
    fn the_level_follows_the_mapped_model_else_the_account() {
        let mut own = account(7);
        own.level = Level::new(5).unwrap();
        let mut system = settings();
        system.routing = rules("x=gpt-4", "gpt-4*=2,x=9", "");
        let first = |model| plan(&[&own], &system, model).unwrap().levels[0].get();
        assert_eq!(first(Some("x")), 2);
        assert_eq!(first(Some("claude")), 5);
        assert_eq!(first(None), 5);
    }

    #[test]
    fn at_most_gear_switches_are_made_and_rings_are_cut() {
        let mut own = account(7);
        let mut system = settings();
        system.routing = rules("", "", "0=1,1=2,2=0");
        for (gear, levels) in [
            (0, vec![0]),
            (1, vec![0, 1]),
            (2, vec![0, 1, 2]),
            (255, vec![0, 1, 2]),
        ] {
            own.gear = gear;
            assert_eq!(levels_of(&plan(&[&own], &system, None).unwrap()), levels);
        }
    }

    #[test]
    fn every_list_of_the_chain_keeps_a_level_out() {
        let (mut own, mut parent) = (account(7), account(3));
        own.gear = 9;
        let mut system = settings();
        system.routing = rules("", "", "0=1,1=2,2=3");
        own.access.levels = LevelList::parse("0,1,3").unwrap();
        parent.access.levels = LevelList::parse("0,2,3").unwrap();
        assert_eq!(
            levels_of(&plan(&[&own, &parent], &system, None).unwrap()),
            [0, 3]
        );
        parent.access.levels = LevelList::parse("1").unwrap();
        let refusal = plan(&[&own, &parent], &system, None).unwrap_err();
        assert_eq!(
            refusal,
            Refusal::LevelNotAllowed {
                account: parent.name.clone(),
                level: Level::ZERO
            }
        );
    }

    proptest! {
        #[test]
        fn levels_are_allowed_distinct_and_at_most_gear_more(
            pairs in prop::collection::vec((0i64..11, 0i64..11), 0..20),
            allowed in prop::collection::btree_set(0i64..11, 0..11),
            gear in 0u8..12,
        ) {
            let text: Vec<_> = pairs.iter().map(|(from, to)| format!("{from}={to}")).collect();
            let mut system = settings();
            system.routing = rules("", "", &text.join(","));
            let mut own = account(7);
            own.gear = gear;
            own.access.levels = LevelList::Only(allowed.iter().map(|level| Level::new(*level).unwrap()).collect());
            match plan(&[&own], &system, None) {
                Ok(plan) => {
                    let levels = levels_of(&plan);
                    prop_assert!(levels.len() <= usize::from(gear) + 1);
                    prop_assert!(levels.iter().all(|level| allowed.contains(&i64::from(*level))));
                    let mut distinct = levels.clone();
                    distinct.sort_unstable();
                    distinct.dedup();
                    prop_assert_eq!(distinct.len(), levels.len());
                }
                Err(_) => prop_assert!(!allowed.contains(&0)),
            }
        }
    }
}
