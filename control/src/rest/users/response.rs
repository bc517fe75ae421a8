//! Responses of `/x-users` and `/x-dna`, with the keys that the pages expect.

use proxyxai_contract::{client_key::ClientKey, clock::Zone, money::Money};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::{ToSchema, openapi::Schema};

use super::super::response::{CardRow, Dollars, Ratio, cards, mask, words};
use crate::model::{Account, AccountChangeResult};

/// A row of a listing.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = Account)]
pub(in crate::rest) struct AccountRow {
    #[serde(rename = "ID")]
    id: i64,
    #[schema(maximum = 10)]
    level: u8,
    name: String,
    rates: Ratio,
    credit_used: Dollars,
    credit_balance: Vec<CardRow>,
    credit_granted: Dollars,
    hard_limit: Dollars,
    soft_limit: Dollars,
    #[serde(rename = "RPM")]
    rpm: u64,
    // Its name until 2024.
    rate_limit: u64,
    #[schema(value_type = BTreeMap<String, BTreeMap<String, u64>>)]
    model_limits: Map<String, Value>,
    child_limit: u64,
    child: u64,
    requests: u64,
    status: bool,
    suspended: bool,
    /// What the cards hold, less the debt, which is on none of them.
    balance: Dollars,
    email: String,
    email_verified: bool,
    partial_key: String,
    /// Never the key itself.
    #[schema(schema_with = mask)]
    secret_key: &'static str,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
}

pub(super) fn row(account: &Account, zone: &Zone) -> AccountRow {
    AccountRow {
        id: account.id.get(),
        level: account.level.get(),
        rates: Ratio(account.rates),
        credit_used: Dollars(account.credit_used),
        credit_balance: cards(&account.cards, zone),
        credit_granted: Dollars(account.credit_granted),
        hard_limit: limit(account.hard_limit),
        soft_limit: limit(account.soft_limit),
        rpm: account.limits.rpm,
        rate_limit: account.limits.rpm,
        model_limits: account.model_limits.object(),
        child_limit: account.child_limit,
        child: account.children,
        requests: account.requests,
        status: account.enabled,
        suspended: account.suspended,
        balance: Dollars(account.balance),
        name: account.name.clone(),
        email: account.email.clone(),
        email_verified: account.addresses.email.is_some(),
        partial_key: account.partial_key.clone(),
        secret_key: "***",
        created_at: zone.rfc3339(account.created),
        updated_at: zone.rfc3339(account.updated),
    }
}

/// Answer to a change: what was done, the operator and the account after it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = AccountChanged)]
pub(in crate::rest) struct AccountChanged {
    #[schema(schema_with = actions)]
    action: &'static str,
    parent: ChangedParent,
    user: ChangedAccount,
}

/// The same, and what became of the credit, in the operator's units.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = AccountDeleted)]
pub(in crate::rest) struct AccountDeleted {
    #[schema(schema_with = actions)]
    action: &'static str,
    parent: DeletionSide,
    user: DeletionSide,
    refund: Dollars,
    /// What calls under way may still cost; what they do not use is released when they end.
    pending: Dollars,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = ChangedParent)]
pub(in crate::rest) struct ChangedParent {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    balance: Option<Dollars>,
    child: u64,
    child_limit: u64,
    credit_balance: Vec<CardRow>,
    hard_limit: Dollars,
    #[serde(rename = "ID")]
    id: i64,
    #[schema(maximum = 10)]
    level: u8,
    name: String,
    #[serde(rename = "RPM")]
    rpm: u64,
    rate_limit: u64,
    rates: Ratio,
    soft_limit: Dollars,
}

// No `Debug`: it holds a client key in clear.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = ChangedAccount)]
pub(in crate::rest) struct ChangedAccount {
    #[serde(rename = "ID")]
    id: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    alias: Option<String>,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    secret_key: Option<String>,
    updates: AccountUpdates,
}

/// The account after the change. `Child` stands in the answer to creating, `ChildLimit` and `Status`
/// in that to updating.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = AccountUpdates)]
struct AccountUpdates {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    child: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    child_limit: Option<u64>,
    credit_balance: Vec<CardRow>,
    balance: Dollars,
    credit_granted: Dollars,
    email: String,
    hard_limit: Dollars,
    #[schema(maximum = 10)]
    level: u8,
    name: String,
    #[serde(rename = "RPM")]
    rpm: u64,
    rates: Ratio,
    soft_limit: Dollars,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    status: Option<bool>,
}

/// What is shown of either side of a deletion.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = DeletionSide)]
pub(super) struct DeletionSide {
    credit_balance: Vec<CardRow>,
    #[serde(rename = "ID")]
    id: i64,
    name: String,
    rates: Ratio,
}

pub(super) fn created(
    changed: &AccountChangeResult,
    key: &ClientKey,
    zone: &Zone,
) -> AccountChanged {
    let account = &changed.account;
    AccountChanged {
        action: "add",
        parent: parent(&changed.operator, zone),
        user: ChangedAccount {
            id: account.id.get(),
            alias: Some(account.alias.clone()),
            name: account.name.clone(),
            secret_key: Some(key.expose().to_owned()),
            updates: AccountUpdates {
                child: Some(account.children),
                ..updates(account, account.credit_granted, zone)
            },
        },
    }
}

/// The response to an update. `moved` is the credit that this change moved, or 0.
pub(super) fn updated(changed: &AccountChangeResult, moved: Money, zone: &Zone) -> AccountChanged {
    let (account, operator) = (&changed.account, &changed.operator);
    AccountChanged {
        action: "update",
        parent: ChangedParent {
            balance: Some(Dollars(operator.balance)),
            ..parent(operator, zone)
        },
        user: ChangedAccount {
            id: account.id.get(),
            alias: None,
            name: account.name.clone(),
            secret_key: None,
            updates: AccountUpdates {
                child_limit: Some(account.child_limit),
                status: Some(account.enabled),
                ..updates(account, moved, zone)
            },
        },
    }
}

pub(super) fn deleted(changed: &AccountChangeResult, zone: &Zone) -> AccountDeleted {
    let side = |account: &Account| DeletionSide {
        credit_balance: cards(&account.cards, zone),
        id: account.id.get(),
        name: account.name.clone(),
        rates: Ratio(account.rates),
    };
    AccountDeleted {
        action: "delete",
        parent: side(&changed.operator),
        user: side(&changed.account),
        refund: Dollars(changed.refund),
        pending: Dollars(changed.pending),
    }
}

fn parent(account: &Account, zone: &Zone) -> ChangedParent {
    ChangedParent {
        balance: None,
        child: account.children,
        child_limit: account.child_limit,
        credit_balance: cards(&account.cards, zone),
        hard_limit: limit(account.hard_limit),
        id: account.id.get(),
        level: account.level.get(),
        name: account.name.clone(),
        rpm: account.limits.rpm,
        rate_limit: account.limits.rpm,
        rates: Ratio(account.rates),
        soft_limit: limit(account.soft_limit),
    }
}

fn updates(account: &Account, granted: Money, zone: &Zone) -> AccountUpdates {
    AccountUpdates {
        child: None,
        child_limit: None,
        credit_balance: cards(&account.cards, zone),
        balance: Dollars(account.balance),
        credit_granted: Dollars(granted),
        email: account.email.clone(),
        hard_limit: limit(account.hard_limit),
        level: account.level.get(),
        name: account.name.clone(),
        rpm: account.limits.rpm,
        rates: Ratio(account.rates),
        soft_limit: limit(account.soft_limit),
        status: None,
    }
}

/// The schema of actions on an account or a key.
pub(in crate::rest) fn actions() -> Schema {
    words(["add", "update", "delete"])
}

/// Pages compute with it, so "no limit" is sent as 0.
pub(super) fn limit(limit: Option<Money>) -> Dollars {
    Dollars(limit.unwrap_or(Money::ZERO))
}
