//! Calls that are open at the end of the drain: each ends with an error that its client understands, or breaks, but
//! never looks complete, and none delays the shutdown.

use std::time::{Duration, Instant};

use bytes::Bytes;
use proxyxai_contract::wire::Measure;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use crate::{
    raw,
    streams::error_event,
    upstream::{Script, Upstream, event},
    world::{World, until},
};

const UP: &str = "sk-upstream-aaaaaaaaaaaaaaaaaaaaaa";
const DRAIN_MS: u64 = 300;
const PATHS: [&str; 4] = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/messages",
];

async fn world_with(script: Script) -> (World, Upstream, String) {
    let drain = DRAIN_MS.to_string();
    let env = [
        ("DRAIN_TIMEOUT_MS", drain.as_str()),
        ("DRAIN_DELAY_MS", "0"),
    ];
    let (world, upstream) = (World::with(&env).await, Upstream::start().await);
    upstream.script(UP, script);
    world.add_key(UP, &upstream.base).await;
    let key = world.add_account("alice", 100.0).await;
    (world, upstream, key)
}

fn asked(path: &str, key: &str) -> Bytes {
    let bearer = format!("Bearer {key}");
    let headers = [
        ("Authorization", bearer.as_str()),
        ("Content-Type", "application/json"),
    ];
    let body = br#"{"model":"gpt-4o","stream":true,"messages":[]}"#;
    raw::request("POST", path, &headers, body)
}

/// Starts a call on each path, stops the gateway once all are in flight, and returns what the clients got.
async fn stopped_under_way(
    world: &mut World,
    upstream: &Upstream,
    (paths, key): (&[&str], &str),
) -> Vec<raw::Answer> {
    let base = world.node.base.clone();
    let calls: Vec<_> = paths
        .iter()
        .map(|path| {
            let (base, request) = (base.clone(), asked(path, key));
            tokio::spawn(async move { raw::exchange(&base, &request).await })
        })
        .collect();
    until("all calls are under way", async || {
        upstream.open() == paths.len()
    })
    .await;
    // Gives what the upstream has sent time to arrive.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let start = Instant::now();
    world.node.signal("TERM");
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap());
    }
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(DRAIN_MS - 10), "{took:?}");
    assert!(took < Duration::from_millis(DRAIN_MS + 900), "{took:?}");
    assert_eq!(world.node.ended().await.code(), Some(0));
    answers
}

/// Statuses and measures of the recorded calls after a restart.
async fn on_record(world: &mut World, calls: usize) -> Vec<(i32, Measure)> {
    world.restart().await;
    until("the calls are on record", async || {
        world.grpc().usage("alice").await.len() == calls
    })
    .await;
    let records = world.grpc().usage("alice").await.into_iter();
    let records = records.map(|posted| posted.record.unwrap());
    records
        .map(|record| (record.status, record.measure()))
        .collect()
}

#[tokio::test]
async fn a_stream_that_outlasts_the_drain_ends_with_the_error_event_of_its_protocol() {
    let whole = event(r#"{"choices":[{"index":0,"delta":{"content":"Hello"}}],"type":"delta"}"#);
    let flowing = Script::Stream {
        chunks: vec![whole.clone(); 10_000],
        pause: Duration::from_millis(20),
        breaks: false,
    };
    let torn = Bytes::from_static(b"data: {\"choices\":[{\"delta\":");
    let trickling = Script::Stream {
        chunks: [vec![whole.clone(); 5], vec![torn; 10_000]].concat(),
        pause: Duration::from_millis(20),
        breaks: false,
    };
    let stalled = Script::Stalled {
        chunks: vec![whole.clone(); 3],
    };
    for script in [flowing, stalled, trickling] {
        let (mut world, upstream, key) = world_with(script).await;
        let answers = stopped_under_way(&mut world, &upstream, (&PATHS, &key)).await;
        for (path, answer) in PATHS.into_iter().zip(answers) {
            assert_eq!(answer.status, 200);
            assert!(answer.complete, "the framing is whole: {path}");
            let (before, end) = error_event(&answer.body, path);
            assert!(!before.is_empty() && before.len() % whole.len() == 0);
            assert_eq!(before, whole.repeat(before.len() / whole.len()), "{path}");
            is_the_shutdown(path, &end);
        }
        upstream.all_closed().await;
        let records = on_record(&mut world, 4).await;
        assert_eq!(records, [(200, Measure::Partial); 4]);
    }
}

fn is_the_shutdown(path: &str, end: &Value) {
    let said = end["error"]["message"].as_str().unwrap();
    assert!(said.contains("shutting down"), "{path}: {said}");
    if path == "/v1/messages" {
        assert_eq!(end["type"], "error");
        assert_eq!(end["error"]["type"], "overloaded_error");
    } else {
        assert_eq!(end["error"]["code"], "unavailable", "{path}");
    }
}

#[tokio::test]
async fn a_stream_that_has_said_its_last_word_gets_no_error_at_the_end_of_the_drain() {
    let said = [
        event(r#"{"choices":[{"delta":{"content":"Hi"}}]}"#),
        event("[DONE]"),
    ];
    let (mut world, upstream, key) = world_with(Script::Stalled {
        chunks: said.to_vec(),
    })
    .await;
    let answers = stopped_under_way(&mut world, &upstream, (&PATHS[..1], &key)).await;
    assert!(answers[0].complete);
    assert_eq!(answers[0].body, said.concat());
    let records = on_record(&mut world, 1).await;
    assert_ne!(records[0].1, Measure::Partial);
}

#[tokio::test]
async fn a_call_without_an_answer_at_the_end_of_the_drain_gets_a_503_of_its_dialect() {
    let begun = Script::Stalled {
        chunks: vec![event(r#"{"type":"response.created"}"#)],
    };
    for script in [Script::Mute, begun] {
        let (mut world, upstream, key) = world_with(script).await;
        let paths = ["/v1/responses", "/v1/messages"];
        let answers = stopped_under_way(&mut world, &upstream, (&paths, &key)).await;
        for (path, answer) in paths.into_iter().zip(&answers) {
            if answer.status == 200 {
                // For Messages this event is a response.
                is_the_shutdown(path, &error_event(&answer.body, path).1);
                continue;
            }
            assert_eq!((answer.status, answer.complete), (503, true));
            assert!(answer.header("retry-after").is_some());
            let body = answer.json();
            let kind = &body["error"]["type"];
            if path == "/v1/messages" {
                assert_eq!(
                    (&body["type"], kind.as_str()),
                    (&"error".into(), Some("overloaded_error"))
                );
            } else {
                assert_eq!(body["error"]["code"], "unavailable");
            }
        }
        assert_eq!(answers[0].status, 503);
        upstream.all_closed().await;
        let records = on_record(&mut world, 2).await;
        assert!(
            records
                .iter()
                .all(|(_, measure)| *measure == Measure::Partial)
        );
        assert!(
            records.iter().any(|(status, _)| *status == 503),
            "{records:?}"
        );
    }
}

#[tokio::test]
async fn what_cannot_say_that_it_was_cut_breaks_off() {
    let script = Script::Stream {
        chunks: vec![Bytes::from_static(b"some bytes"); 10_000],
        pause: Duration::from_millis(20),
        breaks: false,
    };
    let (mut world, upstream, key) = world_with(script).await;
    let paths = ["/v1/audio/speech", "/v1/embeddings"];
    for answer in stopped_under_way(&mut world, &upstream, (&paths, &key)).await {
        assert_eq!(answer.status, 200);
        assert!(!answer.complete, "it looks like all there is");
        assert!(answer.body.starts_with(b"some bytes"));
        assert!(!String::from_utf8_lossy(&answer.body).contains("error"));
    }
    upstream.all_closed().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_the_end_for_a_second_only() {
    let script = Script::Stream {
        chunks: vec![event(&"x".repeat(60_000)); 10_000],
        pause: Duration::ZERO,
        breaks: false,
    };
    let (mut world, upstream, key) = world_with(script).await;
    let mut socket = raw::connect(&world.node.base).await;
    socket.write_all(&asked(PATHS[0], &key)).await.unwrap();
    until("the stream is under way", async || upstream.open() == 1).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let start = Instant::now();
    world.node.signal("TERM");
    assert_eq!(world.node.ended().await.code(), Some(0));
    let took = start.elapsed();
    assert!(took < Duration::from_secs(6), "{took:?}");
    assert!(world.node.log().contains("are cut"), "{}", world.node.log());
    drop(socket);
    assert_eq!(on_record(&mut world, 1).await, [(200, Measure::Partial)]);
}
