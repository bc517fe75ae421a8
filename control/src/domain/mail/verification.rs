//! Whether an address is its account's: by root's word, or because somebody who reads its mail followed a link. What is
//! in such a link, and how often one is sent. Knows neither the vault nor the queue.

use proxyxai_contract::{clock::Millis, id::AccountId};

use crate::model::{Account, AddressVerification, VerifiedBy};

/// How long a link is good for.
pub(crate) const LINK_LIFE_MS: i64 = 3 * 86_400_000;
/// Between two links to one address, whichever accounts they are for.
pub(crate) const LINK_PAUSE_MS: i64 = 600_000;
/// Links to one address in a day.
pub(crate) const LINKS_A_DAY_MAX: u64 = 3;
pub(crate) const DAY_MS: i64 = 86_400_000;
pub(crate) const HOUR_MS: i64 = 3_600_000;
const SEPARATOR: char = ':';

/// Which address of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AddressField {
    Email,
    BillingEmail,
}

/// What a link says, sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VerificationToken {
    pub(crate) account: AccountId,
    pub(crate) field: AddressField,
    /// So that it is good once: the next one has another.
    pub(crate) nonce: String,
}

// === impl Field ===

impl AddressField {
    pub(crate) const ALL: [Self; 2] = [Self::Email, Self::BillingEmail];

    /// As it is stored and shown.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "Email",
            Self::BillingEmail => "BillingEmail",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.as_str() == text)
    }

    /// The address as the account has it; may be empty.
    pub(crate) fn of(self, view: &Account) -> &str {
        match self {
            Self::Email => &view.email,
            Self::BillingEmail => &view.billing_email,
        }
    }

    /// Whether that is known to be the account's.
    pub(crate) const fn verified(self, view: &Account) -> Option<AddressVerification> {
        match self {
            Self::Email => view.addresses.email,
            Self::BillingEmail => view.addresses.billing,
        }
    }

    /// Says so, or that it is not.
    pub(crate) const fn set(self, view: &mut Account, verified: Option<AddressVerification>) {
        match self {
            Self::Email => view.addresses.email = verified,
            Self::BillingEmail => view.addresses.billing = verified,
        }
    }
}

// === impl Token ===

impl VerificationToken {
    /// To be sealed.
    pub(crate) fn text(&self) -> String {
        let Self {
            account,
            field,
            nonce,
        } = self;
        format!("{account}{SEPARATOR}{}{SEPARATOR}{nonce}", field.as_str())
    }

    /// What `text` made.
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

/// An account's addresses after somebody changed them: what root enters is taken at its word, and any other
/// change loses what was known of the address.
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

/// Where notices and bills go: to `BillingEmail` if that is known to be the account's, else to `Email` if that is; none
/// when neither is.
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
