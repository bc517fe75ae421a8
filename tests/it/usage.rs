//! What is counted, what it costs, and that it is posted exactly once.

use bytes::Bytes;

use futures_util::{StreamExt as _, stream};
use proxyxai_contract::wire::{self, Measure};
use serde_json::{Value, json};

use crate::{
    upstream::{Script, Upstream, event, events_at_once, json_answer},
    world::{World, refused, until},
};

const UP: &str = "sk-upstream-aaaaaaaaaaaaaaaaaaaaaa";

/// Nano-dollars: 2,500 per prompt token, 1,250 per cached one, 3,125 per token written to the cache, 10,000 per output
/// token; and calls at a dollar each.
const PRICING: &str = r#"{"ChatPricing":{
    "house": {"InputText": 2.5, "CachedText": 1.25, "CacheWrite": 3.125, "OutputText": 10},
    "dear": {"InputText": 0, "OutputText": 0, "Call": 1}
}}"#;

async fn world_with(env: &[(&str, &str)]) -> (World, Upstream, String) {
    let env: Vec<_> = [("PRICING", PRICING)]
        .into_iter()
        .chain(env.iter().copied())
        .collect();
    let (world, upstream) = (World::with(&env).await, Upstream::start().await);
    world.add_key(UP, &upstream.base).await;
    let key = world.add_account("alice", 100.0).await;
    (world, upstream, key)
}

/// A provider's response and the expected usage and cost.
struct Case {
    what: &'static str,
    path: &'static str,
    request: Value,
    answer: Script,
    /// Input, cached part, written to the cache; output, reasoning part.
    tokens: [i64; 5],
    nanos: i64,
}

fn events(texts: &[&str]) -> Script {
    events_at_once(texts.iter().map(|text| event(text)).collect())
}

fn named_events(texts: &[(&str, &str)]) -> Script {
    events_at_once(
        texts
            .iter()
            .map(|(name, data)| Bytes::from(format!("event: {name}\ndata: {data}\n\n")))
            .collect(),
    )
}

const CHAT: &str = r#"{
  "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
  "object": "chat.completion",
  "created": 1741569952,
  "model": "gpt-4.1-2025-04-14",
  "choices": [
    {"index": 0, "message": {"role": "assistant", "content": "Hello! \"usage\": {\"prompt_tokens\": 1}", "refusal": null, "annotations": []}, "logprobs": null, "finish_reason": "stop"}
  ],
  "usage": {
    "prompt_tokens": 19,
    "completion_tokens": 10,
    "total_tokens": 29,
    "prompt_tokens_details": {"cached_tokens": 8, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 4, "audio_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}
  },
  "service_tier": "default"
}"#;
const CHAT_CHUNK: &str = r#"{"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant","content":"Hello"},"finish_reason":null}],"usage":null}"#;
const CHAT_USAGE: &str = r#"{"id":"c","object":"chat.completion.chunk","choices":[],"usage":{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29,"prompt_tokens_details":{"cached_tokens":8}}}"#;
const RESPONSE: &str = r#"{"id":"resp_1","object":"response","status":"completed","model":"gpt-4.1","output":[{"type":"message","id":"msg_1","content":[{"type":"output_text","text":"Under the moon"}]}],"usage":{"input_tokens":36,"input_tokens_details":{"cached_tokens":6},"output_tokens":87,"output_tokens_details":{"reasoning_tokens":12},"total_tokens":123}}"#;
const MESSAGE: &str = r#"{"id":"msg_1","type":"message","role":"assistant","content":[{"type":"text","text":"Hi!"}],"model":"claude","stop_reason":"end_turn","usage":{"input_tokens":2095,"cache_creation_input_tokens":100,"cache_read_input_tokens":1000,"output_tokens":503,"service_tier":"standard"}}"#;

fn cases() -> Vec<Case> {
    let chat = |stream, options| json!({"model": "house", "stream": stream, "stream_options": options, "messages": []});
    let plain = json!({"model": "house", "input": "x"});
    let streamed = json!({"model": "house", "stream": true, "input": "x"});
    let chat_stream = events(&[CHAT_CHUNK, CHAT_CHUNK, CHAT_USAGE, "[DONE]"]);
    let response_events = [
        ("response.created", r#"{"type":"response.created","response":{"id":"resp_1","status":"in_progress","usage":null}}"#.to_owned()),
        ("response.output_text.delta", r#"{"type":"response.output_text.delta","delta":"Under"}"#.to_owned()),
        ("response.completed", format!(r#"{{"type":"response.completed","response":{RESPONSE}}}"#)),
    ];
    let response_events: Vec<_> = response_events
        .iter()
        .map(|(name, data)| (*name, data.as_str()))
        .collect();
    vec![
        Case {
            what: "chat",
            path: "/v1/chat/completions",
            request: chat(false, Value::Null),
            answer: json_answer(200, CHAT),
            tokens: [19, 8, 0, 10, 4],
            nanos: 11 * 2500 + 8 * 1250 + 10 * 10_000,
        },
        Case {
            what: "chat, streamed",
            path: "/v1/chat/completions",
            request: chat(true, Value::Null),
            answer: chat_stream.clone(),
            tokens: [19, 8, 0, 10, 0],
            nanos: 137_500,
        },
        Case {
            what: "chat, streamed and asked",
            path: "/v1/chat/completions",
            request: chat(true, json!({"include_usage": true})),
            answer: chat_stream,
            tokens: [19, 8, 0, 10, 0],
            nanos: 137_500,
        },
        Case {
            what: "completions",
            path: "/v1/completions",
            request: plain.clone(),
            answer: json_answer(
                200,
                r#"{"id":"cmpl-1","object":"text_completion","choices":[{"text":"a test","index":0,"finish_reason":"length"}],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}"#,
            ),
            tokens: [5, 0, 0, 7, 0],
            nanos: 5 * 2500 + 7 * 10_000,
        },
        Case {
            what: "completions, streamed",
            path: "/v1/completions",
            request: streamed.clone(),
            answer: events(&[
                r#"{"object":"text_completion","choices":[{"text":"a","index":0}]}"#,
                r#"{"object":"text_completion","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}"#,
                "[DONE]",
            ]),
            tokens: [5, 0, 0, 7, 0],
            nanos: 82_500,
        },
        Case {
            what: "responses",
            path: "/v1/responses",
            request: plain.clone(),
            answer: json_answer(200, RESPONSE),
            tokens: [36, 6, 0, 87, 12],
            nanos: 30 * 2500 + 6 * 1250 + 87 * 10_000,
        },
        Case {
            what: "responses, streamed",
            path: "/v1/responses",
            request: streamed.clone(),
            answer: named_events(&response_events),
            tokens: [36, 6, 0, 87, 12],
            nanos: 952_500,
        },
        Case {
            what: "embeddings",
            path: "/v1/embeddings",
            request: plain,
            answer: json_answer(
                200,
                r#"{"object":"list","data":[{"object":"embedding","embedding":[0.1,-0.2],"index":0}],"model":"e","usage":{"prompt_tokens":8,"total_tokens":8}}"#,
            ),
            tokens: [8, 0, 0, 0, 0],
            nanos: 20_000,
        },
        Case {
            what: "messages",
            path: "/v1/messages",
            request: json!({"model": "house", "max_tokens": 9}),
            answer: json_answer(200, MESSAGE),
            tokens: [3195, 1000, 100, 503, 0],
            nanos: 2095 * 2500 + 1000 * 1250 + 100 * 3125 + 503 * 10_000,
        },
        Case {
            what: "messages, streamed",
            path: "/v1/messages",
            request: json!({"model": "house", "max_tokens": 9, "stream": true}),
            answer: named_events(&[
                (
                    "message_start",
                    r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","content":[],"usage":{"input_tokens":25,"cache_creation_input_tokens":4,"cache_read_input_tokens":10,"output_tokens":1}}}"#,
                ),
                (
                    "content_block_delta",
                    r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello"}}"#,
                ),
                (
                    "message_delta",
                    r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":15}}"#,
                ),
                ("message_stop", r#"{"type":"message_stop"}"#),
            ]),
            tokens: [39, 10, 4, 15, 0],
            nanos: 25 * 2500 + 10 * 1250 + 4 * 3125 + 15 * 10_000,
        },
    ]
}

#[tokio::test]
async fn tokens_and_cost_of_every_kind_of_call_are_posted_to_the_nano_dollar() {
    let (world, upstream, key) = world_with(&[]).await;
    let cases = cases();
    for case in &cases {
        upstream.script(UP, case.answer.clone());
        let answer = world.post(case.path, &key, &case.request).await;
        assert_eq!(answer.status(), 200, "{}", case.what);
        answer.bytes().await.unwrap();
    }
    world.posted("alice", cases.len() as u64).await;
    let mut records = world.grpc().usage("alice").await;
    assert_eq!(records.len(), cases.len());
    records.reverse();
    for (case, posted) in cases.iter().zip(records) {
        let record = posted.record.unwrap();
        let wire::Tokens {
            input,
            cached,
            cache_write,
            output,
            reasoning,
            ..
        } = record.tokens.unwrap();
        assert_eq!(
            [input, cached, cache_write, output, reasoning],
            case.tokens,
            "{}",
            case.what
        );
        assert_eq!(record.cost_nanos, case.nanos, "{}", case.what);
        assert_eq!(record.measure(), Measure::Measured, "{}", case.what);
        assert_eq!(
            (record.path.as_str(), record.model_used.as_str()),
            (case.path, "house")
        );
        assert_eq!(
            (record.status, record.tries, record.priced),
            (200, 1, true),
            "{}",
            case.what
        );
        assert_eq!(
            record.streamed,
            case.request["stream"] == true,
            "{}",
            case.what
        );
        assert!(!record.price_version.is_empty());
    }
    let spent: i64 = cases.iter().map(|case| case.nanos).sum();
    let account = world.grpc().account("alice").await;
    assert_eq!(account.credit_used_nanos, spent);
    assert_eq!(account.balance_nanos, 100_000_000_000 - spent);
    assert_eq!(account.requests, i64::try_from(cases.len()).unwrap());
    world.grpc().verify_books().await;
}

#[tokio::test]
async fn requests_credit_used_and_balance_follow_on_every_surface() {
    let (world, upstream, key) = world_with(&[]).await;
    upstream.script(UP, json_answer(200, CHAT));
    for _ in 0..4 {
        assert_eq!(world.chat(&key, "house").await.status(), 200);
    }
    let row = world.posted("alice", 4).await;
    let dollars = |value: &Value| value.as_f64().unwrap();
    let close = |value: &Value, wanted: f64| {
        assert!(
            (dollars(value) - wanted).abs() < 1e-9,
            "{value} is not {wanted}"
        );
    };
    close(&row["CreditUsed"], 0.00055);
    close(&row["CreditBalance"][0]["balance"], 99.99945);
    close(&row["CreditBalance"][0]["amount"], 100.0);
    for path in [
        "/dashboard/info",
        "/dashboard/x-user-info",
        "/dashboard/x_user/info",
    ] {
        let info: Value = world
            .http
            .get(world.url(path))
            .bearer_auth(&key)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        close(&info["credit_used"], 0.00055);
        close(&info["balance"], 99.99945);
        close(&info["daily_usage"]["CreditUsed"], 0.00055);
        close(&info["monthly_usage"]["CreditUsed"], 0.00055);
        assert_eq!(
            (
                &info["daily_usage"]["Requests"],
                &info["monthly_usage"]["Requests"]
            ),
            (&json!(4), &json!(4)),
            "{path}"
        );
        assert!(info["create_at"].is_string() && info["created_at"] == info["create_at"]);
        assert!(info["rate_limit"].is_number() && info["rpm"] == info["rate_limit"]);
    }
    let root = world.account("root").await;
    assert!(
        root.is_null() || root["CreditBalance"] == json!([]),
        "{root}"
    );
}

#[tokio::test]
async fn an_accounts_rates_multiply_the_price_and_the_mapped_model_is_billed() {
    let (world, upstream, _) = world_with(&[]).await;
    upstream.script(UP, json_answer(200, CHAT));
    let body =
        json!({"Name": "bobby", "Email": "bobby@example.com", "CreditGranted": 10, "Rates": 1.5});
    let created: Value = world
        .root(world.http.post(world.url("/x-users")).json(&body))
        .await
        .json()
        .await
        .unwrap();
    let key = created["User"]["SecretKey"].as_str().unwrap().to_owned();
    world
        .change("bobby", json!({"ModelMapper": "free=house"}))
        .await;
    assert_eq!(world.chat(&key, "free").await.status(), 200);
    world.posted("bobby", 1).await;
    let record = world.grpc().usage("bobby").await.remove(0).record.unwrap();
    assert_eq!(record.cost_nanos, 206_250);
    assert_eq!(
        (record.model_asked.as_str(), record.model_used.as_str()),
        ("free", "house")
    );
}

#[tokio::test]
async fn tokens_that_no_provider_reported_are_estimated_and_labelled() {
    let (world, upstream, key) = world_with(&[]).await;
    let text = "four score and seven years ago our fathers brought forth";
    let silent = format!(
        r#"{{"choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}"}},"finish_reason":"stop"}}]}}"#
    );
    upstream.script(UP, json_answer(200, silent));
    assert_eq!(world.chat(&key, "house").await.status(), 200);
    world.posted("alice", 1).await;
    let record = world.grpc().usage("alice").await.remove(0).record.unwrap();
    assert_eq!(record.measure(), Measure::Estimated);
    let tokens = record.tokens.unwrap();
    assert!(
        (10..=30).contains(&tokens.output) && tokens.input > 0,
        "{tokens:?}"
    );
    assert_eq!(
        record.cost_nanos,
        tokens.input * 2500 + tokens.output * 10_000
    );
}

#[tokio::test]
async fn a_refusal_of_the_upstream_costs_nothing() {
    let (world, upstream, key) = world_with(&[]).await;
    upstream.script(
        UP,
        json_answer(
            400,
            r#"{"error":{"message":"no"},"usage":{"prompt_tokens":9,"completion_tokens":9}}"#,
        ),
    );
    assert_eq!(world.chat(&key, "house").await.status(), 400);
    until("the call is on record", async || {
        !world.grpc().usage("alice").await.is_empty()
    })
    .await;
    let record = world.grpc().usage("alice").await.remove(0).record.unwrap();
    assert_eq!((record.cost_nanos, record.status), (0, 400));
    assert_eq!(
        world.grpc().account("alice").await.balance_nanos,
        100_000_000_000
    );
}

#[tokio::test]
async fn a_model_without_a_price_is_served_and_recorded_as_unpriced() {
    let (world, upstream, key) = world_with(&[]).await;
    upstream.script(UP, Script::Chat);
    assert_eq!(world.chat(&key, "nobody-sells-this").await.status(), 200);
    world.posted("alice", 1).await;
    let record = world.grpc().usage("alice").await.remove(0).record.unwrap();
    assert_eq!((record.priced, record.cost_nanos), (false, 0));
    let tokens = record.tokens.unwrap();
    assert_eq!((tokens.input, tokens.output), (11, 7));
}

#[tokio::test]
async fn a_model_without_a_price_is_refused_when_the_operator_says_so() {
    let (world, upstream, key) = world_with(&[("UNPRICED", "refuse")]).await;
    upstream.script(UP, Script::Chat);
    let answer = world.chat(&key, "nobody-sells-this").await;
    let status = answer.status().as_u16();
    assert!([400, 403, 404].contains(&status), "{status}");
    let error: Value = answer.json().await.unwrap();
    let code = error["error"]["code"].as_str().unwrap().to_owned();
    assert!(crate::world::documented(&error, &code).contains("nobody-sells-this"));
    assert_eq!(world.chat(&key, "house").await.status(), 200);
    assert_eq!(upstream.count(UP), 1);
}

#[tokio::test]
async fn a_balance_below_the_minimum_refuses_the_call() {
    let (world, upstream, _) = world_with(&[("USER_MIN_BALANCE", "0.1")]).await;
    upstream.script(UP, Script::Chat);
    let poor = world.add_account("poor", 0.5).await;
    let answer = world.chat(&poor, "house").await;
    assert!(answer.headers().contains_key("x-proxyxai-refusal"));
    let message = refused(answer, 402, "insufficient_quota").await;
    assert!(
        message.contains("Insufficient balance") && message.contains("poor"),
        "{message}"
    );
    // The second call sees at once what the first one spent.
    let spender = world.add_account("spender", 2.5).await;
    for status in [200, 200, 402] {
        assert_eq!(world.chat(&spender, "dear").await.status(), status);
    }
    world.posted("spender", 2).await;
    assert_eq!(
        world.grpc().account("spender").await.balance_nanos,
        500_000_000
    );
    let topped = json!({"CreditGranted": 1});
    world.change("spender", topped).await;
    assert_eq!(
        world.chat(&spender, "dear").await.status(),
        200,
        "a top-up is used by the next call"
    );
    assert_eq!(upstream.count(UP), 3);
}

#[tokio::test]
async fn root_is_never_refused_for_its_balance() {
    let (world, upstream, _) = world_with(&[]).await;
    upstream.script(UP, Script::Chat);
    for _ in 0..3 {
        assert_eq!(world.chat(crate::world::ROOT, "dear").await.status(), 200);
    }
}

#[tokio::test]
async fn the_months_hard_limit_refuses_the_call() {
    let (world, upstream, key) = world_with(&[]).await;
    upstream.script(UP, Script::Chat);
    world.change("alice", json!({"HardLimit": 2})).await;
    for _ in 0..2 {
        assert_eq!(world.chat(&key, "dear").await.status(), 200);
    }
    let answer = world.chat(&key, "dear").await;
    let after: u64 = answer.headers()["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(after <= 31 * 24 * 3600, "{after}");
    let message = refused(answer, 429, "hard_limit_reached").await;
    assert!(message.contains("alice"), "{message}");
    world.change("alice", json!({"HardLimit": 50})).await;
    assert_eq!(world.chat(&key, "dear").await.status(), 200);
    assert_eq!(upstream.count(UP), 3);
}

/// Asserts that every record is posted once: as many as calls, no id twice, and the right sum.
async fn posted_once(world: &World, name: &str, calls: u64) {
    world.posted(name, calls).await;
    let records = world.grpc().usage(name).await;
    assert_eq!(records.len() as u64, calls);
    let ids: std::collections::HashSet<_> = records
        .iter()
        .map(|posted| {
            (
                posted.node.clone(),
                posted.epoch,
                posted.record.as_ref().unwrap().sequence,
            )
        })
        .collect();
    assert_eq!(ids.len() as u64, calls);
    let account = world.grpc().account(name).await;
    let spent: i64 = records
        .iter()
        .map(|posted| posted.record.as_ref().unwrap().cost_nanos)
        .sum();
    assert_eq!(
        (account.credit_used_nanos, account.balance_nanos),
        (spent, 100_000_000_000 - spent)
    );
    world.grpc().verify_books().await;
}

#[tokio::test]
async fn killed_after_calls_every_record_is_posted_once() {
    let (mut world, upstream, key) = world_with(&[]).await;
    upstream.script(UP, json_answer(200, CHAT));
    let mut calls = 0;
    for round in 0..3 {
        let statuses: Vec<_> = stream::iter(0..30)
            .map(|_| async {
                let answer = world.chat(&key, "house").await;
                let status = answer.status().as_u16();
                answer.bytes().await.unwrap();
                status
            })
            .buffer_unordered(10)
            .collect()
            .await;
        assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
        calls += 30;
        world.kill().await;
        world.restart().await;
        posted_once(&world, "alice", calls).await;
        assert_eq!(
            world.grpc().account("alice").await.credit_used_nanos,
            i64::try_from(calls).unwrap() * 137_500,
            "round {round}"
        );
    }
}

#[tokio::test]
async fn a_record_that_is_handed_in_again_is_posted_once() {
    use proxyxai_contract::wire::fleet_client::FleetClient;
    let (world, _upstream, _) = world_with(&[("NODE_TOKEN", "a-node-token-of-the-tests")]).await;
    let account_id = world.grpc().account("alice").await.id;
    let record = |sequence| wire::UsageRecord {
        sequence,
        request_id: format!("req_{sequence}"),
        account_id,
        path: "/v1/chat/completions".to_owned(),
        model_used: "house".to_owned(),
        tries: 1,
        status: 200,
        tokens: Some(wire::Tokens {
            input: 10,
            output: 10,
            ..wire::Tokens::default()
        }),
        measure: Measure::Measured.into(),
        cost_nanos: 125_000,
        priced: true,
        price_version: "1".to_owned(),
        start_time: Some(std::time::SystemTime::UNIX_EPOCH.into()),
        ..wire::UsageRecord::default()
    };
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", world.node.grpc))
        .unwrap()
        .connect_lazy();
    for (sequences, through) in [(1..=2, 2), (1..=2, 2), (2..=3, 3), (1..=3, 3)] {
        let report = wire::ReportUsageRequest {
            node: "elsewhere".to_owned(),
            epoch: 7,
            records: sequences.map(record).collect(),
        };
        let mut report = tonic::Request::new(report);
        report.metadata_mut().insert(
            "authorization",
            "Bearer a-node-token-of-the-tests".parse().unwrap(),
        );
        let answer = FleetClient::new(channel.clone())
            .report_usage(report)
            .await
            .unwrap()
            .into_inner();
        assert_eq!(answer.through_sequence, through);
        assert_eq!(answer.standings.len(), 1);
    }
    posted_once(&world, "alice", 3).await;
    assert_eq!(
        world.grpc().account("alice").await.credit_used_nanos,
        375_000
    );
}

#[tokio::test]
async fn a_model_that_cannot_be_read_is_refused() {
    let (world, upstream, key) = world_with(&[]).await;
    upstream.script(UP, json_answer(200, CHAT));
    let send = |encoding: &'static str, kind: &'static str, body: &'static str| {
        let request = world.http.post(world.url("/v1/chat/completions"));
        let request = request.bearer_auth(&key).header("content-type", kind);
        request
            .header("content-encoding", encoding)
            .body(body)
            .send()
    };
    let twice = r#"{"model":"house","model":"other"}"#;
    assert_eq!(
        send("identity", "text/plain", twice)
            .await
            .unwrap()
            .status(),
        400
    );
    assert_eq!(
        send("gzip", "application/json", "?")
            .await
            .unwrap()
            .status(),
        400
    );
    assert_eq!(upstream.count(UP), 0);
}
