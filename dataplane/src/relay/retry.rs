//! The retry loop: over the models of the plan, the levels of each and the keys of a level. If all keys rest, it waits
//! and goes round again. Every bound is named here or in the configuration.
//!
//! Which failures may be tried on another key is decided by `formats::error_classifier`.

use std::time::Duration;

use axum::body::Body;
use http::Response;
use proxyxai_contract::{
    clock::Millis,
    id::{KeyId, Level},
};
use tokio::time::Instant;

use super::{
    Call, Relay,
    abandoned::{client_is_gone, unless_client_gone},
    attempt::{AttemptFailure, AttemptOutcome, UpstreamResponse},
    response::refuse_call,
};
use crate::{
    decide::{
        admit::Refusal,
        connect_failure::ConnectFailure,
        retry_budget::{RetryBudget, backoff_ms},
    },
    state::{KeyDowntime, KeyPermit, KeyQuery, PickQuery},
    telemetry::RefusedRequest,
};

/// How long calls queue for a level whose keys are all at their caps, before they go on.
const QUEUE_WAIT: Duration = Duration::from_millis(250);

/// A call that fails on this many keys that answer other accounts is itself the cause.
const FAILED_ALONE_MAX: u32 = 2;

/// The keys that a call has asked for one model. Each is asked once.
#[derive(Debug, Clone)]
pub(super) struct TriedKeys {
    pub(super) keys: Vec<KeyId>,
    /// Those that may be retried in the next round.
    may_pass: Vec<KeyId>,
    /// How many more may be asked.
    pub(super) left: u32,
}

/// State of the rounds so far.
pub(super) struct RetryProgress {
    /// No new attempt starts after this.
    pub(super) deadline: Instant,
    /// Attempts made.
    pub(super) tries: u32,
    /// One entry for each model of the plan.
    tried: Vec<TriedKeys>,
    /// Keys that failed on this call and answer those of other accounts.
    failed_alone: u32,
    /// The latest failure.
    pub(super) failure: Option<AttemptFailure>,
    /// Whether a key was skipped in the latest round only because of its cap.
    pub(super) full: bool,
}

/// How a round ended.
enum RoundResult {
    /// A key answered.
    Answered(KeyPermit, Box<UpstreamResponse>),
    /// The call would be lost after a kill, so it was not sent.
    Unrecorded,
    /// No further attempt may be made.
    Over,
    /// Every usable key was asked.
    Exhausted,
}

/// What to do when no key is usable now.
enum RetryPause {
    /// Wait, then go round again.
    For(Duration),
    /// No key will be usable in time.
    GiveUp,
}

impl Relay {
    /// Answers a call with the first successful attempt, or with the last failure.
    pub(super) async fn retry_loop(&self, mut call: Box<Call>) -> Response<Body> {
        self.budget().deposit(call.request.start);
        let mut progress = RetryProgress {
            deadline: Instant::now() + self.config.limits.retry_deadline,
            tries: 0,
            tried: Vec::new(),
            failed_alone: 0,
            failure: None,
            full: false,
        };
        let mut waits = 0;
        loop {
            progress.full = false;
            match self.try_plan(&mut call, &mut progress).await {
                RoundResult::Answered(permit, answer) => {
                    call.charge.keep_permit(permit);
                    return self.relay_response(call, progress.tries, *answer);
                }
                RoundResult::Unrecorded => {
                    let (family, bill) = (call.request.dialect, &mut *call.charge);
                    if let Some(recorder) = &mut bill.recorder {
                        recorder.wanted(RefusedRequest::of_record(&bill.record));
                    }
                    return refuse_call(family, &Refusal::Unavailable, bill.recorder.as_mut());
                }
                RoundResult::Over => return self.all_failed(call, progress),
                RoundResult::Exhausted => {}
            }
            // A loop cannot resolve itself, so do not wait and retry.
            if progress
                .failure
                .as_ref()
                .is_some_and(AttemptFailure::is_loop)
            {
                return self.all_failed(call, progress);
            }
            progress.forget();
            match self.pause(&call, waits, &progress) {
                RetryPause::For(wait) => {
                    if unless_client_gone(tokio::time::sleep(wait)).await.is_none() {
                        return self.all_failed(call, progress);
                    }
                }
                RetryPause::GiveUp => return self.all_failed(call, progress),
            }
            // A call that queued for a busy key has already waited; reset the backoff.
            waits = if progress.full { 0 } else { waits + 1 };
        }
    }

    /// Goes once through the models of the plan, the levels of each, and the keys of each level.
    async fn try_plan(&self, call: &mut Call, progress: &mut RetryProgress) -> RoundResult {
        for stage in 0..call.plan.stages.len() {
            call.switch_stage(stage);
            for hop in 0..call.hops().len() {
                let Some(level) = call.hops().get(hop).map(|hop| hop.level) else {
                    break;
                };
                let at = (stage, level);
                while let Some(permit) = self.next_key(call, at, progress).await {
                    if let Some(round) = self.try_key(call, at, permit, progress).await {
                        return round;
                    }
                }
                if progress.tries >= self.config.limits.tries_max {
                    return RoundResult::Over;
                }
            }
        }
        RoundResult::Exhausted
    }

    /// Asks one key. Returns `None` if the next one may be asked.
    async fn try_key(
        &self,
        call: &mut Call,
        (stage, level): (usize, Level),
        permit: KeyPermit,
        progress: &mut RetryProgress,
    ) -> Option<RoundResult> {
        if client_is_gone() {
            // The client is gone, so the attempt would be useless.
            permit.release_unused();
            return Some(RoundResult::Over);
        }
        if progress.tries > 0
            && (Instant::now() >= progress.deadline || !self.budget().withdraw(self.clock.now()))
        {
            permit.release_unused();
            return Some(RoundResult::Over);
        }
        progress.tries += 1;
        if let Some(recorder) = &mut call.charge.recorder {
            recorder.count_attempt();
        }
        if !call.charge.note_sent(&permit.key, progress.tries) {
            permit.release_unused();
            return Some(RoundResult::Unrecorded);
        }
        call.charge.windows.reach();
        let left = self.config.limits.tries_max.saturating_sub(progress.tries);
        let tried = progress.tried(stage);
        tried.left = left;
        let asked = self.attempt_with_hedge(call, level, permit, tried).await;
        if let Some(recorder) = &mut call.charge.recorder {
            recorder.asked(asked.twice(), asked.since.elapsed());
        }
        progress.tries += u32::from(asked.twice());
        call.charge.attempted(&asked);
        let failure = match asked.outcome {
            AttemptOutcome::Answer(answer) => {
                return Some(RoundResult::Answered(asked.permit, answer));
            }
            AttemptOutcome::Failed(failure) => failure,
        };
        call.charge.failed();
        let key = &asked.permit.key;
        let account = call.key_query().account;
        if failure.may_pass() {
            progress.tried(stage).may_pass.push(key.key.id);
        }
        if failure.may_be_the_calls() && key.health.serves_others(account, self.clock.now()) {
            progress.failed_alone += 1;
        }
        progress.failure = Some(failure);
        let alone = progress.failed_alone >= FAILED_ALONE_MAX;
        alone.then_some(RoundResult::Over)
    }

    /// A permit on the next key of a level, after a short wait if the only usable keys are on probation or at their
    /// caps.
    async fn next_key(
        &self,
        call: &Call,
        (stage, level): (usize, Level),
        progress: &mut RetryProgress,
    ) -> Option<KeyPermit> {
        if progress.tries >= self.config.limits.tries_max {
            return None;
        }
        let pool = call.charge.snapshot.pool(level);
        // Mostly there are none.
        let tried = progress.tried(stage).keys.clone();
        let ask = || PickQuery {
            query: call.key_query(),
            now: self.clock.now(),
            tried: &tried,
            only: call.pinned_key,
            strategy: call.strategy(level),
            conversation: call.conversation,
        };
        let mut latest = ask();
        // While fresh keys are on trial, all calls wait, even if one key has passed: it would get all calls that arrive
        // meanwhile.
        if pool.is_on_trial(&latest) {
            pool.wait_for_trials(ask).await;
            latest = ask();
        }
        if let Some(permit) = pool.pick(&latest, true) {
            return Some(permit);
        }
        if pool.is_probing(&ask()) {
            // Wait for all results: going on with the first key that passes would give it all waiting calls.
            pool.wait_for_probes(ask).await;
            if let Some(permit) = pool.pick(&ask(), true).or_else(|| pool.pick(&ask(), false)) {
                return Some(permit);
            }
        }
        let until = progress.deadline.min(Instant::now() + QUEUE_WAIT);
        while pool.is_full(&ask()) {
            progress.full = true;
            let patience = until.saturating_duration_since(Instant::now());
            let is_full = || pool.is_full(&ask());
            let account = &call.charge.account;
            if patience.is_zero() || !pool.wait_for_free(account, patience, is_full).await {
                break;
            }
            if let Some(permit) = pool.pick(&ask(), true) {
                return Some(permit);
            }
        }
        None
    }

    /// How long until a key of the plan may be asked again.
    fn pause(&self, call: &Call, waits: u32, progress: &RetryProgress) -> RetryPause {
        let now = self.clock.now();
        let Some(wake) = self.earliest_wake(call, progress) else {
            return RetryPause::GiveUp;
        };
        let jittered = backoff_ms(waits, fastrand::u64(..));
        let wait = Duration::from_millis(
            u64::try_from(wake.since(now))
                .unwrap_or_default()
                .max(jittered),
        );
        if Instant::now() + wait >= progress.deadline {
            RetryPause::GiveUp
        } else {
            RetryPause::For(wait)
        }
    }

    /// When the first key of the plan that was not asked becomes usable, which may be now. Quarantined and disabled
    /// keys do not count.
    fn earliest_wake(&self, call: &Call, progress: &RetryProgress) -> Option<Millis> {
        let now = self.clock.now();
        let waited_for = self.resting(call, |stage, key| !progress.has_tried(stage, key));
        // Nor keys whose host is misconfigured.
        let of_use = |rest: &KeyDowntime| {
            !rest.refused && !rest.connect_failure.is_some_and(ConnectFailure::is_lasting)
        };
        let waited_for = waited_for.into_iter().filter(of_use);
        waited_for.map(|rest| rest.until.unwrap_or(now)).min()
    }

    /// How the keys of the plan rest, each for each model that it would be asked for.
    pub(super) fn downtimes(&self, call: &Call) -> Vec<KeyDowntime> {
        self.resting(call, |_, _| true)
    }

    /// The same for some of them, selected by stage and key.
    fn resting(&self, call: &Call, wanted: impl Fn(usize, KeyId) -> bool) -> Vec<KeyDowntime> {
        let now = self.clock.now();
        let wants = call.key_query();
        let mut rests = Vec::new();
        for (at, stage) in call.plan.stages.iter().enumerate() {
            let want = KeyQuery {
                model: &stage.model,
                ..wants
            };
            for hop in &stage.hops {
                let keys = call.charge.snapshot.pool(hop.level).keys().iter();
                let keys = keys.filter(|key| call.pinned_key.is_none_or(|only| only == key.key.id));
                let keys = keys.filter(|key| {
                    wanted(at, key.key.id) && key.serves(call.dialect_need, &stage.model)
                });
                rests.extend(keys.map(|key| key.health.downtime(want, now)));
            }
        }
        rests
    }

    /// Why the first unreachable key of the plan could not be reached, with its host.
    pub(super) fn unreached(&self, call: &Call) -> Option<String> {
        let (now, want) = (self.clock.now(), call.key_query());
        let levels = call.hops().iter().map(|hop| hop.level);
        let mut keys = levels.flat_map(|level| call.charge.snapshot.pool(level).keys());
        keys.find_map(|key| {
            let why = key.health.downtime(want, now).connect_failure?;
            Some(why.about(key.key.provider.authority().as_str()))
        })
    }

    pub(super) fn budget(&self) -> std::sync::MutexGuard<'_, RetryBudget> {
        // A panic elsewhere leaves the budget consistent.
        self.retry_budget
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl RetryProgress {
    fn tried(&mut self, stage: usize) -> &mut TriedKeys {
        while self.tried.len() <= stage {
            self.tried.push(TriedKeys {
                keys: Vec::new(),
                may_pass: Vec::new(),
                left: 0,
            });
        }
        // The entry exists by now.
        let last = self.tried.len() - 1;
        &mut self.tried[stage.min(last)]
    }

    fn has_tried(&self, stage: usize, key: KeyId) -> bool {
        let tried = self.tried.get(stage);
        tried.is_some_and(|tried| tried.keys.contains(&key))
    }

    /// Allows keys to be retried whose failures were momentary.
    fn forget(&mut self) {
        for tried in &mut self.tried {
            let TriedKeys { keys, may_pass, .. } = tried;
            keys.retain(|key| !may_pass.contains(key));
            may_pass.clear();
        }
    }
}
