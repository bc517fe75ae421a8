//! Use as a series: over days or hours, split by one dimension, beside the span before.

use super::{DateRange, Earning};

/// Tokens of some calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpentTokens {
    /// Prompt tokens.
    pub input: u64,
    /// Prompt tokens from the cache.
    pub cached: u64,
    /// Generated tokens.
    pub output: u64,
}

impl SpentTokens {
    /// Adds others.
    pub(crate) fn add(&mut self, other: Self) {
        self.input = self.input.saturating_add(other.input);
        self.cached = self.cached.saturating_add(other.cached);
        self.output = self.output.saturating_add(other.output);
    }
}

/// The dimension that use is split by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SpendDimension {
    /// Billed model.
    #[default]
    Model,
    /// The account that called.
    Account,
    /// The upstream key that answered; for root alone.
    Key,
    /// The provider of that key; for root alone.
    Provider,
}

impl SpendDimension {
    /// All dimensions with their text forms.
    pub const NAMES: [(&'static str, Self); 4] = [
        ("model", Self::Model),
        ("account", Self::Account),
        ("key", Self::Key),
        ("provider", Self::Provider),
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

/// The length of one point of the series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SeriesInterval {
    /// A day of `TZ`.
    #[default]
    Day,
    /// An hour; for today and yesterday only.
    Hour,
}

impl SeriesInterval {
    /// Reads the text form.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Day, Self::Hour]
            .into_iter()
            .find(|per| per.name() == name)
    }

    /// The text form.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Hour => "hour",
        }
    }
}

/// The use to report.
#[derive(Debug, Clone, Default)]
pub struct SpendFilter {
    /// The account, with all below it. `None` means the caller.
    pub account: Option<String>,
    /// Leaves out the accounts below it.
    pub alone: bool,
    /// The dimension to split by.
    pub by: SpendDimension,
    /// The length of a point.
    pub per: SeriesInterval,
}

/// Use of one value of the dimension, of the other values together, or of all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SpendRow {
    /// The value: an id or a name; empty for the other values and for all.
    pub of: String,
    /// Name of an account or a key; empty for others.
    pub name: String,
    /// The whole span.
    pub now: Earning,
    /// The span before.
    pub before: Earning,
    /// Each point.
    pub points: Vec<Earning>,
}

/// Use over some days.
#[derive(Debug, Clone)]
pub struct SpendReport {
    /// The dimension it is split by.
    pub by: SpendDimension,
    /// The length of a point.
    pub per: SeriesInterval,
    /// The days.
    pub days: DateRange,
    /// The days of the span before.
    pub before: DateRange,
    /// The start of each point: a day, or a moment in RFC 3339.
    pub points: Vec<String>,
    /// How many points at the start were left out because they had too many calls to add up; hours only.
    pub skipped: usize,
    /// The dearest, dearest first.
    pub rows: Vec<SpendRow>,
    /// The number of values with use in the span.
    pub values: u64,
    /// Use that is not in `rows`.
    pub other: SpendRow,
    /// The total.
    pub total: SpendRow,
    /// True: dollars, with the calls' cost to the operator. False: the units of each account.
    pub is_earned: bool,
}
