//! Calls that wait for the first results of unproven keys. Such a key gets one call at a time, so a dead one is asked
//! once.

use std::time::Duration;

use futures_util::future::select_all;
use tokio::time::{Instant, timeout_at};

use super::{
    health::PROBATION_MS,
    pool::{KeyPool, PickQuery},
};

/// How long a call waits for results before it uses an unproven key all the same.
const PROBATION_WAIT: Duration = Duration::from_millis(PROBATION_MS.cast_unsigned());

impl KeyPool {
    /// Waits until no fresh key that the call may use is on trial, or `PROBATION_WAIT` is over.
    pub(crate) async fn wait_for_trials<'a>(&self, ask: impl Fn() -> PickQuery<'a>) {
        let longest_left = || {
            let ask = ask();
            let on_trial = self.keys.iter().filter(|key| key.is_usable(&ask));
            on_trial
                .filter_map(|key| key.health.trial_left(ask.now))
                .max()
        };
        self.wait_while(longest_left).await;
    }

    /// Waits until all probes of keys that the call may use have a result, or `PROBATION_WAIT` is over.
    pub(crate) async fn wait_for_probes<'a>(&self, ask: impl Fn() -> PickQuery<'a>) {
        let is_probing = || self.is_probing(&ask()).then_some(PROBATION_WAIT);
        self.wait_while(is_probing).await;
    }

    /// Waits while there is something to wait for, which ends by itself after the time that `left` returns.
    async fn wait_while(&self, left: impl Fn() -> Option<Duration>) {
        let until = Instant::now() + PROBATION_WAIT;
        while Instant::now() < until {
            // Before the look at the keys, so that no change after it is missed.
            let changes: Vec<_> = self
                .keys
                .iter()
                .map(|key| key.health.next_change())
                .collect();
            let Some(left) = left() else {
                return;
            };
            // Look again, woken or not.
            timeout_at(until.min(Instant::now() + left), select_all(changes))
                .await
                .ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::Future, pin::pin, sync::Arc};

    use futures_util::poll;
    use proxyxai_contract::{
        clock::Millis,
        id::{AccountId, KeyId, Level},
        load_balancing::KeyStrategy,
        provider::BaseUrl,
        secret::Secret,
        snapshot::{HealthState, KeyConfig, KeyHealthReport, UpstreamKey},
    };

    use super::*;
    use crate::state::{DialectNeed, KeyQuery, KeyState, key::Lasting};

    const NOW: Millis = Millis(1_000_000);

    fn pool(keys: i64) -> KeyPool {
        let key = |id| {
            let key = UpstreamKey {
                id: KeyId::new(id).unwrap(),
                secret: Secret::new("sk-upstream".to_owned()),
                provider: BaseUrl::parse("https://provider.test").unwrap(),
                level: Level::ZERO,
                config: KeyConfig::default(),
            };
            let lasting = Lasting {
                health: Arc::default(),
                load: Arc::default(),
                offer: Arc::default(),
            };
            Arc::new(KeyState::new(key, lasting).unwrap())
        };
        KeyPool {
            keys: (1..=keys).map(key).collect(),
            ..KeyPool::default()
        }
    }

    fn ask() -> PickQuery<'static> {
        PickQuery {
            query: KeyQuery {
                model: "m",
                account: AccountId::ROOT,
                customer: AccountId::ROOT,
                dialect_need: DialectNeed::Any,
            },
            now: NOW,
            tried: &[],
            only: None,
            strategy: KeyStrategy::RoundRobin,
            conversation: None,
        }
    }

    async fn goes_on_with_the_last_result(pool: &KeyPool, waiting: impl Future<Output = ()>) {
        let mut waiting = pin!(waiting);
        let [first, last] = [&pool.keys[0].health, &pool.keys[1].health];
        assert!(first.begin_probe("m", NOW) && last.begin_probe("m", NOW));
        assert!(poll!(&mut waiting).is_pending());
        drop(first.probe());
        assert!(poll!(&mut waiting).is_pending(), "one result is still out");
        last.succeed(pool.keys[1].key.id, ask().query);
        assert!(poll!(&mut waiting).is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_waits_for_a_trial_goes_on_as_soon_as_it_ends() {
        let pool = pool(2);
        goes_on_with_the_last_result(&pool, pool.wait_for_trials(ask)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_waits_for_probes_goes_on_as_soon_as_all_have_ended() {
        let pool = pool(2);
        goes_on_with_the_last_result(&pool, pool.wait_for_probes(ask)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_waits_for_a_result_no_longer_than_the_probation() {
        let pool = pool(1);
        assert!(pool.keys[0].health.begin_probe("m", NOW));
        let begun = Instant::now();
        pool.wait_for_probes(ask).await;
        assert_eq!(begun.elapsed(), PROBATION_WAIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_waits_for_a_trial_only_for_the_rest_of_its_time() {
        let pool = pool(1);
        let begun = Instant::now();
        let later = || PickQuery {
            now: NOW.plus(100 + i64::try_from(begun.elapsed().as_millis()).unwrap()),
            ..ask()
        };
        assert!(pool.keys[0].health.begin_probe("m", NOW));
        pool.wait_for_trials(later).await;
        assert_eq!(begun.elapsed() + Duration::from_millis(100), PROBATION_WAIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_goes_out_of_rotation_is_not_waited_for() {
        let pool = pool(1);
        let key = &pool.keys[0];
        assert!(key.health.begin_probe("m", NOW));
        let mut waiting = pin!(pool.wait_for_probes(ask));
        assert!(poll!(&mut waiting).is_pending());
        let report = KeyHealthReport {
            key: key.key.id,
            model: None,
            state: HealthState::Disabled,
            reason: String::new(),
        };
        key.health.apply_report(report, NOW);
        assert!(poll!(&mut waiting).is_ready());
    }
}
