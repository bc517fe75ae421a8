//! The paths that clients of `OpenAI`'s billing endpoints call, in `OpenAI`'s shapes: use in cents, the month's limit,
//! and the remaining credit.

use axum::{Json, extract::State};
use proxyxai_contract::{clock::Millis, money::Money};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::{
    bill::seconds,
    days::dates,
    error::RestError,
    query::{ParamType, QueryParam, query},
    request::{AnyKeyCaller, QueryParams},
    response::Dollars,
};
use crate::{
    Control,
    model::{Account, Card},
    ops,
};

pub(super) const QUERY: [QueryParam; 2] = [
    query(
        "start_date",
        ParamType::Day,
        "The first day; default: the first of the month",
    ),
    query(
        "end_date",
        ParamType::Day,
        "The last day, included; default: today",
    ),
];

/// `/dashboard/billing/usage`. `start_date` and `end_date` are both included.
pub(super) async fn usage(
    State(control): State<Control>,
    AnyKeyCaller(caller): AnyKeyCaller,
    params: QueryParams,
) -> Result<Json<BillingUsage>, RestError> {
    let days = dates(&params, ops::reports::today(&control))?;
    let rows = ops::reports::by_day(&control, &caller, None, days).await?;
    let zone = control.zone();
    let total: Money = rows.iter().map(|row| row.totals.cost).sum();
    let costs_of = |date| {
        let items = rows.iter().filter(|row| row.day == date);
        let items = items.map(|row| BillingItem {
            name: row.model.clone(),
            cost: Cents(row.totals.cost),
        });
        DayCosts {
            timestamp: seconds(&zone, date),
            line_items: items.collect(),
        }
    };
    Ok(Json(BillingUsage {
        object: "list",
        daily_costs: days.each().map(costs_of).collect(),
        total_usage: Cents(total),
    }))
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BillingUsage)]
pub(super) struct BillingUsage {
    object: &'static str,
    daily_costs: Vec<DayCosts>,
    total_usage: Cents,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BillingDay)]
struct DayCosts {
    /// When the day began, in seconds since 1970.
    timestamp: i64,
    line_items: Vec<BillingItem>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BillingItem)]
struct BillingItem {
    name: String,
    cost: Cents,
}

/// `/dashboard/billing/subscription`. Clients subtract the month's use from `hard_limit_usd`. So it is the use so far
/// plus the credit left, within the month's limit.
pub(super) async fn subscription(
    State(control): State<Control>,
    AnyKeyCaller(caller): AnyKeyCaller,
) -> Result<Json<BillingSubscription>, RestError> {
    let account = ops::accounts::caller(&control, &caller).await?;
    let (_, month) = ops::reports::today_and_month(&control, &caller, None).await?;
    let spendable = month.cost.saturating_add(account.balance.max(Money::ZERO));
    let hard = account
        .hard_limit
        .map_or(spendable, |cap| cap.min(spendable));
    let soft = account.soft_limit.map_or(hard, |mark| mark.min(hard));
    let cap = account.hard_limit.unwrap_or(hard);
    let access_until = account.cards.last().map(|card| unix(card.expires));
    Ok(Json(BillingSubscription {
        object: "billing_subscription",
        has_payment_method: true,
        canceled: false,
        canceled_at: None,
        delinquent: account.balance.is_negative(),
        access_until: access_until.unwrap_or_default(),
        soft_limit: Cents(soft),
        hard_limit: Cents(hard),
        system_hard_limit: Cents(cap),
        soft_limit_usd: Dollars(soft),
        hard_limit_usd: Dollars(hard),
        system_hard_limit_usd: Dollars(cap),
        plan: BillingPlan {
            title: "Prepaid",
            id: "prepaid",
        },
        account_name: account.name,
        po_number: None,
        billing_email: Some(account.billing_email).filter(|address| !address.is_empty()),
        tax_ids: None,
        billing_address: None,
        business_address: None,
    }))
}

/// `OpenAI`'s object; what is not kept here is null.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BillingSubscription)]
pub(super) struct BillingSubscription {
    object: &'static str,
    has_payment_method: bool,
    canceled: bool,
    #[schema(required = true)]
    canceled_at: Option<i64>,
    delinquent: bool,
    access_until: i64,
    soft_limit: Cents,
    hard_limit: Cents,
    system_hard_limit: Cents,
    soft_limit_usd: Dollars,
    hard_limit_usd: Dollars,
    system_hard_limit_usd: Dollars,
    plan: BillingPlan,
    account_name: String,
    #[schema(required = true)]
    po_number: Option<String>,
    #[schema(required = true)]
    billing_email: Option<String>,
    #[schema(required = true)]
    tax_ids: Option<Vec<String>>,
    #[schema(required = true)]
    billing_address: Option<String>,
    #[schema(required = true)]
    business_address: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BillingPlan)]
struct BillingPlan {
    title: &'static str,
    id: &'static str,
}

/// `/dashboard/billing/credit_grants`: the account's cards.
pub(super) async fn credit_grants(
    State(control): State<Control>,
    AnyKeyCaller(caller): AnyKeyCaller,
) -> Result<Json<CreditSummary>, RestError> {
    let account = ops::accounts::caller(&control, &caller).await?;
    let granted: Money = account.cards.iter().map(|card| card.amount).sum();
    let left: Money = account.cards.iter().map(|card| card.balance).sum();
    let grants: Vec<_> = account
        .cards
        .iter()
        .enumerate()
        .map(|(at, card)| grant(&account, at, card))
        .collect();
    Ok(Json(CreditSummary {
        object: "credit_summary",
        total_granted: Dollars(granted),
        total_used: Dollars(granted.saturating_sub(left)),
        total_available: Dollars(account.balance),
        grants: GrantList {
            object: "list",
            data: grants,
        },
    }))
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CreditSummary)]
pub(super) struct CreditSummary {
    object: &'static str,
    total_granted: Dollars,
    total_used: Dollars,
    total_available: Dollars,
    grants: GrantList,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CreditGrants)]
struct GrantList {
    object: &'static str,
    data: Vec<GrantRow>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CreditGrant)]
struct GrantRow {
    object: &'static str,
    id: String,
    grant_amount: Dollars,
    used_amount: Dollars,
    effective_at: i64,
    expires_at: i64,
}

fn grant(account: &Account, at: usize, card: &Card) -> GrantRow {
    GrantRow {
        object: "credit_grant",
        id: format!("{}-{at}", account.id),
        grant_amount: Dollars(card.amount),
        used_amount: Dollars(card.amount.saturating_sub(card.balance)),
        effective_at: unix(card.granted),
        expires_at: unix(card.expires),
    }
}

fn unix(at: Millis) -> i64 {
    at.0.div_euclid(1000)
}

/// Money as a JSON number of cents.
#[derive(Debug, Clone, Copy, ToSchema)]
#[schema(value_type = f64)]
struct Cents(Money);

impl Serialize for Cents {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const NANOS_PER_CENT: i64 = 10_000_000;
        if self.0.nanos() % NANOS_PER_CENT == 0 {
            serializer.serialize_i64(self.0.nanos() / NANOS_PER_CENT)
        } else {
            serializer.serialize_f64(self.0.dollars() * 100.0)
        }
    }
}
