//! A list of calls: filters, cursors and rows.

use std::ops::RangeInclusive;

use proxyxai_contract::{
    Invalid,
    clock::Millis,
    id::{ClientKeyId, KeyId},
};

use super::PostedUsage;

/// Filters by status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusFilter {
    /// This status.
    One(u16),
    /// All statuses with this first digit.
    Class(u16),
}

/// Filters by model: the one a call asked for, or the one that served it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelFilter {
    /// This model.
    Named(String),
    /// All models that begin like this.
    Beginning(String),
}

/// Filters by the client key that a call was made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientKeyFilter {
    /// The account's first key.
    First,
    /// This further key.
    Further(ClientKeyId),
}

/// The calls to list; `None` means all.
#[derive(Debug, Clone, Default)]
pub struct CallFilter {
    /// The account whose calls are listed, with all below it. `None` means the caller.
    pub account: Option<String>,
    /// Leaves out the accounts below it.
    pub alone: bool,
    /// The model asked for or used.
    pub model: Option<ModelFilter>,
    /// On this upstream key.
    pub key: Option<KeyId>,
    /// With this client key.
    pub client_key: Option<ClientKeyFilter>,
    /// With this status.
    pub status: Option<StatusFilter>,
    /// The call with this id.
    pub request_id: Option<String>,
    /// Calls that began at this moment or later.
    pub start: Option<Millis>,
    /// Calls that began at this moment or before.
    pub end: Option<Millis>,
}

/// The part of a list to return.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum PageCursor {
    /// The latest.
    #[default]
    Latest,
    /// The calls after a page, by the page's `next`.
    Before(String),
    /// The calls posted since a page, by the page's `latest`.
    After(String),
}

/// A row of the list.
#[derive(Debug, Clone)]
pub struct Call {
    /// The posted record.
    pub usage: PostedUsage,
    /// Name of the account; empty if the account is gone.
    pub account_name: String,
    /// Name of the upstream key, for root alone; empty if the key is gone.
    pub key_name: Option<String>,
    /// Name of the further client key that it was made with; empty for the account's first.
    pub client_key_name: String,
}

/// A page of a list.
#[derive(Debug, Clone)]
pub struct CallPage {
    /// Latest first.
    pub calls: Vec<Call>,
    /// The cursor of the next page, if there may be one.
    pub next: Option<String>,
    /// The cursor for calls that are posted later.
    pub latest: String,
}

// === impl ClientKeyFilter ===

impl ClientKeyFilter {
    /// Reads an id; 0 means the first key.
    ///
    /// # Errors
    /// Errors if it is negative.
    pub fn of(id: i64) -> Result<Self, Invalid> {
        match id {
            0 => Ok(Self::First),
            id => ClientKeyId::new(id).map(Self::Further),
        }
    }
}

// === impl PageCursor ===

impl PageCursor {
    /// Takes the one cursor that is given, if any.
    ///
    /// # Errors
    /// Errors if both are given.
    pub fn of(before: Option<String>, after: Option<String>) -> Result<Self, Invalid> {
        match (before, after) {
            (Some(_), Some(_)) => Err(Invalid::new("after", "cannot be with before")),
            (Some(cursor), None) => Ok(Self::Before(cursor)),
            (None, Some(cursor)) => Ok(Self::After(cursor)),
            (None, None) => Ok(Self::Latest),
        }
    }
}

// === impl StatusFilter ===

impl StatusFilter {
    /// Reads `429` or `4xx`.
    ///
    /// # Errors
    /// Errors if it is neither.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let is_status =
            |text: &str| text.len() == 3 && matches!(text.as_bytes(), [b'1'..=b'5', ..]);
        let found = match text.strip_suffix("xx") {
            Some(digit) => digit.parse().ok().map(Self::Class),
            None => text.parse().ok().map(Self::One),
        };
        let bad = || Invalid::new("status", "must be a status like 429 or a class like 4xx");
        found.filter(|_| is_status(text)).ok_or_else(bad)
    }

    /// The first and last status.
    pub(crate) fn range(self) -> RangeInclusive<u16> {
        match self {
            Self::One(status) => status..=status,
            Self::Class(digit) => {
                let first = digit.saturating_mul(100);
                first..=first.saturating_add(99)
            }
        }
    }
}

// === impl ModelFilter ===

impl ModelFilter {
    /// Reads a name, or a prefix followed by `*`. Returns `None` for all models.
    ///
    /// # Errors
    /// Errors if `*` stands elsewhere.
    pub fn parse(text: &str) -> Result<Option<Self>, Invalid> {
        let found = match text.strip_suffix('*') {
            Some("") => return Ok(None),
            Some(beginning) => Self::Beginning(beginning.to_owned()),
            None => Self::Named(text.to_owned()),
        };
        let name = text.strip_suffix('*').unwrap_or(text);
        if name.contains('*') {
            return Err(Invalid::new("model", "may have * at its end only"));
        }
        Ok(Some(found))
    }

    /// The text without `*`.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Named(text) | Self::Beginning(text) => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_one_or_a_class() {
        assert_eq!(StatusFilter::parse("429").unwrap(), StatusFilter::One(429));
        assert_eq!(StatusFilter::parse("4xx").unwrap().range(), 400..=499);
        for bad in [
            "", "42", "4x", "x", "4xxx", "999", "6xx", "-12", "+42", "0xx", "429 ", "４xx",
        ] {
            assert!(StatusFilter::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_model_is_a_name_or_a_beginning() {
        let named = |text: &str| Some(ModelFilter::Named(text.to_owned()));
        let beginning = |text: &str| Some(ModelFilter::Beginning(text.to_owned()));
        assert_eq!(ModelFilter::parse("gpt-5").unwrap(), named("gpt-5"));
        assert_eq!(ModelFilter::parse("gpt-*").unwrap(), beginning("gpt-"));
        assert_eq!(ModelFilter::parse("*").unwrap(), None);
        assert!(ModelFilter::parse("*-mini").is_err() && ModelFilter::parse("a**").is_err());
    }
}
