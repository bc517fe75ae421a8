//! The limit on all credit. Every sum of the books has to fit into an amount, above all the sum of everything ever
//! granted. A grant beyond it is refused, for the books could not be repaired afterwards.

use std::sync::atomic::{AtomicI64, Ordering};

use proxyxai_contract::{Invalid, money::Money};

use crate::{
    Control, Error,
    domain::ledger::{Book, LedgerEntry},
    store::{self, Tx},
};

/// The greatest amount in circulation. Below the range of money by what several replicas may grant between two checks
/// of the ledger.
const MOST: Money = Money::from_nanos(7_000_000_000 * Money::PER_DOLLAR);
/// The most that is granted between two checks: adding up a long ledger takes a second.
const UNSEEN_MAX: Money = Money::from_nanos(50_000_000 * Money::PER_DOLLAR);

/// What this process has granted since its last check.
#[derive(Debug, Default)]
pub(crate) struct Circulation(AtomicI64);

impl Circulation {
    /// Adds an amount. Returns whether a check is due.
    fn add(&self, amount: Money) -> bool {
        let before = self.0.load(Ordering::Relaxed);
        let after = Money::from_nanos(before).saturating_add(amount);
        self.0.store(after.nanos(), Ordering::Relaxed);
        after > UNSEEN_MAX
    }

    fn seen(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// Checks that the credit these entries create fits. Movements that create none always pass.
///
/// # Errors
/// Errors if it does not fit.
pub(super) async fn check(
    control: &Control,
    tx: &Tx,
    entries: &[LedgerEntry],
) -> Result<(), Error> {
    let created = entries.iter().map(created).sum::<Money>();
    if created <= Money::ZERO || !control.circulation().add(created) {
        return Ok(());
    }
    if !fits(store::ledger::minted(tx).await?, created) {
        let problem = format!("would put more than {MOST} into circulation, all accounts together");
        return Err(Invalid::new("CreditGranted", problem).into());
    }
    control.circulation().seen();
    Ok(())
}

/// Credit that did not exist before the entry, or existed in larger units.
fn created(entry: &LedgerEntry) -> Money {
    let minted = entry.postings().iter();
    let minted = minted.filter(|(book, _)| *book == Book::Mint);
    minted
        .map(|(_, amount)| amount.negated())
        .sum::<Money>()
        .max(Money::ZERO)
}

/// Whether an amount fits beside the existing credit, in nano-dollars. Near the limit, rounding is a dollar at most.
#[expect(
    clippy::cast_precision_loss,
    reason = "there is room for more than what is lost"
)]
fn fits(minted: f64, created: Money) -> bool {
    minted + created.nanos() as f64 <= MOST.nanos() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dollars(dollars: i64) -> Money {
        Money::from_nanos(dollars * Money::PER_DOLLAR)
    }

    #[test]
    fn the_ledger_is_added_up_when_much_was_granted() {
        let circulation = Circulation::default();
        assert!(!circulation.add(dollars(40_000_000)));
        assert!(circulation.add(dollars(20_000_000)));
        assert!(circulation.add(Money::MAX));
        circulation.seen();
        assert!(!circulation.add(dollars(50_000_000)));
        assert!(circulation.add(Money::from_nanos(1)));
    }

    #[test]
    fn what_fits_stays_far_below_the_range() {
        assert!(fits(0.0, dollars(7_000_000_000)));
        assert!(!fits(1e18, dollars(6_000_000_001)));
        assert!(!fits(9.9e18, Money::from_nanos(1)));
        assert!(MOST.nanos() < i64::MAX / 4 * 3 + i64::MAX / 8);
    }
}
