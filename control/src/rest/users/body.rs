//! Bodies of creating and changing an account.

use proxyxai_contract::{Invalid, money::Money};
use serde::Deserialize;
use utoipa::ToSchema;

use super::super::{
    body::{Body, Shape, body},
    fields::{
        Count, DollarAmount, Flag, LevelNumber, Micros, MultiplierNumber, ObjectText, Rules,
        SignedDollars, Text, Whole,
    },
};
use crate::model::{AccountChange, NewAccount, RateLimitsChange};

/// A new account: everything that can be changed of one, with a name, an address and credit.
#[derive(ToSchema)]
pub(in super::super) struct CreateAccount {
    #[serde(flatten)]
    needed: AccountNeeds,
    #[serde(flatten)]
    rest: UpdateAccount,
}
body!(CreateAccount: needed AccountNeeds, rest UpdateAccount);

/// What an account cannot be created without.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
struct AccountNeeds {
    /// Unique whatever its case; 4 to 63 characters with a letter, without `/` and `@`.
    name: Text,
    /// Unique; kept in lower case.
    email: Text,
    /// Its first credit, in units of the account: dollars where its `Rates` are 1. At least `USER_MIN_BALANCE`. The
    /// caller pays it.
    credit_granted: SignedDollars,
}
body!(AccountNeeds);

/// Changes of an account. What is left out stays as it is, or is at its default in a new account. A whole row of a
/// listing may be sent back: what is only shown is passed over.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(in super::super) struct UpdateAccount {
    /// Unique whatever its case; 4 to 63 characters with a letter, no `/` or `@`, no leading `.`, none of `<`, `>`, `&`,
    /// `"` and the backtick, nothing that is not seen, and nothing that reads as `root`. Passed over when it is the
    /// identifier in the path.
    name: Option<Text>,
    /// Its address: unique, kept in lower case.
    email: Option<Text>,
    /// Display name on pages; by default the name. The account itself may change it.
    alias: Option<Text>,
    /// A further address that gets its bills. The account itself may change it.
    billing_email: Option<Text>,
    /// URL of a picture, `http://` or `https://`, at most 2048 bytes: how its users reach support.
    #[serde(rename = "QRCode")]
    qr_code: Option<Text>,
    /// If false, its keys and those of all accounts below it are refused. Default: true.
    status: Option<Flag>,
    /// If true, its keys and those of all accounts below it are refused. Default: false.
    suspended: Option<Flag>,
    /// Credit to grant or, if negative, to take back (which costs the caller $0.2; root nothing), in units of the
    /// account: dollars if its `Rates` are 1. 0 moves nothing.
    credit_granted: Option<SignedDollars>,
    /// Days after which the credit of this grant expires, fractions allowed; 365 by default. It expires no later than
    /// the credit that pays for it.
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 365)]
    days: Option<Micros>,
    /// Level of upstream keys for models that no mapper maps to another; by default the parent's.
    level: Option<LevelNumber>,
    /// How many times a call may switch to another level; by default the parent's.
    #[schema(value_type = Option<i32>, minimum = 0, maximum = 10)]
    gear: Option<Whole<u8>>,
    /// A label of the operator; 0 by default.
    #[schema(value_type = Option<i32>)]
    role: Option<Whole<i32>>,
    /// A label of the operator; 0 by default.
    #[schema(value_type = Option<i32>)]
    tier: Option<Whole<i32>>,
    /// Multiplies the cost of its calls. At least the parent's, which is the default; a change rescales its credit.
    rates: Option<MultiplierNumber>,
    /// Multiplies costs like `Rates` and is root's alone to set; the parent's by default.
    factor: Option<MultiplierNumber>,
    /// Spending limit for a calendar month, in dollars; 0 for no limit of its own. At most the parent's. By default its
    /// credit, rounded up to a multiple of 100.
    hard_limit: Option<DollarAmount>,
    /// Spending in a calendar month at which it gets an alert by mail, in dollars; by default 80 % of the hard limit.
    soft_limit: Option<DollarAmount>,
    /// The step by which the hard limit rises when it is reached, in dollars; 0 for none.
    auto_quota: Option<DollarAmount>,
    /// Maximum number of direct children; by default the parent's.
    child_limit: Option<Count>,
    /// Requests a minute, at most the parent's.
    #[serde(rename = "RPM")]
    rpm: Option<Count>,
    /// The older name of `RPM`, which takes precedence.
    rate_limit: Option<Count>,
    /// Requests an hour, at most the parent's.
    #[serde(rename = "RPH")]
    rph: Option<Count>,
    /// Requests a day, at most the parent's.
    #[serde(rename = "RPD")]
    rpd: Option<Count>,
    /// Tokens a minute, at most the parent's.
    #[serde(rename = "TPM")]
    tpm: Option<Count>,
    /// Tokens an hour, at most the parent's.
    #[serde(rename = "TPH")]
    tph: Option<Count>,
    /// Tokens a day, at most the parent's.
    #[serde(rename = "TPD")]
    tpd: Option<Count>,
    /// Open calls of it and all accounts below it on one data plane; 0 for `CALLS_PER_ACCOUNT_MAX`. By default the
    /// parent's.
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 1_000_000)]
    calls_max: Option<Whole<i64>>,
    /// Limits by model, such as `{"gpt-4*": {"rpm": 5, "tpd": 100000}}`. They replace those it has, and an empty object
    /// removes them.
    model_limits: Option<ObjectText>,
    /// Addresses its key may be used from, as an edit of the list: `10.0.0.0/8` adds, `-10.0.0.0/8` removes, `*` allows
    /// all, `-*` none; several separated by commas or blanks. The lists of the accounts above it apply too.
    #[serde(rename = "AllowIPs")]
    allow_ips: Option<Text>,
    /// The older spelling of a removal from `AllowIPs`, and not to be sent with it.
    #[serde(rename = "DenyIPs")]
    deny_ips: Option<Text>,
    /// Models that it may call, as an edit of the list, in which `*` stands for any run of characters.
    allow_models: Option<Text>,
    /// The older spelling of a removal from `AllowModels`, and not to be sent with it.
    deny_models: Option<Text>,
    /// Levels that its calls may go to, as an edit of the list.
    allow_levels: Option<Text>,
    /// Paths that it may call, as an edit of the list.
    resources: Option<Text>,
    /// Maps models to others. Replaces its rule; an empty one removes it, and then that of the nearest account above
    /// applies.
    model_mapper: Option<Rules>,
    /// Maps models to levels: `pattern=level`.
    level_mapper: Option<Rules>,
    /// The level that a call switches to if its own has no usable key: `from=to,…`.
    switch_over: Option<Text>,
    /// Models to fall back to if one is not available: `source=first|second`, at most 16 in a chain.
    model_failover: Option<Rules>,
}
body!(
    UpdateAccount,
    shown: [
        "ID", "DNA", "OID", "ParentID", "Balance", "CreditBalance", "CreditUsed", "Requests", "Child", "PartialKey",
        "SecretKey", "PublicKey", "CreatedAt", "UpdatedAt", "DailyUsage", "MonthlyUsage", "EmailVerified",
        "EmailVerifiedBy", "EmailVerifiedAt", "BillingEmailVerifiedBy", "BillingEmailVerifiedAt",
    ]
);

pub(super) fn new_account(body: CreateAccount) -> Result<NewAccount, Invalid> {
    let CreateAccount { needed, rest } = body;
    let mut change = change(rest)?;
    Ok(NewAccount {
        name: needed.name.0,
        email: needed.email.0,
        credit: needed.credit_granted.0,
        alias: change.alias.take(),
        billing_email: change.billing_email.take(),
        days_micros: change.days_micros.take(),
        change: AccountChange {
            name: None,
            email: None,
            credit: None,
            ..change
        },
    })
}

pub(super) fn change(body: UpdateAccount) -> Result<AccountChange, Invalid> {
    Ok(AccountChange {
        limits: limits(&body),
        name: text(body.name),
        email: text(body.email),
        alias: text(body.alias),
        billing_email: text(body.billing_email),
        qr_code: text(body.qr_code),
        enabled: body.status.map(|it| it.0),
        suspended: body.suspended.map(|it| it.0),
        // The pages send 0 with every change that moves no money.
        credit: body
            .credit_granted
            .map(|it| it.0)
            .filter(|credit| *credit != Money::ZERO),
        days_micros: body.days.map(|it| it.0),
        reference: None,
        level: body.level.map(|it| it.0),
        gear: body.gear.map(gear).transpose()?,
        role: body.role.map(|it| it.0),
        tier: body.tier.map(|it| it.0),
        rates: body.rates.map(|it| it.0),
        factor: body.factor.map(|it| it.0),
        hard_limit: body.hard_limit.map(|it| it.0),
        soft_limit: body.soft_limit.map(|it| it.0),
        auto_quota: body.auto_quota.map(|it| it.0),
        child_limit: body.child_limit.map(|it| it.0),
        calls_max: body.calls_max.map(|it| it.0),
        model_limits: body.model_limits.map(ObjectText::checked).transpose()?,
        allow_ips: edit(body.allow_ips, body.deny_ips, ("AllowIPs", "DenyIPs"))?,
        allow_models: edit(
            body.allow_models,
            body.deny_models,
            ("AllowModels", "DenyModels"),
        )?,
        allow_levels: text(body.allow_levels),
        resources: text(body.resources),
        model_mapper: body.model_mapper.map(|it| it.0),
        level_mapper: body.level_mapper.map(|it| it.0),
        switch_over: text(body.switch_over),
        model_failover: body.model_failover.map(|it| it.0),
    })
}

fn text(given: Option<Text>) -> Option<String> {
    given.map(|it| it.0)
}

fn gear(Whole(gear): Whole<u8>) -> Result<u8, Invalid> {
    if gear > 10 {
        return Err(Invalid::new("Gear", "must be from 0 to 10"));
    }
    Ok(gear)
}

fn limits(body: &UpdateAccount) -> RateLimitsChange {
    let window = |count: &Option<Count>| count.as_ref().map(|it| it.0);
    RateLimitsChange {
        rpm: window(&body.rpm).or(window(&body.rate_limit)),
        rph: window(&body.rph),
        rpd: window(&body.rpd),
        tpm: window(&body.tpm),
        tph: window(&body.tph),
        tpd: window(&body.tpd),
    }
}

/// An edit of an access list, or the older field for removals.
fn edit(
    added: Option<Text>,
    denied: Option<Text>,
    (allow, deny): (&str, &str),
) -> Result<Option<String>, Invalid> {
    let denied = text(denied).filter(|text| !text.trim().is_empty());
    match (text(added), denied) {
        (added, None) => Ok(added),
        (None, Some(denied)) => Ok(Some(format!("-{}", denied.trim()))),
        (Some(_), Some(_)) => Err(Invalid::new(deny, format!("cannot be sent with {allow}"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::super::body::read, *};

    fn change(body: &str) -> Result<AccountChange, Invalid> {
        read(body.as_bytes()).and_then(super::change)
    }

    fn new_account(body: &str) -> Result<NewAccount, Invalid> {
        read(body.as_bytes()).and_then(super::new_account)
    }

    #[test]
    fn an_empty_body_changes_nothing() {
        let change = change("{}").unwrap();
        assert_eq!(
            format!("{change:?}"),
            format!("{:?}", AccountChange::default())
        );
    }

    #[test]
    fn creating_needs_name_email_and_credit() {
        let whole = r#"{"Name":"anna","Email":"a@b.co","CreditGranted":100}"#;
        assert!(new_account(whole).is_ok());
        for (body, field) in [
            (r#"{"Email":"a@b.co","CreditGranted":100}"#, "Name"),
            (r#"{"Name":"anna","CreditGranted":100}"#, "Email"),
            (r#"{"Name":"anna","Email":"a@b.co"}"#, "CreditGranted"),
            (
                r#"{"Name":"anna","Email":"a@b.co","CreditGranted":"100"}"#,
                "CreditGranted",
            ),
        ] {
            assert_eq!(new_account(body).unwrap_err().field, field);
        }
    }

    #[test]
    fn a_misspelt_field_is_named_and_a_foreign_one_is_passed_over() {
        for (given, meant) in [
            ("Emial", "Email"),
            ("email", "Email"),
            ("allow_models", "AllowModels"),
            ("AllowModel", "AllowModels"),
            ("Rate", "Rates"),
            ("rpm", "RPM"),
            ("CreditGrant", "CreditGranted"),
            ("HardLimits", "HardLimit"),
        ] {
            let refused = change(&json!({ given: null }).to_string()).unwrap_err();
            assert_eq!(refused.field, given);
            assert!(refused.problem.contains(&format!("`{meant}`")), "{refused}");
        }
        for foreign in [
            "Note",
            "Department",
            "QPS",
            "X",
            "Limit",
            "rates_of_last_year",
        ] {
            assert!(
                change(&json!({ foreign: 1 }).to_string()).is_ok(),
                "{foreign}"
            );
        }
    }

    #[test]
    fn old_spellings_are_understood() {
        let read = |body| change(body).unwrap();
        assert_eq!(read(r#"{"RateLimit":5}"#).limits.rpm, Some(5));
        assert_eq!(read(r#"{"RateLimit":5,"RPM":6}"#).limits.rpm, Some(6));
        let both = read(r#"{"Status":true,"Suspended":true}"#);
        assert_eq!((both.enabled, both.suspended), (Some(true), Some(true)));
        let denied = read(r#"{"DenyIPs":"10.0.0.1,10.0.0.2","DenyModels":"*"}"#);
        assert_eq!(denied.allow_ips.as_deref(), Some("-10.0.0.1,10.0.0.2"));
        assert_eq!(denied.allow_models.as_deref(), Some("-*"));
        assert!(change(r#"{"DenyIPs":"*","AllowIPs":"*"}"#).is_err());
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        for (body, field) in [
            (r#"{"Gear":11}"#, "Gear"),
            (r#"{"Gear":-1}"#, "Gear"),
            (r#"{"Level":11}"#, "Level"),
            (r#"{"RPM":-1}"#, "RPM"),
            (r#"{"HardLimit":-1}"#, "HardLimit"),
            (r#"{"Rates":0}"#, "Rates"),
            (r#"{"Days":-1}"#, "Days"),
            (r#"{"ChildLimit":1.5}"#, "ChildLimit"),
        ] {
            assert_eq!(change(body).unwrap_err().field, field, "{body}");
        }
    }
}
