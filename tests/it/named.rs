//! A list of models applies wherever a call names one, and so does a missing price.

use serde_json::{Value, json};

use crate::{
    upstream::{Script, Upstream, event, events_at_once, json_answer},
    world::{ROOT, World, refused},
};

const UP: &str = "sk-upstream-aaaaaaaaaaaaaaaaaaaaaa";
const PRICING: &str = r#"{"ChatPricing":{"small":{"InputText":1,"OutputText":1},"large":{"InputText":100,"OutputText":100}}}"#;
const OPENED: &str = "POST /v1/messages/batches; POST /v1/agents; POST /v1/realtime/client_secrets; POST /v1/evals; POST /v1/models/*";

async fn gateway() -> (World, Upstream, String) {
    let env = [
        ("PRICING", PRICING),
        ("PASSTHROUGH", OPENED),
        ("UNPRICED", ""),
    ];
    let world = World::with(&env).await;
    let upstream = Upstream::start().await;
    upstream.script(UP, Script::Chat);
    world.add_key(UP, &upstream.base).await;
    let alice = world.add_account("alice", 100.0).await;
    world
        .change("alice", json!({"AllowModels": "small nameless"}))
        .await;
    (world, upstream, alice)
}

/// `{"requests":[{"params":{"model":"large"}}]}`, gzipped.
const PACKED: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xab\x56\x2a\x4a\x2d\x2c\x4d\x2d\x2e\x29\x56\xb2\x8a\xae\x56\x2a\x48\x2c\x4a\xcc\x05\x32\xab\x95\x72\xf3\x53\x52\x73\x94\xac\x94\x72\x12\x8b\xd2\x53\x95\x6a\x6b\x63\x6b\x01\x92\xb7\x44\x3e\x2b\x00\x00\x00";

/// Bodies that name `model` somewhere beside a model that is allowed.
fn naming(model: &str) -> Vec<(&'static str, Value)> {
    let chat = |more: Value| {
        let mut body = json!({"model": "small", "messages": [{"role": "user", "content": "hi"}]});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        ("/v1/chat/completions", body)
    };
    let response = json!({"model": "small", "input": "hi", "tools": [{"type": "image_generation", "model": model}]});
    let batch = json!({"requests": [
        {"custom_id": "1", "params": {"model": "small", "max_tokens": 1, "messages": []}},
        {"custom_id": "2", "params": {"model": model, "max_tokens": 1, "messages": []}},
    ]});
    vec![
        chat(json!({"models": ["small", model]})),
        chat(json!({"models": [model], "route": "fallback"})),
        chat(json!({"fallbacks": [{"model": model}]})),
        chat(json!({"fallbacks": [model]})),
        ("/v1/responses", response),
        ("/v1/messages/batches", batch),
        ("/v1/agents", json!({"name": "a", "model": {"id": model}})),
        ("/v1/agents", json!({"name": "a", "model": model})),
        (
            "/v1/realtime/client_secrets",
            json!({"session": {"type": "realtime", "model": model}}),
        ),
        (
            "/v1/evals",
            json!({"testing_criteria": [{"type": "score_model", "model": model}]}),
        ),
        ("/v1/models/small:generate?model=", json!({"x": model})),
    ]
}

#[tokio::test]
async fn a_model_that_is_not_allowed_or_has_no_price_is_refused_wherever_it_is_named() {
    let (world, upstream, alice) = gateway().await;
    for wrong in ["large", "nameless"] {
        for (path, body) in naming(wrong) {
            let path = match path.strip_suffix("?model=") {
                Some(_) => format!("{path}{wrong}"),
                None => path.to_owned(),
            };
            let answer = world.post(&path, &alice, &body).await;
            assert_eq!(answer.status(), 403, "{path} {body}");
            let error: Value = answer.json().await.unwrap();
            let message = error["message"].as_str().unwrap();
            let code = error.pointer("/error/code").or(error.get("code"));
            assert_eq!(code, Some(&json!("model_not_allowed")), "{path} {body}");
            assert!(message.contains(wrong), "{path} {body}: {message}");
        }
    }
    let below = format!("/v1/models/{}:generate", "large");
    refused(
        world.post(&below, &alice, &json!({})).await,
        403,
        "model_not_allowed",
    )
    .await;
    // Compression does not hide a name.
    let request = world
        .http
        .post(world.url("/v1/messages/batches"))
        .bearer_auth(&alice);
    let request = request
        .header("content-type", "application/json")
        .header("content-encoding", "gzip");
    assert_eq!(request.body(PACKED).send().await.unwrap().status(), 403);
    assert!(upstream.seen(UP).is_empty());
    // Allowed models pass, and root may use all.
    for (path, body) in naming("small") {
        let path = path.strip_suffix("?model=").unwrap_or(path);
        let answer = world.post(path, &alice, &body).await;
        assert_eq!(answer.status(), 200, "{path} {body}");
    }
    for (path, body) in naming("nameless") {
        let path = path.strip_suffix("?model=").unwrap_or(path);
        assert_eq!(
            world.post(path, ROOT, &body).await.status(),
            200,
            "{path} {body}"
        );
    }
}

#[tokio::test]
async fn a_call_sets_aside_what_the_dearest_of_its_models_costs() {
    let (world, upstream, alice) = gateway().await;
    world
        .change("alice", json!({"AllowModels": "*", "HardLimit": 0.01}))
        .await;
    let ask = async |more: Value| {
        let mut body = json!({"model": "small", "max_tokens": 1000, "messages": []});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        world
            .post("/v1/chat/completions", &alice, &body)
            .await
            .status()
    };
    assert_eq!(ask(json!({})).await, 200);
    assert_eq!(ask(json!({"models": ["large"]})).await, 429);
    assert_eq!(upstream.seen(UP).len(), 1);
}

#[tokio::test]
async fn a_call_without_a_model_goes_to_a_key_of_its_dialect() {
    let opened = "POST /v1/of/the/future";
    let world = World::with(&[("PASSTHROUGH", opened)]).await;
    let upstream = Upstream::start().await;
    let other = "sk-upstream-bbbbbbbbbbbbbbbbbbbbbb";
    for key in [UP, other] {
        upstream.script(key, Script::Echo);
    }
    world.add_key(UP, &upstream.base).await;
    world
        .add_key_with(json!({"SecretKey": other, "Provider": upstream.base, "Config": {"provider_type": "anthropic"}}))
        .await;
    let alice = world.add_account("alice", 100.0).await;
    let ask = async |path: &str, says: bool| {
        let mut request = world.http.post(world.url(path)).bearer_auth(&alice);
        if says {
            request = request.header("anthropic-version", "2023-06-01");
        }
        let before = (upstream.count(UP), upstream.count(other));
        assert_eq!(request.send().await.unwrap().status(), 200, "{path}");
        (
            upstream.count(UP) - before.0,
            upstream.count(other) - before.1,
        )
    };
    for _ in 0..3 {
        assert_eq!(ask("/v1/files", true).await, (0, 1));
        assert_eq!(ask("/v1/of/the/future", true).await, (0, 1));
        assert_eq!(ask("/v1/files", false).await, (1, 0));
        assert_eq!(ask("/v1/conversations", false).await, (1, 0));
    }
}

/// The same response in three dialects, whole and streamed, from the model `large`.
fn answers_by(model: &str) -> Vec<(&'static str, Script)> {
    let chat = json!({"id": "c", "object": "chat.completion", "model": model,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 10}});
    let chunk = json!({"id": "c", "model": model, "choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}]});
    let last = json!({"id": "c", "model": model, "choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 10}});
    let response = json!({"id": "r", "object": "response", "status": "completed", "model": model,
        "output": [{"type": "message", "id": "m", "content": [{"type": "output_text", "text": "a"}]}],
        "usage": {"input_tokens": 10, "output_tokens": 10}});
    let completed = json!({"type": "response.completed", "response": response});
    let message = json!({"id": "m", "type": "message", "model": model, "content": [{"type": "text", "text": "a"}],
        "stop_reason": "end_turn", "usage": {"input_tokens": 10, "output_tokens": 10}});
    let started = json!({"type": "message_start", "message": {"id": "m", "model": model, "content": [], "usage": {"input_tokens": 10, "output_tokens": 1}}});
    let delta = json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 10}});
    let stopped = json!({"type": "message_stop"});
    let events =
        |all: &[&Value]| events_at_once(all.iter().map(|one| event(&one.to_string())).collect());
    vec![
        ("/v1/chat/completions", json_answer(200, chat.to_string())),
        ("/v1/chat/completions", events(&[&chunk, &last])),
        ("/v1/responses", json_answer(200, response.to_string())),
        ("/v1/responses", events(&[&completed])),
        ("/v1/messages", json_answer(200, message.to_string())),
        ("/v1/messages", events(&[&started, &delta, &stopped])),
    ]
}

/// The cost of one such call, in nano-dollars.
async fn cost_of(path: &str, script: Script, alternatives: Value) -> i64 {
    let (world, upstream, alice) = gateway().await;
    world.change("alice", json!({"AllowModels": "*"})).await;
    upstream.script(UP, script);
    let mut body = json!({"model": "small", "max_tokens": 100, "messages": [], "input": "hi"});
    body.as_object_mut()
        .unwrap()
        .extend(alternatives.as_object().unwrap().clone());
    let answer = world.post(path, &alice, &body).await;
    assert_eq!(answer.status(), 200);
    answer.bytes().await.unwrap();
    world.posted("alice", 1).await;
    let posted = world.grpc().usage("alice").await.remove(0);
    posted.record.unwrap().cost_nanos
}

#[tokio::test]
async fn of_several_models_the_one_that_answered_is_paid() {
    for (path, script) in answers_by("vendor/large") {
        let cost = cost_of(path, script, json!({"models": ["large"]})).await;
        assert_eq!(cost, 20 * 100_000, "{path}");
    }
    for (path, script) in answers_by("small-2025-01-01") {
        let cost = cost_of(path, script, json!({"models": ["large"]})).await;
        assert_eq!(cost, 20 * 1_000, "{path}: a date makes it no other model");
    }
    for (path, script) in answers_by("large") {
        let cost = cost_of(path, script, json!({})).await;
        assert_eq!(cost, 20 * 1_000, "{path}: nothing else was asked for");
    }
}
