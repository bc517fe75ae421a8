//! Conversations stay on one key, if affinity is on and while the key is healthy.

use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use crate::{
    upstream::{Script, Upstream, status},
    world::World,
};

const KEYS: usize = 8;
const TURNS: usize = 50;
/// Enough that chance alone keeps the load even.
const CONVERSATIONS: usize = 120;

fn secret(at: usize) -> String {
    format!("sk-affinity-{at}-aaaaaaaaaaaa")
}

async fn world_of_eight(affinity: &str) -> (World, Upstream, String) {
    let (world, upstream) = (World::start().await, Upstream::start().await);
    for at in 0..KEYS {
        upstream.script(&secret(at), Script::Chat);
        world.add_key(&secret(at), &upstream.base).await;
    }
    world.conf(json!({"Affinity": affinity})).await;
    let key = world.add_account("alice", 1000.0).await;
    (world, upstream, key)
}

/// The body of a turn, which repeats all earlier messages.
fn turn(conversation: usize, turn: usize) -> Value {
    let mut messages = vec![
        json!({"role": "system", "content": "You are the same for everybody."}),
        json!({"role": "user", "content": format!("question of {conversation}")}),
    ];
    for at in 0..turn {
        messages.push(json!({"role": "assistant", "content": format!("answer {at}")}));
        messages.push(json!({"role": "user", "content": format!("and {at}?")}));
    }
    json!({"model": "gpt-4o-mini", "messages": messages})
}

/// Turns of each conversation on each key, from the requests that the upstream got.
fn spread(upstream: &Upstream) -> Vec<[usize; KEYS]> {
    let mut spread = vec![[0; KEYS]; CONVERSATIONS];
    for (key, name) in (0..KEYS).flat_map(|key| {
        upstream
            .seen(&secret(key))
            .into_iter()
            .map(move |seen| (key, name(&seen.body)))
    }) {
        spread[name][key] += 1;
    }
    spread
}

/// The conversation that a turn belongs to.
fn name(body: &[u8]) -> usize {
    let body: Value = serde_json::from_slice(body).unwrap();
    let question = body["messages"][1]["content"].as_str().unwrap();
    question.trim_start_matches("question of ").parse().unwrap()
}

/// Runs all conversations, some concurrently, each turn after the previous one.
async fn converse(world: &World, key: &str, headers: bool) {
    stream::iter(0..CONVERSATIONS)
        .for_each_concurrent(8, async |conversation| {
            for at in 0..TURNS {
                // Short bodies suffice if the name is in a header.
                let body = turn(conversation, if headers { 0 } else { at });
                let request = world.http.post(world.url("/v1/chat/completions"));
                let request = request.bearer_auth(key).json(&body);
                let request = if headers {
                    request.header("x-session-id", format!("session-{conversation}"))
                } else {
                    request
                };
                assert_eq!(request.send().await.unwrap().status(), 200);
            }
        })
        .await;
}

fn check(spread: &[[usize; KEYS]]) {
    let turns = CONVERSATIONS * TURNS;
    let kept: usize = spread.iter().map(|keys| keys.iter().max().unwrap()).sum();
    assert!(
        kept * 100 >= turns * 98,
        "{kept} of {turns} turns kept to their key"
    );
    let loads: Vec<usize> = (0..KEYS)
        .map(|at| spread.iter().map(|keys| keys[at]).sum())
        .collect();
    let most = *loads.iter().max().unwrap();
    assert!(most * KEYS * 2 < turns * 3, "uneven load {loads:?}");
}

#[tokio::test]
async fn named_conversations_keep_to_their_keys_and_load_them_evenly() {
    let (world, upstream, key) = world_of_eight("session").await;
    converse(&world, &key, true).await;
    check(&spread(&upstream));
}

#[tokio::test]
async fn conversations_that_begin_alike_keep_to_their_keys() {
    let (world, upstream, key) = world_of_eight("prefix").await;
    converse(&world, &key, false).await;
    check(&spread(&upstream));
}

#[tokio::test]
async fn a_conversation_leaves_a_key_that_is_unwell_and_no_other_one_moves() {
    let (world, upstream, key) = world_of_eight("session").await;
    let ask = async |name: usize| {
        let body = json!({"model": "gpt-4o-mini", "user": format!("u{name}"), "messages": [{"role": "user", "content": "hi"}]});
        let answer = world.post("/v1/chat/completions", &key, &body).await;
        assert_eq!(answer.status(), 200);
    };
    let counts = || {
        (0..KEYS)
            .map(|at| upstream.count(&secret(at)))
            .collect::<Vec<_>>()
    };
    // The key of each conversation.
    let mut homes = Vec::new();
    for name in 0..40 {
        let before = counts();
        ask(name).await;
        let after = counts();
        homes.push((0..KEYS).find(|at| after[*at] > before[*at]).unwrap());
    }
    let sick = homes[0];
    upstream.script(&secret(sick), status(503));
    for (name, home) in homes.iter().enumerate() {
        let before = counts();
        ask(name).await;
        let after = counts();
        let served = (0..KEYS)
            .filter(|at| *at != sick)
            .find(|at| after[*at] > before[*at]);
        assert!(served.is_some());
        if *home != sick {
            assert_eq!(served, Some(*home), "conversation {name} moved");
        }
    }
}
