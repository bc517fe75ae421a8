//! Whether an address belongs to its account: root entered it, or a reader of its mail followed a link. The content of
//! such links, and how often they are sent. It knows neither the vault nor the queue.

use proxyxai_contract::{clock::Millis, id::AccountId};

use crate::model::{Account, AddressVerification, VerifiedBy};

/// How long a link is valid.
pub(crate) const LINK_LIFE_MS: i64 = 3 * 86_400_000;
/// Pause between two links to one address, regardless of the account.
pub(crate) const LINK_PAUSE_MS: i64 = 600_000;
/// Links to one address in a day.
pub(crate) const LINKS_A_DAY_MAX: u64 = 3;
pub(crate) const DAY_MS: i64 = 86_400_000;
pub(crate) const HOUR_MS: i64 = 3_600_000;
const SEPARATOR: char = ':';

/// One of the addresses of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AddressField {
    Email,
    BillingEmail,
}

/// The content of a link before it is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VerificationToken {
    pub(crate) account: AccountId,
    pub(crate) field: AddressField,
    /// Makes the link valid once: the next one has another nonce.
    pub(crate) nonce: String,
}

// === impl AddressField ===

impl AddressField {
    pub(crate) const ALL: [Self; 2] = [Self::Email, Self::BillingEmail];

    /// The stored and shown form.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "Email",
            Self::BillingEmail => "BillingEmail",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.as_str() == text)
    }

    /// The account's address; may be empty.
    pub(crate) fn of(self, view: &Account) -> &str {
        match self {
            Self::Email => &view.email,
            Self::BillingEmail => &view.billing_email,
        }
    }

    /// Whether that address is verified.
    pub(crate) const fn verified(self, view: &Account) -> Option<AddressVerification> {
        match self {
            Self::Email => view.addresses.email,
            Self::BillingEmail => view.addresses.billing,
        }
    }

    /// Sets or removes the verification.
    pub(crate) const fn set(self, view: &mut Account, verified: Option<AddressVerification>) {
        match self {
            Self::Email => view.addresses.email = verified,
            Self::BillingEmail => view.addresses.billing = verified,
        }
    }
}

// === impl VerificationToken ===

impl VerificationToken {
    /// The text to be sealed.
    pub(crate) fn text(&self) -> String {
        let Self {
            account,
            field,
            nonce,
        } = self;
        format!("{account}{SEPARATOR}{}{SEPARATOR}{nonce}", field.as_str())
    }

    /// Reads what `text` wrote.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, SEPARATOR);
        let account = parts.next()?.parse().ok()?;
        Some(Self {
            account: AccountId::new(account).ok()?,
            field: AddressField::parse(parts.next()?)?,
            nonce: parts.next()?.to_owned(),
        })
    }
}

/// Updates verifications after a change of addresses: those entered by root are verified, and any other change of an
/// address removes its verification.
pub(crate) fn after_change(before: &Account, view: &mut Account, by_root: bool, now: Millis) {
    for field in AddressField::ALL {
        if field.of(before) == field.of(view) {
            continue;
        }
        let verified = (by_root && !field.of(view).is_empty()).then_some(AddressVerification {
            at: now,
            by: VerifiedBy::Root,
        });
        field.set(view, verified);
    }
}

/// The address for notices and bills: a verified `BillingEmail`, or else a verified `Email`. Returns `None` if neither
/// is verified.
pub(crate) fn recipient(view: &Account) -> Option<&str> {
    let fields = [AddressField::BillingEmail, AddressField::Email].into_iter();
    let mut known = fields.filter(|field| field.verified(view).is_some());
    known
        .find(|field| !field.of(view).is_empty())
        .map(|field| field.of(view))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_what_it_was_made_for() {
        let token = VerificationToken {
            account: AccountId::new(42).unwrap(),
            field: AddressField::BillingEmail,
            nonce: "a:b".to_owned(),
        };
        assert_eq!(VerificationToken::parse(&token.text()), Some(token));
        for bad in ["", "42", "42:Email", "x:Email:n", "42:Phone:n", "0:Email:n"] {
            assert_eq!(VerificationToken::parse(bad), None, "{bad}");
        }
    }
}
