//! Sizes of credit leases: how much more to request from control, and how slices follow the rate of spending.

use proxyxai_contract::money::Money;

/// A first slice covers this many calls like the one that needs it.
const SLICE_CALLS: i64 = 16;
/// A slice that lasted less than this was too small; one that lasted longer than `SLICE_LONG_MS`, too large.
const SLICE_SHORT_MS: i64 = 5_000;
const SLICE_LONG_MS: i64 = 60_000;
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

/// The next slice, after the last one lasted this long.
pub(crate) fn slice(last: Money, lasted_ms: i64, need: Money) -> Money {
    let floor = need.nanos().saturating_mul(SLICE_CALLS);
    let next = if lasted_ms < SLICE_SHORT_MS {
        last.nanos().saturating_mul(SLICE_FACTOR)
    } else if lasted_ms > SLICE_LONG_MS {
        last.nanos() / SLICE_FACTOR
    } else {
        last.nanos()
    };
    Money::from_nanos(next.max(floor))
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
    fn slices_follow_the_pace() {
        assert_eq!(slice(nanos(0), 0, nanos(10)), nanos(160));
        assert_eq!(slice(nanos(1000), 100, nanos(10)), nanos(4000));
        assert_eq!(slice(nanos(1000), 30_000, nanos(10)), nanos(1000));
        assert_eq!(slice(nanos(1000), 90_000, nanos(10)), nanos(250));
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
