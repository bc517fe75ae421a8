//! `/x-bill.csv`, `/x-ledger.csv`, `/x-earnings.csv` and `/x-tags.csv`: usage, ledger and totals as CSV files for
//! spreadsheets.

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use futures_util::Stream;
use http::header;
use proxyxai_contract::Invalid;
use utoipa::openapi::{Object, RefOr, Schema, Type};

use super::{
    error::RestError,
    handler_spec::ResponseSpec,
    openapi::ApiOperation,
    request::{AccountCaller, QueryParams},
};
use crate::{Control, Error, model::DateRange, ops};

/// The single calls of the caller and all accounts below it.
pub(super) async fn usage(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    params: QueryParams,
) -> Result<CsvResponse, RestError> {
    let days = days(&control, &params)?;
    let pieces = ops::export::usage(&control, &caller, days).await?;
    Ok(csv(pieces, "usage", days))
}

/// All movements of money.
pub(super) async fn ledger(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    params: QueryParams,
) -> Result<CsvResponse, RestError> {
    let days = days(&control, &params)?;
    let pieces = ops::export::ledger(&control, &caller, days).await?;
    Ok(csv(pieces, "ledger", days))
}

/// Earnings of calls, by every dimension they are stored by.
pub(super) async fn earnings(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    params: QueryParams,
) -> Result<CsvResponse, RestError> {
    let days = days(&control, &params)?;
    let pieces = ops::export::earnings(&control, &caller, days).await?;
    Ok(csv(pieces, "earnings", days))
}

/// Use of the caller or a descendant by tag.
pub(super) async fn tags(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    params: QueryParams,
) -> Result<CsvResponse, RestError> {
    let days = days(&control, &params)?;
    let user = params.text("user").or_else(|| params.text("u"));
    let pieces = ops::export::tags(&control, &caller, user, days).await?;
    Ok(csv(pieces, "tags", days))
}

/// `start` and `end`, both included. The default is this month up to today.
fn days(control: &Control, params: &QueryParams) -> Result<DateRange, Invalid> {
    let today = ops::reports::today(control);
    let day = |name: &str| {
        let bad = |_| Invalid::new(name, "must be a day, YYYY-MM-DD");
        params.text(name).map(str::parse).transpose().map_err(bad)
    };
    let end = day("end")?.unwrap_or(today);
    let start = day("start")?.unwrap_or_else(|| end.first_of_month());
    if start > end {
        return Err(Invalid::new("start", "must not be after end"));
    }
    Ok(DateRange { start, end })
}

/// Streams the rows after the status. If a later row cannot be read, the response ends without the last chunk, so the
/// client notices.
fn csv(
    pieces: impl Stream<Item = Result<String, Error>> + Send + 'static,
    name: &str,
    days: DateRange,
) -> CsvResponse {
    let file = format!(
        "attachment; filename=\"{name}-{}-{}.csv\"",
        days.start, days.end
    );
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, file),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    CsvResponse((headers, Body::from_stream(pieces)).into_response())
}

/// A CSV file as a response.
#[derive(Debug)]
pub(super) struct CsvResponse(Response);

impl IntoResponse for CsvResponse {
    fn into_response(self) -> Response {
        self.0
    }
}

impl ResponseSpec for CsvResponse {
    fn show(op: &mut ApiOperation) {
        let text = RefOr::T(Schema::Object(Object::with_type(Type::String)));
        op.answers(200, "Rows, with a line of names first.", ("text/csv", text));
    }
}
