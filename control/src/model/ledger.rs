//! Whether the books balance, and if not, where.

use std::fmt;

use proxyxai_contract::{clock::Millis, money::Money};

use super::DateRange;

/// What recomputing the books found.
#[derive(Debug, Clone)]
pub struct LedgerVerification {
    /// Accounts, deleted ones included.
    pub accounts: u64,
    /// Movements of money.
    pub entries: u64,
    /// Raw usage records.
    pub records: u64,
    /// The ledger by book.
    pub totals: Vec<BookTotal>,
    /// First difference, if any.
    pub difference: Option<LedgerDifference>,
    /// How many usage records were set aside because they could not be posted.
    pub quarantined: u64,
    /// The latest of them.
    pub latest_quarantined: Vec<QuarantinedRecord>,
    /// Work that ends after its call and is yet to be paid: how much of it, and what is set aside for it.
    pub pending: (u64, Money),
}

/// A usage record that could not be posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantinedRecord {
    /// Data plane that reported it.
    pub node: String,
    /// Start of its spool.
    pub epoch: u64,
    /// Position in it.
    pub sequence: u64,
    /// Whose it says that it is.
    pub account: Option<i64>,
    /// The call's `x-request-id`.
    pub request_id: String,
    /// Why it could not be posted.
    pub reason: String,
    /// When it was set aside.
    pub at: Millis,
}

/// What the ledger says of one kind of book.
#[derive(Debug, Clone)]
pub struct BookTotal {
    /// Its name; the books of all accounts count as one.
    pub book: String,
    /// How many postings it has.
    pub postings: u64,
    /// Their sum.
    pub amount: Money,
}

/// Two numbers that ought to be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerDifference {
    /// The entry concerned, if it is one.
    pub entry: Option<i64>,
    /// The account concerned, if it is one.
    pub account: Option<i64>,
    /// The ledger's book, if it is a whole one.
    pub book: String,
    /// What was recomputed.
    pub what: String,
    /// What it is.
    pub found: String,
    /// What says otherwise.
    pub against: &'static str,
    /// What it ought to be.
    pub expected: String,
}

impl LedgerVerification {
    /// Postings read.
    pub fn postings(&self) -> u64 {
        let counts = self.totals.iter().map(|total| total.postings);
        counts.fold(0, u64::saturating_add)
    }
}

impl fmt::Display for LedgerDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            entry,
            account,
            book: _,
            what,
            found,
            against,
            expected,
        } = self;
        if let Some(entry) = entry {
            write!(f, "entry {entry}: ")?;
        }
        if let Some(account) = account {
            write!(f, "account {account}: ")?;
        }
        write!(f, "{what} is {found}, {against} says {expected}")
    }
}

/// Which postings to list.
#[derive(Debug, Default, Clone)]
pub struct LedgerFilter {
    /// Identifier of the account whose books are asked for; none means all books for root, and one's own for others.
    pub account: Option<String>,
    /// Only those of entries with this reason.
    pub reason: Option<String>,
    /// Only those that were written on these days.
    pub days: Option<DateRange>,
}

/// A posting with the entry it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerLine {
    /// Id of the posting.
    pub posting: i64,
    /// Id of the entry.
    pub entry: i64,
    /// When it was written.
    pub at: Millis,
    /// Why, in one word.
    pub reason: String,
    /// What it belongs to.
    pub reference: String,
    /// Where the money is, or went.
    pub book: String,
    /// Whose, for the books of an account.
    pub account: Option<i64>,
    /// Name of that account; empty without one.
    pub name: String,
    /// How much came (positive) or went.
    pub amount: Money,
}
