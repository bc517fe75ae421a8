//! `/x-refusals`: calls of the caller and all accounts below it that were refused before any key was asked.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use proxyxai_contract::{Invalid, clock::Zone, id::AccountId, refused_call::RefusedCall};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    error::RestError,
    query::{
        BEFORE, BELOW, FROM, ParamType, QueryParam, REQUEST_ID, STATUS, UNTIL, USER, query, size,
    },
    request::{AccountCaller, QueryParams},
};
use crate::{
    Control,
    model::{RefusalCursor, RefusalFilter, RefusalPage, StatusFilter},
    ops::refusals::{self, SIZE, SIZE_MAX},
};

pub(super) const QUERY: [QueryParam; 9] = [
    USER,
    BELOW,
    query("model", ParamType::Text, "A model"),
    STATUS,
    REQUEST_ID,
    FROM,
    UNTIL,
    size(SIZE_MAX),
    BEFORE,
];

pub(super) async fn list(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    params: QueryParams,
) -> Result<Json<RefusalsResponse>, RestError> {
    params.reject_unknown(&QUERY)?;
    let zone = control.zone();
    let filter = filter(&params, &zone)?;
    let size = params.page_of(SIZE, SIZE_MAX)?.size;
    let before = params
        .text("before")
        .map(RefusalCursor::parse)
        .transpose()?;
    let RefusalPage { calls, names, next } =
        refusals::list(&control, &caller, &filter, (before, size)).await?;
    Ok(Json(RefusalsResponse {
        refusals: calls
            .into_iter()
            .map(|call| row(call, &names, &zone))
            .collect(),
        next: next.map(RefusalCursor::text),
    }))
}

fn filter(params: &QueryParams, zone: &Zone) -> Result<RefusalFilter, Invalid> {
    let text = |name: &str| params.text(name).map(ToOwned::to_owned);
    let alone = !params.flag("below")?.unwrap_or(true);
    Ok(RefusalFilter {
        account: text("user"),
        alone,
        model: text("model"),
        status: params.text("status").map(StatusFilter::parse).transpose()?,
        request_id: text("request_id"),
        start: params.moment_or_day("start", zone, false)?,
        end: params.moment_or_day("end", zone, true)?,
    })
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Refusals)]
pub(super) struct RefusalsResponse {
    refusals: Vec<RefusalRow>,
    #[schema(required = true)]
    next: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = Refusal)]
struct RefusalRow {
    #[schema(format = DateTime)]
    time: String,
    /// 0 when the key was unknown.
    #[serde(rename = "UserID")]
    account: i64,
    /// Empty when the key was unknown.
    user_name: String,
    path: String,
    model: String,
    status: u16,
    code: String,
    message: String,
    #[serde(rename = "RequestID")]
    request_id: String,
    duration_ms: u64,
    represents: u64,
}

fn row(call: RefusedCall, names: &BTreeMap<i64, String>, zone: &Zone) -> RefusalRow {
    let RefusedCall {
        id: _,
        at,
        account,
        path,
        model,
        status,
        code,
        message,
        request_id,
        duration_ms,
        represents,
    } = call;
    let account = account.map_or(0, AccountId::get);
    RefusalRow {
        time: zone.rfc3339(at),
        account,
        user_name: names.get(&account).cloned().unwrap_or_default(),
        path,
        model,
        status,
        code,
        message,
        request_id,
        duration_ms,
        represents,
    }
}
