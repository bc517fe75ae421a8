//! What was used and what it cost, and whether the books balance.

use std::collections::BTreeSet;

use jiff::civil::Date;
use proxyxai_contract::{
    id::AccountId,
    money::{Money, sum},
};

use crate::{
    Control, Error, ops,
    store::{self, bills::Whose, ledger::Sums},
    view::{
        Bill, BillOf, Books, Caller, DayTotals, Days, Listing, ModelTotals, Page, PostedUsage,
        Totals,
    },
};

/// Totals by model of the caller or a descendant, dearest first.
pub(crate) async fn totals(
    control: &Control,
    caller: &Caller,
    account: Option<&str>,
    days: Days,
) -> Result<Vec<ModelTotals>, Error> {
    let account = subject(control, caller, account).await?;
    store::usage::by_model(control.store(), account, days).await
}

/// Totals by day and model of the caller or a descendant.
pub(crate) async fn by_day(
    control: &Control,
    caller: &Caller,
    account: Option<&str>,
    days: Days,
) -> Result<Vec<DayTotals>, Error> {
    let account = subject(control, caller, account).await?;
    store::bills::by_day(control.store(), &Whose::Account(account), days).await
}

/// What the accounts below the caller used, or one of them, or those with these labels.
pub(crate) async fn bill(
    control: &Control,
    caller: &Caller,
    of: BillOf,
    days: Days,
    page: Page,
) -> Result<Bill, Error> {
    let BillOf { account, labels } = of;
    // One unchanging state, so that the parts add up.
    let tx = control.store().begin_reading().await?;
    let own = ops::caller_account(control, &tx, caller).await?;
    let whose = match account {
        Some(identifier) => {
            let record = ops::visible(control, &tx, &own, &identifier).await?;
            Whose::Account(record.view.id)
        }
        None if caller.is_root() && labels.is_empty() => Whose::AllBut(caller.account),
        None => Whose::Below {
            dna: own.view.dna,
            labels,
        },
    };
    let by_day = store::bills::by_day(&tx, &whose, days).await?;
    let total = by_day
        .iter()
        .fold(Totals::default(), |total, day| total.and(day.totals));
    Ok(Bill {
        days: by_day,
        total,
        accounts: store::bills::by_account(&tx, &whose, days, page.bounded()).await?,
    })
}

/// Totals of today and of this month, of the caller or a descendant.
pub(crate) async fn today_and_month(
    control: &Control,
    caller: &Caller,
    account: Option<&str>,
) -> Result<(Totals, Totals), Error> {
    let account = subject(control, caller, account).await?;
    let today = today(control);
    let days = [
        Days {
            start: today,
            end: today,
        },
        control.publisher().month(control.now()),
    ];
    let mut both = [Totals::default(); 2];
    for (total, days) in both.iter_mut().zip(days) {
        for model in store::usage::by_model(control.store(), account, days).await? {
            *total = total.and(model.totals);
        }
    }
    Ok(both.into())
}

/// The day it is where the gateway counts days.
pub(crate) fn today(control: &Control) -> Date {
    control.config().zone.day(control.now())
}

/// Single calls of the caller or a descendant, newest first.
pub(crate) async fn usage(
    control: &Control,
    caller: &Caller,
    account: Option<&str>,
    page: Page,
) -> Result<Listing<PostedUsage>, Error> {
    let account = subject(control, caller, account).await?;
    // One unchanging state, so that the total fits the rows.
    let tx = control.store().begin_reading().await?;
    store::usage::list(&tx, account, page.bounded()).await
}

/// Recomputes all balances from the ledger.
pub(crate) async fn verify(control: &Control, caller: &Caller) -> Result<Books, Error> {
    ops::root_only(caller, "only root may verify the books")?;
    let tx = control.store().begin_reading().await?;
    let sums = store::ledger::sums(&tx).await?;
    let cards = store::cards::all(&tx).await?;
    let held = |account: &AccountId| -> Option<Money> {
        let cards = sum(cards
            .get(account)
            .into_iter()
            .flatten()
            .map(|card| card.balance))?;
        cards.checked_sub(sums.debts.get(account).copied().unwrap_or_default())
    };
    Ok(Books {
        postings: sums.postings,
        difference: difference(&sums, held),
    })
}

fn difference(sums: &Sums, held: impl Fn(&AccountId) -> Option<Money>) -> Option<String> {
    if let Some(entry) = sums.uneven {
        return Some(format!("entry {entry} does not add up to zero"));
    }
    if sums.total != Money::ZERO {
        return Some(format!("all postings together are {}", sums.total));
    }
    let accounts: BTreeSet<_> = sums.accounts.keys().chain(sums.debts.keys()).collect();
    accounts.into_iter().find_map(|account| {
        let posted = sums.accounts.get(account).copied().unwrap_or_default();
        match held(account) {
            Some(held) if held == posted => None,
            Some(held) => Some(format!(
                "account {account} has {held}, its postings say {posted}"
            )),
            None => Some(format!("the cards of account {account} are out of range")),
        }
    })
}

async fn subject(
    control: &Control,
    caller: &Caller,
    account: Option<&str>,
) -> Result<AccountId, Error> {
    let Some(identifier) = account.map(str::trim).filter(|text| !text.is_empty()) else {
        return Ok(caller.account);
    };
    let own = ops::caller_account(control, control.store(), caller).await?;
    ops::visible(control, control.store(), &own, identifier)
        .await
        .map(|record| record.view.id)
}
