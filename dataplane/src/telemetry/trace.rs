//! Traces over OTLP in the conventions for generative AI: a server span for each call, and below it a client span for
//! each attempt, whose id is sent to the provider. A thread sends them in batches.
//!
//! No span contains a secret, a prompt or response text.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use opentelemetry::{
    Context, KeyValue,
    propagation::{Extractor, Injector, TextMapPropagator as _},
    trace::{
        Span as _, SpanBuilder, SpanKind, Status, TraceContextExt as _, Tracer as _,
        TracerProvider as _,
    },
};
use opentelemetry_otlp::{
    SpanExporter, WithExportConfig as _, WithTonicConfig as _,
    tonic_types::transport::ClientTlsConfig,
};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{SdkTracer, SdkTracerProvider, Span},
};
use proxyxai_contract::{id::NodeName, snapshot::UpstreamKey, usage::UsageRecord};

use super::{call_recorder::CallOutcome, conventions};
use crate::{Error, formats::Route};

/// How long a data plane that stops tries to send the last spans.
const FLUSH_MAX: Duration = Duration::from_secs(3);
const TRACE_STATE: HeaderName = HeaderName::from_static("tracestate");

/// Destination of traces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tracing {
    /// A collector's gRPC address, `http://host:4317`.
    pub endpoint: String,
    /// Name of this gateway in traces.
    pub service: String,
}

/// Creates traces.
#[derive(Debug)]
pub(super) struct Tracer {
    tracer: SdkTracer,
    propagator: TraceContextPropagator,
}

/// Sends the remaining spans.
#[derive(Debug)]
pub(super) struct Flush(SdkTracerProvider);

/// The trace of one call.
#[derive(Debug)]
pub(super) struct Trace {
    span: Span,
    /// The attempt that was answered; it ends with the response.
    answered: Option<AttemptSpan>,
}

/// The span of one attempt. If it is dropped before it has ended, it was cancelled.
#[derive(Debug)]
pub(crate) struct AttemptSpan(Option<Box<Span>>);

/// An attempt's target.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AttemptInfo<'a> {
    pub(crate) key: &'a UpstreamKey,
    pub(crate) method: &'a Method,
    pub(crate) model: &'a str,
}

impl Tracer {
    /// Starts to send to a collector, which need not be reachable yet. Must be called within a runtime.
    ///
    /// # Errors
    /// Errors if the address is invalid.
    pub(super) fn open(to: &Tracing, node: &NodeName) -> Result<(Self, Flush), Error> {
        let mut exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(&to.endpoint);
        if to.endpoint.starts_with("https:") {
            exporter = exporter.with_tls_config(ClientTlsConfig::new().with_native_roots());
        }
        let exporter = exporter
            .build()
            .map_err(|error| Error::Tracing(error.into()))?;
        let resource = Resource::builder()
            .with_service_name(to.service.clone())
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attribute(KeyValue::new(
                "service.instance.id",
                node.as_str().to_owned(),
            ));
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource.build())
            .build();
        let tracer = Self {
            tracer: provider.tracer("proxyxai"),
            propagator: TraceContextPropagator::new(),
        };
        Ok((tracer, Flush(provider)))
    }

    /// Begins the trace of a call; it continues the client's trace, if there is one.
    pub(super) fn begin<B>(&self, route: Route, request: &http::Request<B>) -> Trace {
        let parent = self
            .propagator
            .extract_with_context(&Context::new(), &Carrier(request.headers()));
        let method = conventions::method(request.method());
        let mut attributes = vec![
            KeyValue::new("http.request.method", method),
            KeyValue::new("url.path", request.uri().path().to_owned()),
        ];
        let mut name = method.to_owned();
        if let Some(path) = conventions::path(route) {
            attributes.push(KeyValue::new("http.route", path));
            name = format!("{method} {path}");
        }
        let operation = conventions::operation(route);
        attributes.extend(operation.map(|name| KeyValue::new("gen_ai.operation.name", name)));
        let builder = SpanBuilder::from_name(name)
            .with_kind(SpanKind::Server)
            .with_attributes(attributes);
        Trace {
            span: self.tracer.build_with_context(builder, &parent),
            answered: None,
        }
    }

    /// Begins the span of an attempt.
    pub(super) fn begin_attempt_span(
        &self,
        trace: &Trace,
        route: Route,
        asks: &AttemptInfo<'_>,
    ) -> AttemptSpan {
        let AttemptInfo { key, method, model } = *asks;
        let provider = &key.provider;
        let port = provider.authority().port_u16();
        let port = port.unwrap_or(if provider.is_https() { 443 } else { 80 });
        let method = conventions::method(method);
        let mut attributes = vec![
            KeyValue::new("http.request.method", method),
            KeyValue::new("server.address", provider.host().to_owned()),
            KeyValue::new("server.port", i64::from(port)),
            KeyValue::new("proxyxai.key.id", key.id.get()),
            KeyValue::new("proxyxai.level", i64::from(key.level.get())),
        ];
        let mut name = method.to_owned();
        if let Some(operation) = conventions::operation(route) {
            let system = conventions::provider(provider.host(), route);
            attributes.push(KeyValue::new("gen_ai.operation.name", operation));
            attributes.push(KeyValue::new("gen_ai.provider.name", system));
            attributes.push(KeyValue::new("gen_ai.request.model", model.to_owned()));
            name = format!("{operation} {model}");
        }
        let builder = SpanBuilder::from_name(name)
            .with_kind(SpanKind::Client)
            .with_attributes(attributes);
        let parent = Context::new().with_remote_span_context(trace.span.span_context().clone());
        AttemptSpan(Some(Box::new(
            self.tracer.build_with_context(builder, &parent),
        )))
    }
}

impl Flush {
    /// Sends the remaining spans, for a few seconds at most.
    pub(super) async fn run(self) {
        let flushed = tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(FLUSH_MAX));
        match tokio::time::timeout(FLUSH_MAX, flushed).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(%error, "the last traces were not sent"),
            Ok(Err(_)) | Err(_) => tracing::warn!("the last traces were not sent in time"),
        }
    }
}

impl Trace {
    /// An attempt was answered.
    pub(super) fn answered(&mut self, attempt: Option<AttemptSpan>) {
        self.answered = attempt;
    }

    /// The call has ended.
    pub(super) fn end(mut self, facts: &CallOutcome<'_>) {
        if let Some(span) = self.answered.take() {
            span.over(facts);
        }
        let span = &mut self.span;
        let mut set =
            |name: &'static str, value: i64| span.set_attribute(KeyValue::new(name, value));
        set("http.response.status_code", facts.status.into());
        set("proxyxai.tries", facts.tries.into());
        if let Some(account) = facts.account {
            set("proxyxai.account.id", account.get());
        }
        if let Some((key, level)) = facts.by {
            set("proxyxai.key.id", key.get());
            set("proxyxai.level", level.get().into());
        }
        if let Some(head) = facts.head {
            let micros = i64::try_from(head.overhead.as_micros());
            set("proxyxai.overhead_us", micros.unwrap_or(i64::MAX));
        }
        span.set_attribute(KeyValue::new("proxyxai.ending", facts.ending.as_str()));
        if let Some(id) = facts
            .request
            .and_then(|asked| asked.id.as_ref()?.to_str().ok())
        {
            span.set_attribute(KeyValue::new("proxyxai.request.id", id.to_owned()));
        }
        if let Some(record) = facts.record {
            if !record.model_asked.is_empty() {
                let model = record.model_asked.clone();
                span.set_attribute(KeyValue::new("gen_ai.request.model", model));
            }
            used(span, record);
        }
        if facts.status >= 500 || facts.ending.is_failure() {
            fail(span, error_type(facts), String::new());
        }
        span.end();
    }
}

impl AttemptSpan {
    /// Sends its id to the provider, in place of the client's.
    pub(crate) fn inject(&self, headers: &mut HeaderMap) {
        let Some(span) = &self.0 else {
            return;
        };
        headers.remove(TRACE_STATE);
        let context = Context::new().with_remote_span_context(span.span_context().clone());
        TraceContextPropagator::new().inject_context(&context, &mut Carrier(headers));
    }

    /// It failed, with this status or as if with it.
    pub(crate) fn failed(mut self, status: u16, reason: &str) {
        if let Some(mut span) = self.0.take() {
            fail(&mut span, status.to_string(), reason.to_owned());
            span.end();
        }
    }

    fn over(mut self, facts: &CallOutcome<'_>) {
        let Some(mut span) = self.0.take() else {
            return;
        };
        let status = KeyValue::new("http.response.status_code", i64::from(facts.status));
        span.set_attribute(status);
        let asked = facts.request.and_then(|asked| asked.upstream_id.as_ref());
        if let Some(id) = asked.and_then(|id| id.to_str().ok()) {
            span.set_attribute(KeyValue::new("proxyxai.upstream.request.id", id.to_owned()));
        }
        if let Some(record) = facts.record {
            used(&mut span, record);
        }
        if facts.status >= 400 || facts.ending.is_failure() {
            fail(&mut span, error_type(facts), String::new());
        }
        span.end();
    }
}

impl Drop for AttemptSpan {
    fn drop(&mut self) {
        if let Some(mut span) = self.0.take() {
            fail(&mut span, "cancelled".to_owned(), String::new());
            span.end();
        }
    }
}

fn error_type(facts: &CallOutcome<'_>) -> String {
    if facts.ending.is_failure() {
        return facts.ending.as_str().to_owned();
    }
    let code = facts.refused.map(str::to_owned);
    code.unwrap_or_else(|| facts.status.to_string())
}

fn fail(span: &mut Span, kind: String, reason: String) {
    span.set_attribute(KeyValue::new("error.type", kind));
    span.set_status(Status::error(reason));
}

/// The usage of the call, where it makes tokens.
fn used(span: &mut Span, record: &UsageRecord) {
    if !record.model_used.is_empty() {
        let model = record.model_used.clone();
        span.set_attribute(KeyValue::new("gen_ai.response.model", model));
    }
    for (name, count) in conventions::usage(&record.tokens) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        span.set_attribute(KeyValue::new(name, count));
    }
    span.set_attribute(KeyValue::new("proxyxai.cost_usd", record.cost.dollars()));
}

/// Headers for the propagator to read and write.
struct Carrier<T>(T);

impl Extractor for Carrier<&HeaderMap> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

impl Injector for Carrier<&mut HeaderMap> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(key.as_bytes()),
            HeaderValue::from_str(&value),
        ) && !value.is_empty()
        {
            self.0.insert(name, value);
        }
    }
}
