//! `/x-ledger`: postings of the books, newest first.

use axum::extract::State;
use proxyxai_contract::clock::Zone;
use serde::Serialize;
use utoipa::{ToSchema, openapi::Schema};

use super::{
    days::span,
    error::RestError,
    query::{END, PAGE, ParamType, QueryParam, START, U, USER, query, size},
    request::{AccountCaller, QueryParams},
    response::{Dollars, PagedResponse, paged, words},
};
use crate::{
    Control,
    domain::ledger::REASONS,
    model::{LedgerFilter, LedgerLine},
    ops,
};

const PAGE_ROWS: u64 = 100;
const PAGE_ROWS_MAX: u64 = 1_000;

pub(super) const QUERY: [QueryParam; 7] = [
    USER,
    U,
    query("reason", ParamType::Words(&REASONS), "Why something moved"),
    START,
    END,
    PAGE,
    size(PAGE_ROWS_MAX),
];

pub(super) async fn list(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    params: QueryParams,
) -> Result<PagedResponse<LedgerRow>, RestError> {
    params.reject_unknown(&QUERY)?;
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

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = LedgerLine)]
pub(super) struct LedgerRow {
    #[serde(rename = "ID")]
    posting: i64,
    #[serde(rename = "EntryID")]
    entry: i64,
    #[schema(format = DateTime)]
    time: String,
    #[schema(schema_with = reasons)]
    reason: String,
    reference: String,
    book: String,
    /// None for books that belong to no account.
    #[serde(rename = "UserID")]
    #[schema(required = true)]
    account: Option<i64>,
    name: String,
    amount: Dollars,
}

fn reasons() -> Schema {
    words(REASONS)
}

fn row(line: LedgerLine, zone: &Zone) -> LedgerRow {
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
    LedgerRow {
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
