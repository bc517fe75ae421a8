//! One customer takes all it can get: open calls, bodies, slow bodies, connections, places in a queue, administrative
//! requests.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Response;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use super::{MARK, Street, sub_account};
use crate::{
    raw,
    upstream::{Script, event},
    world::{refused, until},
};

const MIB: usize = 1024 * 1024;

fn stalled() -> Script {
    Script::Stalled {
        chunks: vec![event(r#"{"choices":[{"delta":{"content":"a"}}]}"#)],
    }
}

/// Sends the head and the first bytes of a call.
async fn begin(street: &Street, key: &str, length: usize, first: &[u8]) -> TcpStream {
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    let mut socket = raw::connect(&street.world.node.base).await;
    socket.write_all(head.as_bytes()).await.unwrap();
    // A call refused early may find the connection closed.
    let _sent = socket.write_all(first).await;
    socket
}

async fn stream(street: &Street, key: &str) -> Response {
    let messages = json!([{"role": "user", "content": MARK}]);
    // Cheap, so that the credit does not run out first.
    let body = json!({"model": "gpt-4o", "stream": true, "max_tokens": 4, "messages": messages});
    street.world.post("/v1/chat/completions", key, &body).await
}

/// Opens `count` streams with these keys in turn. Returns the open streams and how many were refused.
async fn open_many(street: &Street, keys: &[String], count: usize) -> (Vec<Response>, usize) {
    let (mut open, mut full) = (Vec::new(), 0);
    let keys: Vec<_> = (0..count).map(|at| &keys[at % keys.len()]).collect();
    for some in keys.chunks(100) {
        for answer in join_all(some.iter().map(|key| stream(street, key))).await {
            if answer.status() == 200 {
                open.push(answer);
                continue;
            }
            assert_eq!(answer.headers()["retry-after"], "1");
            refused(answer, 429, "too_much_at_once").await;
            full += 1;
        }
    }
    (open, full)
}

#[tokio::test]
async fn ten_thousand_open_calls_leave_room_for_a_neighbour() {
    let street = Street::new(2, &[("ABANDONED", "cancel")]).await;
    street.poison(&stalled());
    let (open, full) =
        open_many(&street, &[street.bad.clone(), street.below.clone()], 10_000).await;
    assert_eq!((open.len(), full), (2500, 7500));
    street.is_quiet("with 2500 calls open").await;
    street.keys_are_there("with 2500 calls open").await;
    drop(open);
    until("places are given back", async || {
        stream(&street, &street.bad).await.status() == 200
    })
    .await;
}

#[tokio::test]
async fn sub_accounts_are_no_way_round_the_share_and_a_field_changes_it() {
    let env = [
        ("CALLS_PER_ACCOUNT_MAX", "20"),
        ("USER_MIN_BALANCE", "1"),
        ("ABANDONED", "cancel"),
    ];
    let street = Street::new(2, &env).await;
    street.poison(&stalled());
    let mut keys = Vec::new();
    for number in 0..15 {
        keys.push(sub_account(&street.world, &street.bad, &format!("badboy{number}")).await);
    }
    let (open, full) = open_many(&street, &keys, 60).await;
    assert_eq!((open.len(), full), (20, 40));
    let message = refused(stream(&street, &street.bad).await, 429, "too_much_at_once").await;
    assert!(message.contains("badman"), "{message}");
    street.is_quiet("with a share taken by sub-accounts").await;
    // One account has a lower limit of its own; the customer as a whole has a higher one.
    drop(open);
    street.upstream.all_closed().await;
    let change = json!({"CallsMax": 2});
    let url = street.world.url("/x-users/badboy0");
    let changed = street
        .world
        .http
        .put(url)
        .bearer_auth(&street.bad)
        .json(&change);
    assert_eq!(changed.send().await.unwrap().status(), 200);
    street.world.change("badman", json!({"CallsMax": 30})).await;
    assert_eq!(open_many(&street, &keys[..1], 5).await.0.len(), 2);
    street.upstream.all_closed().await;
    assert_eq!(open_many(&street, &keys, 60).await.0.len(), 30);
    street.upstream.all_closed().await;
    let shown = street
        .world
        .http
        .get(street.world.url("/x-info"))
        .bearer_auth(&street.bad);
    let shown: Value = shown.send().await.unwrap().json().await.unwrap();
    assert_eq!(shown["CallsMax"], 30);
    // Anthropic's clients expect Anthropic's error shape.
    let (_open, _) = open_many(&street, &keys, 60).await;
    let body = json!({"model": "claude-sonnet-4", "max_tokens": 8, "messages": [{"role": "user", "content": MARK}]});
    let answer = street.world.post("/v1/messages", &street.bad, &body).await;
    assert_eq!(answer.status(), 429);
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(
        (&answer["type"], &answer["error"]["type"]),
        (&json!("error"), &json!("rate_limit_error"))
    );
    // A limit above the maximum is refused.
    let answer = street
        .world
        .http
        .put(street.world.url("/x-users/badman"))
        .json(&json!({"CallsMax": -1}));
    assert_eq!(street.world.root(answer).await.status(), 400);
}

#[tokio::test]
async fn slow_bodies_and_slow_heads_leave_a_neighbour_in_peace() {
    let street = Street::new(1, &[]).await;
    let mut slow = Vec::new();
    for _ in 0..300 {
        slow.push(begin(&street, &street.bad, 1000, b"{").await);
        let mut head = raw::connect(&street.world.node.base).await;
        head.write_all(b"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\n")
            .await
            .unwrap();
        slow.push(head);
    }
    for _ in 0..3 {
        for socket in &mut slow {
            // A connection whose head does not come in time is closed.
            let _sent = socket.write_all(b" ").await;
        }
        street.is_quiet("with 600 slow clients").await;
    }
}

#[tokio::test]
async fn bodies_of_one_customer_leave_room_for_a_neighbours() {
    // A quarter of the default, and a quarter of the bodies; by default both are 1 GiB.
    let street = Street::new(2, &[("BUFFER_BYTES_MAX", "268435456")]).await;
    let part = vec![b' '; 15 * MIB];
    let keys = [&street.bad, &street.below];
    let bodies = (0..24).map(|at| begin(&street, keys[at % 2], 16 * MIB, &part));
    let (sockets, ()) = tokio::join!(join_all(bodies), street.is_quiet("while bodies come"));
    street.is_quiet("while bodies are held").await;
    // As large as all that are left could be.
    let words = "word ".repeat(8 * MIB / 5);
    let body = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": words}]});
    let answer = street
        .world
        .post("/v1/chat/completions", &street.good, &body)
        .await;
    assert_eq!(answer.status(), 200);
    let mut refusals = 0;
    for mut socket in sockets {
        let answer =
            tokio::time::timeout(Duration::from_millis(50), raw::read(&mut socket, "POST"));
        if let Ok(answer) = answer.await {
            assert_eq!(answer.status, 429);
            assert_eq!(answer.json()["error"]["code"], "too_much_at_once");
            refusals += 1;
        }
    }
    assert!((12..24).contains(&refusals), "{refusals} of 24 refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whole_bodies_of_a_gib_hold_nobody_up() {
    let street = Street::new(2, &[]).await;
    let words = "word ".repeat(16 * MIB / 5);
    let body = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": words}]});
    let body = bytes::Bytes::from(body.to_string());
    street.poison(&crate::upstream::status(413));
    let send = async {
        for _ in 0..16 {
            let sent = (0..4).map(|_| {
                let post = street
                    .world
                    .http
                    .post(street.world.url(&format!("/v1/chat/completions?x={MARK}")));
                let post = post
                    .bearer_auth(&street.bad)
                    .header("content-type", "application/json");
                post.body(body.clone()).send()
            });
            for answer in join_all(sent).await {
                assert_eq!(answer.unwrap().status(), 413);
            }
        }
    };
    tokio::join!(send, street.is_quiet("while a GiB comes"));
    street.keys_are_there("after a GiB").await;
}

#[tokio::test]
async fn who_waits_for_a_busy_key_does_not_wait_behind_all_calls_of_another() {
    let street = Street::new(1, &[]).await;
    let keys = street.world.read("/x-keys").await;
    let id = keys["Keys"][0]["ID"]
        .as_i64()
        .or_else(|| keys[0]["ID"].as_i64())
        .unwrap();
    let put = street
        .world
        .http
        .put(street.world.url(&format!("/x-keys/{id}")));
    let capped = street
        .world
        .root(put.json(&json!({"Config": {"max_concurrency": 4}})))
        .await;
    assert_eq!(capped.status(), 200);
    let crowd = join_all((0..600).map(|at| {
        let key = if at % 2 == 0 {
            &street.bad
        } else {
            &street.below
        };
        street.world.chat(key, "gpt-4o")
    }));
    // Counted in calls instead of milliseconds: the speed of a crowd depends on the machine.
    let served = || street.upstream.count(super::KEYS[0]);
    let quiet = served();
    let good = async {
        until("there is a queue", async || served() >= quiet + 12).await;
        let mut overtaken = Vec::new();
        for _ in 0..7 {
            let before = served();
            assert_eq!(
                street.world.chat(&street.good, "gpt-4o").await.status(),
                200
            );
            overtaken.push(served() - before);
        }
        overtaken.sort_unstable();
        overtaken[3]
    };
    let (answers, overtaken) = tokio::join!(crowd, good);
    assert!(
        answers
            .iter()
            .all(|answer| [200, 429].contains(&answer.status().as_u16()))
    );
    // The four that run, one turn of the other customer, and calls that run beside its own until the response. At the
    // end of the queue it would be hundreds.
    assert!(overtaken <= 40, "{overtaken} of others before its own");
}

#[tokio::test]
async fn who_asks_the_administration_too_often_is_told_and_a_neighbour_is_not() {
    let street = Street::new(1, &[("ADMIN_RPM", "60")]).await;
    let ask = async |key: &str| {
        let url = street.world.url("/dashboard/info");
        street
            .world
            .http
            .get(url)
            .bearer_auth(key)
            .send()
            .await
            .unwrap()
    };
    let mut taken = 0;
    for _ in 0..80 {
        let answer = ask(&street.bad).await;
        if answer.status() == 200 {
            taken += 1;
            continue;
        }
        let wait = answer.headers()["retry-after"].to_str().unwrap();
        assert!(["1", "2"].contains(&wait), "{wait}");
        let message = refused(answer, 429, "rate_limit_exceeded").await;
        assert!(message.contains("badman"), "{message}");
    }
    // Some requests are allowed again while it asks; one created the account below it.
    assert!((59..75).contains(&taken), "{taken}");
    assert_eq!(ask(&street.good).await.status(), 200);
    for _ in 0..100 {
        assert_eq!(ask(crate::world::ROOT).await.status(), 200);
    }
    street.is_quiet("while one asks the administration").await;
    let badly = crate::grpc::Grpc::with(&street.world.node.grpc, &street.bad);
    // First use up the requests that were allowed again meanwhile.
    let mut said = Ok(());
    for _ in 0..80 {
        said = said.and(badly.me("badman").await.map(drop));
    }
    let status = said.unwrap_err();
    assert_eq!(status.code(), tonic::Code::ResourceExhausted, "{status:?}");
    // The operator's setting takes effect at once.
    let put = street.world.http.put(street.world.url("/x-config"));
    let set = street
        .world
        .root(put.json(&json!({"ADMIN_RPM": "0"})))
        .await;
    assert_eq!(set.status(), 200);
    assert_eq!(ask(&street.bad).await.status(), 200);
}
