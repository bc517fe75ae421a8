//! Whether the ledger balances, and where it does not.

use std::fmt;

use proxyxai_contract::{clock::Millis, money::Money};

use super::DateRange;

/// The result of recomputing the ledger.
#[derive(Debug, Clone)]
pub struct LedgerVerification {
    /// Accounts, deleted ones included.
    pub accounts: u64,
    /// Movements of money.
    pub entries: u64,
    /// Usage records.
    pub records: u64,
    /// Totals by book.
    pub totals: Vec<BookTotal>,
    /// The first difference, if any.
    pub difference: Option<LedgerDifference>,
    /// How many usage records were quarantined because they could not be posted.
    pub quarantined: u64,
    /// The latest quarantined records.
    pub latest_quarantined: Vec<QuarantinedRecord>,
    /// Work that outlives its call and is not yet charged: how many items, and the credit reserved for them.
    pub pending: (u64, Money),
}

/// A usage record that could not be posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantinedRecord {
    /// The data plane that reported it.
    pub node: String,
    /// The epoch of its spool.
    pub epoch: u64,
    /// Its position in the spool.
    pub sequence: u64,
    /// The account that it names.
    pub account: Option<i64>,
    /// The call's `x-request-id`.
    pub request_id: String,
    /// Why it could not be posted.
    pub reason: String,
    /// When it was quarantined.
    pub at: Millis,
}

/// The total of one kind of book.
#[derive(Debug, Clone)]
pub struct BookTotal {
    /// Name of the book; those of all accounts count as one.
    pub book: String,
    /// Number of postings.
    pub postings: u64,
    /// Their sum.
    pub amount: Money,
}

/// Two numbers that should be equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerDifference {
    /// The entry, if the difference is in one.
    pub entry: Option<i64>,
    /// The account, if the difference is in one.
    pub account: Option<i64>,
    /// The book, if the difference is in a whole book.
    pub book: String,
    /// The number that was recomputed.
    pub what: String,
    /// Its value.
    pub found: String,
    /// The source of the expected value.
    pub against: &'static str,
    /// The expected value.
    pub expected: String,
}

impl LedgerVerification {
    /// The number of postings that were read.
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

/// The postings to list.
#[derive(Debug, Default, Clone)]
pub struct LedgerFilter {
    /// Identifier of the account whose books are listed. `None` means all books for root, and the caller's own for
    /// others.
    pub account: Option<String>,
    /// Only those of entries with this reason.
    pub reason: Option<String>,
    /// Only those written on these days.
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
    /// The reason, in one word.
    pub reason: String,
    /// What the entry refers to.
    pub reference: String,
    /// The book that the amount was posted to.
    pub book: String,
    /// The account, for the books of an account.
    pub account: Option<i64>,
    /// Name of that account; empty without one.
    pub name: String,
    /// The amount; positive if money came in.
    pub amount: Money,
}
