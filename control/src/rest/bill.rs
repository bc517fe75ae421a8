//! `/x-bill` and `/dashboard/bill`: what was used and what it cost, by day and model.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use jiff::civil::Date;
use proxyxai_contract::clock::Zone;
use rust_decimal::Decimal;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    days::{days, month_so_far},
    error::RestError,
    request::{AccountCaller, AnyKeyCaller, QueryParams, labels_of},
    response::{Dollars, WithPageHeaders, percentage},
};
use crate::{
    Control,
    model::{AccountTotals, Bill, BillFilter, DateRange, DayTotals, UsageTotals},
    ops,
};

/// `/x-bill`: the accounts below the caller. Their list is paged; the totals cover all of them.
pub(super) async fn descendants(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    params: QueryParams,
) -> Result<WithPageHeaders<Json<BillSheet>>, RestError> {
    let today = ops::reports::today(&control);
    let days = days(&params, today, month_so_far(today))?;
    let page = params.page()?;
    let user = params.text("user").or_else(|| params.text("u"));
    let filter = user.map(labels_of).transpose()?.flatten();
    let of = BillFilter {
        account: user.filter(|_| filter.is_none()).map(ToOwned::to_owned),
        labels: match filter {
            Some(labels) => labels,
            None => params.labels()?,
        },
    };
    let bill = ops::reports::bill(&control, &caller, of, days, page).await?;
    let total = bill.accounts.total;
    let answer = Json(sheet(bill, &control.zone()));
    Ok(WithPageHeaders {
        answer,
        total,
        page,
    })
}

/// `/dashboard/bill`: the caller's own use, for today unless the query names days.
pub(super) async fn own(
    State(control): State<Control>,
    AnyKeyCaller(caller): AnyKeyCaller,
    params: QueryParams,
) -> Result<Json<OwnBill>, RestError> {
    let today = ops::reports::today(&control);
    let only_today = DateRange {
        start: today,
        end: today,
    };
    let days = days(&params, today, only_today)?;
    let by_day = ops::reports::by_day(&control, &caller, None, days).await?;
    Ok(Json(own_bill(by_day, days, &control.zone())))
}

/// Use of one day.
struct DayUsage {
    date: Date,
    total: UsageTotals,
    models: Vec<(String, UsageTotals)>,
}

/// Groups rows by day. They must come ordered by day.
fn by_day(rows: Vec<DayTotals>) -> Vec<DayUsage> {
    let mut days: Vec<DayUsage> = Vec::new();
    for DayTotals { day, model, totals } in rows {
        match days.last_mut().filter(|last| last.date == day) {
            Some(last) => {
                last.total = last.total.and(totals);
                last.models.push((model, totals));
            }
            None => days.push(DayUsage {
                date: day,
                total: totals,
                models: vec![(model, totals)],
            }),
        }
    }
    days
}

// === /x-bill ===

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Bill)]
pub(super) struct BillSheet {
    object: &'static str,
    data: Vec<SheetDay>,
    total_usage: TotalUsage,
    usage_users: Vec<UserRow>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BillDay)]
struct SheetDay {
    // When the day began, in seconds since 1970.
    aggregation_timestamp: i64,
    n_requests: u64,
    n_context_tokens_total: u64,
    n_generated_tokens_total: u64,
    n_cached_tokens_total: u64,
    usage_details: BTreeMap<String, ModelUse>,
}

#[derive(Debug, Serialize, ToSchema)]
struct ModelUse {
    requests: u64,
    prompt: u64,
    completion: u64,
    cost: Dollars,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BillTotal)]
struct TotalUsage {
    requests: u64,
    cost: Dollars,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BillAccount)]
struct UserRow {
    id: i64,
    name: String,
    email: String,
    total_requests: u64,
    total_cost: Dollars,
    usage_analysis: Analysis,
}

/// Shares of the whole bill, 0 to 100.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = BillShare)]
struct Analysis {
    request_percentage: f64,
    cost_percentage: f64,
}

fn sheet(bill: Bill, zone: &Zone) -> BillSheet {
    let Bill {
        days,
        total,
        accounts,
    } = bill;
    let day = |day: DayUsage| SheetDay {
        aggregation_timestamp: seconds(zone, day.date),
        n_requests: day.total.requests,
        n_context_tokens_total: day.total.input,
        n_generated_tokens_total: day.total.output,
        n_cached_tokens_total: day.total.cached,
        usage_details: day.models.into_iter().map(model_use).collect(),
    };
    let user = |account: AccountTotals| UserRow {
        id: account.id.get(),
        name: account.name,
        email: account.email,
        total_requests: account.totals.requests,
        total_cost: Dollars(account.totals.cost),
        usage_analysis: analysis(account.totals, total),
    };
    BillSheet {
        object: "list",
        data: by_day(days).into_iter().map(day).collect(),
        total_usage: TotalUsage {
            requests: total.requests,
            cost: Dollars(total.cost),
        },
        usage_users: accounts.rows.into_iter().map(user).collect(),
    }
}

fn model_use((model, totals): (String, UsageTotals)) -> (String, ModelUse) {
    let used = ModelUse {
        requests: totals.requests,
        prompt: totals.input,
        completion: totals.output,
        cost: Dollars(totals.cost),
    };
    (model, used)
}

fn analysis(part: UsageTotals, whole: UsageTotals) -> Analysis {
    let nanos = |totals: UsageTotals| Decimal::from(totals.cost.nanos());
    Analysis {
        request_percentage: percentage(part.requests, whole.requests),
        cost_percentage: percentage(nanos(part), nanos(whole)),
    }
}

/// The start of a day, in seconds since 1970.
pub(super) fn seconds(zone: &Zone, day: Date) -> i64 {
    zone.start_of(day).0.div_euclid(1000)
}

// === /dashboard/bill ===

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OwnBill {
    total_credit_used: Dollars,
    total_requests: u64,
    total_prompt: u64,
    total_completion: u64,
    usage_summary: BTreeMap<String, Summary>,
    daily_costs: Vec<DailyCost>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OwnBillModel)]
struct Summary {
    model_stats: Stats,
    usage_analysis: Analysis,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = ModelStats)]
struct Stats {
    requests: u64,
    prompt: u64,
    completion: u64,
    credit_used: Dollars,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OwnBillDay)]
struct DailyCost {
    // YYYY-MM-DD.
    #[schema(format = Date)]
    date: String,
    timestamp: i64,
    total_credit_used: Dollars,
    total_requests: u64,
    total_prompt: u64,
    total_completion: u64,
    line_items: Vec<LineItem>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OwnBillLine)]
struct LineItem {
    name: String,
    cost: Dollars,
    usage: LineUse,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OwnBillLineUse)]
struct LineUse {
    model_stats: Stats,
}

fn own_bill(rows: Vec<DayTotals>, days: DateRange, zone: &Zone) -> OwnBill {
    let mut models: BTreeMap<String, UsageTotals> = BTreeMap::new();
    let mut total = UsageTotals::default();
    for row in &rows {
        total = total.and(row.totals);
        let model = models.entry(row.model.clone()).or_default();
        *model = model.and(row.totals);
    }
    let summary = |(model, totals): (String, UsageTotals)| {
        let summary = Summary {
            model_stats: totals.into(),
            usage_analysis: analysis(totals, total),
        };
        (model, summary)
    };
    let daily = |day: DayUsage| DailyCost {
        date: day.date.to_string(),
        timestamp: seconds(zone, day.date),
        total_credit_used: Dollars(day.total.cost),
        total_requests: day.total.requests,
        total_prompt: day.total.input,
        total_completion: day.total.output,
        line_items: day.models.into_iter().map(line_item).collect(),
    };
    OwnBill {
        total_credit_used: Dollars(total.cost),
        total_requests: total.requests,
        total_prompt: total.input,
        total_completion: total.output,
        usage_summary: models.into_iter().map(summary).collect(),
        daily_costs: every_day(by_day(rows), days).map(daily).collect(),
    }
}

/// Adds the days without use, because charts need their zeros.
fn every_day(used: Vec<DayUsage>, days: DateRange) -> impl Iterator<Item = DayUsage> {
    let mut used = used.into_iter().peekable();
    days.each().map(move |date| {
        let found = used.next_if(|day| day.date == date);
        found.unwrap_or(DayUsage {
            date,
            total: UsageTotals::default(),
            models: Vec::new(),
        })
    })
}

fn line_item((name, totals): (String, UsageTotals)) -> LineItem {
    LineItem {
        name,
        cost: Dollars(totals.cost),
        usage: LineUse {
            model_stats: totals.into(),
        },
    }
}

impl From<UsageTotals> for Stats {
    fn from(totals: UsageTotals) -> Self {
        Self {
            requests: totals.requests,
            prompt: totals.input,
            completion: totals.output,
            credit_used: Dollars(totals.cost),
        }
    }
}
