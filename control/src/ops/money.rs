//! Movements of credit between accounts, each with its ledger entry. The rules are in `domain::credit`; the caller
//! stores and posts.

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
        credit::{self, Cost, RateExchange, TransferRefusal, Wallet},
        ledger::{Book, LedgerEntry},
    },
    model::Card,
    store::{AccountRecord, leases::LeaseRecord},
};

/// Reference of a card that refunds what calls were overcharged.
const CORRECTION_REFERENCE: &str = "Correction";

/// Removes expired cards.
pub(super) fn clear_expired(
    record: &mut AccountRecord,
    now: Millis,
) -> Result<Option<LedgerEntry>, Error> {
    let (leased, account) = (record.leased, record.account.id);
    let lost = with_purse(record, now, |wallet| wallet.expire(now, leased));
    if lost == Money::ZERO {
        return Ok(None);
    }
    let postings = [
        (Book::Account(account), lost.negated()),
        (Book::Expired, lost),
    ];
    entry("expiry", format!("expiry:{account}"), postings).map(Some)
}

/// Grants a card in the child's units; the operator pays in its own, root mints.
pub(super) fn grant(
    operator: &mut AccountRecord,
    child: &mut AccountRecord,
    card: Card,
) -> Result<LedgerEntry, Error> {
    let (now, credit) = (card.granted, card.amount);
    let exchange = exchange(operator, child);
    let mut theirs = wallet(child);
    let mut own = payer(operator);
    let price = credit::grant(own.as_mut(), &mut theirs, exchange, card).map_err(refused)?;
    put_back(child, theirs, now);
    pay_debt(child, now);
    let reference = format!("grant:{}>{}", operator.account.id, child.account.id);
    let mut postings = vec![(Book::Account(child.account.id), credit)];
    match own {
        Some(own) => {
            put_back(operator, own, now);
            not_on_lease(operator, price)?;
            postings.push((Book::Account(operator.account.id), price.negated()));
            // The two accounts count in different units; root books the difference.
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
) -> Result<LedgerEntry, Error> {
    let exchange = exchange(operator, child);
    let mut theirs = wallet(child);
    let mut own = payer(operator);
    let moved =
        credit::deduct(own.as_mut(), &mut theirs, exchange, amount, now).map_err(refused)?;
    put_back(child, theirs, now);
    not_on_lease(child, moved.taken)?;
    let reference = format!("deduct:{}>{}", child.account.id, operator.account.id);
    let mut postings = vec![(Book::Account(child.account.id), moved.taken.negated())];
    match own {
        Some(own) => {
            put_back(operator, own, now);
            pay_debt(operator, now);
            postings.push((
                Book::Account(operator.account.id),
                moved.refund.saturating_sub(moved.fee),
            ));
            postings.push((Book::Fees, moved.fee));
            postings.push((Book::Mint, moved.taken.saturating_sub(moved.refund)));
        }
        None => postings.push((Book::Mint, moved.taken)),
    }
    entry("deduct", reference, postings)
}

/// Puts an account on new rates: its credit keeps its worth in other units.
pub(super) fn rescale(
    record: &mut AccountRecord,
    to: Multiplier,
    now: Millis,
) -> Result<LedgerEntry, Error> {
    let from = record.account.rates;
    let held = |record: &AccountRecord| {
        wallet(record)
            .total()
            .checked_sub(record.debt)
            .ok_or_else(out_of_range)
    };
    let before = held(record)?;
    let mut wallet = wallet(record);
    wallet.rescale(from, to).ok_or_else(out_of_range)?;
    record.debt = record.debt.scale(to, from).ok_or_else(out_of_range)?;
    put_back(record, wallet, now);
    record.account.rates = to;
    let (after, exact) = (
        held(record)?,
        before.scale(to, from).ok_or_else(out_of_range)?,
    );
    let account = record.account.id;
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
) -> Result<LedgerEntry, Error> {
    let balance = record.account.balance;
    let uncovered = with_purse(record, now, |wallet| wallet.spend(fee, now));
    if uncovered > Money::ZERO {
        return Err(Error::InsufficientBalance {
            balance,
            needed: fee,
            in_use: Money::ZERO,
        });
    }
    not_on_lease(record, fee)?;
    let account = record.account.id;
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
) -> Result<LedgerEntry, Error> {
    let account = record.account.id;
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

/// Charges calls: first to the lease that admitted them, the rest to the account. What the cards do not cover becomes
/// debt. Root's calls are minted, not charged. The second entry is empty unless the account's units changed while a
/// call was in flight.
pub(super) fn charge(
    record: &mut AccountRecord,
    held: Option<&mut LeaseRecord>,
    cost: Cost,
    reference: String,
    now: Millis,
) -> Result<[LedgerEntry; 2], Error> {
    let Cost { counted, worth } = cost;
    record.account.credit_used = record.account.credit_used.saturating_add(counted);
    if record.account.parent.is_none() {
        let postings = [(Book::Mint, counted.negated()), (Book::Spent, counted)];
        let change = units(record, Cost::even(counted), &reference)?;
        return Ok([entry("call", reference, postings)?, change]);
    }
    let uncovered = with_purse(record, now, |wallet| wallet.spend(worth, now));
    record.debt = record.debt.saturating_add(uncovered);
    record.refresh_balance(now);
    let leased = held.map_or(Money::ZERO, |held| {
        let part = worth.min(held.lease.amount).max(Money::ZERO);
        held.lease.amount = held.lease.amount.saturating_sub(part);
        held.lease.version = held.lease.version.saturating_add(1);
        part
    });
    record.leased = record.leased.saturating_sub(leased);
    let account = record.account.id;
    let postings = [
        (Book::Reserved(account), leased.negated()),
        (Book::Account(account), leased.saturating_sub(counted)),
        (Book::Spent, counted),
    ];
    let change = units(record, cost, &reference)?;
    Ok([entry("call", reference, postings)?, change])
}

/// Root books the difference between the units of calls and those of their account now. It is an entry of its own, so
/// that the book of charges equals what the account used.
fn units(record: &AccountRecord, cost: Cost, reference: &str) -> Result<LedgerEntry, Error> {
    let gap = cost.gap();
    let postings = [
        (Book::Account(record.account.id), gap),
        (Book::Mint, gap.negated()),
    ];
    entry("units", format!("{reference}:units"), postings)
}

/// Refuses a movement that would take credit which is on lease.
pub(super) fn not_on_lease(record: &AccountRecord, needed: Money) -> Result<(), Error> {
    let left = record.account.balance.saturating_sub(record.leased);
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

/// Books what calls cost more or less than they were charged. A refund pays debt, then goes to the cards it came from;
/// the rest becomes a card of its own. The second entry is as that of [`charge`].
pub(super) fn correct(
    record: &mut AccountRecord,
    difference: Cost,
    reference: String,
    now: Millis,
) -> Result<[LedgerEntry; 2], Error> {
    let Cost { counted, worth } = difference;
    record.account.credit_used = record.account.credit_used.saturating_add(counted);
    let (book, difference) = match record.account.parent {
        None => (Book::Mint, Cost::even(counted)),
        Some(_) => (Book::Account(record.account.id), difference),
    };
    if book != Book::Mint {
        let uncovered = with_purse(record, now, |wallet| wallet.spend(worth, now));
        record.debt = record.debt.saturating_add(uncovered);
        let back = worth.negated().max(Money::ZERO);
        let paid = back.min(record.debt);
        record.debt = record.debt.saturating_sub(paid);
        let back = back.saturating_sub(paid);
        let left = with_purse(record, now, |wallet| wallet.restore(back, now));
        if left > Money::ZERO {
            let card = Card::new(left, CORRECTION_REFERENCE, now, credit::REFUND_LIFE_MS);
            with_purse(record, now, |wallet| wallet.add(card, now)).ok_or_else(out_of_range)?;
        }
        record.refresh_balance(now);
    }
    let change = units(record, difference, &reference)?;
    let postings = [(book, counted.negated()), (Book::Spent, counted)];
    Ok([entry("correction", reference, postings)?, change])
}

fn pay_debt(record: &mut AccountRecord, now: Millis) {
    let debt = record.debt;
    record.debt = with_purse(record, now, |wallet| wallet.spend(debt, now));
    record.refresh_balance(now);
}

fn with_purse<T>(
    record: &mut AccountRecord,
    now: Millis,
    change: impl FnOnce(&mut Wallet) -> T,
) -> T {
    let mut wallet = Wallet::new(mem::take(&mut record.account.cards));
    let result = change(&mut wallet);
    put_back(record, wallet, now);
    result
}

fn wallet(record: &AccountRecord) -> Wallet {
    Wallet::new(record.account.cards.clone())
}

/// The wallet of the operator that pays; root has none.
fn payer(operator: &AccountRecord) -> Option<Wallet> {
    operator.account.parent.map(|_| wallet(operator))
}

fn put_back(record: &mut AccountRecord, wallet: Wallet, now: Millis) {
    record.account.cards = wallet.into_cards();
    record.refresh_balance(now);
}

fn exchange(operator: &AccountRecord, child: &AccountRecord) -> RateExchange {
    RateExchange {
        child: child.account.rates,
        operator: operator.account.rates,
    }
}

fn entry(
    reason: &'static str,
    reference: String,
    postings: impl IntoIterator<Item = (Book, Money)>,
) -> Result<LedgerEntry, Error> {
    LedgerEntry::new(reason, reference, postings)
        .ok_or_else(|| Error::internal(format!("a {reason} entry is not even")))
}

fn refused(refused: TransferRefusal) -> Error {
    match refused {
        TransferRefusal::Short { balance, needed } => Error::InsufficientBalance {
            balance,
            needed,
            in_use: Money::ZERO,
        },
        TransferRefusal::OutOfRange => out_of_range(),
    }
}

fn out_of_range() -> Error {
    Invalid::new("CreditGranted", "is out of range").into()
}
