//! A rolling restart as an operator does it: two data planes behind a load balancer, one of which is stopped while
//! streams are open on both.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::join_all;
use proxyxai_contract::wire::Measure;
use serde_json::json;

use crate::{
    fleet::{Plane, TOKEN},
    upstream::{Script, Upstream, event},
    world::{World, client},
};

const STREAMS: usize = 500;
/// The key of streams that take some seconds, and the key of the calls meanwhile.
const LONG: &str = "sk-upstream-long-0123456789";
const SHORT: &str = "sk-upstream-short-0123456789";
const PRICING: &str = r#"{"ChatPricing":{"house":{"InputText":2.5,"OutputText":10}}}"#;
const CHUNKS: usize = 18;
const PAUSE: Duration = Duration::from_millis(400);
const USAGE: (i64, i64) = (11, 7);

/// The chunks of a stream, with usage before the end.
fn chunks() -> Vec<Bytes> {
    let text =
        event(r#"{"choices":[{"index":0,"delta":{"content":"word "},"finish_reason":null}]}"#);
    let mut chunks = vec![text; CHUNKS];
    chunks.push(event(
        r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
    ));
    chunks.push(event(
        r#"{"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18}}"#,
    ));
    chunks.push(event("[DONE]"));
    chunks
}

/// What a load balancer knows of the two planes: where calls went, and that none was lost.
#[derive(Default)]
struct Balancer {
    stop: AtomicBool,
    /// As of the last check.
    unready: [AtomicBool; 2],
    served: [AtomicUsize; 2],
    turned_away: AtomicUsize,
}

impl Balancer {
    /// Checks repeatedly whether both planes accept calls.
    async fn look_at(self: Arc<Self>, bases: [String; 2]) {
        let http = client();
        while !self.stop.load(Ordering::Relaxed) {
            for (base, unready) in bases.iter().zip(&self.unready) {
                let answer = http.get(format!("{base}/readyz")).send().await;
                let ready = answer.is_ok_and(|answer| answer.status() == 200);
                unready.store(!ready, Ordering::Relaxed);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Makes calls one after the other, on the planes in turn; skips a plane that takes no calls.
    async fn call_on(self: Arc<Self>, bases: [String; 2], key: String) {
        let http = client();
        let body = json!({"model": "house-short", "messages": [{"role": "user", "content": "hi"}]});
        for turn in 0.. {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let mut answered = false;
            for plane in [turn % 2, (turn + 1) % 2] {
                if self.unready[plane].load(Ordering::Relaxed) {
                    continue;
                }
                let url = format!("{}/v1/chat/completions", bases[plane]);
                let sent = http.post(url).bearer_auth(&key).json(&body).send().await;
                match sent {
                    Ok(answer) if answer.status() == 200 => {
                        let text = answer.text().await.expect("a whole answer");
                        assert!(text.contains("hello"), "{text}");
                        self.served[plane].fetch_add(1, Ordering::Relaxed);
                        answered = true;
                        break;
                    }
                    Ok(answer) => {
                        assert_eq!(answer.status(), 503, "{:?}", answer.text().await);
                        self.turned_away.fetch_add(1, Ordering::Relaxed);
                    }
                    // A plane that cannot be connected to has received nothing of the call.
                    Err(error) => {
                        assert!(error.is_connect(), "{error:?}");
                        self.turned_away.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
            assert!(answered, "neither plane took a call");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Reads a stream to its end; signals when its first chunk has come.
async fn stream(
    http: reqwest::Client,
    base: String,
    key: String,
    begun: Arc<AtomicUsize>,
) -> String {
    let body = json!({"model": "house-long", "stream": true, "stream_options": {"include_usage": true},
        "messages": [{"role": "user", "content": "hi"}]});
    let url = format!("{base}/v1/chat/completions");
    let answer = http.post(url).bearer_auth(&key).json(&body).send().await;
    let mut answer = answer.expect("an answer");
    assert_eq!(answer.status(), 200);
    let mut text = Vec::new();
    while let Some(chunk) = answer.chunk().await.expect("a whole stream") {
        if text.is_empty() {
            begun.fetch_add(1, Ordering::Relaxed);
        }
        text.extend_from_slice(&chunk);
    }
    String::from_utf8(text).unwrap()
}

/// Watches a plane that was told to stop: it has to report that it is not ready while it still listens.
async fn leaves_in_order(base: &str) {
    let address = base.trim_start_matches("http://").to_owned();
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut unready = 0;
    loop {
        assert!(Instant::now() < deadline, "it goes on listening");
        if tokio::net::TcpStream::connect(&address).await.is_err() {
            break;
        }
        // Each check opens a new connection, as a load balancer does.
        if let Ok(answer) = client().get(format!("{base}/readyz")).send().await {
            unready += usize::from(answer.status() == 503);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(
        unready >= 3,
        "it was seen unready {unready} times before it stopped listening"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_plane_restarts_under_500_streams_and_breaks_none() {
    let control = World::control(&[
        ("NODE_TOKEN", TOKEN),
        ("PRICING", PRICING),
        ("LEVEL_MAPPER", "house-long=1"),
    ])
    .await;
    let upstream = Upstream::start().await;
    let pause = PAUSE;
    let script = Script::Stream {
        chunks: chunks(),
        pause,
        breaks: false,
    };
    upstream.script(LONG, script);
    upstream.script(SHORT, Script::Chat);
    control.add_key(SHORT, &upstream.base).await;
    control
        .add_key_with(json!({"SecretKey": LONG, "Provider": upstream.base, "Level": 1}))
        .await;
    let key = control.add_account("alice", 1000.0).await;
    let mut first = Plane::start(&control, "plane-a", &[]).await;
    let second = Plane::start(&control, "plane-b", &[]).await;
    let bases = [first.node.base.clone(), second.node.base.clone()];

    let (http, begun) = (client(), Arc::<AtomicUsize>::default());
    let streams: Vec<_> = (0..STREAMS)
        .map(|at| {
            tokio::spawn(stream(
                http.clone(),
                bases[at % 2].clone(),
                key.clone(),
                Arc::clone(&begun),
            ))
        })
        .collect();
    let balancer = Arc::<Balancer>::default();
    let calls = tokio::spawn(Arc::clone(&balancer).call_on(bases.clone(), key.clone()));
    let looks = tokio::spawn(Arc::clone(&balancer).look_at(bases.clone()));
    let all_begun = Instant::now() + Duration::from_secs(20);
    while begun.load(Ordering::Relaxed) < STREAMS {
        assert!(Instant::now() < all_begun, "{begun:?} streams have begun");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(
        streams.iter().all(|stream| !stream.is_finished()),
        "all are open at once"
    );

    first.node.signal("TERM");
    leaves_in_order(&bases[0]).await;
    let status = first.node.ended().await;
    assert!(status.success(), "{status}");
    // What it served is posted before it is gone.
    let served = STREAMS / 2 + balancer.served[0].load(Ordering::Relaxed);
    let posted = control.grpc().usage_all("alice").await;
    let own = posted.iter().filter(|posted| posted.node == "plane-a");
    assert_eq!(own.count(), served, "usage of the plane that ended");
    first.restart_in_place().await;
    assert_eq!(first.node.base, bases[0]);

    let before = balancer.served[0].load(Ordering::Relaxed);
    let whole: String = chunks()
        .iter()
        .map(|chunk| String::from_utf8_lossy(chunk).into_owned())
        .collect();
    for ended in join_all(streams).await {
        assert_eq!(ended.expect("no stream breaks"), whole);
    }
    let again = Instant::now() + Duration::from_secs(10);
    while balancer.served[0].load(Ordering::Relaxed) < before + 5 {
        assert!(Instant::now() < again, "it is back and gets no calls");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    balancer.stop.store(true, Ordering::Relaxed);
    calls.await.expect("no call is lost");
    looks.await.expect("both were looked at");

    let served: usize = balancer
        .served
        .iter()
        .map(|served| served.load(Ordering::Relaxed))
        .sum();
    let calls = STREAMS + served;
    assert_eq!(
        upstream.count(LONG) + upstream.count(SHORT),
        calls,
        "each call was made once"
    );
    control.posted("alice", calls as u64).await;
    let records = control.grpc().usage_all("alice").await;
    assert_eq!(records.len(), calls);
    for record in records.into_iter().filter_map(|posted| posted.record) {
        assert_eq!(record.measure(), Measure::Measured, "{record:?}");
        let tokens = record.tokens.unwrap_or_default();
        assert_eq!((tokens.input, tokens.output), USAGE);
    }
}
