//! What clients of `OpenAI`'s own billing endpoints ask for, in its shapes: use in cents, what may be
//! spent this month, and the credit there is.

use axum::{Json, extract::State};
use proxyxai_contract::{clock::Millis, money::Money};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::{
    answer::Dollars,
    bill::seconds,
    days::dates,
    failure::Failure,
    request::{Params, Reader},
};
use crate::{Control, domain::credit::Card, ops, view::AccountView};

/// `/dashboard/billing/usage`: both ends of `start_date` and `end_date` included.
pub(super) async fn usage(
    State(control): State<Control>,
    Reader(caller): Reader,
    params: Params,
) -> Result<Json<Value>, Failure> {
    let days = dates(&params, ops::reports::today(&control))?;
    let rows = ops::reports::by_day(&control, &caller, None, days).await?;
    let zone = control.zone();
    let total: Money = rows.iter().map(|row| row.totals.cost).sum();
    let cost_of = |date| {
        let items = rows.iter().filter(|row| row.day == date);
        let items = items.map(|row| json!({ "name": row.model, "cost": Cents(row.totals.cost) }));
        json!({ "timestamp": seconds(&zone, date), "line_items": items.collect::<Vec<_>>() })
    };
    let costs: Vec<Value> = days.each().map(cost_of).collect();
    Ok(Json(json!({
        "object": "list",
        "daily_costs": costs,
        "total_usage": Cents(total),
    })))
}

/// `/dashboard/billing/subscription`. Clients subtract the month's use from `hard_limit_usd`, so it is
/// what this month may come to: what has been used and what is left, within the month's cap.
pub(super) async fn subscription(
    State(control): State<Control>,
    Reader(caller): Reader,
) -> Result<Json<Value>, Failure> {
    let account = ops::accounts::caller(&control, &caller).await?;
    let (_, month) = ops::reports::today_and_month(&control, &caller, None).await?;
    let spendable = month.cost.saturating_add(account.balance.max(Money::ZERO));
    let hard = account
        .hard_limit
        .map_or(spendable, |cap| cap.min(spendable));
    let soft = account.soft_limit.map_or(hard, |mark| mark.min(hard));
    let cap = account.hard_limit.unwrap_or(hard);
    let access_until = account.cards.last().map(|card| unix(card.expires));
    Ok(Json(json!({
        "object": "billing_subscription",
        "has_payment_method": true,
        "canceled": false,
        "canceled_at": null,
        "delinquent": account.balance.is_negative(),
        "access_until": access_until.unwrap_or_default(),
        "soft_limit": Cents(soft),
        "hard_limit": Cents(hard),
        "system_hard_limit": Cents(cap),
        "soft_limit_usd": Dollars(soft),
        "hard_limit_usd": Dollars(hard),
        "system_hard_limit_usd": Dollars(cap),
        "plan": { "title": "Prepaid", "id": "prepaid" },
        "account_name": account.name,
        "po_number": null,
        "billing_email": Some(account.billing_email).filter(|address| !address.is_empty()),
        "tax_ids": null,
        "billing_address": null,
        "business_address": null,
    })))
}

/// `/dashboard/billing/credit_grants`: the cards.
pub(super) async fn credit_grants(
    State(control): State<Control>,
    Reader(caller): Reader,
) -> Result<Json<Value>, Failure> {
    let account = ops::accounts::caller(&control, &caller).await?;
    let granted: Money = account.cards.iter().map(|card| card.amount).sum();
    let left: Money = account.cards.iter().map(|card| card.balance).sum();
    let grants: Vec<_> = account
        .cards
        .iter()
        .enumerate()
        .map(|(at, card)| grant(&account, at, card))
        .collect();
    Ok(Json(json!({
        "object": "credit_summary",
        "total_granted": Dollars(granted),
        "total_used": Dollars(granted.saturating_sub(left)),
        "total_available": Dollars(account.balance),
        "grants": { "object": "list", "data": grants },
    })))
}

fn grant(account: &AccountView, at: usize, card: &Card) -> Value {
    json!({
        "object": "credit_grant",
        "id": format!("{}-{at}", account.id),
        "grant_amount": Dollars(card.amount),
        "used_amount": Dollars(card.amount.saturating_sub(card.balance)),
        "effective_at": unix(card.granted),
        "expires_at": unix(card.expires),
    })
}

fn unix(at: Millis) -> i64 {
    at.0.div_euclid(1000)
}

/// Money as a JSON number of cents.
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
