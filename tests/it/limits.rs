//! How much a data plane accepts at once, and how it refuses the rest: with an error, never a reset.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::io::AsyncWriteExt as _;

use crate::{
    raw,
    upstream::{Script, Upstream, event},
    wire::{Framing, Message, Step, Wire, exchange},
    world::{World, documented, refused, until},
};

const UP: &str = "sk-upstream-aaaaaaaaaaaaaaaaaaaaaa";
const MIB: usize = 1024 * 1024;
/// The default of `BODY_BYTES_MAX`.
const BODY_MAX: usize = 64 * MIB;

async fn world_with(env: &[(&str, &str)]) -> (World, Wire, String) {
    let upstream = Wire::start(|request| {
        if request.start[1].ends_with(b"/waiting") {
            return vec![Step::Hang];
        }
        vec![Step::Send(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".into(),
        )]
    })
    .await;
    let world = World::with(env).await;
    world.add_key(UP, &upstream.base).await;
    let key = world.add_account("alice", 100.0).await;
    (world, upstream, key)
}

fn head(key: &str, framing: &str) -> String {
    format!(
        "POST /v1/files HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/octet-stream\r\n{framing}\r\n\r\n"
    )
}

/// A whole upload with a declared length.
fn upload(key: &str, size: usize) -> Vec<u8> {
    let head = head(key, &format!("Content-Length: {size}"));
    [head.into_bytes(), vec![b'x'; size]].concat()
}

/// The same upload in chunks of a megabyte.
fn in_chunks(key: &str, size: usize) -> Vec<u8> {
    let mut text = head(key, "Transfer-Encoding: chunked").into_bytes();
    for piece in vec![b'x'; size].chunks(MIB) {
        text.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        text.extend_from_slice(piece);
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"0\r\n\r\n");
    text
}

/// Peak memory of the process, in MiB.
fn peak_mib(world: &World) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", world.node.pid())).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib / 1024
}

fn is_busy(answer: &Message) {
    assert_eq!(answer.status(), 503);
    documented(&answer.json(), "unavailable");
    assert_eq!(answer.text("retry-after"), "1");
}

#[tokio::test]
async fn a_body_of_64_mib_passes_and_one_byte_more_is_refused_in_words() {
    let (world, upstream, key) = world_with(&[]).await;
    for build in [upload, in_chunks] {
        let answer = exchange(&world.node.base, &build(&key, BODY_MAX))
            .await
            .unwrap();
        assert_eq!(
            answer.status(),
            200,
            "{}",
            String::from_utf8_lossy(&answer.body)
        );
    }
    let sizes: Vec<_> = upstream.seen().iter().map(|seen| seen.body.len()).collect();
    assert_eq!(sizes, [BODY_MAX, BODY_MAX]);
    for build in [upload, in_chunks] {
        // All of it is sent before the response is read.
        let answer = exchange(&world.node.base, &build(&key, BODY_MAX + 1)).await;
        let answer = answer.expect("words");
        assert_eq!(answer.status(), 413);
        assert_ne!(answer.framing, Framing::Broken);
        documented(&answer.json(), "request_too_large");
    }
    assert_eq!(upstream.seen().len(), 2);
}

#[tokio::test]
async fn calls_beyond_those_that_may_be_open_are_refused_in_words() {
    let (world, upstream) = (
        World::with(&[("OPEN_CALLS_MAX", "3"), ("ABANDONED", "cancel")]).await,
        Upstream::start().await,
    );
    upstream.script(
        UP,
        Script::Stalled {
            chunks: vec![event(r#"{"choices":[{"delta":{"content":"a"}}]}"#)],
        },
    );
    world.add_key(UP, &upstream.base).await;
    let key = world.add_account("alice", 100.0).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut answer = world.chat_stream(&key, "gpt-4o").await;
        assert_eq!(answer.status(), 200);
        assert!(answer.chunk().await.unwrap().is_some());
        open.push(answer);
    }
    for _ in 0..3 {
        let answer = world.chat_stream(&key, "gpt-4o").await;
        assert_eq!(answer.headers()["retry-after"], "1");
        refused(answer, 503, "unavailable").await;
    }
    open.pop();
    until("the place of a stream that ended is free", async || {
        world.chat_stream(&key, "gpt-4o").await.status() == 200
    })
    .await;
}

#[tokio::test]
async fn bodies_beyond_what_may_be_held_are_refused_and_small_ones_go_on() {
    let (world, upstream, key) = world_with(&[("BUFFER_BYTES_MAX", "1048576")]).await;
    let size = 900 * 1024;
    let whole = upload(&key, size);
    // It has been read and is in flight, so its buffer is not free for others.
    let waiting = String::from_utf8_lossy(&whole).replacen("/v1/files", "/v1/waiting", 1);
    let mut first = raw::connect(&world.node.base).await;
    first.write_all(waiting.as_bytes()).await.unwrap();
    until("the first one is under way", async || {
        upstream.seen().len() == 1
    })
    .await;
    // Another account: the one that holds all of the buffer is refused for its own share.
    let other = world.add_account("robert", 100.0).await;
    for body in [&upload(&other, size), &in_chunks(&other, size)] {
        is_busy(&exchange(&world.node.base, body).await.expect("words"));
    }
    let small = upload(&key, 60 * 1024);
    let small = exchange(&world.node.base, &small).await.unwrap();
    assert_eq!(small.status(), 200);
    drop(first);
    until("what it held is given back", async || {
        exchange(&world.node.base, &whole).await.unwrap().status() == 200
    })
    .await;
}

#[tokio::test]
async fn unfinished_events_hold_no_more_than_they_may_and_arrive_as_they_were() {
    // Memory freed after a call stays with the process for a moment, so a busy machine shows more than is held. What is
    // really held shows in every run.
    let mut grown = u64::MAX;
    for _ in 0..5 {
        grown = grown.min(unfinished_events().await);
        if grown < 50 {
            return;
        }
    }
    panic!("12 events of 7 MiB took {grown} MiB at the least");
}

/// Passes on events of 84 MiB at the same time and returns how many MiB more the gateway needed.
async fn unfinished_events() -> u64 {
    const STREAMS: usize = 12;
    let first = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
    let long: Bytes = [b"data: ".to_vec(), vec![b'x'; 7 * MIB]].concat().into();
    let (body, end) = (long.clone(), "\n\ndata: [DONE]\n\n");
    let upstream = Wire::start(move |_| {
        let head =
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
        vec![
            Step::Send(format!("{head}{first}").into()),
            Step::Send(body.clone()),
            // All of them are in the middle of their event at the same time.
            Step::Pause(Duration::from_millis(700)),
            Step::Send(end.into()),
            Step::Close,
        ]
    })
    .await;
    // With several threads the allocator keeps, for a while, what one thread allocated and another freed.
    let env = [("BUFFER_BYTES_MAX", "4194304"), ("WORKER_THREADS", "1")];
    let world = World::with(&env).await;
    world.add_key(UP, &upstream.base).await;
    let key = world.add_account("alice", 100.0).await;
    let before = peak_mib(&world);
    let body = r#"{"model":"gpt-4o","stream":true,"messages":[]}"#;
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {key}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let calls = (0..STREAMS).map(|_| exchange(&world.node.base, request.as_bytes()));
    let wanted = [first.as_bytes(), &long, end.as_bytes()].concat();
    for answer in join_all(calls).await {
        let answer = answer.unwrap();
        assert_ne!(answer.framing, Framing::Broken);
        assert!(answer.body == wanted, "{} bytes", answer.body.len());
    }
    peak_mib(&world) - before
}
