//! The response of `/x-info`: a row of the listing and all other details of the account.

use std::num::NonZeroU32;

use proxyxai_contract::{
    clock::Zone,
    id::AccountId,
    routing::RoutingRules,
    snapshot::AccessLists,
    window::{ModelLimits, RateLimits},
};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{
    super::response::{Dollars, Ratio, UsedTotals},
    response::{AccountRow, row},
};
use crate::model::{Account, AddressVerification, UsageTotals};

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = AccountDetail)]
pub(in crate::rest) struct AccountDetail {
    #[serde(flatten)]
    row: AccountRow,
    alias: String,
    billing_email: String,
    /// How the addresses were verified, `root` or `link`, and when; empty for unverified ones.
    email_verified_by: &'static str,
    email_verified_at: String,
    billing_email_verified_by: &'static str,
    billing_email_verified_at: String,
    #[serde(rename = "QRCode")]
    qr_code: String,
    public_key: String,
    #[serde(rename = "DNA")]
    dna: String,
    // 0 for root.
    #[serde(rename = "ParentID")]
    parent_id: i64,
    #[serde(rename = "OID")]
    owner_id: i64,
    gear: u8,
    role: i32,
    tier: i32,
    factor: Ratio,
    auto_quota: Dollars,
    /// 0 for the setting's limit.
    calls_max: u32,
    #[serde(flatten)]
    windows: AccountWindows,
    #[serde(flatten)]
    rules: AccountRules,
    daily_usage: UsedTotals,
    monthly_usage: UsedTotals,
}

/// Windows besides `RPM`, which is in the row.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schema(as = AccountWindows)]
struct AccountWindows {
    rph: u64,
    rpd: u64,
    tpm: u64,
    tph: u64,
    tpd: u64,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = AccountRules)]
struct AccountRules {
    #[serde(rename = "AllowIPs")]
    allow_ips: String,
    allow_models: String,
    allow_levels: String,
    resources: String,
    model_mapper: String,
    level_mapper: String,
    switch_over: String,
    model_failover: String,
    #[schema(value_type = BTreeMap<String, BTreeMap<String, u64>>)]
    model_limits: Map<String, Value>,
}

pub(super) fn detail(
    account: Account,
    today: UsageTotals,
    month: UsageTotals,
    zone: &Zone,
) -> AccountDetail {
    let RateLimits {
        rpm: _,
        rph,
        rpd,
        tpm,
        tph,
        tpd,
    } = account.limits;
    let by = |verified: Option<AddressVerification>| verified.map_or("", |it| it.by.as_str());
    let since = |verified: Option<AddressVerification>| {
        verified.map_or_else(String::new, |it| zone.rfc3339(it.at))
    };
    AccountDetail {
        row: row(&account, zone),
        public_key: account.public_key,
        dna: account.dna,
        parent_id: account.parent.map_or(0, AccountId::get),
        // There is one tenant, and root owns it.
        owner_id: AccountId::ROOT.get(),
        alias: account.alias,
        billing_email: account.billing_email,
        email_verified_by: by(account.addresses.email),
        email_verified_at: since(account.addresses.email),
        billing_email_verified_by: by(account.addresses.billing),
        billing_email_verified_at: since(account.addresses.billing),
        qr_code: account.qr_code,
        gear: account.gear,
        role: account.role,
        tier: account.tier,
        factor: Ratio(account.factor),
        auto_quota: Dollars(account.auto_quota),
        calls_max: account.calls_max.map_or(0, NonZeroU32::get),
        windows: AccountWindows {
            rph,
            rpd,
            tpm,
            tph,
            tpd,
        },
        rules: rules(&account.access, &account.routing, &account.model_limits),
        daily_usage: today.into(),
        monthly_usage: month.into(),
    }
}

fn rules(access: &AccessLists, routing: &RoutingRules, limits: &ModelLimits) -> AccountRules {
    let AccessLists {
        ips,
        models,
        levels,
        resources,
    } = access;
    let RoutingRules {
        model_mapper,
        level_mapper,
        switch_over,
        model_failover,
    } = routing;
    AccountRules {
        allow_ips: ips.text(),
        allow_models: models.text(),
        allow_levels: levels.text(),
        resources: resources.text(),
        model_mapper: model_mapper.text(),
        level_mapper: level_mapper.text(),
        switch_over: switch_over.text(),
        model_failover: model_failover.text(),
        model_limits: limits.object(),
    }
}
