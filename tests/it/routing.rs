//! Where calls go, from model to model and level to level, and what is billed.

use serde_json::{Value, json};

use crate::{
    upstream::{Script, Upstream, status},
    world::World,
};

const FIRST: &str = "sk-first-aaaaaaaaaaaaaaaa";
const SECOND: &str = "sk-second-bbbbbbbbbbbbbbb";

/// A 429 that asks for an hour without calls.
pub fn limited() -> Script {
    Script::Answer {
        status: 429,
        headers: vec![
            ("retry-after", "3600".to_owned()),
            ("content-type", "application/json".to_owned()),
        ],
        body: r#"{"error":{"message":"Rate limit reached","code":"rate_limit_exceeded"}}"#.into(),
    }
}

/// Models that were requested with a key, in order.
pub fn models(upstream: &Upstream, key: &str) -> Vec<String> {
    let seen = upstream.seen(key).into_iter();
    seen.map(|seen| {
        let body: Value = serde_json::from_slice(&seen.body).unwrap();
        body["model"].as_str().unwrap().to_owned()
    })
    .collect()
}

/// A rate-limited key of level 0, and a working one of level 3.
async fn first_is_limited() -> (World, Upstream) {
    let (world, upstream) = (World::start().await, Upstream::start().await);
    upstream.script(FIRST, limited());
    upstream.script(SECOND, Script::Chat);
    for (key, level) in [(FIRST, 0), (SECOND, 3)] {
        let body = json!({"SecretKey": key, "Provider": upstream.base, "Level": level});
        world.add_key_with(body).await;
    }
    (world, upstream)
}

#[tokio::test]
async fn a_substitute_answers_when_every_level_of_a_model_is_exhausted_and_is_billed() {
    let (world, upstream) = first_is_limited().await;
    let rules = json!({"ModelMapper": "best=gpt-4o", "LevelMapper": "gpt-4o-mini=3", "ModelFailover": "gpt-4o=none-such|gpt-4o-mini"});
    world.conf(rules).await;
    let key = world.add_account("alice", 100.0).await;
    world.change("alice", json!({"AllowModels": "best"})).await;
    for _ in 0..2 {
        assert_eq!(world.chat(&key, "best").await.status(), 200);
    }
    assert_eq!(
        models(&upstream, FIRST),
        ["gpt-4o", "none-such"],
        "each pair slept after one refusal"
    );
    assert_eq!(models(&upstream, SECOND), ["gpt-4o-mini", "gpt-4o-mini"]);
    // Only the requested model is checked.
    assert_eq!(world.chat(&key, "gpt-4o-mini").await.status(), 403);
    world.posted("alice", 2).await;
    let csv = world
        .root(world.http.get(world.url("/x-bill.csv?u=alice")))
        .await;
    let csv = csv.text().await.unwrap();
    let rows: Vec<_> = csv.lines().skip(1).collect();
    assert_eq!(rows.len(), 2, "{csv}");
    for row in rows {
        assert!(row.contains("best") && row.contains("gpt-4o-mini"), "{row}");
    }
}

#[tokio::test]
async fn an_accounts_own_chain_counts_before_the_systems() {
    let (world, upstream) = first_is_limited().await;
    let rules = json!({"LevelMapper": "gpt-4o-mini=3,o3=3", "ModelFailover": "gpt-4o=gpt-4o-mini"});
    world.conf(rules).await;
    let key = world.add_account("alice", 100.0).await;
    world
        .change("alice", json!({"ModelFailover": "gpt-4o=o3"}))
        .await;
    assert_eq!(world.chat(&key, "gpt-4o").await.status(), 200);
    assert_eq!(models(&upstream, SECOND), ["o3"]);
}

#[tokio::test]
async fn every_model_of_a_chain_is_tried_on_all_its_levels_before_the_call_fails() {
    let (world, upstream) = (
        World::with(&[("RETRY_DEADLINE_MS", "200")]).await,
        Upstream::start().await,
    );
    for (key, level) in [(FIRST, 0), (SECOND, 1)] {
        upstream.script(key, limited());
        let body = json!({"SecretKey": key, "Provider": upstream.base, "Level": level});
        world.add_key_with(body).await;
    }
    world
        .conf(json!({"SwitchOver": "0=1,1=0", "ModelFailover": "a=b|c"}))
        .await;
    let key = world.add_account("alice", 100.0).await;
    world.change("alice", json!({"Gear": 1})).await;
    let refused = world.chat(&key, "a").await;
    assert_eq!(refused.status(), 429);
    assert!(refused.headers().contains_key("retry-after"));
    for key in [FIRST, SECOND] {
        assert_eq!(models(&upstream, key), ["a", "b", "c"]);
    }
}

#[tokio::test]
async fn credit_is_set_aside_for_the_dearest_model_of_the_chain() {
    let (world, upstream) = (World::start().await, Upstream::start().await);
    upstream.script(FIRST, status(503));
    world.add_key(FIRST, &upstream.base).await;
    let key = world.add_account("alice", 2.0).await;
    let body = json!({"model": "gpt-4o-mini", "max_tokens": 16000, "messages": [{"role": "user", "content": "x".repeat(1000)}], "n": 10});
    upstream.script(FIRST, Script::Chat);
    assert_eq!(
        world
            .post("/v1/chat/completions", &key, &body)
            .await
            .status(),
        200
    );
    // Ten choices of 16,000 tokens cost far more than two dollars with this model.
    world
        .conf(json!({"ModelFailover": "gpt-4o-mini=gpt-4"}))
        .await;
    assert_eq!(
        world
            .post("/v1/chat/completions", &key, &body)
            .await
            .status(),
        402
    );
}

#[tokio::test]
async fn a_key_that_lists_models_serves_those_alone_and_calls_them_by_its_providers_names() {
    let (world, upstream) = (World::start().await, Upstream::start().await);
    for key in [FIRST, SECOND] {
        upstream.script(key, Script::Chat);
    }
    let first =
        json!({"models": ["gpt-4o", "o3*"], "model_names": {"gpt-4o-mini": "small-deployment"}});
    let second = json!({"models": ["gpt-4.1*"]});
    for (key, config) in [(FIRST, first), (SECOND, second)] {
        let body = json!({"SecretKey": key, "Provider": upstream.base, "Config": config});
        world.add_key_with(body).await;
    }
    let key = world.add_account("alice", 100.0).await;
    for model in [
        "gpt-4o",
        "gpt-4.1",
        "gpt-4o-mini",
        "gpt-4.1-mini",
        "o3-mini",
    ] {
        for _ in 0..2 {
            assert_eq!(world.chat(&key, model).await.status(), 200, "{model}");
        }
    }
    assert_eq!(
        models(&upstream, FIRST),
        [
            "gpt-4o",
            "gpt-4o",
            "small-deployment",
            "small-deployment",
            "o3-mini",
            "o3-mini"
        ]
    );
    assert_eq!(
        models(&upstream, SECOND),
        ["gpt-4.1", "gpt-4.1", "gpt-4.1-mini", "gpt-4.1-mini"]
    );
    // A missing key for a model is reported at once, and makes no key cool down.
    let answer = world.chat(&key, "gpt-5").await;
    crate::world::refused(answer, 503, "no_upstream_key").await;
    let conf = world.read("/x-conf").await;
    assert_eq!(conf["SleepingKeys"], json!([]));
    // The model sold is the one that was requested here.
    world.posted("alice", 10).await;
    let calls = world.read("/x-usage?user=alice").await;
    let calls = calls.as_array().unwrap();
    let used = calls.iter().map(|call| call["ModelUsed"].as_str().unwrap());
    assert_eq!(used.filter(|model| *model == "gpt-4o-mini").count(), 2);
    let route = world.read("/x-conf?explain=o3-mini").await;
    let keys = &route["Route"][0]["Levels"][0]["Keys"];
    assert_eq!(
        [&keys[0]["State"], &keys[1]["State"]],
        ["ready", "other-models"]
    );
    let listed = world.http.get(world.url("/v1/models")).bearer_auth(&key);
    let listed: Value = listed.send().await.unwrap().json().await.unwrap();
    let listed = listed["data"].as_array().unwrap().iter();
    let names: Vec<_> = listed.map(|model| model["id"].as_str().unwrap()).collect();
    assert!(
        names.contains(&"gpt-4o") && names.contains(&"gpt-4o-mini"),
        "{names:?}"
    );
    assert!(!names.contains(&"gpt-5"), "{names:?}");
}
