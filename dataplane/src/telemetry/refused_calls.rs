//! Refused calls, for whoever lists them. Each serving thread keeps a sample of its own, so that a refused call waits
//! for nobody, and the link collects them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::request::Parts;
use proxyxai_contract::{
    clock::Millis, id::AccountId, refused_call::RefusedCall, usage::UsageRecord,
};

use super::{Telemetry, X_REQUEST_ID, call_recorder::CallOutcome};
use crate::decide::sample::{RefusalSampler, SampledRow, TOLD_MAX};

/// What a refused call asked for.
#[derive(Debug, Default)]
pub(crate) struct RefusedRequest {
    path: String,
    /// Empty when it named none, or was refused before that was read.
    model: String,
    request_id: String,
}

/// What a call is told of its refusal.
#[derive(Debug, Default)]
pub(super) struct RefusalDetails {
    pub(super) wanted: RefusedRequest,
    pub(super) message: String,
}

/// The sample of a thread. Others have a look at it once a second, for a moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Sample(Arc<Mutex<RefusalSampler<RefusedCall>>>);

/// Those of all threads, a second's worth at a time.
#[derive(Debug)]
pub(crate) struct RefusedCallQueue {
    telemetry: Telemetry,
    waiting: RefusalSampler<RefusedCall>,
}

impl RefusedCallQueue {
    pub(super) fn new(sight: Telemetry) -> Self {
        Self {
            telemetry: sight,
            waiting: RefusalSampler::default(),
        }
    }

    /// Takes in what the threads have. Says how many calls nobody will be told of.
    pub(crate) fn look(&mut self) -> u64 {
        for sample in self.telemetry.refused() {
            self.waiting.merge(sample);
        }
        self.waiting.take_lost()
    }

    /// What is told this second. What is not waits.
    pub(crate) fn told(&mut self) -> Vec<RefusedCall> {
        let rows = self.waiting.take(TOLD_MAX).into_iter();
        let call = |SampledRow { row, represents }| RefusedCall { represents, ..row };
        rows.map(call).collect()
    }

    /// Nobody wants to be told of those that wait.
    pub(crate) fn forget(&mut self) {
        self.waiting = RefusalSampler::default();
    }
}

impl RefusedRequest {
    /// As its head says, and its body if that was read.
    pub(crate) fn of(parts: &Parts, model: Option<String>) -> Self {
        let id = parts.headers.get(X_REQUEST_ID);
        let id = id.and_then(|id| id.to_str().ok());
        Self {
            path: parts.uri.path().to_owned(),
            model: model.unwrap_or_default(),
            request_id: id.unwrap_or_default().to_owned(),
        }
    }

    /// Of a call that had been let in.
    pub(crate) fn of_record(record: &UsageRecord) -> Self {
        Self {
            path: record.path.clone(),
            model: record.model_asked.clone(),
            request_id: record.request_id.clone(),
        }
    }
}

impl Sample {
    /// A call was refused.
    pub(super) fn add(
        &self,
        facts: &CallOutcome<'_>,
        (code, told): (&'static str, RefusalDetails),
        now: Millis,
    ) {
        let account: Option<AccountId> = facts.account;
        let row = || {
            let lasted = facts.duration.as_millis();
            let RefusalDetails { wanted, message } = told;
            let RefusedRequest {
                path,
                model,
                request_id,
            } = wanted;
            let call = RefusedCall {
                id: fastrand::i64(1..),
                at: now.plus(i64::try_from(lasted).unwrap_or_default().saturating_neg()),
                account,
                path,
                model,
                status: facts.status,
                code: code.to_owned(),
                message,
                request_id,
                duration_ms: u64::try_from(lasted).unwrap_or(u64::MAX),
                represents: 1,
            };
            call.bounded()
        };
        self.lock().add(account, code, row);
    }

    /// What it holds; it is empty then.
    pub(super) fn collect(&self) -> RefusalSampler<RefusedCall> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, RefusalSampler<RefusedCall>> {
        // A panic elsewhere leaves a sample that is still one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
