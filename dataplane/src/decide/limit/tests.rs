//! Laws of windows: which limits apply, exact borders, no second allowance.

use proptest::prelude::*;
use proxyxai_contract::{
    clock::WindowLength,
    id::AccountId,
    snapshot::AccountConfig,
    window::{ModelLimits, RateLimits, WindowKey, grant},
};

use super::*;
use crate::decide::{admit::CallerScope, samples::account};

/// 1 November 2026, noon.
const NOON: Millis = Millis(1_793_534_400_000);
const MINUTE: i64 = 60_000;

fn limits(text: &str) -> ModelLimits {
    ModelLimits::parse(text).unwrap()
}

fn narrow(window: LimitWindow, limit: u64) -> RateLimits {
    let mut limits = RateLimits::WIDE;
    match window {
        LimitWindow::Rpm => limits.rpm = limit,
        LimitWindow::Rph => limits.rph = limit,
        LimitWindow::Rpd => limits.rpd = limit,
        LimitWindow::Tpm => limits.tpm = limit,
        LimitWindow::Tph => limits.tph = limit,
        LimitWindow::Tpd => limits.tpd = limit,
    }
    limits
}

/// Caller, parent, root.
fn chain() -> [AccountConfig; 3] {
    [account(7), account(3), account(1)]
}

/// Window, units, place in the chain, owner, model.
type ExpectedLimit = (LimitWindow, u64, usize, String, String);

fn found(chain: &[AccountConfig], system: &ModelLimits, model: &str) -> Vec<ExpectedLimit> {
    let chain: Vec<_> = chain.iter().collect();
    let owned = |limit: EffectiveLimit<'_>| {
        let owner = limit.owner.unwrap_or("system").to_owned();
        let (window, most, at) = (limit.window, limit.most, limit.at);
        (window, most, at, owner, limit.model.to_owned())
    };
    let scope = CallerScope {
        chain: &chain,
        key: None,
    };
    effective_limits(scope, system, Some(model))
        .into_iter()
        .map(owned)
        .collect()
}

fn limit(most: u64, at: usize, owner: &str, model: &str) -> ExpectedLimit {
    (
        LimitWindow::Rpm,
        most,
        at,
        owner.to_owned(),
        model.to_owned(),
    )
}

#[test]
fn a_keys_own_limit_is_counted_before_its_accounts_and_beside_it() {
    let [mut own, parent, root] = chain();
    let key = proxyxai_contract::snapshot::FurtherKey {
        rpm: Some(3),
        ..crate::decide::samples::further_key("ci")
    };
    let found = |own: &AccountConfig| {
        let chain = [own, &parent, &root];
        let scope = CallerScope {
            chain: &chain,
            key: Some(&key),
        };
        let system = ModelLimits::default();
        let limits = effective_limits(scope, &system, Some("gpt-4o"));
        let plain =
            |limit: &EffectiveLimit<'_>| (limit.key.map(str::to_owned), limit.most, limit.at);
        limits.iter().map(plain).collect::<Vec<_>>()
    };
    let of_key = (Some("ci".to_owned()), 3, 0);
    assert_eq!(found(&own), std::slice::from_ref(&of_key));
    own.limits = narrow(LimitWindow::Rpm, 9);
    assert_eq!(found(&own), [of_key, (None, 9, 0)]);
}

#[test]
fn without_a_limit_nothing_is_in_force() {
    assert!(found(&chain(), &ModelLimits::default(), "gpt-4").is_empty());
}

#[test]
fn each_account_of_the_chain_counts_for_its_own_limit() {
    let mut chain = chain();
    let none = ModelLimits::default();
    chain[1].limits = narrow(LimitWindow::Rpm, 5);
    let parents = limit(5, 1, "account-3", "");
    assert_eq!(
        found(&chain, &none, "gpt-4"),
        std::slice::from_ref(&parents)
    );
    chain[0].limits = narrow(LimitWindow::Rpm, 10);
    let own = limit(10, 0, "account-7", "");
    assert_eq!(found(&chain, &none, "gpt-4"), [own, parents]);
}

#[test]
fn a_limit_by_model_takes_the_place_of_the_window_of_its_kind() {
    let mut chain = chain();
    chain[0].limits = RateLimits {
        rpm: 10,
        tpd: 1000,
        ..RateLimits::WIDE
    };
    chain[0].model_limits = limits(r#"{"gpt-4*":{"rpm":50}}"#);
    let none = ModelLimits::default();
    let day = (
        LimitWindow::Tpd,
        1000,
        0,
        "account-7".to_owned(),
        String::new(),
    );
    assert_eq!(
        found(&chain, &none, "gpt-4o"),
        [limit(50, 0, "account-7", "gpt-4*"), day.clone()]
    );
    assert_eq!(
        found(&chain, &none, "o3"),
        [limit(10, 0, "account-7", ""), day.clone()]
    );
    // But not of the parent's.
    chain[1].limits = narrow(LimitWindow::Rpm, 20);
    assert_eq!(
        found(&chain, &none, "gpt-4o"),
        [
            limit(50, 0, "account-7", "gpt-4*"),
            day,
            limit(20, 1, "account-3", "")
        ]
    );
}

#[test]
fn limits_by_model_are_inherited_from_the_nearest_who_has_some() {
    let mut chain = chain();
    let system = limits(r#"{"gpt-4":{"rpm":3},"o3":{"rpm":4}}"#);
    // What the system allows, it allows each account below root: they do not share root's window.
    let each = [
        limit(3, 0, "system", "gpt-4"),
        limit(3, 1, "system", "gpt-4"),
    ];
    assert_eq!(found(&chain, &system, "gpt-4"), each);
    assert_eq!(
        found(&chain[2..], &system, "o3"),
        [limit(4, 0, "system", "o3")]
    );
    chain[1].model_limits = limits(r#"{"gpt-*":{"rpm":2}}"#);
    let each = [
        limit(2, 0, "account-3", "gpt-*"),
        limit(2, 1, "account-3", "gpt-*"),
    ];
    assert_eq!(found(&chain, &system, "gpt-4"), each);
    // The parent's limits hide the system's.
    assert_eq!(found(&chain, &system, "o3"), []);
    assert_eq!(found(&chain, &system, "claude"), []);
    // An account that lifts an inherited limit is still counted by the account that set it.
    chain[0].model_limits = limits(r#"{"*":{}}"#);
    assert_eq!(
        found(&chain, &system, "gpt-4"),
        [limit(2, 1, "account-3", "gpt-*")]
    );
}

/// A data plane with one account, and a control plane that replies at once.
struct WindowRig {
    counters: WindowCounters,
    granted: std::collections::BTreeMap<WindowKey, u64>,
    zone: Zone,
    nodes: u64,
}

impl WindowRig {
    fn new(zone: Zone) -> Self {
        Self {
            counters: WindowCounters::new(AccountId::new(7).unwrap()),
            granted: std::collections::BTreeMap::new(),
            zone,
            nodes: 1,
        }
    }

    fn control(&mut self) {
        for ask in self.counters.asks() {
            let total = self.granted.entry(ask.key.clone()).or_default();
            *total += ask.overspent;
            let granted = grant(&ask, *total, self.nodes);
            *total += granted;
            let total = *total;
            let key = ask.key;
            self.counters.granted(&WindowGrant {
                key,
                granted,
                total,
            });
        }
    }

    fn call(
        &mut self,
        limit: EffectiveLimit<'_>,
        tokens: Option<u64>,
        now: Millis,
    ) -> WindowDecision {
        for _ in 0..3 {
            let verdict = admit(
                &mut [(&mut self.counters, &[limit])],
                tokens,
                &self.zone,
                now,
            );
            if verdict != WindowDecision::Wait {
                self.control();
                return verdict;
            }
            self.control();
        }
        panic!("control answers at once");
    }

    fn admitted(&mut self, limit: EffectiveLimit<'_>, calls: u64, now: Millis) -> u64 {
        let mut admitted = 0;
        for _ in 0..calls {
            if let WindowDecision::Admitted { taken, .. } = self.call(limit, Some(1), now) {
                self.counters.settle(&taken, 1);
                admitted += 1;
            }
        }
        admitted
    }
}

fn of(window: LimitWindow, most: u64) -> EffectiveLimit<'static> {
    EffectiveLimit {
        window,
        most,
        at: 0,
        key: None,
        owner: Some("team"),
        model: "",
    }
}

#[test]
fn a_window_has_as_many_units_as_its_limit_and_again_from_the_border_on() {
    for window in LimitWindow::ALL {
        for limit in [0, 1, 3, 60] {
            let mut rig = WindowRig::new(Zone::new("Europe/Berlin").unwrap());
            let period = rig.zone.period(window.span(), NOON);
            let limit_of = of(window, limit);
            assert_eq!(
                rig.admitted(limit_of, limit, period.start),
                limit,
                "{window}"
            );
            let last = period.end.plus(-1);
            match rig.call(limit_of, Some(1), last) {
                WindowDecision::Refused(Refusal::RateLimited(full)) => {
                    assert_eq!(full.resets, rig.zone.rfc3339(period.end));
                    assert_eq!(full.retry_after_ms, 1);
                }
                other => panic!("{window} {limit}: {other:?}"),
            }
            assert_eq!(
                rig.admitted(limit_of, limit + 2, period.end),
                limit,
                "{window}"
            );
        }
    }
}

#[test]
fn a_clock_that_steps_back_brings_no_second_allowance() {
    let mut rig = WindowRig::new(Zone::UTC);
    let limit = of(LimitWindow::Rpm, 5);
    assert_eq!(rig.admitted(limit, 9, NOON), 5);
    assert_eq!(rig.admitted(limit, 9, NOON.plus(-1)), 0);
    assert_eq!(rig.admitted(limit, 9, NOON.plus(-3 * MINUTE)), 0);
    assert_eq!(rig.admitted(limit, 9, NOON.plus(MINUTE)), 5);
    assert_eq!(rig.admitted(limit, 9, NOON), 0);
    // Nor does a restart with it: control knows the window.
    rig.counters = WindowCounters::new(AccountId::new(7).unwrap());
    assert_eq!(rig.admitted(limit, 9, NOON), 0);
}

#[test]
fn a_day_that_is_longer_has_no_more_units() {
    let mut rig = WindowRig::new(Zone::new("Europe/Berlin").unwrap());
    // 25 October 2026 has 25 hours; noon UTC of it.
    let noon = NOON.plus(-7 * 86_400_000);
    let day = rig.zone.period(WindowLength::Day, noon);
    assert_eq!(day.end.since(day.start), 25 * 3_600_000);
    let limit = of(LimitWindow::Rpd, 48);
    let per_half_hour: u64 = (0..50)
        .map(|half| rig.admitted(limit, 1, day.start.plus(half * 1_800_000)))
        .sum();
    assert_eq!(per_half_hour, 48);
    assert_eq!(rig.admitted(limit, 1, day.end), 1);
}

#[test]
fn tokens_of_calls_under_way_are_held() {
    let mut rig = WindowRig::new(Zone::UTC);
    let limit = of(LimitWindow::Tpm, 100);
    let WindowDecision::Admitted { taken: first, .. } = rig.call(limit, Some(60), NOON) else {
        panic!("fits");
    };
    // The second wants more than is left: one token is enough.
    let WindowDecision::Admitted {
        taken: second,
        left,
    } = rig.call(limit, Some(60), NOON)
    else {
        panic!("fits");
    };
    assert_eq!(left.tokens.unwrap().left, 0);
    assert!(matches!(
        rig.call(limit, Some(1), NOON),
        WindowDecision::Refused(_)
    ));
    rig.counters.settle(&first, 10);
    let WindowDecision::Admitted { taken: third, left } = rig.call(limit, Some(20), NOON) else {
        panic!("fits again");
    };
    assert_eq!(left.tokens.unwrap().left, 10);
    // Excess use counts; the next window begins with the full limit.
    rig.counters.settle(&second, 200);
    rig.counters.settle(&third, 20);
    assert!(matches!(
        rig.call(limit, Some(1), NOON),
        WindowDecision::Refused(_)
    ));
    let next = NOON.plus(MINUTE);
    assert!(matches!(
        rig.call(limit, Some(100), next),
        WindowDecision::Admitted { .. }
    ));
}

#[test]
fn a_call_that_did_not_take_place_does_not_count() {
    let mut rig = WindowRig::new(Zone::UTC);
    let limit = of(LimitWindow::Rpm, 1);
    let WindowDecision::Admitted { taken, .. } = rig.call(limit, None, NOON) else {
        panic!("fits");
    };
    rig.counters.give_back(&taken);
    let WindowDecision::Admitted { taken, .. } = rig.call(limit, None, NOON) else {
        panic!("fits again");
    };
    assert!(matches!(
        rig.call(limit, None, NOON),
        WindowDecision::Refused(_)
    ));
    // Returned after the border, it changes nothing in the next window.
    let next = NOON.plus(MINUTE);
    assert_eq!(rig.admitted(limit, 1, next), 1);
    rig.counters.give_back(&taken);
    assert_eq!(rig.admitted(limit, 1, next), 0);
}

#[test]
fn a_call_that_makes_no_tokens_is_not_held_up_by_a_window_of_tokens() {
    let mut rig = WindowRig::new(Zone::UTC);
    let none = of(LimitWindow::Tpm, 0);
    assert!(matches!(
        rig.call(none, Some(1), NOON),
        WindowDecision::Refused(_)
    ));
    let WindowDecision::Admitted { taken, left } = rig.call(none, None, NOON) else {
        panic!("no tokens are made");
    };
    assert_eq!((taken, left), (Vec::new(), RemainingLimits::default()));
}

#[test]
fn a_limit_that_changes_counts_with_the_next_call() {
    let mut rig = WindowRig::new(Zone::UTC);
    assert_eq!(rig.admitted(of(LimitWindow::Rpd, 100), 10, NOON), 10);
    assert_eq!(rig.admitted(of(LimitWindow::Rpd, 12), 10, NOON), 2);
    assert_eq!(rig.admitted(of(LimitWindow::Rpd, 5), 10, NOON), 0);
    assert_eq!(rig.admitted(of(LimitWindow::Rpd, 15), 10, NOON), 3);
}

#[test]
fn one_window_that_is_full_leaves_the_others_untouched() {
    let mut rig = WindowRig::new(Zone::UTC);
    let both = [of(LimitWindow::Rpm, 2), of(LimitWindow::Rpd, 10)];
    let call = |rig: &mut WindowRig| {
        for _ in 0..3 {
            let verdict = admit(&mut [(&mut rig.counters, &both)], None, &Zone::UTC, NOON);
            rig.control();
            if verdict != WindowDecision::Wait {
                return verdict;
            }
        }
        panic!("control answers at once");
    };
    for left in [1, 0] {
        let WindowDecision::Admitted { left: shown, .. } = call(&mut rig) else {
            panic!("fits");
        };
        // The scarcer one is reported.
        assert_eq!(shown.requests.unwrap().left, left);
        assert_eq!(shown.requests.unwrap().limit, 2);
    }
    for _ in 0..5 {
        let WindowDecision::Refused(refusal) = call(&mut rig) else {
            panic!("is full");
        };
        assert_eq!(refusal.retry_after_ms(), Some(MINUTE));
    }
    assert_eq!(rig.admitted(both[1], 20, NOON), 8);
}

#[test]
fn of_several_that_are_full_the_last_to_end_is_told() {
    let mut rig = WindowRig::new(Zone::UTC);
    let both = [of(LimitWindow::Rph, 0), of(LimitWindow::Rpm, 0)];
    let verdict = admit(&mut [(&mut rig.counters, &both)], None, &Zone::UTC, NOON);
    let WindowDecision::Refused(refusal) = verdict else {
        panic!("is full");
    };
    assert_eq!(refusal.retry_after_ms(), Some(60 * MINUTE));
    let message = refusal.message();
    for part in ["team", "0 requests per hour", "RPH", "2026-11-01T13:00:00"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_slice_is_asked_for_before_the_last_is_gone() {
    let mut rig = WindowRig::new(Zone::UTC);
    let limit = of(LimitWindow::Rpm, 800);
    let mut waits = 0;
    for _ in 0..800 {
        while admit(&mut [(&mut rig.counters, &[limit])], None, &Zone::UTC, NOON)
            == WindowDecision::Wait
        {
            waits += 1;
            rig.control();
        }
        rig.control();
    }
    assert_eq!(waits, 1);
    assert!(matches!(
        rig.call(limit, None, NOON),
        WindowDecision::Refused(_)
    ));
}

#[test]
fn an_ask_that_failed_is_made_again() {
    let mut rig = WindowRig::new(Zone::UTC);
    let limit = of(LimitWindow::Rpm, 5);
    assert_eq!(
        admit(&mut [(&mut rig.counters, &[limit])], None, &Zone::UTC, NOON),
        WindowDecision::Wait
    );
    assert_eq!(rig.counters.asks().len(), 1);
    // With one ask in flight, there is no other.
    assert_eq!(
        admit(&mut [(&mut rig.counters, &[limit])], None, &Zone::UTC, NOON),
        WindowDecision::Wait
    );
    assert!(rig.counters.asks().is_empty());
    rig.counters.failed();
    assert_eq!(rig.admitted(limit, 9, NOON), 5);
}

proptest! {
    #[test]
    fn data_planes_together_never_admit_more_than_the_limit(
        limit in 0u64..60,
        steps in prop::collection::vec((0usize..3, 0i64..3, any::<bool>()), 0..300),
    ) {
        let mut planes: Vec<WindowCounters> = (0..3).map(|_| WindowCounters::new(AccountId::new(7).unwrap())).collect();
        let mut totals = std::collections::BTreeMap::<WindowKey, u64>::new();
        let mut counts = std::collections::BTreeMap::<Millis, u64>::new();
        let rule = of(LimitWindow::Rpm, limit);
        for (plane, minute, restart) in steps {
            let now = NOON.plus(minute * MINUTE);
            let counters = &mut planes[plane];
            if restart && minute == 2 {
                *counters = WindowCounters::new(AccountId::new(7).unwrap());
            }
            for _ in 0..2 {
                if let WindowDecision::Admitted { taken, .. } = admit(&mut [(&mut *counters, &[rule])], None, &Zone::UTC, now) {
                    *counts.entry(taken[0].start).or_default() += 1;
                    break;
                }
                for ask in counters.asks() {
                    let total = totals.entry(ask.key.clone()).or_default();
                    let granted = grant(&ask, *total, 3);
                    *total += granted;
                    counters.granted(&WindowGrant { key: ask.key, granted, total: *total });
                }
            }
        }
        prop_assert!(counts.values().all(|count| *count <= limit));
    }

    #[test]
    fn tokens_go_beyond_the_limit_by_one_call_at_most(
        limit in 1u64..500,
        calls in prop::collection::vec((1u64..100, 0u64..=100), 0..60),
    ) {
        let mut rig = WindowRig::new(Zone::UTC);
        let rule = of(LimitWindow::Tpd, limit);
        let (mut used, mut open) = (0, Vec::new());
        for (guess, percent) in calls {
            if let WindowDecision::Admitted { taken, .. } = rig.call(rule, Some(guess), NOON) {
                // No call uses more than it holds here.
                open.push((taken, guess * percent / 100));
            }
            if open.len() > 3 {
                let (taken, real) = open.remove(0);
                rig.counters.settle(&taken, real);
                used += real;
            }
        }
        used += open.iter().map(|(_, real)| real).sum::<u64>();
        prop_assert!(used < limit + 100, "{used} of {limit}");
    }

    #[test]
    fn all_below_an_account_together_never_have_more_than_it_has(
        parents in 0u64..30,
        own in prop::collection::vec(0u64..30, 4),
        steps in prop::collection::vec((0usize..2, 0usize..4, any::<bool>()), 0..200),
    ) {
        let counters = |id: usize| WindowCounters::new(AccountId::new(i64::try_from(id).unwrap() + 1).unwrap());
        // Two data planes, with the parent's counters last.
        let mut planes: Vec<Vec<WindowCounters>> = (0..2).map(|_| (0..5).map(counters).collect()).collect();
        let mut totals = std::collections::BTreeMap::<WindowKey, u64>::new();
        let (mut counts, mut open) = ([0u64; 4], Vec::new());
        let above = EffectiveLimit { at: 1, ..of(LimitWindow::Rpm, parents) };
        for (plane, child, ends) in steps {
            let limit = of(LimitWindow::Rpm, own[child]);
            for _ in 0..3 {
                let (children, parent) = planes[plane].split_at_mut(4);
                let mut places = [(&mut children[child], &[limit][..]), (&mut parent[0], &[above][..])];
                let verdict = admit(&mut places, None, &Zone::UTC, NOON);
                if let WindowDecision::Admitted { taken, .. } = verdict {
                    prop_assert_eq!(taken.iter().map(CountedUnits::place).collect::<Vec<_>>(), [0, 1]);
                    counts[child] += 1;
                    open.push((plane, child, taken));
                    break;
                }
                let refused = matches!(verdict, WindowDecision::Refused(_));
                for counters in &mut planes[plane] {
                    for ask in counters.asks() {
                        let total = totals.entry(ask.key.clone()).or_default();
                        let granted = grant(&ask, *total, 2);
                        *total += granted;
                        counters.granted(&WindowGrant { key: ask.key, granted, total: *total });
                    }
                }
                if refused {
                    break;
                }
            }
            // Some do not take place after all.
            if ends && let Some((plane, child, taken)) = open.pop() {
                let (children, parent) = planes[plane].split_at_mut(4);
                children[child].give_back(taken.iter().filter(|taken| taken.place() == 0));
                parent[0].give_back(taken.iter().filter(|taken| taken.place() == 1));
                counts[child] -= 1;
            }
            prop_assert!(counts.iter().sum::<u64>() <= parents, "{counts:?} of {parents}");
            prop_assert!(counts.iter().zip(&own).all(|(count, own)| count <= own));
        }
    }
}

#[test]
fn what_the_parent_refuses_is_not_counted_for_the_child() {
    let (mut own, mut parents) = (WindowRig::new(Zone::UTC), WindowRig::new(Zone::UTC));
    let (limit, none) = (of(LimitWindow::Rpm, 3), of(LimitWindow::Rpm, 0));
    for _ in 0..5 {
        let mut places = [
            (&mut own.counters, &[limit][..]),
            (&mut parents.counters, &[none][..]),
        ];
        let verdict = admit(&mut places, None, &Zone::UTC, NOON);
        assert!(matches!(verdict, WindowDecision::Refused(_)), "{verdict:?}");
        own.control();
    }
    assert_eq!(own.admitted(limit, 9, NOON), 3);
}
