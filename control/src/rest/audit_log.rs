//! `/dashboard/logs`: administrative changes that concern the caller or a descendant.

use axum::{Json, extract::State};
use proxyxai_contract::clock::Zone;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    error::RestError,
    query::{PAGE, ParamType, QueryParam, query, size},
    request::{AccountCaller, QueryParams},
};
use crate::{
    Control,
    model::{AuditFilter, AuditRecord},
    ops,
};

const PAGE_ROWS: u64 = 24;
const PAGE_ROWS_MAX: u64 = 100;

pub(super) const QUERY: [QueryParam; 5] = [
    query("action", ParamType::Text, "Changes of this kind"),
    query(
        "target_id",
        ParamType::Whole(i64::MIN, i64::MAX),
        "Changes of what has this ID",
    ),
    query("status", ParamType::Text, "Changes that ended like this"),
    PAGE,
    size(PAGE_ROWS_MAX),
];

pub(super) async fn list(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    params: QueryParams,
) -> Result<Json<AuditLogResponse>, RestError> {
    let page = params.page_of(PAGE_ROWS, PAGE_ROWS_MAX)?;
    let filter = AuditFilter {
        action: params.text("action").map(ToOwned::to_owned),
        target: params.int("target_id")?,
        status: params.text("status").map(ToOwned::to_owned),
    };
    let listing = ops::audit::list(&control, &caller, filter, page).await?;
    let zone = control.zone();
    Ok(Json(AuditLogResponse {
        logs: listing
            .rows
            .into_iter()
            .map(|log| row(log, &zone))
            .collect(),
        total: listing.total,
        page: page.page,
        size: page.size,
        has_more: page.page.saturating_mul(page.size) < listing.total,
    }))
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditLog)]
pub(super) struct AuditLogResponse {
    logs: Vec<AuditRecordRow>,
    total: u64,
    page: u64,
    size: u64,
    has_more: bool,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditRecord)]
struct AuditRecordRow {
    id: i64,
    action: String,
    operator_id: i64,
    operator_name: String,
    ip: String,
    target_type: String,
    #[schema(required = true)]
    target_id: Option<i64>,
    target_name: String,
    status: String,
    /// JSON as text: consoles print it.
    details: String,
    created_at: String,
}

fn row(log: AuditRecord, zone: &Zone) -> AuditRecordRow {
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
    AuditRecordRow {
        id,
        action,
        operator_id: operator,
        operator_name,
        ip: address,
        target_type: kind,
        target_id: target,
        target_name,
        status,
        details,
        created_at: zone.local(at),
    }
}
