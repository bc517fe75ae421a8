//! Metrics, access log and traces of calls. Each serving thread has a `Telemetry`; a call's `CallRecorder` gathers what
//! happens to it and reports it once, when the call ends.

mod access_log;
mod call_recorder;
mod conventions;
mod counters;
mod header;
mod id;
mod prometheus;
mod refused_calls;
mod trace;
mod worker;

use std::sync::{Arc, Mutex, PoisonError};

use access_log::Log;
pub use access_log::{AccessLog, LogDestination};
use call_recorder::RequestInfo;
pub(crate) use call_recorder::{CallRecorder, ResponseEnd};
use counters::CallCounters;
pub(crate) use counters::{AttemptResult, EndpointKind};
pub use header::GatewayHeader;
use http::Request;
pub use id::RequestId;
pub(crate) use id::{UPSTREAM_REQUEST_ID, X_REQUEST_ID};
pub(crate) use prometheus::Rows;
use proxyxai_contract::{clock::Clock, id::NodeName, refused_call::RefusedCall};
use refused_calls::Sample;
pub(crate) use refused_calls::{RefusedCallQueue, RefusedRequest};
pub use trace::Tracing;
pub(crate) use trace::{AttemptInfo, AttemptSpan};
use trace::{Flush, Tracer};
use worker::WorkerHandle;

use crate::{Error, decide::sample::RefusalSampler, formats::Route};

/// Settings of logs, traces and headers.
#[derive(Debug, Clone, Default)]
pub struct TelemetryConfig {
    /// Headers of its own that the gateway adds to responses.
    pub headers: Vec<GatewayHeader>,
    /// The access log; off by default.
    pub log: Option<AccessLog>,
    /// The destination of traces; off by default.
    pub traces: Option<Tracing>,
}

/// Telemetry of one thread's calls. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Telemetry(Arc<Thread>);

#[derive(Debug)]
struct Thread {
    counters: Arc<CallCounters>,
    refused: Sample,
    shared: Arc<SharedTelemetry>,
}

#[derive(Debug)]
struct SharedTelemetry {
    headers: Vec<GatewayHeader>,
    log: Option<Log>,
    tracer: Option<Tracer>,
    clock: Clock,
    /// Counters of all threads.
    counters: Mutex<Vec<Arc<CallCounters>>>,
    /// Samples of all threads.
    refused: Mutex<Vec<Sample>>,
}

/// What to wait for after the last call.
#[derive(Debug)]
pub(crate) struct TelemetryShutdown {
    writer: Option<WorkerHandle>,
    flush: Option<Flush>,
}

/// An attempt in flight; counted as cancelled if it is dropped.
#[derive(Debug)]
pub(crate) struct AttemptGuard<'a> {
    counters: &'a CallCounters,
    outcome: AttemptResult,
}

impl Telemetry {
    /// Opens log and traces. Returns what to wait for at shutdown too.
    ///
    /// # Errors
    /// Errors if the access log cannot be opened, or the collector's address is invalid.
    pub(crate) fn open(
        config: &TelemetryConfig,
        node: &NodeName,
        clock: &Clock,
    ) -> Result<(Self, TelemetryShutdown), Error> {
        let log = config.log.as_ref().map(Log::open).transpose();
        let (log, writer) = log.map_err(Error::AccessLog)?.unzip();
        let tracer = config.traces.as_ref();
        let tracer = tracer.map(|to| Tracer::open(to, node)).transpose()?;
        let (tracer, flush) = tracer.unzip();
        let shared = SharedTelemetry {
            headers: config.headers.clone(),
            log,
            tracer,
            clock: clock.clone(),
            counters: Mutex::default(),
            refused: Mutex::default(),
        };
        Ok((
            Self::of(Arc::new(shared)),
            TelemetryShutdown { writer, flush },
        ))
    }

    /// The same for another thread.
    pub(crate) fn sibling(&self) -> Self {
        Self::of(Arc::clone(&self.0.shared))
    }

    fn of(shared: Arc<SharedTelemetry>) -> Self {
        let counters = Arc::new(CallCounters::new());
        let all = shared.counters.lock();
        all.unwrap_or_else(PoisonError::into_inner)
            .push(Arc::clone(&counters));
        let refused = Sample::default();
        let all = shared.refused.lock();
        all.unwrap_or_else(PoisonError::into_inner)
            .push(refused.clone());
        Self(Arc::new(Thread {
            counters,
            refused,
            shared,
        }))
    }

    /// Refused calls of all threads.
    pub(crate) fn refusals(&self) -> RefusedCallQueue {
        RefusedCallQueue::new(self.clone())
    }

    /// Refused calls since the last call of this, for each thread.
    fn refused(&self) -> Vec<RefusalSampler<RefusedCall>> {
        let all = self.0.shared.refused.lock();
        let all = all.unwrap_or_else(PoisonError::into_inner);
        all.iter().map(Sample::collect).collect()
    }

    /// Begins to record a call, whose head has just been read.
    pub(crate) fn begin<B>(&self, route: Route, request: &Request<B>) -> CallRecorder {
        let shared = &self.0.shared;
        let watched = shared.log.is_some() || shared.tracer.is_some();
        let asked = watched.then(|| Box::new(RequestInfo::of(request, shared.clock.now())));
        let tracer = shared.tracer.as_ref();
        let trace = tracer.map(|tracer| Box::new(tracer.begin(route, request)));
        CallRecorder::new(self.clone(), route, asked, trace)
    }

    /// Counts a response to a request that is not a call.
    pub(crate) fn page(&self, kind: EndpointKind, status: u16) {
        self.0.counters.page(kind, status);
    }

    /// Begins an attempt.
    pub(crate) fn begin_attempt(&self) -> AttemptGuard<'_> {
        AttemptGuard {
            counters: &self.0.counters,
            outcome: AttemptResult::Cancelled,
        }
    }

    fn threads(&self) -> Vec<Arc<CallCounters>> {
        let all = self.0.shared.counters.lock();
        all.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl TelemetryShutdown {
    /// Waits until the last logs and spans are written, for a few seconds at most.
    pub(crate) async fn close(self) {
        if let Some(writer) = self.writer {
            writer.wait().await;
        }
        if let Some(flush) = self.flush {
            flush.run().await;
        }
    }
}

impl AttemptGuard<'_> {
    /// The attempt has ended.
    pub(crate) fn ended(mut self, outcome: AttemptResult) {
        self.outcome = outcome;
    }
}

impl Drop for AttemptGuard<'_> {
    fn drop(&mut self) {
        self.counters.tries.add(self.outcome.index(), 1);
    }
}
