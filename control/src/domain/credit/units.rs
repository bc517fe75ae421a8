//! Units: an account's unit follows its `Rates`, so an amount from before a change of `Rates` converts to another
//! number afterwards. Callers decide what is converted when.
#![cfg_attr(
    not(test),
    deny(clippy::arithmetic_side_effects, clippy::float_arithmetic)
)]

use proxyxai_contract::money::{Money, Multiplier};

/// The cost of calls as counted when they were admitted, and as it is to be paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// In the units at the time of the calls, as in records, totals and the book of charges.
    pub counted: Money,
    /// In the account's current units: what it pays.
    pub worth: Money,
}

impl Cost {
    /// The cost of a call priced at rate `then`. Records of older programs have none and are not converted. Returns
    /// `None` if it overflows.
    pub fn of(counted: Money, then: Option<Multiplier>, now: Multiplier) -> Option<Self> {
        let worth = then.map_or(Some(counted), |then| counted.scale(now, then))?;
        Some(Self { counted, worth })
    }

    /// The cost of calls since which the rates did not change.
    pub const fn even(counted: Money) -> Self {
        Self {
            counted,
            worth: counted,
        }
    }

    /// The sum of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            counted: self.counted.saturating_add(other.counted),
            worth: self.worth.saturating_add(other.worth),
        }
    }

    /// The difference of the two numbers, which is posted to root.
    pub fn gap(self) -> Money {
        self.counted.saturating_sub(self.worth)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{domain::credit::Wallet, model::Card};

    fn rates(micros: i64) -> Multiplier {
        Multiplier::from_micros(micros).unwrap()
    }

    #[test]
    fn a_call_is_paid_in_the_units_of_now_rounded_once() {
        let of = |counted, then, now| {
            let cost = Cost::of(Money::from_nanos(counted), Some(rates(then)), rates(now));
            cost.unwrap().worth.nanos()
        };
        assert_eq!(of(1_000, 1_000_000, 2_500_000), 2_500);
        assert_eq!(of(1_000, 2_500_000, 1_000_000), 400);
        assert_eq!(of(1, 2_000_000, 1_000_000), 1);
        assert_eq!(of(1, 3_000_000, 1_000_000), 0);
        assert_eq!(of(-1, 2_000_000, 1_000_000), -1);
        let old = Cost::of(Money::from_nanos(7), None, rates(9));
        assert_eq!(old, Some(Cost::even(Money::from_nanos(7))));
        assert_eq!(Cost::of(Money::MAX, Some(rates(1)), rates(2)), None);
    }

    proptest! {
        #[test]
        fn paying_before_a_change_of_rates_or_after_it_leaves_the_same(
            balance in 1i64..1_000_000_000_000, part in 0u8..=100, then in 100_000i64..10_000_000, now in 100_000i64..10_000_000,
        ) {
            let at = proxyxai_contract::clock::Millis(1_700_000_000_000);
            let cost = Money::from_nanos(i64::try_from(i128::from(balance) * i128::from(part) / 100).unwrap());
            let wallet = || Wallet::new(vec![Card::new(Money::from_nanos(balance), "", at, 1_000)]);
            let (then, now) = (rates(then), rates(now));
            let mut before = wallet();
            before.spend(cost, at);
            before.rescale(then, now).unwrap();
            let mut after = wallet();
            after.rescale(then, now).unwrap();
            after.spend(Cost::of(cost, Some(then), now).unwrap().worth, at);
            // Each of the three was rounded once.
            prop_assert!(before.total().nanos().abs_diff(after.total().nanos()) <= 1);
        }
    }
}
