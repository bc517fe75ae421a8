//! Converts the ledger from and to wire messages.

use jiff::civil::Date;
use proxyxai_contract::{convert::millis_to_wire, wire};

use super::{count, days_from_wire, named, page_from_wire};
use crate::{
    Error,
    model::{
        LedgerDifference, LedgerFilter, LedgerLine, LedgerVerification, Page, QuarantinedRecord,
    },
};

pub(super) fn filter_from_wire(
    request: wire::ListLedgerRequest,
    today: Date,
) -> Result<(LedgerFilter, Page), Error> {
    let wire::ListLedgerRequest {
        account,
        page,
        reason,
        start_date,
        end_date,
    } = request;
    let always = start_date.is_empty() && end_date.is_empty();
    let days = (!always).then(|| days_from_wire(&start_date, &end_date, today));
    let filter = LedgerFilter {
        account: named(&account).map(ToOwned::to_owned),
        reason: named(&reason).map(ToOwned::to_owned),
        days: days.transpose()?,
    };
    Ok((filter, page_from_wire(page)?))
}

pub(super) fn line_to_wire(line: LedgerLine) -> wire::LedgerLine {
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
    wire::LedgerLine {
        posting_id: posting,
        entry_id: entry,
        time: Some(millis_to_wire(at)),
        reason,
        reference,
        book,
        account_id: account.unwrap_or_default(),
        account_name: name,
        amount_nanos: amount.nanos(),
    }
}

fn quarantined_to_wire(record: QuarantinedRecord) -> wire::QuarantinedUsage {
    let QuarantinedRecord {
        node,
        epoch,
        sequence,
        account,
        request_id,
        reason,
        at,
    } = record;
    wire::QuarantinedUsage {
        node,
        epoch,
        sequence,
        account_id: account.unwrap_or_default(),
        request_id,
        reason,
        time: Some(millis_to_wire(at)),
    }
}

pub(super) fn to_wire(books: LedgerVerification) -> wire::VerifyBooksResponse {
    let postings = books.postings();
    let LedgerVerification {
        accounts,
        entries,
        records,
        totals: _,
        difference,
        quarantined,
        latest_quarantined,
        pending,
    } = books;
    let text = difference.as_ref().map(ToString::to_string);
    let mut answer = wire::VerifyBooksResponse {
        balanced: difference.is_none(),
        postings: count(postings),
        difference: text.unwrap_or_default(),
        accounts: count(accounts),
        entries: count(entries),
        records: count(records),
        quarantined: count(quarantined),
        pending_works: count(pending.0),
        pending_held_nanos: pending.1.nanos(),
        latest_quarantined: latest_quarantined
            .into_iter()
            .map(quarantined_to_wire)
            .collect(),
        ..wire::VerifyBooksResponse::default()
    };
    if let Some(difference) = difference {
        let LedgerDifference {
            entry,
            account,
            book,
            what,
            found,
            against: _,
            expected,
        } = difference;
        answer.entry_id = entry.unwrap_or_default();
        answer.account_id = account.unwrap_or_default();
        answer.book = book;
        answer.subject = what;
        answer.found = found;
        answer.expected = expected;
    }
    answer
}
