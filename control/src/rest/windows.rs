//! `/x-windows`: what the caller and all accounts below it have used of their windows so far.

use axum::extract::State;
use proxyxai_contract::clock::Zone;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    error::RestError,
    query::{PAGE, QueryParam, USER, size},
    request::{AccountCaller, QueryParams},
    response::{PagedResponse, paged},
};
use crate::{Control, model::WindowUsage, ops};

/// The default and largest page size.
const ROWS: u64 = 50;
const ROWS_MAX: u64 = 1000;

pub(super) const QUERY: [QueryParam; 3] = [USER, PAGE, size(ROWS_MAX)];

pub(super) async fn list(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    params: QueryParams,
) -> Result<PagedResponse<WindowRow>, RestError> {
    params.reject_unknown(&QUERY)?;
    let page = params.page_of(ROWS, ROWS_MAX)?;
    let listing = ops::windows::nearest(&control, &caller, params.text("user"), page).await?;
    let zone = control.zone();
    Ok(paged(listing, page, |used| row(used, &zone)))
}

/// What is taken of a window.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WindowUse)]
#[serde(rename_all = "PascalCase")]
pub(super) struct WindowRow {
    #[serde(rename = "UserID")]
    account: i64,
    name: String,
    /// Name of the client key that it is of; empty for the account's own window.
    client_key: String,
    window: &'static str,
    model: String,
    limit: u64,
    taken: u64,
    #[schema(format = DateTime)]
    resets_at: String,
}

fn row(used: WindowUsage, zone: &Zone) -> WindowRow {
    let WindowUsage {
        key,
        name,
        client_key,
        limit,
        taken,
        resets,
    } = used;
    WindowRow {
        account: key.account.get(),
        name,
        client_key,
        window: key.window.name(),
        model: key.model,
        limit,
        taken,
        resets_at: zone.rfc3339(resets),
    }
}
