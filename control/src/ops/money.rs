//! Movements of credit between accounts, each with its ledger entry. The rules are `domain::credit`'s;
//! storing and posting is the caller's part.

mod closing;

use std::mem;

pub(super) use closing::settle_closed;
use proxyxai_contract::{
    Invalid,
    clock::Millis,
    money::{Money, Multiplier},
};

use crate::{
    Error,
    domain::{
        credit::{self, Card, Cost, Exchange, Purse, Refused},
        ledger::{Book, Entry},
    },
    store::{AccountRecord, leases::LeaseRecord},
};

/// Note on a card for what calls had cost too much.
const CORRECTION_REFERENCE: &str = "Correction";

/// Removes expired cards.
pub(super) fn clear_expired(
    record: &mut AccountRecord,
    now: Millis,
) -> Result<Option<Entry>, Error> {
    let (leased, account) = (record.leased, record.view.id);
    let lost = with_purse(record, now, |purse| purse.expire(now, leased));
    if lost == Money::ZERO {
        return Ok(None);
    }
    let postings = [
        (Book::Account(account), lost.negated()),
        (Book::Expired, lost),
    ];
    entry("expiry", format!("expiry:{account}"), postings).map(Some)
}

/// Grants a card of the child's units; the operator pays in its own, root mints.
pub(super) fn grant(
    operator: &mut AccountRecord,
    child: &mut AccountRecord,
    card: Card,
) -> Result<Entry, Error> {
    let (now, credit) = (card.granted, card.amount);
    let exchange = exchange(operator, child);
    let mut theirs = purse(child);
    let mut own = payer(operator);
    let price = credit::grant(own.as_mut(), &mut theirs, exchange, card).map_err(refused)?;
    put_back(child, theirs, now);
    pay_debt(child, now);
    let reference = format!("grant:{}>{}", operator.view.id, child.view.id);
    let mut postings = vec![(Book::Account(child.view.id), credit)];
    match own {
        Some(own) => {
            put_back(operator, own, now);
            not_on_lease(operator, price)?;
            postings.push((Book::Account(operator.view.id), price.negated()));
            // Two accounts count in different units; root stands for the difference.
            postings.push((Book::Mint, price.saturating_sub(credit)));
        }
        None => postings.push((Book::Mint, credit.negated())),
    }
    entry("grant", reference, postings)
}

/// Takes credit back from the child, in its units.
pub(super) fn deduct(
    operator: &mut AccountRecord,
    child: &mut AccountRecord,
    amount: Money,
    now: Millis,
) -> Result<Entry, Error> {
    let exchange = exchange(operator, child);
    let mut theirs = purse(child);
    let mut own = payer(operator);
    let moved =
        credit::deduct(own.as_mut(), &mut theirs, exchange, amount, now).map_err(refused)?;
    put_back(child, theirs, now);
    not_on_lease(child, moved.taken)?;
    let reference = format!("deduct:{}>{}", child.view.id, operator.view.id);
    let mut postings = vec![(Book::Account(child.view.id), moved.taken.negated())];
    match own {
        Some(own) => {
            put_back(operator, own, now);
            pay_debt(operator, now);
            postings.push((
                Book::Account(operator.view.id),
                moved.refund.saturating_sub(moved.fee),
            ));
            postings.push((Book::Fees, moved.fee));
            postings.push((Book::Mint, moved.taken.saturating_sub(moved.refund)));
        }
        None => postings.push((Book::Mint, moved.taken)),
    }
    entry("deduct", reference, postings)
}

/// Puts an account on new rates: its credit keeps its worth and gets other units.
pub(super) fn rescale(
    record: &mut AccountRecord,
    to: Multiplier,
    now: Millis,
) -> Result<Entry, Error> {
    let from = record.view.rates;
    let held = |record: &AccountRecord| {
        purse(record)
            .total()
            .checked_sub(record.debt)
            .ok_or_else(out_of_range)
    };
    let before = held(record)?;
    let mut purse = purse(record);
    purse.rescale(from, to).ok_or_else(out_of_range)?;
    record.debt = record.debt.scale(to, from).ok_or_else(out_of_range)?;
    put_back(record, purse, now);
    record.view.rates = to;
    let (after, exact) = (
        held(record)?,
        before.scale(to, from).ok_or_else(out_of_range)?,
    );
    let account = record.view.id;
    let postings = [
        (Book::Account(account), after.saturating_sub(before)),
        (Book::Mint, before.saturating_sub(exact)),
        (Book::Rounding, exact.saturating_sub(after)),
    ];
    entry("rates", format!("rates:{account}"), postings)
}

/// Charges a fee to an account's cards.
pub(super) fn fee(
    record: &mut AccountRecord,
    fee: Money,
    reason: &'static str,
    now: Millis,
) -> Result<Entry, Error> {
    let balance = record.view.balance;
    let uncovered = with_purse(record, now, |purse| purse.spend(fee, now));
    if uncovered > Money::ZERO {
        return Err(Error::InsufficientBalance {
            balance,
            needed: fee,
            in_use: Money::ZERO,
        });
    }
    not_on_lease(record, fee)?;
    let account = record.view.id;
    entry(
        reason,
        format!("{reason}:{account}"),
        [(Book::Account(account), fee.negated()), (Book::Fees, fee)],
    )
}

/// Moves credit onto a data plane's lease; a negative amount moves it back.
pub(super) fn lease(
    record: &mut AccountRecord,
    held: &mut LeaseRecord,
    amount: Money,
) -> Result<Entry, Error> {
    let account = record.view.id;
    held.lease.amount = held.lease.amount.saturating_add(amount);
    held.lease.version = held.lease.version.saturating_add(1);
    record.leased = record.leased.saturating_add(amount);
    let postings = [
        (Book::Account(account), amount.negated()),
        (Book::Reserved(account), amount),
    ];
    let reference = format!("lease:{}>{account}", held.node);
    entry("lease", reference, postings)
}

/// Charges calls: first to the lease they were let in on, the rest to the account. What the cards do
/// not cover becomes debt. Root's calls are minted, not charged. The second entry is empty unless the
/// account's units changed while a call was under way.
pub(super) fn charge(
    record: &mut AccountRecord,
    held: Option<&mut LeaseRecord>,
    cost: Cost,
    reference: String,
    now: Millis,
) -> Result<[Entry; 2], Error> {
    let Cost { counted, worth } = cost;
    record.view.credit_used = record.view.credit_used.saturating_add(counted);
    if record.view.parent.is_none() {
        let postings = [(Book::Mint, counted.negated()), (Book::Spent, counted)];
        let change = units(record, Cost::even(counted), &reference)?;
        return Ok([entry("call", reference, postings)?, change]);
    }
    let uncovered = with_purse(record, now, |purse| purse.spend(worth, now));
    record.debt = record.debt.saturating_add(uncovered);
    record.refresh_balance(now);
    let leased = held.map_or(Money::ZERO, |held| {
        let part = worth.min(held.lease.amount).max(Money::ZERO);
        held.lease.amount = held.lease.amount.saturating_sub(part);
        held.lease.version = held.lease.version.saturating_add(1);
        part
    });
    record.leased = record.leased.saturating_sub(leased);
    let account = record.view.id;
    let postings = [
        (Book::Reserved(account), leased.negated()),
        (Book::Account(account), leased.saturating_sub(counted)),
        (Book::Spent, counted),
    ];
    let change = units(record, cost, &reference)?;
    Ok([entry("call", reference, postings)?, change])
}

/// What lies between the units of calls and those their account has now is root's. It is an entry of its
/// own, so that what is booked as spent is what the account used.
fn units(record: &AccountRecord, cost: Cost, reference: &str) -> Result<Entry, Error> {
    let gap = cost.gap();
    let postings = [
        (Book::Account(record.view.id), gap),
        (Book::Mint, gap.negated()),
    ];
    entry("units", format!("{reference}:units"), postings)
}

/// Refuses a movement that would take credit which data planes have on lease.
pub(super) fn not_on_lease(record: &AccountRecord, needed: Money) -> Result<(), Error> {
    let left = record.view.balance.saturating_sub(record.leased);
    if record.leased > Money::ZERO && left.is_negative() {
        let balance = left.saturating_add(needed).max(Money::ZERO);
        return Err(Error::InsufficientBalance {
            balance,
            needed,
            in_use: record.leased,
        });
    }
    Ok(())
}

/// Books what calls cost more or less than they were charged. What is given back pays debt, then goes to
/// the cards it came from; what they have no room for becomes a card of its own. The second entry is as
/// that of [`charge`].
pub(super) fn correct(
    record: &mut AccountRecord,
    difference: Cost,
    reference: String,
    now: Millis,
) -> Result<[Entry; 2], Error> {
    let Cost { counted, worth } = difference;
    record.view.credit_used = record.view.credit_used.saturating_add(counted);
    let (book, difference) = match record.view.parent {
        None => (Book::Mint, Cost::even(counted)),
        Some(_) => (Book::Account(record.view.id), difference),
    };
    if book != Book::Mint {
        let uncovered = with_purse(record, now, |purse| purse.spend(worth, now));
        record.debt = record.debt.saturating_add(uncovered);
        let back = worth.negated().max(Money::ZERO);
        let paid = back.min(record.debt);
        record.debt = record.debt.saturating_sub(paid);
        let back = back.saturating_sub(paid);
        let left = with_purse(record, now, |purse| purse.restore(back, now));
        if left > Money::ZERO {
            let card = Card::new(left, CORRECTION_REFERENCE, now, credit::REFUND_LIFE_MS);
            with_purse(record, now, |purse| purse.add(card, now)).ok_or_else(out_of_range)?;
        }
        record.refresh_balance(now);
    }
    let change = units(record, difference, &reference)?;
    let postings = [(book, counted.negated()), (Book::Spent, counted)];
    Ok([entry("correction", reference, postings)?, change])
}

fn pay_debt(record: &mut AccountRecord, now: Millis) {
    let debt = record.debt;
    record.debt = with_purse(record, now, |purse| purse.spend(debt, now));
    record.refresh_balance(now);
}

fn with_purse<T>(
    record: &mut AccountRecord,
    now: Millis,
    change: impl FnOnce(&mut Purse) -> T,
) -> T {
    let mut purse = Purse::new(mem::take(&mut record.view.cards));
    let result = change(&mut purse);
    put_back(record, purse, now);
    result
}

fn purse(record: &AccountRecord) -> Purse {
    Purse::new(record.view.cards.clone())
}

/// The purse of whoever pays; root has none.
fn payer(operator: &AccountRecord) -> Option<Purse> {
    operator.view.parent.map(|_| purse(operator))
}

fn put_back(record: &mut AccountRecord, purse: Purse, now: Millis) {
    record.view.cards = purse.into_cards();
    record.refresh_balance(now);
}

fn exchange(operator: &AccountRecord, child: &AccountRecord) -> Exchange {
    Exchange {
        child: child.view.rates,
        operator: operator.view.rates,
    }
}

fn entry(
    reason: &'static str,
    reference: String,
    postings: impl IntoIterator<Item = (Book, Money)>,
) -> Result<Entry, Error> {
    Entry::new(reason, reference, postings)
        .ok_or_else(|| Error::internal(format!("a {reason} entry is not even")))
}

fn refused(refused: Refused) -> Error {
    match refused {
        Refused::Short { balance, needed } => Error::InsufficientBalance {
            balance,
            needed,
            in_use: Money::ZERO,
        },
        Refused::OutOfRange => out_of_range(),
    }
}

fn out_of_range() -> Error {
    Invalid::new("CreditGranted", "is out of range").into()
}
