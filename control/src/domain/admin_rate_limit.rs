//! Limits how often each account may call the administration. A minute's requests may come at once and are regained
//! evenly. An account and all below it may make ten times one account's rate, so sub-accounts do not evade the limit.

use std::{collections::HashMap, num::NonZeroU32};

use proxyxai_contract::{clock::Millis, id::AccountId};

const MINUTE_MICROS: i64 = 60_000_000;
/// The rate of an account with all below it, as a multiple of its own.
const BELOW_FACTOR: u32 = 10;
/// Above this many entries, those whose whole minute is regained are removed.
const REMEMBERED_MAX: usize = 10_000;

/// The requests that are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum RateScope {
    /// The account's own requests.
    Account(AccountId),
    /// The requests of the account and all below it.
    Tree(AccountId),
}

/// For each scope, when its whole minute is regained, in microseconds.
#[derive(Debug, Default)]
pub(crate) struct AdminRateLimiter(HashMap<RateScope, i64>);

/// An account exceeded its rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RateExceeded {
    /// The account whose rate was exceeded: the caller, or one above it for its whole tree.
    pub(crate) account: AccountId,
    /// How long to wait for the next request.
    pub(crate) retry_after_ms: i64,
}

impl AdminRateLimiter {
    /// Counts a request of the last account in a path, which begins below root. Root has no limit.
    ///
    /// # Errors
    /// Errors if the account, or the tree of any account in the path, exceeded its rate. Nothing is counted then.
    pub(crate) fn admit(
        &mut self,
        path: &[AccountId],
        per_minute: NonZeroU32,
        now: Millis,
    ) -> Result<(), RateExceeded> {
        let now = now.0.saturating_mul(1000);
        let own = path.last().map(|id| (*id, RateScope::Account(*id), 1));
        let trees = path
            .iter()
            .map(|id| (*id, RateScope::Tree(*id), BELOW_FACTOR));
        let mut asked = Vec::new();
        for (account, of, factor) in own.into_iter().chain(trees) {
            let rate = per_minute.saturating_mul(NonZeroU32::MIN.saturating_add(factor - 1));
            let step = MINUTE_MICROS / i64::from(rate.get());
            let back = self.0.get(&of).copied().unwrap_or_default().max(now);
            let after = back.saturating_add(step);
            let over = after.saturating_sub(now).saturating_sub(MINUTE_MICROS);
            if over > 0 {
                return Err(RateExceeded {
                    account,
                    retry_after_ms: over / 1000 + 1,
                });
            }
            asked.push((of, after));
        }
        self.0.extend(asked);
        if self.0.len() > REMEMBERED_MAX {
            self.0.retain(|_, back| *back > now);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn account(id: i64) -> AccountId {
        AccountId::new(id).unwrap()
    }

    fn rate(per_minute: u32) -> NonZeroU32 {
        NonZeroU32::new(per_minute).unwrap()
    }

    #[test]
    fn a_minutes_worth_may_come_at_once_and_comes_back_evenly() {
        let mut rates = AdminRateLimiter::default();
        let mut ask = |ms| rates.admit(&[account(2)], rate(60), Millis(ms));
        for _ in 0..60 {
            assert_eq!(ask(1_000_000), Ok(()));
        }
        let refused = ask(1_000_000).unwrap_err();
        assert_eq!(
            (refused.account, refused.retry_after_ms),
            (account(2), 1001)
        );
        assert_eq!(ask(1_001_000), Ok(()));
        assert!(ask(1_001_000).is_err());
    }

    #[test]
    fn a_thousand_sub_accounts_have_no_more_than_ten_times_the_rate() {
        let mut rates = AdminRateLimiter::default();
        let mut taken = 0;
        for _ in 0..60 {
            for id in 10..1010 {
                let path = [account(2), account(id)];
                taken += i32::from(rates.admit(&path, rate(60), Millis(0)).is_ok());
            }
        }
        assert_eq!(taken, 600);
        assert_eq!(rates.admit(&[account(3)], rate(60), Millis(0)), Ok(()));
    }

    proptest! {
        #[test]
        fn nobody_gets_more_than_two_minutes_worth_in_a_minute(
            gaps in prop::collection::vec(0i64..300, 1..2000), per_minute in 1u32..600,
        ) {
            let (mut rates, mut now, mut taken) = (AdminRateLimiter::default(), 0, 0u32);
            for gap in gaps {
                now += gap;
                if now >= 60_000 {
                    break;
                }
                taken += u32::from(rates.admit(&[account(2)], rate(per_minute), Millis(now)).is_ok());
            }
            prop_assert!(taken <= 2 * per_minute, "{taken}");
        }

        #[test]
        fn one_that_waits_as_told_is_taken(asks in 1usize..500, per_minute in 1u32..600) {
            let (mut rates, mut now) = (AdminRateLimiter::default(), 0);
            for _ in 0..asks {
                if let Err(refused) = rates.admit(&[account(2)], rate(per_minute), Millis(now)) {
                    now += refused.retry_after_ms;
                    let again = rates.admit(&[account(2)], rate(per_minute), Millis(now));
                    prop_assert_eq!(again, Ok(()));
                }
            }
        }
    }
}
