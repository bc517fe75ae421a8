//! What accounts used, by day and model and by account.

use jiff::civil::Date;
use proxyxai_contract::id::AccountId;

use super::{AccountLabels, Listing, UsageTotals};

/// Totals of one day and model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayTotals {
    /// Which day.
    pub day: Date,
    /// Billed model.
    pub model: String,
    /// Its totals.
    pub totals: UsageTotals,
}

/// Totals of one account.
#[derive(Debug, Clone)]
pub struct AccountTotals {
    /// Whose.
    pub id: AccountId,
    /// Its name.
    pub name: String,
    /// Its address.
    pub email: String,
    /// Its totals.
    pub totals: UsageTotals,
}

/// Whose use a bill is about; by default all below the caller.
#[derive(Debug, Clone, Default)]
pub struct BillFilter {
    /// Identifier of one account: id, name, email or DNA.
    pub account: Option<String>,
    /// Only these.
    pub labels: AccountLabels,
}

/// What accounts below the caller used over some days.
#[derive(Debug, Clone)]
pub struct Bill {
    /// By day, and by model inside a day. Days without use are left out.
    pub days: Vec<DayTotals>,
    /// All of it.
    pub total: UsageTotals,
    /// One page of the accounts that used anything, dearest first.
    pub accounts: Listing<AccountTotals>,
}
