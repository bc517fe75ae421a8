//! The latency of a key: a moving average of its time to first byte that rises to a peak at once and falls slowly. So a
//! key that has become slow is avoided after one call and tried again later.

use std::time::Duration;

use proxyxai_contract::clock::Millis;

/// After this long without a response, a peak counts for about a third.
const MEMORY_MS: f64 = 10_000.0;
/// Cost of an in-flight call on a key that has not responded yet, in seconds: the key is tried when idle, and not
/// flooded.
const UNKNOWN: f64 = 1.0;

/// The average at the last response.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct PeakEwma {
    /// `None` before the first response.
    last: Option<(f64, Millis)>,
}

impl PeakEwma {
    /// Adds a response whose first byte took this long.
    #[must_use]
    pub(crate) fn observe(self, first_byte: Duration, now: Millis) -> Self {
        let fresh = first_byte.as_secs_f64();
        let seconds = match self.last {
            Some((old, at)) if fresh < old => {
                let kept = kept(at, now);
                old * kept + fresh * (1.0 - kept)
            }
            Some(_) | None => fresh,
        };
        Self {
            last: Some((seconds, now)),
        }
    }

    /// The cost of one more call on a key with this many in flight, comparable between keys. The longer since its last
    /// response, the lower.
    pub(crate) fn cost(self, under_way: u32, now: Millis) -> f64 {
        let under_way = f64::from(under_way);
        match self.last {
            Some((seconds, at)) => seconds * kept(at, now) * (under_way + 1.0),
            None => UNKNOWN * under_way,
        }
    }
}

/// The weight of an old average.
fn kept(at: Millis, now: Millis) -> f64 {
    let elapsed = u32::try_from(now.since(at).max(0)).unwrap_or(u32::MAX);
    (-f64::from(elapsed) / MEMORY_MS).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_peak_counts_at_once_and_fades() {
        let pace = PeakEwma::default()
            .observe(ms(50), Millis(0))
            .observe(ms(900), Millis(10));
        assert!((pace.cost(0, Millis(10)) - 0.9).abs() < 1e-9);
        let better = pace.observe(ms(50), Millis(20));
        assert!(better.cost(0, Millis(20)) > 0.89);
        let later = better.observe(ms(50), Millis(60_000));
        assert!((later.cost(0, Millis(60_000)) - 0.05).abs() < 0.01);
    }

    #[test]
    fn calls_under_way_make_a_key_dearer() {
        let pace = PeakEwma::default().observe(ms(100), Millis(0));
        assert!((pace.cost(3, Millis(0)) - 0.4).abs() < 1e-9);
        assert!(PeakEwma::default().cost(0, Millis(0)) < pace.cost(0, Millis(0)));
        assert!(PeakEwma::default().cost(1, Millis(0)) > pace.cost(3, Millis(0)));
    }

    #[test]
    fn a_clock_that_is_set_back_changes_nothing() {
        let pace = PeakEwma::default().observe(ms(100), Millis(5000));
        assert!((pace.cost(0, Millis(0)) - 0.1).abs() < 1e-9);
    }
}
