//! Use of accounts: single calls and totals.

use jiff::{ToSpan as _, civil::Date};
use proxyxai_contract::{clock::Millis, money::Money, usage::UsageRecord};

/// Statuses from here on are refusals and failures and do not count as answered calls.
pub(crate) const FAILED_FROM: u16 = 400;

/// Use of an account over a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UsageTotals {
    /// Answered calls.
    pub requests: u64,
    /// Prompt tokens.
    pub input: u64,
    /// Prompt tokens from the cache.
    pub cached: u64,
    /// Generated tokens.
    pub output: u64,
    /// Charges.
    pub cost: Money,
}

impl UsageTotals {
    /// The sum of both.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.add(&other);
        self
    }

    /// Adds others.
    pub(crate) fn add(&mut self, other: &Self) {
        let Self {
            requests,
            input,
            cached,
            output,
            cost,
        } = *other;
        self.requests = self.requests.saturating_add(requests);
        self.input = self.input.saturating_add(input);
        self.cached = self.cached.saturating_add(cached);
        self.output = self.output.saturating_add(output);
        self.cost = self.cost.saturating_add(cost);
    }
}

/// Totals of one model.
#[derive(Debug, Clone)]
pub struct ModelTotals {
    /// Billed model.
    pub model: String,
    /// Its totals.
    pub totals: UsageTotals,
}

/// A span of days, both ends included.
#[derive(Debug, Clone, Copy)]
pub struct DateRange {
    /// First day.
    pub start: Date,
    /// Last day.
    pub end: Date,
}

impl DateRange {
    /// All days in order.
    pub fn each(self) -> impl Iterator<Item = Date> {
        self.start
            .series(1_i64.day())
            .take_while(move |day| *day <= self.end)
    }
}

/// A posted record.
#[derive(Debug, Clone)]
pub struct PostedUsage {
    /// The data plane that wrote it.
    pub node: String,
    /// The epoch of its spool.
    pub epoch: u64,
    /// The record.
    pub record: UsageRecord,
    /// When it was posted.
    pub posted: Millis,
    /// What it costs after it was priced anew; `None` if it never was.
    pub corrected: Option<Money>,
}
