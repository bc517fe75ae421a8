//! Settings that may change while the gateway runs: their names, defaults and what each may hold.

use std::str::FromStr as _;

use proxyxai_contract::{
    Invalid,
    access::ResourceList,
    money::Money,
    price_file,
    provider::BaseUrl,
    routing::{LevelMapper, ModelMapper, SwitchOver},
    window::ModelLimits,
};
use rust_decimal::Decimal;

/// `src=dst` pairs of models.
pub(crate) const MODEL_MAPPER: &str = "MODEL_MAPPER";
/// `pattern=level` pairs.
pub(crate) const LEVEL_MAPPER: &str = "LEVEL_MAPPER";
/// `from=to` pairs of levels.
pub(crate) const SWITCH_OVER: &str = "SWITCH_OVER";
/// JSON object of windows by model.
pub(crate) const MODEL_LIMITS: &str = "MODEL_LIMITS";
/// Path prefixes that may be called at all.
pub(crate) const RESOURCES: &str = "RESOURCES";
/// Price fields that differ from the table that ships.
pub(crate) const PRICING: &str = "PRICING";
/// `serve` or `refuse`.
pub(crate) const UNPRICED: &str = "UNPRICED";
/// Dollars a call needs.
pub(crate) const CALL_MIN_BALANCE: &str = "CALL_MIN_BALANCE";
/// Dollars a new account must be given.
pub(crate) const USER_MIN_BALANCE: &str = "USER_MIN_BALANCE";
/// Dollars the account API needs.
pub(crate) const USER_API_BALANCE: &str = "USER_API_BALANCE";
/// Base URL of keys posted without one.
pub(crate) const XAI_BASE: &str = "XAI_BASE";

/// All names, with the value each has when nobody gave one.
pub(crate) const ALL: [(&str, &str); 11] = [
    (MODEL_MAPPER, ""),
    (LEVEL_MAPPER, ""),
    (SWITCH_OVER, ""),
    (MODEL_LIMITS, ""),
    (RESOURCES, "*"),
    (PRICING, ""),
    (UNPRICED, "serve"),
    (CALL_MIN_BALANCE, "1"),
    (USER_MIN_BALANCE, "2"),
    (USER_API_BALANCE, "20"),
    (XAI_BASE, "https://api.openai.com"),
];

/// The documented default; empty for an unknown name.
pub(crate) fn default(name: &str) -> &'static str {
    ALL.iter()
        .find(|(known, _)| *known == name)
        .map_or("", |(_, value)| *value)
}

/// Whether the value can be used.
///
/// # Errors
/// Names the setting and its problem, also when there is no such setting.
pub(crate) fn check(name: &str, value: &str) -> Result<(), Invalid> {
    match name {
        MODEL_MAPPER => ModelMapper::parse(value).map(drop),
        LEVEL_MAPPER => LevelMapper::parse(value).map(drop),
        SWITCH_OVER => SwitchOver::parse(value).map(drop),
        MODEL_LIMITS => ModelLimits::parse(value).map(drop),
        RESOURCES => ResourceList::parse(value).map(drop),
        PRICING => price_file::load(Some(value)).map(drop),
        UNPRICED if ["serve", "refuse"].contains(&value.trim()) => Ok(()),
        UNPRICED => Err(Invalid::new(UNPRICED, "must be serve or refuse")),
        CALL_MIN_BALANCE | USER_MIN_BALANCE | USER_API_BALANCE => dollars(value).map(drop),
        XAI_BASE => BaseUrl::parse_lenient(value.trim()).map(drop),
        _ => Err(Invalid::new(name, "is no setting that can be stored")),
    }
    .map_err(|error| error.under(name))
}

/// An amount in plain dollars, not negative.
///
/// # Errors
/// When it is none.
pub(crate) fn dollars(value: &str) -> Result<Money, Invalid> {
    let wrong = || Invalid::new("amount", "must be an amount in dollars, 0 or more");
    let amount = Decimal::from_str(value.trim()).map_err(|_| wrong())?;
    let money = Money::from_decimal_dollars(amount)?;
    if money.is_negative() {
        Err(wrong())
    } else {
        Ok(money)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_can_be_used() {
        for (name, value) in ALL {
            assert_eq!(check(name, value), Ok(()), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (name, bad) in [
            (MODEL_MAPPER, "a"),
            (LEVEL_MAPPER, "a=11"),
            (SWITCH_OVER, "1"),
            (MODEL_LIMITS, r#"{"gpt-4":{"rps":1}}"#),
            (RESOURCES, "v1"),
            (PRICING, "[]"),
            (UNPRICED, "maybe"),
            (CALL_MIN_BALANCE, "-1"),
            (USER_API_BALANCE, "much"),
            (XAI_BASE, "ftp://h"),
            ("PORT", "1"),
        ] {
            assert_eq!(check(name, bad).unwrap_err().field, name);
        }
    }
}
