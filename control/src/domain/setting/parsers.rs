//! The parsers of settings that are not in a module of their own.

use std::{num::NonZeroU32, str::FromStr as _};

use proxyxai_contract::{
    Invalid, money::Money, price_file, provider::BaseUrl, snapshot::AccountConfig,
    usage::AbandonedPolicy,
};
use rust_decimal::{Decimal, prelude::ToPrimitive as _};

use crate::domain::{
    mail::{self, MailAddress},
    price_list,
};

/// A sealed secret is longer than the secret.
const TEXT_BYTES_MAX: usize = 4096;

/// The value of a secret, which is stored sealed: only the vault can open it.
#[derive(Debug)]
pub(crate) struct SealedSecret;

/// A whole number in a range.
pub(super) fn whole<const LEAST: i64, const MOST: i64>(text: &str) -> Result<i64, Invalid> {
    let number = text.trim().parse().ok();
    number
        .filter(|number| (LEAST..=MOST).contains(number))
        .ok_or_else(|| {
            let problem = format!("must be a whole number from {LEAST} to {MOST}");
            Invalid::new("number", problem)
        })
}

/// The most of something; 0 means no limit.
pub(super) fn limit<const MOST: u32>(text: &str) -> Result<Option<NonZeroU32>, Invalid> {
    let limit: Option<u32> = text.trim().parse().ok();
    limit
        .filter(|limit| *limit <= MOST)
        .map(NonZeroU32::new)
        .ok_or_else(|| {
            let problem = format!("must be a whole number from 0 to {MOST}");
            Invalid::new("limit", problem)
        })
}

/// A number of calls; 0 means no limit.
pub(super) fn calls(text: &str) -> Result<Option<NonZeroU32>, Invalid> {
    AccountConfig::calls_of(text.trim().parse().unwrap_or(-1))
}

/// A percentage as parts of a million: `5` is 50,000.
pub(super) fn percent(text: &str) -> Result<i64, Invalid> {
    let percent = Decimal::from_str(text.trim()).ok();
    percent
        .filter(|percent| (Decimal::ZERO..=Decimal::ONE_HUNDRED).contains(percent))
        .and_then(|percent| percent.checked_mul(Decimal::from(10_000)))
        .and_then(|micros| micros.round().to_i64())
        .ok_or_else(|| Invalid::new("percent", "must be a number from 0 to 100"))
}

/// An amount in plain dollars, not negative.
pub(super) fn dollars(text: &str) -> Result<Money, Invalid> {
    let wrong = || Invalid::new("amount", "must be an amount in dollars, 0 or more");
    let amount = Decimal::from_str(text.trim()).map_err(|_| wrong())?;
    let money = Money::from_decimal_dollars(amount)?;
    if money.is_negative() {
        Err(wrong())
    } else {
        Ok(money)
    }
}

/// Overrides of the price table, as text.
pub(super) fn pricing(text: &str) -> Result<String, Invalid> {
    price_file::load(Some(text)).map_err(|error| error.within("PRICING"))?;
    Ok(text.trim().to_owned())
}

/// The address of a public price list; empty means none.
pub(super) fn list_url(text: &str) -> Result<Option<String>, Invalid> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    price_list::check(text)?;
    Ok(Some(text.to_owned()))
}

/// Whether models without a price are refused.
pub(super) fn refuses_unpriced(text: &str) -> Result<bool, Invalid> {
    match text.trim() {
        "refuse" => Ok(true),
        "serve" => Ok(false),
        _ => Err(Invalid::new("unpriced", "must be serve or refuse")),
    }
}

pub(super) fn abandoned(text: &str) -> Result<AbandonedPolicy, Invalid> {
    let problem = "must be read-on, cancel or hold";
    AbandonedPolicy::parse(text).ok_or_else(|| Invalid::new("abandoned", problem))
}

pub(super) fn base_url(text: &str) -> Result<BaseUrl, Invalid> {
    BaseUrl::parse_lenient(text.trim())
}

/// A URL that mails link to, without a slash at its end; empty means no link.
pub(super) fn link(text: &str) -> Result<String, Invalid> {
    match line(text)? {
        text if text.is_empty() => Ok(text),
        text => base_url(&text).map(|base| base.text()),
    }
}

/// One line of text, trimmed.
pub(super) fn line(text: &str) -> Result<String, Invalid> {
    let text = text.trim();
    if text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control) {
        let problem = format!("must be one line of at most {TEXT_BYTES_MAX} bytes");
        return Err(Invalid::new("text", problem));
    }
    Ok(text.to_owned())
}

pub(super) fn sealed(text: &str) -> Result<SealedSecret, Invalid> {
    line(text).map(|_| SealedSecret)
}

/// A host name; empty means none.
pub(super) fn host(text: &str) -> Result<String, Invalid> {
    let host = line(text)?;
    if host.contains([' ', '/', '@']) {
        return Err(Invalid::new("host", "must be a host name"));
    }
    Ok(host)
}

pub(super) fn port(text: &str) -> Result<u16, Invalid> {
    match text.trim().parse() {
        Ok(port @ 1..) => Ok(port),
        Ok(0) | Err(_) => Err(Invalid::new("port", "must be a port, 1 to 65535")),
    }
}

/// An address with or without a name; empty means none.
pub(super) fn sender(text: &str) -> Result<Option<MailAddress>, Invalid> {
    match line(text)? {
        text if text.is_empty() => Ok(None),
        text => mail::mailbox(&text).map(Some),
    }
}

pub(super) fn addresses(text: &str) -> Result<Vec<String>, Invalid> {
    mail::addresses(&line(text)?)
}
