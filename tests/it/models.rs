//! `/v1/models` lists what can be called: as the operator or the provider says, in the client's dialect.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    upstream::{Script, Upstream, json_answer, status},
    world::{World, refused, until},
};

const UP: &str = "sk-upstream-aaaaaaaaaaaaaaaaaaaaaa";
const OTHER: &str = "sk-upstream-bbbbbbbbbbbbbbbbbbbbbb";
const PRICING: &str = r#"{"ChatPricing":{"one":{"InputText":1,"OutputText":1},"two":{"InputText":1,"OutputText":1},"three":{"InputText":1,"OutputText":1}}}"#;

fn listing(names: &[&str]) -> Script {
    let data: Vec<_> = names
        .iter()
        .map(|id| json!({"id": id, "object": "model"}))
        .collect();
    json_answer(200, json!({"object": "list", "data": data}).to_string())
}

async fn get(world: &World, path: &str, key: &str, anthropic: bool) -> reqwest::Response {
    let mut request = world.http.get(world.url(path)).bearer_auth(key);
    if anthropic {
        request = request.header("anthropic-version", "2023-06-01");
    }
    request.send().await.unwrap()
}

async fn ids(world: &World, key: &str) -> Vec<String> {
    let answer = get(world, "/v1/models", key, false).await;
    assert_eq!(answer.status(), 200);
    let answer: Value = answer.json().await.unwrap();
    let data = answer["data"].as_array().unwrap().iter();
    data.map(|model| model["id"].as_str().unwrap().to_owned())
        .collect()
}

async fn gateway() -> (World, Upstream, String) {
    let world = World::with(&[("PRICING", PRICING), ("UNPRICED", "")]).await;
    let upstream = Upstream::start().await;
    let alice = world.add_account("alice", 100.0).await;
    (world, upstream, alice)
}

#[tokio::test]
async fn the_list_is_what_the_provider_lists_as_far_as_it_may_be_called() {
    let (world, upstream, alice) = gateway().await;
    upstream.script(UP, listing(&["one", "two", "unpriced"]));
    world.add_key(UP, &upstream.base).await;
    for _ in 0..3 {
        assert_eq!(ids(&world, &alice).await, ["one", "two"]);
    }
    assert_eq!(upstream.count(UP), 1, "it is asked once");
    world.change("alice", json!({"AllowModels": "two"})).await;
    assert_eq!(ids(&world, &alice).await, ["two"]);
    let one = get(&world, "/v1/models/one", &alice, false).await;
    refused(one, 404, "not_found").await;
    let two: Value = get(&world, "/v1/models/two", &alice, false)
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(
        (&two["id"], &two["object"]),
        (&json!("two"), &json!("model"))
    );
}

#[tokio::test]
async fn an_anthropic_client_gets_the_list_in_its_shape() {
    let (world, upstream, alice) = gateway().await;
    upstream.script(UP, listing(&["one", "two"]));
    world
        .add_key_with(json!({"SecretKey": UP, "Provider": upstream.base, "Config": {"provider_type": "anthropic"}}))
        .await;
    let list: Value = get(&world, "/v1/models?limit=1", &alice, true)
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(
        (&list["has_more"], &list["first_id"], &list["last_id"]),
        (&json!(true), &json!("one"), &json!("one"))
    );
    assert_eq!(list["data"][0]["type"], "model");
    let model: Value = get(&world, "/v1/models/two", &alice, true)
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(
        (&model["type"], &model["display_name"]),
        (&json!("model"), &json!("two"))
    );
    let missing = get(&world, "/v1/models/nine", &alice, true).await;
    assert_eq!(missing.status(), 404);
    let missing: Value = missing.json().await.unwrap();
    assert_eq!(missing["type"], "error");
    let asked = upstream.seen(UP).pop().unwrap();
    assert_eq!(asked.target, "/v1/models?limit=1000");
    assert_eq!(asked.headers["x-api-key"], UP);
}

#[tokio::test]
async fn the_list_is_never_empty_while_something_can_be_called_and_never_waits_for_who_fails() {
    let (world, upstream, alice) = gateway().await;
    upstream.script(UP, Script::Mute);
    world.add_key(UP, &upstream.base).await;
    let began = Instant::now();
    assert!(ids(&world, &alice).await.iter().any(|id| id == "one"));
    assert!(began.elapsed() < Duration::from_secs(5));
    // If other keys have listed models, the call does not wait at all.
    let config = json!({"models": ["three"]});
    world
        .add_key_with(json!({"SecretKey": OTHER, "Provider": upstream.base, "Config": config}))
        .await;
    let began = Instant::now();
    assert_eq!(ids(&world, &alice).await, ["three"]);
    assert!(
        began.elapsed() < Duration::from_millis(400),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(
        upstream.count(OTHER),
        0,
        "the operator has said what it has"
    );
}

#[tokio::test]
async fn a_node_lists_what_the_node_above_lists_for_its_key() {
    let (above, upstream, alice) = gateway().await;
    upstream.script(UP, listing(&["one", "two"]));
    above.add_key(UP, &upstream.base).await;
    above.change("alice", json!({"AllowModels": "two"})).await;
    let (below, _, bert) = gateway().await;
    below.add_key(&alice, &above.node.base).await;
    until("the list has come down", async || {
        ids(&below, &bert).await == ["two"]
    })
    .await;
}

#[tokio::test]
async fn who_fails_to_list_is_not_asked_at_each_call() {
    let (world, upstream, alice) = gateway().await;
    upstream.script(UP, status(500));
    world.add_key(UP, &upstream.base).await;
    assert!(ids(&world, &alice).await.iter().any(|id| id == "one"));
    // The provider is asked again a minute later, not for each call.
    assert!(ids(&world, &alice).await.iter().any(|id| id == "one"));
    assert_eq!(upstream.count(UP), 1);
}
