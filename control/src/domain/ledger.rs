//! The double-entry form of every movement of money. An entry that does not balance cannot be created.

use proxyxai_contract::{
    id::AccountId,
    money::{Money, sum},
};

/// All values of `LedgerEntry::reason`.
pub(crate) const REASONS: [&str; 11] = [
    "grant",
    "deduct",
    "delete",
    "debt",
    "rates",
    "units",
    "lease",
    "call",
    "correction",
    "listing",
    "expiry",
];

/// The books that amounts are posted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Book {
    /// Cards less debt of an account, less what is reserved, in its own units.
    Account(AccountId),
    /// The part of an account's credit that data planes have on lease.
    Reserved(AccountId),
    /// Credit that root created, and conversion differences between the units of two accounts. Negative.
    Mint,
    /// Charges of calls.
    Spent,
    /// Fees of deductions, deletions and listings.
    Fees,
    /// Credit lost on expired cards.
    Expired,
    /// Fractions of a nano-dollar that rescaling several cards rounds away.
    Rounding,
}

impl Book {
    /// As stored.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Account(_) => "account",
            Self::Reserved(_) => "reserved",
            Self::Mint => "mint",
            Self::Spent => "spent",
            Self::Fees => "fees",
            Self::Expired => "expired",
            Self::Rounding => "rounding",
        }
    }

    /// The account, for the books of an account.
    pub(crate) const fn account(self) -> Option<AccountId> {
        match self {
            Self::Account(account) | Self::Reserved(account) => Some(account),
            Self::Mint | Self::Spent | Self::Fees | Self::Expired | Self::Rounding => None,
        }
    }
}

/// One movement: amounts by book that add up to zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LedgerEntry {
    /// The reason, in one word.
    pub(crate) reason: &'static str,
    /// What the entry refers to.
    pub(crate) reference: String,
    postings: Vec<(Book, Money)>,
}

impl LedgerEntry {
    /// Returns `None` if the postings do not add up to zero. Zero postings are left out.
    pub(crate) fn new(
        reason: &'static str,
        reference: impl Into<String>,
        postings: impl IntoIterator<Item = (Book, Money)>,
    ) -> Option<Self> {
        let postings: Vec<_> = postings
            .into_iter()
            .filter(|(_, amount)| *amount != Money::ZERO)
            .collect();
        let total = sum(postings.iter().map(|(_, amount)| *amount))?;
        (total == Money::ZERO).then(|| Self {
            reason,
            reference: reference.into(),
            postings,
        })
    }

    /// Amounts by book.
    pub(crate) fn postings(&self) -> &[(Book, Money)] {
        &self.postings
    }

    /// Whether nothing moves.
    pub(crate) fn is_empty(&self) -> bool {
        self.postings.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_adds_up_to_zero_or_is_none() {
        let amount = Money::from_nanos;
        let entry = LedgerEntry::new(
            "call",
            "x",
            [
                (Book::Mint, amount(-5)),
                (Book::Spent, amount(5)),
                (Book::Fees, amount(0)),
            ],
        );
        assert_eq!(
            entry.unwrap().postings(),
            [(Book::Mint, amount(-5)), (Book::Spent, amount(5))]
        );
        assert_eq!(
            LedgerEntry::new(
                "call",
                "x",
                [(Book::Mint, amount(-5)), (Book::Spent, amount(4))]
            ),
            None
        );
        let overflow = [(Book::Mint, Money::MAX), (Book::Spent, Money::MAX)];
        assert_eq!(LedgerEntry::new("call", "x", overflow), None);
    }
}
