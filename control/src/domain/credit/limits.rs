//! The month's limit of an account and how it follows the credit. Data planes enforce it.
#![cfg_attr(
    not(test),
    deny(clippy::arithmetic_side_effects, clippy::float_arithmetic)
)]

use proxyxai_contract::money::Money;

/// Limits are full multiples of this.
const STEP_DOLLARS: i64 = 100;

/// `HardLimit` and `SoftLimit` of an account that opens with this balance: the balance rounded up to a full 100
/// dollars, and 80 % of that.
pub fn first_limits(balance: Money) -> (Money, Money) {
    let hard = rounded_up(balance);
    let fifth = hard.nanos().checked_div(5).map(Money::from_nanos);
    (hard, hard.saturating_sub(fifth.unwrap_or_default()))
}

/// `HardLimit` after the balance changed. It never falls, does not rise above an ancestor's, and stays absent if there
/// is none.
pub fn hard_limit_below(old: Option<Money>, balance: Money, above: Option<Money>) -> Option<Money> {
    old.map(|old| risen_within(old, rounded_up(balance), above).unwrap_or(old))
}

/// Raises `HardLimit` by full steps until it exceeds the month's use. Returns `None` if the use has not reached it or
/// the balance does not cover a step.
pub fn auto_quota(hard: Money, step: Money, used: Money, balance: Money) -> Option<Money> {
    if step <= Money::ZERO || used < hard || balance < step {
        return None;
    }
    // One late report may pass several steps; stopping after the first would block the account.
    let steps = used
        .checked_sub(hard)?
        .nanos()
        .checked_div(step.nanos())?
        .checked_add(1)?;
    let rise = steps.checked_mul(step.nanos())?;
    hard.checked_add(Money::from_nanos(rise))
}

/// The smaller of an account's limit and its ancestors'; `None` means no limit.
pub fn within(own: Option<Money>, above: Option<Money>) -> Option<Money> {
    [own, above].into_iter().flatten().min()
}

/// An automatically raised limit, bounded by the ancestors'. Returns `None` if it stays.
pub fn risen_within(old: Money, risen: Money, above: Option<Money>) -> Option<Money> {
    within(Some(risen), above).filter(|new| *new > old)
}

fn rounded_up(balance: Money) -> Money {
    // Only an amount within 100 dollars of the maximum cannot be rounded up.
    balance
        .max(Money::ZERO)
        .ceil_to_dollars(STEP_DOLLARS)
        .unwrap_or(Money::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn usd(dollars: i64) -> Money {
        Money::from_nanos(dollars * 1_000_000_000)
    }

    #[test]
    fn the_cap_follows_the_balance_up_and_never_down() {
        assert_eq!(first_limits(usd(100)), (usd(100), usd(80)));
        assert_eq!(first_limits(usd(2)), (usd(100), usd(80)));
        assert_eq!(
            hard_limit_below(Some(usd(100)), usd(180), None),
            Some(usd(200))
        );
        assert_eq!(
            hard_limit_below(Some(usd(200)), usd(260), None),
            Some(usd(300))
        );
        assert_eq!(
            hard_limit_below(Some(usd(300)), usd(130), None),
            Some(usd(300))
        );
        assert_eq!(hard_limit_below(None, usd(130), None), None);
        assert_eq!(
            hard_limit_below(Some(usd(1)), Money::MAX, None),
            Some(Money::MAX)
        );
    }

    #[test]
    fn auto_quota_raises_when_the_cap_is_reached_and_the_balance_covers_a_step() {
        let raised = |used, balance| auto_quota(usd(100), usd(10), usd(used), usd(balance));
        assert_eq!(raised(99, 50), None);
        assert_eq!(raised(100, 9), None);
        assert_eq!(raised(100, 10), Some(usd(110)));
        assert_eq!(raised(125, 10), Some(usd(130)));
        assert_eq!(auto_quota(usd(100), usd(0), usd(100), usd(50)), None);
    }

    #[test]
    fn no_cap_rises_above_one_of_an_account_above() {
        assert_eq!(within(Some(usd(5)), None), Some(usd(5)));
        assert_eq!(within(None, Some(usd(5))), Some(usd(5)));
        assert_eq!(within(Some(usd(7)), Some(usd(5))), Some(usd(5)));
        assert_eq!(risen_within(usd(3), usd(7), Some(usd(5))), Some(usd(5)));
        assert_eq!(risen_within(usd(3), usd(7), None), Some(usd(7)));
        assert_eq!(risen_within(usd(6), usd(7), Some(usd(5))), None);
        let after = |old, above| hard_limit_below(Some(usd(old)), usd(180), Some(usd(above)));
        assert_eq!(
            [after(100, 150), after(100, 100), after(170, 150)],
            [150, 100, 170].map(|cap| Some(usd(cap)))
        );
    }

    proptest! {
        #[test]
        fn a_raised_cap_is_above_the_use_by_at_most_a_step(
            hard in 0i64..1_000_000, step in 1i64..10_000, over in 0i64..1_000_000,
        ) {
            let (hard, step, used) = (usd(hard), usd(step), usd(hard + over));
            let raised = auto_quota(hard, step, used, step).unwrap();
            prop_assert!(raised > used);
            prop_assert!(raised <= used.checked_add(step).unwrap());
        }

        #[test]
        fn the_cap_covers_the_balance(nanos in i64::MIN..=i64::MAX) {
            let (hard, soft) = first_limits(Money::from_nanos(nanos));
            prop_assert!(hard.nanos() >= nanos);
            prop_assert!(soft <= hard && soft >= Money::ZERO);
        }
    }
}
