//! How the keys of a call's plan rest, and how long it waits for the first of them.

use std::time::Duration;

use proxyxai_contract::{clock::Millis, id::KeyId};
use tokio::time::Instant;

use super::RetryProgress;
use crate::{
    decide::{connect_failure::ConnectFailure, retry_budget::backoff_ms},
    relay::{call::Call, context::Relay},
    state::{KeyDowntime, KeyQuery},
};

/// What to do when no key is usable now.
pub(super) enum RetryPause {
    /// Wait, then go round again.
    For(Duration),
    /// No key will be usable in time.
    GiveUp,
}

/// How long until a key of the plan may be asked again.
pub(super) fn pause(
    relay: &Relay,
    call: &Call,
    waits: u32,
    progress: &RetryProgress,
) -> RetryPause {
    let now = relay.clock.now();
    let Some(wake) = earliest_wake(call, progress, now) else {
        return RetryPause::GiveUp;
    };
    let rest_ms = u64::try_from(wake.since(now)).unwrap_or_default();
    let jittered_ms = backoff_ms(waits, fastrand::u64(..));
    let wait = Duration::from_millis(rest_ms.max(jittered_ms));
    if Instant::now() + wait >= progress.deadline {
        RetryPause::GiveUp
    } else {
        RetryPause::For(wait)
    }
}

/// When the first key of the plan that was not asked becomes usable, which may be now. Quarantined and disabled keys do
/// not count.
fn earliest_wake(call: &Call, progress: &RetryProgress, now: Millis) -> Option<Millis> {
    // Nor keys whose host is misconfigured.
    let is_of_use = |rest: &KeyDowntime| {
        !rest.refused && !rest.connect_failure.is_some_and(ConnectFailure::is_lasting)
    };
    resting(call, now, |stage, key| !progress.has_tried(stage, key))
        .into_iter()
        .filter(is_of_use)
        .map(|rest| rest.until.unwrap_or(now))
        .min()
}

/// How the keys of the plan rest, each for each model that it would be asked for.
pub(in crate::relay) fn downtimes(call: &Call, now: Millis) -> Vec<KeyDowntime> {
    resting(call, now, |_, _| true)
}

/// The same for some of them, selected by stage and key.
fn resting(call: &Call, now: Millis, wanted: impl Fn(usize, KeyId) -> bool) -> Vec<KeyDowntime> {
    let query = call.key_query();
    let mut rests = Vec::new();
    for (at, stage) in call.plan.stages.iter().enumerate() {
        let query = KeyQuery {
            model: &stage.model,
            ..query
        };
        for hop in &stage.hops {
            let keys = call.snapshot().pool(hop.level).keys().iter();
            let asked = keys.filter(|key| {
                let id = key.key.id;
                call.pinned_key.is_none_or(|only| only == id)
                    && wanted(at, id)
                    && key.serves(call.dialect_need, &stage.model)
            });
            rests.extend(asked.map(|key| key.health.downtime(query, now)));
        }
    }
    rests
}

/// Why the first unreachable key of the plan could not be reached, with its host.
pub(in crate::relay) fn unreached(call: &Call, now: Millis) -> Option<String> {
    let levels = call.hops().iter().map(|hop| hop.level);
    let mut keys = levels.flat_map(|level| call.snapshot().pool(level).keys());
    keys.find_map(|key| {
        let why = key.health.downtime(call.key_query(), now).connect_failure?;
        Some(why.about(key.key.provider.authority().as_str()))
    })
}
