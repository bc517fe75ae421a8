//! Mails before they are sent: addresses, retries, and the texts (`templates`). It knows neither the queue nor the
//! server.

pub(crate) mod templates;
pub(crate) mod verification;

use proxyxai_contract::Invalid;

use super::account::{check_email, check_text};

/// With the delays below, a mail is retried for about eleven hours.
const TRIES_MAX: u64 = 20;
const DELAY_FIRST_MS: i64 = 5_000;
const DELAY_MS_MAX: i64 = 3_600_000;
const NAME_BYTES_MAX: usize = 255;
const ADDRESSES_MAX: usize = 20;

/// The subject matter of a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MailKind {
    /// An account was created.
    Welcome,
    /// The month's use exceeded `SoftLimit`.
    SoftLimit,
    /// The balance fell below `EMAIL_BALANCE`.
    LowBalance,
    /// The cost of a day or a month.
    Bill,
    /// News were posted.
    News,
    /// Upstream keys were refused by their providers.
    KeyFault,
    /// An address is to be verified.
    Verify,
}

/// A mail without its recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MailMessage {
    pub(crate) kind: MailKind,
    /// One line.
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) html: String,
}

/// An address with the name that is shown for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MailAddress {
    /// May be empty.
    pub(crate) name: String,
    pub(crate) address: String,
}

/// Whether the connection to the mail server is encrypted, and from when on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MailTls {
    /// From the beginning on port 465, else as `StartTls`.
    ByPort,
    /// From the beginning.
    Implicit,
    /// From the `STARTTLS` command on.
    StartTls,
    /// Never.
    Off,
}

/// How often bills are mailed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BillMails {
    Off,
    Daily,
    Monthly,
}

/// What to do with a mail that could not be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RetryDecision {
    /// Retry after this many milliseconds.
    Again { delay_ms: i64 },
    /// Give up.
    Never,
}

// === impl MailKind ===

impl MailKind {
    /// The stored form.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Welcome => "welcome",
            Self::SoftLimit => "soft_limit",
            Self::LowBalance => "low_balance",
            Self::Bill => "bill",
            Self::News => "news",
            Self::KeyFault => "key_fault",
            Self::Verify => "verify",
        }
    }
}

// === impl MailTls ===

impl MailTls {
    pub(crate) fn parse(text: &str) -> Result<Self, Invalid> {
        match text.trim() {
            "true" => Ok(Self::ByPort),
            "implicit" => Ok(Self::Implicit),
            "starttls" => Ok(Self::StartTls),
            "false" => Ok(Self::Off),
            _ => {
                let problem = "must be one of true, implicit, starttls, false";
                Err(Invalid::new("tls", problem))
            }
        }
    }
}

// === impl BillMails ===

impl BillMails {
    pub(crate) fn parse(text: &str) -> Result<Self, Invalid> {
        match text.trim() {
            "off" => Ok(Self::Off),
            "daily" => Ok(Self::Daily),
            "monthly" => Ok(Self::Monthly),
            _ => Err(Invalid::new("bills", "must be one of off, daily, monthly")),
        }
    }
}

/// Decides after the failed try with this number, from 1. A refusal of the mail itself is final; other failures may
/// pass.
pub(crate) fn after_failure(tries: u64, refused: bool) -> RetryDecision {
    if refused || tries >= TRIES_MAX {
        return RetryDecision::Never;
    }
    let doublings = u32::try_from(tries.saturating_sub(1)).unwrap_or(u32::MAX);
    let factor = 2i64.checked_pow(doublings).unwrap_or(i64::MAX);
    RetryDecision::Again {
        delay_ms: DELAY_FIRST_MS.saturating_mul(factor).min(DELAY_MS_MAX),
    }
}

/// Whether a server's negative reply is about this mail. Replies about the login, or requests to retry later, are not.
pub(crate) const fn is_refusal(status: u16) -> bool {
    matches!(status, 500..=599) && !matches!(status, 530 | 534 | 535 | 538)
}

/// Reads `Name<address>` or an address alone.
pub(crate) fn mailbox(text: &str) -> Result<MailAddress, Invalid> {
    let (name, address) = match text.trim().strip_suffix('>') {
        Some(rest) => rest
            .split_once('<')
            .ok_or_else(|| Invalid::new("sender", "must be an address or Name<address>"))?,
        None => ("", text),
    };
    Ok(MailAddress {
        name: check_text("sender", name.trim_matches([' ', '"']), NAME_BYTES_MAX)?,
        address: check_email(address)?,
    })
}

/// Reads addresses separated by commas or spaces.
pub(crate) fn addresses(text: &str) -> Result<Vec<String>, Invalid> {
    let found: Vec<_> = text
        .split([',', ';', ' '])
        .filter(|part| !part.is_empty())
        .map(check_email)
        .collect::<Result<_, _>>()?;
    if found.len() > ADDRESSES_MAX {
        let problem = format!("must be at most {ADDRESSES_MAX} addresses");
        return Err(Invalid::new("addresses", problem));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_sender_has_a_name_or_not() {
        let read = |text: &str| mailbox(text).map(|sender| (sender.name, sender.address));
        let both = |name: &str, address: &str| Ok((name.to_owned(), address.to_owned()));
        assert_eq!(read("XAI<a@b.example>"), both("XAI", "a@b.example"));
        assert_eq!(read(" \"X Y\" <a@b.example> "), both("X Y", "a@b.example"));
        assert_eq!(read("a@b.example"), both("", "a@b.example"));
        for bad in ["XAI", "XAI<a@b.example", "<>", "a\r\nBcc: x<a@b.example>"] {
            assert!(mailbox(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn fault_addresses_may_be_several() {
        let two = ["a@b.example".to_owned(), "c@d.example".to_owned()];
        assert_eq!(addresses("a@b.example, C@d.example"), Ok(two.into()));
        assert!(addresses("a@b.example,nobody").is_err());
        assert!(addresses(&"a@b.example,".repeat(ADDRESSES_MAX + 1)).is_err());
    }

    #[test]
    fn a_refused_mail_is_given_up_and_a_refused_login_is_not() {
        for status in [550, 501, 552, 554] {
            assert!(is_refusal(status), "{status}");
        }
        for status in [421, 450, 451, 535, 530, 250] {
            assert!(!is_refusal(status), "{status}");
        }
        assert_eq!(after_failure(1, true), RetryDecision::Never);
        assert_eq!(after_failure(TRIES_MAX, false), RetryDecision::Never);
    }

    proptest! {
        #[test]
        fn delays_grow_and_end(tries in 1u64..TRIES_MAX - 1) {
            let delay = |tries| match after_failure(tries, false) {
                RetryDecision::Again { delay_ms } => delay_ms,
                RetryDecision::Never => 0,
            };
            prop_assert!(delay(tries) >= DELAY_FIRST_MS);
            prop_assert!(delay(tries + 1) >= delay(tries));
            prop_assert!(delay(tries) <= DELAY_MS_MAX);
        }
    }
}
