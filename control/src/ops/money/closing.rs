//! Settles the money of a deleted account.

use std::mem;

use proxyxai_contract::{clock::Millis, money::Money};

use super::{
    entry, exchange, out_of_range, pay_debt, payer, put_back, refused, wallet, with_purse,
};
use crate::{
    Error,
    domain::{
        credit,
        ledger::{Book, LedgerEntry},
    },
    store::AccountRecord,
};

/// Settles a deleted account as far as possible by now. The account that paid for its credit takes its debt, unless
/// that is the heir; the heir gets what in-flight calls can no longer cost. Returns that, in the heir's units.
pub(in crate::ops) fn settle_closed(
    heir: &mut AccountRecord,
    payer: Option<&mut AccountRecord>,
    child: &mut AccountRecord,
    now: Millis,
) -> Result<(Money, Vec<LedgerEntry>), Error> {
    let mut entries = Vec::new();
    let mut refund = Money::ZERO;
    if child.debt > Money::ZERO {
        let payer = payer.unwrap_or(&mut *heir);
        entries.push(inherit_debt(payer, child, now)?);
    }
    if child.account.balance > child.leased {
        let (returned, entry) = close(heir, child, now)?;
        refund = returned;
        entries.push(entry);
    }
    child.closing = child.leased > Money::ZERO;
    Ok((refund, entries))
}

/// Takes out of a deleted account's wallet what its in-flight calls can no longer cost. Returns what the heir got, in
/// its units.
fn close(
    heir: &mut AccountRecord,
    child: &mut AccountRecord,
    now: Millis,
) -> Result<(Money, LedgerEntry), Error> {
    let exchange = exchange(heir, child);
    let mut theirs = wallet(child);
    let mut own = payer(heir);
    let free = child.account.balance.saturating_sub(child.leased);
    let wanted = (free, child.fee_due);
    let moved = credit::close(own.as_mut(), &mut theirs, exchange, wanted, now).map_err(refused)?;
    put_back(child, theirs, now);
    child.fee_due = child.fee_due.saturating_sub(moved.fee);
    let reference = format!("delete:{}>{}", child.account.id, heir.account.id);
    let mut postings = vec![(Book::Account(child.account.id), moved.returned.negated())];
    match own {
        Some(own) => {
            put_back(heir, own, now);
            pay_debt(heir, now);
            let gross = moved.refund.saturating_add(moved.fee);
            postings.push((Book::Account(heir.account.id), moved.refund));
            postings.push((Book::Fees, moved.fee));
            postings.push((Book::Mint, moved.returned.saturating_sub(gross)));
        }
        None => postings.push((Book::Mint, moved.returned)),
    }
    entry("delete", reference, postings).map(|entry| (moved.refund, entry))
}

/// Charges a deleted account's debt to the account that paid for its credit. What the cards do not cover becomes that
/// account's debt; root's loss is minted.
fn inherit_debt(
    payer: &mut AccountRecord,
    child: &mut AccountRecord,
    now: Millis,
) -> Result<LedgerEntry, Error> {
    pay_debt(child, now);
    let exchange = exchange(payer, child);
    let debt = mem::take(&mut child.debt);
    child.refresh_balance(now);
    let reference = format!("debt:{}>{}", child.account.id, payer.account.id);
    let mut postings = vec![(Book::Account(child.account.id), debt)];
    if payer.account.parent.is_none() {
        postings.push((Book::Mint, debt.negated()));
    } else {
        let price = credit::price_of_grant(debt, exchange.child, exchange.operator)
            .ok_or_else(out_of_range)?;
        let uncovered = with_purse(payer, now, |wallet| wallet.spend(price, now));
        payer.debt = payer.debt.saturating_add(uncovered);
        payer.refresh_balance(now);
        postings.push((Book::Account(payer.account.id), price.negated()));
        postings.push((Book::Mint, price.saturating_sub(debt)));
    }
    entry("debt", reference, postings)
}
