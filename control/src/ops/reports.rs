//! What was used and what it cost, and whether the books balance.

use jiff::civil::Date;
use proxyxai_contract::id::AccountId;

use crate::{
    Control, Error, ops, store,
    view::{Books, Caller, Days, LedgerLine, Listing, ModelTotals, Page, PostedUsage, Totals},
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

/// The caller's totals of today and of this month.
pub(crate) async fn today_and_month(
    control: &Control,
    caller: &Caller,
) -> Result<(Totals, Totals), Error> {
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
        for model in store::usage::by_model(control.store(), caller.account, days).await? {
            total.add(&model.totals);
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

/// Recomputes the books from the postings and the records.
pub(crate) async fn verify(control: &Control, caller: &Caller) -> Result<Books, Error> {
    ops::root_only(caller, "only root may verify the books")?;
    let tx = control.store().begin_reading().await?;
    store::books::verify(&tx).await
}

/// Postings of an account's books, or of all books, newest first.
pub(crate) async fn ledger(
    control: &Control,
    caller: &Caller,
    account: Option<&str>,
    page: Page,
) -> Result<Listing<LedgerLine>, Error> {
    ops::root_only(caller, "only root may read the ledger")?;
    let account = match account {
        Some(_) => Some(subject(control, caller, account).await?),
        None => None,
    };
    let tx = control.store().begin_reading().await?;
    store::exports::latest(&tx, account, page.bounded()).await
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
