//! The stored health of one key: as a whole, for single models, and for single accounts.

use std::collections::HashMap;

use proxyxai_contract::{clock::Millis, id::AccountId, snapshot::HealthState};

use crate::{
    decide::{
        blame::{Blamer, Blames},
        connect_failure::ConnectFailure,
        health::Backoff,
    },
    formats::error_classifier::FaultVerdict,
};

/// A pair whose sleep is over gets one call in this time until one succeeds, in milliseconds.
const PAIR_PROBE_MS: i64 = 1000;
/// Sleeping models that are remembered for a key; beyond that the one asleep longest is forgotten.
const PAIRS_MAX: usize = 256;

#[derive(Debug)]
pub(super) struct HealthRecord {
    pub(super) whole: Backoff,
    /// Only pairs that are not ready.
    pub(super) pairs: HashMap<String, Pair>,
    pub(super) blames: Blames,
    /// The customer that was refused as if the key were at fault, since it last answered.
    pub(super) doubted_by: Option<AccountId>,
    pub(super) refused_at: Option<Millis>,
    /// Why there was no connection at the last attempt.
    pub(super) connect_failure: Option<ConnectFailure>,
}

/// The state of a key for one model.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pair {
    pub(super) backoff: Backoff,
    /// When it was last asked after its sleep.
    pub(super) asked: Option<Millis>,
}

impl Pair {
    pub(super) fn is_usable(self, now: Millis) -> bool {
        let asked = self.asked.is_some_and(|at| now.since(at) < PAIR_PROBE_MS);
        !asked && self.backoff.is_usable(now)
    }
}

impl From<Backoff> for Pair {
    fn from(backoff: Backoff) -> Self {
        Self {
            backoff,
            asked: None,
        }
    }
}

impl Default for HealthRecord {
    fn default() -> Self {
        Self {
            whole: Backoff::READY,
            pairs: HashMap::new(),
            blames: Blames::default(),
            doubted_by: None,
            refused_at: None,
            connect_failure: None,
        }
    }
}

impl HealthRecord {
    /// Decides a failure that may be the call's fault: it is the key's once two customers saw it.
    pub(super) fn weigh(
        &mut self,
        verdict: FaultVerdict,
        blamer: Blamer,
        now: Millis,
    ) -> FaultVerdict {
        match verdict {
            FaultVerdict::RetryDoubt => match self.doubted_by {
                Some(other) if other != blamer.customer => FaultVerdict::RetryQuarantine,
                Some(_) | None => {
                    self.doubted_by = Some(blamer.customer);
                    self.blames.add(blamer, now);
                    verdict
                }
            },
            FaultVerdict::RetryBlame if self.blames.add(blamer, now) => {
                FaultVerdict::RetrySleepKey { hint_ms: None }
            }
            verdict => verdict,
        }
    }

    /// Records a failure. Returns what became of the key, or of the key for one model.
    pub(super) fn note(
        &mut self,
        verdict: FaultVerdict,
        model: &str,
        storm: bool,
        now: Millis,
    ) -> Option<(Option<String>, HealthState)> {
        match verdict {
            FaultVerdict::Deliver
            | FaultVerdict::RetryOnly
            | FaultVerdict::RetryBlame
            | FaultVerdict::RetryDoubt => None,
            FaultVerdict::RetrySleepPair { hint_ms } => {
                let pair = self.pairs.get(model).copied().unwrap_or_default();
                let backoff = pair.backoff.slept(now, hint_ms);
                make_room(&mut self.pairs);
                self.pairs.insert(model.to_owned(), Pair::from(backoff));
                Some((Some(model.to_owned()), backoff.state()))
            }
            FaultVerdict::RetrySleepKey { hint_ms } => {
                self.whole = self.whole.slept(now, hint_ms);
                Some((None, self.whole.state()))
            }
            // In a storm the keys are likely good: they sleep, so that one of them is asked soon.
            FaultVerdict::RetryQuarantine if storm => {
                self.whole = self.whole.slept(now, None);
                self.refused_at = Some(now);
                Some((None, self.whole.state()))
            }
            FaultVerdict::RetryQuarantine => {
                self.whole = self.whole.refused(now);
                self.refused_at = Some(now);
                Some((None, self.whole.state()))
            }
        }
    }
}

/// Bounds the number of remembered pairs, since clients can invent model names.
pub(super) fn make_room(pairs: &mut HashMap<String, Pair>) {
    if pairs.len() < PAIRS_MAX {
        return;
    }
    let soonest = pairs
        .iter()
        .min_by_key(|(_, pair)| match pair.backoff.state() {
            HealthState::Sleeping { until } | HealthState::Quarantined { until } => until.0,
            HealthState::Ready | HealthState::Disabled => 0,
        });
    if let Some(model) = soonest.map(|(model, _)| model.clone()) {
        pairs.remove(&model);
    }
}
