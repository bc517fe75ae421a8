//! What calls earn: what customers pay for them beside what they cost whoever runs the gateway.

use jiff::civil::Date;
use proxyxai_contract::{
    id::{AccountId, KeyId, Level},
    money::Money,
};

use super::{DateRange, Listing, SpentTokens, UsageTotals};

/// What some calls earn, in dollars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Earning {
    /// Answered calls.
    pub requests: u64,
    /// Their tokens.
    pub tokens: SpentTokens,
    /// What was charged for them, brought from each account's units to dollars.
    pub cost: Money,
    /// What they cost the operator.
    pub expense: Money,
    /// What keys that are paid by the month cost meanwhile.
    pub flat: Money,
}

impl Earning {
    /// What is left.
    pub const fn margin(&self) -> Money {
        let Self {
            requests: _,
            tokens: _,
            cost,
            expense,
            flat,
        } = self;
        // Saturating, so as not to fail over a sum of billions.
        Money::from_nanos(
            cost.nanos()
                .saturating_sub(expense.nanos())
                .saturating_sub(flat.nanos()),
        )
    }

    /// Takes in others.
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

/// What totals of earnings are kept by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EarningKey {
    /// Who called.
    pub account: AccountId,
    /// When.
    pub day: Date,
    /// The key that answered.
    pub key: Option<KeyId>,
    /// Its provider then.
    pub provider: String,
    /// Billed model.
    pub model: String,
    /// Level of the pool that answered.
    pub level: Level,
}

/// What earnings are told by.
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
    /// All, as they are written.
    pub const NAMES: [(&'static str, Self); 6] = [
        ("key", Self::Key),
        ("provider", Self::Provider),
        ("model", Self::Model),
        ("account", Self::Account),
        ("day", Self::Day),
        ("level", Self::Level),
    ];

    /// Reads one.
    pub fn parse(name: &str) -> Option<Self> {
        let found = Self::NAMES.iter().find(|(known, _)| *known == name);
        found.map(|(_, by)| *by)
    }

    /// As it is written.
    pub fn name(self) -> &'static str {
        let found = Self::NAMES.iter().find(|(_, by)| *by == self);
        found.map_or("", |(name, _)| name)
    }
}

/// Which earnings are asked for.
#[derive(Debug, Clone, Default)]
pub struct EarningFilter {
    /// Of this account alone: id, name, email or DNA.
    pub account: Option<String>,
    /// On this key alone.
    pub key: Option<KeyId>,
    /// At this provider alone.
    pub provider: Option<String>,
    /// Of this model alone.
    pub model: Option<String>,
}

/// Earnings of one value of what they are told by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EarningRow {
    /// The value: an id, a name or a day.
    pub of: String,
    /// Name of an account or a key; empty for others.
    pub name: String,
    /// What it earned.
    pub earning: Earning,
}

/// Earnings over some days.
#[derive(Debug, Clone)]
pub struct EarningsReport {
    /// Which days.
    pub days: DateRange,
    /// A page of every value that earned or cost anything, by what it costs, dearest first; days in their order.
    pub rows: Listing<EarningRow>,
    /// All of it, with what keys cost by the month.
    pub total: Earning,
}

/// Use under one tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagTotals {
    /// The tag.
    pub tag: String,
    /// What was used under it.
    pub totals: UsageTotals,
}
