//! Credit cards: an account's credit is a wallet of cards, each with its own expiry. Spending, merging, rescaling and
//! expiry. It posts nothing: callers post what these functions return.
#![cfg_attr(
    not(test),
    deny(clippy::arithmetic_side_effects, clippy::float_arithmetic)
)]

mod limits;
mod transfer;
mod units;

use std::mem;

use proxyxai_contract::{
    Invalid,
    clock::Millis,
    money::{Money, Multiplier, sum},
};

use crate::model::Card;
pub use limits::{auto_quota, first_limits, hard_limit_below, risen_within, within};
pub use transfer::{
    ClosingTransfer, DEDUCTION_FEE, DELETE_FEE, Deduction, LISTING_FEE, REFUND_LIFE_MS,
    RateExchange, TransferRefusal, check_rates, close, deduct, grant, price_of_grant,
};

pub use units::Cost;

/// More live cards than this are merged, so that a wallet stays cheap to read and to show.
pub const CARDS_MAX: usize = 12;

/// How long leased credit outlives the card it came from before it is checked again.
pub const LEASED_LIFE_MS: i64 = 60_000;

const DAY_MS: i64 = 86_400_000;
const DAYS_MICROS_MAX: i64 = 365_000_000;

/// Credit taken from a card, with that card's expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CardPortion {
    pub(super) amount: Money,
    pub(super) ends: Millis,
}

/// The cards of one account, ordered by expiry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wallet(Vec<Card>);

/// Lifetime of a card in milliseconds, from millionths of a day. The default is 365 days.
///
/// # Errors
/// Errors if it is not from 0 to 365 days.
pub fn life(days_micros: Option<i64>) -> Result<i64, Invalid> {
    let micros = days_micros.unwrap_or(DAYS_MICROS_MAX);
    Some(micros)
        .filter(|micros| (0..=DAYS_MICROS_MAX).contains(micros))
        .and_then(|micros| micros.checked_mul(DAY_MS)?.checked_div(1_000_000))
        .ok_or_else(|| Invalid::new("Days", "must be from 0 to 365"))
}

// === impl Card ===

impl Card {
    /// A card with nothing spent.
    pub fn new(amount: Money, reference: impl Into<String>, now: Millis, life_ms: i64) -> Self {
        Self {
            amount,
            balance: amount,
            reference: reference.into(),
            granted: now,
            expires: now.plus(life_ms),
        }
    }

    /// Whether it has not expired.
    pub fn is_live(&self, now: Millis) -> bool {
        self.expires > now
    }

    /// Absorbs a card that expires no earlier. This card keeps its expiry, grant and note, so that no credit outlives
    /// its own card.
    fn absorb(&mut self, later: &Self) {
        // A wallet only accepts what its totals can hold, so these sums cannot overflow.
        self.amount = self.amount.saturating_add(later.amount);
        self.balance = self.balance.saturating_add(later.balance);
        if self.reference.is_empty() {
            self.reference.clone_from(&later.reference);
        }
    }

    /// The day of its expiry in UTC: which cards are merged must not depend on a setting.
    fn last_day(&self) -> Option<i64> {
        self.expires.0.checked_div_euclid(DAY_MS)
    }
}

// === impl Wallet ===

impl Wallet {
    /// Builds a wallet from stored cards in any order.
    pub fn new(mut cards: Vec<Card>) -> Self {
        cards.sort_by_key(|card| card.expires);
        Self(cards)
    }

    /// The cards, earliest expiry first.
    pub fn cards(&self) -> &[Card] {
        &self.0
    }

    /// The cards, earliest expiry first.
    pub fn into_cards(self) -> Vec<Card> {
        self.0
    }

    /// The credit on all cards, including expired ones that are not yet removed.
    pub fn total(&self) -> Money {
        self.0.iter().map(|card| card.balance).sum()
    }

    /// The credit on cards that have not expired.
    pub fn spendable(&self, now: Millis) -> Money {
        let live = self.0.iter().filter(|card| card.is_live(now));
        live.map(|card| card.balance).sum()
    }

    /// Spends from the live cards, earliest expiry first, and returns the part that they could not cover. A negative
    /// amount spends nothing and returns zero.
    pub fn spend(&mut self, amount: Money, now: Millis) -> Money {
        spend(self.0.iter_mut(), amount, now, |_, _| {})
    }

    /// Like `spend`; also returns what was taken from each card, with its expiry.
    pub(super) fn take_first(&mut self, amount: Money, now: Millis) -> (Vec<CardPortion>, Money) {
        let mut parts = Vec::new();
        let rest = spend(self.0.iter_mut(), amount, now, |amount, ends| {
            parts.push(CardPortion { amount, ends });
        });
        (parts, rest)
    }

    /// Like `take_first`, from the latest expiry.
    pub(super) fn take_last(&mut self, amount: Money, now: Millis) -> (Vec<CardPortion>, Money) {
        let mut parts = Vec::new();
        let rest = spend(self.0.iter_mut().rev(), amount, now, |amount, ends| {
            parts.push(CardPortion { amount, ends });
        });
        (parts, rest)
    }

    /// Returns overspent credit to the live cards, latest expiry first: the reverse order of spending. Returns the part
    /// that no card has room for. A negative amount returns nothing to the cards.
    pub fn restore(&mut self, amount: Money, now: Millis) -> Money {
        let mut rest = amount.max(Money::ZERO);
        for card in self.0.iter_mut().rev().filter(|card| card.is_live(now)) {
            let room = card.amount.saturating_sub(card.balance).max(Money::ZERO);
            let given = room.min(rest);
            card.balance = card.balance.saturating_add(given);
            rest = rest.saturating_sub(given);
        }
        rest
    }

    /// Adds a card and merges live cards if there are more than [`CARDS_MAX`]. Returns `None` and adds nothing if the
    /// totals would overflow.
    #[must_use = "without room the card was not added"]
    pub fn add(&mut self, card: Card, now: Millis) -> Option<()> {
        let mut cards = self.0.clone();
        cards.push(card);
        in_range(&cards)?;
        cards.sort_by_key(|card| card.expires);
        self.0 = merged(cards, now);
        Some(())
    }

    /// Multiplies face value and balance of every card by `to / from`. Returns `None` and changes nothing if the totals
    /// would overflow.
    #[must_use = "out of range the cards were not changed"]
    pub fn rescale(&mut self, from: Multiplier, to: Multiplier) -> Option<()> {
        let mut cards = self.0.clone();
        for card in &mut cards {
            card.amount = card.amount.scale(to, from)?;
            card.balance = card.balance.scale(to, from)?;
        }
        in_range(&cards)?;
        self.0 = cards;
        Some(())
    }

    /// Removes expired cards and returns the credit lost with them. Credit that in-flight calls may still need
    /// (`leased`) outlives its card for [`LEASED_LIFE_MS`] at a time.
    pub fn expire(&mut self, now: Millis, leased: Money) -> Money {
        let (live, expired): (Vec<_>, Vec<_>) = mem::take(&mut self.0)
            .into_iter()
            .partition(|card| card.is_live(now));
        self.0 = live;
        let mut needed = leased.saturating_sub(self.total()).max(Money::ZERO);
        let mut lost = Money::ZERO;
        for mut card in expired.into_iter().rev() {
            let kept = needed.min(card.balance).max(Money::ZERO);
            needed = needed.saturating_sub(kept);
            lost = lost.saturating_add(card.balance.saturating_sub(kept));
            if kept > Money::ZERO {
                (card.balance, card.expires) = (kept, now.plus(LEASED_LIFE_MS));
                self.0.push(card);
            }
        }
        self.0.sort_by_key(|card| card.expires);
        lost
    }
}

/// Spends from live cards in the given order and returns the part that they could not cover.
fn spend<'a>(
    cards: impl Iterator<Item = &'a mut Card>,
    amount: Money,
    now: Millis,
    mut taken_of: impl FnMut(Money, Millis),
) -> Money {
    let mut rest = amount.max(Money::ZERO);
    for card in cards.filter(|card| card.is_live(now)) {
        // Neither difference can overflow: the part taken is at most the smaller of the two.
        let taken = card.balance.max(Money::ZERO).min(rest);
        card.balance = card.balance.saturating_sub(taken);
        rest = rest.saturating_sub(taken);
        if taken > Money::ZERO {
            taken_of(taken, card.expires);
        }
    }
    rest
}

/// Checks that both totals fit the range of money.
fn in_range(cards: &[Card]) -> Option<()> {
    sum(cards.iter().map(|card| card.amount))?;
    sum(cards.iter().map(|card| card.balance))?;
    Some(())
}

/// Merges sorted cards until at most [`CARDS_MAX`] are live. Expired ones are left out: merging one into a live card
/// would restore lost credit.
fn merged(cards: Vec<Card>, now: Millis) -> Vec<Card> {
    let (mut live, mut all): (Vec<_>, Vec<_>) =
        cards.into_iter().partition(|card| card.is_live(now));
    if live.len() > CARDS_MAX {
        // An empty card has no credit to merge, and its earlier expiry must not shorten another card's.
        live.retain(|card| card.balance > Money::ZERO);
    }
    if live.len() > CARDS_MAX {
        live.dedup_by(|later, kept| {
            let same_day = later.last_day() == kept.last_day();
            if same_day {
                kept.absorb(later);
            }
            same_day
        });
    }
    // Of 13 expiries within a year, two are at most 31 days apart. A large card should lose no lifetime to a small one.
    while live.len() > CARDS_MAX {
        let Some(at) = cheapest_pair(&live) else {
            break;
        };
        let later = live.remove(at.saturating_add(1));
        if let Some(earlier) = live.get_mut(at) {
            earlier.absorb(&later);
        }
    }
    all.append(&mut live);
    all
}

/// The index of the first of two neighbours that are cheapest to merge, or the earliest such pair. The cost is the
/// later card's credit times the lifetime that it loses.
fn cheapest_pair(cards: &[Card]) -> Option<usize> {
    let pairs = cards.iter().zip(cards.iter().skip(1));
    pairs
        .map(|(earlier, later)| {
            let gap_ms = i128::from(later.expires.since(earlier.expires));
            gap_ms.saturating_mul(later.balance.nanos().into())
        })
        .enumerate()
        .min_by_key(|(_, cost)| *cost)
        .map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Millis = Millis(1_700_000_000_000);

    fn card(balance: i64, expires_in_ms: i64) -> Card {
        Card::new(Money::from_nanos(balance), "", NOW, expires_in_ms)
    }

    #[test]
    fn what_is_given_back_was_never_spent() {
        let mut wallet = filled([card(10, DAY_MS), card(10, 2 * DAY_MS)]);
        let mut never = wallet.clone();
        wallet.spend(Money::from_nanos(15), NOW);
        assert_eq!(wallet.restore(Money::from_nanos(8), NOW), Money::ZERO);
        never.spend(Money::from_nanos(7), NOW);
        assert_eq!(wallet, never);
        assert_eq!(wallet.restore(Money::from_nanos(9), NOW).nanos(), 2);
    }

    fn balances(wallet: &Wallet) -> Vec<i64> {
        let cards = wallet.cards().iter();
        cards.map(|card| card.balance.nanos()).collect()
    }

    fn filled(cards: impl IntoIterator<Item = Card>) -> Wallet {
        let mut wallet = Wallet::default();
        for card in cards {
            wallet.add(card, NOW).unwrap();
        }
        wallet
    }

    #[test]
    fn a_card_lives_a_year_unless_told_otherwise() {
        assert_eq!(life(None).unwrap(), 365 * DAY_MS);
        assert_eq!(life(Some(500_000)).unwrap(), DAY_MS / 2);
        assert_eq!(life(Some(0)).unwrap(), 0);
        for bad in [-1, DAYS_MICROS_MAX + 1, i64::MAX, i64::MIN] {
            assert!(life(Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_card_is_worth_nothing_from_its_end_on() {
        let mut wallet = filled([card(5, 10)]);
        assert_eq!(wallet.spendable(NOW.plus(9)), Money::from_nanos(5));
        assert_eq!(wallet.spendable(NOW.plus(10)), Money::ZERO);
        assert_eq!(
            wallet.spend(Money::from_nanos(1), NOW.plus(10)).nanos(),
            1,
            "nothing may be spent at the end itself"
        );
        assert_eq!(wallet.expire(NOW.plus(10), Money::ZERO).nanos(), 5);
    }

    #[test]
    fn twelve_cards_are_left_alone() {
        let wallet = filled((0..12).map(|_| card(1, DAY_MS)));
        assert_eq!(wallet.cards().len(), 12);
    }

    #[test]
    fn the_thirteenth_card_merges_those_of_one_day_first() {
        // Two pairs end on one day each; the closest neighbours of all straddle midnight.
        let midnight = NOW.0.div_euclid(DAY_MS) * DAY_MS + DAY_MS - NOW.0;
        let day = |n: i64| midnight + n * DAY_MS;
        let mut ends: Vec<i64> = (2..11).map(|n| day(n * 20)).collect();
        ends.extend([day(1) - 1, day(1), day(1) + 7_200_000, day(40) + 7_200_000]);
        let wallet = filled(ends.into_iter().map(|end| card(1, end)));
        assert_eq!(balances(&wallet), [1, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1]);
        let ends: Vec<_> = wallet.cards().iter().map(|card| card.expires).collect();
        assert_eq!(ends.get(1), Some(&NOW.plus(day(1))));
        assert_eq!(ends.get(2), Some(&NOW.plus(day(40))));
    }

    #[test]
    fn then_the_closest_neighbours_merge_and_the_earlier_end_wins() {
        let days = [1, 30, 60, 90, 120, 125, 150, 180, 210, 240, 270, 300, 330];
        let wallet = filled(days.map(|n| card(1, n * DAY_MS)));
        assert_eq!(balances(&wallet), [1, 1, 1, 1, 2, 1, 1, 1, 1, 1, 1, 1]);
        let merged = wallet.cards().get(4).unwrap();
        assert_eq!(merged.expires, NOW.plus(120 * DAY_MS));
        assert_eq!(merged.amount, Money::from_nanos(2));
    }

    #[test]
    fn an_expired_card_is_never_merged_back_to_life() {
        let later = NOW.plus(DAY_MS);
        let mut wallet = filled((1..=12).map(|n| card(1, n * DAY_MS)));
        let fresh = Card::new(Money::from_nanos(1), "", later, DAY_MS);
        wallet.add(fresh, later).unwrap();
        assert_eq!(wallet.cards().len(), 13, "one of them expired");
        assert_eq!(wallet.spendable(later).nanos(), 12);
        assert_eq!(wallet.expire(later, Money::ZERO).nanos(), 1);
    }

    #[test]
    fn an_empty_card_lends_its_end_to_nobody() {
        let mut wallet = filled((1..=11).map(|n| card(1, n * DAY_MS)));
        wallet.add(card(0, 364 * DAY_MS), NOW).unwrap();
        wallet.add(card(1, 363 * DAY_MS), NOW).unwrap();
        assert_eq!(balances(&wallet), [1; 12]);
        let last = wallet.cards().last().unwrap();
        assert_eq!(last.expires, NOW.plus(363 * DAY_MS));
    }

    #[test]
    fn what_the_totals_cannot_hold_is_not_taken() {
        let mut wallet = filled([card(i64::MAX, DAY_MS)]);
        let before = wallet.clone();
        assert_eq!(wallet.add(card(1, DAY_MS), NOW), None);
        let double = Multiplier::from_micros(2_000_000).unwrap();
        assert_eq!(wallet.rescale(Multiplier::ONE, double), None);
        assert_eq!(wallet, before);
        // Each of these can be doubled, but not their sum.
        let mut wallet = filled([card(i64::MAX / 3, DAY_MS), card(i64::MAX / 3, DAY_MS)]);
        let before = wallet.clone();
        assert_eq!(wallet.rescale(Multiplier::ONE, double), None);
        assert_eq!(wallet, before);
    }

    /// Some are expired at `NOW`, some partly spent, some empty.
    fn any_card() -> impl Strategy<Value = Card> {
        let year = 365 * DAY_MS;
        (0i64..10_000_000_000_000, 0i64..=100, -DAY_MS..year).prop_map(|(amount, left, life)| {
            Card {
                balance: Money::from_nanos(amount / 100 * left),
                ..card(amount, life)
            }
        })
    }

    fn any_purse(cards_max: usize) -> impl Strategy<Value = Wallet> {
        prop::collection::vec(any_card(), 0..=cards_max).prop_map(Wallet::new)
    }

    proptest! {
        #[test]
        fn merging_keeps_the_total_and_lengthens_no_life(
            cards in prop::collection::vec(any_card(), 1..40),
        ) {
            let live: Vec<_> = cards.into_iter().filter(|card| card.is_live(NOW)).collect();
            let balance: Money = live.iter().map(|card| card.balance).sum();
            let wallet = filled(live.clone());
            prop_assert!(wallet.cards().len() <= CARDS_MAX);
            prop_assert!(wallet.cards().is_sorted_by_key(|card| card.expires));
            prop_assert!(wallet.cards().iter().all(|card| card.balance <= card.amount));
            prop_assert_eq!(wallet.total(), balance);
            // At no moment is more left than on the unmerged cards.
            for card in &live {
                let at = card.expires;
                let unmerged: Money = live.iter().filter(|other| other.is_live(at)).map(|card| card.balance).sum();
                prop_assert!(wallet.spendable(at) <= unmerged);
            }
        }

        #[test]
        fn small_cards_take_nothing_from_the_life_of_a_large_one(ends in prop::collection::vec(1..300i64, 1..60)) {
            let large = 1_000_000_000_000;
            let mut wallet = filled([card(large, 330 * DAY_MS)]);
            for end in ends {
                wallet.add(card(1, end * DAY_MS), NOW).unwrap();
            }
            prop_assert!(wallet.spendable(NOW.plus(330 * DAY_MS - 1)).nanos() >= large);
        }

        #[test]
        fn what_is_spent_and_what_is_left_over_is_what_was_asked(
            mut wallet in any_purse(15), asked in 0i64..100_000_000_000_000,
        ) {
            let (before, asked) = (wallet.clone(), Money::from_nanos(asked));
            let rest = wallet.spend(asked, NOW);
            let spent = before.total().checked_sub(wallet.total()).unwrap();
            prop_assert_eq!(spent.checked_add(rest), Some(asked));
            prop_assert!(rest == Money::ZERO || wallet.spendable(NOW) == Money::ZERO);
            prop_assert!(wallet.cards().iter().all(|card| !card.balance.is_negative()));
        }

        #[test]
        fn the_earliest_live_card_is_spent_first_and_an_expired_one_never(
            mut wallet in any_purse(15), asked in 0i64..50_000_000_000_000,
        ) {
            let before = wallet.clone();
            wallet.spend(Money::from_nanos(asked), NOW);
            let mut touched_last = false;
            for (card, old) in wallet.cards().iter().zip(before.cards()) {
                if card == old {
                    touched_last |= card.is_live(NOW) && card.balance > Money::ZERO;
                } else {
                    prop_assert!(card.is_live(NOW));
                    prop_assert!(!touched_last, "a later card was spent while an earlier one had credit");
                    touched_last = card.balance > Money::ZERO;
                }
            }
        }

        #[test]
        fn expiry_loses_exactly_what_expired(mut wallet in any_purse(15)) {
            let (before, spendable) = (wallet.total(), wallet.spendable(NOW));
            let lost = wallet.expire(NOW, Money::ZERO);
            prop_assert_eq!(wallet.total(), spendable);
            prop_assert_eq!(before.checked_sub(lost), Some(spendable));
            prop_assert!(wallet.cards().iter().all(|card| card.is_live(NOW)));
        }

        #[test]
        fn raising_rates_and_back_is_off_by_at_most_a_nano_a_card(
            mut wallet in any_purse(12), from in 1i64..10_000_000, times in 1_000_000i64..10_000_000,
        ) {
            let before = wallet.clone();
            let to = Multiplier::from_micros(from * times / 1_000_000).unwrap();
            let from = Multiplier::from_micros(from).unwrap();
            wallet.rescale(from, to).unwrap();
            prop_assert!(wallet.cards().iter().all(|card| card.balance <= card.amount));
            wallet.rescale(to, from).unwrap();
            for (card, old) in wallet.cards().iter().zip(before.cards()) {
                prop_assert!(card.amount.nanos().abs_diff(old.amount.nanos()) <= 1);
                prop_assert!(card.balance.nanos().abs_diff(old.balance.nanos()) <= 1);
                prop_assert_eq!(card.expires, old.expires);
            }
        }
    }
}
