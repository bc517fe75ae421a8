//! `/dashboard/*` and `/x-gkey`: the caller about itself.

use axum::{Json, extract::State};
use proxyxai_contract::{clock::Zone, money::Money};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    answer::{CardRow, Dollars, Ratio, cards},
    failure::Failure,
    request::Asker,
};
use crate::{
    Control, Error, ops,
    view::{AccountFilter, AccountView, Caller, Page, Totals},
};

/// `/dashboard/info` and its older paths.
pub(super) async fn info(
    State(control): State<Control>,
    Asker(caller): Asker,
) -> Result<Json<Info>, Failure> {
    let account = ops::accounts::caller(&control, &caller).await?;
    let (today, month) = ops::reports::today_and_month(&control, &caller).await?;
    Ok(Json(flat(account, today, month, &control.zone())))
}

/// `/dashboard/status` and its older path.
pub(super) async fn status(
    State(control): State<Control>,
    Asker(caller): Asker,
) -> Result<Json<Value>, Failure> {
    let account = ops::accounts::caller(&control, &caller).await?;
    let manage = may_manage(&control, &caller).await?;
    Ok(Json(json!({
        "object": "user_status",
        "id": account.id.get(),
        "name": account.name,
        "email": account.email,
        "alias": account.alias,
        "balance": Dollars(account.balance),
        "dna": account.dna,
        // Whether the consoles for sub-accounts and for the whole system let it in.
        "manage": manage,
        "admin": caller.is_root(),
    })))
}

/// `/x-gkey`: a client key of the right form that belongs to nobody.
pub(super) async fn fresh_key(_: Asker) -> Result<Json<Value>, Failure> {
    let key = ops::settings::generate_client_key()?;
    Ok(Json(json!({ "success": true, "key": key.expose() })))
}

/// Whether the caller may manage accounts below it: the operations refuse to list them otherwise.
async fn may_manage(control: &Control, caller: &Caller) -> Result<bool, Error> {
    let myself = AccountFilter {
        identifier: Some(caller.account.to_string()),
        ..AccountFilter::default()
    };
    let first = Page { page: 1, size: 1 };
    match ops::accounts::list(control, caller, myself, first).await {
        Ok(_) | Err(Error::NotFound { .. }) => Ok(true),
        Err(Error::ManagementBalance { .. } | Error::Forbidden(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The flat object that every page reads. All numbers are always there: pages compute with them.
#[derive(Debug, Serialize)]
pub(super) struct Info {
    id: i64,
    name: String,
    email: String,
    alias: String,
    dna: String,
    level: u8,
    gear: u8,
    role: i32,
    tier: i32,
    child: u64,
    rates: Ratio,
    factor: Ratio,
    // The older and the newer name of one moment.
    create_at: String,
    created_at: String,
    updated_at: String,
    credit_balance: Vec<CardRow>,
    credit_used: Dollars,
    balance: Dollars,
    hard_limit: Dollars,
    soft_limit: Dollars,
    auto_quota: Dollars,
    daily_usage: Used,
    monthly_usage: Used,
    // The older and the newer name of one number.
    rate_limit: u64,
    rpm: u64,
    rph: u64,
    rpd: u64,
    tpm: u64,
    tph: u64,
    tpd: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Used {
    credit_used: Dollars,
    requests: u64,
}

fn flat(account: AccountView, today: Totals, month: Totals, zone: &Zone) -> Info {
    let used = |totals: Totals| Used {
        credit_used: Dollars(totals.cost),
        requests: totals.requests,
    };
    let limit = |limit: Option<Money>| Dollars(limit.unwrap_or(Money::ZERO));
    let created = zone.rfc3339(account.created);
    Info {
        id: account.id.get(),
        credit_balance: cards(&account.cards, zone),
        name: account.name,
        email: account.email,
        alias: account.alias,
        dna: account.dna,
        level: account.level.get(),
        gear: account.gear,
        role: account.role,
        tier: account.tier,
        child: account.children,
        rates: Ratio(account.rates),
        factor: Ratio(account.factor),
        create_at: created.clone(),
        created_at: created,
        updated_at: zone.rfc3339(account.updated),
        credit_used: Dollars(account.credit_used),
        balance: Dollars(account.balance),
        hard_limit: limit(account.hard_limit),
        soft_limit: limit(account.soft_limit),
        auto_quota: Dollars(account.auto_quota),
        daily_usage: used(today),
        monthly_usage: used(month),
        rate_limit: account.limits.rpm,
        rpm: account.limits.rpm,
        rph: account.limits.rph,
        rpd: account.limits.rpd,
        tpm: account.limits.tpm,
        tph: account.limits.tph,
        tpd: account.limits.tpd,
    }
}
