//! Where a list of calls goes on.
//!
//! A list has two orders. People look for calls by the time at which they began, so that is the order of pages, with the
//! record's id for those that began in the same millisecond: nothing that comes later moves a row, so that no page skips
//! or repeats one. But what is new cannot be told by it: a call that lasts an hour, or waits in the spool of a data plane
//! without a connection, is posted long after later ones. Nor can it by a number that control gives, since transactions
//! do not commit in the order in which they took their numbers. What is exact is how far each spool was posted: its
//! records are posted in the order of their sequences, one transaction after the other. So a list is of what was posted
//! when its first page was asked for (`Mark`), pages go on within that, and what came since is the rest: each call is in
//! exactly one of the two.

use proxyxai_contract::clock::Millis;
use serde::{Deserialize, Serialize};

/// A spool that posted nothing for so long is left out of marks, which so have the data planes at work and not all that
/// ever were. Far longer than any transaction takes and any two clocks differ.
pub(crate) const QUIET_MS: i64 = 3_600_000;

/// What is posted: of each spool that posted lately, the records up to a sequence, and of any other those posted before
/// that time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct PostedWatermark {
    /// When it was made, in milliseconds.
    at: i64,
    /// Number of a spool, and the last sequence.
    spools: Vec<(i64, i64)>,
}

/// A place in the order of pages, before which its rows are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CallPosition {
    /// When the row there began.
    pub(crate) start: i64,
    /// Its id.
    pub(crate) node: String,
    pub(crate) epoch: i64,
    pub(crate) sequence: i64,
}

/// Where the next page begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CallCursor {
    pub(crate) mark: PostedWatermark,
    pub(crate) place: CallPosition,
}

// === impl Mark ===

impl PostedWatermark {
    /// Of spools with the last sequence of each.
    pub(crate) fn new(at: Millis, spools: Vec<(i64, i64)>) -> Self {
        Self { at: at.0, spools }
    }

    /// From then on spools are in it.
    pub(crate) fn quiet(&self) -> Millis {
        Millis(self.at).plus(-QUIET_MS)
    }

    /// Spools in it.
    pub(crate) fn spools(&self) -> impl Iterator<Item = i64> {
        self.spools.iter().map(|(spool, _)| *spool)
    }

    /// The last sequence of a spool; none when it had been quiet.
    pub(crate) fn through(&self, spool: i64) -> Option<i64> {
        let found = self.spools.iter().find(|(id, _)| *id == spool);
        found.map(|(_, through)| *through)
    }

    /// Whether a record of a spool was posted then.
    pub(crate) fn has(&self, spool: Option<i64>, sequence: i64, posted: Millis) -> bool {
        match spool.and_then(|spool| self.through(spool)) {
            Some(through) => sequence <= through,
            None => posted <= self.quiet(),
        }
    }
}

// === impl Place ===

impl CallPosition {
    /// Before it is what began before this moment. No data plane is without a name.
    pub(crate) const fn below(start: i64) -> Self {
        Self {
            start,
            node: String::new(),
            epoch: i64::MIN,
            sequence: i64::MIN,
        }
    }

    /// The last moment at which what is before it may have begun.
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
        // A spool that was quiet has only what is old, whoever has a number for it by now.
        for spool in [None, Some(2)] {
            assert!(mark.has(spool, 9, Millis(100)));
            assert!(!mark.has(spool, 1, Millis(101)));
        }
    }
}
