//! Failures of a key that the call may have caused. They count against the key only for the account of the call. Once
//! calls of two customers have failed the same way, the key is at fault and rests for all.
//!
//! All accounts below a customer count as that customer.

use proxyxai_contract::{clock::Millis, id::AccountId};

use super::health::Backoff;

/// Failures within this time count together, in milliseconds.
const TOGETHER_MS: i64 = 60_000;
/// Accounts that are remembered; beyond that the first is forgotten.
const ACCOUNTS_MAX: usize = 64;

/// Accounts whose calls the key has failed, and not answered since.
#[derive(Debug, Default)]
pub(crate) struct Blames {
    by: Vec<Blame>,
}

#[derive(Debug)]
struct Blame {
    account: AccountId,
    /// The account below root that it belongs to.
    customer: AccountId,
    backoff: Backoff,
    at: Millis,
}

/// Whose call a key has failed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Blamer {
    pub(crate) account: AccountId,
    /// The account below root that it belongs to.
    pub(crate) customer: AccountId,
}

impl Blames {
    /// Adds a failed call. Returns `true` if another customer's call has failed too:
    /// then the key is at fault.
    pub(crate) fn add(&mut self, blamer: Blamer, now: Millis) -> bool {
        let Blamer { account, customer } = blamer;
        let recent = |blame: &Blame| now.since(blame.at) < TOGETHER_MS;
        let other = |blame: &Blame| blame.customer != customer && recent(blame);
        if self.by.iter().any(other) {
            self.by.clear();
            return true;
        }
        let known = self.by.iter_mut().find(|blame| blame.account == account);
        if let Some(blame) = known {
            blame.backoff = blame.backoff.slept(now, None);
            blame.at = now;
            return false;
        }
        if self.by.len() >= ACCOUNTS_MAX {
            self.by.remove(0);
        }
        self.by.push(Blame {
            account,
            customer,
            backoff: Backoff::READY.slept(now, None),
            at: now,
        });
        false
    }

    /// A call of this account succeeded.
    pub(crate) fn acquit(&mut self, account: AccountId) {
        self.by.retain(|blame| blame.account != account);
    }

    /// The key's backoff for this account.
    pub(crate) fn of(&self, account: AccountId) -> Backoff {
        let own = self.by.iter().find(|blame| blame.account == account);
        own.map_or(Backoff::READY, |blame| blame.backoff)
    }

    /// Number of accounts.
    pub(crate) fn len(&self) -> usize {
        self.by.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn account(id: i64) -> AccountId {
        AccountId::new(id).unwrap()
    }

    fn blamer(id: i64, customer: i64) -> Blamer {
        Blamer {
            account: account(id),
            customer: account(customer),
        }
    }

    #[test]
    fn what_two_accounts_see_is_the_keys_fault() {
        let mut blames = Blames::default();
        assert!(!blames.add(blamer(1, 1), Millis(0)));
        assert!(!blames.add(blamer(1, 1), Millis(10)));
        assert!(blames.add(blamer(2, 2), Millis(20)));
        assert_eq!(blames.len(), 0);
        assert!(!blames.add(blamer(1, 1), Millis(0)));
        assert!(
            !blames.add(blamer(2, 2), Millis(TOGETHER_MS)),
            "too long ago"
        );
    }

    #[test]
    fn accounts_of_one_customer_are_no_second_witness() {
        let mut blames = Blames::default();
        for id in 2..20 {
            assert!(!blames.add(blamer(id, 2), Millis(id)));
            assert!(!blames.of(account(id)).is_usable(Millis(id)));
        }
        assert!(blames.of(account(30)).is_usable(Millis(20)));
        assert!(blames.add(blamer(30, 30), Millis(20)));
    }

    #[test]
    fn an_answer_wipes_out_what_came_before() {
        let mut blames = Blames::default();
        blames.add(blamer(1, 1), Millis(0));
        blames.acquit(account(1));
        assert!(!blames.add(blamer(2, 2), Millis(1)));
        assert!(blames.of(account(1)).is_usable(Millis(1)));
    }

    proptest! {
        #[test]
        fn one_account_alone_never_costs_another_the_key(times in prop::collection::vec(0i64..100_000, 1..50)) {
            let mut blames = Blames::default();
            let mut now = Millis(0);
            for ms in times {
                now = now.plus(ms);
                prop_assert!(!blames.add(blamer(1, 1), now));
                prop_assert!(blames.of(account(2)).is_usable(now));
                prop_assert!(!blames.of(account(1)).is_usable(now));
            }
        }
    }
}
