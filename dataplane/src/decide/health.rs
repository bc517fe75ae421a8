//! What becomes of a key, or of a key for one model, when it fails or succeeds. Pure: a state and an
//! event in, a state out.

use proxyxai_contract::{clock::Millis, snapshot::HealthState};

/// Sleeps after a 5xx, a 429 or a transport failure double from the first to the last.
const SLEEP_FIRST_MS: i64 = 1_000;
const SLEEP_LAST_MS: i64 = 60_000;
/// A hint beyond a day is taken as a day: a provider's slip must not take a key away for good.
const HINT_LAST_MS: i64 = 86_400_000;
/// A refused key is asked again after ten minutes, then half as often each time, up to two hours.
const PROBE_FIRST_MS: i64 = 600_000;
const PROBE_LAST_MS: i64 = 7_200_000;
/// After this long without a success, a refused key is left to the operator.
const DISABLE_AFTER_MS: i64 = 86_400_000;
/// Within this, refusals count towards a storm.
pub const STORM_WINDOW_MS: i64 = 60_000;
/// Fewer keys than this are no crowd.
const STORM_KEYS_MIN: usize = 3;

/// One key, or one key for one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// What it is now.
    pub state: HealthState,
    failures: u32,
    refused_since: Option<Millis>,
    /// Whether the latest failure was a rate limit.
    pub rate_limited: bool,
}

impl Default for Condition {
    fn default() -> Self {
        Self { state: HealthState::Ready, failures: 0, refused_since: None, rate_limited: false }
    }
}

impl Condition {
    /// Whether it may be asked now.
    pub fn is_usable(&self, now: Millis) -> bool {
        match self.state {
            HealthState::Ready => true,
            HealthState::Sleeping { until } | HealthState::Quarantined { until } => now >= until,
            HealthState::Disabled => false,
        }
    }

    /// A failure that a rest may cure. The provider's hint wins over our own guess.
    #[must_use]
    pub fn slept(self, now: Millis, hint_ms: Option<i64>, rate_limited: bool) -> Self {
        // Calls that were under way when it fell asleep do not make it sleep longer.
        if let HealthState::Sleeping { until } = self.state
            && now < until
            && hint_ms.is_none()
        {
            return self;
        }
        let rest = hint_ms.map_or_else(|| doubled(SLEEP_FIRST_MS, self.failures, SLEEP_LAST_MS), |ms| ms.clamp(1, HINT_LAST_MS));
        let state = match self.state {
            HealthState::Disabled | HealthState::Quarantined { .. } => self.state,
            HealthState::Ready | HealthState::Sleeping { .. } => HealthState::Sleeping { until: now.plus(rest) },
        };
        Self { state, failures: self.failures.saturating_add(1), rate_limited, ..self }
    }

    /// Its provider refused the key itself.
    #[must_use]
    pub fn refused(self, now: Millis) -> Self {
        let since = self.refused_since.unwrap_or(now);
        if let HealthState::Quarantined { until } = self.state
            && now < until
        {
            return self;
        }
        let failures = if self.refused_since.is_some() { self.failures } else { 0 };
        let state = if now.since(since) >= DISABLE_AFTER_MS {
            HealthState::Disabled
        } else {
            HealthState::Quarantined { until: now.plus(doubled(PROBE_FIRST_MS, failures, PROBE_LAST_MS)) }
        };
        Self { state, failures: failures.saturating_add(1), refused_since: Some(since), rate_limited: false }
    }

    /// What another data plane learnt; one's own worse knowledge stays.
    #[must_use]
    pub fn told(self, state: HealthState, rate_limited: bool) -> Self {
        if rank(state) < rank(self.state) && state != HealthState::Ready {
            return self;
        }
        if state == HealthState::Ready { Self::default() } else { Self { state, rate_limited, ..self } }
    }
}

/// How bad a state is; later ends are worse among equals.
fn rank(state: HealthState) -> (u8, i64) {
    match state {
        HealthState::Ready => (0, 0),
        HealthState::Sleeping { until } => (1, until.0),
        HealthState::Quarantined { until } => (2, until.0),
        HealthState::Disabled => (3, 0),
    }
}

/// Whether refusals are so many that the provider, not its keys, is likely at fault: more than half
/// of at least three keys within a minute.
pub const fn storm(refused_lately: usize, keys: usize) -> bool {
    keys >= STORM_KEYS_MIN && refused_lately * 2 > keys
}

fn doubled(first: i64, times: u32, last: i64) -> i64 {
    first.saturating_mul(1 << times.min(20)).min(last)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn until(condition: Condition) -> i64 {
        match condition.state {
            HealthState::Sleeping { until } | HealthState::Quarantined { until } => until.0,
            HealthState::Ready | HealthState::Disabled => panic!("{condition:?}"),
        }
    }

    #[test]
    fn sleeps_double_from_one_second_to_a_minute() {
        let (mut condition, mut now, mut rests) = (Condition::default(), 0, Vec::new());
        for _ in 0..8 {
            condition = condition.slept(Millis(now), None, false);
            rests.push(until(condition) - now);
            now = until(condition);
        }
        assert_eq!(rests, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
    }

    #[test]
    fn a_hint_wins() {
        let condition = Condition::default().slept(Millis(0), Some(12_345), true);
        assert_eq!(until(condition), 12_345);
        assert!(condition.rate_limited);
    }

    #[test]
    fn failures_of_calls_under_way_do_not_lengthen_a_sleep() {
        let first = Condition::default().slept(Millis(0), None, false);
        assert_eq!(first.slept(Millis(10), None, false), first);
    }

    #[test]
    fn a_refused_key_is_asked_ever_less_often_and_disabled_after_a_day() {
        let (mut condition, mut now, mut asked) = (Condition::default(), 0, 0);
        while condition.state != HealthState::Disabled {
            condition = condition.refused(Millis(now));
            asked += 1;
            if condition.state != HealthState::Disabled {
                assert!(!condition.is_usable(Millis(until(condition) - 1)));
                now = until(condition);
            }
        }
        assert!((86_400_000..100_000_000).contains(&now), "{now}");
        assert!((12..=20).contains(&asked), "{asked}");
    }

    #[test]
    fn a_key_told_of_is_not_believed_better_than_known_worse() {
        let refused = Condition::default().refused(Millis(0));
        assert_eq!(refused.told(HealthState::Sleeping { until: Millis(5) }, false), refused);
        assert_eq!(refused.told(HealthState::Ready, false), Condition::default());
    }

    #[test]
    fn most_keys_of_a_provider_failing_at_once_is_a_storm() {
        assert!(storm(3, 4));
        assert!(!storm(2, 4));
        assert!(!storm(2, 2));
    }

    proptest! {
        #[test]
        fn what_sleeps_wakes_within_a_day(hints in proptest::collection::vec(proptest::option::of(any::<i64>()), 1..20)) {
            let mut condition = Condition::default();
            for (at, hint) in hints.into_iter().enumerate() {
                condition = condition.slept(Millis(i64::try_from(at).unwrap()), hint, false);
            }
            prop_assert!(condition.is_usable(Millis(86_400_000 + 20)));
        }
    }
}
