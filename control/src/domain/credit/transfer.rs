//! Credit transfers between two accounts: grant, deduction, and the refund when an account is closed, each in the units
//! of its side. It checks no rights and posts nothing.
#![cfg_attr(
    not(test),
    deny(clippy::arithmetic_side_effects, clippy::float_arithmetic)
)]

use std::fmt;

use proxyxai_contract::{
    Invalid,
    clock::Millis,
    money::{Money, Multiplier},
};

use super::{Card, CardPortion, Wallet};

/// The longest lifetime of a refunded card: 180 days. It expires no later than the card it comes from.
pub const REFUND_LIFE_MS: i64 = 180 * super::DAY_MS;
/// The operator's fee for a deduction: $0.2.
pub const DEDUCTION_FEE: Money = Money::from_nanos(200_000_000);
/// The fee for closing an account, taken from the refund: $0.2.
pub const DELETE_FEE: Money = Money::from_nanos(200_000_000);
/// The fee for a full listing of all children: $0.002.
pub const LISTING_FEE: Money = Money::from_nanos(2_000_000);

const REFUND_REFERENCE: &str = "Refund";

/// `Rates` of the two sides. An amount on the operator's side is worth `child / operator` times as much on the child's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateExchange {
    /// Of the account that receives or returns credit.
    pub child: Multiplier,
    /// Of the account that pays or is refunded.
    pub operator: Multiplier,
}

/// The amounts that a deduction moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deduction {
    /// From the child, in its units.
    pub taken: Money,
    /// To the operator, in its units, before the fee.
    pub refund: Money,
    /// From the operator, in its units.
    pub fee: Money,
}

/// The amounts that closing an account moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClosingTransfer {
    /// From the child, in its units.
    pub returned: Money,
    /// To the operator, in its units, after the fee.
    pub refund: Money,
    /// Kept from the refund, in the operator's units.
    pub fee: Money,
}

/// Why credit did not move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferRefusal {
    /// The giving side has too little, in its own units.
    Short {
        /// Its spendable credit.
        balance: Money,
        /// The credit it needed.
        needed: Money,
    },
    /// The amount is not positive, or a sum would overflow.
    OutOfRange,
}

/// The price of `credit` (child's units) in the payer's units. Returns `None` if it overflows.
pub fn price_of_grant(credit: Money, child: Multiplier, payer: Multiplier) -> Option<Money> {
    credit.scale(payer, child)
}

/// Checks that a child pays at least its parent's price; otherwise the parent would lose on each call.
///
/// # Errors
/// Errors if the child's rates are below its parent's.
pub fn check_rates(child: Multiplier, parent: Multiplier) -> Result<(), Invalid> {
    if child >= parent {
        Ok(())
    } else {
        Err(Invalid::new("Rates", "must not be below the parent's"))
    }
}

/// Gives the child a card at the operator's expense and returns the price in the operator's units. Without an operator,
/// root creates the credit.
///
/// Credit from an operator's card that expires earlier becomes a card of its own with that expiry. The card's time of
/// grant is the present. A debt of the child is not settled: spend it from the wallet afterwards.
///
/// # Errors
/// See [`TransferRefusal`]. Both wallets are then unchanged.
pub fn grant(
    operator: Option<&mut Wallet>,
    child: &mut Wallet,
    exchange: RateExchange,
    card: Card,
) -> Result<Money, TransferRefusal> {
    positive(card.amount)?;
    let now = card.granted;
    let price = exchange.price(card.amount)?;
    let Some(wallet) = operator else {
        child.add(card, now).ok_or(TransferRefusal::OutOfRange)?;
        return Ok(price);
    };
    // A price of zero would create credit.
    positive(price)?;
    let mut paying = wallet.clone();
    let (parts, missing) = paying.take_first(price, now);
    if missing > Money::ZERO {
        return Err(short(wallet, price, now));
    }
    let mut given = child.clone();
    for part in ending_by(&shared(card.amount, price, &parts)?, card.expires) {
        let mut part_card = Card::new(part.amount, card.reference.clone(), now, 0);
        part_card.expires = part.ends;
        given
            .add(part_card, now)
            .ok_or(TransferRefusal::OutOfRange)?;
    }
    (*wallet, *child) = (paying, given);
    Ok(price)
}

/// Limits each part's expiry to `last` and joins parts with the same expiry.
fn ending_by(parts: &[CardPortion], last: Millis) -> Vec<CardPortion> {
    let mut ending: Vec<CardPortion> = Vec::with_capacity(parts.len());
    for part in parts {
        let ends = part.ends.min(last);
        match ending.iter_mut().find(|other| other.ends == ends) {
            Some(other) => other.amount = other.amount.saturating_add(part.amount),
            None => ending.push(CardPortion { ends, ..*part }),
        }
    }
    ending
}

/// Splits a whole in proportion to the parts of its price. Nothing is lost by rounding.
fn shared(
    whole: Money,
    price: Money,
    parts: &[CardPortion],
) -> Result<Vec<CardPortion>, TransferRefusal> {
    let mut split = Vec::with_capacity(parts.len());
    let (mut paid, mut given) = (0i128, 0i128);
    for part in parts {
        paid = paid.saturating_add(part.amount.nanos().into());
        let upto = i128::from(whole.nanos())
            .checked_mul(paid)
            .and_then(|product| product.checked_div(price.nanos().into()))
            .ok_or(TransferRefusal::OutOfRange)?;
        let amount =
            i64::try_from(upto.saturating_sub(given)).map_err(|_| TransferRefusal::OutOfRange)?;
        given = upto;
        if amount > 0 {
            split.push(CardPortion {
                amount: Money::from_nanos(amount),
                ends: part.ends,
            });
        }
    }
    Ok(split)
}

/// Takes credit from the child and gives the operator a card for it. Without an operator (root), the credit vanishes
/// and there is no fee.
///
/// The fee comes from the operator's earlier cards, and from the new one only if those are used up.
///
/// # Errors
/// See [`TransferRefusal`]. Both wallets are then unchanged.
pub fn deduct(
    operator: Option<&mut Wallet>,
    child: &mut Wallet,
    exchange: RateExchange,
    amount: Money,
    now: Millis,
) -> Result<Deduction, TransferRefusal> {
    positive(amount)?;
    let mut left = child.clone();
    let (parts, missing) = left.take_first(amount, now);
    if missing > Money::ZERO {
        return Err(short(child, amount, now));
    }
    let refund = exchange.price(amount)?;
    let mut fee = Money::ZERO;
    if let Some(wallet) = operator {
        let mut after = wallet.clone();
        let uncovered = after.spend(DEDUCTION_FEE, now);
        give_back(&mut after, &shared(refund, amount, &parts)?, now)?;
        let unpaid = after.spend(uncovered, now);
        fee = DEDUCTION_FEE.saturating_sub(unpaid);
        *wallet = after;
    }
    *child = left;
    Ok(Deduction {
        taken: amount,
        refund,
        fee,
    })
}

/// Takes an amount from the wallet of a closed account, latest expiry first, and refunds it to the operator less the
/// fee. Without an operator (root), the credit vanishes and there is no fee.
///
/// # Errors
/// See [`TransferRefusal`]. Both wallets are then unchanged.
pub fn close(
    operator: Option<&mut Wallet>,
    child: &mut Wallet,
    exchange: RateExchange,
    (amount, fee_due): (Money, Money),
    now: Millis,
) -> Result<ClosingTransfer, TransferRefusal> {
    let returned = amount.min(child.spendable(now)).max(Money::ZERO);
    let gross = exchange.price(returned)?;
    let fee = match &operator {
        Some(_) => fee_due.min(gross),
        None => Money::ZERO,
    };
    let refund = gross.saturating_sub(fee);
    let mut left = child.clone();
    let (parts, _) = left.take_last(returned, now);
    if let Some(wallet) = operator
        && refund > Money::ZERO
    {
        let mut after = wallet.clone();
        give_back(&mut after, &shared(refund, returned, &parts)?, now)?;
        *wallet = after;
    }
    *child = left;
    Ok(ClosingTransfer {
        returned,
        refund,
        fee,
    })
}

// === impl RateExchange ===

impl RateExchange {
    /// Converts an amount of the child to the operator's units.
    fn price(self, amount: Money) -> Result<Money, TransferRefusal> {
        price_of_grant(amount, self.child, self.operator).ok_or(TransferRefusal::OutOfRange)
    }
}

// === impl TransferRefusal ===

impl fmt::Display for TransferRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { balance, needed } => write!(f, "{balance} available, {needed} needed"),
            Self::OutOfRange => f.write_str("the amount is out of range"),
        }
    }
}

impl std::error::Error for TransferRefusal {}

fn positive(amount: Money) -> Result<(), TransferRefusal> {
    if amount > Money::ZERO {
        Ok(())
    } else {
        Err(TransferRefusal::OutOfRange)
    }
}

fn short(wallet: &Wallet, needed: Money, now: Millis) -> TransferRefusal {
    TransferRefusal::Short {
        balance: wallet.spendable(now),
        needed,
    }
}

/// Adds refunded credit, with its original expiry or an earlier one.
fn give_back(
    wallet: &mut Wallet,
    parts: &[CardPortion],
    now: Millis,
) -> Result<(), TransferRefusal> {
    for part in ending_by(parts, now.plus(REFUND_LIFE_MS)) {
        let mut card = Card::new(part.amount, REFUND_REFERENCE, now, 0);
        card.expires = part.ends;
        wallet.add(card, now).ok_or(TransferRefusal::OutOfRange)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::credit::{first_limits, hard_limit_below, life};

    const NOW: Millis = Millis(1_698_105_600_000);
    const EVEN: RateExchange = RateExchange {
        child: Multiplier::ONE,
        operator: Multiplier::ONE,
    };

    fn usd(dollars: f64) -> Money {
        Money::from_dollars(dollars).unwrap()
    }

    fn rates(micros: i64) -> Multiplier {
        Multiplier::from_micros(micros).unwrap()
    }

    fn year(dollars: f64, now: Millis) -> Card {
        Card::new(usd(dollars), "Recharge", now, life(None).unwrap())
    }

    fn close_all(
        operator: Option<&mut Wallet>,
        child: &mut Wallet,
        exchange: RateExchange,
        now: Millis,
    ) -> Result<ClosingTransfer, TransferRefusal> {
        let all = (child.total(), DELETE_FEE);
        close(operator, child, exchange, all, now)
    }

    fn balances(wallet: &Wallet) -> Vec<f64> {
        let cards = wallet.cards().iter();
        cards.map(|card| card.balance.dollars()).collect()
    }

    #[test]
    fn the_documented_chain_comes_out_to_the_cent() {
        let (mut parent, mut child, mut sibling) =
            (Wallet::default(), Wallet::default(), Wallet::default());
        grant(None, &mut parent, EVEN, year(10_000.0, NOW)).unwrap();

        // Two children open with 100 each; one of them gets 80 more.
        let pay = grant(Some(&mut parent), &mut child, EVEN, year(100.0, NOW));
        assert_eq!(pay, Ok(usd(100.0)));
        let (hard, soft) = first_limits(child.total());
        assert_eq!((hard, soft), (usd(100.0), usd(80.0)));
        grant(Some(&mut parent), &mut sibling, EVEN, year(100.0, NOW)).unwrap();
        let later = NOW.plus(1_000);
        grant(Some(&mut parent), &mut child, EVEN, year(80.0, later)).unwrap();
        assert_eq!(balances(&parent), [9_720.0]);
        let hard = hard_limit_below(Some(hard), child.total(), None);
        assert_eq!(hard, Some(usd(200.0)));

        // 50 is deducted: a full card for the parent, and the fee from its old one.
        let moved = deduct(Some(&mut parent), &mut child, EVEN, usd(50.0), later).unwrap();
        let expected = Deduction {
            taken: usd(50.0),
            refund: usd(50.0),
            fee: usd(0.2),
        };
        assert_eq!(moved, expected);
        assert_eq!(balances(&parent), [50.0, 9_719.8]);
        assert_eq!(parent.total(), usd(9_769.8));
        assert_eq!(balances(&child), [50.0, 80.0]);

        // The child's rates go from 1 to 2.
        let double = rates(2_000_000);
        check_rates(double, Multiplier::ONE).unwrap();
        child.rescale(Multiplier::ONE, double).unwrap();
        assert_eq!(balances(&child), [100.0, 160.0]);
        let faces: Vec<_> = child.cards().iter().map(|card| card.amount).collect();
        assert_eq!(faces, [usd(200.0), usd(160.0)]);
        assert_eq!(child.total(), usd(260.0));
        assert_eq!(
            hard_limit_below(hard, child.total(), None),
            Some(usd(300.0))
        );

        // The child is deleted.
        let exchange = RateExchange {
            child: double,
            operator: Multiplier::ONE,
        };
        let last = NOW.plus(2_000);
        let moved = close_all(Some(&mut parent), &mut child, exchange, last).unwrap();
        let expected = ClosingTransfer {
            returned: usd(260.0),
            refund: usd(129.8),
            fee: usd(0.2),
        };
        assert_eq!(moved, expected);
        assert_eq!(balances(&parent), [50.0, 129.8, 9_719.8]);
        assert_eq!(child.total(), Money::ZERO);
        let card = parent.cards().get(1).unwrap();
        assert_eq!(card.expires, last.plus(180 * 86_400_000));
        assert_eq!(sibling.total(), usd(100.0));
    }

    #[test]
    fn credit_that_is_handed_on_ends_no_later_than_the_card_it_comes_from() {
        let (mut parent, mut child) = (Wallet::default(), Wallet::default());
        let nine = Card::new(usd(3.0), "", NOW, 9_000);
        grant(None, &mut parent, EVEN, nine).unwrap();
        grant(None, &mut parent, EVEN, year(10.0, NOW)).unwrap();
        let double = RateExchange {
            child: rates(2_000_000),
            operator: Multiplier::ONE,
        };
        grant(Some(&mut parent), &mut child, double, year(10.0, NOW)).unwrap();
        let ends: Vec<_> = child
            .cards()
            .iter()
            .map(|card| card.expires.since(NOW))
            .collect();
        assert_eq!(ends, [9_000, life(None).unwrap()]);
        assert_eq!(balances(&child), [6.0, 4.0]);
        // The refund expires no later than the credit did.
        let moved = deduct(Some(&mut parent), &mut child, double, usd(7.0), NOW).unwrap();
        assert_eq!(moved.refund, usd(3.5));
        let ends: Vec<_> = parent
            .cards()
            .iter()
            .map(|card| card.expires.since(NOW))
            .collect();
        assert_eq!(&ends[1..], [9_000, REFUND_LIFE_MS, life(None).unwrap()]);
    }

    #[test]
    fn closing_leaves_what_is_not_asked_for_and_takes_the_fee_once() {
        let (mut parent, mut child) = (Wallet::default(), Wallet::default());
        grant(None, &mut child, EVEN, year(10.0, NOW)).unwrap();
        let some = (usd(0.05), DELETE_FEE);
        let first = close(Some(&mut parent), &mut child, EVEN, some, NOW).unwrap();
        assert_eq!((first.refund, first.fee), (Money::ZERO, usd(0.05)));
        let rest = (child.total(), usd(0.15));
        let second = close(Some(&mut parent), &mut child, EVEN, rest, NOW).unwrap();
        assert_eq!((second.refund, second.fee), (usd(9.8), usd(0.15)));
        assert_eq!(parent.total(), usd(9.8));
    }

    #[test]
    fn a_grant_is_paid_at_the_payers_rates() {
        let price = |credit, child, payer| price_of_grant(usd(credit), rates(child), rates(payer));
        assert_eq!(price(120.0, 1_200_000, 1_000_000), Some(usd(100.0)));
        assert_eq!(price(100.0, 2_000_000, 1_000_000), Some(usd(50.0)));
        assert_eq!(price(100.0, 2_000_000, 4_000_000), Some(usd(200.0)));
        assert!(check_rates(rates(999_999), Multiplier::ONE).is_err());
    }

    #[test]
    fn root_pays_nothing_and_gets_nothing_back() {
        let mut child = Wallet::default();
        grant(None, &mut child, EVEN, year(10.0, NOW)).unwrap();
        let moved = deduct(None, &mut child, EVEN, usd(4.0), NOW).unwrap();
        assert_eq!((moved.refund, moved.fee), (usd(4.0), Money::ZERO));
        let moved = close_all(None, &mut child, EVEN, NOW).unwrap();
        assert_eq!((moved.refund, moved.fee), (usd(6.0), Money::ZERO));
        assert_eq!(child.total(), Money::ZERO);
    }

    #[test]
    fn what_is_not_there_does_not_move() {
        let (mut parent, mut child) = (Wallet::default(), Wallet::default());
        grant(None, &mut parent, EVEN, year(10.0, NOW)).unwrap();
        let before = parent.clone();
        let short = TransferRefusal::Short {
            balance: usd(10.0),
            needed: usd(11.0),
        };
        let refused = grant(Some(&mut parent), &mut child, EVEN, year(11.0, NOW));
        assert_eq!(refused, Err(short));
        let refused = deduct(Some(&mut child), &mut parent, EVEN, usd(11.0), NOW);
        assert_eq!(refused, Err(short));
        for amount in [0.0, -1.0] {
            let refused = grant(Some(&mut parent), &mut child, EVEN, year(amount, NOW));
            assert_eq!(refused, Err(TransferRefusal::OutOfRange));
            let refused = deduct(Some(&mut parent), &mut child, EVEN, usd(amount), NOW);
            assert_eq!(refused, Err(TransferRefusal::OutOfRange));
        }
        assert_eq!((parent, child), (before, Wallet::default()));
    }

    #[test]
    fn a_full_purse_that_cannot_take_more_leaves_both_sides_alone() {
        let mut parent = Wallet::new(vec![Card::new(Money::MAX, "", NOW, 1_000)]);
        let mut child = Wallet::new(vec![Card::new(Money::MAX, "", NOW, 1_000)]);
        let before = parent.clone();
        let refused = grant(Some(&mut parent), &mut child, EVEN, year(1.0, NOW));
        assert_eq!(refused, Err(TransferRefusal::OutOfRange));
        let refused = deduct(Some(&mut parent), &mut child, EVEN, usd(1.0), NOW);
        assert_eq!(refused, Err(TransferRefusal::OutOfRange));
        let refused = close_all(Some(&mut parent), &mut child, EVEN, NOW);
        assert_eq!(refused, Err(TransferRefusal::OutOfRange));
        assert_eq!((&parent, &child), (&before, &before));
    }

    #[test]
    fn a_fee_takes_no_more_than_there_is() {
        let (mut parent, mut child) = (Wallet::default(), Wallet::default());
        grant(None, &mut child, EVEN, year(1.05, NOW)).unwrap();
        let moved = deduct(Some(&mut parent), &mut child, EVEN, usd(1.0), NOW).unwrap();
        assert_eq!((moved.refund, moved.fee), (usd(1.0), usd(0.2)));
        assert_eq!(balances(&parent), [0.8]);
        let moved = close_all(Some(&mut parent), &mut child, EVEN, NOW).unwrap();
        assert_eq!((moved.refund, moved.fee), (Money::ZERO, usd(0.05)));
        assert_eq!(balances(&parent), [0.8]);
    }

    proptest! {
        #[test]
        fn the_price_of_a_grant_converts_back_to_the_grant(
            credit in 1i64..1_000_000_000_000_000, payer in 1i64..10_000_000, times in 1_000_000i64..10_000_000,
        ) {
            let (credit, exchange) = (Money::from_nanos(credit), RateExchange {
                child: rates(payer * times / 1_000_000),
                operator: rates(payer),
            });
            let price = price_of_grant(credit, exchange.child, exchange.operator).unwrap();
            prop_assert!(price <= credit);
            // The price was rounded by half a nano; the child's rates magnify that at most tenfold.
            let back = price.scale(exchange.child, exchange.operator).unwrap();
            prop_assert!(back.nanos().abs_diff(credit.nanos()) <= 6);
        }

        #[test]
        fn no_credit_appears_or_vanishes_at_even_rates(
            opening in 1i64..1_000_000_000_000, granted in 1i64..1_000_000_000_000, deducted in 1i64..1_000_000_000_000,
        ) {
            let life_ms = life(None).unwrap();
            let card = |nanos| Card::new(Money::from_nanos(nanos), "", NOW, life_ms);
            let (mut parent, mut child) = (Wallet::default(), Wallet::default());
            grant(None, &mut parent, EVEN, card(opening)).unwrap();
            let mut fees = Money::ZERO;
            let _paid = grant(Some(&mut parent), &mut child, EVEN, card(granted));
            if let Ok(moved) = deduct(Some(&mut parent), &mut child, EVEN, Money::from_nanos(deducted), NOW) {
                fees = fees.saturating_add(moved.fee);
            }
            fees = fees.saturating_add(close_all(Some(&mut parent), &mut child, EVEN, NOW).unwrap().fee);
            prop_assert_eq!(child.total(), Money::ZERO);
            prop_assert_eq!(parent.total().saturating_add(fees).nanos(), opening);
        }
    }
}
