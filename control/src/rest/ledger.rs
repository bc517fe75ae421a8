//! `/x-ledger`: postings of the books, newest first.

use axum::{extract::State, response::Response};
use proxyxai_contract::clock::Zone;
use serde::Serialize;

use super::{
    answer::{Dollars, paged},
    days::span,
    failure::Failure,
    request::{Asker, Params},
};
use crate::{
    Control, ops,
    view::{LedgerFilter, LedgerLine},
};

const PAGE_ROWS: u64 = 100;
const PAGE_ROWS_MAX: u64 = 1_000;

pub(super) async fn list(
    State(control): State<Control>,
    Asker(caller): Asker,
    params: Params,
) -> Result<Response, Failure> {
    params.only(&["user", "u", "reason", "start", "end", "page", "size"])?;
    let page = params.page_of(PAGE_ROWS, PAGE_ROWS_MAX)?;
    let user = params.text("user").or_else(|| params.text("u"));
    let filter = LedgerFilter {
        account: user.map(ToOwned::to_owned),
        reason: params.text("reason").map(ToOwned::to_owned),
        days: span(&params, ops::reports::today(&control))?,
    };
    let listing = ops::reports::ledger(&control, &caller, filter, page).await?;
    let zone = control.zone();
    Ok(paged(listing, page, |line| row(line, &zone)))
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    #[serde(rename = "ID")]
    posting: i64,
    #[serde(rename = "EntryID")]
    entry: i64,
    time: String,
    reason: String,
    reference: String,
    book: String,
    /// None for the books that are nobody's.
    #[serde(rename = "UserID")]
    account: Option<i64>,
    name: String,
    amount: Dollars,
}

fn row(line: LedgerLine, zone: &Zone) -> Row {
    let LedgerLine {
        posting,
        entry,
        at,
        reason,
        reference,
        book,
        account,
        name,
        amount,
    } = line;
    Row {
        posting,
        entry,
        time: zone.rfc3339(at),
        reason,
        reference,
        book,
        account,
        name,
        amount: Dollars(amount),
    }
}
