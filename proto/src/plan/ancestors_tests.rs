//! Properties of the limits that ancestors set to where a call goes.

use std::sync::Arc;

use proptest::prelude::*;

use super::{
    tests::{account, levels, route, rules, system},
    *,
};
use crate::access::{LevelList, ModelList};

/// Child, parent, root: the parent below root restricts the child.
fn family() -> [AccountConfig; 3] {
    let mut child = account(7);
    child.parent = Some(AccountId::new(3).unwrap());
    [child, account(3), account(1)]
}

fn ask(
    family: &[AccountConfig],
    settings: &ProxySettings,
    model: &str,
) -> Result<Vec<String>, String> {
    let ancestors: Vec<_> = family[1..].iter().collect();
    match plan(&family[0], &ancestors, settings, Some(model)) {
        Ok(plan) => Ok(route(&plan)),
        Err(RouteRefusal::Level { account, level }) => Err(format!("{account}: {level}")),
        Err(RouteRefusal::Model { account, model }) => Err(format!("{account}: {model}")),
    }
}

fn plain() -> ProxySettings {
    system(rules("", "", "", ""))
}

fn texts(route: &[&str]) -> Vec<String> {
    route.iter().map(|stage| (*stage).to_owned()).collect()
}

fn level(level: i64) -> Level {
    Level::new(level).unwrap()
}

#[test]
fn a_childs_map_does_not_lead_round_its_parents_list() {
    let mut family = family();
    Arc::make_mut(&mut family[1].access).models = ModelList::parse("mini,o3").unwrap();
    family[0].routing = rules("mini=large,o3=mini", "", "", "").into();
    let refused = Err("account-3: large".to_owned());
    assert_eq!(ask(&family, &plain(), "mini"), refused);
    assert_eq!(ask(&family, &plain(), "o3"), Ok(texts(&["mini@0"])));
    // The account that maps a name may say where it leads, and so may the system.
    family[0].routing = RoutingRules::default().into();
    family[1].routing = rules("mini=large", "", "", "").into();
    assert_eq!(ask(&family, &plain(), "mini"), Ok(texts(&["large@0"])));
    family[1].routing = RoutingRules::default().into();
    let mapped = system(rules("mini=large", "", "", ""));
    assert_eq!(ask(&family, &mapped, "mini"), Ok(texts(&["large@0"])));
    family[0].routing = rules("mini=large", "", "", "").into();
    assert_eq!(ask(&family, &mapped, "mini"), Ok(texts(&["large@0"])));
}

#[test]
fn a_childs_map_does_not_undo_its_parents() {
    let mut family = family();
    family[1].routing = rules("large=mini", "", "", "").into();
    for own in ["large=large", "x=large"] {
        family[0].routing = rules(own, "", "", "").into();
        let name = &own[..own.find('=').unwrap()];
        let refused = Err("account-3: large".to_owned());
        assert_eq!(ask(&family, &plain(), name), refused, "{own}");
    }
}

#[test]
fn a_childs_substitutes_are_its_parents_or_on_its_list() {
    let mut family = family();
    family[0].routing = rules("", "", "", "mini=large|o3|tiny").into();
    assert_eq!(
        ask(&family, &plain(), "mini"),
        Ok(texts(&["mini@0", "large@0", "o3@0", "tiny@0"]))
    );
    Arc::make_mut(&mut family[1].access).models = ModelList::parse("mini,tiny").unwrap();
    assert_eq!(
        ask(&family, &plain(), "mini"),
        Ok(texts(&["mini@0", "tiny@0"]))
    );
    family[1].routing = rules("", "", "", "mini=o3").into();
    assert_eq!(
        ask(&family, &plain(), "mini"),
        Ok(texts(&["mini@0", "o3@0", "tiny@0"]))
    );
}

#[test]
fn a_level_that_the_parent_may_not_use_counts_as_the_parents() {
    let mut family = family();
    family[0].level = level(5);
    assert_eq!(ask(&family, &plain(), "m"), Ok(texts(&["m@0"])));
    Arc::make_mut(&mut family[1].access).levels = LevelList::parse("0,5").unwrap();
    assert_eq!(ask(&family, &plain(), "m"), Ok(texts(&["m@5"])));
    // Levels that the parent's calls for this model go to are open to the child as well.
    Arc::make_mut(&mut family[1].access).levels = LevelList::Any;
    let mapped = system(rules("", "m=5", "", ""));
    assert_eq!(ask(&family, &mapped, "m"), Ok(texts(&["m@5"])));
    assert_eq!(ask(&family, &mapped, "other"), Ok(texts(&["other@0"])));
    // No account restricts one directly below root: root is the operator.
    let customer = [family[0].clone(), family[2].clone()];
    assert_eq!(ask(&customer, &plain(), "m"), Ok(texts(&["m@5"])));
}

#[test]
fn a_level_mapper_leads_nowhere_that_the_parent_may_not_go() {
    let mut family = family();
    family[0].routing = rules("", "m=5", "", "").into();
    let refused = Err("account-3: 5".to_owned());
    assert_eq!(ask(&family, &plain(), "m"), refused);
    family[1].level = level(5);
    assert_eq!(ask(&family, &plain(), "m"), Ok(texts(&["m@5"])));
}

#[test]
fn a_switch_leads_nowhere_that_the_parent_may_not_go() {
    let mut family = family();
    (family[0].gear, family[1].gear) = (9, 1);
    family[0].routing = rules("", "", "0=5,5=1", "").into();
    let switched = system(rules("", "", "0=1,1=2", ""));
    assert_eq!(ask(&family, &switched, "m"), Ok(texts(&["m@0,1"])));
    // The parent's gear applies too.
    family[0].routing = RoutingRules::default().into();
    assert_eq!(ask(&family, &switched, "m"), Ok(texts(&["m@0,1"])));
    // A level that its own list excludes is not a switch, but does not lead on to a level that its parent lacks.
    Arc::make_mut(&mut family[0].access).levels = LevelList::parse("0,2").unwrap();
    assert_eq!(ask(&family, &switched, "m"), Ok(texts(&["m@0"])));
}

#[test]
fn an_account_may_give_what_its_list_names_or_its_calls_come_to() {
    let [_, mut parent, root] = family();
    let may = |parent: &AccountConfig, settings: &ProxySettings| {
        super::levels(parent, &[&root], &settings.routing).to_string()
    };
    assert_eq!(may(&parent, &plain()), "0");
    let settings = system(rules("", "claude*=3", "0=1,1=2,3=7", ""));
    assert_eq!(may(&parent, &settings), "0, 1, 3, 7");
    parent.gear = 0;
    assert_eq!(may(&parent, &settings), "0, 3");
    Arc::make_mut(&mut parent.access).levels = LevelList::parse("2,4").unwrap();
    assert_eq!(may(&parent, &settings), "2, 4");
    assert_eq!(super::levels(&root, &[], &settings.routing), Levels::ALL);
    let mut child = account(7);
    child.level = level(9);
    let below = super::levels(&child, &[&parent, &root], &settings.routing);
    assert_eq!(below, Levels::default());
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn any_map() -> impl Strategy<Value = String> {
    prop::collection::vec((0usize..4, 0usize..4), 0..3).prop_map(|pairs| {
        let pair = |(from, to): (usize, usize)| format!("{}={}", NAMES[from], NAMES[to]);
        pairs.into_iter().map(pair).collect::<Vec<_>>().join(",")
    })
}

fn any_levels(pairs: bool) -> impl Strategy<Value = String> {
    prop::collection::vec((0usize..4, 0usize..4), 0..4).prop_map(move |all| {
        let pair = |(from, to): (usize, usize)| {
            if pairs {
                format!("{from}={to}")
            } else {
                format!("{}={to}", NAMES[from])
            }
        };
        all.into_iter().map(pair).collect::<Vec<_>>().join(",")
    })
}

fn any_rules() -> impl Strategy<Value = RoutingRules> {
    (any_map(), any_levels(false), any_levels(true), any_map()).prop_map(
        |(models, levels, switches, failover)| rules(&models, &levels, &switches, &failover),
    )
}

/// An account with arbitrary rules, lists, level and gear.
fn any_account(id: i64) -> impl Strategy<Value = AccountConfig> {
    let listed = prop::option::of(prop::collection::btree_set(0i64..4, 0..4));
    let models = prop::option::of(prop::collection::btree_set(0usize..4, 0..4));
    (any_rules(), listed, models, 0i64..4, 0u8..3).prop_map(
        move |(routing, levels, models, home, gear)| {
            let mut account = account(id);
            account.parent = AccountId::new(if id == 9 { 1 } else { id + 1 }).ok();
            account.routing = routing.into();
            (account.level, account.gear) = (level(home), gear);
            if let Some(levels) = levels {
                Arc::make_mut(&mut account.access).levels =
                    LevelList::Only(levels.into_iter().map(level).collect());
            }
            if let Some(models) = models {
                let names: Vec<_> = models.into_iter().map(|at| NAMES[at]).collect();
                Arc::make_mut(&mut account.access).models =
                    ModelList::parse(&names.join(",")).unwrap();
            }
            account
        },
    )
}

/// Where a call may go, if every list of the chain allows the requested name.
fn goes(chain: &[&AccountConfig], settings: &ProxySettings, asked: &str) -> Option<RoutePlan> {
    let admitted = chain
        .iter()
        .all(|account| account.access.models.allows(asked));
    let plan = || plan(chain[0], &chain[1..], settings, Some(asked)).ok();
    admitted.then(plan).flatten()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn no_account_gets_further_than_one_above_it(
        family in (any_account(7), any_account(8), any_account(9)), system_rules in any_rules(), asked in 0usize..4,
    ) {
        let (settings, root) = (system(system_rules), account(1));
        let chain = [&family.0, &family.1, &family.2, &root];
        let Some(found) = goes(&chain, &settings, NAMES[asked]) else {
            return Ok(());
        };
        for at in 1..3 {
            let above = &chain[at..];
            for stage in &found.stages {
                let gets = NAMES.iter().any(|name| {
                    let admitted = above.iter().all(|account| account.access.models.allows(name));
                    admitted && model_stages(above, &settings, name).contains(&stage.model)
                });
                prop_assert!(gets, "{at} {stage:?}");
                let scope = AccountRules { account: above[0], ancestors: &above[1..], system: &settings.routing };
                let own = scope.hops(Some(&stage.model), scope.reach_above(Some(&stage.model)));
                let own: Vec<_> = own.iter().flatten().map(|hop| hop.level).collect();
                let listed = |level| above[0].access.levels != LevelList::Any && above[0].access.levels.allows(level);
                for hop in &stage.hops {
                    prop_assert!(own.contains(&hop.level) || listed(hop.level), "{at} {stage:?}");
                }
                prop_assert!(levels(stage).len() <= usize::from(above[0].gear) + 1);
                let all = super::levels(above[0], &above[1..], &settings.routing);
                prop_assert!(stage.hops.iter().all(|hop| all.has(hop.level)), "{at} {all} {stage:?}");
            }
        }
    }

    #[test]
    fn who_has_only_what_it_inherits_goes_where_its_parent_goes(
        mut family in (any_account(8), any_account(9)), system_rules in any_rules(), asked in 0usize..4,
    ) {
        // Its own rules hide those of its ancestors from its descendants, but not from itself.
        family.0.routing = RoutingRules::default().into();
        let (settings, root) = (system(system_rules), account(1));
        let mut child = account(7);
        child.parent = Some(family.0.id);
        (child.level, child.gear) = (family.0.level, family.0.gear);
        let models = |chain: &[&AccountConfig]| goes(chain, &settings, NAMES[asked]).map(|plan| route(&plan));
        prop_assert_eq!(
            models(&[&child, &family.0, &family.1, &root]),
            models(&[&family.0, &family.1, &root])
        );
    }
}

/// The models that an account's call would be sent with, ignoring levels.
fn model_stages(chain: &[&AccountConfig], settings: &ProxySettings, asked: &str) -> Vec<String> {
    let mut settings = settings.clone();
    settings.routing.level_mapper = crate::routing::LevelMapper::default();
    let flat = |account: &&AccountConfig| {
        let mut account = (*account).clone();
        account.level = Level::ZERO;
        Arc::make_mut(&mut account.access).levels = LevelList::Any;
        Arc::make_mut(&mut account.routing).level_mapper = crate::routing::LevelMapper::default();
        account
    };
    let chain: Vec<_> = chain.iter().map(flat).collect();
    let ancestors: Vec<_> = chain[1..].iter().collect();
    let plan = plan(&chain[0], &ancestors, &settings, Some(asked));
    plan.map_or_else(
        |_| Vec::new(),
        |plan| plan.stages.into_iter().map(|stage| stage.model).collect(),
    )
}
