//! How much credit a data plane gets on lease. All leases of an account never exceed its credit. Slices shrink as
//! credit runs out, so that several data planes share the last of it.
#![cfg_attr(
    not(test),
    deny(clippy::arithmetic_side_effects, clippy::float_arithmetic)
)]

use proxyxai_contract::{
    lease::LeaseShortage,
    money::{Money, Multiplier},
};

/// What limits further leases of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Headroom {
    /// Cards less debt.
    pub(crate) balance: Money,
    /// What is left of the month's hard limit, if it has one.
    pub(crate) month_left: Option<Money>,
    /// On lease to all data planes.
    pub(crate) leased: Money,
}

impl Headroom {
    /// What may still be leased; may be negative.
    pub(crate) fn available(&self) -> Money {
        let bound = self
            .month_left
            .map_or(self.balance, |left| left.min(self.balance));
        bound.saturating_sub(self.leased)
    }
}

/// The credit to grant out of `change`: at least `need`, and at most a fair share beyond it.
///
/// # Errors
/// Errors if `need` is not available. Nothing is granted then, so that the last credit is not split into pieces too
/// small for a call.
pub(crate) fn grant(
    room: &Headroom,
    change: Money,
    need: Money,
    nodes: usize,
) -> Result<Money, LeaseShortage> {
    let available = room.available().max(Money::ZERO);
    if available < need {
        let month = room.month_left.is_some_and(|left| left < room.balance);
        return Err(if month {
            LeaseShortage::Month
        } else {
            LeaseShortage::Balance
        });
    }
    // One round of all nodes takes half of what is available; each further request halves the rest again.
    let parts = i64::try_from(nodes.max(1))
        .unwrap_or(i64::MAX)
        .saturating_mul(2);
    let share = available.nanos().checked_div(parts).unwrap_or_default();
    Ok(change
        .min(Money::from_nanos(share))
        .max(need)
        .max(Money::ZERO))
}

/// The credit to reserve beyond the leased amount when an account's `Rates` change: in-flight calls hold credit in the
/// old units and are charged in the new. `room` is in the new units. Returns `None` if they cost no more than they
/// hold.
pub(crate) fn cover(room: &Headroom, from: Multiplier, to: Multiplier) -> Option<Money> {
    // An overflow counts as more than is available.
    let worth = room.leased.scale(to, from).unwrap_or(Money::MAX);
    let beyond = worth.saturating_sub(room.leased).min(room.available());
    Some(beyond).filter(|beyond| *beyond > Money::ZERO)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn nanos(nanos: i64) -> Money {
        Money::from_nanos(nanos)
    }

    const fn room(balance: i64, leased: i64) -> Headroom {
        Headroom {
            balance: nanos(balance),
            month_left: None,
            leased: nanos(leased),
        }
    }

    #[test]
    fn the_last_credit_goes_to_a_call_that_it_covers() {
        assert_eq!(
            grant(&room(100, 40), nanos(500), nanos(60), 4),
            Ok(nanos(60))
        );
        assert_eq!(
            grant(&room(100, 41), nanos(500), nanos(60), 4),
            Err(LeaseShortage::Balance)
        );
    }

    #[test]
    fn slices_shrink_as_credit_runs_out() {
        assert_eq!(
            grant(&room(800, 0), nanos(500), nanos(1), 4),
            Ok(nanos(100))
        );
        assert_eq!(
            grant(&room(800, 400), nanos(500), nanos(1), 4),
            Ok(nanos(50))
        );
        assert_eq!(grant(&room(800, 0), nanos(30), nanos(1), 4), Ok(nanos(30)));
    }

    #[test]
    fn the_months_limit_bounds_leases_too() {
        let room = Headroom {
            month_left: Some(nanos(50)),
            ..room(800, 0)
        };
        assert_eq!(
            grant(&room, nanos(60), nanos(60), 1),
            Err(LeaseShortage::Month)
        );
        assert_eq!(grant(&room, nanos(60), nanos(40), 1), Ok(nanos(40)));
    }

    proptest! {
        #[test]
        fn calls_under_way_are_covered_whatever_becomes_of_the_rates(
            balance in 0i64..1_000_000, leased in 0i64..1_000_000, from in 100_000i64..10_000_000, to in 100_000i64..10_000_000,
        ) {
            let leased = leased.min(balance);
            let [from, to] = [from, to].map(|micros| Multiplier::from_micros(micros).unwrap());
            // The balance keeps its worth, the lease its number.
            let after = nanos(balance).scale(to, from).unwrap();
            let room = Headroom { balance: after, month_left: None, leased: nanos(leased) };
            let reserved = nanos(leased).saturating_add(cover(&room, from, to).unwrap_or_default());
            prop_assert!(reserved >= nanos(leased).scale(to, from).unwrap());
            prop_assert!(to < from || reserved <= after);
        }

        #[test]
        fn a_grant_never_exceeds_what_is_there(balance in -100i64..1000, leased in 0i64..1000, left in prop::option::of(-50i64..1000), change in 0i64..2000, need in 0i64..1000, nodes in 0usize..9) {
            let room = Headroom { balance: nanos(balance), month_left: left.map(nanos), leased: nanos(leased) };
            let (change, need) = (nanos(change.max(need)), nanos(need));
            match grant(&room, change, need, nodes) {
                Ok(granted) => {
                    prop_assert!(granted >= need && granted <= change);
                    prop_assert!(granted == Money::ZERO || granted <= room.available());
                }
                Err(_) => prop_assert!(room.available() < need),
            }
        }
    }
}
