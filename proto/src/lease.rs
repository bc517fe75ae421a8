//! Leases of credit: what a data plane may spend without asking control.

use crate::{
    id::{AccountId, ClientKeyId},
    money::Money,
};

/// An account's balance and month's use as last posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PostedBalance {
    /// The account.
    pub account: AccountId,
    /// The remaining balance.
    pub balance: Money,
    /// Charges of the current month.
    pub month_used: Money,
}

/// What is spent from: an account's credit, or the limit of one of its further client keys. A call with a further key
/// spends from both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PayerId {
    /// The account, or the owner of the key.
    pub account: AccountId,
    /// The further key; `None` for the account itself.
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
    /// The payer.
    pub payer: PayerId,
    /// Grows with every change; a lower version is out of date. 0 before the first.
    pub version: u64,
    /// Amount reserved, less what was posted of it.
    pub amount: Money,
}

/// A data plane's request for a change of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseAsk {
    /// The payer.
    pub payer: PayerId,
    /// The lease version that it is based on. With any other version, nothing is changed.
    pub version: u64,
    /// Positive asks for that much more; negative returns unused credit.
    pub change: Money,
    /// The part of a positive change that a waiting call needs to begin.
    pub need: Money,
}

/// Why a request got less than it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseShortage {
    /// The balance does not cover it.
    Balance,
    /// The month's hard limit does not allow it.
    Month,
}

/// Control's reply to a lease request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseAnswer {
    /// The current lease.
    pub lease: LeasedCredit,
    /// The account's current balance. For a client key, the balance is the remainder of its limit.
    pub standing: PostedBalance,
    /// `None` if the need was met, or nothing was requested.
    pub shortage: Option<LeaseShortage>,
    /// Amount reserved for other data planes.
    pub elsewhere: Money,
}
