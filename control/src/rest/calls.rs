//! `/x-calls`: the calls of the caller and all accounts below it, in pages or as new ones arrive.

use axum::{Json, extract::State};
use proxyxai_contract::{Invalid, clock::Zone, id::KeyId};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    error::RestError,
    query::{
        BEFORE, BELOW, FROM, ID, ParamType, QueryParam, REQUEST_ID, STATUS, UNTIL, USER, query,
        size,
    },
    records::{self, CallRecordRow},
    request::{AccountCaller, QueryParams},
};
use crate::{
    Control,
    model::{Call, CallFilter, CallPage, ClientKeyFilter, ModelFilter, PageCursor, StatusFilter},
    ops::calls::{self, SIZE, SIZE_MAX},
};

pub(super) const QUERY: [QueryParam; 12] = [
    USER,
    BELOW,
    query(
        "model",
        ParamType::Text,
        "A model, or the beginning of names with `*` after it",
    ),
    query("key", ID, "The ID of an upstream key"),
    query(
        "client_key",
        ParamType::Whole(0, i64::MAX),
        "The ID of a further client key, or 0 for the account's first",
    ),
    STATUS,
    REQUEST_ID,
    FROM,
    UNTIL,
    size(SIZE_MAX),
    BEFORE,
    query(
        "after",
        ParamType::Text,
        "Newer calls: `latest` of the previous answer",
    ),
];

pub(super) async fn list(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    params: QueryParams,
) -> Result<Json<CallsResponse>, RestError> {
    params.reject_unknown(&QUERY)?;
    let zone = control.zone();
    let filter = filter(&params, &zone)?;
    let cursor = |name| params.text(name).map(ToOwned::to_owned);
    let from = PageCursor::of(cursor("before"), cursor("after"))?;
    let size = params.page_of(SIZE, SIZE_MAX)?.size;
    let listed = calls::list(&control, &caller, filter, (from, size)).await?;
    let CallPage {
        calls,
        next,
        latest,
    } = listed;
    Ok(Json(CallsResponse {
        calls: calls.into_iter().map(|call| row(call, &zone)).collect(),
        next,
        latest,
    }))
}

fn filter(params: &QueryParams, zone: &Zone) -> Result<CallFilter, Invalid> {
    let text = |name: &str| params.text(name).map(ToOwned::to_owned);
    let key = params.int("key")?.map(KeyId::new).transpose();
    let client_key = params
        .int("client_key")?
        .map(ClientKeyFilter::of)
        .transpose();
    let alone = !params.flag("below")?.unwrap_or(true);
    Ok(CallFilter {
        account: text("user"),
        alone,
        model: params
            .text("model")
            .map(ModelFilter::parse)
            .transpose()?
            .flatten(),
        key: key.map_err(|error| error.under("key"))?,
        client_key: client_key.map_err(|error| error.under("client_key"))?,
        status: params.text("status").map(StatusFilter::parse).transpose()?,
        request_id: text("request_id"),
        start: params.moment_or_day("start", zone, false)?,
        end: params.moment_or_day("end", zone, true)?,
    })
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Calls)]
pub(super) struct CallsResponse {
    calls: Vec<CallRow>,
    #[schema(required = true)]
    next: Option<String>,
    latest: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = Call)]
struct CallRow {
    #[serde(flatten)]
    row: CallRecordRow,
    user_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    key_name: Option<String>,
    client_key_name: String,
}

fn row(call: Call, zone: &Zone) -> CallRow {
    let Call {
        usage,
        account_name,
        key_name,
        client_key_name,
    } = call;
    CallRow {
        row: records::row(usage, zone),
        user_name: account_name,
        key_name,
        client_key_name,
    }
}
