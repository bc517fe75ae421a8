//! Settings that may change while the gateway runs: names, defaults and valid values.

use std::{num::NonZeroU32, str::FromStr as _};

use proxyxai_contract::{
    Invalid,
    access::ResourceList,
    load_balancing::{self, KeyAffinity, LevelStrategies},
    money::Money,
    passthrough::Passthrough,
    price_file,
    provider::BaseUrl,
    routing::{LevelMapper, ModelFailover, ModelMapper, SwitchOver},
    snapshot::AccountConfig,
    usage::AbandonedPolicy,
    window::ModelLimits,
};
use rust_decimal::{Decimal, prelude::ToPrimitive as _};

use super::{mail, price_list};

/// `src=dst` pairs of models.
pub(crate) const MODEL_MAPPER: &str = "MODEL_MAPPER";
/// `pattern=level` pairs.
pub(crate) const LEVEL_MAPPER: &str = "LEVEL_MAPPER";
/// `from=to` pairs of levels.
pub(crate) const SWITCH_OVER: &str = "SWITCH_OVER";
/// `src=dst1|dst2|…` chains of models.
pub(crate) const MODEL_FAILOVER: &str = "MODEL_FAILOVER";
/// How a key of a level is chosen.
pub(crate) const KEY_STRATEGY: &str = "KEY_STRATEGY";
/// What keeps a conversation on one key.
pub(crate) const AFFINITY: &str = "AFFINITY";
/// Whether a second key is asked if the first is slow.
pub(crate) const HEDGE: &str = "HEDGE";
/// JSON object of windows by model.
pub(crate) const MODEL_LIMITS: &str = "MODEL_LIMITS";
/// Path prefixes that may be called at all.
pub(crate) const RESOURCES: &str = "RESOURCES";
/// Price fields that differ from the built-in table.
pub(crate) const PRICING: &str = "PRICING";
/// Public price list to import; empty means none.
pub(crate) const PRICES_SYNC_URL: &str = "PRICES_SYNC_URL";
/// How often to import it, in hours; 0 means never.
pub(crate) const PRICES_SYNC_HOURS: &str = "PRICES_SYNC_HOURS";
/// `serve` or `refuse`.
pub(crate) const UNPRICED: &str = "UNPRICED";
/// What happens to calls whose clients disconnect.
pub(crate) const ABANDONED: &str = "ABANDONED";
/// Paths relayed beyond the known endpoints.
pub(crate) const PASSTHROUGH: &str = "PASSTHROUGH";
/// How many calls an account may have open at once.
pub(crate) const CALLS_PER_ACCOUNT_MAX: &str = "CALLS_PER_ACCOUNT_MAX";
/// How many administrative requests an account may make in a minute.
pub(crate) const ADMIN_RPM: &str = "ADMIN_RPM";
/// Balance that a call needs, in dollars.
pub(crate) const CALL_MIN_BALANCE: &str = "CALL_MIN_BALANCE";
/// Smallest opening credit of a new account, in dollars.
pub(crate) const USER_MIN_BALANCE: &str = "USER_MIN_BALANCE";
/// Balance that the account API needs, in dollars.
pub(crate) const USER_API_BALANCE: &str = "USER_API_BALANCE";
/// Base URL of keys added without one.
pub(crate) const XAI_BASE: &str = "XAI_BASE";
/// Share of a grant that goes to the child's parent when another ancestor gives it.
pub(crate) const COMMISSION_PERCENT: &str = "COMMISSION_PERCENT";
/// Days that audit records are kept.
pub(crate) const AUDIT_RETENTION_DAYS: &str = "AUDIT_RETENTION_DAYS";
/// Days that refused calls are kept; 0 keeps none.
pub(crate) const REFUSAL_RETENTION_DAYS: &str = "REFUSAL_RETENTION_DAYS";
/// Host of the mail server; empty means no mail.
pub(crate) const EMAIL_SMTP: &str = "EMAIL_SMTP";
/// Its port.
pub(crate) const EMAIL_PORT: &str = "EMAIL_PORT";
/// Name to log in with; empty means no login.
pub(crate) const EMAIL_AUTH: &str = "EMAIL_AUTH";
/// Password to log in with.
pub(crate) const EMAIL_PASS: &str = "EMAIL_PASS";
/// `Name<address>` that mails come from; empty means the login name.
pub(crate) const EMAIL_SENDER: &str = "EMAIL_SENDER";
/// `true`, `implicit`, `starttls` or `false`.
pub(crate) const EMAIL_TLS: &str = "EMAIL_TLS";
/// Balance in dollars below which an account gets a mail.
pub(crate) const EMAIL_BALANCE: &str = "EMAIL_BALANCE";
/// Mails per hour that a customer of root, with all accounts below it, may cause.
pub(crate) const EMAIL_RPH: &str = "EMAIL_RPH";
/// `off`, `daily` or `monthly`.
pub(crate) const EMAIL_BILL: &str = "EMAIL_BILL";
/// Addresses that get mails about key faults, comma separated.
pub(crate) const XAI_MAIL: &str = "XAI_MAIL";
/// Links at the end of mails.
pub(crate) const XAI_SVC: &str = "XAI_SVC";
/// URL of the API.
pub(crate) const XAI_API: &str = "XAI_API";
/// URL of the chat.
pub(crate) const XAI_CHAT: &str = "XAI_CHAT";
/// URL of the documentation.
pub(crate) const XAI_DOCS: &str = "XAI_DOCS";

/// Settings that are stored sealed and shown as asterisks.
pub(crate) const SECRETS: [&str; 1] = [EMAIL_PASS];
/// A sealed secret is longer than the secret.
const TEXT_BYTES_MAX: usize = 4096;
/// Limit of a secret before it is sealed.
pub(crate) const SECRET_BYTES_MAX: usize = 1024;
const RETENTION_DAYS_MAX: i64 = 36_500;
const REFUSAL_DAYS_MAX: i64 = 400;
const RATE_MAX: u32 = 1_000_000;
const HOURS_MAX: i64 = 8_760;

/// All names with their built-in defaults.
pub(crate) const ALL: [(&str, &str); 38] = [
    (MODEL_MAPPER, ""),
    (LEVEL_MAPPER, ""),
    (SWITCH_OVER, ""),
    (MODEL_FAILOVER, ""),
    (KEY_STRATEGY, "round-robin"),
    (AFFINITY, "off"),
    (HEDGE, "off"),
    (MODEL_LIMITS, ""),
    (RESOURCES, "*"),
    (PRICING, ""),
    (PRICES_SYNC_URL, ""),
    (PRICES_SYNC_HOURS, "0"),
    (PASSTHROUGH, ""),
    (UNPRICED, "refuse"),
    (ABANDONED, "read-on"),
    (CALLS_PER_ACCOUNT_MAX, "2500"),
    (ADMIN_RPM, "1200"),
    (CALL_MIN_BALANCE, "1"),
    (USER_MIN_BALANCE, "2"),
    (USER_API_BALANCE, "20"),
    (XAI_BASE, "https://api.openai.com"),
    (COMMISSION_PERCENT, "0"),
    (AUDIT_RETENTION_DAYS, "365"),
    (REFUSAL_RETENTION_DAYS, "7"),
    (EMAIL_SMTP, ""),
    (EMAIL_PORT, "465"),
    (EMAIL_AUTH, ""),
    (EMAIL_PASS, ""),
    (EMAIL_SENDER, ""),
    (EMAIL_TLS, "true"),
    (EMAIL_BALANCE, "3"),
    (EMAIL_RPH, "300"),
    (EMAIL_BILL, "off"),
    (XAI_MAIL, ""),
    (XAI_SVC, ""),
    (XAI_API, ""),
    (XAI_CHAT, ""),
    (XAI_DOCS, ""),
];

/// The documented default; empty for an unknown name.
pub(crate) fn default(name: &str) -> &'static str {
    ALL.iter()
        .find(|(known, _)| *known == name)
        .map_or("", |(_, value)| *value)
}

/// Checks a value.
///
/// # Errors
/// Names the setting and its problem, also if there is no such setting.
pub(crate) fn check(name: &str, value: &str) -> Result<(), Invalid> {
    match name {
        MODEL_MAPPER => ModelMapper::parse(value).map(drop),
        LEVEL_MAPPER => LevelMapper::parse(value).map(drop),
        SWITCH_OVER => SwitchOver::parse(value).map(drop),
        MODEL_FAILOVER => ModelFailover::parse(value).map(drop),
        KEY_STRATEGY => LevelStrategies::parse(value).map(drop),
        AFFINITY => KeyAffinity::parse(value).map(drop),
        HEDGE => load_balancing::hedge(value).map(drop),
        MODEL_LIMITS => ModelLimits::parse(value).map(drop),
        RESOURCES => ResourceList::parse(value).map(drop),
        PASSTHROUGH => Passthrough::parse(value).map(drop),
        PRICING => price_file::load(Some(value))
            .map(drop)
            .map_err(|error| error.within(PRICING)),
        PRICES_SYNC_URL if value.trim().is_empty() => Ok(()),
        PRICES_SYNC_URL => price_list::check(value),
        PRICES_SYNC_HOURS => hours(value).map(drop),
        UNPRICED if ["serve", "refuse"].contains(&value.trim()) => Ok(()),
        UNPRICED => Err(Invalid::new(UNPRICED, "must be serve or refuse")),
        ABANDONED if AbandonedPolicy::parse(value).is_some() => Ok(()),
        ABANDONED => Err(Invalid::new(ABANDONED, "must be read-on, cancel or hold")),
        CALL_MIN_BALANCE | USER_MIN_BALANCE | USER_API_BALANCE | EMAIL_BALANCE => {
            dollars(value).map(drop)
        }
        CALLS_PER_ACCOUNT_MAX => calls(value).map(drop),
        ADMIN_RPM | EMAIL_RPH => rate(value).map(drop),
        XAI_BASE => BaseUrl::parse_lenient(value.trim()).map(drop),
        COMMISSION_PERCENT => percent(value).map(drop),
        AUDIT_RETENTION_DAYS => days(value).map(drop),
        REFUSAL_RETENTION_DAYS => refusal_days(value).map(drop),
        EMAIL_SMTP | EMAIL_PORT | EMAIL_AUTH | EMAIL_PASS | EMAIL_SENDER | EMAIL_TLS
        | EMAIL_BILL | XAI_MAIL | XAI_SVC | XAI_API | XAI_CHAT | XAI_DOCS => {
            check_mail(name, value.trim())
        }
        _ => Err(Invalid::new(name, "is no setting that can be stored")),
    }
    .map_err(|error| error.under(name))
}

/// A percentage as parts of a million: `5` is 50,000.
///
/// # Errors
/// Errors if it is not from 0 to 100.
pub(crate) fn percent(value: &str) -> Result<i64, Invalid> {
    let percent = Decimal::from_str(value.trim()).ok();
    percent
        .filter(|percent| (Decimal::ZERO..=Decimal::ONE_HUNDRED).contains(percent))
        .and_then(|percent| percent.checked_mul(Decimal::from(10_000)))
        .and_then(|micros| micros.round().to_i64())
        .ok_or_else(|| Invalid::new("percent", "must be a number from 0 to 100"))
}

fn check_mail(name: &str, value: &str) -> Result<(), Invalid> {
    let one_of = |words: &[&str]| {
        let known = words.contains(&value);
        let problem = || Invalid::new(name, format!("must be one of {}", words.join(", ")));
        known.then_some(()).ok_or_else(problem)
    };
    if value.len() > TEXT_BYTES_MAX || value.chars().any(char::is_control) {
        return Err(Invalid::new(
            name,
            format!("must be one line of at most {TEXT_BYTES_MAX} bytes"),
        ));
    }
    match name {
        EMAIL_PORT => match value.parse::<u16>() {
            Ok(1..) => Ok(()),
            Ok(0) | Err(_) => Err(Invalid::new(name, "must be a port, 1 to 65535")),
        },
        EMAIL_TLS => one_of(&["true", "implicit", "starttls", "false"]),
        EMAIL_BILL => one_of(&["off", "daily", "monthly"]),
        _ if value.is_empty() => Ok(()),
        EMAIL_SMTP if !value.contains([' ', '/', '@']) => Ok(()),
        EMAIL_SMTP => Err(Invalid::new(name, "must be a host name")),
        EMAIL_SENDER => mail::mailbox(value).map(drop),
        XAI_MAIL => mail::addresses(value).map(drop),
        XAI_SVC | XAI_API | XAI_CHAT | XAI_DOCS => BaseUrl::parse_lenient(value).map(drop),
        _ => Ok(()),
    }
}

/// A number of calls; 0 means no limit.
///
/// # Errors
/// Errors if it is not a number, or more than a data plane can have open.
pub(crate) fn calls(value: &str) -> Result<Option<NonZeroU32>, Invalid> {
    let number = value.trim().parse().unwrap_or(-1);
    AccountConfig::calls_of(number)
}

/// Requests per minute or mails per hour; 0 means no limit.
///
/// # Errors
/// Errors if it is not such a number.
pub(crate) fn rate(value: &str) -> Result<Option<NonZeroU32>, Invalid> {
    let rate: Option<u32> = value.trim().parse().ok();
    let problem = || format!("must be a whole number from 0 to {RATE_MAX}");
    let rate = rate.filter(|rate| *rate <= RATE_MAX);
    rate.map(NonZeroU32::new)
        .ok_or_else(|| Invalid::new("rate", problem()))
}

/// A number of hours; 0 means never.
///
/// # Errors
/// Errors if it is not a number, or more than a year.
pub(crate) fn hours(value: &str) -> Result<i64, Invalid> {
    match value.trim().parse() {
        Ok(hours @ 0..=HOURS_MAX) => Ok(hours),
        Ok(_) | Err(_) => Err(Invalid::new(
            "hours",
            format!("must be a number of hours, 0 (never) to {HOURS_MAX}"),
        )),
    }
}

/// A number of days, at least one.
///
/// # Errors
/// Errors if it is not such a number.
pub(crate) fn days(value: &str) -> Result<i64, Invalid> {
    match value.trim().parse() {
        Ok(days @ 1..=RETENTION_DAYS_MAX) => Ok(days),
        Ok(_) | Err(_) => Err(Invalid::new(
            "days",
            format!("must be a number of days, 1 to {RETENTION_DAYS_MAX}"),
        )),
    }
}

/// A number of days; 0 keeps none.
///
/// # Errors
/// Errors if it is not a number, or more than refused calls may be kept.
pub(crate) fn refusal_days(value: &str) -> Result<i64, Invalid> {
    match value.trim().parse() {
        Ok(days @ 0..=REFUSAL_DAYS_MAX) => Ok(days),
        Ok(_) | Err(_) => Err(Invalid::new(
            "days",
            format!("must be a number of days, 0 (none) to {REFUSAL_DAYS_MAX}"),
        )),
    }
}

/// An amount in plain dollars, not negative.
///
/// # Errors
/// Errors if it is not such an amount.
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
    fn a_price_that_cannot_be_used_is_named_with_its_model_and_field() {
        let text = r#"{"ChatPricing":{"gpt-4o":{"InptText":1}}}"#;
        let refused = check(PRICING, text).unwrap_err().to_string();
        assert!(refused.starts_with("PRICING: ChatPricing."), "{refused}");
        assert!(refused.contains("gpt-4o.InptText is no field"), "{refused}");
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
            (PRICES_SYNC_URL, "http://lists.example/prices.json"),
            (PRICES_SYNC_HOURS, "-1"),
            (PRICES_SYNC_HOURS, "daily"),
            (UNPRICED, "maybe"),
            (ABANDONED, "free"),
            (CALL_MIN_BALANCE, "-1"),
            (CALLS_PER_ACCOUNT_MAX, "-1"),
            (CALLS_PER_ACCOUNT_MAX, "many"),
            (ADMIN_RPM, "1.5"),
            (ADMIN_RPM, "1000001"),
            (USER_API_BALANCE, "much"),
            (XAI_BASE, "ftp://h"),
            (MODEL_FAILOVER, "a=b||c"),
            (KEY_STRATEGY, "2=quick"),
            (AFFINITY, "always"),
            (HEDGE, "maybe"),
            (COMMISSION_PERCENT, "101"),
            (COMMISSION_PERCENT, "-1"),
            (AUDIT_RETENTION_DAYS, "0"),
            (REFUSAL_RETENTION_DAYS, "-1"),
            (REFUSAL_RETENTION_DAYS, "401"),
            (EMAIL_SMTP, "smtp://h"),
            (EMAIL_PORT, "0"),
            (EMAIL_AUTH, "a\nb"),
            (EMAIL_SENDER, "XAI<nobody>"),
            (EMAIL_TLS, "yes"),
            (EMAIL_BALANCE, "-3"),
            (EMAIL_BILL, "hourly"),
            (XAI_MAIL, "a@b.example, c"),
            (XAI_DOCS, "ftp://docs"),
            ("PORT", "1"),
        ] {
            assert_eq!(check(name, bad).unwrap_err().field, name);
        }
    }
}
