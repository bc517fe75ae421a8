//! `/x-earnings`: what customers pay for calls beside what the calls cost the operator, for root alone. `/x-tags`: use
//! by tag.

use axum::{Json, extract::State};
use proxyxai_contract::{Invalid, id::KeyId};
use serde::Serialize;
use utoipa::{ToSchema, openapi::Schema};

use super::{
    days::{days, month_so_far},
    error::RestError,
    query::{ID, ParamType, QueryParam, query},
    request::{AccountCaller, QueryParams},
    response::{Dollars, PagedResponse, WithPageHeaders, paged, words},
};
use crate::{
    Control,
    model::{
        Earning, EarningDimension, EarningFilter, EarningRow, EarningsReport, TagTotals,
        UsageTotals,
    },
    ops,
};

pub(super) const QUERY: [QueryParam; 4] = [
    query(
        "by",
        ParamType::Words(&BY),
        "What rows are grouped by; default: keys",
    ),
    query("key", ID, "The ID of an upstream key"),
    query("provider", ParamType::Text, "The host of a provider"),
    query("model", ParamType::Text, "A model"),
];
const BY: [&str; EarningDimension::NAMES.len()] = {
    let mut names = [""; EarningDimension::NAMES.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = EarningDimension::NAMES[at].0;
        at += 1;
    }
    names
};

pub(super) async fn show(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    params: QueryParams,
) -> Result<WithPageHeaders<Json<EarningsResponse>>, RestError> {
    let today = ops::reports::today(&control);
    let days = days(&params, today, month_so_far(today))?;
    let (by, page) = (by(&params)?, params.page()?);
    let text = |name: &str| params.text(name).map(ToOwned::to_owned);
    let key = params.int("key")?.map(KeyId::new).transpose();
    let filter = EarningFilter {
        account: text("user").or_else(|| text("u")),
        key: key.map_err(|error| error.under("key"))?,
        provider: text("provider"),
        model: text("model"),
    };
    let earnings = ops::earnings::by(&control, &caller, (by, page), filter, days).await?;
    Ok(WithPageHeaders {
        total: earnings.rows.total,
        page,
        answer: Json(answer(by, earnings)),
    })
}

fn by(params: &QueryParams) -> Result<EarningDimension, Invalid> {
    let known = || EarningDimension::NAMES.map(|(name, _)| name).join(", ");
    match params.text("by") {
        None => Ok(EarningDimension::Key),
        Some(name) => EarningDimension::parse(name)
            .ok_or_else(|| Invalid::new("by", format!("must be one of {}", known()))),
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = Earnings)]
pub(super) struct EarningsResponse {
    #[schema(format = Date)]
    start: String,
    #[schema(format = Date)]
    end: String,
    #[schema(schema_with = ways)]
    by: &'static str,
    rows: Vec<EarningsRow>,
    total: EarningsAmounts,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = EarningsRow)]
struct EarningsRow {
    value: String,
    name: String,
    #[serde(flatten)]
    amounts: EarningsAmounts,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = EarningsAmounts)]
struct EarningsAmounts {
    requests: u64,
    cost: Dollars,
    expense: Dollars,
    flat: Dollars,
    margin: Dollars,
}

fn ways() -> Schema {
    words(BY)
}

fn answer(by: EarningDimension, earnings: EarningsReport) -> EarningsResponse {
    let EarningsReport { days, rows, total } = earnings;
    let row = |row: EarningRow| EarningsRow {
        value: row.of,
        name: row.name,
        amounts: row.earning.into(),
    };
    EarningsResponse {
        start: days.start.to_string(),
        end: days.end.to_string(),
        by: by.name(),
        rows: rows.rows.into_iter().map(row).collect(),
        total: total.into(),
    }
}

impl From<Earning> for EarningsAmounts {
    fn from(earning: Earning) -> Self {
        let Earning {
            requests,
            tokens: _,
            cost,
            expense,
            flat,
        } = earning;
        Self {
            requests,
            cost: Dollars(cost),
            expense: Dollars(expense),
            flat: Dollars(flat),
            margin: Dollars(earning.margin()),
        }
    }
}

/// One page of the tags of the caller or a descendant, dearest first.
pub(super) async fn tags(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    params: QueryParams,
) -> Result<PagedResponse<TagUsageRow>, RestError> {
    let today = ops::reports::today(&control);
    let days = days(&params, today, month_so_far(today))?;
    let page = params.page()?;
    let user = params.text("user").or_else(|| params.text("u"));
    let listing = ops::earnings::tags(&control, &caller, user, days, page).await?;
    Ok(paged(listing, page, tag))
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = TagUse)]
pub(super) struct TagUsageRow {
    tag: String,
    requests: u64,
    prompt: u64,
    cached: u64,
    completion: u64,
    cost: Dollars,
}

fn tag(row: TagTotals) -> TagUsageRow {
    let TagTotals { tag, totals } = row;
    let UsageTotals {
        requests,
        input,
        cached,
        output,
        cost,
    } = totals;
    TagUsageRow {
        tag,
        requests,
        prompt: input,
        cached,
        completion: output,
        cost: Dollars(cost),
    }
}
