//! How much retrying is too much: a budget across requests, so that an outage does not multiply the
//! load, and waits with full jitter, so that requests do not come back in step.

use proxyxai_contract::clock::Millis;

/// Each request puts in a fifth of a retry.
const DEPOSIT: f64 = 0.2;
/// Retries a second that are always there, so that quiet gateways can retry too.
const REFILL_PER_SECOND: f64 = 10.0;
/// What may be saved up: ten quiet seconds' worth.
const BALANCE_MAX: f64 = 100.0;

/// First wait and longest wait between rounds, in milliseconds.
const BACKOFF_FIRST_MS: u64 = 100;
const BACKOFF_LAST_MS: u64 = 5_000;

/// A token bucket of retries.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    balance: f64,
    filled: Millis,
}

impl Budget {
    /// A full budget.
    pub const fn new(now: Millis) -> Self {
        Self { balance: BALANCE_MAX, filled: now }
    }

    /// A request begins.
    pub fn deposit(&mut self, now: Millis) {
        self.refill(now);
        self.balance = (self.balance + DEPOSIT).min(BALANCE_MAX);
    }

    /// Takes one retry, if there is one.
    pub fn withdraw(&mut self, now: Millis) -> bool {
        self.refill(now);
        let enough = self.balance >= 1.0;
        if enough {
            self.balance -= 1.0;
        }
        enough
    }

    fn refill(&mut self, now: Millis) {
        // An hour fills any bucket; the cap keeps the number exact.
        let ms = u32::try_from(now.since(self.filled).min(3_600_000)).unwrap_or_default();
        self.balance = (self.balance + f64::from(ms) / 1000.0 * REFILL_PER_SECOND).min(BALANCE_MAX);
        self.filled = Millis(self.filled.0.max(now.0));
    }
}

/// Full jitter: anywhere from nothing to the doubled bound of this wait. `random` is uniform.
pub fn backoff_ms(waits: u32, random: u64) -> u64 {
    let bound = BACKOFF_FIRST_MS.saturating_mul(1 << waits.min(16)).min(BACKOFF_LAST_MS);
    random % (bound + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_outage_is_retried_at_a_fifth_of_the_traffic_plus_ten_a_second() {
        let mut budget = Budget::new(Millis(0));
        let mut retries = 0;
        // 1000 requests a second for ten seconds, each wanting one retry.
        for ms in 0..10_000 {
            budget.deposit(Millis(ms));
            retries += u32::from(budget.withdraw(Millis(ms)));
        }
        assert!((2_100..=2_210).contains(&retries), "{retries}");
    }

    #[test]
    fn a_quiet_gateway_may_retry_at_once() {
        let mut budget = Budget::new(Millis(0));
        assert!((0..10).all(|_| budget.withdraw(Millis(0))));
    }

    #[test]
    fn a_clock_that_steps_back_gives_nothing() {
        let mut budget = Budget::new(Millis(1_000_000));
        while budget.withdraw(Millis(1_000_000)) {}
        assert!(!budget.withdraw(Millis(0)));
        assert!(!budget.withdraw(Millis(1_000_000)));
    }

    proptest! {
        #[test]
        fn a_wait_stays_within_its_bound(waits in 0u32..100, random: u64) {
            let wait = backoff_ms(waits, random);
            prop_assert!(wait <= 5_000 && wait <= 100u64.saturating_mul(1 << waits.min(40)));
        }
    }
}
