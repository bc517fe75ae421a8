//! The retry loop: over the levels of the plan, over the keys of a level, and, when all of them are
//! resting, round again after a wait. Every bound of it is named here or in the configuration.

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use http::Response;
use proxyxai_contract::{
    clock::Millis,
    id::{KeyId, Level},
};
use tokio::time::Instant;

use super::{
    Call, Relay,
    answer::refuse,
    attempt::{Failure, Outcome},
};
use crate::{
    decide::{
        admit::Refusal,
        retry::{Budget, backoff_ms},
    },
    live::{KeyState, PROBATION_MS, Rest},
};

/// A key that has not proved itself since it was loaded or woken gets one call at a time; others
/// wait this long for its verdict before they use it all the same.
const PROBATION_WAIT: Duration = Duration::from_millis(PROBATION_MS.cast_unsigned());
const PROBATION_LOOK: Duration = Duration::from_millis(2);

/// What the rounds have come to so far.
#[derive(Default)]
pub(super) struct Progress {
    /// Attempts made.
    pub(super) tries: u32,
    /// The latest failure.
    pub(super) failure: Option<Failure>,
}

/// What to do when no key can be used right now.
enum Pause {
    /// Wait, then go round again.
    For(Duration),
    /// Nothing will change in time.
    GiveUp,
}

impl Relay {
    /// Answers a call with the first attempt that succeeds, or with what the last one failed of.
    pub(super) async fn rounds(&self, mut call: Call) -> Response<Body> {
        let deadline = Instant::now() + self.config.retry_deadline;
        self.budget().deposit(self.clock.now());
        let mut progress = Progress::default();
        let mut waits = 0;
        loop {
            for level in call.plan.levels.clone() {
                let mut tried: Vec<KeyId> = Vec::new();
                while let Some(key) = self.next_key(&call, level, &tried).await {
                    if progress.tries > 0
                        && (Instant::now() >= deadline || !self.budget().withdraw(self.clock.now()))
                    {
                        return self.all_failed(call, progress);
                    }
                    progress.tries += 1;
                    if !call.bill.sent(&key, progress.tries) {
                        return refuse(call.request.family, &Refusal::Unavailable);
                    }
                    call.bill.counted.reach();
                    match self.attempt(&call, &key).await {
                        Outcome::Answer(answer) => {
                            return self.answer(call, &key, progress.tries, *answer);
                        }
                        Outcome::Failed(failure) => {
                            call.bill.failed();
                            progress.failure = Some(failure);
                        }
                    }
                    tried.push(key.key.id);
                }
            }
            // A circle stays one, however long it is waited for.
            if progress.failure.as_ref().is_some_and(Failure::is_loop) {
                return self.all_failed(call, progress);
            }
            match self.pause(&call, waits, deadline) {
                Pause::For(wait) => tokio::time::sleep(wait).await,
                Pause::GiveUp => return self.all_failed(call, progress),
            }
            waits += 1;
        }
    }

    /// The next key of a level, after a short wait when the only usable ones are on probation.
    async fn next_key(&self, call: &Call, level: Level, tried: &[KeyId]) -> Option<Arc<KeyState>> {
        let pool = call.snapshot.pool(level);
        let model = call.plan.model.as_str();
        // While fresh keys are on trial nobody goes on, not even with one that has passed: it would be
        // given the calls of all that come meanwhile.
        let until = Instant::now() + PROBATION_WAIT;
        while Instant::now() < until && pool.is_on_trial(model, self.clock.now(), tried) {
            tokio::time::sleep(PROBATION_LOOK).await;
        }
        let pick = |patient| pool.pick(model, self.clock.now(), tried, patient);
        if let Some(key) = pick(true) {
            return Some(key);
        }
        if !pool.is_probing(model, self.clock.now(), tried) {
            return None;
        }
        // Until all verdicts are in: going on with the first key that passes would give it the calls
        // of all that wait.
        let until = Instant::now() + PROBATION_WAIT;
        while Instant::now() < until && pool.is_probing(model, self.clock.now(), tried) {
            tokio::time::sleep(PROBATION_LOOK).await;
        }
        pick(true).or_else(|| pick(false))
    }

    /// How long until a key of the plan may be asked again.
    fn pause(&self, call: &Call, waits: u32, deadline: Instant) -> Pause {
        let now = self.clock.now();
        let Some(wake) = self.earliest_wake(call) else {
            return Pause::GiveUp;
        };
        let jittered = backoff_ms(waits, fastrand::u64(..));
        let wait = Duration::from_millis(
            u64::try_from(wake.since(now))
                .unwrap_or_default()
                .max(jittered),
        );
        if Instant::now() + wait >= deadline {
            Pause::GiveUp
        } else {
            Pause::For(wait)
        }
    }

    /// When the first key of the plan can be asked, which may be now. Quarantined and disabled keys are
    /// not waited for.
    fn earliest_wake(&self, call: &Call) -> Option<Millis> {
        let now = self.clock.now();
        let waited_for = self.rests(call).into_iter().filter(|rest| !rest.refused);
        waited_for.map(|rest| rest.until.unwrap_or(now)).min()
    }

    /// How the keys of the plan are resting.
    pub(super) fn rests(&self, call: &Call) -> Vec<Rest> {
        let now = self.clock.now();
        let levels = call
            .plan
            .levels
            .iter()
            .map(|level| call.snapshot.pool(*level));
        let keys = levels.flat_map(|pool| &pool.keys);
        keys.map(|key| key.health.rest(&call.plan.model, now))
            .collect()
    }

    fn budget(&self) -> std::sync::MutexGuard<'_, Budget> {
        // A panic elsewhere leaves a budget that is still a budget.
        self.budget
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
