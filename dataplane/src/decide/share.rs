//! Limits on the share of one account, with all below it, in the resources of all calls: open calls, bytes of bodies,
//! places in a queue. More is refused, so that the rest stays for other accounts.

use std::num::NonZeroU32;

/// How many calls an account may have open: its own number, else the system's, and in any case not the last quarter of
/// a data plane's limit.
pub(crate) fn calls_max(
    own: Option<NonZeroU32>,
    system: Option<NonZeroU32>,
    open_calls_max: usize,
) -> usize {
    let most = open_calls_max - open_calls_max / 4;
    let given = own.or(system).map(NonZeroU32::get);
    let given = given.and_then(|given| usize::try_from(given).ok());
    given.map_or(most, |given| given.min(most))
}

/// Whether an account may hold this many bytes, including one buffer, while `left` bytes are left for all. A single
/// buffer may use the whole budget.
///
/// Beyond it, an account may hold at most as much as it leaves to the others, which leaves room for one more.
pub(crate) const fn may_hold(account: usize, buffer: usize, left: usize) -> bool {
    account <= buffer || account <= left
}

/// Whether this many calls of an account may wait, by the same rule.
pub(crate) const fn may_wait(account: usize, all: usize, most: usize) -> bool {
    all <= most && (account <= 1 || account <= most - all)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_accounts_own_number_comes_before_the_systems() {
        let number = NonZeroU32::new;
        assert_eq!(calls_max(None, None, 10_000), 7500);
        assert_eq!(calls_max(None, number(2500), 10_000), 2500);
        assert_eq!(calls_max(number(7), number(2500), 10_000), 7);
        assert_eq!(calls_max(number(5000), number(2500), 10_000), 5000);
    }

    proptest! {
        #[test]
        fn an_account_may_always_have_a_call_and_never_the_last_quarter(
            own in 0u32..20_000, system in 0u32..20_000, most in 1usize..20_000,
        ) {
            let share = calls_max(NonZeroU32::new(own), NonZeroU32::new(system), most);
            prop_assert!(share >= 1);
            prop_assert!(share <= most.div_ceil(4) * 3);
        }

        #[test]
        fn however_many_take_what_they_can_get_there_is_a_place_for_one_more(
            turns in prop::collection::vec(0usize..4, 1..3000), most in 40usize..1000,
        ) {
            let mut waiting = [0usize; 4];
            for account in turns {
                let (own, all) = (waiting[account] + 1, waiting.iter().sum::<usize>() + 1);
                if may_wait(own, all, most) {
                    waiting[account] = own;
                }
            }
            prop_assert!(may_wait(1, waiting.iter().sum::<usize>() + 1, most));
        }

        #[test]
        fn a_store_is_never_emptied_by_many_small_buffers(
            turns in prop::collection::vec((0usize..5, 1usize..4), 1..3000),
        ) {
            // Each account leaves half of what it finds.
            let mut left = 1000usize;
            let mut held = [0usize; 5];
            for (account, bytes) in turns {
                let rest = left.saturating_sub(bytes);
                if bytes <= left && may_hold(held[account] + bytes, bytes, rest) {
                    held[account] += bytes;
                    left = rest;
                }
            }
            prop_assert!(left >= 1000 / 32 - 3, "{left} left of 1000");
        }
    }
}
