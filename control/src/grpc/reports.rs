//! Service `Reports`.

mod bills;
mod books;
mod calls;
mod earnings;
mod refusals;
mod spend;
mod windows;

use std::pin::Pin;

use futures_util::{Stream, StreamExt as _};
use jiff::civil::Date;
use proxyxai_contract::{
    Invalid,
    convert::{millis_to_wire, record_to_wire},
    money::Money,
    wire::{self, reports_server::Reports},
};
use tonic::{Request, Response, Status};

use super::{auth, count, page_from_wire};
use crate::{
    Control, Error,
    model::{AuditFilter, AuditRecord, DateRange, PostedUsage},
    ops,
    ops::reports::CallsOf,
};

#[derive(Debug)]
pub(super) struct ReportsService(pub(super) Control);

#[tonic::async_trait]
impl Reports for ReportsService {
    async fn get_bill(
        &self,
        request: Request<wire::GetBillRequest>,
    ) -> Result<Response<wire::GetBillResponse>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let wire::GetBillRequest {
            account,
            start_date,
            end_date,
        } = request.into_inner();
        let today = ops::reports::today(&self.0);
        let days = days_from_wire(&start_date, &end_date, today)?;
        let models = ops::reports::totals(&self.0, &caller, named(&account), days).await?;
        Ok(Response::new(bills::to_wire(models)))
    }

    async fn get_accounts_bill(
        &self,
        request: Request<wire::GetAccountsBillRequest>,
    ) -> Result<Response<wire::GetAccountsBillResponse>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let today = ops::reports::today(&self.0);
        let (of, days, page) = bills::accounts_from_wire(request.into_inner(), today)?;
        let bill = ops::reports::bill(&self.0, &caller, of, days, page).await?;
        Ok(Response::new(bills::accounts_to_wire(bill)))
    }

    async fn list_usage(
        &self,
        request: Request<wire::ListUsageRequest>,
    ) -> Result<Response<wire::ListUsageResponse>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let wire::ListUsageRequest {
            account,
            page,
            request_id,
        } = request.into_inner();
        let page = page_from_wire(page).map_err(Error::from)?;
        let calls = CallsOf {
            account: named(&account),
            request_id: named(&request_id),
        };
        let listing = ops::reports::usage(&self.0, &caller, calls, page).await?;
        Ok(Response::new(wire::ListUsageResponse {
            records: listing.rows.into_iter().map(posted_to_wire).collect(),
            total: count(listing.total),
        }))
    }

    async fn list_calls(
        &self,
        request: Request<wire::ListCallsRequest>,
    ) -> Result<Response<wire::ListCallsResponse>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let (filter, part) = calls::from_wire(request.into_inner())?;
        let listed = ops::calls::list(&self.0, &caller, filter, part).await?;
        Ok(Response::new(calls::to_wire(listed)))
    }

    async fn list_logs(
        &self,
        request: Request<wire::ListLogsRequest>,
    ) -> Result<Response<wire::ListLogsResponse>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let wire::ListLogsRequest {
            page,
            action,
            target_id,
            status,
        } = request.into_inner();
        let page = page_from_wire(page).map_err(Error::from)?;
        let text = |text: String| (!text.is_empty()).then_some(text);
        let filter = AuditFilter {
            action: text(action),
            target: target_id,
            status: text(status),
        };
        let listing = ops::audit::list(&self.0, &caller, filter, page).await?;
        Ok(Response::new(wire::ListLogsResponse {
            logs: listing.rows.into_iter().map(log_to_wire).collect(),
            total: count(listing.total),
        }))
    }

    async fn verify_books(
        &self,
        request: Request<wire::VerifyBooksRequest>,
    ) -> Result<Response<wire::VerifyBooksResponse>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let books = ops::reports::verify(&self.0, &caller).await?;
        Ok(Response::new(books::to_wire(books)))
    }

    async fn list_ledger(
        &self,
        request: Request<wire::ListLedgerRequest>,
    ) -> Result<Response<wire::ListLedgerResponse>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let today = ops::reports::today(&self.0);
        let (filter, page) = books::filter_from_wire(request.into_inner(), today)?;
        let listing = ops::reports::ledger(&self.0, &caller, filter, page).await?;
        Ok(Response::new(wire::ListLedgerResponse {
            lines: listing.rows.into_iter().map(books::line_to_wire).collect(),
            total: count(listing.total),
        }))
    }

    type ExportUsageStream = CsvStream;

    async fn export_usage(
        &self,
        request: Request<wire::ExportRequest>,
    ) -> Result<Response<CsvStream>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let days = export_days(request.into_inner(), ops::reports::today(&self.0))?;
        let pieces = ops::export::usage(&self.0, &caller, days).await?;
        Ok(Response::new(pieces_to_wire(pieces)))
    }

    async fn get_earnings(
        &self,
        request: Request<wire::GetEarningsRequest>,
    ) -> Result<Response<wire::GetEarningsResponse>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let today = ops::reports::today(&self.0);
        let (by, filter, days) = earnings::from_wire(request.into_inner(), today)?;
        let earnings = ops::earnings::by(&self.0, &caller, by, filter, days).await?;
        Ok(Response::new(earnings::to_wire(earnings)))
    }

    type ExportEarningsStream = CsvStream;

    async fn export_earnings(
        &self,
        request: Request<wire::ExportRequest>,
    ) -> Result<Response<CsvStream>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let days = export_days(request.into_inner(), ops::reports::today(&self.0))?;
        let pieces = ops::export::earnings(&self.0, &caller, days).await?;
        Ok(Response::new(pieces_to_wire(pieces)))
    }

    async fn list_tags(
        &self,
        request: Request<wire::ListTagsRequest>,
    ) -> Result<Response<wire::ListTagsResponse>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let wire::ListTagsRequest {
            account,
            start_date,
            end_date,
            page,
        } = request.into_inner();
        let days = days_from_wire(&start_date, &end_date, ops::reports::today(&self.0))?;
        let page = page_from_wire(page).map_err(Error::from)?;
        let listing = ops::earnings::tags(&self.0, &caller, named(&account), days, page).await?;
        Ok(Response::new(wire::ListTagsResponse {
            tags: listing
                .rows
                .into_iter()
                .map(earnings::tag_to_wire)
                .collect(),
            total: count(listing.total),
        }))
    }

    async fn get_spend(
        &self,
        request: Request<wire::GetSpendRequest>,
    ) -> Result<Response<wire::GetSpendResponse>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let today = ops::reports::today(&self.0);
        let (filter, days) = spend::from_wire(request.into_inner(), today)?;
        let spend = ops::spend::series(&self.0, &caller, filter, days).await?;
        Ok(Response::new(spend::to_wire(spend)))
    }

    async fn list_refusals(
        &self,
        request: Request<wire::ListRefusalsRequest>,
    ) -> Result<Response<wire::ListRefusalsResponse>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let (filter, part) = refusals::from_wire(request.into_inner())?;
        let listed = ops::refusals::list(&self.0, &caller, &filter, part).await?;
        Ok(Response::new(refusals::to_wire(listed)))
    }

    async fn list_windows(
        &self,
        request: Request<wire::ListWindowsRequest>,
    ) -> Result<Response<wire::ListWindowsResponse>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let wire::ListWindowsRequest { account, page } = request.into_inner();
        let page = page_from_wire(page).map_err(Error::from)?;
        let listing = ops::windows::nearest(&self.0, &caller, named(&account), page).await?;
        Ok(Response::new(wire::ListWindowsResponse {
            windows: listing.rows.into_iter().map(windows::to_wire).collect(),
            total: count(listing.total),
        }))
    }

    type ExportLedgerStream = CsvStream;

    async fn export_ledger(
        &self,
        request: Request<wire::ExportRequest>,
    ) -> Result<Response<CsvStream>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let days = export_days(request.into_inner(), ops::reports::today(&self.0))?;
        let pieces = ops::export::ledger(&self.0, &caller, days).await?;
        Ok(Response::new(pieces_to_wire(pieces)))
    }
}

type CsvStream = Pin<Box<dyn Stream<Item = Result<wire::CsvPiece, Status>> + Send>>;

fn export_days(request: wire::ExportRequest, today: Date) -> Result<DateRange, Error> {
    let wire::ExportRequest {
        start_date,
        end_date,
    } = request;
    days_from_wire(&start_date, &end_date, today)
}

fn pieces_to_wire(pieces: impl Stream<Item = Result<String, Error>> + Send + 'static) -> CsvStream {
    let piece = |piece: Result<String, Error>| Ok(wire::CsvPiece { text: piece? });
    Box::pin(pieces.map(piece))
}

/// The page size; 0 means the usual one.
fn rows(size: i32, usual: u64) -> u64 {
    match size {
        0 => usual,
        // The operation checks the bounds.
        size => u64::try_from(size).unwrap_or_default(),
    }
}

fn named(account: &str) -> Option<&str> {
    (!account.is_empty()).then_some(account)
}

pub(super) fn days_from_wire(start: &str, end: &str, today: Date) -> Result<DateRange, Error> {
    let day = |field: &str, text: &str| match text {
        "" => Ok(today),
        text => text
            .parse()
            .map_err(|_| Invalid::new(field, "must be a day, YYYY-MM-DD")),
    };
    let days = DateRange {
        start: day("start_date", start)?,
        end: day("end_date", end)?,
    };
    if days.start > days.end {
        return Err(Invalid::new("start_date", "must not be after end_date").into());
    }
    Ok(days)
}

fn log_to_wire(log: AuditRecord) -> wire::Log {
    let AuditRecord {
        id,
        action,
        operator,
        operator_name,
        address,
        kind,
        target,
        target_name,
        status,
        details,
        at,
    } = log;
    wire::Log {
        id,
        action,
        operator_id: operator,
        operator_name,
        address,
        target_type: kind,
        target_id: target,
        target_name,
        status,
        details,
        create_time: Some(millis_to_wire(at)),
    }
}

fn posted_to_wire(posted: PostedUsage) -> wire::PostedUsage {
    let PostedUsage {
        node,
        epoch,
        record,
        posted,
        corrected,
    } = posted;
    wire::PostedUsage {
        node,
        epoch,
        expense_nanos: record.expense.map(Money::nanos),
        record: Some(record_to_wire(&record)),
        post_time: Some(millis_to_wire(posted)),
        corrected_cost_nanos: corrected.map(Money::nanos),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    #[test]
    fn an_empty_day_means_today() {
        let today = day("2025-03-10");
        let days = days_from_wire("2025-03-01", "", today).unwrap();
        assert_eq!((days.start, days.end), (day("2025-03-01"), today));
        for (start, end) in [
            ("2025-03-11", ""),
            ("2025-02-30", ""),
            ("", "yesterday"),
            ("2025-03-10", "2025-03-09"),
        ] {
            assert!(days_from_wire(start, end, today).is_err(), "{start} {end}");
        }
    }
}
