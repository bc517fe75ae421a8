//! Reports of usage and cost, and the verification of the books.

use jiff::civil::Date;
use proxyxai_contract::{Invalid, id::AccountId};

use crate::{
    Control, Error,
    domain::ledger::REASONS,
    model::{
        Bill, BillFilter, Caller, DateRange, DayTotals, LedgerFilter, LedgerLine,
        LedgerVerification, Listing, ModelTotals, Page, PostedUsage, UsageTotals,
    },
    ops,
    store::{self, bills::BillScope, exports::PostingFilter},
};

/// Totals by model of the caller or a descendant, most expensive first.
pub(crate) async fn totals(
    control: &Control,
    caller: &Caller,
    account: Option<&str>,
    days: DateRange,
) -> Result<Vec<ModelTotals>, Error> {
    let account = subject(control, caller, account).await?;
    store::usage::by_model(control.store(), account, days).await
}

/// Totals by day and model of the caller or a descendant.
pub(crate) async fn by_day(
    control: &Control,
    caller: &Caller,
    account: Option<&str>,
    days: DateRange,
) -> Result<Vec<DayTotals>, Error> {
    let account = subject(control, caller, account).await?;
    store::bills::by_day(control.store(), &BillScope::Account(account), days).await
}

/// Usage of the accounts below the caller, of one of them, or of those with these labels.
pub(crate) async fn bill(
    control: &Control,
    caller: &Caller,
    of: BillFilter,
    days: DateRange,
    page: Page,
) -> Result<Bill, Error> {
    let BillFilter { account, labels } = of;
    // One consistent snapshot, so that the parts add up.
    let tx = control.store().begin_reading().await?;
    let own = ops::caller_account(control, &tx, caller).await?;
    let whose = match account {
        Some(identifier) => {
            let record = ops::visible(control, &tx, &own, &identifier).await?;
            BillScope::Account(record.account.id)
        }
        None => BillScope::Below {
            account: caller.account,
            dna: own.account.dna,
            labels,
        },
    };
    store::bills::prepare(&tx).await?;
    let by_day = store::bills::by_day(&tx, &whose, days).await?;
    let total = by_day
        .iter()
        .fold(UsageTotals::default(), |total, day| total.and(day.totals));
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
) -> Result<(UsageTotals, UsageTotals), Error> {
    let account = subject(control, caller, account).await?;
    let today = today(control);
    let days = [
        DateRange {
            start: today,
            end: today,
        },
        control.publisher().month(control.now()),
    ];
    let mut both = [UsageTotals::default(); 2];
    for (total, days) in both.iter_mut().zip(days) {
        for model in store::usage::by_model(control.store(), account, days).await? {
            *total = total.and(model.totals);
        }
    }
    Ok(both.into())
}

/// The current day in the gateway's time zone.
pub(crate) fn today(control: &Control) -> Date {
    control.config().zone.day(control.now())
}

/// Which calls of which account.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CallsOf<'a> {
    /// `None` means the caller.
    pub(crate) account: Option<&'a str>,
    /// Only calls with this id.
    pub(crate) request_id: Option<&'a str>,
}

/// Single calls of the caller or a descendant, newest first.
pub(crate) async fn usage(
    control: &Control,
    caller: &Caller,
    calls: CallsOf<'_>,
    page: Page,
) -> Result<Listing<PostedUsage>, Error> {
    let account = subject(control, caller, calls.account).await?;
    // One consistent snapshot, so that the total matches the rows.
    let tx = control.store().begin_reading().await?;
    let mut listing = store::usage::list(&tx, account, calls.request_id, page.bounded()).await?;
    for usage in &mut listing.rows {
        hide_from(caller, usage);
    }
    Ok(listing)
}

/// Removes from a record what the caller may not see: what it cost the operator, and failed attempts.
pub(super) fn hide_from(caller: &Caller, usage: &mut PostedUsage) {
    if !caller.is_root() {
        usage.record.expense = None;
        usage.record.attempts.clear();
    }
}

/// Recomputes the books from the postings and the records. Only one run at a time.
pub(crate) async fn verify(
    control: &Control,
    caller: &Caller,
) -> Result<LedgerVerification, Error> {
    ops::root_only(caller, "only root may verify the books")?;
    let verifying = control.verifying();
    // It reads everything, so two at a time would only slow each other down.
    let _one = verifying
        .try_lock()
        .map_err(|_| Error::Busy("a verification of the books"))?;
    let tx = control.store().begin_reading().await?;
    store::books::verify(&tx).await
}

/// Postings, newest first. Root sees all books, or an account's; others see their own, or those of an account below
/// them. All other books are the operator's.
pub(crate) async fn ledger(
    control: &Control,
    caller: &Caller,
    filter: LedgerFilter,
    page: Page,
) -> Result<Listing<LedgerLine>, Error> {
    let LedgerFilter {
        account,
        reason,
        days,
    } = filter;
    if reason.as_ref().is_some_and(|it| !REASONS.contains(&&**it)) {
        let problem = format!("must be one of {}", REASONS.join(", "));
        return Err(Invalid::new("reason", problem).into());
    }
    let account = account.as_deref();
    let account = match account {
        None if caller.is_root() => None,
        _ => Some(subject(control, caller, account).await?),
    };
    let which = PostingFilter {
        account,
        reason,
        between: days.map(|days| ops::export::between(days, &control.zone())),
    };
    let tx = control.store().begin_reading().await?;
    store::exports::latest(&tx, which, page.bounded()).await
}

/// The account of a report: the caller unless a descendant is named.
pub(super) async fn subject(
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
        .map(|record| record.account.id)
}
