//! When to hedge a call whose first key has not begun to respond: after the 95th percentile of the time to first byte,
//! so that about one call in twenty is asked twice.

use std::time::Duration;

/// Buckets of the histogram; each is a quarter wider than the one before, from a millisecond to twenty
/// minutes.
const BUCKETS: usize = 64;
const RATIO: f64 = 1.25;
/// With fewer responses than this, the slowest in twenty are unknown.
const ANSWERS_MIN: u16 = 40;
/// At this many responses all counts are halved, so that old ones fade.
const ANSWERS_MAX: u16 = 1000;
/// One response in this many is slow.
const SLOW_OF: u16 = 20;

/// Histogram of recent times to first byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LatencyHistogram {
    counts: [u16; BUCKETS],
    answers: u16,
}

impl Default for LatencyHistogram {
    fn default() -> Self {
        Self {
            counts: [0; BUCKETS],
            answers: 0,
        }
    }
}

impl LatencyHistogram {
    /// A response began after this time. A hedged call counts from its first attempt.
    pub(crate) fn observe(&mut self, first_byte: Duration) {
        if self.answers >= ANSWERS_MAX {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.answers = self.counts.iter().sum();
        }
        let at = (0..BUCKETS).find(|at| first_byte <= end(*at));
        if let Some(count) = self.counts.get_mut(at.unwrap_or(BUCKETS - 1)) {
            *count += 1;
            self.answers += 1;
        }
    }

    /// After how long a response is slow; `None` while too little is known.
    pub(crate) fn slow(&self) -> Option<Duration> {
        if self.answers < ANSWERS_MIN {
            return None;
        }
        let mut beyond = self.answers;
        let fits = |(at, count): (usize, &u16)| {
            beyond = beyond.saturating_sub(*count);
            (beyond * SLOW_OF <= self.answers).then_some(at)
        };
        self.counts.iter().enumerate().find_map(fits).map(end)
    }
}

/// Upper bound of a bucket.
fn end(at: usize) -> Duration {
    let at = i32::try_from(at).unwrap_or(i32::MAX);
    Duration::from_secs_f64(0.001 * RATIO.powi(at))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn little_is_known_of_few_answers() {
        let mut waits = LatencyHistogram::default();
        for _ in 1..ANSWERS_MIN {
            waits.observe(Duration::from_millis(100));
        }
        assert_eq!(waits.slow(), None);
        waits.observe(Duration::from_millis(100));
        let slow = waits.slow().unwrap();
        assert!((100..126).contains(&slow.as_millis()), "{slow:?}");
    }

    #[test]
    fn what_was_long_ago_fades() {
        let mut waits = LatencyHistogram::default();
        for _ in 0..2000 {
            waits.observe(Duration::from_secs(30));
        }
        for _ in 0..5000 {
            waits.observe(Duration::from_millis(50));
        }
        assert!(waits.slow().unwrap() < Duration::from_millis(70));
    }

    proptest! {
        #[test]
        fn about_one_in_twenty_is_slow(millis in prop::collection::vec(1u64..600_000, 40..900)) {
            let mut waits = LatencyHistogram::default();
            for ms in &millis {
                waits.observe(Duration::from_millis(*ms));
            }
            let slow = waits.slow().unwrap().as_millis();
            let beyond = |limit: u128| millis.iter().filter(|ms| u128::from(**ms) > limit).count();
            prop_assert!(beyond(slow) * 20 <= millis.len());
            // One bucket less would be too early.
            prop_assert!(beyond(slow * 4 / 5 - 1) * 20 > millis.len() || slow == 1);
        }
    }
}
