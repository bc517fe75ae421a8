//! Nodes in front of nodes: a pool entry that is another node's client key.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    raw,
    upstream::{Script, Upstream, completion, event, events_at_once},
    world::{World, documented, refused, until},
};

const UP: &str = "sk-upstream-aaaaaaaaaaaaaaaaaaaaaa";
const PRICING: &str = r#"{"ChatPricing":{"house":{"InputText":2.5,"OutputText":10}}}"#;
const QUICK: [(&str, &str); 2] = [("PRICING", PRICING), ("RETRY_DEADLINE_MS", "1500")];

/// An upper node with a provider behind it, and a lower node whose only key is an account of the upper.
struct Cascade {
    upstream: Upstream,
    upper: World,
    lower: World,
    /// Client key of `alice` on the lower node.
    key: String,
}

impl Cascade {
    async fn start(script: Script, credit: f64) -> Self {
        let (upper, lower) = (World::with(&QUICK).await, World::with(&QUICK).await);
        let upstream = Upstream::start().await;
        upstream.script(UP, script);
        upper.add_key(UP, &upstream.base).await;
        let reseller = upper.add_account("reseller", credit).await;
        lower.add_key(&reseller, &upper.node.base).await;
        let key = lower.add_account("alice", 100.0).await;
        Self {
            upstream,
            upper,
            lower,
            key,
        }
    }
}

#[tokio::test]
async fn a_call_goes_through_two_nodes_and_is_counted_on_both() {
    let Cascade {
        upstream,
        upper,
        lower,
        key,
    } = Cascade::start(Script::Chat, 100.0).await;
    let request = lower
        .http
        .post(lower.url("/v1/chat/completions"))
        .bearer_auth(&key);
    let request = request.header(
        "traceparent",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    );
    let answer = request
        .header("x-request-id", "one-id")
        .json(&json!({"model": "house"}))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["x-request-id"], "one-id");
    assert!(
        !answer.headers().contains_key("x-upstream-request-id"),
        "the provider gave none, and the node above has no other"
    );
    assert_eq!(answer.bytes().await.unwrap(), completion("hello"));
    let seen = upstream.seen(UP).remove(0);
    assert_eq!(seen.headers["x-request-id"], "one-id");
    assert_eq!(
        seen.headers["traceparent"],
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    );
    let via: Vec<_> = seen
        .headers
        .get_all("via")
        .iter()
        .flat_map(|value| value.to_str().unwrap().split(", "))
        .collect();
    assert_eq!(via.len(), 2, "each node adds itself: {via:?}");
    assert_ne!(via[0], via[1]);
    assert!(
        via.iter().all(|entry| entry.starts_with("1.1 proxyxai-")),
        "{via:?}"
    );
    lower.posted("alice", 1).await;
    upper.posted("reseller", 1).await;
    for (world, name) in [(&lower, "alice"), (&upper, "reseller")] {
        let record = world.grpc().usage(name).await.remove(0).record.unwrap();
        let tokens = record.tokens.unwrap();
        assert_eq!(
            (tokens.input, tokens.output, record.cost_nanos),
            (11, 7, 97_500),
            "{name}"
        );
        assert_eq!(record.request_id, "one-id");
    }
}

#[tokio::test]
async fn a_stream_goes_through_two_nodes_byte_for_byte() {
    let plain: Vec<_> = (0..50)
        .map(|index| {
            event(&format!(
                r#"{{"choices":[{{"delta":{{"content":"{index}"}}}}]}}"#
            ))
        })
        .collect();
    let usage = event(
        r#"{"choices":[],"usage":{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29}}"#,
    );
    let asked = [plain.clone(), vec![usage]].concat();
    let script = Script::ByUsage {
        asked,
        plain: plain.clone(),
    };
    let Cascade {
        upper,
        lower,
        key,
        upstream: _upstream,
        ..
    } = Cascade::start(script, 100.0).await;
    let answer = lower.chat_stream(&key, "house").await;
    assert_eq!(
        answer.bytes().await.unwrap(),
        plain.concat(),
        "the client did not ask for usage and sees none"
    );
    for (world, name) in [(&lower, "alice"), (&upper, "reseller")] {
        world.posted(name, 1).await;
        let tokens = world
            .grpc()
            .usage(name)
            .await
            .remove(0)
            .record
            .unwrap()
            .tokens
            .unwrap();
        assert_eq!((tokens.input, tokens.output), (19, 10), "{name}");
    }
}

#[tokio::test]
async fn the_upper_nodes_refusal_of_the_request_reaches_the_client_as_it_came() {
    let Cascade {
        upper,
        lower,
        key,
        upstream: _upstream,
        ..
    } = Cascade::start(Script::Chat, 100.0).await;
    upper
        .change("reseller", json!({"AllowModels": "house"}))
        .await;
    let message = refused(lower.chat(&key, "other").await, 403, "model_not_allowed").await;
    assert!(message.contains("reseller"), "{message}");
    assert_eq!(lower.chat(&key, "house").await.status(), 200);
    assert_eq!(lower.read("/x-conf").await["DisabledKeys"], json!([]));
}

#[tokio::test]
async fn a_node_that_leads_to_itself_answers_with_an_error_and_soon() {
    let world = World::with(&QUICK).await;
    let own = world.add_account("mirror", 100.0).await;
    world.add_key(&own, &world.node.base).await;
    let key = world.add_account("alice", 100.0).await;
    let start = Instant::now();
    let answer = world.chat(&key, "house").await;
    assert!(
        start.elapsed() < Duration::from_secs(8),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(answer.status(), 508);
    assert!(answer.json::<Value>().await.unwrap()["error"]["message"].is_string());
}

#[tokio::test]
async fn two_nodes_that_lead_to_each_other_answer_with_an_error_and_soon() {
    let (one, two) = (World::with(&QUICK).await, World::with(&QUICK).await);
    for (from, to) in [(&one, &two), (&two, &one)] {
        let key = to.add_account("other", 100.0).await;
        from.add_key(&key, &to.node.base).await;
    }
    let key = one.add_account("alice", 100.0).await;
    let start = Instant::now();
    let answer = one.chat_stream(&key, "house").await;
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "{:?}",
        start.elapsed()
    );
    assert!(answer.status().is_server_error(), "{}", answer.status());
    // The key that forms a loop is not disabled for it.
    assert_eq!(one.read("/x-conf").await["DisabledKeys"], json!([]));
}

#[tokio::test]
async fn what_has_passed_this_node_or_more_than_eight_nodes_is_refused() {
    let Cascade {
        upstream,
        upper: world,
        ..
    } = Cascade::start(Script::Chat, 100.0).await;
    let key = world.add_account("bobby", 100.0).await;
    let call = async |via: &str, path: &str| {
        let bearer = format!("Bearer {key}");
        let headers = [
            ("Authorization", bearer.as_str()),
            ("Content-Type", "application/json"),
            ("Via", via),
        ];
        raw::exchange(
            &world.node.base,
            &raw::request("POST", path, &headers, b"{\"model\":\"m\"}"),
        )
        .await
    };
    let nodes = |count: usize| {
        (0..count)
            .map(|at| format!("1.1 proxyxai-n{at}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    assert_eq!(call(&nodes(8), "/v1/chat/completions").await.status, 200);
    assert_eq!(
        call(
            "1.1 varnish, 1.0 cdn.example.com (x), HTTP/2 nginx",
            "/v1/chat/completions"
        )
        .await
        .status,
        200
    );
    let via = upstream
        .seen(UP)
        .pop()
        .unwrap()
        .headers
        .get_all("via")
        .iter()
        .map(|value| value.to_str().unwrap().to_owned())
        .collect::<Vec<_>>()
        .join(", ");
    assert!(
        via.starts_with("1.1 varnish, 1.0 cdn.example.com (x), HTTP/2 nginx, 1.1 proxyxai-"),
        "{via}"
    );
    let own = via.rsplit(", ").next().unwrap();
    for refused in [
        nodes(9),
        own.to_owned(),
        format!("1.1 varnish, {own}, 1.1 nginx"),
    ] {
        let answer = call(&refused, "/v1/chat/completions").await;
        assert_eq!(answer.status, 508, "{refused}");
        documented(&answer.json(), "loop_detected");
        assert_eq!(call(&refused, "/v1/messages").await.json()["type"], "error");
    }
    assert_eq!(upstream.count(UP), 2);
}

#[tokio::test]
async fn a_key_whose_account_above_is_out_of_credit_sleeps_and_is_not_disabled() {
    let Cascade {
        upstream,
        upper,
        lower,
        key,
    } = Cascade::start(Script::Chat, 100.0).await;
    upper
        .change("reseller", json!({"CreditGranted": -99.5}))
        .await;
    let answer = lower.chat(&key, "house").await;
    assert!(answer.status().as_u16() >= 400);
    until("the key sleeps", async || {
        lower.read("/x-conf").await["SleepingKeys"]
            .as_array()
            .is_some_and(|keys| keys.len() == 1)
    })
    .await;
    let conf = lower.read("/x-conf").await;
    assert_eq!(conf["DisabledKeys"], json!([]), "{conf}");
    assert_eq!(upstream.count(UP), 0);
    // With a second key the client sees no error.
    let spare = "sk-spare-bbbbbbbbbbbbbbbbbbbbbb";
    upstream.script(spare, Script::Chat);
    lower.add_key(spare, &upstream.base).await;
    assert_eq!(lower.chat(&key, "house").await.status(), 200);
    // Credit on the upper node and a reload on the lower one bring the key back.
    upper.change("reseller", json!({"CreditGranted": 50})).await;
    lower.conf(json!({"LoadKeys": true})).await;
    for _ in 0..2 {
        assert_eq!(lower.chat(&key, "house").await.status(), 200);
    }
    assert_eq!(upstream.count(UP), 1, "both keys take their turn again");
}

#[tokio::test]
async fn neither_nodes_keys_show_on_the_other() {
    let Cascade {
        upstream,
        upper,
        lower,
        key,
    } = Cascade::start(events_at_once(vec![event("{}")]), 100.0).await;
    lower
        .chat_stream(&key, "house")
        .await
        .bytes()
        .await
        .unwrap();
    let seen = upstream.seen(UP).remove(0);
    assert!(
        seen.headers
            .values()
            .all(|value| !value.to_str().unwrap().contains("sk-Xvs")),
        "{:?}",
        seen.headers
    );
    for world in [&upper, &lower] {
        assert!(!world.node.log().contains(&key) && !world.node.log().contains(UP));
    }
}
