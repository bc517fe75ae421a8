//! Round robin over the keys of a level. The caller keeps which key was picked last, so that a key
//! next to a sleeping one does not get that one's share as well.

/// The first usable key after the last picked one, going round once; none when no key is usable.
/// Whoever picks stores the answer as the next `last`.
pub(crate) fn pick(last: usize, keys: usize, usable: impl Fn(usize) -> bool) -> Option<usize> {
    let first = last
        .checked_add(1)
        .and_then(|next| next.checked_rem(keys))?;
    (first..keys).chain(0..first).find(|at| usable(*at))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_empty_or_tired_level_has_no_key() {
        assert_eq!(pick(0, 0, |_| true), None);
        assert_eq!(pick(usize::MAX, 3, |_| true), None);
        assert_eq!(pick(5, 3, |_| false), None);
    }

    proptest! {
        #[test]
        fn only_usable_keys_are_picked_and_evenly(usable in prop::collection::vec(any::<bool>(), 1..12), last in 0usize..20, rounds in 1usize..200) {
            let good = usable.iter().filter(|usable| **usable).count();
            let mut shares = vec![0usize; usable.len()];
            let mut at = last;
            for _ in 0..rounds {
                let Some(picked) = pick(at, usable.len(), |key| usable[key]) else {
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
                at = pick(at, 4, |key| key != 2 || flip).unwrap();
                shares[at] += 1;
            }
            prop_assert!((shares[0] - shares[1]).abs() <= 1 && (shares[1] - shares[3]).abs() <= 1);
        }
    }
}
