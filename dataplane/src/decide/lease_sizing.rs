//! Sizes of credit leases: how much more to request from control, and how slices follow the rate of spending.

use proxyxai_contract::money::Money;

/// A first slice covers this many calls like the one that needs it.
const SLICE_CALLS: i64 = 16;
/// Control is asked again after this time at the earliest, once slices are large enough.
const SLICE_SHORT_MS: i64 = 5_000;
/// A slice grows or shrinks by no more than this at a time.
const SLICE_FACTOR: i64 = 4;

/// An account's credit on lease here, and the calls that wait for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    /// On lease, neither held nor spent; negative when calls cost more than they held.
    pub(crate) free: Money,
    /// What the cheapest waiting call needs.
    pub(crate) least: Option<Money>,
    /// What all waiting calls need together.
    pub(crate) waiting: Money,
    /// Target for the free credit.
    pub(crate) slice: Money,
    /// Whether another data plane needs what is unused here.
    pub(crate) recalled: bool,
}

/// A change of the lease to request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LeaseChange {
    /// Positive to get more, negative to return some.
    pub(crate) change: Money,
    /// The part without which no waiting call can begin.
    pub(crate) need: Money,
}

/// What to ask for, if anything.
pub(crate) fn lease_change(position: &Position) -> Option<LeaseChange> {
    let Position {
        free,
        least,
        waiting,
        slice,
        recalled,
    } = *position;
    if recalled && free > Money::ZERO && least.is_none_or(|least| least > free) {
        // Two data planes that each keep too little for a call would both wait for the other's rest.
        return Some(LeaseChange {
            change: free.negated(),
            need: Money::ZERO,
        });
    }
    let goal = if recalled {
        waiting
    } else {
        waiting.max(slice)
    };
    let change = goal.saturating_sub(free);
    if change > Money::ZERO {
        let need = least.map_or(Money::ZERO, |least| least.saturating_sub(free));
        let need = need.max(Money::ZERO);
        return Some(LeaseChange {
            change: change.max(need),
            need,
        });
    }
    None
}

/// How an account used its last slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SliceUse {
    /// The last slice.
    pub(crate) slice: Money,
    /// What was spent since control was last asked.
    pub(crate) spent: Money,
    /// How long that was.
    pub(crate) lasted_ms: i64,
    /// What the cheapest waiting call needs.
    pub(crate) need: Money,
}

/// The next slice: what the account spends while control may be away, approached step by step.
pub(crate) fn slice(last: &SliceUse, island_ms: i64) -> Money {
    let floor = last.need.nanos().saturating_mul(SLICE_CALLS);
    let most = last.slice.nanos().saturating_mul(SLICE_FACTOR);
    let next = if last.lasted_ms < SLICE_SHORT_MS {
        most
    } else {
        let spent = i128::from(last.spent.nanos().max(0));
        let wanted = spent * i128::from(island_ms) / i128::from(last.lasted_ms);
        let wanted = i64::try_from(wanted).unwrap_or(i64::MAX);
        wanted.clamp(last.slice.nanos() / SLICE_FACTOR, most)
    };
    Money::from_nanos(next.max(floor))
}

/// With less free than this, the next slice is requested: three quarters of a slice that control can give, so that most
/// of it is there whenever control goes away.
pub(crate) fn low_mark(slice: Money) -> Money {
    Money::from_nanos(slice.nanos() / 4 * 3)
}

/// The same when control had less. Asking for each call would be useless.
pub(crate) fn low_mark_of_rest(rest: Money) -> Money {
    Money::from_nanos(rest.nanos() / 4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn nanos(nanos: i64) -> Money {
        Money::from_nanos(nanos)
    }

    const IDLE: Position = Position {
        free: nanos(50),
        least: None,
        waiting: nanos(0),
        slice: nanos(100),
        recalled: false,
    };

    #[test]
    fn what_is_missing_to_the_slice_is_asked_for() {
        let wished = lease_change(&IDLE).unwrap();
        assert_eq!((wished.change, wished.need), (nanos(50), nanos(0)));
        let full = Position {
            free: nanos(100),
            ..IDLE
        };
        assert_eq!(lease_change(&full), None);
    }

    #[test]
    fn a_waiting_call_needs_what_is_not_here_already() {
        let short = Position {
            least: Some(nanos(80)),
            waiting: nanos(240),
            ..IDLE
        };
        let wished = lease_change(&short).unwrap();
        assert_eq!((wished.change, wished.need), (nanos(190), nanos(30)));
    }

    #[test]
    fn a_debt_is_covered_before_the_next_call() {
        let owing = Position {
            free: nanos(-20),
            least: Some(nanos(80)),
            waiting: nanos(80),
            ..IDLE
        };
        assert_eq!(lease_change(&owing).unwrap().need, nanos(100));
    }

    #[test]
    fn recalled_credit_goes_back_unless_a_call_waits_for_it() {
        let recalled = Position {
            recalled: true,
            ..IDLE
        };
        assert_eq!(lease_change(&recalled).unwrap().change, nanos(-50));
        let needed = Position {
            least: Some(nanos(50)),
            waiting: nanos(50),
            ..recalled
        };
        assert_eq!(lease_change(&needed), None);
        let too_little = Position {
            least: Some(nanos(60)),
            waiting: nanos(60),
            ..recalled
        };
        assert_eq!(lease_change(&too_little).unwrap().change, nanos(-50));
    }

    #[test]
    fn slices_grow_to_what_is_spent_while_control_may_be_away() {
        let island_ms = 600_000;
        let after = |last, spent, lasted_ms, need| {
            let last = SliceUse {
                slice: nanos(last),
                spent: nanos(spent),
                lasted_ms,
                need: nanos(need),
            };
            slice(&last, island_ms)
        };
        // The first one, and one that is used up at once.
        assert_eq!(after(0, 0, 0, 10), nanos(160));
        assert_eq!(after(1000, 250, 100, 10), nanos(4000));
        // 25 a second: 15,000 in ten minutes, in steps.
        assert_eq!(after(4000, 250, 10_000, 10), nanos(15_000));
        assert_eq!(after(1000, 250, 10_000, 10), nanos(4000));
        assert_eq!(after(15_000, 3750, 150_000, 10), nanos(15_000));
        // Less is spent than before.
        assert_eq!(after(15_000, 3750, 1_500_000, 10), nanos(3750));
    }

    proptest! {
        #[test]
        fn a_wish_covers_its_need(free in -1000i64..1000, least in prop::option::of(1i64..1000), more in 0i64..1000, slice in 0i64..1000, recalled: bool) {
            let position = Position {
                free: nanos(free), least: least.map(nanos), waiting: nanos(least.map_or(0, |least| least + more)),
                slice: nanos(slice), recalled,
            };
            if let Some(LeaseChange { change, need }) = lease_change(&position) {
                prop_assert!(need <= change.max(Money::ZERO));
                // What is returned was free.
                prop_assert!(change.nanos() + free.max(0) >= 0);
                if let Some(least) = least.filter(|_| !change.is_negative()) {
                    prop_assert!(change.nanos() + free >= least);
                }
            }
        }
    }
}
