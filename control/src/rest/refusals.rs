//! `/x-refusals`: calls of the caller and all accounts below it that were refused before any key was asked.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use proxyxai_contract::{Invalid, clock::Zone, id::AccountId, refused::RefusedCall};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    failure::Failure,
    query::{BEFORE, BELOW, FROM, Query, REQUEST_ID, STATUS, Takes, UNTIL, USER, query, size},
    request::{Asker, Params},
};
use crate::{
    Control,
    ops::refusals::{self, SIZE, SIZE_MAX},
    view::{RefusalFilter, RefusalPlace, Refusals, StatusOf},
};

pub(super) const QUERY: [Query; 9] = [
    USER,
    BELOW,
    query("model", Takes::Text, "A model"),
    STATUS,
    REQUEST_ID,
    FROM,
    UNTIL,
    size(SIZE_MAX),
    BEFORE,
];

pub(super) async fn list(
    State(control): State<Control>,
    Asker(caller): Asker,
    params: Params,
) -> Result<Json<Answer>, Failure> {
    params.only(&QUERY)?;
    let zone = control.zone();
    let filter = filter(&params, &zone)?;
    let size = params.page_of(SIZE, SIZE_MAX)?.size;
    let before = params.text("before").map(RefusalPlace::parse).transpose()?;
    let Refusals { calls, names, next } =
        refusals::list(&control, &caller, &filter, (before, size)).await?;
    Ok(Json(Answer {
        refusals: calls
            .into_iter()
            .map(|call| row(call, &names, &zone))
            .collect(),
        next: next.map(RefusalPlace::text),
    }))
}

fn filter(params: &Params, zone: &Zone) -> Result<RefusalFilter, Invalid> {
    let text = |name: &str| params.text(name).map(ToOwned::to_owned);
    let alone = !params.flag("below")?.unwrap_or(true);
    Ok(RefusalFilter {
        account: text("user"),
        alone,
        model: text("model"),
        status: params.text("status").map(StatusOf::parse).transpose()?,
        request_id: text("request_id"),
        start: params.moment_or_day("start", zone, false)?,
        end: params.moment_or_day("end", zone, true)?,
    })
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Refusals)]
pub(super) struct Answer {
    refusals: Vec<Row>,
    #[schema(required = true)]
    next: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = Refusal)]
struct Row {
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

fn row(call: RefusedCall, names: &BTreeMap<i64, String>, zone: &Zone) -> Row {
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
    Row {
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
