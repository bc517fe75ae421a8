//! Properties of where a call goes.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::{
    access::{LevelList, ResourceList},
    client_key::KeyHasher,
    clock::Zone,
    load_balancing::LoadBalancing,
    money::{Money, Multiplier},
    routing::{LevelMapper, ModelFailover, ModelMapper, SwitchOver},
    snapshot::AccessLists,
    window::{ModelLimits, RateLimits},
};

pub(super) fn account(id: i64) -> AccountConfig {
    AccountConfig {
        id: AccountId::new(id).unwrap(),
        parent: (id != 1).then_some(AccountId::ROOT),
        name: format!("account-{id}"),
        key_hash: None,
        enabled: true,
        level: Level::ZERO,
        gear: 1,
        rates: Multiplier::ONE,
        factor: Multiplier::ONE,
        hard_limit: None,
        limits: RateLimits::WIDE,
        model_limits: ModelLimits::default(),
        calls_max: None,
        access: AccessLists::ANY.into(),
        routing: RoutingRules::default().into(),
        further_keys: Vec::new(),
    }
}

pub(super) fn system(routing: RoutingRules) -> ProxySettings {
    ProxySettings {
        routing,
        rotation: LoadBalancing::default(),
        resources: ResourceList::Any,
        passthrough: crate::passthrough::Passthrough::default(),
        model_limits: ModelLimits::default(),
        calls_per_account_max: None,
        call_min_balance: Money::ZERO,
        refuse_unpriced: false,
        abandoned: crate::usage::AbandonedPolicy::ReadOn,
        keeps_refusals: true,
        hasher: KeyHasher::new(&[7; 32]).unwrap(),
        zone: Zone::UTC,
        reload_count: 0,
    }
}

pub(super) fn rules(models: &str, levels: &str, switches: &str, failover: &str) -> RoutingRules {
    RoutingRules {
        model_mapper: ModelMapper::parse(models).unwrap(),
        level_mapper: LevelMapper::parse(levels).unwrap(),
        switch_over: SwitchOver::parse(switches).unwrap(),
        model_failover: ModelFailover::parse(failover).unwrap(),
    }
}

pub(super) fn levels(stage: &PlanStage) -> Vec<u8> {
    stage.hops.iter().map(|hop| hop.level.get()).collect()
}

/// `model@level,level` for each stage.
pub(super) fn route(plan: &RoutePlan) -> Vec<String> {
    let stage = |stage: &PlanStage| {
        let levels: Vec<_> = levels(stage).iter().map(u8::to_string).collect();
        format!("{}@{}", stage.model, levels.join(","))
    };
    plan.stages.iter().map(stage).collect()
}

#[test]
fn the_own_map_wins_then_the_nearest_ancestor_with_one_then_the_system() {
    let (mut own, mut parent, mut root) = (account(7), account(3), account(1));
    let system = system(rules("a=system,b=system,c=system,d=system", "", "", ""));
    root.routing = rules("a=root,b=root,c=root", "", "", "").into();
    let ask = |own: &AccountConfig, parent: &AccountConfig, model| {
        let plan = plan(own, &[parent, &root], &system, Some(model)).unwrap();
        let first = &plan.stages[0];
        let giver = match first.why {
            ModelReason::Mapped(RuleOwner::Account(id)) => id.get(),
            ModelReason::Mapped(RuleOwner::System) => 0,
            ModelReason::Asked | ModelReason::Failover(_) => -1,
        };
        (first.model.clone(), giver)
    };
    assert_eq!(ask(&own, &parent, "a"), ("root".to_owned(), 1));
    assert_eq!(ask(&own, &parent, "d"), ("system".to_owned(), 0));
    assert_eq!(ask(&own, &parent, "e"), ("e".to_owned(), -1));
    parent.routing = rules("b=parent", "", "", "").into();
    assert_eq!(ask(&own, &parent, "b"), ("parent".to_owned(), 3));
    // Only the nearest ancestor's mapper applies, so root's is ignored.
    assert_eq!(ask(&own, &parent, "c"), ("system".to_owned(), 0));
    own.routing = rules("a=own", "", "", "").into();
    assert_eq!(ask(&own, &parent, "a"), ("own".to_owned(), 7));
    assert_eq!(ask(&own, &parent, "own"), ("own".to_owned(), -1));
}

#[test]
fn a_target_is_never_mapped_again() {
    let system = system(rules("a=b,b=c", "", "", ""));
    let plan = plan(&account(1), &[], &system, Some("a")).unwrap();
    assert_eq!(plan.model(), "b");
}

#[test]
fn the_level_follows_the_mapped_model_else_the_account() {
    let mut own = account(7);
    own.level = Level::new(5).unwrap();
    let system = system(rules("x=gpt-4", "gpt-4*=2,x=9", "", ""));
    let first = |model| plan(&own, &[], &system, model).unwrap().stages[0].hops[0];
    let mapped = LevelReason::Mapped(RuleOwner::System);
    assert_eq!(
        (first(Some("x")).level.get(), first(Some("x")).why),
        (2, mapped)
    );
    for model in [Some("claude"), None] {
        assert_eq!(first(model).level.get(), 5);
        assert_eq!(first(model).why, LevelReason::Account);
    }
}

#[test]
fn at_most_gear_switches_are_made_and_rings_are_cut() {
    let mut own = account(7);
    let system = system(rules("", "", "0=1,1=2,2=0", ""));
    for (gear, expected) in [
        (0, vec![0]),
        (1, vec![0, 1]),
        (2, vec![0, 1, 2]),
        (255, vec![0, 1, 2]),
    ] {
        own.gear = gear;
        let plan = plan(&own, &[], &system, None).unwrap();
        assert_eq!(levels(&plan.stages[0]), expected);
    }
}

#[test]
fn every_list_of_the_chain_keeps_a_level_out() {
    let (mut own, mut parent) = (account(7), account(3));
    own.gear = 9;
    let system = system(rules("", "", "0=1,1=2,2=3", ""));
    Arc::make_mut(&mut own.access).levels = LevelList::parse("0,1,3").unwrap();
    Arc::make_mut(&mut parent.access).levels = LevelList::parse("0,2,3").unwrap();
    let found = plan(&own, &[&parent], &system, None).unwrap();
    assert_eq!(levels(&found.stages[0]), [0, 3]);
    Arc::make_mut(&mut parent.access).levels = LevelList::parse("1").unwrap();
    let refused = RouteRefusal::Level {
        account: parent.name.clone(),
        level: Level::ZERO,
    };
    assert_eq!(plan(&own, &[&parent], &system, None), Err(refused));
}

#[test]
fn a_substitute_has_levels_of_its_own_and_comes_when_all_of_the_model_before_are_exhausted() {
    let mut own = account(7);
    let system = system(rules("ask=a", "b*=4", "0=1,1=2,4=5", "a=b|a|c|b"));
    let found = plan(&own, &[], &system, Some("ask")).unwrap();
    assert_eq!(route(&found), ["a@0,1", "b@4,5", "c@0,1"]);
    assert_eq!(
        found.stages[1].why,
        ModelReason::Failover(RuleOwner::System)
    );
    own.gear = 0;
    let found = plan(&own, &[], &system, Some("ask")).unwrap();
    assert_eq!(route(&found), ["a@0", "b@4", "c@0"]);
}

#[test]
fn a_chain_is_looked_up_by_the_mapped_name_and_not_followed_further() {
    let system = system(rules("ask=a,b=x", "", "", "ask=wrong,a=b,b=c,x=d"));
    let found = plan(&account(7), &[], &system, Some("ask")).unwrap();
    assert_eq!(route(&found), ["a@0", "b@0"]);
    let found = plan(&account(7), &[], &system, None).unwrap();
    assert_eq!(route(&found), ["@0"]);
}

#[test]
fn a_substitute_whose_level_is_not_allowed_is_left_out() {
    let mut own = account(7);
    Arc::make_mut(&mut own.access).levels = LevelList::parse("0").unwrap();
    let system = system(rules("", "b=4", "", "a=b|c"));
    let found = plan(&own, &[], &system, Some("a")).unwrap();
    assert_eq!(route(&found), ["a@0", "c@0"]);
}

#[test]
fn an_accounts_own_chain_takes_the_place_of_the_systems() {
    let (mut own, mut parent) = (account(7), account(3));
    let system = system(rules("", "", "", "a=system,z=system"));
    parent.routing = rules("", "", "", "a=parent").into();
    let ask =
        |own: &AccountConfig, model| route(&plan(own, &[&parent], &system, Some(model)).unwrap());
    assert_eq!(ask(&own, "a"), ["a@0", "parent@0"]);
    assert_eq!(ask(&own, "z"), ["z@0", "system@0"]);
    own.routing = rules("", "", "", "a=own").into();
    assert_eq!(ask(&own, "a"), ["a@0", "own@0"]);
}

proptest! {
    #[test]
    fn every_pair_comes_once_is_allowed_and_within_the_gear(
        pairs in prop::collection::vec((0i64..11, 0i64..11), 0..20),
        homes in prop::collection::vec(0i64..11, 5),
        chain in prop::collection::vec(0usize..5, 0..8),
        allowed in prop::collection::btree_set(0i64..11, 0..11),
        gear in 0u8..12,
    ) {
        let switches: Vec<_> = pairs.iter().map(|(from, to)| format!("{from}={to}")).collect();
        let mappers: Vec<_> = homes.iter().enumerate().map(|(model, level)| format!("m{model}={level}")).collect();
        let chain: Vec<_> = chain.iter().map(|model| format!("m{model}")).collect();
        let failover = if chain.is_empty() { String::new() } else { format!("m0={}", chain.join("|")) };
        let system = system(rules("", &mappers.join(","), &switches.join(","), &failover));
        let mut own = account(7);
        own.gear = gear;
        Arc::make_mut(&mut own.access).levels = LevelList::Only(allowed.iter().map(|level| Level::new(*level).unwrap()).collect());
        let Ok(plan) = plan(&own, &[], &system, Some("m0")) else {
            prop_assert!(!allowed.contains(&homes[0]));
            return Ok(());
        };
        let mut models: Vec<_> = plan.stages.iter().map(|stage| stage.model.clone()).collect();
        prop_assert_eq!(&models[0], "m0");
        prop_assert!(models.iter().skip(1).all(|model| chain.contains(model)));
        models.sort();
        models.dedup();
        prop_assert_eq!(models.len(), plan.stages.len());
        for stage in &plan.stages {
            let levels = levels(stage);
            prop_assert!(!levels.is_empty() && levels.len() <= usize::from(gear) + 1);
            prop_assert!(levels.iter().all(|level| allowed.contains(&i64::from(*level))));
            let mut distinct = levels.clone();
            distinct.sort_unstable();
            distinct.dedup();
            prop_assert_eq!(distinct.len(), levels.len());
        }
    }
}
