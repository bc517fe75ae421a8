//! Use by day and model, and by account.

use jiff::civil::Date;
use proxyxai_contract::id::AccountId;

use super::{AccountLabels, Listing, UsageTotals};

/// Totals of one day and model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayTotals {
    /// The day.
    pub day: Date,
    /// Billed model.
    pub model: String,
    /// Its totals.
    pub totals: UsageTotals,
}

/// Totals of one account.
#[derive(Debug, Clone)]
pub struct AccountTotals {
    /// The account's id.
    pub id: AccountId,
    /// Its name.
    pub name: String,
    /// Its address.
    pub email: String,
    /// Its totals.
    pub totals: UsageTotals,
}

/// The accounts of a bill; all below the caller by default.
#[derive(Debug, Clone, Default)]
pub struct BillFilter {
    /// Identifier of one account: id, name, email or DNA.
    pub account: Option<String>,
    /// Only accounts with these labels.
    pub labels: AccountLabels,
}

/// The use of the accounts below the caller over some days.
#[derive(Debug, Clone)]
pub struct Bill {
    /// By day, and by model inside a day. Days without use are left out.
    pub days: Vec<DayTotals>,
    /// The total of all days.
    pub total: UsageTotals,
    /// One page of the accounts with any use, dearest first.
    pub accounts: Listing<AccountTotals>,
}
