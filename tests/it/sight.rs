//! What can be seen of a call from outside: its id.

use serde_json::json;

use crate::{
    raw::{self, Answer},
    upstream::{Script, Upstream, event, events_at_once, status},
    world::World,
};

const UP: &str = "sk-upstream-aaaaaaaaaaaaaaaaaaaaaa";
const BODY: &[u8] = b"{\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";

/// A gateway with one key that behaves like this, and an account.
async fn world_with(env: &[(&str, &str)], script: Script) -> (World, Upstream, String) {
    let (world, upstream) = (World::with(env).await, Upstream::start().await);
    upstream.script(UP, script);
    world.add_key(UP, &upstream.base).await;
    let key = world.add_account("alice", 100.0).await;
    (world, upstream, key)
}

async fn ask(world: &World, line: (&str, &str), headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let request = raw::request(line.0, line.1, headers, body);
    raw::exchange(&world.node.base, &request).await
}

fn is_new(id: &str) -> bool {
    id.len() == 36 && id.starts_with("req_")
}

#[tokio::test]
async fn an_id_of_the_client_reaches_the_upstream_and_comes_back() {
    let stream = vec![
        event(r#"{"choices":[{"delta":{"content":"a"}}]}"#),
        event("[DONE]"),
    ];
    for script in [Script::Chat, events_at_once(stream)] {
        let (world, upstream, key) = world_with(&[], script).await;
        let bearer = format!("Bearer {key}");
        for (given, kept) in [
            ("my-very/own:id", true),
            ("", false),
            ("two words", false),
            (&*"x".repeat(128), true),
            (&*"x".repeat(129), false),
        ] {
            let headers = [("Authorization", &*bearer), ("X-Request-Id", given)];
            let answer = ask(&world, ("POST", "/v1/chat/completions"), &headers, BODY).await;
            assert_eq!(answer.status, 200);
            let [id] = answer.headers("x-request-id")[..] else {
                panic!("{given:?}: not one id but {:?}", answer.headers);
            };
            assert!(
                if kept { id == given } else { is_new(id) },
                "{given:?}: {id}"
            );
            let seen = upstream.seen(UP).pop().unwrap();
            let sent: Vec<_> = seen.headers.get_all("x-request-id").iter().collect();
            assert_eq!(sent, [id], "the upstream has the same");
        }
        world.posted("alice", 5).await;
        let mut answered: Vec<_> = upstream
            .seen(UP)
            .iter()
            .map(|seen| seen.headers["x-request-id"].to_str().unwrap().to_owned())
            .collect();
        let records = world.grpc().usage("alice").await;
        let mut booked: Vec<_> = records
            .into_iter()
            .map(|posted| posted.record.unwrap().request_id)
            .collect();
        answered.sort();
        booked.sort();
        assert_eq!(booked, answered, "and so have the books");
    }
}

#[tokio::test]
async fn every_answer_carries_an_id_also_refusals_and_pages() {
    let (world, _upstream, key) = world_with(
        &[("RETRY_DEADLINE_MS", "200"), ("BODY_BYTES_MAX", "1024")],
        status(503),
    )
    .await;
    let bearer = format!("Bearer {key}");
    let long = vec![b' '; 2000];
    let chat = "/v1/chat/completions";
    let table: [(&str, &str, &str, &[u8], u16); 12] = [
        ("POST", chat, &bearer, BODY, 503),
        ("POST", chat, "Bearer wrong", BODY, 401),
        ("POST", chat, &bearer, b"{", 400),
        ("POST", chat, &bearer, &long, 413),
        ("POST", "/v1/messages", "Bearer wrong", BODY, 401),
        ("GET", "/v1/models", &bearer, b"", 200),
        ("GET", "/nowhere", &bearer, b"", 404),
        ("GET", "/metrics", &bearer, b"", 200),
        ("GET", "/healthz", "", b"", 200),
        ("GET", "/", "", b"", 200),
        ("GET", "/dashboard/info", &bearer, b"", 200),
        ("GET", "/x-users", "Bearer wrong", b"", 401),
    ];
    for (method, path, bearer, body, status) in table {
        for own in [None, Some("own-id")] {
            let mut headers = vec![("Authorization", bearer)];
            headers.extend(own.map(|id| ("X-Request-Id", id)));
            let answer = ask(&world, (method, path), &headers, body).await;
            assert_eq!(answer.status, status, "{path}");
            let [id] = answer.headers("x-request-id")[..] else {
                panic!("{path}: {:?}", answer.headers);
            };
            match own {
                Some(own) => assert_eq!(id, own, "{path}"),
                None => assert!(is_new(id), "{path}: {id}"),
            }
        }
    }
}

#[tokio::test]
async fn the_provider_s_own_id_is_told_beside_the_call_s() {
    let script = Script::Answer {
        status: 400,
        headers: vec![
            ("content-type", "application/json".to_owned()),
            ("x-request-id", "req_provider".to_owned()),
        ],
        body: json!({"error": {"message": "no"}}).to_string().into(),
    };
    let (world, _upstream, key) = world_with(&[], script).await;
    let bearer = format!("Bearer {key}");
    let headers = [("Authorization", &*bearer), ("X-Request-Id", "ours")];
    let answer = ask(&world, ("POST", "/v1/chat/completions"), &headers, BODY).await;
    assert_eq!(answer.headers("x-request-id"), ["ours"]);
    assert_eq!(answer.headers("x-upstream-request-id"), ["req_provider"]);
}

#[tokio::test]
async fn control_by_itself_answers_with_an_id_too() {
    let control = World::control(&[]).await;
    for path in ["/x-users", "/healthz"] {
        let answer = ask(&control, ("GET", path), &[("X-Request-Id", "own-id")], b"").await;
        assert_eq!(answer.headers("x-request-id"), ["own-id"], "{path}");
    }
}
