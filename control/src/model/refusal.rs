//! A list of refused calls: which of them, and from where on.

use std::collections::BTreeMap;

use proxyxai_contract::{Invalid, clock::Millis, refused_call::RefusedCall};

use super::StatusFilter;

/// Which refused calls to list; none means all.
#[derive(Debug, Clone, Default)]
pub struct RefusalFilter {
    /// Whose, and of all below it. None means the caller; of root it means those of unknown keys too.
    pub account: Option<String>,
    /// Without those below it.
    pub alone: bool,
    /// Asked for this model, or, with `*` at the end, for one that begins like this.
    pub model: Option<String>,
    /// Answered with this.
    pub status: Option<StatusFilter>,
    /// The one with this id.
    pub request_id: Option<String>,
    /// At this moment or later.
    pub start: Option<Millis>,
    /// At this moment or before.
    pub end: Option<Millis>,
}

/// A place in a list: the row there is before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusalCursor {
    /// When it was.
    pub at: Millis,
    /// Its id.
    pub id: i64,
}

/// A page of a list.
#[derive(Debug, Clone)]
pub struct RefusalPage {
    /// The latest first.
    pub calls: Vec<RefusedCall>,
    /// Of the accounts whose they are, by id.
    pub names: BTreeMap<i64, String>,
    /// Where to go on, when there are more.
    pub next: Option<RefusalCursor>,
}

impl RefusalCursor {
    /// As the fronts show it.
    pub fn text(self) -> String {
        format!("{}.{}", self.at.0, self.id)
    }

    /// Reads what `text` wrote.
    ///
    /// # Errors
    /// When it is none.
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
