//! The key pool: rotation, retries, refused keys and keys that cool down.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::{
    upstream::{Script, Upstream, event, invalid_key, status},
    world::{World, until},
};

pub const GOOD: [&str; 3] = [
    "sk-good-one-aaaaaaaaaaaa",
    "sk-good-two-bbbbbbbbbbbb",
    "sk-good-three-cccccccccc",
];
const DEAD: &str = "sk-dead-dddddddddddddddd";
const SICK: &str = "sk-sick-eeeeeeeeeeeeeeee";

async fn mixed_pool(world: &World, upstream: &Upstream) {
    for key in [GOOD[0], SICK, GOOD[1], DEAD, GOOD[2]] {
        world.add_key(key, &upstream.base).await;
    }
    for key in GOOD {
        upstream.script(key, Script::Chat);
    }
    upstream.script(DEAD, invalid_key());
    upstream.script(SICK, status(503));
}

#[tokio::test]
async fn a_thousand_calls_succeed_while_two_of_five_keys_fail() {
    for concurrency in [1, 32] {
        let (world, upstream) = (World::start().await, Upstream::start().await);
        mixed_pool(&world, &upstream).await;
        let key = world.add_account("alice", 100.0).await;
        let statuses: Vec<_> = stream::iter(0..1000)
            .map(|_| async { world.chat(&key, "gpt-4o-mini").await.status().as_u16() })
            .buffer_unordered(concurrency)
            .collect()
            .await;
        assert_eq!(
            statuses.iter().filter(|status| **status == 200).count(),
            1000
        );
        let shares = GOOD.map(|key| upstream.count(key));
        assert_eq!(shares.iter().sum::<usize>(), 1000);
        assert!(
            shares.iter().all(|share| (332..=335).contains(share)),
            "uneven shares {shares:?} with {concurrency} at once"
        );
        assert_eq!(
            upstream.count(DEAD),
            1,
            "the dead key with {concurrency} at once"
        );
        let sick = upstream.count(SICK);
        assert!(
            (1..=8).contains(&sick),
            "the 503 key was asked {sick} times with {concurrency} at once"
        );
    }
}

#[tokio::test]
async fn a_dead_key_is_listed_as_disabled_with_its_reason() {
    let (world, upstream) = (World::start().await, Upstream::start().await);
    mixed_pool(&world, &upstream).await;
    let key = world.add_account("alice", 100.0).await;
    for _ in 0..10 {
        assert_eq!(world.chat(&key, "gpt-4o-mini").await.status(), 200);
    }
    // They were the second and the fourth to be added.
    let (sick, dead) = (2, 4);
    until("both unwell keys are listed", async || {
        let conf = world.read("/x-conf").await;
        let ids = |list: &str| {
            let rows = conf[list].as_array().unwrap();
            rows.iter()
                .map(|row| row["ID"].as_i64().unwrap())
                .collect::<Vec<_>>()
        };
        let reason = conf["DisabledKeys"][0]["Reason"].as_str();
        ids("DisabledKeys") == [dead]
            && reason.unwrap().contains("401")
            && ids("SleepingKeys") == [sick]
    })
    .await;
}

#[tokio::test]
async fn one_models_429_leaves_the_keys_other_models_alone() {
    let (world, upstream) = (World::start().await, Upstream::start().await);
    world.add_key(GOOD[0], &upstream.base).await;
    let key = world.add_account("alice", 100.0).await;
    let limited = Script::Answer {
        status: 429,
        headers: vec![("retry-after", "3600".to_owned()), ("content-type", "application/json".to_owned())],
        body: r#"{"error":{"message":"Rate limit reached","type":"requests","code":"rate_limit_exceeded"}}"#.into(),
    };
    upstream.script(GOOD[0], limited);
    let refused = world.chat(&key, "gpt-4o").await;
    assert_eq!(refused.status(), 429);
    let after: u64 = refused.headers()["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((3590..=3600).contains(&after), "{after}");
    upstream.script(GOOD[0], Script::Chat);
    assert_eq!(world.chat(&key, "gpt-4o-mini").await.status(), 200);
    assert_eq!(world.chat(&key, "gpt-4o").await.status(), 429);
    assert_eq!(
        upstream.count(GOOD[0]),
        2,
        "the sleeping pair was not asked"
    );
}

#[tokio::test]
async fn loading_the_keys_anew_wakes_them() {
    let (world, upstream) = (
        World::with(&[("RETRY_DEADLINE_MS", "200")]).await,
        Upstream::start().await,
    );
    world.add_key(GOOD[0], &upstream.base).await;
    let key = world.add_account("alice", 100.0).await;
    assert_eq!(world.chat(&key, "gpt-4o").await.status(), 401);
    upstream.script(GOOD[0], Script::Chat);
    assert_eq!(world.chat(&key, "gpt-4o").await.status(), 503);
    world.conf(serde_json::json!({"LoadKeys": true})).await;
    assert_eq!(world.chat(&key, "gpt-4o").await.status(), 200);
}

#[tokio::test]
async fn a_level_that_is_exhausted_switches_over_within_the_accounts_gear() {
    let (world, upstream) = (
        World::with(&[("RETRY_DEADLINE_MS", "200")]).await,
        Upstream::start().await,
    );
    upstream.script(SICK, status(503));
    upstream.script(GOOD[0], Script::Chat);
    for (key, level) in [(SICK, 1), (GOOD[0], 2)] {
        let body = serde_json::json!({"SecretKey": key, "Provider": upstream.base, "Level": level});
        world.add_key_with(body).await;
    }
    world
        .conf(serde_json::json!({"LevelMapper": "gpt-4*=1", "SwitchOver": "1=2,2=1"}))
        .await;
    let key = world.add_account("alice", 100.0).await;
    let update = |gear: u8| {
        world
            .http
            .put(world.url("/x-users/alice"))
            .json(&serde_json::json!({"Gear": gear}))
    };
    assert_eq!(world.root(update(0)).await.status(), 200);
    assert_eq!(world.chat(&key, "gpt-4o").await.status(), 503);
    assert_eq!(world.root(update(1)).await.status(), 200);
    assert_eq!(world.chat(&key, "gpt-4o").await.status(), 200);
}

#[tokio::test]
async fn a_slow_moment_of_the_only_key_is_waited_for() {
    let (world, upstream) = (
        World::with(&[("RETRY_DEADLINE_MS", "5000")]).await,
        Upstream::start().await,
    );
    world.add_key(GOOD[0], &upstream.base).await;
    let key = world.add_account("alice", 100.0).await;
    upstream.script(GOOD[0], status(408));
    let healed = async {
        while upstream.count(GOOD[0]) < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        upstream.script(GOOD[0], Script::Chat);
    };
    let (answer, ()) = tokio::join!(world.chat(&key, "gpt-4o"), healed);
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn a_refusal_of_all_keys_is_marked_for_the_node_below() {
    let (world, upstream) = (World::start().await, Upstream::start().await);
    world.add_key(DEAD, &upstream.base).await;
    let key = world.add_account("alice", 100.0).await;
    let refused = world.chat(&key, "gpt-4o").await;
    assert_eq!(refused.status(), 401);
    assert!(refused.headers().contains_key("x-proxyxai-refusal"));
}

#[tokio::test]
async fn a_storm_of_refusals_sets_no_key_aside() {
    let (world, upstream) = (
        World::with(&[("RETRY_DEADLINE_MS", "200")]).await,
        Upstream::start().await,
    );
    let keys: Vec<_> = (0..5)
        .map(|at| format!("sk-storm-{at}-aaaaaaaaaaaaaaaa"))
        .collect();
    for key in &keys {
        world.add_key(key, &upstream.base).await;
    }
    let account = world.add_account("alice", 100.0).await;
    assert_eq!(world.chat(&account, "gpt-4o").await.status(), 401);
    let all_asked = keys.iter().all(|key| upstream.count(key) == 1);
    assert!(all_asked);
    for key in &keys {
        upstream.script(key, Script::Chat);
    }
    tokio::time::sleep(Duration::from_millis(1100)).await;
    for _ in 0..10 {
        assert_eq!(world.chat(&account, "gpt-4o").await.status(), 200);
    }
    assert!(keys.iter().all(|key| upstream.count(key) > 1));
}

/// A 429 with or without a hint of when to retry.
fn limited(headers: Vec<(&'static str, String)>, message: &str) -> Script {
    let json = ("content-type", "application/json".to_owned());
    Script::Answer {
        status: 429,
        headers: headers.into_iter().chain([json]).collect(),
        body: format!(r#"{{"error":{{"message":"{message}","code":"rate_limit_exceeded"}}}}"#)
            .into(),
    }
}

#[tokio::test]
async fn of_ten_keys_three_good_ones_serve_while_each_other_is_asked_only_when_its_time_has_come() {
    let (world, upstream) = (World::start().await, Upstream::start().await);
    let named = |kind: &str, at: usize| format!("sk-{kind}-{at}-aaaaaaaaaaaaaaaa");
    let broke = Script::Answer {
        status: 429,
        headers: vec![("content-type", "application/json".to_owned())],
        body: r#"{"error":{"message":"You exceeded your current quota, please check your plan and billing details.","type":"insufficient_quota","code":"insufficient_quota"}}"#.into(),
    };
    upstream.script(&named("broke", 0), broke);
    for at in 0..3 {
        upstream.script(&named("dead", at), invalid_key());
        upstream.script(&named("good", at), Script::Chat);
    }
    let hour = ("retry-after", "3600".to_owned());
    upstream.script(&named("tired", 0), limited(vec![hour], "slow down"));
    let text = "Rate limit reached. Please try again in 2s.";
    upstream.script(&named("tired", 1), limited(Vec::new(), text));
    upstream.script(&named("tired", 2), limited(Vec::new(), "slow down"));
    for at in 0..3 {
        for kind in ["dead", "tired", "good"] {
            world.add_key(&named(kind, at), &upstream.base).await;
        }
    }
    world.add_key(&named("broke", 0), &upstream.base).await;
    let key = world.add_account("alice", 100.0).await;
    let begun = std::time::Instant::now();
    let good = stream::iter(0..1000)
        .map(|_| async { world.chat(&key, "gpt-4o-mini").await.status().as_u16() })
        .buffer_unordered(32)
        .filter(|status| std::future::ready(*status == 200))
        .count()
        .await;
    let took = begun.elapsed();
    assert_eq!(good, 1000);
    for dead in [
        named("dead", 0),
        named("dead", 1),
        named("dead", 2),
        named("broke", 0),
    ] {
        assert_eq!(upstream.count(&dead), 1, "{dead}");
    }
    assert_eq!(
        upstream.count(&named("tired", 0)),
        1,
        "it asked for an hour"
    );
    let seconds = usize::try_from(took.as_secs()).unwrap();
    // At most once for each cool-down: 2 s as hinted, and 1 s doubling.
    let hinted = upstream.count(&named("tired", 1));
    assert!(
        (1..=1 + seconds / 2).contains(&hinted),
        "{hinted} in {took:?}"
    );
    let unhinted = upstream.count(&named("tired", 2));
    assert!(
        (1..=2 + seconds / 2).contains(&unhinted),
        "{unhinted} in {took:?}"
    );
    let shares: usize = (0..3).map(|at| upstream.count(&named("good", at))).sum();
    assert_eq!(shares, 1000);
}

#[tokio::test]
async fn a_key_that_returns_from_a_rate_limit_is_asked_once_before_it_is_trusted() {
    let (world, upstream) = (World::start().await, Upstream::start().await);
    upstream.script(
        GOOD[0],
        limited(vec![("retry-after", "1".to_owned())], "slow down"),
    );
    upstream.script(GOOD[1], Script::Chat);
    world.add_key(GOOD[0], &upstream.base).await;
    world.add_key(GOOD[1], &upstream.base).await;
    let key = world.add_account("alice", 100.0).await;
    while upstream.count(GOOD[0]) == 0 {
        assert_eq!(world.chat(&key, "gpt-4o").await.status(), 200);
    }
    tokio::time::sleep(Duration::from_millis(1050)).await;
    let pause = Duration::from_millis(400);
    upstream.script(GOOD[0], Script::Slow { pause });
    let all = stream::iter(0..40).map(|_| world.chat(&key, "gpt-4o"));
    let statuses: Vec<_> = all
        .buffer_unordered(20)
        .map(|answer| answer.status().as_u16())
        .collect()
        .await;
    assert!(statuses.iter().all(|status| *status == 200));
    assert_eq!(
        upstream.count(GOOD[0]),
        2,
        "the refusal, and one to see whether it is over"
    );
    upstream.script(GOOD[0], Script::Chat);
    for _ in 0..40 {
        assert_eq!(world.chat(&key, "gpt-4o").await.status(), 200);
    }
    let again = upstream.count(GOOD[0]) - 2;
    assert!(
        again < 20,
        "it had {again} of the next 40 calls, and is to grow into its share"
    );
    // Alone it takes all calls.
    upstream.script(
        GOOD[1],
        limited(vec![("retry-after", "60".to_owned())], "slow down"),
    );
    for _ in 0..5 {
        assert_eq!(world.chat(&key, "gpt-4o").await.status(), 200);
    }
}

#[tokio::test]
async fn when_all_keys_are_rate_limited_the_smallest_rest_is_told() {
    let (world, upstream) = (World::start().await, Upstream::start().await);
    for (key, rest) in GOOD.into_iter().zip(["3600", "1200", "2400"]) {
        upstream.script(
            key,
            limited(vec![("retry-after", rest.to_owned())], "slow down"),
        );
        world.add_key(key, &upstream.base).await;
    }
    let key = world.add_account("alice", 100.0).await;
    for _ in 0..2 {
        let refused = world.chat(&key, "gpt-4o").await;
        assert_eq!(refused.status(), 429);
        let after = refused.headers()["retry-after"].to_str().unwrap();
        let after: u64 = after.parse().unwrap();
        assert!((1190..=1200).contains(&after), "{after}");
    }
    assert!(GOOD.iter().all(|key| upstream.count(key) == 1));
}

#[tokio::test]
async fn shares_match_the_weights_of_the_keys() {
    let (world, upstream) = (World::start().await, Upstream::start().await);
    for (key, weight) in GOOD.into_iter().zip([5, 3, 2]) {
        upstream.script(key, Script::Chat);
        let body = serde_json::json!({"SecretKey": key, "Provider": upstream.base, "Config": {"weight": weight}});
        world.add_key_with(body).await;
    }
    world
        .conf(serde_json::json!({"KeyStrategy": "weighted"}))
        .await;
    let key = world.add_account("alice", 100.0).await;
    let all = stream::iter(0..500).map(|_| world.chat(&key, "gpt-4o-mini"));
    let good = all
        .buffer_unordered(16)
        .filter(|answer| std::future::ready(answer.status() == 200));
    assert_eq!(good.count().await, 500);
    for (key, share) in GOOD.into_iter().zip([250, 150, 100]) {
        let count = upstream.count(key);
        assert!(count.abs_diff(share) <= 5, "{key} got {count}, not {share}");
    }
}

#[tokio::test]
async fn the_least_busy_and_the_fastest_rule_leave_a_slow_key_alone() {
    for (strategy, most) in [("least-busy", 60), ("fastest", 30)] {
        let (world, upstream) = (World::start().await, Upstream::start().await);
        for key in GOOD {
            upstream.script(key, Script::Chat);
            world.add_key(key, &upstream.base).await;
        }
        let pause = Duration::from_millis(300);
        upstream.script(GOOD[1], Script::Slow { pause });
        world
            .conf(serde_json::json!({"KeyStrategy": strategy}))
            .await;
        let key = world.add_account("alice", 100.0).await;
        let all = stream::iter(0..400).map(|_| world.chat(&key, "gpt-4o-mini"));
        let good = all
            .buffer_unordered(8)
            .filter(|answer| std::future::ready(answer.status() == 200));
        assert_eq!(good.count().await, 400);
        let slow = upstream.count(GOOD[1]);
        assert!(
            (1..=most).contains(&slow),
            "{strategy} asked the slow key {slow} times"
        );
    }
}

#[tokio::test]
async fn no_key_gets_more_calls_at_once_than_its_cap_and_calls_wait_their_turn() {
    let (world, upstream) = (World::start().await, Upstream::start().await);
    let stream_of = |pause| Script::Stream {
        chunks: (0..4)
            .map(|_| event(r#"{"choices":[{"index":0,"delta":{"content":"x"}}]}"#))
            .collect(),
        pause,
        breaks: false,
    };
    for key in [GOOD[0], GOOD[1]] {
        upstream.script(key, stream_of(Duration::from_millis(30)));
        let body = serde_json::json!({"SecretKey": key, "Provider": upstream.base, "Config": {"max_concurrency": 2}});
        world.add_key_with(body).await;
    }
    let key = world.add_account("alice", 100.0).await;
    let most = std::sync::atomic::AtomicUsize::new(0);
    let calls = stream::iter(0..30).map(async |_| {
        let answer = world.chat_stream(&key, "gpt-4o-mini").await;
        let status = answer.status();
        most.fetch_max(upstream.open(), std::sync::atomic::Ordering::Relaxed);
        answer.bytes().await.unwrap();
        status
    });
    let good = calls
        .buffer_unordered(30)
        .filter(|status| std::future::ready(*status == 200));
    assert_eq!(good.count().await, 30);
    assert!(
        most.into_inner() <= 4,
        "more calls at once than both caps allow"
    );
    assert_eq!(upstream.count(GOOD[0]) + upstream.count(GOOD[1]), 30);
}

#[tokio::test]
async fn a_call_that_finds_all_keys_at_their_caps_to_the_end_is_refused_as_rate_limited() {
    let (world, upstream) = (
        World::with(&[("RETRY_DEADLINE_MS", "600"), ("ABANDONED", "cancel")]).await,
        Upstream::start().await,
    );
    upstream.script(
        GOOD[0],
        Script::Stalled {
            chunks: vec![event("{}")],
        },
    );
    let body = serde_json::json!({"SecretKey": GOOD[0], "Provider": upstream.base, "Config": {"max_concurrency": 1}});
    world.add_key_with(body).await;
    let key = world.add_account("alice", 100.0).await;
    let held = world.chat_stream(&key, "gpt-4o-mini").await;
    assert_eq!(held.status(), 200);
    let begun = std::time::Instant::now();
    let refused = world.chat(&key, "gpt-4o-mini").await;
    assert_eq!(refused.status(), 429);
    assert!(refused.headers().contains_key("retry-after"));
    let body: serde_json::Value = refused.json().await.unwrap();
    assert_eq!(body["error"]["code"], "upstream_rate_limited");
    assert!(begun.elapsed() >= Duration::from_millis(250));
    assert_eq!(upstream.count(GOOD[0]), 1);
    // Its permit is released as soon as its client has gone.
    drop(held);
    upstream.script(GOOD[0], Script::Chat);
    until("the place is free", async || {
        world.chat(&key, "gpt-4o-mini").await.status() == 200
    })
    .await;
}

/// Two keys whose calls are hedged, after enough responses to know what is slow.
pub async fn hedging(env: &[(&str, &str)]) -> (World, Upstream, String) {
    let (world, upstream) = (World::with(env).await, Upstream::start().await);
    for key in [GOOD[0], GOOD[1]] {
        upstream.script(key, Script::Chat);
        world.add_key(key, &upstream.base).await;
    }
    world.conf(serde_json::json!({"Hedge": "on"})).await;
    let key = world.add_account("alice", 100.0).await;
    for _ in 0..50 {
        assert_eq!(world.chat(&key, "gpt-4o-mini").await.status(), 200);
    }
    (world, upstream, key)
}

#[tokio::test]
async fn a_slow_answer_is_asked_for_twice_where_that_is_wanted_and_charged_once() {
    let (world, upstream, key) = hedging(&[]).await;
    let before = upstream.count(GOOD[0]) + upstream.count(GOOD[1]);
    upstream.script(GOOD[0], Script::Mute);
    for _ in 0..4 {
        let begun = std::time::Instant::now();
        assert_eq!(world.chat(&key, "gpt-4o-mini").await.status(), 200);
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
    let asked = upstream.count(GOOD[0]) + upstream.count(GOOD[1]) - before;
    assert!((5..=8).contains(&asked), "{asked} requests for four calls");
    // The attempt that lost is dropped.
    upstream.all_closed().await;
    let account = world.posted("alice", 54).await;
    assert_eq!(account["Requests"], 54);
}

#[tokio::test]
async fn the_slower_one_of_a_hedged_call_is_heard_when_the_other_fails() {
    let (world, upstream, key) = hedging(&[]).await;
    let pause = Duration::from_millis(700);
    upstream.script(GOOD[0], Script::Slow { pause });
    upstream.script(GOOD[1], status(503));
    for _ in 0..2 {
        assert_eq!(world.chat(&key, "gpt-4o-mini").await.status(), 200);
    }
}

/// Responds to one call and keeps the connection until the next call begins on it.
async fn answer_once(mut socket: TcpStream) {
    const BODY: &str = r#"{"usage":{"prompt_tokens":1,"completion_tokens":1}}"#;
    let (mut heard, mut piece) = (Vec::new(), [0; 4096]);
    while !heard.ends_with(b"}") {
        match socket.read(&mut piece).await {
            Ok(count @ 1..) => heard.extend_from_slice(&piece[..count]),
            Ok(0) | Err(_) => return,
        }
    }
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    socket.write_all(answer.as_bytes()).await.unwrap();
    // Closing with unread data makes this a reset.
    let _begun = socket.read(&mut piece[..1]).await;
}

#[tokio::test]
async fn a_kept_connection_that_closes_when_it_is_used_is_no_fault_of_the_key() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let upstream = tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(answer_once(socket));
        }
    });
    let world = World::start().await;
    world.add_key(GOOD[0], &base).await;
    let key = world.add_account("alice", 100.0).await;
    assert_eq!(world.chat(&key, "gpt-4o-mini").await.status(), 200);
    let begun = std::time::Instant::now();
    for _ in 0..5 {
        assert_eq!(world.chat(&key, "gpt-4o-mini").await.status(), 200);
    }
    // A key that is blamed cools down for a second.
    let took = begun.elapsed();
    assert!(took < Duration::from_millis(900), "{took:?}");
    upstream.abort();
}
