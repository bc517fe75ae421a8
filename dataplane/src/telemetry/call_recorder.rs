//! Records what happens to one call, from its head to the end of the response.

use std::{sync::atomic::Ordering, time::Duration};

use http::{HeaderMap, HeaderValue, Method, Request};
use proxyxai_contract::{
    clock::Millis,
    id::{AccountId, KeyId, Level},
    usage::UsageRecord,
};
use tokio::time::Instant;

use super::{
    Telemetry, UPSTREAM_REQUEST_ID, X_REQUEST_ID,
    header::{self, GatewayHeaderValues},
    refused_calls::{RefusalDetails, RefusedRequest},
    trace::{AttemptInfo, AttemptSpan, Trace},
};
use crate::formats::Route;

/// A longer path is cut.
const PATH_BYTES_MAX: usize = 255;
/// Status of a call whose client left before there was a response.
const GONE: u16 = 499;

/// How a response ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResponseEnd {
    /// All of it was forwarded.
    Complete,
    /// The provider broke off.
    Cut,
    /// The client left.
    Abandoned,
    /// The gateway stopped before the response ended.
    Stopped,
}

/// Records one call. If it is dropped before `finish`, it reports by itself: the client has left or was refused.
#[derive(Debug)]
pub(crate) struct CallRecorder {
    telemetry: Telemetry,
    route: Route,
    came: Instant,
    /// Part of the time until the response's head that was spent waiting for the client's body and for providers.
    waited: Duration,
    /// The client's part of that.
    body: Duration,
    tries: u32,
    hedges: u32,
    /// Number of impossible counts that the provider reported.
    absurd: u32,
    /// Status of the response; for a call without a record, it is only here.
    status: u16,
    refused: Option<&'static str>,
    /// Details of a refusal, for the list of refused calls.
    refusal: Option<Box<RefusalDetails>>,
    head: Option<HeadTiming>,
    account: Option<AccountId>,
    /// The key that answered.
    by: Option<(KeyId, Level)>,
    /// Kept if calls are logged or traced one by one.
    request: Option<Box<RequestInfo>>,
    trace: Option<Box<Trace>>,
    streamed: bool,
    streaming: bool,
    ended: Option<Duration>,
    ending: ResponseEnd,
    is_reported: bool,
}

/// What the request was.
#[derive(Debug)]
pub(super) struct RequestInfo {
    pub(super) at: Millis,
    pub(super) id: Option<HeaderValue>,
    /// The provider's own id of its response.
    pub(super) upstream_id: Option<HeaderValue>,
    pub(super) method: Method,
    /// Without the query, which may contain secrets.
    pub(super) path: String,
}

/// When the response's head went out.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeadTiming {
    /// Time since the call arrived.
    pub(super) after: Duration,
    /// The gateway's own part of that.
    pub(super) overhead: Duration,
}

/// The outcome of an ended call.
#[derive(Debug)]
pub(super) struct CallOutcome<'a> {
    pub(super) route: Route,
    pub(super) status: u16,
    /// Code of a refusal by the gateway.
    pub(super) refused: Option<&'static str>,
    pub(super) tries: u32,
    pub(super) hedges: u32,
    /// Number of impossible counts that the provider reported.
    pub(super) absurd: u32,
    /// `None` if there was no response.
    pub(super) head: Option<HeadTiming>,
    pub(super) account: Option<AccountId>,
    /// The key that answered; `None` for the gateway's own responses.
    pub(super) by: Option<(KeyId, Level)>,
    /// `None` if calls are only counted.
    pub(super) request: Option<&'a RequestInfo>,
    pub(super) streamed: bool,
    pub(super) duration: Duration,
    pub(super) ending: ResponseEnd,
    /// `None` for calls that were never sent.
    pub(super) record: Option<&'a UsageRecord>,
}

impl CallRecorder {
    pub(super) fn new(
        telemetry: Telemetry,
        route: Route,
        asked: Option<Box<RequestInfo>>,
        trace: Option<Box<Trace>>,
    ) -> Self {
        Self {
            telemetry,
            route,
            came: Instant::now(),
            waited: Duration::ZERO,
            body: Duration::ZERO,
            tries: 0,
            hedges: 0,
            absurd: 0,
            status: GONE,
            refused: None,
            refusal: None,
            head: None,
            account: None,
            by: None,
            request: asked,
            trace,
            streamed: false,
            streaming: false,
            ended: None,
            ending: ResponseEnd::Abandoned,
            is_reported: false,
        }
    }

    /// When its head arrived.
    pub(crate) const fn came(&self) -> Instant {
        self.came
    }

    /// Its body has been read.
    pub(crate) fn has_body(&mut self) {
        self.body = self.came.elapsed();
        self.waited = self.body;
    }

    /// A key was asked, and a hedge too if `twice`; the outcome came after this time.
    pub(crate) fn asked(&mut self, twice: bool, time: Duration) {
        self.hedges += u32::from(twice);
        self.tries += u32::from(twice);
        self.waited += time;
    }

    /// Begins the span of an attempt; `None` without tracing.
    pub(crate) fn begin_attempt_span(&self, asks: &AttemptInfo<'_>) -> Option<AttemptSpan> {
        let tracer = self.telemetry.0.shared.tracer.as_ref()?;
        let trace = self.trace.as_ref()?;
        Some(tracer.begin_attempt_span(trace, self.route, asks))
    }

    /// This attempt was answered.
    pub(crate) fn answered(&mut self, attempt: Option<AttemptSpan>) {
        if let Some(trace) = &mut self.trace {
            trace.answered(attempt);
        }
    }

    /// The provider reported impossible token counts: too many, or negative.
    pub(crate) fn is_absurd(&mut self) {
        self.absurd += 1;
    }

    /// Counts an attempt.
    pub(crate) fn count_attempt(&mut self) {
        self.tries += 1;
    }

    /// Sets the account of the call.
    pub(crate) fn set_account(&mut self, account: AccountId) {
        self.account = Some(account);
    }

    /// Sets what the call asked for. Used for refused calls; others have a record with it.
    pub(crate) fn wanted(&mut self, wanted: RefusedRequest) {
        self.refusal.get_or_insert_default().wanted = wanted;
    }

    /// The gateway refuses the call, with this code and message.
    pub(crate) fn refused(&mut self, code: &'static str, message: String) {
        self.refused = Some(code);
        self.refusal.get_or_insert_default().message = message;
    }

    /// The head of its response goes out, from this key if it is a provider's.
    pub(crate) fn answers(
        &mut self,
        status: u16,
        by: Option<(KeyId, Level)>,
        headers: &mut HeaderMap,
    ) {
        let after = self.came.elapsed();
        let overhead = after.saturating_sub(self.waited);
        self.status = status;
        self.ending = ResponseEnd::Complete;
        self.head = Some(HeadTiming { after, overhead });
        self.by = by;
        if let Some(asked) = &mut self.request {
            let own = headers.get(UPSTREAM_REQUEST_ID);
            asked.upstream_id = own.or_else(|| headers.get("request-id")).cloned();
        }
        let said = GatewayHeaderValues {
            by,
            tries: self.tries,
            overhead,
        };
        header::insert_headers(&self.telemetry.0.shared.headers, &said, headers);
    }

    /// The response is an event stream.
    pub(crate) fn streams(&mut self) {
        (self.streamed, self.streaming) = (true, true);
        let open = &self.telemetry.0.counters.open_streams;
        open.fetch_add(1, Ordering::Relaxed);
    }

    /// A chunk of the stream arrived this long after the one before.
    pub(crate) fn gap(&self, time: Duration) {
        self.telemetry.0.counters.gap.observe(time);
    }

    /// The response has ended.
    pub(crate) fn ended(&mut self, ending: ResponseEnd) {
        // If calls are only counted, the record's milliseconds are enough: reading the clock costs more than all
        // counters.
        self.ended = self.request.as_ref().map(|_| self.came.elapsed());
        self.ending = ending;
        self.stream_is_over();
    }

    /// Reports the call, with what it was charged.
    pub(crate) fn finish(mut self, record: &UsageRecord) {
        self.report_once(Some(record));
    }

    fn report_once(&mut self, record: Option<&UsageRecord>) {
        if std::mem::replace(&mut self.is_reported, true) {
            return;
        }
        self.stream_is_over();
        let (trace, refusal) = (self.trace.take(), self.refusal.take());
        let facts = CallOutcome {
            route: self.route,
            status: record.map_or(self.status, |record| record.status),
            refused: self.refused,
            tries: self.tries,
            hedges: self.hedges,
            absurd: self.absurd,
            head: self.head,
            account: self.account,
            by: self.by,
            request: self.request.as_deref(),
            streamed: self.streamed,
            duration: self.ended.unwrap_or_else(|| self.lasted(record)),
            ending: self.ending,
            record,
        };
        self.telemetry.0.counters.call(&facts);
        if let Some(log) = &self.telemetry.0.shared.log {
            log.call(&facts);
        }
        if let Some(trace) = trace {
            trace.end(&facts);
        }
        // A call with a record is listed through that.
        if let (None, Some(code), Some(refusal)) = (record, facts.refused, refusal) {
            let now = self.telemetry.0.shared.clock.now();
            self.telemetry.0.refused.add(&facts, code, *refusal, now);
        }
    }

    fn lasted(&self, record: Option<&UsageRecord>) -> Duration {
        let Some(record) = record else {
            return self.came.elapsed();
        };
        let recorded = self.body + Duration::from_millis(record.duration_ms);
        recorded.max(self.head.map(|head| head.after).unwrap_or_default())
    }

    fn stream_is_over(&mut self) {
        if std::mem::take(&mut self.streaming) {
            let open = &self.telemetry.0.counters.open_streams;
            open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl RequestInfo {
    pub(super) fn of<B>(request: &Request<B>, at: Millis) -> Self {
        let path = request.uri().path();
        let end = path.floor_char_boundary(PATH_BYTES_MAX);
        Self {
            at,
            id: request.headers().get(X_REQUEST_ID).cloned(),
            upstream_id: None,
            method: request.method().clone(),
            path: path.get(..end).unwrap_or_default().to_owned(),
        }
    }
}

impl ResponseEnd {
    /// Whether the provider or the gateway left the response unfinished.
    pub(super) const fn is_failure(self) -> bool {
        matches!(self, Self::Cut | Self::Stopped)
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Cut => "cut",
            Self::Abandoned => "abandoned",
            Self::Stopped => "stopped",
        }
    }
}

impl Drop for CallRecorder {
    fn drop(&mut self) {
        self.report_once(None);
    }
}
