//! Headers that the operator sets for a key: each of its calls carries them, and clients cannot override them.

use serde_json::{Value, json};

use crate::{
    upstream::{Script, Upstream},
    world::{World, refused},
};

const UP: &str = "sk-upstream-aaaaaaaaaaaaaaaaaaaaaa";

#[tokio::test]
async fn a_keys_own_headers_go_with_each_of_its_calls_in_place_of_the_clients() {
    let world = World::start().await;
    let upstream = Upstream::start().await;
    upstream.script(UP, Script::Chat);
    let headers = json!({
        "OpenAI-Organization": "org_1", "openai-project": "proj_1", "OpenAI-Beta": "assistants=v2",
    });
    let id = world
        .add_key_with(json!({
            "SecretKey": UP, "Provider": upstream.base, "Config": { "headers": headers },
        }))
        .await;
    let alice = world.add_account("alice", 100.0).await;
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    let call = || {
        let request = world
            .http
            .post(world.url("/v1/chat/completions"))
            .bearer_auth(&alice)
            .json(&body);
        request
            .header("openai-organization", "mine")
            .header("OpenAI-Beta", "mine")
            .header("openai-beta", "mine-too")
            .header("x-mine", "1")
    };
    assert_eq!(call().send().await.unwrap().status(), 200);
    let seen = upstream.seen(UP).pop().unwrap().headers;
    for (name, value) in [
        ("openai-organization", "org_1"),
        ("openai-project", "proj_1"),
        ("openai-beta", "assistants=v2"),
        ("x-mine", "1"),
    ] {
        let all: Vec<_> = seen.get_all(name).iter().collect();
        assert_eq!(all, [value], "{name}");
    }
    // They are visible, and gone after they are removed.
    let shown = world.root(world.http.get(world.url(&format!("/x-keys/{id}"))));
    let shown: Value = shown.await.json().await.unwrap();
    assert_eq!(
        shown[0]["Config"]["headers"],
        json!({"openai-organization": "org_1", "openai-project": "proj_1", "openai-beta": "assistants=v2"})
    );
    let change = world.http.put(world.url(&format!("/x-keys/{id}")));
    let change = change.json(&json!({"Config": {"headers": {}}}));
    assert_eq!(world.root(change).await.status(), 200);
    assert_eq!(call().send().await.unwrap().status(), 200);
    let seen = upstream.seen(UP).pop().unwrap().headers;
    assert_eq!(seen.get("openai-organization"), None);
    assert_eq!(seen.get_all("openai-beta").iter().count(), 2);
}

#[tokio::test]
async fn headers_that_are_not_a_keys_to_say_are_refused_by_name() {
    let world = World::start().await;
    for name in [
        "Host",
        "Transfer-Encoding",
        "content-length",
        "Connection",
        "Authorization",
        "X-Api-Key",
        "Cookie",
        "a b",
    ] {
        let body = json!({"SecretKey": UP, "Config": {"headers": {name: "x"}}});
        let add = world.root(world.http.post(world.url("/x-keys")).json(&body));
        let message = refused(add.await, 400, "invalid_request").await;
        assert!(message.contains(name), "{message}");
    }
    let wrong = json!({"SecretKey": UP, "Config": {"headers": {"x-a": 1}}});
    let add = world.root(world.http.post(world.url("/x-keys")).json(&wrong));
    let message = refused(add.await, 400, "invalid_request").await;
    assert!(message.contains("x-a"), "{message}");
}
