//! Every method and path of the providers' references through a running gateway: relayed calls are counted and charged,
//! refused ones reach no provider, and nothing is free.

use http::Method;
use serde_json::{Value, json};

use crate::{
    raw,
    upstream::{Script, Upstream},
    world::World,
};

const UP: &str = "sk-upstream-aaaaaaaaaaaaaaaaaaaaaa";
const PRICING: &str = r#"{"ChatPricing":{"house":{"InputText":2.5,"OutputText":10}}}"#;
const REFERENCES: &str = include_str!("../data/references.json");
/// The cost of each call whose response has a chat's usage.
const CALL: f64 = 0.000_097_5;

/// Method, path, and whether the path contains an id.
fn endpoints() -> Vec<(Method, String, bool)> {
    let references: Value = serde_json::from_str(REFERENCES).unwrap();
    let providers = references.as_array().unwrap().iter();
    let all = providers.flat_map(|provider| provider["endpoints"].as_array().unwrap());
    let mut all: Vec<_> = all
        .map(|endpoint| {
            let (method, path) = endpoint.as_str().unwrap().split_once(' ').unwrap();
            let parts = path.split(['{', '}']).enumerate();
            let filled: String = parts
                .map(|(at, part)| if at % 2 == 0 { part } else { "id_1" })
                .collect();
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            (method, filled, path.contains('{'))
        })
        .collect();
    all.sort_by(|a, b| (&a.1, a.0.as_str()).cmp(&(&b.1, b.0.as_str())));
    all.dedup();
    all
}

async fn gateway() -> (World, Upstream, String) {
    let env = [("PASSTHROUGH", ""), ("UNPRICED", ""), ("PRICING", PRICING)];
    let world = World::with(&env).await;
    let upstream = Upstream::start().await;
    upstream.script(UP, Script::Chat);
    let key = json!({"SecretKey": UP, "Provider": upstream.base, "Config": {"models": ["house"]}});
    world.add_key_with(key).await;
    let alice = world.add_account("alice", 100.0).await;
    (world, upstream, alice)
}

fn body() -> Value {
    json!({
        "model": "house", "messages": [{"role": "user", "content": "hi"}], "input": "hi", "prompt": "hi",
        "max_tokens": 10, "query": "hi", "documents": ["hi"], "voice": "alloy",
    })
}

#[tokio::test]
async fn each_endpoint_of_the_references_is_paid_for_or_has_an_owner_or_is_refused() {
    let (world, upstream, alice) = gateway().await;
    let mut paid = 0;
    for (method, path, has_id) in endpoints() {
        let before = upstream.count(UP);
        let request = world
            .http
            .request(method.clone(), world.url(&path))
            .bearer_auth(&alice);
        let answer = request.json(&body()).send().await.unwrap();
        let relayed = upstream.count(UP) - before;
        let (status, said) = (answer.status().as_u16(), answer.text().await.unwrap());
        if relayed == 0 {
            let own = method == Method::GET && status == 200;
            assert!(
                own || (400..500).contains(&status),
                "{method} {path}: {status} {said}"
            );
            continue;
        }
        assert_eq!(relayed, 1, "{method} {path}");
        // An object of another account is not found, so only calls that create something can get through without being
        // charged at once.
        let counted = world.account("alice").await["Requests"].as_u64();
        let makes = method == Method::POST && !has_id;
        assert!(makes, "{method} {path}: what stands there is nobody's");
        let account = world.posted("alice", paid + 1).await;
        assert!(
            counted.is_some() && account["Requests"].as_u64() == Some(paid + 1),
            "{method} {path}"
        );
        paid += 1;
    }
    assert!(paid >= 15, "{paid}");
    let account = world.account("alice").await;
    let spent = account["CreditUsed"].as_f64().unwrap();
    assert!(spent >= CALL * 5.0, "{account}");
}

#[tokio::test]
async fn no_spelling_of_an_endpoint_gets_through_unmetered() {
    let (world, upstream, alice) = gateway().await;
    let bearer = format!("Bearer {alice}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
    ];
    let body = body().to_string();
    let mut counted = 0;
    for own in [
        "chat/completions",
        "embeddings",
        "messages",
        "responses",
        "files",
        "organization/costs",
    ] {
        let (first, last) = own.split_at(1);
        for target in [
            format!("/v1/{own};a=1"),
            format!("/v1/{own}/"),
            format!("/v1//{own}"),
            format!("/v1/v1/{own}"),
            format!("/v1/openai/{own}"),
            format!("/v1/%{:02x}{last}", first.as_bytes()[0]),
            format!("/v1/{}", own.replace('/', "%2f")),
            format!("/v1/x/%2e%2e/{own}"),
            format!("/v1/%2e/{own}"),
            format!("/v1/{own}%00"),
            format!("/v1/{own}%20"),
            format!("/v1/{}", own.to_uppercase()),
            format!("/V1/{own}"),
            format!("/v1%2f{own}"),
            format!("/{own}?model=x"),
            format!("/v1beta/{own}"),
        ] {
            for method in ["POST", "post", "PUT", "GET", "PATCH"] {
                let request = raw::request(method, &target, &headers, body.as_bytes());
                let before = upstream.count(UP);
                let answer = raw::exchange(&world.node.base, &request).await;
                let relayed = upstream.count(UP) - before;
                if relayed == 0 {
                    // Or the gateway's own list of objects that the account created.
                    let is_list = method == "GET" && answer.json()["data"].is_array();
                    let status = answer.status;
                    assert!(status >= 400 || is_list, "{method} {target}: {status}");
                    continue;
                }
                let seen = upstream.seen(UP).pop().unwrap();
                assert_eq!((seen.method.as_str(), method), ("POST", "POST"), "{target}");
                assert_eq!(seen.target, format!("/v1/{own}"), "{target}");
                counted += 1;
            }
        }
    }
    let account = world.posted("alice", counted).await;
    assert_eq!(account["Requests"].as_u64(), Some(counted));
    assert!(counted >= 12, "{counted}");
}
