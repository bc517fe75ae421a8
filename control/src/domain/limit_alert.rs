//! When an account gets mails about its limits: once a month above the soft limit, and once below the low-balance mark
//! until it has been above it again.

use proxyxai_contract::money::Money;

/// The state of one account.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AlertState {
    /// Charges of this month.
    pub(crate) used: Money,
    /// `None` means no soft limit.
    pub(crate) soft_limit: Option<Money>,
    pub(crate) balance: Money,
    /// Setting `EMAIL_BALANCE`.
    pub(crate) low_balance: Money,
    /// Whether the soft limit was mailed this month.
    pub(crate) told_soft: bool,
    /// Whether the low balance was mailed since the balance was last above the mark.
    pub(crate) told_low: bool,
}

/// The mails to send, and the state to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct AlertDecision {
    /// Send the soft limit mail.
    pub(crate) tell_soft: bool,
    /// Send the low balance mail.
    pub(crate) tell_low: bool,
    /// Reset `told_low`.
    pub(crate) forget_low: bool,
}

/// Decides from the state.
pub(crate) fn decide(state: AlertState) -> AlertDecision {
    let AlertState {
        used,
        soft_limit,
        balance,
        low_balance,
        told_soft,
        told_low,
    } = state;
    let over = soft_limit.is_some_and(|soft| soft > Money::ZERO && used > soft);
    let low = balance < low_balance;
    AlertDecision {
        tell_soft: over && !told_soft,
        tell_low: low && !told_low,
        forget_low: !low && told_low,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn state(used: i64, balance: i64) -> AlertState {
        AlertState {
            used: Money::from_nanos(used),
            soft_limit: Some(Money::from_nanos(80)),
            balance: Money::from_nanos(balance),
            low_balance: Money::from_nanos(3),
            told_soft: false,
            told_low: false,
        }
    }

    #[test]
    fn the_marks_themselves_are_no_news() {
        assert_eq!(decide(state(80, 3)), AlertDecision::default());
        assert!(decide(state(81, 3)).tell_soft);
        assert!(decide(state(80, 2)).tell_low);
        let unlimited = AlertState {
            soft_limit: None,
            ..state(1_000, 3)
        };
        assert_eq!(decide(unlimited), AlertDecision::default());
    }

    proptest! {
        #[test]
        fn a_falling_balance_is_told_once_and_again_after_it_rose(balances in prop::collection::vec(0i64..6, 1..50)) {
            let (mut told, mut tellings, mut falls, mut was_low) = (false, 0, 0, false);
            for balance in balances {
                let verdict = decide(AlertState { told_low: told, ..state(0, balance) });
                prop_assert!(!(verdict.tell_low && verdict.forget_low));
                told = (told || verdict.tell_low) && !verdict.forget_low;
                tellings += i32::from(verdict.tell_low);
                falls += i32::from(balance < 3 && !was_low);
                was_low = balance < 3;
            }
            prop_assert_eq!(tellings, falls);
        }
    }
}
