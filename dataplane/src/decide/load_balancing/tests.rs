//! Laws of the shares that keys get.

use proptest::prelude::*;
use proxyxai_contract::clock::Millis;

use super::*;
use crate::decide::peak_ewma::PeakEwma;

/// Number of picks by weight for each key, if all are always usable.
fn by_weight(weights: &[i64], rounds: i64) -> Vec<i64> {
    let mut credits = vec![0; weights.len()];
    let mut shares = vec![0; weights.len()];
    for _ in 0..rounds {
        let share = weighted(
            weights.len(),
            |_| true,
            |at| {
                credits[at] += weights[at];
                (weights[at], credits[at])
            },
        )
        .unwrap();
        credits[share.at] -= share.pays;
        shares[share.at] += 1;
    }
    shares
}

#[test]
fn an_empty_or_tired_level_has_no_key() {
    for keys in [0, 3] {
        assert_eq!(next(usize::MAX, keys, |_| false), None);
        assert_eq!(next(5, keys, |_| false), None);
        assert_eq!(weighted(keys, |_| false, |_| (1, 1)), None);
        assert_eq!(least_busy(0, keys, |_| false, |_| 0), None);
        assert_eq!(two_choices(keys, |_| false, |_| 0.0, |_| 0), None);
    }
    assert_eq!(next(usize::MAX, 3, |_| true), Some(0));
}

#[test]
fn ties_of_the_least_busy_go_round() {
    let busy = [2, 1, 1, 5];
    assert_eq!(least_busy(0, 4, |_| true, |at| busy[at]), Some(1));
    assert_eq!(least_busy(1, 4, |_| true, |at| busy[at]), Some(2));
    assert_eq!(least_busy(2, 4, |_| true, |at| busy[at]), Some(1));
    assert_eq!(least_busy(2, 4, |at| at != 1, |at| busy[at]), Some(2));
}

/// Calls in sequence, one each 20 ms, on keys with these times to first byte. Returns the number of calls for each key.
fn fastest(delay_ms: impl Fn(usize, i64) -> i64, keys: usize, seconds: i64) -> Vec<usize> {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut paces = vec![PeakEwma::default(); keys];
    let mut shares = vec![0; keys];
    let mut now = Millis(0);
    while now.0 < seconds * 1000 {
        now = now.plus(20);
        let cost = |at: usize| paces[at].cost(0, now);
        let at = two_choices(keys, |_| true, cost, |below| rng.usize(..below)).unwrap();
        let delay = std::time::Duration::from_millis(delay_ms(at, now.0).unsigned_abs());
        paces[at] = paces[at].observe(delay, now);
        shares[at] += 1;
    }
    shares
}

#[test]
fn the_fastest_rule_avoids_a_slow_key_yet_still_asks_it() {
    let shares = fastest(|at, _| if at == 3 { 500 } else { 50 }, 4, 300);
    let calls: usize = shares.iter().sum();
    assert!(shares[3] * 50 < calls, "{shares:?}");
    assert!(shares[3] >= 5, "{shares:?}");
    assert!(
        shares[..3].iter().all(|share| share * 5 > calls),
        "{shares:?}"
    );
}

#[test]
fn a_key_that_has_become_fast_gets_its_share_again() {
    let heals = |at, now| if at == 3 && now < 100_000 { 500 } else { 50 };
    let (sick, all) = (fastest(heals, 4, 100), fastest(heals, 4, 300));
    let since: Vec<_> = all
        .iter()
        .zip(&sick)
        .map(|(all, sick)| all - sick)
        .collect();
    let calls: usize = since.iter().sum();
    assert!(since[3] * 7 > calls, "{since:?}");
}

proptest! {
    #[test]
    fn only_usable_keys_are_picked_and_evenly(usable in prop::collection::vec(any::<bool>(), 1..12), last in 0usize..20, rounds in 1usize..200) {
        let good = usable.iter().filter(|usable| **usable).count();
        let mut shares = vec![0usize; usable.len()];
        let mut at = last;
        for _ in 0..rounds {
            let Some(picked) = next(at, usable.len(), |key| usable[key]) else {
                prop_assert_eq!(good, 0);
                return Ok(());
            };
            prop_assert!(usable[picked]);
            shares[picked] += 1;
            at = picked;
        }
        for (share, usable) in shares.iter().zip(&usable) {
            let even = if *usable { rounds / good } else { 0 };
            prop_assert!(*share == even || (*usable && *share == even + 1));
        }
    }

    #[test]
    fn a_key_that_comes_and_goes_does_not_disturb_the_others(flips in prop::collection::vec(any::<bool>(), 1..300)) {
        let mut shares = [0i64; 4];
        let mut at = 0;
        for flip in flips {
            at = next(at, 4, |key| key != 2 || flip).unwrap();
            shares[at] += 1;
        }
        prop_assert!((shares[0] - shares[1]).abs() <= 1 && (shares[1] - shares[3]).abs() <= 1);
    }

    #[test]
    fn shares_match_the_weights(weights in prop::collection::vec(1i64..=1000, 1..20), rounds in 1i64..3000) {
        let total: i64 = weights.iter().sum();
        for (share, weight) in by_weight(&weights, rounds).into_iter().zip(&weights) {
            let keys = i64::try_from(weights.len()).unwrap();
            // Never further off than the number of keys, however many rounds: soon within one in a hundred.
            prop_assert!((share * total - rounds * weight).abs() <= keys * total, "{share}");
        }
    }

    #[test]
    fn no_rule_picks_a_key_that_is_not_usable(usable in prop::collection::vec(any::<bool>(), 1..12), seed in any::<u64>()) {
        let keys = usable.len();
        let mut rng = fastrand::Rng::with_seed(seed);
        let busy: Vec<_> = (0..keys).map(|_| rng.u32(..9)).collect();
        let picks = [
            weighted(keys, |at| usable[at], |_| (1, 1)).map(|share| share.at),
            least_busy(0, keys, |at| usable[at], |at| busy[at]),
            two_choices(keys, |at| usable[at], |at| f64::from(busy[at]), |below| rng.usize(..below)),
        ];
        for pick in picks {
            prop_assert_eq!(pick.is_some(), usable.contains(&true));
            prop_assert!(pick.is_none_or(|at| usable[at]));
        }
        let least = (0..keys).filter(|at| usable[*at]).map(|at| busy[at]).min();
        prop_assert_eq!(picks[1].map(|at| busy[at]), least);
    }
}
