//! Versions of the price table, and pricing usage anew.

use std::collections::BTreeMap;

use proxyxai_contract::{clock::Millis, id::AccountId, money::Money};

use super::DateRange;

use crate::prices::diff::PriceChange;

/// A price table and the moment from which it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceVersion {
    /// Unique name; usage records carry it.
    pub version: String,
    /// When it comes into force, unless a later one of the same moment replaces it.
    pub valid_from: Millis,
    /// Whether its table is the one that ships.
    pub source: PriceSource,
    /// Why it was made.
    pub note: String,
    /// The whole table, as JSON.
    pub text: String,
    /// What `PRICING` lays over it; may be empty.
    pub overrides: String,
    /// When it was made.
    pub created: Millis,
    /// By whom; none for the program itself.
    pub created_by: Option<AccountId>,
}

/// What to price anew.
#[derive(Debug, Clone)]
pub struct RerateRequest {
    /// Days on which the calls began.
    pub days: DateRange,
    /// Identifier of one account; none means all.
    pub account: Option<String>,
    /// Version to price with; none means, for each call, the one in force when it began.
    pub version: Option<String>,
    /// Whether nothing is posted.
    pub dry_run: bool,
}

/// What pricing anew found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RerateResult {
    /// Records looked at.
    pub records: u64,
    /// Records left alone, since no version or no price was there for them.
    pub unpriced: u64,
    /// Records that changed, and by how much in the account's units, by account.
    pub corrections: BTreeMap<AccountId, (u64, Money)>,
}

/// A public list laid over the prices in force; nothing is loaded.
#[derive(Debug)]
pub struct ImportedPrices {
    /// The version that it was laid over.
    pub over: String,
    /// The table, as JSON.
    pub text: String,
    /// What loading it would change.
    pub changes: Vec<PriceChange>,
    /// What of that moves too far to be loaded without a look.
    pub objections: Vec<String>,
    /// Models that are new.
    pub added: Vec<String>,
    /// Models that the list does not have although it has others of their provider.
    pub gone: Vec<String>,
    /// How many models were read.
    pub read: usize,
    /// Entries that were left out, by their mode.
    pub skipped: BTreeMap<String, usize>,
}

/// A model that was called and answered without having a price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnpricedModel {
    /// Its name.
    pub model: String,
    /// Calls that were answered.
    pub requests: u64,
    /// Accounts that made them.
    pub accounts: u64,
    /// When the last of them began.
    pub last: Millis,
    /// Whether it has a price by now, so that those calls can be priced anew.
    pub has_price: bool,
}

/// Where the table of a version comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PriceSource {
    /// It ships with the program and changes with its releases.
    BuiltIn,
    /// An operator loaded it.
    Loaded,
}

impl PriceSource {
    /// As stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BuiltIn => "built-in",
            Self::Loaded => "loaded",
        }
    }

    /// Reads what `as_str` wrote.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::BuiltIn, Self::Loaded]
            .into_iter()
            .find(|source| source.as_str() == text)
    }
}
