//! How often and how soon to retry: a budget over all calls, so that an outage does not multiply the load, and a
//! jittered backoff. Whether a failure is worth a retry is decided elsewhere.

use proxyxai_contract::clock::Millis;

/// The budget is counted in thousandths of a retry.
const RETRY: u64 = 1000;
/// A fifth of a retry for each call.
const PER_CALL: u64 = 200;
/// Ten retries a second, whatever the traffic.
const PER_MS: u64 = 10;
/// Budget at the start: ten seconds' worth of the minimum.
const START: u64 = 100 * RETRY;
/// Most that quiet times may save up. Deposits go on during an outage, so this bounds only its first burst.
const SAVED_MAX: u64 = 1000 * RETRY;

const BACKOFF_FIRST_MS: u64 = 100;
const BACKOFF_MAX_MS: u64 = 5000;

/// The retries that are left. A first attempt costs nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RetryBudget {
    saved: u64,
    at: Millis,
}

impl RetryBudget {
    /// The budget at the start.
    pub(crate) const fn new(now: Millis) -> Self {
        Self {
            saved: START,
            at: now,
        }
    }

    /// Adds the deposit of one call.
    pub(crate) fn deposit(&mut self, now: Millis) {
        self.refill(now, PER_CALL);
    }

    /// Takes one retry. Returns `false` if none is left.
    pub(crate) fn withdraw(&mut self, now: Millis) -> bool {
        self.refill(now, 0);
        let rest = self.saved.checked_sub(RETRY);
        self.saved = rest.unwrap_or(self.saved);
        rest.is_some()
    }

    fn refill(&mut self, now: Millis, more: u64) {
        let elapsed = u64::try_from(now.since(self.at)).unwrap_or_default();
        let grown = self
            .saved
            .saturating_add(more)
            .saturating_add(elapsed.saturating_mul(PER_MS));
        self.saved = grown.min(SAVED_MAX);
        // If the clock was set back, the time since then must not count twice.
        self.at = self.at.max(now);
    }
}

/// The backoff before round `round` (from 0): evenly distributed up to 100 ms, doubling to 5 s. `random` is any number.
pub(crate) fn backoff_ms(round: u32, random: u64) -> u64 {
    let doubled = BACKOFF_FIRST_MS.saturating_mul(1 << round.min(16));
    random % (doubled.min(BACKOFF_MAX_MS) + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pauses_double_up_to_five_seconds() {
        for (round, longest) in [
            (0, 100),
            (1, 200),
            (5, 3200),
            (6, 5000),
            (40, 5000),
            (u32::MAX, 5000),
        ] {
            assert_eq!(backoff_ms(round, longest), longest);
            assert_eq!(backoff_ms(round, longest + 1), 0);
        }
    }

    #[test]
    fn ten_retries_a_second_are_there_without_traffic() {
        let mut budget = RetryBudget::new(Millis(0));
        while budget.withdraw(Millis(0)) {}
        let made = (0..1000).filter(|_| budget.withdraw(Millis(1000))).count();
        assert_eq!(made, 10);
    }

    #[test]
    fn a_clock_that_is_set_back_gives_nothing() {
        let mut budget = RetryBudget::new(Millis(10_000));
        while budget.withdraw(Millis(10_000)) {}
        assert!(!budget.withdraw(Millis(0)));
        assert!(!budget.withdraw(Millis(10_000)));
    }

    proptest! {
        #[test]
        fn retries_stay_within_a_fifth_of_the_calls_and_ten_a_second(
            steps in prop::collection::vec((0i64..50, any::<bool>()), 0..2000),
        ) {
            let mut budget = RetryBudget::new(Millis(0));
            let (mut now, mut calls, mut retries) = (Millis(0), 0u64, 0u64);
            for (ms, call) in steps {
                now = now.plus(ms);
                if call {
                    budget.deposit(now);
                    calls += 1;
                } else {
                    retries += u64::from(budget.withdraw(now));
                }
            }
            let earned = u64::try_from(now.0).unwrap() * PER_MS + calls * PER_CALL;
            prop_assert!(retries * RETRY <= START + earned);
        }

        #[test]
        fn no_pause_is_longer_than_its_round_allows(round in 0u32..64, random in any::<u64>()) {
            prop_assert!(backoff_ms(round, random) <= (100u64 << round.min(10)).min(5000));
        }
    }
}
