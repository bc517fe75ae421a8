//! A list of calls: which of them, from where on, and what a row of it is.

use std::ops::RangeInclusive;

use proxyxai_contract::{
    Invalid,
    clock::Millis,
    id::{ClientKeyId, KeyId},
};

use super::PostedUsage;

/// Which statuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusFilter {
    /// This one.
    One(u16),
    /// All of a hundred, by its first digit.
    Class(u16),
}

/// Which models, of those that calls ask for and those that answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelFilter {
    /// This one.
    Named(String),
    /// All that begin like this.
    Beginning(String),
}

/// Which client key of its account a call was made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientKeyFilter {
    /// The first.
    First,
    /// This one.
    Further(ClientKeyId),
}

/// Which calls to list; none means all.
#[derive(Debug, Clone, Default)]
pub struct CallFilter {
    /// Whose, and of all below it. None means the caller.
    pub account: Option<String>,
    /// Without those below it.
    pub alone: bool,
    /// Asked for or used.
    pub model: Option<ModelFilter>,
    /// On this upstream key.
    pub key: Option<KeyId>,
    /// With this client key.
    pub client_key: Option<ClientKeyFilter>,
    /// Answered with this.
    pub status: Option<StatusFilter>,
    /// The one with this id.
    pub request_id: Option<String>,
    /// Begun at this moment or later.
    pub start: Option<Millis>,
    /// Begun at this moment or before.
    pub end: Option<Millis>,
}

/// Which part of a list is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum PageCursor {
    /// The latest.
    #[default]
    Latest,
    /// Those that come after a page, by its `next`.
    Before(String),
    /// Those that were posted since, by a `latest`.
    After(String),
}

/// A row of the list.
#[derive(Debug, Clone)]
pub struct Call {
    /// What was posted of it.
    pub usage: PostedUsage,
    /// Whose it is; empty where the account is not there.
    pub account_name: String,
    /// For root alone; empty where the key is gone.
    pub key_name: Option<String>,
    /// Of the further client key that it was made with; empty for the account's first.
    pub client_key_name: String,
}

/// A page of a list.
#[derive(Debug, Clone)]
pub struct CallPage {
    /// The latest first.
    pub calls: Vec<Call>,
    /// Where to go on, when there may be more.
    pub next: Option<String>,
    /// From where on calls are new.
    pub latest: String,
}

// === impl MadeWith ===

impl ClientKeyFilter {
    /// Reads an id; 0 means the first.
    ///
    /// # Errors
    /// When it is negative.
    pub fn of(id: i64) -> Result<Self, Invalid> {
        match id {
            0 => Ok(Self::First),
            id => ClientKeyId::new(id).map(Self::Further),
        }
    }
}

// === impl CallsFrom ===

impl PageCursor {
    /// By the one cursor that is given, if any.
    ///
    /// # Errors
    /// When both are.
    pub fn of(before: Option<String>, after: Option<String>) -> Result<Self, Invalid> {
        match (before, after) {
            (Some(_), Some(_)) => Err(Invalid::new("after", "cannot be with before")),
            (Some(cursor), None) => Ok(Self::Before(cursor)),
            (None, Some(cursor)) => Ok(Self::After(cursor)),
            (None, None) => Ok(Self::Latest),
        }
    }
}

// === impl StatusOf ===

impl StatusFilter {
    /// Reads `429` or `4xx`.
    ///
    /// # Errors
    /// When it is neither.
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

    /// First and last.
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

// === impl ModelOf ===

impl ModelFilter {
    /// Reads a name, or a beginning of names with `*` after it; none for all.
    ///
    /// # Errors
    /// When the sign stands elsewhere.
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

    /// The text without the sign.
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
