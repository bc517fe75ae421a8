//! The next key of a level for a call, after a short wait if keys are on probation or at their caps.

use std::time::Duration;

use proxyxai_contract::id::KeyId;
use tokio::time::Instant;

use super::{PlanPlace, RetryProgress};
use crate::{
    relay::{call::Call, context::Relay},
    state::{KeyPermit, KeyPool, PickQuery},
};

/// How long calls queue for a level whose keys are all at their caps, before they go on.
const QUEUE_WAIT: Duration = Duration::from_millis(250);

/// A permit on the next key of a level. Returns `None` if there is none in time.
pub(super) async fn next_key(
    relay: &Relay,
    call: &Call,
    place: PlanPlace,
    progress: &mut RetryProgress,
) -> Option<KeyPermit> {
    if progress.tries >= relay.config.limits.tries_max {
        return None;
    }
    let pool = call.snapshot().pool(place.level);
    // Mostly there are none.
    let tried: Vec<KeyId> = progress.tried(place.stage).keys.clone();
    let ask = || call.pick_query(place.level, &tried, relay.clock.now());
    if let Some(permit) = pick(pool, ask).await {
        return Some(permit);
    }
    let until = progress.deadline.min(Instant::now() + QUEUE_WAIT);
    while pool.is_full(&ask()) {
        progress.full = true;
        let patience = until.saturating_duration_since(Instant::now());
        let is_full = || pool.is_full(&ask());
        if patience.is_zero() || !pool.wait_for_free(call.account(), patience, is_full).await {
            break;
        }
        if let Some(permit) = pool.pick(&ask(), true) {
            return Some(permit);
        }
    }
    None
}

/// Picks a key, and waits for the results of unproven ones where that may help.
async fn pick<'a>(pool: &KeyPool, ask: impl Fn() -> PickQuery<'a>) -> Option<KeyPermit> {
    let mut latest = ask();
    // While fresh keys are on trial, all calls wait, even if one key has passed: it would get all calls that arrive
    // meanwhile.
    if pool.is_on_trial(&latest) {
        pool.wait_for_trials(&ask).await;
        latest = ask();
    }
    if let Some(permit) = pool.pick(&latest, true) {
        return Some(permit);
    }
    if !pool.is_probing(&ask()) {
        return None;
    }
    // Wait for all results: going on with the first key that passes would give it all waiting calls.
    pool.wait_for_probes(&ask).await;
    pool.pick(&ask(), true).or_else(|| pool.pick(&ask(), false))
}
