//! Credit on lease: what a data plane may spend without asking.

use crate::{
    id::{AccountId, ClientKeyId},
    money::Money,
};

/// Money of an account as last posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PostedBalance {
    /// Whose.
    pub account: AccountId,
    /// What is left.
    pub balance: Money,
    /// Charges of the current month.
    pub month_used: Money,
}

/// What is spent from: an account's credit, or the limit of one of its further client keys. A call with such a key
/// spends from both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PayerId {
    /// Whose credit, or whose key.
    pub account: AccountId,
    /// The key; none for the account itself.
    pub client_key: Option<ClientKeyId>,
}

impl From<AccountId> for PayerId {
    fn from(account: AccountId) -> Self {
        Self {
            account,
            client_key: None,
        }
    }
}

/// Credit of one payer that one data plane may spend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeasedCredit {
    /// Whose.
    pub payer: PayerId,
    /// Grows with every change; an older one is out of date. 0 before the first.
    pub version: u64,
    /// Reserved, less what was posted of it.
    pub amount: Money,
}

/// What a data plane wants of a payer's credit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseAsk {
    /// Whose.
    pub payer: PayerId,
    /// The lease it was asked on; on another one nothing is done.
    pub version: u64,
    /// Positive asks for that much more, negative gives back.
    pub change: Money,
    /// The part of a positive change without which a call cannot begin.
    pub need: Money,
}

/// Why an ask got less than it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseShortage {
    /// The balance does not cover it.
    Balance,
    /// The month's hard limit does not leave room for it.
    Month,
}

/// What control makes of an ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseAnswer {
    /// The lease as it is now.
    pub lease: LeasedCredit,
    /// The account's money as it is now; of a client key, the balance is what is left of its limit.
    pub standing: PostedBalance,
    /// None when the need was met, or nothing was asked for.
    pub shortage: Option<LeaseShortage>,
    /// Reserved for other data planes.
    pub elsewhere: Money,
}
