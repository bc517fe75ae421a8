//! A client that leaves pays for what its call generates: by the provider's own count, by an estimate, or with all that
//! was reserved, depending on `ABANDONED`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use proxyxai_contract::{money::Money, wire::Abandoned, wire::Measure, wire::UsageRecord};
use serde_json::{Value, json};
use tokio::{io::AsyncReadExt as _, net::TcpListener, time::Instant};

use crate::{
    pool::{GOOD, hedging},
    upstream::{Script, Upstream, event},
    world::{World, until},
};

const UP: &str = "sk-upstream-aaaaaaaaaaaaaaaaaaaaaa";
const OTHER: &str = "sk-upstream-bbbbbbbbbbbbbbbbbbbbbb";
/// A thousand tokens of output cost $0.60, and reading costs nothing.
const PRICING: &str = r#"{"ChatPricing":{
    "plain":{"InputText":0,"OutputText":600,"MaxOutput":100000},
    "thinker":{"InputText":0,"OutputText":600,"MaxOutput":100000,"Reasons":true}}}"#;
/// Output tokens that the provider reports for the call.
const USED: i64 = 90_000;
/// The price of that.
const PRICE: f64 = 54.0;

struct House {
    world: World,
    upstream: Upstream,
    key: String,
}

impl House {
    async fn open(script: Script, env: &[(&str, &str)]) -> Self {
        let house = Self::without_keys(script, env).await;
        house.world.add_key(UP, &house.upstream.base).await;
        house
    }

    async fn without_keys(script: Script, env: &[(&str, &str)]) -> Self {
        let base = [("PRICING", PRICING), ("CALL_MIN_BALANCE", "0")];
        let all: Vec<_> = base.iter().chain(env).copied().collect();
        let world = World::with(&all).await;
        let upstream = Upstream::start().await;
        upstream.script(UP, script);
        let key = world.add_account("alice", 1000.0).await;
        Self {
            world,
            upstream,
            key,
        }
    }

    fn ask(&self, model: &str, streamed: bool) -> reqwest::RequestBuilder {
        let url = self.world.url("/v1/chat/completions");
        let body = json!({"model": model, "stream": streamed, "messages": [{"role": "user", "content": "think"}]});
        self.world.http.post(url).bearer_auth(&self.key).json(&body)
    }

    /// Makes a call and leaves if no response comes within `patience`.
    async fn leave_before_answer(&self, model: &str, streamed: bool, patience: Duration) {
        let call = self.ask(model, streamed).send();
        let answer = tokio::time::timeout(patience, call).await;
        assert!(answer.is_err(), "an answer came");
    }

    /// Makes a call and leaves after this much of its text.
    async fn leave_after(&self, model: &str, text: &str) {
        let mut answer = self.ask(model, true).send().await.unwrap();
        let mut heard = String::new();
        while !heard.contains(text) {
            let chunk = answer.chunk().await.unwrap().expect("more of the answer");
            heard.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// All records, once there are `count`.
    async fn records(&self, count: usize) -> Vec<UsageRecord> {
        let grpc = self.world.grpc();
        until("the calls are on record", async || {
            grpc.usage("alice").await.len() == count
        })
        .await;
        grpc.verify_books().await;
        let posted = grpc.usage("alice").await.into_iter();
        posted.map(|posted| posted.record.unwrap()).collect()
    }

    /// The only record, once there is one.
    async fn record(&self) -> UsageRecord {
        self.records(1).await.remove(0)
    }
}

fn cost(record: &UsageRecord) -> f64 {
    Money::from_nanos(record.cost_nanos).dollars()
}

fn used() -> Value {
    json!({"prompt_tokens": 11, "completion_tokens": USED, "total_tokens": USED + 11,
        "completion_tokens_details": {"reasoning_tokens": USED - 7}})
}

fn delta(text: &str) -> Bytes {
    let choice = json!({"index": 0, "delta": {"content": text}, "finish_reason": null});
    event(&json!({"id": "c", "choices": [choice]}).to_string())
}

/// A text in pieces, then usage that is only reported at the end.
fn stream(pause: u64) -> Script {
    let end = json!({"index": 0, "delta": {}, "finish_reason": "stop"});
    let chunks = vec![
        delta("one "),
        delta("two "),
        delta("three"),
        event(&json!({"id": "c", "choices": [end]}).to_string()),
        event(&json!({"id": "c", "choices": [], "usage": used()}).to_string()),
        event("[DONE]"),
    ];
    Script::Stream {
        chunks,
        pause: Duration::from_millis(pause),
        breaks: false,
    }
}

const SOON: Duration = Duration::from_millis(200);

#[tokio::test]
async fn a_stream_that_its_client_leaves_is_read_to_its_end_and_paid_as_if_it_had_stayed() {
    let house = House::open(stream(150), &[]).await;
    house.leave_after("thinker", "one").await;
    let record = house.record().await;
    assert_eq!(record.measure(), Measure::Measured);
    assert_eq!(record.abandoned(), Abandoned::ReadOn);
    assert_eq!((record.status, record.streamed), (200, true));
    assert!((cost(&record) - PRICE).abs() < 1e-9, "{record:?}");
    house.upstream.all_closed().await;
}

#[tokio::test]
async fn a_call_whose_client_leaves_before_its_answer_is_waited_for_and_paid() {
    let house = House::open(Script::Slow { pause: SOON * 3 }, &[]).await;
    for (calls, streamed) in [(1, false), (2, true)] {
        house.leave_before_answer("thinker", streamed, SOON).await;
        // A new key takes one call at a time.
        house.records(calls).await;
    }
    for record in house.records(2).await {
        assert_eq!((record.status, record.tries), (499, 1));
        assert_eq!(record.measure(), Measure::Measured);
        assert_eq!(record.abandoned(), Abandoned::ReadOn);
        let tokens = record.tokens.unwrap();
        assert_eq!((tokens.input, tokens.output), (11, 7));
    }
}

/// A provider that accepts requests, breaks each off after a while, and counts them.
async fn breaking(after: Duration) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            if socket.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(after).await;
            }
        }
    });
    (base, asked)
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_begins_nothing_new() {
    for (leaves, asks) in [(false, 2), (true, 1)] {
        let house = House::without_keys(Script::Chat, &[("RETRY_DEADLINE_MS", "1500")]).await;
        let (base, asked) = breaking(SOON * 2).await;
        for key in [UP, OTHER] {
            house.world.add_key(key, &base).await;
        }
        if leaves {
            house.leave_before_answer("plain", false, SOON).await;
        } else {
            let answer = house.ask("plain", false).send().await.unwrap();
            assert_eq!(answer.status(), 502);
        }
        tokio::time::sleep(SOON * 5).await;
        assert_eq!(asked.load(Ordering::SeqCst), asks, "leaves: {leaves}");
        let record = house.record().await;
        assert_eq!(record.cost_nanos, 0);
    }
}

#[tokio::test]
async fn a_call_that_is_cancelled_is_charged_for_what_its_model_thought_unseen() {
    let env = [("ABANDONED", "cancel")];
    let house = House::open(Script::Mute, &env).await;
    let begun = Instant::now();
    house
        .leave_before_answer("thinker", true, Duration::from_secs(3))
        .await;
    let record = house.record().await;
    assert_eq!((record.status, record.measure()), (499, Measure::Partial));
    assert_eq!(record.abandoned(), Abandoned::Cancel);
    let tokens = record.tokens.unwrap();
    // A hundred tokens a second.
    let most = i64::try_from(begun.elapsed().as_millis()).unwrap() / 10;
    assert!((250..=most).contains(&tokens.output), "{tokens:?}");
    assert_eq!(tokens.reasoning, tokens.output);
    house.upstream.all_closed().await;
}

#[tokio::test]
async fn what_does_not_reason_is_charged_for_its_text_when_it_is_cancelled() {
    let env = [("ABANDONED", "cancel")];
    let house = House::open(stream(1_200), &env).await;
    house.leave_after("plain", "two").await;
    let record = house.record().await;
    assert_eq!(record.abandoned(), Abandoned::Cancel);
    assert_eq!(record.measure(), Measure::Partial);
    assert!(record.tokens.unwrap().output < 5, "{record:?}");
}

#[tokio::test]
async fn an_answer_that_comes_as_a_whole_was_in_the_making_before() {
    let env = [("ABANDONED", "cancel")];
    let house = House::open(Script::Mute, &env).await;
    house
        .leave_before_answer("plain", false, Duration::from_secs(2))
        .await;
    let tokens = house.record().await.tokens.unwrap();
    assert!((150..=1_000).contains(&tokens.output), "{tokens:?}");
    assert_eq!(tokens.reasoning, 0);
}

#[tokio::test]
async fn with_hold_a_client_that_leaves_pays_all_that_was_set_aside() {
    let env = [("ABANDONED", "hold")];
    let house = House::open(stream(150), &env).await;
    house.leave_after("plain", "one").await;
    let record = house.record().await;
    assert_eq!(record.abandoned(), Abandoned::Hold);
    // 100,000 tokens; the prompt costs nothing.
    assert!((cost(&record) - 60.0).abs() < 1e-9, "{record:?}");
    assert_eq!(record.price_version, "fixed");

    let house = House::open(Script::Mute, &env).await;
    house.leave_before_answer("plain", false, SOON).await;
    let record = house.record().await;
    assert_eq!((record.status, record.abandoned()), (499, Abandoned::Hold));
    assert!((cost(&record) - 60.0).abs() < 1e-9, "{record:?}");
}

#[tokio::test]
async fn that_a_part_of_an_answer_is_complete_does_not_mean_that_its_client_stayed() {
    let end = json!({"index": 0, "delta": {}, "finish_reason": "stop"});
    let end = event(&json!({"id": "c", "choices": [end]}).to_string());
    let script = Script::Stalled {
        chunks: vec![delta("one "), end],
    };
    let env = [("ABANDONED", "hold"), ("DRAIN_MS", "300")];
    let house = House::open(script, &env).await;
    house.leave_after("plain", "\"stop\"").await;
    let record = house.record().await;
    assert_eq!(record.abandoned(), Abandoned::Hold);
    assert!((cost(&record) - 60.0).abs() < 1e-9, "{record:?}");
}

#[tokio::test]
async fn what_cannot_be_estimated_is_charged_by_what_was_set_aside() {
    let house = House::open(Script::Silent, &[("ABANDONED", "cancel")]).await;
    let body = json!({"model": "gpt-image-1", "prompt": "x", "size": "1024x1024"});
    let call = house
        .world
        .post("/v1/images/generations", &house.key, &body);
    assert!(tokio::time::timeout(SOON, call).await.is_err());
    let record = house.record().await;
    assert_eq!(record.abandoned(), Abandoned::Hold);
    assert!(record.cost_nanos > 0, "{record:?}");
}

#[tokio::test]
async fn with_any_rule_a_client_that_stays_pays_what_it_used() {
    for rule in ["read-on", "cancel", "hold"] {
        let house = House::open(stream(1), &[("ABANDONED", rule)]).await;
        let answer = house.ask("thinker", true).send().await.unwrap();
        assert!(answer.text().await.unwrap().contains("[DONE]"));
        let record = house.record().await;
        assert_eq!(record.abandoned(), Abandoned::Unspecified, "{rule}");
        assert!((cost(&record) - PRICE).abs() < 1e-9, "{record:?}");
    }
}

#[tokio::test]
async fn reading_on_ends_at_its_bounds_and_what_is_missing_is_estimated() {
    // By time: before the next event. By size: after the second event, before the third.
    for (bound, most, read) in [
        ("ABANDONED_MS", "400", 400..1_900),
        ("ABANDONED_BYTES_MAX", "150", 3_900..5_900),
    ] {
        let house = House::open(stream(2_000), &[(bound, most)]).await;
        let begun = Instant::now();
        house.leave_after("plain", "one").await;
        let record = house.record().await;
        assert!(begun.elapsed() < Duration::from_secs(8), "{bound}");
        assert!(read.contains(&record.duration_ms), "{bound}: {record:?}");
        assert_eq!(record.abandoned(), Abandoned::Cancel, "{bound}");
        assert_eq!(record.measure(), Measure::Partial, "{bound}");
        house.upstream.all_closed().await;
    }
}

#[tokio::test]
async fn a_provider_that_falls_silent_is_not_paid_for_it_by_a_client_that_left() {
    let stalled = Script::Stalled {
        chunks: vec![delta("one ")],
    };
    let house = House::open(stalled, &[("IDLE_TIMEOUT_MS", "2500")]).await;
    house.leave_after("thinker", "one").await;
    let record = house.record().await;
    assert_eq!(record.abandoned(), Abandoned::ReadOn);
    assert_eq!(record.measure(), Measure::Partial);
    assert!(record.tokens.unwrap().output < 5, "{record:?}");
    house.upstream.all_closed().await;
}

#[tokio::test]
async fn a_call_that_goes_on_without_its_client_holds_its_place_and_its_credit() {
    let env = [("CALLS_PER_ACCOUNT_MAX", "1"), ("CREDIT_WAIT_MS", "300")];
    let house = House::open(Script::Slow { pause: SOON * 5 }, &env).await;
    house.leave_before_answer("plain", false, SOON).await;
    let second = house.ask("plain", false).send().await.unwrap();
    assert_eq!(second.status(), 429);
    let record = house.record().await;
    assert_eq!(record.measure(), Measure::Measured);
    until("the place is free", async || {
        house.ask("plain", false).send().await.unwrap().status() == 200
    })
    .await;
}

#[tokio::test]
async fn a_gateway_that_stops_waits_for_calls_that_go_on_without_their_clients() {
    let mut house = House::open(Script::Slow { pause: SOON * 5 }, &[]).await;
    house.leave_before_answer("plain", false, SOON).await;
    house.world.stop().await;
    house.world.restart().await;
    let record = house.record().await;
    assert_eq!((record.status, record.measure()), (499, Measure::Measured));
}

#[tokio::test]
async fn what_the_end_of_a_gateway_cuts_is_estimated_and_not_free() {
    let env = [("DRAIN_TIMEOUT_MS", "300"), ("DRAIN_DELAY_MS", "0")];
    let mut house = House::open(Script::Mute, &env).await;
    let patience = Duration::from_secs(2);
    house.leave_before_answer("thinker", true, patience).await;
    let begun = Instant::now();
    house.world.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(5));
    house.world.restart().await;
    let record = house.record().await;
    assert_eq!(record.abandoned(), Abandoned::Cancel);
    assert!(record.tokens.unwrap().output >= 150, "{record:?}");
}

#[tokio::test]
async fn the_rule_can_be_changed_while_the_gateway_runs() {
    let house = House::open(Script::Mute, &[]).await;
    let config = house.world.url("/x-config");
    let config = house.world.http.put(config);
    let answer = house
        .world
        .root(config.json(&json!({"ABANDONED": "hold"})))
        .await;
    assert_eq!(answer.status(), 200);
    house.leave_before_answer("plain", true, SOON).await;
    assert_eq!(house.record().await.abandoned(), Abandoned::Hold);
}

#[tokio::test]
async fn a_hedged_call_that_lost_its_client_is_charged_once_and_asked_for_no_third_time() {
    let (world, upstream, key) = hedging(&[]).await;
    let asked = || upstream.count(GOOD[0]) + upstream.count(GOOD[1]);
    let before = asked();
    for key in [GOOD[0], GOOD[1]] {
        upstream.script(key, Script::Slow { pause: SOON * 10 });
    }
    let call = world.chat(&key, "gpt-4o-mini");
    let twice = until("it is asked for twice", async || asked() == before + 2);
    tokio::select! {
        _ = call => panic!("an answer came"),
        () = twice => {}
    }
    let grpc = world.grpc();
    let usage = async || grpc.usage("alice").await;
    until("the call is on record", async || usage().await.len() == 51).await;
    grpc.verify_books().await;
    let posted = usage()
        .await
        .into_iter()
        .map(|posted| posted.record.unwrap());
    let left: Vec<_> = posted.filter(|record| record.status == 499).collect();
    let [record] = left.as_slice() else {
        panic!("{left:?}");
    };
    assert_eq!(record.abandoned(), Abandoned::ReadOn);
    assert_eq!(record.measure(), Measure::Measured);
    assert_eq!(asked(), before + 2);
    upstream.all_closed().await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_has_left_and_one_that_takes_little_has_not() {
    let flood = Script::Stream {
        chunks: vec![delta(&"x".repeat(60_000)); 1_000],
        pause: Duration::ZERO,
        breaks: false,
    };
    let env = [("SEND_TIMEOUT_MS", "1500"), ("ABANDONED", "cancel")];
    let house = House::open(flood, &env).await;
    let mut slow = house.ask("plain", true).send().await.unwrap();
    let stuck = house.ask("plain", true).send().await.unwrap();
    let takes = async {
        let mut taken = 0;
        for _ in 0..8 {
            tokio::time::sleep(SOON * 2).await;
            let until = taken + 6_000_000;
            while taken < until {
                taken += slow.chunk().await.unwrap().expect("more").len();
            }
        }
    };
    let (record, ()) = tokio::join!(house.record(), takes);
    assert_eq!(record.abandoned(), Abandoned::Cancel);
    drop((slow, stuck));
    house.records(2).await;
    house.upstream.all_closed().await;
}
