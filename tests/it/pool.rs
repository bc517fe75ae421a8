//! The key pool: rotation, retries, dead and tired keys.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};

use crate::{
    upstream::{Script, Upstream, invalid_key, status},
    world::{World, until},
};

const GOOD: [&str; 3] = [
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
