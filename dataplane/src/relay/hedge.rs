//! Asks a key and, if hedging is on and the key is slow, a second one beside it. The first response wins; the other
//! attempt is dropped, which closes its connection, and is not charged here.

use std::{pin::pin, sync::Arc, time::Duration};

use proxyxai_contract::{
    attempt::Attempt,
    id::{KeyId, Level},
    load_balancing::KeyStrategy,
};
use tokio::time::Instant;

use super::{
    abandoned::client_is_gone,
    attempt::{AttemptOutcome, attempt},
    attempts::{cancelled, ended},
    call::Call,
    context::Relay,
    retry::TriedKeys,
};
use crate::state::KeyPermit;

/// The outcome of asking.
pub(super) struct HedgedAttempt {
    /// The key whose outcome it is.
    pub(super) permit: KeyPermit,
    pub(super) outcome: AttemptOutcome,
    /// The outcome of the other attempt, if two were made.
    pub(super) other: Option<Box<Attempt>>,
    /// When this key was asked.
    pub(super) begun: Instant,
    /// When the first key was asked.
    pub(super) since: Instant,
}

impl HedgedAttempt {
    /// Whether a second key was asked.
    pub(super) const fn twice(&self) -> bool {
        self.other.is_some()
    }
}

/// A first attempt that is about to be made.
struct FirstAttempt {
    permit: KeyPermit,
    begun: Instant,
    /// After how long a second key is asked beside it.
    slow_after: Duration,
}

/// Asks a key. Every key that was asked is in `tried` when this returns.
pub(super) async fn attempt_with_hedge(
    relay: &Relay,
    call: &Call,
    level: Level,
    permit: KeyPermit,
    tried: &mut TriedKeys,
) -> HedgedAttempt {
    tried.keys.push(permit.key.key.id);
    let begun = Instant::now();
    let hedges = call.snapshot().settings.rotation.hedge;
    let pool = call.snapshot().pool(level);
    // A pinned call has one key, and a call that makes an object would make it twice.
    let once = call.pinned_key.is_some() || call.makes_object();
    let slow_after = if hedges && tried.left > 0 && !once {
        pool.slow_after()
    } else {
        None
    };
    let asked = match slow_after {
        Some(slow_after) => {
            let first = FirstAttempt {
                permit,
                begun,
                slow_after,
            };
            Box::pin(hedged(relay, call, level, first, tried)).await
        }
        None => HedgedAttempt {
            outcome: attempt(relay, call, &permit.key, begun).await,
            permit,
            other: None,
            begun,
            since: begun,
        },
    };
    if let AttemptOutcome::Answer(_) = asked.outcome {
        if call.strategy(level) == KeyStrategy::Fastest {
            let load = &asked.permit.key.load;
            load.answered(asked.begun.elapsed(), relay.clock.now());
        }
        if hedges {
            pool.answered(begun.elapsed());
        }
    }
    asked
}

/// Asks a key and, after a delay, another one, if there is one and retries are left.
async fn hedged(
    relay: &Relay,
    call: &Call,
    level: Level,
    first: FirstAttempt,
    tried: &mut TriedKeys,
) -> HedgedAttempt {
    let FirstAttempt {
        permit,
        begun,
        slow_after,
    } = first;
    let since = begun;
    let key = Arc::clone(&permit.key);
    let mut first = pin!(attempt(relay, call, &key, begun));
    let asked = |permit, outcome, begun, other: Option<Attempt>| HedgedAttempt {
        permit,
        outcome,
        other: other.map(Box::new),
        begun,
        since,
    };
    let model = &call.charge.record.model_used;
    if let Ok(outcome) = tokio::time::timeout_at(begun + slow_after, &mut first).await {
        return asked(permit, outcome, begun, None);
    }
    if client_is_gone() {
        return asked(permit, first.await, begun, None);
    }
    let Some(other) = second_permit(relay, call, level, &tried.keys) else {
        return asked(permit, first.await, begun, None);
    };
    let again = Instant::now();
    tried.keys.push(other.key.key.id);
    let other_key = Arc::clone(&other.key);
    let mut second = pin!(attempt(relay, call, &other_key, again));
    tokio::select! {
        outcome = &mut first => match outcome {
            AttemptOutcome::Answer(_) => {
                let slower = cancelled(&other.key, model, again);
                asked(permit, outcome, begun, Some(slower))
            }
            AttemptOutcome::Failed(failure) => {
                let failed = ended(&permit.key, model, failure.end(), begun);
                asked(other, second.await, again, Some(failed))
            }
        },
        outcome = &mut second => match outcome {
            AttemptOutcome::Answer(_) => {
                // Its response would have taken at least this long.
                key.load.answered(begun.elapsed(), relay.clock.now());
                let slower = cancelled(&permit.key, model, begun);
                asked(other, outcome, again, Some(slower))
            }
            AttemptOutcome::Failed(failure) => {
                let failed = ended(&other.key, model, failure.end(), again);
                asked(permit, first.await, begun, Some(failed))
            }
        },
    }
}

/// A permit on another key of the level. It is paid from the retry budget, so that a slow moment of all keys does not
/// double the load.
fn second_permit(relay: &Relay, call: &Call, level: Level, tried: &[KeyId]) -> Option<KeyPermit> {
    let now = relay.clock.now();
    if !relay.retry_budget().withdraw(now) {
        return None;
    }
    let ask = call.pick_query(level, tried, now);
    call.snapshot().pool(level).pick(&ask, true)
}
