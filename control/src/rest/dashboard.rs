//! `/dashboard/*`: what a caller may read about itself. Bills are in `bill.rs`.

use std::num::NonZeroU32;

use axum::{Json, extract::State};
use proxyxai_contract::{clock::Zone, money::Money};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{
    client_keys,
    error::RestError,
    request::{AccountCaller, AnyKeyCaller},
    response::{CardRow, Dollars, Ratio, UsedTotals, cards},
};
use crate::{
    Control,
    domain::setting,
    model::{Account, EffectiveRestrictions, UsageTotals},
    ops,
};

/// `/dashboard/info`, `/dashboard/live` and its older paths.
pub(super) async fn info(
    State(control): State<Control>,
    AnyKeyCaller(caller): AnyKeyCaller,
) -> Result<Json<AccountInfo>, RestError> {
    let account = ops::accounts::caller(&control, &caller).await?;
    let used = ops::reports::today_and_month(&control, &caller, None).await?;
    let binding = ops::accounts::binding(&control, &caller).await?;
    let mut info = flat(account, used, binding, &control.zone());
    let key = ops::client_keys::own(&control, &caller).await?;
    info.client_key = key.map(|key| client_keys::ClientKeyRow::of(key, &control.zone()));
    Ok(Json(info))
}

/// `/dashboard/conf`: the caller's own routing and access rules. Only root sees what its ancestors and the system add.
pub(super) async fn conf(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
) -> Result<Json<AccountConf>, RestError> {
    let account = ops::accounts::caller(&control, &caller).await?;
    let minimums = ops::settings::minimums(&control).await?;
    let mut conf = AccountConf {
        object: "user_conf",
        resources: account.access.resources.text(),
        allow_ips: account.access.ips.text(),
        allow_models: account.access.models.text(),
        allow_levels: account.access.levels.text(),
        model_mapper: account.routing.model_mapper.text(),
        level_mapper: account.routing.level_mapper.text(),
        switch_over: account.routing.switch_over.text(),
        model_failover: account.routing.model_failover.text(),
        call_min_balance: Dollars(minimums.call),
        user_min_balance: Dollars(minimums.opening),
        user_api_balance: Dollars(minimums.managing),
        time_zone: control.zone().name().to_owned(),
    };
    if caller.is_root() {
        // Root's own configuration is that of the system.
        let mut system = ops::settings::get(&control, &caller).await?;
        let mut take = |name| system.remove(name).unwrap_or_default();
        conf = AccountConf {
            resources: take(setting::RESOURCES.name),
            model_mapper: take(setting::MODEL_MAPPER.name),
            level_mapper: take(setting::LEVEL_MAPPER.name),
            switch_over: take(setting::SWITCH_OVER.name),
            model_failover: take(setting::MODEL_FAILOVER.name),
            ..conf
        };
    }
    Ok(Json(conf))
}

/// `/dashboard/status` and its older path.
pub(super) async fn status(
    State(control): State<Control>,
    AnyKeyCaller(caller): AnyKeyCaller,
) -> Result<Json<AccountStatus>, RestError> {
    let account = ops::accounts::caller(&control, &caller).await?;
    let manage = ops::accounts::manages(&control, &caller).await?;
    let is_further = caller.client_key.is_some();
    Ok(Json(AccountStatus {
        object: "user_status",
        id: account.id.get(),
        name: account.name,
        email: account.email,
        alias: account.alias,
        balance: Dollars(account.balance),
        dna: account.dna,
        public_key: account.public_key,
        manage: manage && !is_further,
        admin: caller.is_root(),
        client_key: is_further,
    }))
}

/// The rules that routing and access follow for the caller.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AccountConf)]
pub(super) struct AccountConf {
    object: &'static str,
    resources: String,
    allow_ips: String,
    allow_models: String,
    allow_levels: String,
    model_mapper: String,
    level_mapper: String,
    switch_over: String,
    model_failover: String,
    call_min_balance: Dollars,
    user_min_balance: Dollars,
    user_api_balance: Dollars,
    time_zone: String,
}

/// Who the caller is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AccountStatus)]
pub(super) struct AccountStatus {
    object: &'static str,
    id: i64,
    name: String,
    email: String,
    alias: String,
    balance: Dollars,
    dna: String,
    public_key: String,
    /// Whether it may use the console for accounts.
    manage: bool,
    /// Whether it may use the console for the whole system.
    admin: bool,
    /// Whether it is a further client key, which can only make calls and read about its account.
    client_key: bool,
}

/// The flat object that every page reads. All numbers are always there: pages compute with them.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AccountInfo)]
pub(super) struct AccountInfo {
    id: i64,
    name: String,
    email: String,
    alias: String,
    dna: String,
    #[schema(maximum = 10)]
    level: u8,
    gear: u8,
    role: i32,
    tier: i32,
    child: u64,
    rates: Ratio,
    factor: Ratio,
    // The older and the newer name of one moment.
    #[schema(format = DateTime)]
    create_at: String,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
    credit_balance: Vec<CardRow>,
    credit_used: Dollars,
    balance: Dollars,
    hard_limit: Dollars,
    soft_limit: Dollars,
    auto_quota: Dollars,
    daily_usage: UsedTotals,
    monthly_usage: UsedTotals,
    // The older and the newer name of one number.
    rate_limit: u64,
    rpm: u64,
    rph: u64,
    rpd: u64,
    tpm: u64,
    tph: u64,
    tpd: u64,
    child_limit: u64,
    #[schema(value_type = BTreeMap<String, BTreeMap<String, u64>>)]
    model_limits: Map<String, Value>,
    binding: RestrictionsRow,
    /// The further client key of the request; null for the account's first.
    client_key: Option<client_keys::ClientKeyRow>,
}

/// What calls have to pass, of the caller's own and of the accounts above it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Binding)]
struct RestrictionsRow {
    /// Lists that must each allow a call; none if everything is allowed.
    allow_ips: Vec<String>,
    allow_models: Vec<String>,
    allow_levels: Vec<String>,
    resources: Vec<String>,
    /// 0 for none.
    hard_limit: Dollars,
    /// 0 for the setting's limit.
    calls_max: u32,
    suspended: bool,
}

fn flat(
    account: Account,
    (today, month): (UsageTotals, UsageTotals),
    binding: EffectiveRestrictions,
    zone: &Zone,
) -> AccountInfo {
    let limit = |limit: Option<Money>| Dollars(limit.unwrap_or(Money::ZERO));
    let created = zone.rfc3339(account.created);
    AccountInfo {
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
        daily_usage: today.into(),
        monthly_usage: month.into(),
        rate_limit: account.limits.rpm,
        rpm: account.limits.rpm,
        rph: account.limits.rph,
        rpd: account.limits.rpd,
        tpm: account.limits.tpm,
        tph: account.limits.tph,
        tpd: account.limits.tpd,
        child_limit: account.child_limit,
        model_limits: account.model_limits.object(),
        client_key: None,
        binding: RestrictionsRow {
            allow_ips: binding.ips,
            allow_models: binding.models,
            allow_levels: binding.levels,
            resources: binding.resources,
            hard_limit: limit(binding.hard_limit),
            calls_max: binding.calls_max.map_or(0, NonZeroU32::get),
            suspended: binding.suspended,
        },
    }
}
