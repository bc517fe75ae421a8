//! The retry loop: over the models of the plan, the levels of each and the keys of a level. If all keys rest, it waits
//! and goes round again. Every bound is named here or in the configuration.
//!
//! Which failures may be tried on another key is decided by `formats::error_classifier`.

mod next_key;
mod pause;

use proxyxai_contract::id::{KeyId, Level};
use tokio::time::Instant;

pub(super) use pause::{downtimes, unreached};

use super::{
    abandoned::{client_is_gone, unless_client_gone},
    attempt::{AttemptFailure, AttemptOutcome, UpstreamResponse},
    call::Call,
    context::Relay,
    hedge::attempt_with_hedge,
};
use crate::state::KeyPermit;
use next_key::next_key;
use pause::{RetryPause, pause};

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

/// How all attempts of a call ended.
pub(super) enum RetryOutcome {
    /// A key answered, after this many attempts.
    Answered {
        response: Box<UpstreamResponse>,
        tries: u32,
    },
    /// No key did.
    Failed(RetryProgress),
    /// The call would be lost after a kill, so it was not sent.
    Unrecorded,
}

/// Where in its plan a call is.
#[derive(Debug, Clone, Copy)]
struct PlanPlace {
    /// Index of the stage.
    stage: usize,
    level: Level,
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

/// Attempts a call, round after round, until a key gives the first event of its answer or no further attempt may help.
/// Until then everything may be tried elsewhere.
pub(super) async fn attempt_until_first_event(relay: &Relay, call: &mut Call) -> RetryOutcome {
    relay.retry_budget().deposit(call.request.start);
    let mut progress = RetryProgress {
        deadline: Instant::now() + relay.config.limits.retry_deadline,
        tries: 0,
        tried: Vec::new(),
        failed_alone: 0,
        failure: None,
        full: false,
    };
    let mut waits = 0;
    loop {
        progress.full = false;
        match try_plan(relay, call, &mut progress).await {
            RoundResult::Answered(permit, response) => {
                call.open.permit = Some(permit);
                let tries = progress.tries;
                return RetryOutcome::Answered { response, tries };
            }
            RoundResult::Unrecorded => return RetryOutcome::Unrecorded,
            RoundResult::Over => return RetryOutcome::Failed(progress),
            RoundResult::Exhausted => {}
        }
        // A loop cannot resolve itself, so do not wait and retry.
        let failure = progress.failure.as_ref();
        if failure.is_some_and(AttemptFailure::is_loop) {
            return RetryOutcome::Failed(progress);
        }
        progress.forget();
        let wait = match pause(relay, call, waits, &progress) {
            RetryPause::For(wait) => wait,
            RetryPause::GiveUp => return RetryOutcome::Failed(progress),
        };
        if unless_client_gone(tokio::time::sleep(wait)).await.is_none() {
            return RetryOutcome::Failed(progress);
        }
        // A call that queued for a busy key has already waited; reset the backoff.
        waits = if progress.full { 0 } else { waits + 1 };
    }
}

/// Goes once through the models of the plan, the levels of each, and the keys of each level.
async fn try_plan(relay: &Relay, call: &mut Call, progress: &mut RetryProgress) -> RoundResult {
    for stage in 0..call.plan.stages.len() {
        call.switch_stage(stage);
        for hop in 0..call.hops().len() {
            let Some(level) = call.hops().get(hop).map(|hop| hop.level) else {
                break;
            };
            let place = PlanPlace { stage, level };
            while let Some(permit) = next_key(relay, call, place, progress).await {
                if let Some(round) = try_key(relay, call, place, permit, progress).await {
                    return round;
                }
            }
            if progress.tries >= relay.config.limits.tries_max {
                return RoundResult::Over;
            }
        }
    }
    RoundResult::Exhausted
}

/// Asks one key. Returns `None` if the next one may be asked.
async fn try_key(
    relay: &Relay,
    call: &mut Call,
    place: PlanPlace,
    permit: KeyPermit,
    progress: &mut RetryProgress,
) -> Option<RoundResult> {
    let PlanPlace { stage, level } = place;
    // Without its client, the attempt would be useless.
    if client_is_gone() || !may_try(relay, progress) {
        permit.release_unused();
        return Some(RoundResult::Over);
    }
    progress.tries += 1;
    if let Some(recorder) = &mut call.charge.state.recorder {
        recorder.count_attempt();
    }
    if !call.charge.note_sent(&permit.key, progress.tries) {
        permit.release_unused();
        return Some(RoundResult::Unrecorded);
    }
    call.charge.state.windows.reach();
    let tries_max = relay.config.limits.tries_max;
    let left = tries_max.saturating_sub(progress.tries);
    let tried = progress.tried(stage);
    tried.left = left;
    let asked = attempt_with_hedge(relay, call, level, permit, tried).await;
    if let Some(recorder) = &mut call.charge.state.recorder {
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
    if failure.may_be_the_calls() && key.health.serves_others(account, relay.clock.now()) {
        progress.failed_alone += 1;
    }
    progress.failure = Some(failure);
    let alone = progress.failed_alone >= FAILED_ALONE_MAX;
    alone.then_some(RoundResult::Over)
}

/// Whether another attempt is in time and within the retry budget. The first one always is.
fn may_try(relay: &Relay, progress: &RetryProgress) -> bool {
    progress.tries == 0
        || (Instant::now() < progress.deadline && relay.retry_budget().withdraw(relay.clock.now()))
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
