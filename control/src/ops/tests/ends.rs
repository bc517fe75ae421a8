//! Tests of card expiry: however credit is moved, it expires with the card that it comes from.

use proptest::prelude::*;
use proxyxai_contract::{
    clock::Millis,
    money::{Money, Multiplier},
};

use crate::{
    domain::credit::{
        CARDS_MAX, DELETE_FEE, REFUND_LIFE_MS, RateExchange, Wallet, close, deduct, grant,
    },
    model::Card,
    testing::DAY_MS,
};

const NOW: Millis = Millis(1_698_105_600_000);
const EVEN: RateExchange = RateExchange {
    child: Multiplier::ONE,
    operator: Multiplier::ONE,
};

fn card(nanos: i64, life_ms: i64) -> Card {
    Card::new(Money::from_nanos(nanos), "", NOW, life_ms)
}

/// Amount and lifetime of each card.
fn lives(wallet: &Wallet) -> Vec<(i64, i64)> {
    let cards = wallet.cards().iter();
    cards
        .map(|card| (card.balance.nanos(), card.expires.since(NOW)))
        .collect()
}

#[test]
fn a_grant_from_a_card_that_ends_in_nine_seconds_ends_in_nine_seconds() {
    let mut parent = Wallet::new(vec![card(100, 9_000)]);
    let mut child = Wallet::default();
    grant(Some(&mut parent), &mut child, EVEN, card(60, 365 * DAY_MS)).unwrap();
    assert_eq!(lives(&child), [(60, 9_000)]);
    // And back again.
    deduct(
        Some(&mut parent),
        &mut child,
        EVEN,
        Money::from_nanos(60),
        NOW,
    )
    .unwrap();
    assert!(lives(&parent).iter().all(|(_, life)| *life == 9_000));
}

#[test]
fn a_grant_becomes_a_card_for_each_end_of_those_that_pay_for_it() {
    let mut parent = Wallet::new(vec![card(10, 5), card(20, 7), card(40, 50), card(50, 90)]);
    let mut child = Wallet::default();
    let double = RateExchange {
        child: Multiplier::from_micros(2_000_000).unwrap(),
        ..EVEN
    };
    grant(Some(&mut parent), &mut child, double, card(160, 40)).unwrap();
    // A card never lives longer than asked for.
    assert_eq!(lives(&child), [(20, 5), (40, 7), (100, 40)]);
    assert_eq!(parent.spendable(NOW).nanos(), 40);
}

#[test]
fn root_mints_for_as_long_as_it_likes() {
    let mut child = Wallet::default();
    grant(None, &mut child, EVEN, card(1, 365 * DAY_MS)).unwrap();
    assert_eq!(lives(&child), [(1, 365 * DAY_MS)]);
}

#[test]
fn refunds_end_with_the_cards_they_come_from_and_after_180_days_at_most() {
    let cards = || vec![card(300_000_000, 5), card(500_000_000, 300 * DAY_MS)];
    let (mut parent, mut child) = (Wallet::default(), Wallet::new(cards()));
    let amount = Money::from_nanos(400_000_000);
    deduct(Some(&mut parent), &mut child, EVEN, amount, NOW).unwrap();
    // The fee is paid from the card that expires first.
    assert_eq!(
        lives(&parent),
        [(100_000_000, 5), (100_000_000, REFUND_LIFE_MS)]
    );

    let (mut parent, mut child) = (Wallet::default(), Wallet::new(cards()));
    let all = (child.total(), DELETE_FEE);
    close(Some(&mut parent), &mut child, EVEN, all, NOW).unwrap();
    assert_eq!(
        lives(&parent),
        [(225_000_000, 5), (375_000_000, REFUND_LIFE_MS)]
    );
}

proptest! {
    #[test]
    fn no_moving_around_makes_credit_live_longer(
        cards in prop::collection::vec((1i64..1_000_000_000, 1i64..365), 1..30),
        moves in prop::collection::vec((0u8..3, 1i64..5_000_000_000, 1i64..365), 1..40),
    ) {
        let mut before = Wallet::default();
        for (amount, days) in cards {
            before.add(card(amount, days * DAY_MS), NOW).unwrap();
        }
        let (mut parent, mut child) = (before.clone(), Wallet::default());
        for (what, amount, days) in moves {
            let moved = Money::from_nanos(amount);
            let _refused = match what {
                0 => grant(Some(&mut parent), &mut child, EVEN, card(amount, days * DAY_MS)).map(drop),
                1 => deduct(Some(&mut parent), &mut child, EVEN, moved, NOW).map(drop),
                _ => close(Some(&mut parent), &mut child, EVEN, (moved, DELETE_FEE), NOW).map(drop),
            };
            prop_assert!(parent.cards().len() <= CARDS_MAX && child.cards().len() <= CARDS_MAX);
        }
        for days in 0..366 {
            let at = NOW.plus(days * DAY_MS);
            let after = parent.spendable(at).saturating_add(child.spendable(at));
            prop_assert!(after <= before.spendable(at), "{after} after {days} days");
        }
    }
}
