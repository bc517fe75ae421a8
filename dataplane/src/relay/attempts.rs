//! The attempts in a call's usage record. A single successful attempt is described by the rest of the record, so the
//! usual call lists none.

use proxyxai_contract::{
    attempt::{ATTEMPTS_MAX, Attempt, AttemptOutcome},
    clock::Millis,
};
use tokio::time::Instant;

use super::{attempt, charge::PendingCharge, hedge::HedgedAttempt, record::elapsed};
use crate::state::KeyState;

/// What an attempt came to, with the provider's status if there was one.
#[derive(Debug, Clone, Copy)]
pub(super) struct AttemptEnd {
    pub(super) outcome: AttemptOutcome,
    pub(super) status: Option<u16>,
}

/// An attempt for this model that has just ended.
pub(super) fn ended(key: &KeyState, model: &str, end: AttemptEnd, begun: Instant) -> Attempt {
    let AttemptEnd { outcome, status } = end;
    Attempt {
        key: key.key.id,
        level: key.key.level,
        model: model.to_owned(),
        status,
        outcome,
        duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
    }
}

/// An attempt that was cancelled because another one was faster.
pub(super) fn cancelled(key: &KeyState, model: &str, begun: Instant) -> Attempt {
    let end = AttemptEnd {
        outcome: AttemptOutcome::Cancelled,
        status: None,
    };
    ended(key, model, end, begun)
}

/// Adds an attempt. Of too many, the first ones and the last one are kept.
fn put(attempts: &mut Vec<Attempt>, attempt: Attempt) {
    if attempts.len() >= ATTEMPTS_MAX {
        attempts.pop();
    }
    attempts.push(attempt);
}

impl PendingCharge {
    /// Adds the outcome of asking one key, or two with a hedge.
    pub(super) fn attempted(&mut self, asked: &HedgedAttempt) {
        let end = match &asked.outcome {
            attempt::AttemptOutcome::Failed(failure) => failure.end(),
            attempt::AttemptOutcome::Answer(answer) => {
                if self.record.attempts.is_empty() && asked.other.is_none() {
                    return;
                }
                AttemptEnd {
                    outcome: AttemptOutcome::Answered,
                    status: Some(answer.parts.status.as_u16()),
                }
            }
        };
        let this = ended(&asked.permit.key, &self.record.model_used, end, asked.begun);
        let other = asked.other.as_deref().cloned();
        for attempt in other.into_iter().chain([this]) {
            put(&mut self.record.attempts, attempt);
        }
    }

    /// The call ends during an attempt; listed only if others were made before it.
    pub(super) fn gave_up(&mut self, now: Millis) {
        let record = &mut self.record;
        if let Some(key) = record.key.filter(|_| !record.attempts.is_empty()) {
            let attempt = Attempt {
                key,
                level: record.level,
                model: record.model_used.clone(),
                status: None,
                outcome: AttemptOutcome::Cancelled,
                duration_ms: elapsed(self.sent, now),
            };
            put(&mut record.attempts, attempt);
        }
    }

    /// Names the model only in attempts for another model than the record's.
    pub(super) fn name_other_models(&mut self) {
        for attempt in &mut self.record.attempts {
            if attempt.model == self.record.model_used {
                attempt.model.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proxyxai_contract::id::{KeyId, Level};

    use super::*;

    #[test]
    fn of_too_many_the_first_ones_and_the_last_are_kept() {
        let mut attempts = Vec::new();
        for key in 1..=100 {
            let attempt = Attempt {
                key: KeyId::new(key).unwrap(),
                level: Level::ZERO,
                model: String::new(),
                status: None,
                outcome: AttemptOutcome::Broken,
                duration_ms: 0,
            };
            put(&mut attempts, attempt);
        }
        let keys: Vec<_> = attempts.iter().map(|attempt| attempt.key.get()).collect();
        let expected: Vec<_> = (1..16).chain([100]).collect();
        assert_eq!(keys, expected);
    }
}
