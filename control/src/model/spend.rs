//! What was used as a series: over days or hours, by one thing, beside the time before.

use super::{DateRange, Earning};

/// Tokens of some calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpentTokens {
    /// Of prompts.
    pub input: u64,
    /// Of prompts, from the cache.
    pub cached: u64,
    /// Generated.
    pub output: u64,
}

impl SpentTokens {
    /// Takes in others.
    pub(crate) fn add(&mut self, other: Self) {
        self.input = self.input.saturating_add(other.input);
        self.cached = self.cached.saturating_add(other.cached);
        self.output = self.output.saturating_add(other.output);
    }
}

/// What use is split by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SpendDimension {
    /// Billed model.
    #[default]
    Model,
    /// Account that called.
    Account,
    /// Upstream key that answered; root's alone.
    Key,
    /// Provider of that key; root's alone.
    Provider,
}

impl SpendDimension {
    /// All, as they are written.
    pub const NAMES: [(&'static str, Self); 4] = [
        ("model", Self::Model),
        ("account", Self::Account),
        ("key", Self::Key),
        ("provider", Self::Provider),
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

/// How long a point of the series is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SeriesInterval {
    /// A day of `TZ`.
    #[default]
    Day,
    /// An hour, of today and yesterday only.
    Hour,
}

impl SeriesInterval {
    /// Reads one.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Day, Self::Hour]
            .into_iter()
            .find(|per| per.name() == name)
    }

    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Hour => "hour",
        }
    }
}

/// Which use is asked for.
#[derive(Debug, Clone, Default)]
pub struct SpendFilter {
    /// Whose, and of all below it. None means the caller.
    pub account: Option<String>,
    /// Without those below it.
    pub alone: bool,
    /// What it is split by.
    pub by: SpendDimension,
    /// How long a point is.
    pub per: SeriesInterval,
}

/// Use of one value of what it is split by, of the others together, or of all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SpendRow {
    /// The value: an id or a name; empty for the others and for all.
    pub of: String,
    /// Name of an account or a key; empty for others.
    pub name: String,
    /// Over the whole span.
    pub now: Earning,
    /// Over the span before.
    pub before: Earning,
    /// At each point.
    pub points: Vec<Earning>,
}

/// Use over some days.
#[derive(Debug, Clone)]
pub struct SpendReport {
    /// What it is split by.
    pub by: SpendDimension,
    /// How long a point is.
    pub per: SeriesInterval,
    /// Which days.
    pub days: DateRange,
    /// The days of the span before.
    pub before: DateRange,
    /// Where each point begins: a day, or a moment in RFC 3339.
    pub points: Vec<String>,
    /// The first points, of which too much was called to add it up; hours only.
    pub skipped: usize,
    /// The dearest, dearest first.
    pub rows: Vec<SpendRow>,
    /// How many values were used in the span.
    pub values: u64,
    /// What is not in `rows`.
    pub other: SpendRow,
    /// All of it.
    pub total: SpendRow,
    /// Whether amounts are dollars, with what the calls cost the operator; else they are in the units of each account.
    pub is_earned: bool,
}
