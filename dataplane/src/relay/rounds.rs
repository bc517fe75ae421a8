//! The retry loop: over the models of the plan, the levels of each and the keys of a level, and, when all
//! of them are resting, round again after a wait. Every bound of it is named here or in the configuration.

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
    abandoned::{is_left, unless_left},
    answer::refuse_call,
    attempt::{Answer, Failure, Outcome},
};
use crate::{
    decide::{
        admit::Refusal,
        retry::{Budget, backoff_ms},
        unreached::Why,
    },
    live::{Ask, PROBATION_MS, Rest, Seat, Want},
    sight::Wanted,
};

/// A key that has not proved itself since it was loaded or woken gets one call at a time; others
/// wait this long for its verdict before they use it all the same.
const PROBATION_WAIT: Duration = Duration::from_millis(PROBATION_MS.cast_unsigned());
const PROBATION_LOOK: Duration = Duration::from_millis(2);

/// Calls wait this long in the queue of a level whose keys are all at their caps, then go on.
const QUEUE_WAIT: Duration = Duration::from_millis(250);

/// A call that this many keys fail, which answer those of others, brings it about itself.
const FAILED_ALONE_MAX: u32 = 2;

/// The keys that a call has asked for one model. Each is asked once.
#[derive(Debug, Clone)]
pub(super) struct Tried {
    pub(super) keys: Vec<KeyId>,
    /// Those of them that may be asked once more in the next round.
    may_pass: Vec<KeyId>,
    /// How many more may be asked.
    pub(super) left: u32,
}

/// What the rounds have come to so far.
pub(super) struct Progress {
    /// From then on nothing new is begun.
    pub(super) deadline: Instant,
    /// Attempts made.
    pub(super) tries: u32,
    /// For each model of the plan.
    tried: Vec<Tried>,
    /// Keys that failed over this call and answer those of other accounts.
    failed_alone: u32,
    /// The latest failure.
    pub(super) failure: Option<Failure>,
    /// Whether, in the latest round, a key was left out for nothing but its cap.
    pub(super) full: bool,
}

/// How a round ended.
enum Round {
    /// A key answered.
    Answered(Seat, Box<Answer>),
    /// Nobody would know of the call after a kill, so it was not sent.
    Unrecorded,
    /// There may be no more tries.
    Over,
    /// Every usable key was asked.
    Exhausted,
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
    pub(super) async fn rounds(&self, mut call: Box<Call>) -> Response<Body> {
        self.budget().deposit(call.request.start);
        let mut progress = Progress {
            deadline: Instant::now() + self.config.retry_deadline,
            tries: 0,
            tried: Vec::new(),
            failed_alone: 0,
            failure: None,
            full: false,
        };
        let mut waits = 0;
        loop {
            progress.full = false;
            match self.round(&mut call, &mut progress).await {
                Round::Answered(seat, answer) => {
                    call.bill.keep(seat);
                    return self.answer(call, progress.tries, *answer);
                }
                Round::Unrecorded => {
                    let (family, bill) = (call.request.family, &mut *call.bill);
                    if let Some(story) = &mut bill.story {
                        story.wanted(Wanted::of_record(&bill.record));
                    }
                    return refuse_call(family, &Refusal::Unavailable, bill.story.as_mut());
                }
                Round::Over => return self.all_failed(call, progress),
                Round::Exhausted => {}
            }
            // A circle stays one, however long it is waited for.
            if progress.failure.as_ref().is_some_and(Failure::is_loop) {
                return self.all_failed(call, progress);
            }
            progress.forget();
            match self.pause(&call, waits, &progress) {
                Pause::For(wait) => {
                    if unless_left(tokio::time::sleep(wait)).await.is_none() {
                        return self.all_failed(call, progress);
                    }
                }
                Pause::GiveUp => return self.all_failed(call, progress),
            }
            // Whoever stands in a queue waits enough there, and must not lose more of its turn.
            waits = if progress.full { 0 } else { waits + 1 };
        }
    }

    /// Goes once through the models of the plan, the levels of each, and the keys of each level.
    async fn round(&self, call: &mut Call, progress: &mut Progress) -> Round {
        for stage in 0..call.plan.stages.len() {
            call.turn_to(stage);
            for hop in 0..call.hops().len() {
                let Some(level) = call.hops().get(hop).map(|hop| hop.level) else {
                    break;
                };
                let at = (stage, level);
                while let Some(seat) = self.next_key(call, at, progress).await {
                    if let Some(round) = self.try_key(call, at, seat, progress).await {
                        return round;
                    }
                }
                if progress.tries >= self.config.tries_max {
                    return Round::Over;
                }
            }
        }
        Round::Exhausted
    }

    /// Asks one key. None when the next one may be asked.
    async fn try_key(
        &self,
        call: &mut Call,
        (stage, level): (usize, Level),
        seat: Seat,
        progress: &mut Progress,
    ) -> Option<Round> {
        if is_left() {
            // Nobody waits for what it would bring.
            seat.leave_unused();
            return Some(Round::Over);
        }
        if progress.tries > 0
            && (Instant::now() >= progress.deadline || !self.budget().withdraw(self.clock.now()))
        {
            seat.leave_unused();
            return Some(Round::Over);
        }
        progress.tries += 1;
        if let Some(story) = &mut call.bill.story {
            story.tries();
        }
        if !call.bill.sent(&seat.key, progress.tries) {
            seat.leave_unused();
            return Some(Round::Unrecorded);
        }
        call.bill.counted.reach();
        let left = self.config.tries_max.saturating_sub(progress.tries);
        let tried = progress.tried(stage);
        tried.left = left;
        let asked = self.ask(call, level, seat, tried).await;
        if let Some(story) = &mut call.bill.story {
            story.asked(asked.twice(), asked.since.elapsed());
        }
        progress.tries += u32::from(asked.twice());
        call.bill.attempted(&asked);
        let failure = match asked.outcome {
            Outcome::Answer(answer) => return Some(Round::Answered(asked.seat, answer)),
            Outcome::Failed(failure) => failure,
        };
        call.bill.failed();
        let key = &asked.seat.key;
        let account = call.wants().account;
        if failure.may_pass() {
            progress.tried(stage).may_pass.push(key.key.id);
        }
        if failure.may_be_the_calls() && key.health.serves_others(account, self.clock.now()) {
            progress.failed_alone += 1;
        }
        progress.failure = Some(failure);
        let alone = progress.failed_alone >= FAILED_ALONE_MAX;
        alone.then_some(Round::Over)
    }

    /// A place on the next key of a level, after a short wait when the only usable ones are on probation
    /// or at their caps.
    async fn next_key(
        &self,
        call: &Call,
        (stage, level): (usize, Level),
        progress: &mut Progress,
    ) -> Option<Seat> {
        if progress.tries >= self.config.tries_max {
            return None;
        }
        let pool = call.bill.snapshot.pool(level);
        // Mostly there are none.
        let tried = progress.tried(stage).keys.clone();
        let ask = || Ask {
            want: call.wants(),
            now: self.clock.now(),
            tried: &tried,
            only: call.only,
            strategy: call.strategy(level),
            conversation: call.conversation,
        };
        let mut latest = ask();
        // While fresh keys are on trial nobody goes on, not even with one that has passed: it would be
        // given the calls of all that come meanwhile.
        if pool.is_on_trial(&latest) {
            let until = Instant::now() + PROBATION_WAIT;
            while Instant::now() < until && pool.is_on_trial(&ask()) {
                tokio::time::sleep(PROBATION_LOOK).await;
            }
            latest = ask();
        }
        if let Some(seat) = pool.pick(&latest, true) {
            return Some(seat);
        }
        if pool.is_probing(&ask()) {
            // Until all verdicts are in: going on with the first key that passes would give it the calls
            // of all that wait.
            let until = Instant::now() + PROBATION_WAIT;
            while Instant::now() < until && pool.is_probing(&ask()) {
                tokio::time::sleep(PROBATION_LOOK).await;
            }
            if let Some(seat) = pool.pick(&ask(), true).or_else(|| pool.pick(&ask(), false)) {
                return Some(seat);
            }
        }
        let until = progress.deadline.min(Instant::now() + QUEUE_WAIT);
        while pool.is_full(&ask()) {
            progress.full = true;
            let patience = until.saturating_duration_since(Instant::now());
            let is_full = || pool.is_full(&ask());
            let account = &call.bill.account;
            if patience.is_zero() || !pool.freed(account, patience, is_full).await {
                break;
            }
            if let Some(seat) = pool.pick(&ask(), true) {
                return Some(seat);
            }
        }
        None
    }

    /// How long until a key of the plan may be asked again.
    fn pause(&self, call: &Call, waits: u32, progress: &Progress) -> Pause {
        let now = self.clock.now();
        let Some(wake) = self.earliest_wake(call, progress) else {
            return Pause::GiveUp;
        };
        let jittered = backoff_ms(waits, fastrand::u64(..));
        let wait = Duration::from_millis(
            u64::try_from(wake.since(now))
                .unwrap_or_default()
                .max(jittered),
        );
        if Instant::now() + wait >= progress.deadline {
            Pause::GiveUp
        } else {
            Pause::For(wait)
        }
    }

    /// When the first key of the plan that was not asked can be, which may be now. Quarantined and disabled
    /// keys are not waited for.
    fn earliest_wake(&self, call: &Call, progress: &Progress) -> Option<Millis> {
        let now = self.clock.now();
        let waited_for = self.resting(call, |stage, key| !progress.has_tried(stage, key));
        // Nor those whose host is called wrongly.
        let of_use = |rest: &Rest| !rest.refused && !rest.lost.is_some_and(Why::is_lasting);
        let waited_for = waited_for.into_iter().filter(of_use);
        waited_for.map(|rest| rest.until.unwrap_or(now)).min()
    }

    /// How the keys of the plan are resting, each for each model that it would be asked for.
    pub(super) fn rests(&self, call: &Call) -> Vec<Rest> {
        self.resting(call, |_, _| true)
    }

    /// The same of some of them, told by stage and key.
    fn resting(&self, call: &Call, wanted: impl Fn(usize, KeyId) -> bool) -> Vec<Rest> {
        let now = self.clock.now();
        let wants = call.wants();
        let mut rests = Vec::new();
        for (at, stage) in call.plan.stages.iter().enumerate() {
            let want = Want {
                model: &stage.model,
                ..wants
            };
            for hop in &stage.hops {
                let keys = call.bill.snapshot.pool(hop.level).keys().iter();
                let keys = keys.filter(|key| call.only.is_none_or(|only| only == key.key.id));
                let keys = keys
                    .filter(|key| wanted(at, key.key.id) && key.serves(call.dialect, &stage.model));
                rests.extend(keys.map(|key| key.health.rest(want, now)));
            }
        }
        rests
    }

    /// Why the first key of the plan that was not reached was not, with its host.
    pub(super) fn unreached(&self, call: &Call) -> Option<String> {
        let (now, want) = (self.clock.now(), call.wants());
        let levels = call.hops().iter().map(|hop| hop.level);
        let mut keys = levels.flat_map(|level| call.bill.snapshot.pool(level).keys());
        keys.find_map(|key| {
            let why = key.health.rest(want, now).lost?;
            Some(why.about(key.key.provider.authority().as_str()))
        })
    }

    pub(super) fn budget(&self) -> std::sync::MutexGuard<'_, Budget> {
        // A panic elsewhere leaves a budget that is still a budget.
        self.budget
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

// === impl Progress ===

impl Progress {
    fn tried(&mut self, stage: usize) -> &mut Tried {
        while self.tried.len() <= stage {
            self.tried.push(Tried {
                keys: Vec::new(),
                may_pass: Vec::new(),
                left: 0,
            });
        }
        // It is there by now.
        let last = self.tried.len() - 1;
        &mut self.tried[stage.min(last)]
    }

    fn has_tried(&self, stage: usize, key: KeyId) -> bool {
        let tried = self.tried.get(stage);
        tried.is_some_and(|tried| tried.keys.contains(&key))
    }

    /// What passes by itself may be asked for again.
    fn forget(&mut self) {
        for tried in &mut self.tried {
            let Tried { keys, may_pass, .. } = tried;
            keys.retain(|key| !may_pass.contains(key));
            may_pass.clear();
        }
    }
}
