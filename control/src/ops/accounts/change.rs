//! The fields that creating and changing an account have in common. Money is not among them.

use proxyxai_contract::{
    Invalid,
    money::Money,
    routing::{LevelMapper, ModelFailover, ModelMapper, SwitchOver},
    snapshot::AccountConfig,
    window::ModelLimits,
};

use crate::{
    Error,
    domain::account::{check_email, check_label, check_link},
    model::AccountChange,
    store::AccountRecord,
};

/// The greatest number of level switches that a request may be allowed.
const GEAR_MAX: u8 = 10;
pub(super) const TEXT_BYTES_MAX: usize = 255;
const URL_BYTES_MAX: usize = 2048;
const TEXT_RULES_BYTES_MAX: usize = 65_536;

/// Applies the given fields, except names and money. The caller handles windows.
pub(super) fn apply(
    record: &mut AccountRecord,
    change: &AccountChange,
    by_root: bool,
) -> Result<(), Error> {
    let view = &mut record.account;
    if let Some(factor) = change.factor {
        // Pages send back the fields that they were shown.
        if !by_root && factor != view.factor {
            return Err(Error::Forbidden("only root may set Factor"));
        }
        view.factor = factor;
    }
    if let Some(gear) = change.gear {
        if gear > GEAR_MAX {
            return Err(Invalid::new("Gear", format!("must be from 0 to {GEAR_MAX}")).into());
        }
        view.gear = gear;
    }
    if let Some(limit) = change.hard_limit {
        view.hard_limit = limit_of("HardLimit", limit)?;
    }
    if let Some(limit) = change.soft_limit {
        view.soft_limit = limit_of("SoftLimit", limit)?;
    }
    if let Some(step) = change.auto_quota {
        view.auto_quota = limit_of("AutoQuota", step)?.unwrap_or_default();
    }
    if let Some(count) = change.child_limit {
        i64::try_from(count).map_err(|_| Invalid::new("ChildLimit", "is out of range"))?;
        view.child_limit = count;
    }
    if let Some(calls) = change.calls_max {
        view.calls_max = AccountConfig::calls_of(calls).map_err(|error| error.under("CallsMax"))?;
    }
    view.level = change.level.unwrap_or(view.level);
    view.role = change.role.unwrap_or(view.role);
    view.tier = change.tier.unwrap_or(view.tier);
    view.enabled = change.enabled.unwrap_or(view.enabled);
    view.suspended = change.suspended.unwrap_or(view.suspended);
    if let Some(url) = &change.qr_code
        && *url != view.qr_code
    {
        view.qr_code = check_link("QRCode", url, URL_BYTES_MAX)?;
    }
    apply_access(record, change)?;
    apply_rules(record, change)
}

fn apply_access(record: &mut AccountRecord, change: &AccountChange) -> Result<(), Error> {
    let view = &mut record.account;
    for (field, text) in [
        ("AllowIPs", &change.allow_ips),
        ("AllowModels", &change.allow_models),
        ("AllowLevels", &change.allow_levels),
        ("Resources", &change.resources),
    ] {
        check_length(field, text.as_deref())?;
    }
    if let Some(text) = &change.model_limits {
        view.model_limits = ModelLimits::parse(text)?;
    }
    if let Some(edit) = &change.allow_ips {
        view.access.ips = view.access.ips.edited(edit)?;
    }
    if let Some(edit) = &change.allow_models {
        view.access.models = view.access.models.edited(edit)?;
    }
    if let Some(edit) = &change.allow_levels {
        view.access.levels = view.access.levels.edited(edit)?;
    }
    if let Some(edit) = &change.resources {
        view.access.resources = view.access.resources.edited(edit)?;
    }
    Ok(())
}

fn apply_rules(record: &mut AccountRecord, change: &AccountChange) -> Result<(), Error> {
    let rules = &mut record.account.routing;
    set_rule(
        "ModelMapper",
        change.model_mapper.as_ref(),
        &mut rules.model_mapper,
        ModelMapper::parse,
    )?;
    set_rule(
        "LevelMapper",
        change.level_mapper.as_ref(),
        &mut rules.level_mapper,
        LevelMapper::parse,
    )?;
    set_rule(
        "SwitchOver",
        change.switch_over.as_ref(),
        &mut rules.switch_over,
        SwitchOver::parse,
    )?;
    set_rule(
        "ModelFailover",
        change.model_failover.as_ref(),
        &mut rules.model_failover,
        ModelFailover::parse,
    )?;
    Ok(())
}

fn set_rule<T>(
    field: &str,
    text: Option<&String>,
    rule: &mut T,
    parse: impl Fn(&str) -> Result<T, Invalid>,
) -> Result<(), Invalid> {
    check_length(field, text.map(String::as_str))?;
    if let Some(text) = text {
        *rule = parse(text).map_err(|error| error.under(field))?;
    }
    Ok(())
}

fn check_length(field: &str, text: Option<&str>) -> Result<(), Invalid> {
    match text {
        Some(text) if text.len() > TEXT_RULES_BYTES_MAX || text.contains('\0') => {
            let problem = format!("must be text of at most {TEXT_RULES_BYTES_MAX} bytes");
            Err(Invalid::new(field, problem))
        }
        _ => Ok(()),
    }
}

/// An address for bills; empty means none.
pub(super) fn billing_email(text: &str) -> Result<String, Invalid> {
    if text.trim().is_empty() {
        return Ok(String::new());
    }
    check_email(text).map_err(|error| error.under("BillingEmail"))
}

/// A display name; empty means the name itself.
pub(super) fn alias(text: &str, name: &str) -> Result<String, Invalid> {
    let text = check_label("Alias", text, TEXT_BYTES_MAX)?;
    Ok(if text.is_empty() {
        name.to_owned()
    } else {
        text
    })
}

fn limit_of(field: &str, limit: Money) -> Result<Option<Money>, Invalid> {
    if limit.is_negative() {
        return Err(Invalid::new(field, "must not be negative"));
    }
    Ok(Some(limit).filter(|limit| *limit > Money::ZERO))
}
