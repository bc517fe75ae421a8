//! Bodies of creating and changing an account.

use proxyxai_contract::{Invalid, money::Money};

use super::super::fields::Fields;
use crate::view::{AccountChange, LimitsChange, NewAccount};

/// Fields that count, and those that are only shown: a whole row may be sent back.
const FIELDS: [&str; 59] = [
    "Name",
    "Email",
    "Alias",
    "BillingEmail",
    "QRCode",
    "Status",
    "Suspended",
    "CreditGranted",
    "Days",
    "Level",
    "Gear",
    "Role",
    "Tier",
    "Rates",
    "Factor",
    "HardLimit",
    "SoftLimit",
    "AutoQuota",
    "ChildLimit",
    "RPM",
    "RateLimit",
    "RPH",
    "RPD",
    "TPM",
    "TPH",
    "TPD",
    "CallsMax",
    "ModelLimits",
    "AllowIPs",
    "DenyIPs",
    "AllowModels",
    "DenyModels",
    "AllowLevels",
    "Resources",
    "ModelMapper",
    "LevelMapper",
    "SwitchOver",
    "ModelFailover",
    "ID",
    "DNA",
    "OID",
    "ParentID",
    "Balance",
    "CreditBalance",
    "CreditUsed",
    "Requests",
    "Child",
    "PartialKey",
    "SecretKey",
    "PublicKey",
    "CreatedAt",
    "UpdatedAt",
    "DailyUsage",
    "MonthlyUsage",
    "EmailVerified",
    "EmailVerifiedBy",
    "EmailVerifiedAt",
    "BillingEmailVerifiedBy",
    "BillingEmailVerifiedAt",
];

pub(super) fn new_account(body: &Fields) -> Result<NewAccount, Invalid> {
    let credit = body.money("CreditGranted")?;
    Ok(NewAccount {
        name: body.required_text("Name")?,
        email: body.required_text("Email")?,
        credit: credit.ok_or_else(|| Invalid::new("CreditGranted", "is missing"))?,
        alias: body.text("Alias")?,
        billing_email: body.text("BillingEmail")?,
        days_micros: body.micros("Days")?,
        change: AccountChange {
            name: None,
            email: None,
            alias: None,
            billing_email: None,
            credit: None,
            days_micros: None,
            ..change(body)?
        },
    })
}

pub(super) fn change(body: &Fields) -> Result<AccountChange, Invalid> {
    body.check_spelling(&FIELDS)?;
    Ok(AccountChange {
        name: body.text("Name")?,
        email: body.text("Email")?,
        alias: body.text("Alias")?,
        billing_email: body.text("BillingEmail")?,
        qr_code: body.text("QRCode")?,
        enabled: body.flag("Status")?,
        suspended: body.flag("Suspended")?,
        // The pages send 0 with every change that moves no money.
        credit: body
            .money("CreditGranted")?
            .filter(|credit| *credit != Money::ZERO),
        days_micros: body.micros("Days")?,
        reference: None,
        level: body.level("Level")?,
        gear: gear(body)?,
        role: body.whole("Role")?,
        tier: body.whole("Tier")?,
        rates: body.multiplier("Rates")?,
        factor: body.multiplier("Factor")?,
        hard_limit: body.amount("HardLimit")?,
        soft_limit: body.amount("SoftLimit")?,
        auto_quota: body.amount("AutoQuota")?,
        child_limit: window(body, "ChildLimit")?,
        limits: limits(body)?,
        calls_max: body.whole("CallsMax")?,
        model_limits: body.json("ModelLimits")?,
        allow_ips: edit(body, "AllowIPs", "DenyIPs")?,
        allow_models: edit(body, "AllowModels", "DenyModels")?,
        allow_levels: body.text("AllowLevels")?,
        resources: body.text("Resources")?,
        model_mapper: body.rules("ModelMapper")?,
        level_mapper: body.rules("LevelMapper")?,
        switch_over: body.text("SwitchOver")?,
        model_failover: body.rules("ModelFailover")?,
    })
}

fn gear(body: &Fields) -> Result<Option<u8>, Invalid> {
    match body.whole("Gear")? {
        Some(gear) if gear > 10 => Err(Invalid::new("Gear", "must be from 0 to 10")),
        gear => Ok(gear),
    }
}

fn limits(body: &Fields) -> Result<LimitsChange, Invalid> {
    let rpm = window(body, "RPM")?;
    let older_rpm = window(body, "RateLimit")?;
    Ok(LimitsChange {
        rpm: rpm.or(older_rpm),
        rph: window(body, "RPH")?,
        rpd: window(body, "RPD")?,
        tpm: window(body, "TPM")?,
        tph: window(body, "TPH")?,
        tpd: window(body, "TPD")?,
    })
}

fn window(body: &Fields, name: &str) -> Result<Option<u64>, Invalid> {
    match body.whole::<i64>(name)?.map(u64::try_from).transpose() {
        Ok(window) => Ok(window),
        Err(_) => Err(Invalid::new(name, "must not be negative")),
    }
}

/// An edit of an access list, or its older spelling where removal had a field of its own.
fn edit(body: &Fields, allow: &str, deny: &str) -> Result<Option<String>, Invalid> {
    let added = body.text(allow)?;
    let denied = body.text(deny)?.filter(|text| !text.trim().is_empty());
    match (added, denied) {
        (added, None) => Ok(added),
        (None, Some(denied)) => Ok(Some(format!("-{}", denied.trim()))),
        (Some(_), Some(_)) => Err(Invalid::new(deny, format!("cannot be sent with {allow}"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(body: &str) -> Fields {
        Fields::parse(body.as_bytes()).unwrap()
    }

    #[test]
    fn an_empty_body_changes_nothing() {
        let change = change(&fields("{}")).unwrap();
        assert_eq!(
            format!("{change:?}"),
            format!("{:?}", AccountChange::default())
        );
    }

    #[test]
    fn creating_needs_name_email_and_credit() {
        let whole = r#"{"Name":"anna","Email":"a@b.co","CreditGranted":100}"#;
        assert!(new_account(&fields(whole)).is_ok());
        for (body, field) in [
            (r#"{"Email":"a@b.co","CreditGranted":100}"#, "Name"),
            (r#"{"Name":"anna","CreditGranted":100}"#, "Email"),
            (r#"{"Name":"anna","Email":"a@b.co"}"#, "CreditGranted"),
            (
                r#"{"Name":"anna","Email":"a@b.co","CreditGranted":"100"}"#,
                "CreditGranted",
            ),
        ] {
            assert_eq!(new_account(&fields(body)).unwrap_err().field, field);
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
            let refused = change(&fields(&json!({ given: null }).to_string())).unwrap_err();
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
                change(&fields(&json!({ foreign: 1 }).to_string())).is_ok(),
                "{foreign}"
            );
        }
    }

    #[test]
    fn old_spellings_are_understood() {
        let read = |body| change(&fields(body)).unwrap();
        assert_eq!(read(r#"{"RateLimit":5}"#).limits.rpm, Some(5));
        assert_eq!(read(r#"{"RateLimit":5,"RPM":6}"#).limits.rpm, Some(6));
        let both = read(r#"{"Status":true,"Suspended":true}"#);
        assert_eq!((both.enabled, both.suspended), (Some(true), Some(true)));
        let denied = read(r#"{"DenyIPs":"10.0.0.1,10.0.0.2","DenyModels":"*"}"#);
        assert_eq!(denied.allow_ips.as_deref(), Some("-10.0.0.1,10.0.0.2"));
        assert_eq!(denied.allow_models.as_deref(), Some("-*"));
        assert!(change(&fields(r#"{"DenyIPs":"*","AllowIPs":"*"}"#)).is_err());
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
            assert_eq!(change(&fields(body)).unwrap_err().field, field, "{body}");
        }
    }
}
