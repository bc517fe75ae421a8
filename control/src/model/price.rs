//! Versions of the price table, and pricing stored usage anew.

use std::collections::BTreeMap;

use proxyxai_contract::{clock::Millis, id::AccountId, money::Money};

use super::DateRange;

use crate::prices::diff::PriceChange;

/// A price table and the moment from which it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceVersion {
    /// Unique name; usage records carry it.
    pub version: String,
    /// When it comes into force, unless a version created later has the same moment.
    pub valid_from: Millis,
    /// Whether its table is the built-in one.
    pub source: PriceSource,
    /// Why it was created.
    pub note: String,
    /// The whole table, as JSON.
    pub text: String,
    /// The overrides from `PRICING`; may be empty.
    pub overrides: String,
    /// When it was created.
    pub created: Millis,
    /// The account that created it; `None` for the program itself.
    pub created_by: Option<AccountId>,
}

/// The usage to price anew.
#[derive(Debug, Clone)]
pub struct RerateRequest {
    /// Days on which the calls began.
    pub days: DateRange,
    /// Identifier of one account; none means all.
    pub account: Option<String>,
    /// The version to price with. `None` means the one in force when each call began.
    pub version: Option<String>,
    /// True posts nothing.
    pub dry_run: bool,
}

/// The result of pricing anew.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RerateResult {
    /// Records looked at.
    pub records: u64,
    /// Records left unchanged because they had no version or no price.
    pub unpriced: u64,
    /// By account: the number of records that changed, and by how much in the account's units.
    pub corrections: BTreeMap<AccountId, (u64, Money)>,
}

/// A public list merged into the prices in force. Nothing is loaded.
#[derive(Debug)]
pub struct ImportedPrices {
    /// The version that it was merged into.
    pub over: String,
    /// The table, as JSON.
    pub text: String,
    /// The changes that loading it would bring.
    pub changes: Vec<PriceChange>,
    /// Changes that are too large to be loaded without review.
    pub objections: Vec<String>,
    /// New models.
    pub added: Vec<String>,
    /// Models missing from the list although it has others of their provider.
    pub gone: Vec<String>,
    /// Number of models read.
    pub read: usize,
    /// Entries left out, by mode.
    pub skipped: BTreeMap<String, usize>,
}

/// A model that answered calls without having a price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnpricedModel {
    /// Its name.
    pub model: String,
    /// Answered calls.
    pub requests: u64,
    /// Accounts that made them.
    pub accounts: u64,
    /// When the last of them began.
    pub last: Millis,
    /// Whether it has a price now, so that those calls can be priced anew.
    pub has_price: bool,
}

/// The source of a version's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PriceSource {
    /// Built in; it changes with releases of the program.
    BuiltIn,
    /// An operator loaded it.
    Loaded,
}

impl PriceSource {
    /// The stored and shown form.
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
