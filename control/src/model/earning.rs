//! Earnings: what customers pay for calls beside what the calls cost the operator.

use jiff::civil::Date;
use proxyxai_contract::{
    id::{AccountId, KeyId, Level},
    money::Money,
};

use super::{DateRange, Listing, SpentTokens, UsageTotals};

/// The earnings of some calls, in dollars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Earning {
    /// Answered calls.
    pub requests: u64,
    /// Their tokens.
    pub tokens: SpentTokens,
    /// Charges, converted from each account's units to dollars.
    pub cost: Money,
    /// What they cost the operator.
    pub expense: Money,
    /// The share of keys that are paid by the month.
    pub flat: Money,
}

impl Earning {
    /// Cost less all expenses.
    pub const fn margin(&self) -> Money {
        let Self {
            requests: _,
            tokens: _,
            cost,
            expense,
            flat,
        } = self;
        // Saturating, so that a sum of billions cannot fail.
        Money::from_nanos(
            cost.nanos()
                .saturating_sub(expense.nanos())
                .saturating_sub(flat.nanos()),
        )
    }

    /// Adds others.
    pub(crate) fn add(&mut self, other: &Self) {
        let Self {
            requests,
            tokens,
            cost,
            expense,
            flat,
        } = *other;
        self.requests = self.requests.saturating_add(requests);
        self.tokens.add(tokens);
        self.cost = self.cost.saturating_add(cost);
        self.expense = self.expense.saturating_add(expense);
        self.flat = self.flat.saturating_add(flat);
    }
}

/// The dimensions by which earnings are stored.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EarningKey {
    /// The account that called.
    pub account: AccountId,
    /// The day of the call.
    pub day: Date,
    /// The upstream key that answered.
    pub key: Option<KeyId>,
    /// The provider of that key at that time.
    pub provider: String,
    /// Billed model.
    pub model: String,
    /// Level of the pool that answered.
    pub level: Level,
}

/// The dimensions by which earnings can be listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EarningDimension {
    /// Key that answered.
    Key,
    /// Provider.
    Provider,
    /// Billed model.
    Model,
    /// Account that called.
    Account,
    /// Day.
    Day,
    /// Level of the pool that answered.
    Level,
}

impl EarningDimension {
    /// All dimensions with their text forms.
    pub const NAMES: [(&'static str, Self); 6] = [
        ("key", Self::Key),
        ("provider", Self::Provider),
        ("model", Self::Model),
        ("account", Self::Account),
        ("day", Self::Day),
        ("level", Self::Level),
    ];

    /// Reads the text form.
    pub fn parse(name: &str) -> Option<Self> {
        let found = Self::NAMES.iter().find(|(known, _)| *known == name);
        found.map(|(_, by)| *by)
    }

    /// The text form.
    pub fn name(self) -> &'static str {
        let found = Self::NAMES.iter().find(|(_, by)| *by == self);
        found.map_or("", |(name, _)| name)
    }
}

/// The earnings to list.
#[derive(Debug, Clone, Default)]
pub struct EarningFilter {
    /// Of this account only: id, name, email or DNA.
    pub account: Option<String>,
    /// On this key only.
    pub key: Option<KeyId>,
    /// At this provider only.
    pub provider: Option<String>,
    /// Of this model only.
    pub model: Option<String>,
}

/// Earnings for one value of a dimension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EarningRow {
    /// The value: an id, a name or a day.
    pub of: String,
    /// Name of an account or a key; empty for others.
    pub name: String,
    /// Its earnings.
    pub earning: Earning,
}

/// Earnings over some days.
#[derive(Debug, Clone)]
pub struct EarningsReport {
    /// The days.
    pub days: DateRange,
    /// A page of the values that earned or cost anything, by cost, dearest first; days in chronological order.
    pub rows: Listing<EarningRow>,
    /// The total, including keys that are paid by the month.
    pub total: Earning,
}

/// Use under one tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagTotals {
    /// The tag.
    pub tag: String,
    /// Its totals.
    pub totals: UsageTotals,
}
