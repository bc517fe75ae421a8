//! `POST /x-prices/rerate`: prices the usage of some days anew. It posts nothing unless the request asks for it.

use axum::{Json, extract::State};
use proxyxai_contract::{id::AccountId, money::Money};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    body::{Body, Shape, body},
    days::between,
    error::RestError,
    fields::{Day, Flag, Text},
    request::{JsonBody, RootCaller},
    response::Dollars,
};
use crate::{
    Control,
    model::{RerateRequest, RerateResult},
    ops,
};

pub(super) async fn run(
    State(control): State<Control>,
    RootCaller(caller): RootCaller,
    JsonBody(body): JsonBody<Rerate>,
) -> Result<Json<RerateResponse>, RestError> {
    let Day(start) = body.start;
    let end = body.end.map(|it| it.0);
    let end = end.unwrap_or_else(|| ops::reports::today(&control).max(start));
    let named = |text: Option<Text>| text.map(|it| it.0).filter(|text| !text.trim().is_empty());
    let dry_run = body.dry_run.is_none_or(|it| it.0);
    let rerating = RerateRequest {
        days: between("Start", start, end)?,
        account: named(body.user),
        version: named(body.version),
        dry_run,
    };
    let rerated = Box::pin(ops::prices::rerate(&control, &caller, rerating)).await?;
    Ok(Json(answer(rerated, dry_run)))
}

/// Which calls are priced anew, and whether the difference is posted.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Rerate {
    /// The first day, in `TZ`.
    start: Day,
    /// The last day, in `TZ`, at most 366 days on; today by default.
    end: Option<Day>,
    /// Only the calls of this account: its ID, name, address or path. By default those of all.
    user: Option<Text>,
    /// The version of the price table to use; by default the one in force when each call began.
    version: Option<Text>,
    /// If true, which is the default, nothing is posted.
    dry_run: Option<Flag>,
}
body!(Rerate);

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = Rerated)]
pub(super) struct RerateResponse {
    dry_run: bool,
    records: u64,
    unpriced: u64,
    corrections: Vec<Correction>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
struct Correction {
    #[serde(rename = "UserID")]
    account: i64,
    records: u64,
    difference: Dollars,
}

fn answer(rerated: RerateResult, dry_run: bool) -> RerateResponse {
    let RerateResult {
        records,
        unpriced,
        corrections,
    } = rerated;
    let correction = |(account, (records, difference)): (AccountId, (u64, Money))| Correction {
        account: account.get(),
        records,
        difference: Dollars(difference),
    };
    RerateResponse {
        dry_run,
        records,
        unpriced,
        corrections: corrections.into_iter().map(correction).collect(),
    }
}
