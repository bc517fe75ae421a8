//! `/x-spend`: use as a series by day or hour, split by one dimension, beside the span before.

use axum::{Json, extract::State};
use proxyxai_contract::Invalid;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    days::{days, month_so_far},
    error::RestError,
    query::{BELOW, DAYS, ParamType, QueryParam, U, USER, query, words},
    request::{AccountCaller, QueryParams},
    response::Dollars,
};
use crate::{
    Control,
    model::{
        Earning, SeriesInterval, SpendDimension, SpendFilter, SpendReport, SpendRow, SpentTokens,
    },
    ops,
};

pub(super) const QUERY: [QueryParam; 5] = [
    query(
        "by",
        ParamType::Words(&const { words(&SpendDimension::NAMES) }),
        "What it is grouped by; default: `model`. Upstream keys and providers are only for root",
    ),
    query(
        "per",
        ParamType::Words(&["day", "hour"]),
        "Interval between points; hours are available for the last two days",
    ),
    USER,
    U,
    BELOW,
];

pub(super) async fn show(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    params: QueryParams,
) -> Result<Json<SpendResponse>, RestError> {
    params.reject_unknown(&[&QUERY[..], &DAYS[..]].concat())?;
    let today = ops::reports::today(&control);
    let days = days(&params, today, month_so_far(today))?;
    let filter = filter(&params)?;
    let spend = ops::spend::series(&control, &caller, filter, days).await?;
    Ok(Json(answer(spend)))
}

fn filter(params: &QueryParams) -> Result<SpendFilter, Invalid> {
    let user = params.text("user").or_else(|| params.text("u"));
    let by = params.text("by").map(|name| {
        let known = SpendDimension::NAMES.map(|(name, _)| name).join(", ");
        SpendDimension::parse(name)
            .ok_or_else(|| Invalid::new("by", format!("must be one of {known}")))
    });
    let per = params.text("per").map(|name| {
        SeriesInterval::parse(name).ok_or_else(|| Invalid::new("per", "must be day or hour"))
    });
    Ok(SpendFilter {
        account: user.map(ToOwned::to_owned),
        alone: !params.flag("below")?.unwrap_or(true),
        by: by.transpose()?.unwrap_or_default(),
        per: per.transpose()?.unwrap_or_default(),
    })
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Spend)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SpendResponse {
    by: &'static str,
    per: &'static str,
    start: String,
    end: String,
    start_before: String,
    end_before: String,
    /// `dollars`, or `units` of each account.
    unit: &'static str,
    points: Vec<String>,
    skipped: usize,
    values: u64,
    rows: Vec<SpendValueRow>,
    other: SpendValueRow,
    total: SpendValueRow,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SpendOf)]
#[serde(rename_all = "PascalCase")]
struct SpendValueRow {
    value: String,
    name: String,
    #[serde(flatten)]
    now: SpendAmounts,
    before: SpendAmounts,
    points: SpendPoints,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SpendAmounts)]
#[serde(rename_all = "PascalCase")]
struct SpendAmounts {
    requests: u64,
    prompt: u64,
    cached: u64,
    completion: u64,
    cost: Dollars,
    /// What the operator paid for calls and monthly prices, and the margin: only for root.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    expense: Option<Dollars>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    flat: Option<Dollars>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    margin: Option<Dollars>,
}

/// A number for each point.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SpendPoints)]
#[serde(rename_all = "PascalCase")]
struct SpendPoints {
    requests: Vec<u64>,
    prompt: Vec<u64>,
    cached: Vec<u64>,
    completion: Vec<u64>,
    cost: Vec<Dollars>,
    /// As in the sums, only for root.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    expense: Option<Vec<Dollars>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    flat: Option<Vec<Dollars>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    margin: Option<Vec<Dollars>>,
}

fn answer(spend: SpendReport) -> SpendResponse {
    let SpendReport {
        by,
        per,
        days,
        before,
        points,
        skipped,
        rows,
        values,
        other,
        total,
        is_earned,
    } = spend;
    SpendResponse {
        by: by.name(),
        per: per.name(),
        start: days.start.to_string(),
        end: days.end.to_string(),
        start_before: before.start.to_string(),
        end_before: before.end.to_string(),
        unit: if is_earned { "dollars" } else { "units" },
        points,
        skipped,
        values,
        rows: rows.iter().map(|each| row(each, is_earned)).collect(),
        other: row(&other, is_earned),
        total: row(&total, is_earned),
    }
}

fn row(row: &SpendRow, is_earned: bool) -> SpendValueRow {
    let SpendRow {
        of,
        name,
        now,
        before,
        points,
    } = row;
    SpendValueRow {
        value: of.clone(),
        name: name.clone(),
        now: amounts(now, is_earned),
        before: amounts(before, is_earned),
        points: series(points, is_earned),
    }
}

fn amounts(used: &Earning, is_earned: bool) -> SpendAmounts {
    let Earning {
        requests,
        tokens: SpentTokens {
            input,
            cached,
            output,
        },
        cost,
        expense,
        flat,
    } = *used;
    SpendAmounts {
        requests,
        prompt: input,
        cached,
        completion: output,
        cost: Dollars(cost),
        expense: is_earned.then_some(Dollars(expense)),
        flat: is_earned.then_some(Dollars(flat)),
        margin: is_earned.then(|| Dollars(used.margin())),
    }
}

fn series(points: &[Earning], is_earned: bool) -> SpendPoints {
    let counts = |of: fn(&Earning) -> u64| points.iter().map(of).collect();
    let dollars = |of: fn(&Earning) -> Dollars| points.iter().map(of).collect();
    SpendPoints {
        requests: counts(|used| used.requests),
        prompt: counts(|used| used.tokens.input),
        cached: counts(|used| used.tokens.cached),
        completion: counts(|used| used.tokens.output),
        cost: dollars(|used| Dollars(used.cost)),
        expense: is_earned.then(|| dollars(|used| Dollars(used.expense))),
        flat: is_earned.then(|| dollars(|used| Dollars(used.flat))),
        margin: is_earned.then(|| dollars(|used| Dollars(used.margin()))),
    }
}
