//! The gateway knows what each call is: an unknown call, or one without a price, never costs the operator anything.

use http::Method;
use serde_json::{Value, json};

use crate::{
    upstream::{Script, Upstream},
    world::{ROOT, World, documented, refused, until},
};

const UP: &str = "sk-upstream-aaaaaaaaaaaaaaaaaaaaaa";
const PRICING: &str = r#"{"ChatPricing":{"house":{"InputText":2.5,"OutputText":10}}}"#;

/// A gateway with the default settings except these variables.
async fn gateway(env: &[(&str, &str)]) -> (World, Upstream, String) {
    let mut all = vec![("PASSTHROUGH", ""), ("UNPRICED", ""), ("PRICING", PRICING)];
    all.extend(env);
    let world = World::with(&all).await;
    let upstream = Upstream::start().await;
    upstream.script(UP, Script::Chat);
    world.add_key(UP, &upstream.base).await;
    let alice = world.add_account("alice", 100.0).await;
    (world, upstream, alice)
}

/// The amount that an account has spent.
fn spent(account: &Value) -> f64 {
    account["CreditUsed"].as_f64().unwrap()
}

async fn send(world: &World, method: &str, path: &str, key: &str) -> reqwest::Response {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let body = json!({"model": "house", "messages": [{"role": "user", "content": "hi"}]});
    let request = world.http.request(method, world.url(path));
    request.bearer_auth(key).json(&body).send().await.unwrap()
}

#[tokio::test]
async fn what_the_gateway_does_not_know_reaches_no_provider() {
    let (world, upstream, alice) = gateway(&[]).await;
    for (method, path) in [
        ("POST", "/v1/videos"),
        ("GET", "/v1/videos/v_1"),
        ("DELETE", "/v1/models/house"),
        ("POST", "/v1/realtime/client_secrets"),
        ("GET", "/v1/organization/admin_api_keys"),
        ("POST", "/v1/of/the/future"),
        ("GET", "/v1/embeddings"),
        ("PUT", "/v1/chat/completions"),
        ("pOST", "/v1/chat/completions"),
        ("POST", "/v1/chat%2Fcompletions"),
        ("POST", "/v1/chat/completions;v=1"),
        ("POST", "/v1/chat/completions%00"),
    ] {
        for key in [alice.as_str(), ROOT] {
            let answer = send(&world, method, path, key).await;
            let message = refused(answer, 404, "not_found").await;
            let openable = message.contains("PASSTHROUGH");
            assert_eq!(openable, !message.contains("spelt"), "{message}");
        }
    }
    assert!(upstream.seen(UP).is_empty());
    assert_eq!(world.account("alice").await["Requests"], 0);
}

#[tokio::test]
async fn a_version_too_many_is_mended_and_the_call_paid_for() {
    let (world, upstream, alice) = gateway(&[]).await;
    let paths = [
        "/v1/v1/chat/completions",
        "/v1/openai/chat/completions",
        "/openai/v1/chat/completions",
        "//v1//chat/completions/",
        "/chat/completions",
    ];
    for path in paths {
        let answer = send(&world, "POST", path, &alice).await;
        assert_eq!(answer.status(), 200, "{path}");
    }
    for seen in upstream.seen(UP) {
        assert_eq!(seen.target, "/v1/chat/completions");
    }
    let alice = world.posted("alice", paths.len() as u64).await;
    assert!((spent(&alice) - 5.0 * 0.000_097_5).abs() < 1e-9, "{alice}");
}

#[tokio::test]
async fn completions_in_the_middle_are_paid_for() {
    let (world, _upstream, alice) = gateway(&[]).await;
    let answer = send(&world, "POST", "/v1/fim/completions", &alice).await;
    assert_eq!(answer.status(), 200);
    let alice = world.posted("alice", 1).await;
    assert!((spent(&alice) - 0.000_097_5).abs() < 1e-9, "{alice}");
}

#[tokio::test]
async fn what_an_operator_opens_costs_what_he_says_and_is_for_whom_he_says() {
    let opened = "POST /v1/tools/{name} price=0.25 accounts=alice; GET /v1/tools/*";
    let (world, upstream, alice) = gateway(&[("PASSTHROUGH", opened)]).await;
    let other = world.add_account("robert", 100.0).await;
    for key in [&other, &alice] {
        let answer = send(&world, "GET", "/v1/tools/t_1/content", key).await;
        assert_eq!(answer.status(), 200);
    }
    let answer = send(&world, "POST", "/v1/tools/search", &other).await;
    refused(answer, 404, "not_found").await;
    let answer = send(&world, "POST", "/v1/tools/search", &alice).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(upstream.seen(UP).len(), 3);
    let account = world.posted("alice", 2).await;
    assert!((spent(&account) - 0.25).abs() < 1e-9, "{account}");
    assert!(spent(&world.account("robert").await).abs() < 1e-9);
    // Changed while running.
    let fewer = json!({"PASSTHROUGH": "GET /v1/tools/*"});
    let change = world.http.put(world.url("/x-config")).json(&fewer);
    assert_eq!(world.root(change).await.status(), 200);
    until("it is closed", async || {
        let answer = send(&world, "POST", "/v1/tools/search", &alice).await;
        answer.status() == 404
    })
    .await;
}

#[tokio::test]
async fn a_model_without_a_price_is_refused_to_all_but_root() {
    let (world, upstream, alice) = gateway(&[]).await;
    let message = refused(
        world.chat(&alice, "nameless").await,
        403,
        "model_not_allowed",
    )
    .await;
    assert!(message.contains("UNPRICED=serve"), "{message}");
    assert!(upstream.seen(UP).is_empty());
    assert_eq!(world.chat(ROOT, "nameless").await.status(), 200);
    assert_eq!(world.chat(&alice, "house").await.status(), 200);
}

#[tokio::test]
async fn a_call_that_names_no_model_is_refused_where_one_has_to_be_named() {
    let (world, upstream, alice) = gateway(&[]).await;
    for path in [
        "/v1/chat/completions",
        "/v1/embeddings",
        "/v1/moderations",
        "/v1/images/generations",
    ] {
        let answer = world.post(path, &alice, &json!({"input": "x"})).await;
        refused(answer, 400, "invalid_request").await;
    }
    assert!(upstream.seen(UP).is_empty());
}

#[tokio::test]
async fn a_page_in_a_browser_may_call_and_read_what_it_gets() {
    let (world, upstream, alice) = gateway(&[]).await;
    for path in [
        "/v1/chat/completions",
        "/v1/models",
        "/x-info",
        "/v1/of/the/future",
    ] {
        let asked = world
            .http
            .request(Method::OPTIONS, world.url(path))
            .header("Origin", "https://page.example.com")
            .header("Access-Control-Request-Method", "POST")
            .header(
                "Access-Control-Request-Headers",
                "authorization,x-stainless-os",
            )
            .send()
            .await
            .unwrap();
        assert_eq!(asked.status(), 204, "{path}");
        assert_eq!(asked.headers()["access-control-allow-origin"], "*");
        let names = &asked.headers()["access-control-allow-headers"];
        assert_eq!(names, "authorization,x-stainless-os");
    }
    assert!(upstream.seen(UP).is_empty());
    let from_page = |path: &str| world.http.get(world.url(path)).header("Origin", "null");
    for path in ["/v1/models", "/v1/of/the/future"] {
        let answer = from_page(path).bearer_auth(&alice).send().await.unwrap();
        assert_eq!(
            answer.headers()["access-control-allow-origin"],
            "*",
            "{path}"
        );
    }
    // Errors carry the header as well.
    let answer = from_page("/v1/models").send().await.unwrap();
    assert_eq!(answer.headers()["access-control-allow-origin"], "*");
    let answer: Value = answer.json().await.unwrap();
    documented(&answer, "invalid_api_key");
}

#[tokio::test]
async fn work_that_ends_after_its_call_is_at_the_operators_price_where_he_sets_one() {
    let opened = "POST /v1/responses price=0.5 accounts=alice";
    let (world, upstream, alice) = gateway(&[("PASSTHROUGH", opened)]).await;
    let other = world.add_account("robert", 100.0).await;
    let body = json!({"model": "house", "input": "hi", "background": true});
    // A call whose outcome cannot be learnt and that no setting opens reaches no provider.
    let answer = world.post("/v1/messages", &other, &body).await;
    assert_eq!(answer.status(), 404);
    assert!(answer.text().await.unwrap().contains("background"));
    assert!(upstream.seen(UP).is_empty());
    let answer = world.post("/v1/responses", &alice, &body).await;
    assert_eq!(answer.status(), 200);
    let account = world.posted("alice", 1).await;
    assert!((spent(&account) - 0.5).abs() < 1e-9, "{account}");
}
