//! Streamed responses: unchanged, without delay, and ending as the upstream ended them.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt as _;
use proxyxai_contract::wire::Measure;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    raw,
    upstream::{Script, Upstream, completion, event, events_at_once, json_answer, moment},
    world::{World, until},
};

const ONE: &str = "sk-one-aaaaaaaaaaaaaaaaaaaaaa";
const TWO: &str = "sk-two-bbbbbbbbbbbbbbbbbbbbbb";

async fn world_with(env: &[(&str, &str)], scripts: &[(&str, Script)]) -> (World, Upstream, String) {
    let (world, upstream) = (World::with(env).await, Upstream::start().await);
    for (secret, script) in scripts {
        upstream.script(secret, script.clone());
        world.add_key(secret, &upstream.base).await;
    }
    let key = world.add_account("alice", 100.0).await;
    (world, upstream, key)
}

fn chat_body(asks: bool) -> String {
    let options = if asks {
        r#","stream_options":{"include_usage":true}"#
    } else {
        ""
    };
    format!(r#"{{"model":"gpt-4o","stream":true{options},"messages":[]}}"#)
}

async fn streamed(base: &str, key: &str, path: &str, body: &str) -> raw::Answer {
    let bearer = format!("Bearer {key}");
    let headers = [
        ("Authorization", bearer.as_str()),
        ("Content-Type", "application/json"),
    ];
    raw::exchange(base, &raw::request("POST", path, &headers, body.as_bytes())).await
}

/// 200 chunks cut as no parser would: events split anywhere, several at once, comments, all line ends, multi-byte text.
fn odd_chunks() -> Vec<Bytes> {
    let mut text = Vec::new();
    for index in 0..300 {
        let line_end = ["\n", "\r\n"][index % 2];
        let content = [
            "a",
            "\\u00e9",
            "日本語",
            "\\\"usage\\\"",
            "🙂 \\n",
            "[DONE]",
        ][index % 6];
        text.extend_from_slice(
            format!(r#"data: {{"id":"c","choices":[{{"index":0,"delta":{{"content":"{content}{index}"}}}}]}}{line_end}{line_end}"#)
                .as_bytes(),
        );
        if index % 7 == 0 {
            text.extend_from_slice(b": keep-alive\n\nevent: ping\ndata:\n\n");
        }
    }
    text.extend_from_slice(b"data: [DONE]\n\ntrailing without an end");
    let size = text.len() / 200;
    let mut chunks: Vec<_> = (0..199)
        .map(|index| Bytes::copy_from_slice(&text[index * size..(index + 1) * size]))
        .collect();
    chunks.push(Bytes::copy_from_slice(&text[199 * size..]));
    chunks
}

#[tokio::test]
async fn a_stream_of_200_chunks_arrives_byte_for_byte_as_a_direct_call_would() {
    let script = Script::Stream {
        chunks: odd_chunks(),
        pause: Duration::from_millis(1),
        breaks: false,
    };
    let (world, upstream, key) = world_with(&[], &[(ONE, script)]).await;
    for path in [
        "/v1/chat/completions",
        "/v1/responses",
        "/v1/messages",
        "/v1/future",
    ] {
        for asks in [true, false] {
            let direct = streamed(&upstream.base, ONE, path, &chat_body(asks)).await;
            let through = streamed(&world.node.base, &key, path, &chat_body(asks)).await;
            assert!(direct.complete && through.complete);
            assert_eq!(through.status, 200);
            assert_eq!(
                through.header("content-type"),
                direct.header("content-type")
            );
            assert_eq!(through.header("content-length"), None);
            assert!(
                through.body == direct.body,
                "{path}, asking for usage: {asks}"
            );
        }
    }
}

/// The delay of each event on its way, in milliseconds, ascending.
async fn delays(world: &World, key: &str, asks: bool, count: usize) -> Vec<f64> {
    let body: Value = serde_json::from_str(&chat_body(asks)).unwrap();
    let answer = world.post("/v1/chat/completions", key, &body).await;
    assert_eq!(answer.status(), 200);
    let (mut text, mut delays) = (Vec::new(), Vec::new());
    let mut chunks = answer.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let now = moment();
        text.extend_from_slice(&chunk.unwrap());
        while let Some(end) = text.windows(2).position(|pair| pair == b"\n\n") {
            let event: Vec<_> = text.drain(..end + 2).collect();
            let data: Value = serde_json::from_slice(&event[6..end]).unwrap();
            assert_eq!(data["index"], delays.len(), "in order, none lost");
            #[expect(clippy::cast_precision_loss, reason = "a few minutes in nanoseconds")]
            delays.push((now - data["sent"].as_u64().unwrap()) as f64 / 1e6);
        }
    }
    assert_eq!(delays.len(), count);
    delays.sort_by(f64::total_cmp);
    delays
}

/// The best of a few runs: a busy machine only adds delay, while Nagle's algorithm or a buffer that fills up first
/// would show in every run.
async fn best_p99(world: &World, key: &str, asks: bool, count: usize, enough: f64) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..8 {
        let delays = delays(world, key, asks, count).await;
        best = best.min(delays[count * 99 / 100]);
        if best < enough {
            break;
        }
    }
    best
}

#[tokio::test]
async fn each_of_200_chunks_reaches_the_client_within_milliseconds() {
    let script = Script::Clocked {
        count: 200,
        pause: Duration::from_millis(2),
    };
    let (world, _upstream, key) = world_with(&[], &[(ONE, script)]).await;
    for asks in [true, false] {
        let p99 = best_p99(&world, &key, asks, 200, 10.0).await;
        assert!(
            p99 < 10.0,
            "99 % of the chunks within {p99:.2} ms, asking for usage: {asks}"
        );
    }
}

#[tokio::test]
async fn nagles_algorithm_delays_no_small_chunk() {
    // Fast enough that a chunk always leaves before the previous one is acknowledged.
    let script = Script::Clocked {
        count: 100,
        pause: Duration::from_millis(5),
    };
    let (world, _upstream, key) = world_with(&[], &[(ONE, script)]).await;
    let p99 = best_p99(&world, &key, true, 100, 20.0).await;
    assert!(p99 < 20.0, "99 % of the chunks within {p99:.2} ms");
}

#[tokio::test]
async fn nagles_algorithm_delays_no_request_on_a_kept_connection() {
    let (world, _upstream, key) = world_with(&[], &[(ONE, Script::Chat)]).await;
    world
        .conf(json!({"ModelMapper": "short=a-rather-longer-name"}))
        .await;
    let mut best = Duration::MAX;
    for _ in 0..50 {
        let start = Instant::now();
        // The model mapping splits the body into several pieces, which Nagle's algorithm would send one by one.
        let answer = world.chat(&key, "short").await;
        assert_eq!(answer.bytes().await.unwrap(), completion("hello"));
        best = best.min(start.elapsed());
    }
    assert!(
        best < Duration::from_millis(35),
        "the fastest of 50 calls took {best:?}"
    );
}

fn openai_stream(usage: bool) -> Vec<Bytes> {
    let null = if usage { r#","usage":null"# } else { "" };
    let mut chunks: Vec<_> = ["Hel", "lo ", "\\\"usage\\\":{}"]
        .into_iter()
        .map(|text| {
            event(&format!(
                r#"{{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-4o-2024-08-06","choices":[{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":null}}]{null}}}"#
            ))
        })
        .collect();
    chunks.push(event(&format!(r#"{{"id":"chatcmpl-1","choices":[{{"index":0,"delta":{{}},"finish_reason":"stop"}}]{null}}}"#)));
    if usage {
        chunks.push(event(
            r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-4o-2024-08-06","choices":[],"usage":{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29}}"#,
        ));
    }
    chunks.push(event("[DONE]"));
    chunks
}

#[tokio::test]
async fn a_client_that_did_not_ask_for_usage_sees_exactly_what_a_direct_call_shows() {
    let script = Script::ByUsage {
        asked: openai_stream(true),
        plain: openai_stream(false),
    };
    let (world, upstream, key) = world_with(&[], &[(ONE, script)]).await;
    for path in ["/v1/chat/completions", "/v1/completions"] {
        for body in [
            r#"{"model":"gpt-4o","stream":true,"messages":[]}"#,
            r#" {"stream":true,"stream_options":{},"model":"gpt-4o"}"#,
            r#"{"stream_options":{"include_usage":false,"x":1},"stream":true,"model":"gpt-4o"}"#,
            r#"{"stream_options":null,"stream":true,"model":"gpt-4o"}"#,
        ] {
            let direct = streamed(&upstream.base, ONE, path, body).await;
            let through = streamed(&world.node.base, &key, path, body).await;
            assert_eq!(
                through.header("content-type"),
                direct.header("content-type")
            );
            assert_eq!(
                String::from_utf8(through.body).unwrap(),
                String::from_utf8(direct.body).unwrap(),
                "{path} {body}"
            );
            let seen = upstream.seen(ONE);
            let [.., plain, asked] = &seen[..] else {
                panic!("two calls")
            };
            let value = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
            let mut wanted = value(&plain.body);
            if !wanted["stream_options"].is_object() {
                wanted["stream_options"] = json!({});
            }
            wanted["stream_options"]["include_usage"] = true.into();
            assert_eq!(
                value(&asked.body),
                wanted,
                "the upstream was asked for usage, and for nothing else"
            );
        }
    }
    world.posted("alice", 8).await;
    for posted in world.grpc().usage("alice").await {
        let record = posted.record.unwrap();
        let tokens = record.tokens.unwrap();
        assert_eq!(
            (tokens.input, tokens.output, record.measure()),
            (19, 10, Measure::Measured)
        );
    }
}

#[tokio::test]
async fn a_client_that_asked_for_usage_sees_it() {
    let script = Script::ByUsage {
        asked: openai_stream(true),
        plain: openai_stream(false),
    };
    let (world, upstream, key) = world_with(&[], &[(ONE, script)]).await;
    let through = streamed(
        &world.node.base,
        &key,
        "/v1/chat/completions",
        &chat_body(true),
    )
    .await;
    assert_eq!(through.body, openai_stream(true).concat());
    assert_eq!(upstream.seen(ONE)[0].body, chat_body(true));
}

#[tokio::test]
async fn a_call_that_is_not_streamed_or_has_no_optional_usage_is_left_alone() {
    let (world, upstream, key) = world_with(&[], &[(ONE, Script::Chat)]).await;
    for (path, body) in [
        ("/v1/chat/completions", r#"{"model":"m","stream":false}"#),
        ("/v1/chat/completions", r#"{"model":"m"}"#),
        ("/v1/responses", r#"{"model":"m","stream":true}"#),
        ("/v1/messages", r#"{"model":"m","stream":true}"#),
        ("/v1/other", r#"{"model":"m","stream":true}"#),
    ] {
        streamed(&world.node.base, &key, path, body).await;
        assert_eq!(upstream.seen(ONE).pop().unwrap().body, body, "{path}");
    }
}

#[tokio::test]
async fn a_key_that_says_no_is_not_asked_for_usage() {
    let script = Script::ByUsage {
        asked: openai_stream(true),
        plain: openai_stream(false),
    };
    let (world, upstream, key) = world_with(&[], &[]).await;
    upstream.script(ONE, script);
    let config = json!({"include_usage": false});
    world
        .add_key_with(json!({"SecretKey": ONE, "Provider": upstream.base, "Config": config}))
        .await;
    let through = streamed(
        &world.node.base,
        &key,
        "/v1/chat/completions",
        &chat_body(false),
    )
    .await;
    assert_eq!(through.body, openai_stream(false).concat());
    assert_eq!(upstream.seen(ONE)[0].body, chat_body(false));
    world.posted("alice", 1).await;
    let record = world.grpc().usage("alice").await.remove(0).record.unwrap();
    assert_eq!(record.measure(), Measure::Estimated);
    assert!(record.tokens.unwrap().output > 0);
}

/// The error event that ends a stream of this route, and what came before it.
pub fn error_event(body: &[u8], path: &str) -> (Vec<u8>, Value) {
    let text = std::str::from_utf8(body).unwrap();
    let mark = match path {
        "/v1/chat/completions" | "/v1/completions" => "data: {\"error\":",
        _ => "event: error\ndata: ",
    };
    let at = text
        .rfind(mark)
        .unwrap_or_else(|| panic!("no error event in {text}"));
    let (before, event) = text.split_at(at);
    let data = event
        .strip_suffix("\n\n")
        .unwrap()
        .rsplit_once("data: ")
        .unwrap()
        .1;
    (
        before.as_bytes().to_vec(),
        serde_json::from_str(data).unwrap(),
    )
}

#[tokio::test]
async fn an_upstream_that_dies_in_the_middle_leaves_whole_events_and_an_error() {
    let chunks: Vec<_> = openai_stream(false).into_iter().take(3).collect();
    let mut torn = chunks.clone();
    torn.push(Bytes::from_static(b"data: {\"choices\":[{\"delta\":{\"con"));
    let breaking = Script::Stream {
        chunks: torn,
        pause: Duration::from_millis(20),
        breaks: true,
    };
    let json = completion("a text that is cut");
    let (world, upstream, key) = world_with(&[], &[(ONE, breaking.clone()), (TWO, breaking)]).await;
    for asks in [true, false] {
        let path = "/v1/chat/completions";
        let through = streamed(&world.node.base, &key, path, &chat_body(asks)).await;
        assert_eq!(through.status, 200);
        assert!(through.complete, "the framing is whole");
        let (before, error) = error_event(&through.body, path);
        assert_eq!(
            String::from_utf8(before).unwrap(),
            String::from_utf8(chunks.concat()).unwrap(),
            "whole events are delivered, the part of one is not; asking for usage: {asks}"
        );
        assert_eq!(error["error"]["code"], "upstream_error");
    }
    assert_eq!(upstream.seen_all().len(), 2, "one attempt for each call");
    for secret in [ONE, TWO] {
        upstream.script(
            secret,
            Script::Truncated {
                body: json.clone(),
                sent: 100,
            },
        );
    }
    let through = streamed(
        &world.node.base,
        &key,
        "/v1/chat/completions",
        r#"{"model":"m"}"#,
    )
    .await;
    assert!(!through.complete && json.starts_with(&through.body));
    assert_eq!(upstream.seen_all().len(), 3);
    world.posted("alice", 3).await;
    for posted in world.grpc().usage("alice").await {
        let record = posted.record.unwrap();
        assert_eq!(
            (record.measure(), record.tries, record.status),
            (Measure::Partial, 1, 200)
        );
        assert!(record.tokens.unwrap().input > 0);
    }
}

/// An upstream that sends this on every connection and then closes it.
async fn torn(said: &'static str) -> (String, tokio::task::JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.ends_with(b"}") {
                let mut buffer = [0; 4096];
                let count = socket.read(&mut buffer).await.unwrap();
                assert!(count > 0, "the request ended early");
                request.extend_from_slice(&buffer[..count]);
            }
            socket.write_all(said.as_bytes()).await.unwrap();
            socket.shutdown().await.unwrap();
        }
    });
    (base, serving)
}

#[tokio::test]
async fn what_arrives_together_with_the_break_is_delivered_before_it() {
    for said in [
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n9\r\ndata: 2\n\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 100\r\n\r\ndata: 1\n\ndata: 2\n\n",
    ] {
        let (world, _upstream, key) = world_with(&[], &[]).await;
        let (base, serving) = torn(said).await;
        world.add_key(ONE, &base).await;
        for asks in [true, false] {
            let path = "/v1/chat/completions";
            let direct = streamed(&base, ONE, path, &chat_body(asks)).await;
            assert_eq!(
                (direct.body.as_slice(), direct.complete),
                (&b"data: 1\n\ndata: 2\n\n"[..], false)
            );
            let through = streamed(&world.node.base, &key, path, &chat_body(asks)).await;
            assert_eq!(through.status, 200);
            // Without a `Content-Length` the stream ends in order after an error event; with one it breaks off.
            let ends_itself = through.header("content-length").is_none();
            assert_eq!(through.complete, ends_itself, "{said}");
            let before = if ends_itself {
                error_event(&through.body, path).0
            } else {
                through.body
            };
            assert_eq!(
                String::from_utf8_lossy(&before),
                String::from_utf8_lossy(&direct.body)
            );
        }
        serving.abort();
    }
}

#[tokio::test]
async fn usage_reported_before_the_break_is_kept_and_marked_partial() {
    let start = r#"{"type":"message_start","message":{"id":"m","usage":{"input_tokens":25,"cache_read_input_tokens":5,"output_tokens":1}}}"#;
    let delta = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"about forty letters of text, or maybe so"}}"#;
    let script = Script::Stream {
        chunks: vec![event(start), event(delta)],
        pause: Duration::from_millis(20),
        breaks: true,
    };
    let (world, _upstream, key) = world_with(&[], &[(ONE, script)]).await;
    let through = streamed(&world.node.base, &key, "/v1/messages", &chat_body(false)).await;
    let (_, error) = error_event(&through.body, "/v1/messages");
    assert_eq!(error["error"]["type"], "api_error");
    world.posted("alice", 1).await;
    let record = world.grpc().usage("alice").await.remove(0).record.unwrap();
    assert_eq!(record.measure(), Measure::Partial);
    let tokens = record.tokens.unwrap();
    assert_eq!((tokens.input, tokens.cached), (30, 5));
    assert!(
        (8..=20).contains(&tokens.output),
        "what went out counts: {}",
        tokens.output
    );
}

#[tokio::test]
async fn an_upstream_that_dies_before_the_first_byte_is_replaced() {
    let after_headers = Script::Stream {
        chunks: vec![],
        pause: Duration::ZERO,
        breaks: true,
    };
    for dying in [Script::Hangup, after_headers] {
        let (world, upstream, key) = world_with(
            &[],
            &[(ONE, dying), (TWO, events_at_once(openai_stream(false)))],
        )
        .await;
        for _ in 0..4 {
            let through = streamed(
                &world.node.base,
                &key,
                "/v1/chat/completions",
                &chat_body(true),
            )
            .await;
            assert!(through.complete);
            assert_eq!(through.body, openai_stream(false).concat());
        }
        assert_eq!(upstream.count(TWO), 4);
        assert!(
            (1..=2).contains(&upstream.count(ONE)),
            "asked, then asleep: {}",
            upstream.count(ONE)
        );
    }
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_replaced() {
    let (world, upstream, key) = world_with(&[], &[(ONE, Script::Chat)]).await;
    world.add_key(TWO, "http://127.0.0.1:1").await;
    for _ in 0..6 {
        assert_eq!(world.chat(&key, "gpt-4o").await.status(), 200);
    }
    assert_eq!(upstream.count(ONE), 6);
}

#[tokio::test]
async fn where_calls_are_cancelled_a_client_that_hangs_up_closes_the_upstream_call_at_once() {
    let long = Script::Stream {
        chunks: vec![event("{}"); 10_000],
        pause: Duration::from_millis(20),
        breaks: false,
    };
    for script in [long, Script::Silent, Script::Mute] {
        let streams = matches!(script, Script::Stream { .. });
        let (world, upstream, key) = world_with(&[("ABANDONED", "cancel")], &[(ONE, script)]).await;
        let bearer = format!("Bearer {key}");
        let headers = [
            ("Authorization", bearer.as_str()),
            ("Content-Type", "application/json"),
        ];
        let body = chat_body(true);
        let request = raw::request("POST", "/v1/chat/completions", &headers, body.as_bytes());
        let mut socket = raw::connect(&world.node.base).await;
        socket.write_all(&request).await.unwrap();
        if streams {
            assert!(socket.read(&mut [0; 1024]).await.unwrap() > 0);
        }
        until("the call reaches the upstream", async || {
            upstream.open() == 1
        })
        .await;
        let start = Instant::now();
        drop(socket);
        upstream.all_closed().await;
        assert!(
            start.elapsed() < Duration::from_secs(1),
            "closed after {:?}",
            start.elapsed()
        );
        if streams {
            world.posted("alice", 1).await;
            let record = world.grpc().usage("alice").await.remove(0).record.unwrap();
            assert_eq!(record.measure(), Measure::Partial);
        }
    }
}

#[tokio::test]
async fn silence_between_chunks_ends_the_stream_after_the_idle_timeout() {
    let script = Script::Stream {
        chunks: vec![event("{}"), event("{}")],
        pause: Duration::from_secs(30),
        breaks: false,
    };
    let (world, upstream, key) = world_with(&[("IDLE_TIMEOUT_MS", "300")], &[(ONE, script)]).await;
    let start = Instant::now();
    let through = streamed(
        &world.node.base,
        &key,
        "/v1/chat/completions",
        &chat_body(true),
    )
    .await;
    let (before, error) = error_event(&through.body, "/v1/chat/completions");
    assert_eq!(before, event("{}"));
    let message = error["error"]["message"].as_str().unwrap();
    assert!(message.contains("fell silent"), "{message}");
    assert!(
        (Duration::from_millis(290)..Duration::from_secs(5)).contains(&start.elapsed()),
        "{:?}",
        start.elapsed()
    );
    upstream.all_closed().await;
    // Chunks that keep coming within the limit keep the stream alive.
    let lively = Script::Stream {
        chunks: vec![event("{}"); 8],
        pause: Duration::from_millis(100),
        breaks: false,
    };
    upstream.script(ONE, lively);
    world.conf(json!({"LoadKeys": true})).await;
    assert!(
        streamed(
            &world.node.base,
            &key,
            "/v1/chat/completions",
            &chat_body(true)
        )
        .await
        .complete
    );
}

#[tokio::test]
async fn no_first_byte_in_time_means_another_key() {
    for script in [Script::Silent, Script::Mute] {
        let env = [("FIRST_BYTE_TIMEOUT_MS", "300")];
        let (world, upstream, key) = world_with(&env, &[(ONE, script), (TWO, Script::Chat)]).await;
        for _ in 0..3 {
            assert_eq!(world.chat(&key, "gpt-4o").await.status(), 200);
        }
        assert_eq!((upstream.count(ONE), upstream.count(TWO)), (1, 3));
        upstream.all_closed().await;
    }
}

#[tokio::test]
async fn a_stream_longer_than_every_timeout_goes_on() {
    let env = [
        ("FIRST_BYTE_TIMEOUT_MS", "200"),
        ("IDLE_TIMEOUT_MS", "400"),
        ("RETRY_DEADLINE_MS", "200"),
        ("BODY_TIMEOUT_MS", "200"),
        ("HEADER_TIMEOUT_MS", "200"),
    ];
    let script = Script::Clocked {
        count: 20,
        pause: Duration::from_millis(50),
    };
    let (world, _upstream, key) = world_with(&env, &[(ONE, script)]).await;
    assert_eq!(delays(&world, &key, true, 20).await.len(), 20);
}

/// What a provider of this route sends before the first content.
fn prelude(path: &str) -> Vec<Bytes> {
    let named = |name: &str, data: &str| Bytes::from(format!("event: {name}\ndata: {data}\n\n"));
    match path {
        "/v1/responses" => vec![
            named(
                "response.created",
                r#"{"type":"response.created","response":{"id":"resp_1","error":null,"usage":null}}"#,
            ),
            named(
                "response.in_progress",
                r#"{"type":"response.in_progress","response":{"id":"resp_1"}}"#,
            ),
        ],
        "/v1/messages" => vec![
            named(
                "message_start",
                r#"{"type":"message_start","message":{"id":"msg_1","content":[],"usage":{"input_tokens":9,"output_tokens":1}}}"#,
            ),
            named("ping", r#"{"type": "ping"}"#),
        ],
        _ => vec![
            Bytes::from_static(b": PROCESSING\n\n"),
            event(
                r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#,
            ),
        ],
    }
}

/// The event with which a provider of this route reports that it is overloaded.
fn server_error(path: &str) -> Bytes {
    match path {
        "/v1/responses" => "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"id\":\"resp_1\",\"status\":\"failed\",\"error\":{\"code\":\"server_error\",\"message\":\"m\"}}}\n\n".into(),
        "/v1/messages" => "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n".into(),
        _ => event(r#"{"error":{"message":"m","type":"server_error","code":null}}"#),
    }
}

const STREAMED_PATHS: [&str; 4] = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/messages",
];

/// A response whose beginning has no content yet.
fn good(path: &str) -> Vec<Bytes> {
    let mut chunks = prelude(path);
    chunks.push(event(
        r#"{"type":"response.output_text.delta","delta":"yes"}"#,
    ));
    chunks.push(event("[DONE]"));
    chunks
}

#[tokio::test]
async fn a_stream_that_fails_before_it_answers_is_asked_for_elsewhere() {
    for path in STREAMED_PATHS {
        let stream = |last: Option<Bytes>, breaks| Script::Stream {
            chunks: prelude(path).into_iter().chain(last).collect(),
            pause: Duration::from_millis(5),
            breaks,
        };
        let torn = Bytes::from_static(b"data: {\"choices\":[{\"delta\":{\"content\":\"never");
        for failing in [
            stream(None, true),
            stream(Some(torn), true),
            stream(Some(server_error(path)), false),
            Script::Stalled {
                chunks: prelude(path),
            },
            events_at_once(vec![server_error(path)]),
        ] {
            let env = [("IDLE_TIMEOUT_MS", "300")];
            let scripts = [(ONE, failing.clone()), (TWO, events_at_once(good(path)))];
            let (world, upstream, key) = world_with(&env, &scripts).await;
            for _ in 0..3 {
                let through = streamed(&world.node.base, &key, path, &chat_body(true)).await;
                assert!(through.complete, "{path} {failing:?}");
                assert_eq!(through.body, good(path).concat(), "{path} {failing:?}");
            }
            assert_eq!(upstream.count(TWO), 3, "{path}");
            assert_eq!(
                upstream.count(ONE),
                1,
                "asked once, then asleep: {path} {failing:?}"
            );
            world.posted("alice", 3).await;
            let most = world.grpc().usage("alice").await.into_iter();
            let most = most.map(|posted| posted.record.unwrap().tries).max();
            assert_eq!(most, Some(2));
        }
    }
}

#[tokio::test]
async fn an_error_in_a_stream_means_what_its_status_would_mean() {
    let limited = r#"{"error":{"message":"Rate limit reached. Please try again in 20s.","type":"tokens","code":"rate_limit_exceeded"}}"#;
    let refused =
        r#"{"error":{"message":"m","type":"invalid_request_error","code":"invalid_api_key"}}"#;
    for (error, status) in [(limited, 429), (refused, 401)] {
        let env = [("RETRY_DEADLINE_MS", "200")];
        let scripts = [(ONE, events_at_once(vec![event(error)]))];
        let (world, upstream, key) = world_with(&env, &scripts).await;
        let path = "/v1/chat/completions";
        let through = streamed(&world.node.base, &key, path, &chat_body(true)).await;
        assert_eq!(through.status, status, "{error}");
        assert_eq!(through.json()["error"]["code"], "upstream_error");
        // A rate limit concerns one model; a refused key is useless for all.
        upstream.script(ONE, events_at_once(good(path)));
        let other = r#"{"model":"gpt-4o-mini","stream":true,"messages":[]}"#;
        let through = streamed(&world.node.base, &key, path, other).await;
        assert_eq!(through.status, if status == 429 { 200 } else { 503 });
    }
}

#[tokio::test]
async fn an_error_of_the_clients_own_goes_to_the_client_as_it_came() {
    let own = event(
        r#"{"error":{"message":"too long","type":"invalid_request_error","code":"context_length_exceeded"}}"#,
    );
    let chunks = vec![prelude("/v1/chat/completions").concat().into(), own];
    let scripts = [ONE, TWO].map(|secret| (secret, events_at_once(chunks.clone())));
    let (world, upstream, key) = world_with(&[], &scripts).await;
    let path = "/v1/chat/completions";
    let through = streamed(&world.node.base, &key, path, &chat_body(true)).await;
    assert_eq!((through.status, through.body), (200, chunks.concat()));
    assert_eq!(upstream.seen_all().len(), 1);
}

#[tokio::test]
async fn a_whole_answer_that_is_an_error_under_200_is_asked_for_elsewhere() {
    for error in [
        r#"{"error":{"message":"m","type":"server_error"}}"#,
        r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
        r#"{"error":{"message":"Provider returned error","code":502}}"#,
        r#"{"error":{"message":"m","code":"rate_limit_exceeded"}}"#,
        r#"{"error":{"message":"m","code":"invalid_api_key"}}"#,
    ] {
        let scripts = [(ONE, json_answer(200, error)), (TWO, Script::Chat)];
        let (world, upstream, key) = world_with(&[], &scripts).await;
        for _ in 0..3 {
            let answer = world.chat(&key, "gpt-4o").await;
            assert_eq!(
                answer.bytes().await.unwrap(),
                completion("hello"),
                "{error}"
            );
        }
        assert_eq!(
            (upstream.count(ONE), upstream.count(TWO)),
            (1, 3),
            "{error}"
        );
    }
    let own = r#"{"error":{"message":"m","type":"invalid_request_error"}}"#;
    let (world, upstream, key) = world_with(&[], &[(ONE, json_answer(200, own))]).await;
    assert_eq!(world.chat(&key, "gpt-4o").await.text().await.unwrap(), own);
    assert_eq!(upstream.count(ONE), 1);
}

#[tokio::test]
async fn what_is_held_goes_out_when_there_is_too_much_of_it_or_it_takes_too_long() {
    let path = "/v1/responses";
    let long = format!(
        r#"{{"type":"response.created","response":{{"instructions":"{}"}}}}"#,
        "x".repeat(300_000)
    );
    let lively = Script::Stream {
        chunks: vec![Bytes::from_static(b": still thinking\n\n"); 200],
        pause: Duration::from_millis(20),
        breaks: false,
    };
    let env = [("FIRST_BYTE_TIMEOUT_MS", "400")];
    for script in [
        Script::Stalled {
            chunks: vec![event(&long)],
        },
        lively,
    ] {
        let (world, upstream, key) = world_with(&env, &[(ONE, script)]).await;
        let start = Instant::now();
        let body: Value = serde_json::from_str(&chat_body(false)).unwrap();
        let answer = world.post(path, &key, &body).await;
        assert_eq!(answer.status(), 200);
        assert!(
            start.elapsed() < Duration::from_secs(3),
            "{:?}",
            start.elapsed()
        );
        assert_eq!(upstream.count(ONE), 1);
    }
}

#[tokio::test]
async fn every_protocol_ends_a_cut_stream_with_its_own_error() {
    for path in STREAMED_PATHS {
        let mut chunks = good(path);
        chunks.pop();
        let script = Script::Stream {
            chunks: chunks.clone(),
            pause: Duration::from_millis(5),
            breaks: true,
        };
        let (world, _upstream, key) = world_with(&[], &[(ONE, script)]).await;
        let through = streamed(&world.node.base, &key, path, &chat_body(true)).await;
        assert!(through.complete, "{path}");
        let (before, error) = error_event(&through.body, path);
        assert_eq!(before, chunks.concat(), "{path}");
        // The fields that SDKs read, in every stream.
        assert!(error["error"]["message"].is_string(), "{path}: {error}");
        world.posted("alice", 1).await;
        let record = world.grpc().usage("alice").await.remove(0).record.unwrap();
        assert_eq!((record.status, record.measure()), (200, Measure::Partial));
    }
    // The end of other streams is not known.
    let script = Script::Stream {
        chunks: good("/v1/future"),
        pause: Duration::from_millis(5),
        breaks: true,
    };
    let (world, _upstream, key) = world_with(&[], &[(ONE, script)]).await;
    let through = streamed(&world.node.base, &key, "/v1/future", &chat_body(true)).await;
    assert!(!through.complete);
    assert_eq!(through.body, good("/v1/future").concat());
}

#[tokio::test]
async fn a_break_after_the_end_mark_breaks_nothing() {
    let script = Script::Stream {
        chunks: openai_stream(true),
        pause: Duration::from_millis(5),
        breaks: true,
    };
    let (world, _upstream, key) = world_with(&[], &[(ONE, script)]).await;
    let path = "/v1/chat/completions";
    let through = streamed(&world.node.base, &key, path, &chat_body(true)).await;
    assert!(through.complete);
    assert_eq!(through.body, openai_stream(true).concat());
    world.posted("alice", 1).await;
    let record = world.grpc().usage("alice").await.remove(0).record.unwrap();
    assert_eq!(record.measure(), Measure::Measured);
}

#[tokio::test]
async fn a_quiet_stream_gets_comments_between_events_and_none_by_default() {
    let answer = event(r#"{"choices":[{"delta":{"content":"a"}}]}"#);
    let script = Script::Stream {
        chunks: vec![answer.clone(), answer.clone()],
        pause: Duration::from_secs(1),
        breaks: false,
    };
    let path = "/v1/chat/completions";
    for (env, least, most) in [(vec![("STREAM_KEEPALIVE_MS", "200")], 2, 5), (vec![], 0, 0)] {
        let (world, _upstream, key) = world_with(&env, &[(ONE, script.clone())]).await;
        let through = streamed(&world.node.base, &key, path, &chat_body(true)).await;
        assert!(through.complete);
        let text = String::from_utf8(through.body).unwrap();
        let comments = text.matches(": keep-alive\n\n").count();
        assert!((least..=most).contains(&comments), "{text}");
        let rest = text.replace(": keep-alive\n\n", "");
        assert_eq!(rest.into_bytes(), [answer.clone(), answer.clone()].concat());
    }
}

#[tokio::test]
async fn pings_and_comments_are_silence() {
    let answer = event(r#"{"choices":[{"delta":{"content":"a"}}]}"#);
    let mut chunks = vec![answer.clone()];
    chunks.extend(vec![Bytes::from_static(b": alive\n\n"); 200]);
    let script = Script::Stream {
        chunks,
        pause: Duration::from_millis(50),
        breaks: false,
    };
    let (world, upstream, key) = world_with(&[("IDLE_TIMEOUT_MS", "500")], &[(ONE, script)]).await;
    let path = "/v1/chat/completions";
    let start = Instant::now();
    let through = streamed(&world.node.base, &key, path, &chat_body(true)).await;
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
    let (before, _) = error_event(&through.body, path);
    assert!(before.starts_with(&answer) && before.len() > answer.len());
    upstream.all_closed().await;
}

/// Reads a streamed response until this text has come, then leaves.
async fn leave_after(world: &World, key: &str, body: &str, mark: &str) {
    let body: Value = serde_json::from_str(body).unwrap();
    let mut answer = world.post("/v1/chat/completions", key, &body).await;
    let mut text = String::new();
    while !text.contains(mark) {
        let chunk = answer.chunk().await.unwrap().expect("more of the answer");
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
}

#[tokio::test]
async fn a_client_that_leaves_near_the_end_is_billed_by_the_providers_own_count() {
    let path_of = |pause| Script::Stream {
        chunks: openai_stream(true),
        pause: Duration::from_millis(pause),
        breaks: false,
    };
    for (env, pause, mark, measure) in [
        (vec![], 100, "\"stop\"", Measure::Measured),
        // Not near its end: another rule applies there.
        (vec![("ABANDONED", "cancel")], 100, "Hel", Measure::Partial),
        (vec![], 100, "Hel", Measure::Measured),
        // Too late, or not wanted: the delivered part is complete, and its usage was not reported.
        (
            vec![("ABANDONED", "cancel"), ("DRAIN_MS", "50")],
            400,
            "\"stop\"",
            Measure::Estimated,
        ),
        (
            vec![("ABANDONED", "cancel"), ("DRAIN_BYTES_MAX", "0")],
            100,
            "\"stop\"",
            Measure::Estimated,
        ),
        (
            vec![("ABANDONED", "cancel"), ("DRAIN_BYTES_MAX", "20")],
            100,
            "\"stop\"",
            Measure::Estimated,
        ),
    ] {
        let (world, upstream, key) = world_with(&env, &[(ONE, path_of(pause))]).await;
        leave_after(&world, &key, &chat_body(false), mark).await;
        world.posted("alice", 1).await;
        upstream.all_closed().await;
        let record = world.grpc().usage("alice").await.remove(0).record.unwrap();
        assert_eq!(record.measure(), measure, "{env:?} {mark}");
        let tokens = record.tokens.unwrap();
        if measure == Measure::Measured {
            assert_eq!((tokens.input, tokens.output), (19, 10));
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_not_streamed_is_read_on_when_its_client_leaves_in_the_middle() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        assert!(socket.read(&mut [0; 4096]).await.unwrap() > 0);
        let body = completion("a long answer");
        let (first, second) = body.split_at(60);
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        socket.write_all(first).await.unwrap();
        tokio::time::sleep(Duration::from_millis(400)).await;
        // The connection is still open, though only the gateway wants the rest.
        socket.write_all(second).await.unwrap();
        assert_eq!(socket.read(&mut [0; 1]).await.unwrap(), 0, "until the end");
    });
    let (world, _upstream, key) = world_with(&[], &[]).await;
    world.add_key(ONE, &base).await;
    let body = json!({"model": "gpt-4o", "messages": []});
    let mut answer = world.post("/v1/chat/completions", &key, &body).await;
    assert!(answer.chunk().await.unwrap().is_some());
    drop(answer);
    world.posted("alice", 1).await;
    let record = world.grpc().usage("alice").await.remove(0).record.unwrap();
    let tokens = record.tokens.unwrap();
    assert_eq!(
        (record.measure(), tokens.input, tokens.output),
        (Measure::Measured, 11, 7)
    );
    serving.abort();
}

#[tokio::test]
async fn what_is_no_event_is_delivered_all_the_same() {
    let answer = event(r#"{"choices":[{"delta":{"content":"a"}}]}"#);
    let lines = Bytes::from_static(b"{\"not\":\"an event\"}\n{\"nor\":\"this\"}\n");
    let script = Script::Stalled {
        chunks: vec![answer, lines],
    };
    let (world, _upstream, key) = world_with(&[], &[(ONE, script)]).await;
    let start = Instant::now();
    leave_after(&world, &key, &chat_body(true), "this").await;
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
}
