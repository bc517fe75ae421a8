//! Calls that were refused before any attempt.

use std::collections::BTreeSet;

use proxyxai_contract::{Invalid, id::AccountId, refused_call::RefusedCall};

use crate::{
    Control, Error,
    domain::{account::check_text, setting},
    model::{Caller, RefusalCursor, RefusalFilter, RefusalPage},
    ops,
    store::{self, refusals::RefusalScope},
};

/// Default and greatest number of rows in a page.
pub(crate) const SIZE: u64 = 50;
pub(crate) const SIZE_MAX: u64 = 500;
const TEXT_BYTES_MAX: usize = 512;

/// Stores what a data plane reports, unless retention is 0.
pub(crate) async fn report(control: &Control, calls: &[RefusedCall]) -> Result<(), Error> {
    if days(control).await? == 0 || calls.is_empty() {
        return Ok(());
    }
    let tx = control.store().begin().await?;
    store::refusals::insert(&tx, calls).await?;
    tx.commit().await
}

/// How many days refused calls are kept; 0 stores none.
pub(crate) async fn days(control: &Control) -> Result<i64, Error> {
    ops::settings::value(control, control.store(), &setting::REFUSAL_RETENTION_DAYS).await
}

/// Refused calls of the caller or a descendant and of those below it, newest first.
pub(crate) async fn list(
    control: &Control,
    caller: &Caller,
    filter: &RefusalFilter,
    (before, size): (Option<RefusalCursor>, u64),
) -> Result<RefusalPage, Error> {
    if !(1..=SIZE_MAX).contains(&size) {
        return Err(Invalid::new("size", format!("must be from 1 to {SIZE_MAX}")).into());
    }
    for (name, text) in [("model", &filter.model), ("request_id", &filter.request_id)] {
        check_text(name, text.as_deref().unwrap_or_default(), TEXT_BYTES_MAX)?;
    }
    if let (Some(start), Some(end)) = (filter.start, filter.end)
        && start > end
    {
        return Err(Invalid::new("start", "must not be after end").into());
    }
    let tx = control.store().begin_reading().await?;
    let own = ops::caller_account(control, &tx, caller).await?;
    let account = filter.account.as_deref().map(str::trim);
    let record = match account.filter(|text| !text.is_empty()) {
        Some(identifier) => ops::visible(control, &tx, &own, identifier).await?,
        None => own,
    };
    let whose = match (filter.alone, record.account.id) {
        (true, id) => RefusalScope::One(id),
        (false, AccountId::ROOT) => RefusalScope::Everybody,
        (false, _) => RefusalScope::Below(record.account.dna),
    };
    // One row more shows whether there is a next page.
    let asked = (before, size.saturating_add(1));
    let mut calls = store::refusals::list(&tx, &whose, filter, asked).await?;
    let size = usize::try_from(size).map_err(Error::internal)?;
    let more = calls.len() > size;
    calls.truncate(size);
    let next = calls.last().filter(|_| more).map(|call| RefusalCursor {
        at: call.at,
        id: call.id,
    });
    let ids: BTreeSet<i64> = calls
        .iter()
        .filter_map(|call| call.account)
        .map(AccountId::get)
        .collect();
    let names = store::calls::account_names(&tx, ids.into_iter().collect()).await?;
    Ok(RefusalPage { calls, names, next })
}
