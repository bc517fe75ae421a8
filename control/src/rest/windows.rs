//! `/x-windows`: what the caller and all accounts below it have used of their windows by now.

use axum::extract::State;
use proxyxai_contract::clock::Zone;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    answer::{Paged, paged},
    failure::Failure,
    query::{PAGE, Query, USER, size},
    request::{Asker, Params},
};
use crate::{Control, ops, view::WindowUse};

/// Rows of a page when it is not said, and at most.
const ROWS: u64 = 50;
const ROWS_MAX: u64 = 1000;

pub(super) const QUERY: [Query; 3] = [USER, PAGE, size(ROWS_MAX)];

pub(super) async fn list(
    State(control): State<Control>,
    Asker(caller): Asker,
    params: Params,
) -> Result<Paged<Row>, Failure> {
    params.only(&QUERY)?;
    let page = params.page_of(ROWS, ROWS_MAX)?;
    let listing = ops::windows::nearest(&control, &caller, params.text("user"), page).await?;
    let zone = control.zone();
    Ok(paged(listing, page, |used| row(used, &zone)))
}

/// What is taken of a window.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WindowUse)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Row {
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

fn row(used: WindowUse, zone: &Zone) -> Row {
    let WindowUse {
        key,
        name,
        client_key,
        limit,
        taken,
        resets,
    } = used;
    Row {
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
