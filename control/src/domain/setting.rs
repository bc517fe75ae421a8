//! Settings that may change while the gateway runs: their names, defaults and what each may hold.

use std::str::FromStr as _;

use proxyxai_contract::{
    Invalid,
    access::ResourceList,
    money::Money,
    price_file,
    provider::BaseUrl,
    routing::{LevelMapper, ModelFailover, ModelMapper, SwitchOver},
};
use rust_decimal::{Decimal, prelude::ToPrimitive as _};

use super::account::{check_email, check_text};

/// `src=dst` pairs of models.
pub(crate) const MODEL_MAPPER: &str = "MODEL_MAPPER";
/// `pattern=level` pairs.
pub(crate) const LEVEL_MAPPER: &str = "LEVEL_MAPPER";
/// `from=to` pairs of levels.
pub(crate) const SWITCH_OVER: &str = "SWITCH_OVER";
/// `src=dst1|dst2|…` chains of models.
pub(crate) const MODEL_FAILOVER: &str = "MODEL_FAILOVER";
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
/// Share of a grant that goes to the child's parent when another ancestor gives it.
pub(crate) const COMMISSION_PERCENT: &str = "COMMISSION_PERCENT";
/// Address that takes notices of faults.
pub(crate) const XAI_MAIL: &str = "XAI_MAIL";
/// Mail server; none means no mail.
pub(crate) const EMAIL_SMTP: &str = "EMAIL_SMTP";
/// Its port.
pub(crate) const EMAIL_PORT: &str = "EMAIL_PORT";
/// User name there.
pub(crate) const EMAIL_AUTH: &str = "EMAIL_AUTH";
/// Password there.
pub(crate) const EMAIL_PASS: &str = "EMAIL_PASS";
/// Sender, `address` or `name<address>`.
pub(crate) const EMAIL_SENDER: &str = "EMAIL_SENDER";
/// `true`, `starttls` or `false`.
pub(crate) const EMAIL_TLS: &str = "EMAIL_TLS";

const TEXT_BYTES_MAX: usize = 255;

/// All names, with the value each has when nobody gave one.
pub(crate) const ALL: [(&str, &str); 19] = [
    (MODEL_MAPPER, ""),
    (LEVEL_MAPPER, ""),
    (SWITCH_OVER, ""),
    (MODEL_FAILOVER, ""),
    (RESOURCES, "*"),
    (PRICING, ""),
    (UNPRICED, "serve"),
    (CALL_MIN_BALANCE, "1"),
    (USER_MIN_BALANCE, "2"),
    (USER_API_BALANCE, "20"),
    (XAI_BASE, "https://api.openai.com"),
    (COMMISSION_PERCENT, "0"),
    (XAI_MAIL, ""),
    (EMAIL_SMTP, ""),
    (EMAIL_PORT, "465"),
    (EMAIL_AUTH, ""),
    (EMAIL_PASS, ""),
    (EMAIL_SENDER, ""),
    (EMAIL_TLS, "true"),
];

/// Whether the value is sealed where it is stored, and never shown.
pub(crate) fn is_secret(name: &str) -> bool {
    name == EMAIL_PASS
}

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
        MODEL_FAILOVER => ModelFailover::parse(value).map(drop),
        RESOURCES => ResourceList::parse(value).map(drop),
        PRICING => price_file::load(Some(value)).map(drop),
        UNPRICED if ["serve", "refuse"].contains(&value.trim()) => Ok(()),
        UNPRICED => Err(Invalid::new(UNPRICED, "must be serve or refuse")),
        CALL_MIN_BALANCE | USER_MIN_BALANCE | USER_API_BALANCE => dollars(value).map(drop),
        XAI_BASE => BaseUrl::parse_lenient(value.trim()).map(drop),
        COMMISSION_PERCENT => percent(value).map(drop),
        XAI_MAIL if value.trim().is_empty() => Ok(()),
        XAI_MAIL => check_email(value).map(drop),
        EMAIL_SMTP => check_text(name, value, TEXT_BYTES_MAX).and_then(|host| {
            let bad = host.contains(char::is_whitespace) || host.contains('/');
            let refused = || Err(Invalid::new(name, "must be a host name or an address"));
            if bad { refused() } else { Ok(()) }
        }),
        EMAIL_PORT => match value.trim().parse::<u16>() {
            Ok(port) if port > 0 => Ok(()),
            _ => Err(Invalid::new(name, "must be a port, 1 to 65535")),
        },
        EMAIL_AUTH => check_text(name, value, TEXT_BYTES_MAX).map(drop),
        // Stored, it is the sealed text, which is longer than what is typed.
        EMAIL_PASS => check_text(name, value, 8 * TEXT_BYTES_MAX).map(drop),
        EMAIL_SENDER => check_sender(value),
        EMAIL_TLS if ["true", "starttls", "false"].contains(&value.trim()) => Ok(()),
        EMAIL_TLS => Err(Invalid::new(name, "must be true, starttls or false")),
        _ => Err(Invalid::new(name, "is no setting that can be stored")),
    }
    .map_err(|error| error.under(name))
}

/// A share in hundredths, as parts of a million: `5` is 50,000.
///
/// # Errors
/// When it is not from 0 to 100.
pub(crate) fn percent(value: &str) -> Result<i64, Invalid> {
    let percent = Decimal::from_str(value.trim()).ok();
    percent
        .filter(|percent| (Decimal::ZERO..=Decimal::ONE_HUNDRED).contains(percent))
        .and_then(|percent| percent.checked_mul(Decimal::from(10_000)))
        .and_then(|micros| micros.round().to_i64())
        .ok_or_else(|| Invalid::new("percent", "must be a number from 0 to 100"))
}

/// `address` or `name<address>`.
fn check_sender(value: &str) -> Result<(), Invalid> {
    let value = check_text(EMAIL_SENDER, value, TEXT_BYTES_MAX)?;
    let address = match value.split_once('<') {
        Some((_, rest)) => rest.strip_suffix('>').unwrap_or_default(),
        None => value.as_str(),
    };
    if value.is_empty() {
        return Ok(());
    }
    check_email(address).map(drop)
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
    fn a_percentage_is_parts_of_a_million() {
        assert_eq!(percent("5"), Ok(50_000));
        assert_eq!(percent(" 0.5 "), Ok(5_000));
        assert_eq!(percent("100"), Ok(1_000_000));
    }

    #[test]
    fn a_sender_has_a_name_or_none() {
        for good in ["a@b.co", "XAI<a@b.co>", "The Gateway <a@b.co>", ""] {
            assert_eq!(check(EMAIL_SENDER, good), Ok(()), "{good}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (name, bad) in [
            (MODEL_MAPPER, "a"),
            (LEVEL_MAPPER, "a=11"),
            (SWITCH_OVER, "1"),
            (RESOURCES, "v1"),
            (PRICING, "[]"),
            (UNPRICED, "maybe"),
            (CALL_MIN_BALANCE, "-1"),
            (USER_API_BALANCE, "much"),
            (XAI_BASE, "ftp://h"),
            (MODEL_FAILOVER, "a=b||c"),
            (COMMISSION_PERCENT, "101"),
            (COMMISSION_PERCENT, "-1"),
            (XAI_MAIL, "nobody"),
            (EMAIL_SMTP, "smtp.example.com/x"),
            (EMAIL_PORT, "0"),
            (EMAIL_AUTH, "a\nb"),
            (EMAIL_SENDER, "XAI<nobody"),
            (EMAIL_TLS, "maybe"),
            ("PORT", "1"),
        ] {
            assert_eq!(check(name, bad).unwrap_err().field, name);
        }
    }
}
