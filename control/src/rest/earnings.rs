//! `/x-earnings`: what calls cost customers beside what they cost whoever runs the gateway, for root alone; and
//! `/x-tags`: what was used by tag.

use axum::{Json, extract::State, response::Response};
use proxyxai_contract::{Invalid, id::KeyId};
use serde::Serialize;

use super::{
    answer::{Dollars, paged},
    days::{days, month_so_far},
    failure::Failure,
    request::{Asker, Params},
};
use crate::{
    Control, ops,
    view::{EarnedBy, Earning, EarningFilter, EarningRow, Earnings, TagTotals, Totals},
};

pub(super) async fn show(
    State(control): State<Control>,
    Asker(caller): Asker,
    params: Params,
) -> Result<Json<Answer>, Failure> {
    let today = ops::reports::today(&control);
    let days = days(&params, today, month_so_far(today))?;
    let by = by(&params)?;
    let text = |name: &str| params.text(name).map(ToOwned::to_owned);
    let key = params.whole("key")?.map(KeyId::new).transpose();
    let filter = EarningFilter {
        account: text("user").or_else(|| text("u")),
        key: key.map_err(|error| error.under("key"))?,
        provider: text("provider"),
        model: text("model"),
    };
    let earnings = ops::earnings::by(&control, &caller, by, filter, days).await?;
    Ok(Json(answer(by, earnings)))
}

fn by(params: &Params) -> Result<EarnedBy, Invalid> {
    let known = || EarnedBy::NAMES.map(|(name, _)| name).join(", ");
    match params.text("by") {
        None => Ok(EarnedBy::Key),
        Some(name) => EarnedBy::parse(name)
            .ok_or_else(|| Invalid::new("by", format!("must be one of {}", known()))),
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Answer {
    start: String,
    end: String,
    by: &'static str,
    rows: Vec<Row>,
    total: Amounts,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    value: String,
    name: String,
    #[serde(flatten)]
    amounts: Amounts,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Amounts {
    requests: u64,
    cost: Dollars,
    expense: Dollars,
    flat: Dollars,
    margin: Dollars,
}

fn answer(by: EarnedBy, earnings: Earnings) -> Answer {
    let Earnings { days, rows, total } = earnings;
    let row = |row: EarningRow| Row {
        value: row.of,
        name: row.name,
        amounts: row.earning.into(),
    };
    Answer {
        start: days.start.to_string(),
        end: days.end.to_string(),
        by: by.name(),
        rows: rows.into_iter().map(row).collect(),
        total: total.into(),
    }
}

impl From<Earning> for Amounts {
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

/// One page of tags, dearest first, of the caller or a descendant.
pub(super) async fn tags(
    State(control): State<Control>,
    Asker(caller): Asker,
    params: Params,
) -> Result<Response, Failure> {
    let today = ops::reports::today(&control);
    let days = days(&params, today, month_so_far(today))?;
    let page = params.page()?;
    let user = params.text("user").or_else(|| params.text("u"));
    let listing = ops::earnings::tags(&control, &caller, user, days, page).await?;
    Ok(paged(listing, page, tag))
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct TagRow {
    tag: String,
    requests: u64,
    prompt: u64,
    cached: u64,
    completion: u64,
    cost: Dollars,
}

fn tag(row: TagTotals) -> TagRow {
    let TagTotals { tag, totals } = row;
    let Totals {
        requests,
        input,
        cached,
        output,
        cost,
    } = totals;
    TagRow {
        tag,
        requests,
        prompt: input,
        cached,
        completion: output,
        cost: Dollars(cost),
    }
}
