//! The cursor of a list of calls.
//!
//! Pages are ordered by when calls began, then by record id. Later calls move no row, so no page skips or repeats one.
//!
//! That order cannot show which calls are new: a long call, or one in the spool of a disconnected data plane, is posted
//! long after later ones. Numbers from control cannot either, since transactions do not commit in numeric order.
//!
//! The posted position of each spool is exact, since its records are posted in sequence. So a list shows what was
//! posted when its first page was requested (`PostedWatermark`); everything posted later counts as new. Each call is in
//! exactly one of the two.

use proxyxai_contract::clock::Millis;
use serde::{Deserialize, Serialize};

/// A spool that posted nothing for this long is left out of watermarks, so that they list only active data planes. Far
/// longer than any transaction or clock difference.
pub(crate) const QUIET_MS: i64 = 3_600_000;

/// What was posted: for each recently active spool, the records up to a sequence; for any other, the records posted
/// before the quiet time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct PostedWatermark {
    /// When it was taken, in milliseconds.
    at: i64,
    /// Spool numbers, each with its last sequence.
    spools: Vec<(i64, i64)>,
}

/// A position in the order of pages. The page's rows come before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CallPosition {
    /// When that call began.
    pub(crate) start: i64,
    /// With `epoch` and `sequence`, the id of its record.
    pub(crate) node: String,
    pub(crate) epoch: i64,
    pub(crate) sequence: i64,
}

/// The start of the next page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CallCursor {
    pub(crate) mark: PostedWatermark,
    pub(crate) place: CallPosition,
}

// === impl PostedWatermark ===

impl PostedWatermark {
    /// Takes spools with the last sequence of each.
    pub(crate) fn new(at: Millis, spools: Vec<(i64, i64)>) -> Self {
        Self { at: at.0, spools }
    }

    /// Spools that posted since this moment are in the watermark.
    pub(crate) fn quiet(&self) -> Millis {
        Millis(self.at).plus(-QUIET_MS)
    }

    /// The spools in the watermark.
    pub(crate) fn spools(&self) -> impl Iterator<Item = i64> {
        self.spools.iter().map(|(spool, _)| *spool)
    }

    /// The last sequence of a spool. Returns `None` if it was quiet.
    pub(crate) fn through(&self, spool: i64) -> Option<i64> {
        let found = self.spools.iter().find(|(id, _)| *id == spool);
        found.map(|(_, through)| *through)
    }

    /// Whether a record of a spool was posted at that time.
    pub(crate) fn has(&self, spool: Option<i64>, sequence: i64, posted: Millis) -> bool {
        match spool.and_then(|spool| self.through(spool)) {
            Some(through) => sequence <= through,
            None => posted <= self.quiet(),
        }
    }
}

// === impl CallPosition ===

impl CallPosition {
    /// The position after all calls that began before this moment. Data planes always have a name, so an empty one
    /// sorts first.
    pub(crate) const fn below(start: i64) -> Self {
        Self {
            start,
            node: String::new(),
            epoch: i64::MIN,
            sequence: i64::MIN,
        }
    }

    /// The latest start of the calls before this position.
    pub(crate) const fn latest(&self) -> i64 {
        if self.node.is_empty() {
            self.start.saturating_sub(1)
        } else {
            self.start
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_a_moment_is_what_began_earlier() {
        assert_eq!(CallPosition::below(7).latest(), 6);
        let row = CallPosition {
            node: "n1".to_owned(),
            ..CallPosition::below(7)
        };
        assert_eq!(row.latest(), 7);
    }

    #[test]
    fn a_mark_has_what_was_posted_before_it() {
        let mark = PostedWatermark::new(Millis(QUIET_MS + 100), vec![(1, 7)]);
        assert!(mark.has(Some(1), 7, Millis(QUIET_MS + 100)));
        assert!(!mark.has(Some(1), 8, Millis(0)));
        // A quiet spool has only old records, even if it has a number by now.
        for spool in [None, Some(2)] {
            assert!(mark.has(spool, 9, Millis(100)));
            assert!(!mark.has(spool, 1, Millis(101)));
        }
    }
}
