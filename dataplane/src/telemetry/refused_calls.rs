//! Refused calls, for their list. Each serving thread keeps a sample of its own, so that a refused call never waits,
//! and the link collects them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::request::Parts;
use proxyxai_contract::{
    clock::Millis, id::AccountId, refused_call::RefusedCall, usage::UsageRecord,
};

use super::{Telemetry, X_REQUEST_ID, call_recorder::CallOutcome};
use crate::decide::sample::{REPORTED_MAX, RefusalSampler, SampledRow};

/// What a refused call asked for.
#[derive(Debug, Default)]
pub(crate) struct RefusedRequest {
    path: String,
    /// Empty if the call named none, or was refused before that was read.
    model: String,
    request_id: String,
}

/// Details of a refusal.
#[derive(Debug, Default)]
pub(super) struct RefusalDetails {
    pub(super) wanted: RefusedRequest,
    pub(super) message: String,
}

/// The sample of one thread. The link locks it once a second, for a moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Sample(Arc<Mutex<RefusalSampler<RefusedCall>>>);

/// Samples of all threads, handed out per second.
#[derive(Debug)]
pub(crate) struct RefusedCallQueue {
    telemetry: Telemetry,
    waiting: RefusalSampler<RefusedCall>,
}

impl RefusedCallQueue {
    pub(super) fn new(telemetry: Telemetry) -> Self {
        Self {
            telemetry,
            waiting: RefusalSampler::default(),
        }
    }

    /// Collects the threads' samples. Returns the number of calls that were dropped.
    pub(crate) fn look(&mut self) -> u64 {
        for sample in self.telemetry.refused() {
            self.waiting.merge(sample);
        }
        self.waiting.take_lost()
    }

    /// Returns what to report this second. The rest waits.
    pub(crate) fn take_batch(&mut self) -> Vec<RefusedCall> {
        let rows = self.waiting.take(REPORTED_MAX).into_iter();
        let call = |SampledRow { row, represents }| RefusedCall { represents, ..row };
        rows.map(call).collect()
    }

    /// Drops what waits, because refusals are not kept.
    pub(crate) fn forget(&mut self) {
        self.waiting = RefusalSampler::default();
    }
}

impl RefusedRequest {
    /// From its head, and from its body if that was read.
    pub(crate) fn of(parts: &Parts, model: Option<String>) -> Self {
        let id = parts.headers.get(X_REQUEST_ID);
        let id = id.and_then(|id| id.to_str().ok());
        Self {
            path: parts.uri.path().to_owned(),
            model: model.unwrap_or_default(),
            request_id: id.unwrap_or_default().to_owned(),
        }
    }

    /// From the record of a call that had been admitted.
    pub(crate) fn of_record(record: &UsageRecord) -> Self {
        Self {
            path: record.path.clone(),
            model: record.model_asked.clone(),
            request_id: record.request_id.clone(),
        }
    }
}

impl Sample {
    /// Adds a refused call.
    pub(super) fn add(
        &self,
        facts: &CallOutcome<'_>,
        code: &'static str,
        refusal: RefusalDetails,
        now: Millis,
    ) {
        let account: Option<AccountId> = facts.account;
        let row = || {
            let lasted = facts.duration.as_millis();
            let RefusalDetails { wanted, message } = refusal;
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

    /// Takes the sample's content.
    pub(super) fn collect(&self) -> RefusalSampler<RefusedCall> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, RefusalSampler<RefusedCall>> {
        // A panic elsewhere leaves the sample consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
