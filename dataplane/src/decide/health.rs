//! The health of a key, as a whole or for one model: how long it sleeps, when a refused one is asked again, and when it
//! is given up. Pure; the caller stores the state.

use proxyxai_contract::{clock::Millis, snapshot::HealthState};

const SLEEP_FIRST_MS: i64 = 1000;
const SLEEP_MAX_MS: i64 = 60_000;
const QUARANTINE_FIRST_MS: i64 = 10 * 60_000;
const QUARANTINE_MAX_MS: i64 = 2 * 60 * 60_000;
/// A key that has been refused for a day will not recover by itself.
const REFUSED_MAX_MS: i64 = 24 * 60 * 60_000;
/// A key that comes back grows to its full share over this time.
const SLOW_START_MS: i64 = 10_000;
/// Fewer refused keys than this are no storm, even if there are few keys.
const STORM_KEYS_MIN: usize = 3;

/// A key's failures since it last answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Backoff {
    state: HealthState,
    /// Sleeps, or quarantines, in a row.
    step: u32,
    /// When it was first refused.
    refused_since: Option<Millis>,
}

impl Backoff {
    /// In rotation.
    pub(crate) const READY: Self = Self {
        state: HealthState::Ready,
        step: 0,
        refused_since: None,
    };

    /// As a state of the contract.
    pub(crate) const fn state(self) -> HealthState {
        self.state
    }

    /// Whether it may be asked.
    pub(crate) fn is_usable(self, now: Millis) -> bool {
        match self.state {
            HealthState::Ready => true,
            HealthState::Sleeping { until } | HealthState::Quarantined { until } => until <= now,
            HealthState::Disabled => false,
        }
    }

    /// Applies a 5xx, a 429 or a transport failure: the key sleeps as long as the provider said, else twice as long as
    /// the last time. Failures of calls from before it fell asleep do not add up, and neither quarantine nor
    /// disablement is shortened.
    #[must_use]
    pub(crate) fn slept(self, now: Millis, hint_ms: Option<i64>) -> Self {
        let asleep_until = match self.state {
            HealthState::Quarantined { until } if until <= now => {
                // It was being asked again, and this failure says nothing about the key.
                let until = now.plus(SLEEP_MAX_MS);
                return Self {
                    state: HealthState::Quarantined { until },
                    ..self
                };
            }
            HealthState::Quarantined { .. } | HealthState::Disabled => return self,
            HealthState::Sleeping { until } if until > now => Some(until),
            HealthState::Sleeping { .. } | HealthState::Ready => None,
        };
        let hinted = hint_ms.map(|ms| now.plus(ms.max(0)));
        if let Some(until) = asleep_until {
            let until = hinted.map_or(until, |hinted| hinted.max(until));
            return Self {
                state: HealthState::Sleeping { until },
                ..self
            };
        }
        let until =
            hinted.unwrap_or_else(|| now.plus(doubled(SLEEP_FIRST_MS, self.step, SLEEP_MAX_MS)));
        Self {
            state: HealthState::Sleeping { until },
            step: self.step.saturating_add(1),
            ..self
        }
    }

    /// Applies a refusal of the key itself. The key is quarantined and asked again after 10 minutes, then after twice
    /// as long up to 2 hours; it is disabled after 24 hours of refusals.
    #[must_use]
    pub(crate) fn refused(self, now: Millis) -> Self {
        let since = self.refused_since.unwrap_or(now);
        match self.state {
            HealthState::Disabled => self,
            _ if now.since(since) >= REFUSED_MAX_MS => Self {
                state: HealthState::Disabled,
                refused_since: Some(since),
                ..self
            },
            // The refusals of calls in flight at once count only once.
            HealthState::Quarantined { until } if until > now => self,
            HealthState::Quarantined { .. } => Self::quarantined(now, since, self.step),
            HealthState::Ready => Self::quarantined(now, since, 0),
            HealthState::Sleeping { until } => {
                let quarantined = Self::quarantined(now, since, 0);
                // A longer sleep that the provider asked for still holds.
                quarantined.learnt(HealthState::Quarantined { until }, now)
            }
        }
    }

    /// Applies what another data plane learnt. A refusal outweighs a sleep, a longer sleep a shorter one, and a success
    /// clears everything.
    #[must_use]
    pub(crate) fn learnt(self, reported: HealthState, now: Millis) -> Self {
        match (reported, self.state) {
            (HealthState::Ready, _) => Self::READY,
            (HealthState::Disabled, _) => Self {
                state: reported,
                ..self
            },
            (HealthState::Quarantined { .. }, HealthState::Disabled)
            | (
                HealthState::Sleeping { .. },
                HealthState::Disabled | HealthState::Quarantined { .. },
            ) => self,
            (HealthState::Quarantined { until }, HealthState::Quarantined { until: own }) => Self {
                state: HealthState::Quarantined {
                    until: until.max(own),
                },
                ..self
            },
            (
                HealthState::Quarantined { .. },
                HealthState::Ready | HealthState::Sleeping { .. },
            ) => Self {
                state: reported,
                step: 1,
                refused_since: Some(now),
            },
            (HealthState::Sleeping { until }, HealthState::Sleeping { until: own }) => Self {
                state: HealthState::Sleeping {
                    until: until.max(own),
                },
                ..self
            },
            (HealthState::Sleeping { .. }, HealthState::Ready) => Self {
                state: reported,
                step: 1,
                ..self
            },
        }
    }

    fn quarantined(now: Millis, since: Millis, step: u32) -> Self {
        let until = now.plus(doubled(QUARANTINE_FIRST_MS, step, QUARANTINE_MAX_MS));
        Self {
            state: HealthState::Quarantined { until },
            step: step.saturating_add(1),
            refused_since: Some(since),
        }
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::READY
    }
}

/// The share of a key that has come back, in thousandths: a tenth at once, all of it after ten seconds.
pub(crate) fn slow_start(back: Millis, now: Millis) -> u32 {
    let elapsed = now.since(back).clamp(0, SLOW_START_MS);
    let grown = 100 + 900 * elapsed / SLOW_START_MS;
    u32::try_from(grown).unwrap_or_default()
}

/// Whether so many keys of a provider were refused within a minute that they are hardly at fault: more than half of
/// them, and at least three. Such keys should sleep instead.
pub(crate) const fn storm(refused_in_last_minute: usize, keys_of_provider: usize) -> bool {
    refused_in_last_minute >= STORM_KEYS_MIN && refused_in_last_minute > keys_of_provider / 2
}

fn doubled(first: i64, times: u32, most: i64) -> i64 {
    first.saturating_mul(1 << times.min(16)).min(most)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: i64 = 60_000;

    #[test]
    fn a_key_that_comes_back_grows_into_its_share() {
        let after = |ms| slow_start(Millis(5000), Millis(5000 + ms));
        assert_eq!((after(0), after(5000), after(10_000)), (100, 550, 1000));
        assert_eq!((after(-9000), after(i64::MAX / 2)), (100, 1000));
    }

    fn rest_ms(key: Backoff, now: Millis) -> i64 {
        match key.state() {
            HealthState::Sleeping { until } | HealthState::Quarantined { until } => {
                until.since(now)
            }
            HealthState::Ready | HealthState::Disabled => 0,
        }
    }

    #[test]
    fn sleeps_double_from_one_second_to_sixty() {
        let (mut key, mut now, mut sleeps) = (Backoff::READY, Millis(0), Vec::new());
        for _ in 0..8 {
            key = key.slept(now, None);
            sleeps.push(rest_ms(key, now) / 1000);
            now = now.plus(rest_ms(key, now));
            assert!(key.is_usable(now) && !key.is_usable(now.plus(-1)));
        }
        assert_eq!(sleeps, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn failures_under_way_together_count_once() {
        let once = Backoff::READY.slept(Millis(0), None);
        let many = (0..50).fold(once, |key, ms| key.slept(Millis(ms), None));
        assert_eq!(many, once);
        let refused = Backoff::READY.refused(Millis(0));
        assert_eq!(
            (0..50).fold(refused, |key, ms| key.refused(Millis(ms))),
            refused
        );
    }

    #[test]
    fn the_providers_word_on_the_wait_wins() {
        let key = Backoff::READY.slept(Millis(0), Some(20));
        assert_eq!(rest_ms(key, Millis(0)), 20);
        let longer = key.slept(Millis(10), Some(90_000));
        assert_eq!(rest_ms(longer, Millis(0)), 90_010);
        assert_eq!(longer.slept(Millis(20), Some(5)), longer);
    }

    #[test]
    fn a_refused_key_is_asked_again_ever_more_rarely_and_given_up_after_a_day() {
        let (mut key, mut now, mut gaps) =
            (Backoff::READY.refused(Millis(0)), Millis(0), Vec::new());
        while key.state() != HealthState::Disabled {
            gaps.push(rest_ms(key, now) / MINUTE);
            now = now.plus(rest_ms(key, now));
            assert!(key.is_usable(now) && !key.is_usable(now.plus(-1)));
            key = key.refused(now);
        }
        assert_eq!(gaps[..6], [10, 20, 40, 80, 120, 120]);
        assert!(now.0 >= REFUSED_MAX_MS && now.0 < REFUSED_MAX_MS + QUARANTINE_MAX_MS);
        assert!(!key.is_usable(Millis(i64::MAX)));
    }

    #[test]
    fn a_quarantine_is_not_cut_short_by_other_failures() {
        let key = Backoff::READY.refused(Millis(0));
        assert_eq!(key.slept(Millis(5), Some(1)), key);
        assert_eq!(
            key.learnt(HealthState::Sleeping { until: Millis(9) }, Millis(5)),
            key
        );
        assert_eq!(
            Backoff::READY
                .slept(Millis(0), None)
                .refused(Millis(0))
                .step,
            1
        );
    }

    #[test]
    fn a_storm_is_most_keys_and_at_least_three() {
        for (refused, keys, is_storm) in [
            (1, 1, false),
            (2, 2, false),
            (3, 3, true),
            (3, 5, true),
            (3, 6, false),
            (4, 6, true),
            (0, 0, false),
        ] {
            assert_eq!(storm(refused, keys), is_storm, "{refused} of {keys}");
        }
    }

    fn any_state() -> impl Strategy<Value = HealthState> {
        let until = (0i64..1_000_000).prop_map(Millis);
        prop_oneof![
            Just(HealthState::Ready),
            Just(HealthState::Disabled),
            until
                .clone()
                .prop_map(|until| HealthState::Sleeping { until }),
            until.prop_map(|until| HealthState::Quarantined { until }),
        ]
    }

    proptest! {
        #[test]
        fn news_said_twice_is_news_said_once(own in any_state(), reported in any_state(), now in 0i64..1_000_000) {
            let key = Backoff::READY.learnt(own, Millis(now)).learnt(reported, Millis(now));
            prop_assert_eq!(key.learnt(reported, Millis(now)), key);
            prop_assert_eq!(key.learnt(HealthState::Ready, Millis(now)), Backoff::READY);
        }

        #[test]
        fn no_failure_makes_a_key_usable(
            own in any_state(), now in 0i64..1_000_000, hint in prop::option::of(1i64..100_000), refused in any::<bool>(),
        ) {
            let now = Millis(now);
            let key = Backoff::READY.learnt(own, now);
            let after = if refused { key.refused(now) } else { key.slept(now, hint) };
            prop_assert!(!after.is_usable(now));
            prop_assert!(rest_ms(after, now) >= rest_ms(key, now));
        }
    }
}
