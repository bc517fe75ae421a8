//! Whose fault a refusal is: one client's mistakes cost no other client a key, a fault of the key takes it out of
//! rotation, and clients never see a key.

use std::time::Duration;

use serde_json::json;

use crate::{
    upstream::{Script, Upstream, event, events_at_once, json_answer, status},
    world::{World, until},
};

const KEYS: [&str; 4] = [
    "sk-up-one-aaaaaaaaaaaaaaaa",
    "sk-up-two-bbbbbbbbbbbbbbbb",
    "sk-up-three-cccccccccccccc",
    "sk-up-four-dddddddddddddddd",
];

/// Two accounts on keys that all follow the same script.
async fn world_of(
    keys: usize,
    env: &[(&str, &str)],
    script: impl Fn() -> Script,
) -> (World, Upstream, [String; 2]) {
    let (world, upstream) = (World::with(env).await, Upstream::start().await);
    for key in KEYS.iter().take(keys) {
        upstream.script(key, script());
        world.add_key(key, &upstream.base).await;
    }
    let accounts = [
        world.add_account("alice", 100.0).await,
        world.add_account("robert", 100.0).await,
    ];
    (world, upstream, accounts)
}

fn counts(upstream: &Upstream, keys: usize) -> Vec<usize> {
    KEYS.iter()
        .take(keys)
        .map(|key| upstream.count(key))
        .collect()
}

fn unaccepted() -> Script {
    json_answer(
        401,
        r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}"#,
    )
}

#[tokio::test]
async fn a_path_for_keys_of_another_kind_costs_nobody_a_key() {
    let (world, _upstream, [alice, bob]) = world_of(2, &[], || {
        Script::where_it_says("/v1/organizations", unaccepted(), Script::Chat)
    })
    .await;
    for _ in 0..3 {
        assert_eq!(world.chat(&bob, "gpt-4o").await.status(), 200);
        let url = world.url("/v1/organizations/users");
        let refused = world
            .http
            .get(url)
            .bearer_auth(&alice)
            .send()
            .await
            .unwrap();
        assert_eq!(refused.status(), 401);
        assert_eq!(world.chat(&alice, "gpt-4o").await.status(), 200);
    }
    let keys = world.read("/x-conf").await;
    for list in ["SleepingKeys", "DisabledKeys"] {
        assert_eq!(keys[list], json!([]), "{keys}");
    }
}

#[tokio::test]
async fn a_key_that_has_served_is_set_aside_only_when_a_question_of_the_gateways_own_is_refused() {
    let strange = || json_answer(401, r#"{"error":"no"}"#);
    let (world, upstream, [alice, bob]) = world_of(2, &[], || Script::Chat).await;
    for _ in 0..4 {
        assert_eq!(world.chat(&alice, "gpt-4o").await.status(), 200);
    }
    // The call is refused, but the list of models is not.
    upstream.script(
        KEYS[0],
        Script::where_it_says("gpt-4o-mini", strange(), Script::Chat),
    );
    for _ in 0..2 {
        assert_eq!(world.chat(&alice, "gpt-4o-mini").await.status(), 200);
    }
    until("the list of models is asked for", async || {
        let seen = upstream.seen(KEYS[0]);
        seen.iter().any(|seen| seen.target == "/v1/models")
    })
    .await;
    for _ in 0..4 {
        assert_eq!(world.chat(&bob, "gpt-4o").await.status(), 200);
    }
    assert_eq!(world.read("/x-conf").await["DisabledKeys"], json!([]));
    // Now the key is refused for every request.
    tokio::time::sleep(Duration::from_millis(5100)).await;
    upstream.script(KEYS[0], strange());
    for _ in 0..4 {
        assert_eq!(world.chat(&alice, "gpt-4o").await.status(), 200);
    }
    until("the key is set aside", async || {
        world.read("/x-conf").await["DisabledKeys"] != json!([])
    })
    .await;
    let before = upstream.count(KEYS[0]);
    for _ in 0..4 {
        assert_eq!(world.chat(&bob, "gpt-4o").await.status(), 200);
    }
    assert_eq!(upstream.count(KEYS[0]), before);
}

#[tokio::test]
async fn what_one_accounts_calls_break_works_on_for_others() {
    for broken in [status(500), Script::Hangup] {
        let (world, upstream, [alice, bob]) = world_of(3, &[("RETRY_DEADLINE_MS", "300")], || {
            Script::where_it_says("gpt-4o-mini", broken.clone(), Script::Chat)
        })
        .await;
        for _ in 0..3 {
            assert_eq!(world.chat(&bob, "gpt-4o").await.status(), 200);
        }
        for _ in 0..3 {
            assert!(
                world
                    .chat(&alice, "gpt-4o-mini")
                    .await
                    .status()
                    .is_server_error()
            );
        }
        let before: usize = counts(&upstream, 3).iter().sum();
        for _ in 0..6 {
            assert_eq!(world.chat(&bob, "gpt-4o").await.status(), 200);
        }
        let after: usize = counts(&upstream, 3).iter().sum();
        assert_eq!(after - before, 6, "each at the first try");
    }
}

#[tokio::test]
async fn a_call_that_two_keys_fail_which_answer_others_is_given_up() {
    let (world, upstream, [alice, bob]) = world_of(4, &[], || {
        Script::where_it_says("gpt-4o-mini", status(500), Script::Chat)
    })
    .await;
    for _ in 0..8 {
        assert_eq!(world.chat(&bob, "gpt-4o").await.status(), 200);
    }
    let before: usize = counts(&upstream, 4).iter().sum();
    assert_eq!(world.chat(&alice, "gpt-4o-mini").await.status(), 500);
    let after: usize = counts(&upstream, 4).iter().sum();
    assert_eq!(after - before, 2);
}

#[tokio::test]
async fn a_call_asks_each_key_once_and_no_more_than_it_may() {
    for (most, asked) in [("8", [1, 1, 1]), ("2", [1, 1, 0])] {
        let env = [("TRIES_MAX", most), ("RETRY_DEADLINE_MS", "5000")];
        for failing in [500, 503, 429] {
            let (world, upstream, [alice, _]) = world_of(3, &env, || status(failing)).await;
            let answer = world.chat(&alice, "gpt-4o").await;
            assert_eq!(answer.status(), failing);
            let mut counts = counts(&upstream, 3);
            counts.sort_unstable_by(|one, other| other.cmp(one));
            assert_eq!(counts, asked, "{failing} with {most}");
        }
    }
}

#[tokio::test]
async fn a_key_that_its_provider_repeats_is_covered() {
    let said = format!(
        r#"{{"error":{{"message":"Bad request for key {}"}}}}"#,
        KEYS[0]
    );
    let answers = [
        json_answer(400, said.clone()),
        json_answer(404, said.clone()),
        json_answer(200, said.replace("error", "note")),
        Script::Answer {
            status: 200,
            headers: vec![("x-debug", format!("Bearer {}", KEYS[0]))],
            body: "{}".into(),
        },
        events_at_once(vec![
            event(r#"{"choices":[{"delta":{"content":"a"}}]}"#),
            event(&said),
        ]),
    ];
    for script in answers {
        let (world, _upstream, [alice, _]) = world_of(1, &[], || script.clone()).await;
        for stream in [false, true] {
            let body = json!({"model": "gpt-4o", "stream": stream});
            let answer = world.post("/v1/chat/completions", &alice, &body).await;
            for (name, value) in answer.headers() {
                assert!(!value.to_str().unwrap().contains(KEYS[0]), "{name}");
            }
            let length = answer.content_length();
            let text = answer.text().await.unwrap();
            assert!(!text.contains(KEYS[0]), "{script:?}: {text}");
            assert!(!text.is_empty());
            if let Some(length) = length {
                assert_eq!(length, text.len() as u64);
            }
        }
    }
}
