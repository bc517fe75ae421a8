//! Settings that may change while the gateway runs. `table` has a row for each. What checks a value is what reads it:
//! the parser of its row.

mod parsers;
mod table;

use proxyxai_contract::Invalid;

pub(crate) use parsers::SealedSecret;
pub use table::ALL;
pub(crate) use table::*;

/// Limit of a secret before it is sealed.
pub(crate) const SECRET_BYTES_MAX: usize = 1024;

/// A setting whose values are read as a `T`.
#[derive(Debug)]
pub struct Setting<T> {
    /// What it is stored under, and its environment variable.
    pub name: &'static str,
    /// Older environment variables, which count if the present one is not set. The first that is set counts.
    pub older_names: &'static [&'static str],
    /// The built-in default.
    pub default: &'static str,
    /// Meaning, unit and range, as the documentation shows them.
    pub meaning: &'static str,
    /// For a secret: the environment variable that names a file with it.
    pub file: Option<&'static str>,
    parse: fn(&str) -> Result<T, Invalid>,
}

// === impl Setting ===

impl<T> Setting<T> {
    /// Reads a value.
    ///
    /// # Errors
    /// Names the setting and the problem.
    pub(crate) fn parse(&self, value: &str) -> Result<T, Invalid> {
        (self.parse)(value).map_err(|error| error.under(self.name))
    }

    /// Secrets are stored sealed and shown as asterisks.
    pub(crate) const fn is_secret(&self) -> bool {
        self.file.is_some()
    }
}

/// The setting with this name.
pub(crate) fn find(name: &str) -> Option<&'static Setting<()>> {
    ALL.iter().find(|setting| setting.name == name)
}

/// Checks a value.
///
/// # Errors
/// Names the setting and its problem, also if there is no such setting.
pub(crate) fn check(name: &str, value: &str) -> Result<(), Invalid> {
    match find(name) {
        Some(setting) => setting.parse(value),
        None => Err(Invalid::new(name, "is no setting that can be stored")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_can_be_used() {
        for setting in ALL {
            assert_eq!(setting.parse(setting.default), Ok(()), "{}", setting.name);
        }
    }

    #[test]
    fn each_setting_has_one_row() {
        let mut names: Vec<_> = ALL
            .iter()
            .flat_map(|setting| setting.older_names.iter().chain([&setting.name]))
            .collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    /// A range in a meaning, such as `0 (never) to 8760`.
    fn documented_range(meaning: &str) -> Option<(i64, i64)> {
        meaning.split([',', ';']).find_map(|part| {
            let (least, most) = part.trim().split_once(" to ")?;
            let least = least.split(' ').next()?.parse().ok()?;
            Some((least, most.parse().ok()?))
        })
    }

    #[test]
    fn every_documented_range_is_the_one_that_is_checked() {
        let mut count = 0;
        for setting in ALL {
            let Some((least, most)) = documented_range(setting.meaning) else {
                continue;
            };
            let accepts = |number: i64| setting.parse(&number.to_string()).is_ok();
            assert!(accepts(least) && accepts(most), "{}", setting.name);
            assert!(
                !accepts(least - 1) && !accepts(most + 1),
                "{}",
                setting.name
            );
            count += 1;
        }
        assert_eq!(count, 8);
    }

    #[test]
    fn a_percentage_is_parts_of_a_million() {
        assert_eq!(COMMISSION_PERCENT.parse("5"), Ok(50_000));
        assert_eq!(COMMISSION_PERCENT.parse(" 0.5 "), Ok(5_000));
        assert_eq!(COMMISSION_PERCENT.parse("100"), Ok(1_000_000));
    }

    #[test]
    fn a_sender_has_a_name_or_none() {
        for good in ["a@b.co", "XAI<a@b.co>", "The Gateway <a@b.co>", ""] {
            assert_eq!(check(EMAIL_SENDER.name, good), Ok(()), "{good}");
        }
    }

    #[test]
    fn a_price_that_cannot_be_used_is_named_with_its_model_and_field() {
        let text = r#"{"ChatPricing":{"gpt-4o":{"InptText":1}}}"#;
        let refused = check(PRICING.name, text).unwrap_err().to_string();
        assert!(refused.starts_with("PRICING: ChatPricing."), "{refused}");
        assert!(refused.contains("gpt-4o.InptText is no field"), "{refused}");
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (name, bad) in [
            (MODEL_MAPPER.name, "a"),
            (LEVEL_MAPPER.name, "a=11"),
            (SWITCH_OVER.name, "1"),
            (MODEL_LIMITS.name, r#"{"gpt-4":{"rps":1}}"#),
            (RESOURCES.name, "v1"),
            (PRICING.name, "[]"),
            (PRICES_SYNC_URL.name, "http://lists.example/prices.json"),
            (PRICES_SYNC_HOURS.name, "-1"),
            (PRICES_SYNC_HOURS.name, "daily"),
            (UNPRICED.name, "maybe"),
            (ABANDONED.name, "free"),
            (CALL_MIN_BALANCE.name, "-1"),
            (CALLS_PER_ACCOUNT_MAX.name, "-1"),
            (CALLS_PER_ACCOUNT_MAX.name, "many"),
            (ADMIN_RPM.name, "1.5"),
            (ADMIN_RPM.name, "1000001"),
            (USER_API_BALANCE.name, "much"),
            (XAI_BASE.name, "ftp://h"),
            (MODEL_FAILOVER.name, "a=b||c"),
            (KEY_STRATEGY.name, "2=quick"),
            (AFFINITY.name, "always"),
            (HEDGE.name, "maybe"),
            (COMMISSION_PERCENT.name, "101"),
            (COMMISSION_PERCENT.name, "-1"),
            (AUDIT_RETENTION_DAYS.name, "0"),
            (REFUSAL_RETENTION_DAYS.name, "-1"),
            (REFUSAL_RETENTION_DAYS.name, "401"),
            (EMAIL_SMTP.name, "smtp://h"),
            (EMAIL_PORT.name, "0"),
            (EMAIL_AUTH.name, "a\nb"),
            (EMAIL_SENDER.name, "XAI<nobody>"),
            (EMAIL_TLS.name, "yes"),
            (EMAIL_BALANCE.name, "-3"),
            (EMAIL_BILL.name, "hourly"),
            (XAI_MAIL.name, "a@b.example, c"),
            (XAI_DOCS.name, "ftp://docs"),
            ("PORT", "1"),
        ] {
            assert_eq!(check(name, bad).unwrap_err().field, name);
        }
    }
}
