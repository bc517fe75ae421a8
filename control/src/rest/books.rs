//! `/x-books`: whether the books balance.

use axum::{Json, extract::State};
use proxyxai_contract::clock::Zone;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    error::RestError,
    request::{AccountCaller, QueryParams},
    response::Dollars,
};
use crate::{
    Control,
    model::{LedgerDifference, LedgerVerification, QuarantinedRecord},
    ops,
};

pub(super) async fn verify(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    params: QueryParams,
) -> Result<Json<BooksResponse>, RestError> {
    params.reject_unknown(&[])?;
    let books = ops::reports::verify(&control, &caller).await?;
    Ok(Json(answer(books, &control.zone())))
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = Books)]
pub(super) struct BooksResponse {
    balanced: bool,
    accounts: u64,
    entries: u64,
    postings: u64,
    records: u64,
    books: Vec<BookTotalRow>,
    /// The first one; none where all is well.
    #[schema(required = true)]
    difference: Option<DifferenceRow>,
    pending: u64,
    pending_held: Dollars,
    quarantined: u64,
    latest_quarantined: Vec<QuarantinedRow>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = BookTotal)]
struct BookTotalRow {
    book: String,
    postings: u64,
    amount: Dollars,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = BooksDifference)]
struct DifferenceRow {
    message: String,
    #[serde(rename = "EntryID")]
    #[schema(required = true)]
    entry: Option<i64>,
    #[serde(rename = "UserID")]
    #[schema(required = true)]
    account: Option<i64>,
    book: String,
    subject: String,
    found: String,
    expected: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = QuarantinedRecord)]
struct QuarantinedRow {
    node: String,
    epoch: u64,
    sequence: u64,
    #[serde(rename = "UserID")]
    #[schema(required = true)]
    account: Option<i64>,
    #[serde(rename = "RequestID")]
    request_id: String,
    reason: String,
    #[schema(format = DateTime)]
    time: String,
}

fn answer(books: LedgerVerification, zone: &Zone) -> BooksResponse {
    let postings = books.postings();
    let LedgerVerification {
        accounts,
        entries,
        records,
        totals,
        difference,
        quarantined,
        latest_quarantined,
        pending: (pending, held),
    } = books;
    let aside = latest_quarantined.into_iter();
    BooksResponse {
        balanced: difference.is_none(),
        accounts,
        entries,
        postings,
        records,
        books: totals
            .into_iter()
            .map(|total| BookTotalRow {
                book: total.book,
                postings: total.postings,
                amount: Dollars(total.amount),
            })
            .collect(),
        difference: difference.map(difference_row),
        pending,
        pending_held: Dollars(held),
        quarantined,
        latest_quarantined: aside.map(|record| quarantined_row(record, zone)).collect(),
    }
}

fn difference_row(difference: LedgerDifference) -> DifferenceRow {
    let message = difference.to_string();
    let LedgerDifference {
        entry,
        account,
        book,
        what,
        found,
        against: _,
        expected,
    } = difference;
    DifferenceRow {
        message,
        entry,
        account,
        book,
        subject: what,
        found,
        expected,
    }
}

fn quarantined_row(record: QuarantinedRecord, zone: &Zone) -> QuarantinedRow {
    let QuarantinedRecord {
        node,
        epoch,
        sequence,
        account,
        request_id,
        reason,
        at,
    } = record;
    QuarantinedRow {
        node,
        epoch,
        sequence,
        account,
        request_id,
        reason,
        time: zone.rfc3339(at),
    }
}
