//! A list of refused calls: filters and cursors.

use std::collections::BTreeMap;

use proxyxai_contract::{Invalid, clock::Millis, refused_call::RefusedCall};

use super::StatusFilter;

/// The refused calls to list; `None` means all.
#[derive(Debug, Clone, Default)]
pub struct RefusalFilter {
    /// The account whose calls are listed, with all below it. `None` means the caller; for root this includes calls
    /// with unknown keys.
    pub account: Option<String>,
    /// Leaves out the accounts below it.
    pub alone: bool,
    /// The model asked for; with `*` at the end, all models that begin like this.
    pub model: Option<String>,
    /// With this status.
    pub status: Option<StatusFilter>,
    /// The call with this id.
    pub request_id: Option<String>,
    /// At this moment or later.
    pub start: Option<Millis>,
    /// At this moment or before.
    pub end: Option<Millis>,
}

/// A position in the list, just after the row that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusalCursor {
    /// When the call was refused.
    pub at: Millis,
    /// Id of the row.
    pub id: i64,
}

/// A page of a list.
#[derive(Debug, Clone)]
pub struct RefusalPage {
    /// Latest first.
    pub calls: Vec<RefusedCall>,
    /// Names of the accounts, by id.
    pub names: BTreeMap<i64, String>,
    /// The cursor of the next page, if there is one.
    pub next: Option<RefusalCursor>,
}

impl RefusalCursor {
    /// The text form that clients get.
    pub fn text(self) -> String {
        format!("{}.{}", self.at.0, self.id)
    }

    /// Reads what `text` wrote.
    ///
    /// # Errors
    /// Errors if it is not a cursor.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let bad = || Invalid::new("before", "is not a cursor of this list");
        let (at, id) = text.split_once('.').ok_or_else(bad)?;
        Ok(Self {
            at: Millis(at.parse().map_err(|_| bad())?),
            id: id.parse().map_err(|_| bad())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_comes_back_from_its_text() {
        let place = RefusalCursor {
            at: Millis(1_700_000_000_123),
            id: 7,
        };
        assert_eq!(RefusalCursor::parse(&place.text()).unwrap(), place);
        for bad in ["", "1", "1.", ".1", "1.x", "1.2.3"] {
            assert!(RefusalCursor::parse(bad).is_err(), "{bad}");
        }
    }
}
