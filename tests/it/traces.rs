//! Traces, as a collector receives them over OTLP.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use serde_json::json;
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::{Request, Response, Status, transport::server::TcpIncoming};

use crate::{
    pool::{GOOD, hedging},
    upstream::{Script, Upstream, event, events_at_once, status},
    world::{ROOT, World, until},
};

const UP: &str = "sk-upstream-aaaaaaaaaaaaaaaaaaaaaa";
const UP2: &str = "sk-upstream-bbbbbbbbbbbbbbbbbbbbbb";
const PRICING: &str = r#"{"ChatPricing":{"house":{"InputText":2.5,"OutputText":10}}}"#;
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A collector that keeps what it receives.
struct Collector {
    endpoint: String,
    kept: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    server: JoinHandle<()>,
}

struct Kept(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

#[tonic::async_trait]
impl TraceService for Kept {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    async fn start() -> Self {
        let kept = Arc::<Mutex<Vec<_>>>::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let service = TraceServiceServer::new(Kept(Arc::clone(&kept)));
        let server = tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpIncoming::from(listener));
        let server = tokio::spawn(async move { server.await.unwrap() });
        Self {
            endpoint,
            kept,
            server,
        }
    }

    /// Variables of a gateway that exports its spans soon.
    fn env(&self) -> [(&str, &str); 3] {
        [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &self.endpoint),
            ("OTEL_BSP_SCHEDULE_DELAY", "50"),
            ("PRICING", PRICING),
        ]
    }

    /// All spans so far, in the order in which they began.
    fn spans(&self) -> Vec<Span> {
        let kept = self.kept.lock().unwrap();
        let scopes = kept
            .iter()
            .flat_map(|request| &request.resource_spans)
            .flat_map(|resource| &resource.scope_spans);
        let mut spans: Vec<_> = scopes.flat_map(|scope| scope.spans.clone()).collect();
        spans.sort_by_key(|span| span.start_time_unix_nano);
        spans
    }

    async fn spans_are(&self, count: usize) -> Vec<Span> {
        until("all spans have come", async || self.spans().len() >= count).await;
        let spans = self.spans();
        assert_eq!(spans.len(), count, "{spans:#?}");
        spans
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Attributes as `name=value`.
fn said(attributes: &[KeyValue]) -> Vec<String> {
    let said = attributes.iter().map(|attribute| {
        let value = attribute.value.as_ref().and_then(|any| any.value.as_ref());
        let value = match value.unwrap() {
            Value::StringValue(text) => text.clone(),
            Value::IntValue(number) => number.to_string(),
            Value::DoubleValue(number) => number.to_string(),
            other => panic!("{other:?}"),
        };
        format!("{}={value}", attribute.key)
    });
    said.collect()
}

fn says(span: &Span, what: &[&str]) {
    let said = said(&span.attributes);
    for what in what {
        assert!(
            said.iter().any(|said| said == what),
            "no {what} in {said:#?}"
        );
    }
}

fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(half.into(), 16).unwrap();
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(digit).collect()
}

fn failed(span: &Span) -> bool {
    let status = span.status.as_ref();
    status.is_some_and(|status| status.code() == StatusCode::Error)
}

/// Trace, span and flags of a request that an upstream got.
fn traceparent(headers: &http::HeaderMap) -> [String; 3] {
    let [parent] = headers.get_all("traceparent").iter().collect::<Vec<_>>()[..] else {
        panic!("{headers:?}");
    };
    let parts: Vec<_> = parent.to_str().unwrap().split('-').collect();
    assert_eq!((parts[0], parts.len()), ("00", 4));
    [parts[1], parts[2], parts[3]].map(str::to_owned)
}

async fn world_with(env: &[(&str, &str)], script: Script) -> (World, Upstream, String) {
    let (world, upstream) = (World::with(env).await, Upstream::start().await);
    upstream.script(UP, script);
    world.add_key(UP, &upstream.base).await;
    let key = world.add_account("alice", 100.0).await;
    (world, upstream, key)
}

/// A streamed chat call with this parent trace.
async fn traced(world: &World, key: &str, parent: &str) -> reqwest::Response {
    let body = json!({
        "model": "house", "stream": true, "stream_options": {"include_usage": true},
        "messages": [{"role": "user", "content": "my secret prompt"}],
    });
    let request = world
        .http
        .post(world.url("/v1/chat/completions?token=hidden"));
    let request = request.bearer_auth(key).json(&body);
    let request = request.header("traceparent", parent);
    request
        .header("tracestate", "vendor=opaque")
        .send()
        .await
        .unwrap()
}

fn stream() -> Script {
    let chunk = r#"{"choices":[{"delta":{"content":"my secret answer"}}]}"#;
    let usage = r#"{"choices":[],"usage":{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29,"prompt_tokens_details":{"cached_tokens":8}}}"#;
    events_at_once(vec![event(chunk), event(usage), event("[DONE]")])
}

#[tokio::test]
async fn a_call_is_a_server_span_with_a_client_span_for_each_attempt_below_it() {
    let collector = Collector::start().await;
    let (world, upstream, key) = world_with(&collector.env(), status(500)).await;
    upstream.script(UP2, stream());
    world.add_key(UP2, &upstream.base).await;
    // Whichever key is first, one of these calls tries the failing one.
    let mut calls = 0;
    while upstream.count(UP) == 0 {
        let answer = traced(&world, &key, PARENT).await;
        assert_eq!(answer.status(), 200);
        answer.bytes().await.unwrap();
        calls += 1;
        assert!(calls < 5);
    }
    let spans = collector.spans_are(2 * calls + 1).await;
    for span in &spans {
        assert_eq!(hex(&span.trace_id), TRACE, "the client's trace goes on");
        assert_eq!(span.trace_state, "vendor=opaque");
        assert!(span.start_time_unix_nano < span.end_time_unix_nano);
        for secret in ["secret", "hidden", UP, UP2, &*key, ROOT] {
            assert!(
                !format!("{span:?}").contains(secret),
                "{secret} in {span:?}"
            );
        }
    }
    let of = |kind: SpanKind| spans.iter().filter(move |span| span.kind() == kind);
    let server = of(SpanKind::Server).next_back().unwrap();
    assert_eq!(hex(&server.parent_span_id), "b7ad6b7169203331");
    assert_eq!(server.name, "POST /v1/chat/completions");
    assert!(!failed(server));
    says(
        server,
        &[
            "http.request.method=POST",
            "http.route=/v1/chat/completions",
            "url.path=/v1/chat/completions",
            "http.response.status_code=200",
            "gen_ai.operation.name=chat",
            "gen_ai.request.model=house",
            "gen_ai.response.model=house",
            "gen_ai.usage.input_tokens=19",
            "gen_ai.usage.output_tokens=10",
            "gen_ai.usage.cache_read.input_tokens=8",
            "proxyxai.account.id=2",
            "proxyxai.key.id=2",
            "proxyxai.tries=2",
            "proxyxai.ending=complete",
        ],
    );
    let tries: Vec<_> = of(SpanKind::Client)
        .filter(|span| span.parent_span_id == server.span_id)
        .collect();
    let [first, second] = tries[..] else {
        panic!("{tries:#?}");
    };
    assert_eq!((&*first.name, &*second.name), ("chat house", "chat house"));
    assert!(failed(first) && !failed(second));
    assert!(first.end_time_unix_nano <= second.start_time_unix_nano);
    let provider = ["gen_ai.provider.name=openai", "server.address=127.0.0.1"];
    says(first, &["error.type=500", "proxyxai.key.id=1"]);
    says(first, &provider);
    says(
        second,
        &[
            "http.response.status_code=200",
            "gen_ai.usage.output_tokens=10",
        ],
    );
    says(second, &provider);
    // Each attempt carried the id of its own span.
    let seen = [
        upstream.seen(UP).remove(0),
        upstream.seen(UP2).pop().unwrap(),
    ];
    for (seen, span) in seen.iter().zip([first, second]) {
        let [trace, span_id, flags] = traceparent(&seen.headers);
        assert_eq!((trace.as_str(), flags.as_str()), (TRACE, "01"));
        assert_eq!(span_id, hex(&span.span_id));
        assert_eq!(seen.headers["tracestate"], "vendor=opaque");
    }
    let kept = collector.kept.lock().unwrap();
    let resource = kept[0].resource_spans[0].resource.as_ref().unwrap();
    let version = format!("service.version={}", env!("CARGO_PKG_VERSION"));
    let about = said(&resource.attributes);
    for what in ["service.name=proxyxai", version.as_str()] {
        assert!(about.iter().any(|said| said == what), "{about:?}");
    }
}

#[tokio::test]
async fn a_call_without_a_trace_begins_one_and_refusals_are_in_theirs() {
    let collector = Collector::start().await;
    let (world, upstream, key) = world_with(&collector.env(), Script::Chat).await;
    assert_eq!(world.chat(&key, "house").await.status(), 200);
    let spans = collector.spans_are(2).await;
    let [server, client] = &spans[..] else {
        unreachable!()
    };
    assert!(server.parent_span_id.is_empty());
    assert_eq!(client.parent_span_id, server.span_id);
    let [trace, span, _] = traceparent(&upstream.seen(UP)[0].headers);
    assert_eq!([trace, span], [hex(&client.trace_id), hex(&client.span_id)]);
    assert_eq!(world.chat("wrong", "house").await.status(), 401);
    let odd = world
        .http
        .delete(world.url("/v1/things/file-1"))
        .bearer_auth(&key);
    odd.send().await.unwrap();
    let spans = collector.spans_are(5).await;
    says(
        &spans[2],
        &["http.response.status_code=401", "proxyxai.tries=0"],
    );
    assert!(
        !failed(&spans[2]),
        "a client's fault is no error of the server"
    );
    assert_eq!((&*spans[3].name, &*spans[4].name), ("DELETE", "DELETE"));
}

#[tokio::test]
async fn a_trace_that_is_not_sampled_goes_on_and_is_not_told() {
    let collector = Collector::start().await;
    let (mut world, upstream, key) = world_with(&collector.env(), stream()).await;
    let unsampled = PARENT.replace("-01", "-00");
    traced(&world, &key, &unsampled)
        .await
        .bytes()
        .await
        .unwrap();
    world.stop().await;
    assert_eq!(collector.spans(), []);
    let [trace, _, flags] = traceparent(&upstream.seen(UP)[0].headers);
    assert_eq!((trace.as_str(), flags.as_str()), (TRACE, "00"));
}

#[tokio::test]
async fn the_nodes_of_a_cascade_share_a_trace() {
    let collector = Collector::start().await;
    let (upper, _upstream, reseller) = world_with(&collector.env(), stream()).await;
    let lower = World::with(&collector.env()).await;
    lower.add_key(&reseller, &upper.node.base).await;
    let key = lower.add_account("alice", 100.0).await;
    traced(&lower, &key, PARENT).await.bytes().await.unwrap();
    let spans = collector.spans_are(4).await;
    assert_eq!(hex(&spans[0].parent_span_id), "b7ad6b7169203331");
    for pair in spans.windows(2) {
        assert_eq!(pair[1].parent_span_id, pair[0].span_id, "{spans:#?}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_cancels_the_attempt_and_a_cut_answer_is_an_error() {
    let collector = Collector::start().await;
    let mut env = collector.env().to_vec();
    env.push(("ABANDONED", "cancel"));
    let (world, upstream, key) = world_with(&env, Script::Mute).await;
    let call = traced(&world, &key, PARENT);
    tokio::time::timeout(Duration::from_millis(300), call)
        .await
        .map(|_| ())
        .unwrap_err();
    let spans = collector.spans_are(2).await;
    says(
        &spans[0],
        &["http.response.status_code=499", "proxyxai.ending=abandoned"],
    );
    says(&spans[1], &["error.type=cancelled"]);
    let chunk = event(r#"{"choices":[{"delta":{"content":"a"}}]}"#);
    let breaking = Script::Stream {
        chunks: vec![chunk.clone(), chunk],
        pause: Duration::from_millis(20),
        breaks: true,
    };
    upstream.script(UP, breaking);
    traced(&world, &key, PARENT).await.bytes().await.unwrap();
    let spans = collector.spans_are(4).await;
    for span in &spans[2..] {
        says(span, &["error.type=cut", "http.response.status_code=200"]);
        assert!(failed(span));
    }
}

#[tokio::test]
async fn what_is_left_is_sent_at_the_end_and_a_collector_that_is_away_holds_nothing_up() {
    let collector = Collector::start().await;
    let [endpoint, _, pricing] = collector.env();
    let rare = [endpoint, ("OTEL_BSP_SCHEDULE_DELAY", "60000"), pricing];
    let (mut world, _upstream, key) = world_with(&rare, Script::Chat).await;
    assert_eq!(world.chat(&key, "house").await.status(), 200);
    assert_eq!(collector.spans(), []);
    world.stop().await;
    assert_eq!(collector.spans().len(), 2);

    let away = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9"),
        pricing,
    ];
    let (mut world, _upstream, key) = world_with(&away, Script::Chat).await;
    let begun = Instant::now();
    assert_eq!(world.chat(&key, "house").await.status(), 200);
    assert!(begun.elapsed() < Duration::from_secs(2));
    world.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(12));
}

#[tokio::test]
async fn both_attempts_of_a_hedged_call_are_in_its_trace() {
    let collector = Collector::start().await;
    let (world, upstream, key) = hedging(&collector.env()).await;
    upstream.script(GOOD[0], Script::Mute);
    for _ in 0..4 {
        // Read to the end: a client that leaves would end the winning attempt as well.
        let answer = world.chat(&key, "gpt-4o-mini").await;
        assert_eq!(answer.status(), 200);
        answer.bytes().await.unwrap();
    }
    let ends = |span: &&Span| said(&span.attributes).contains(&"error.type=cancelled".to_owned());
    until("the loser has ended", async || {
        collector.spans().iter().any(|span| ends(&span))
    })
    .await;
    let spans = collector.spans();
    let loser = spans.iter().find(ends).unwrap();
    says(loser, &["proxyxai.key.id=1"]);
    let parent = |span: &&Span| span.span_id == loser.parent_span_id;
    until("its call has ended", async || {
        collector.spans().iter().any(|span| parent(&span))
    })
    .await;
    let spans = collector.spans();
    says(
        spans.iter().find(parent).unwrap(),
        &["proxyxai.tries=2", "proxyxai.key.id=2"],
    );
    let siblings = spans
        .iter()
        .filter(|span| span.parent_span_id == loser.parent_span_id);
    assert_eq!(siblings.count(), 2);
}
