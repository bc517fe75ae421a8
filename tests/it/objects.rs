//! An object that an account creates at a provider is visible only to that account and its ancestors. Requests of
//! others are refused on every endpoint, and the provider is not asked.

use std::{fs, path::Path, time::Duration};

use http::Method;
use serde_json::{Value, json};

use crate::{
    fleet::{Plane, TOKEN},
    upstream::{Script, Upstream, json_answer},
    world::{ROOT, World, refused, until},
};

const UP: &str = "sk-upstream-aaaaaaaaaaaaaaaaaaaaaa";
const OTHER: &str = "sk-upstream-bbbbbbbbbbbbbbbbbbbbbb";

/// For each kind: the path that creates it, a word of that path, and the id that it gets.
const KINDS: [(&str, &str, &str); 12] = [
    ("/v1/files", "/files", "file-A"),
    ("/v1/messages/batches", "messages/batches", "msgbatch_A"),
    ("/v1/batches", "/batches", "batch_A"),
    ("/v1/uploads", "/uploads", "upload_A"),
    ("/v1/conversations", "/conversations", "conv_A"),
    ("/v1/vector_stores", "/vector_stores", "vs_A"),
    ("/v1/containers", "/containers", "cntr_A"),
    ("/v1/fine_tuning/jobs", "fine_tuning", "ftjob-A"),
    ("/v1/evals", "/evals", "eval_A"),
    ("/v1/videos", "/videos", "video_A"),
    ("/v1/chat/completions", "completions", "chatcmpl-A"),
    ("/v1/responses", "/responses", "resp_A"),
];

/// Responds to each path with an object of its kind.
fn maker() -> Script {
    let body = |id: &str| {
        let body = json!({
            "id": id, "object": "x", "status": "completed", "model": "house", "choices": [],
            "output": [{"type": "message", "id": "msg_A", "content": []}],
            "usage": {"input_tokens": 1, "output_tokens": 1, "prompt_tokens": 1, "completion_tokens": 1},
        });
        json_answer(200, body.to_string())
    };
    let other = json_answer(200, "{}");
    KINDS.iter().rev().fold(other, |other, (_, word, id)| {
        Script::where_it_says(word, body(id), other)
    })
}

async fn world() -> (World, Upstream) {
    let pricing = r#"{"ChatPricing":{"house":{"InputText":1,"OutputText":1}}}"#;
    let world = World::with(&[("PRICING", pricing)]).await;
    let upstream = Upstream::start().await;
    upstream.script(UP, maker());
    world.add_key(UP, &upstream.base).await;
    (world, upstream)
}

async fn send(
    world: &World,
    method: &str,
    path: &str,
    key: &str,
    body: Option<&Value>,
) -> reqwest::Response {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let request = world.http.request(method, world.url(path)).bearer_auth(key);
    let request = match body {
        Some(body) => request.json(body),
        None => request,
    };
    request.send().await.unwrap()
}

/// Creates one of each kind.
async fn make_all(world: &World, key: &str) {
    for (path, _, _) in KINDS {
        let mut body = json!({"model": "house", "input": "hi", "messages": [{"role": "user", "content": "hi"}], "store": true,
            "requests": [{"params": {"model": "house", "max_tokens": 5}}]});
        if path == "/v1/files" {
            // One call for a batch.
            body = json!({"custom_id": "a", "url": "/v1/chat/completions", "body": {"model": "house"}});
        }
        if path == "/v1/batches" {
            body["input_file_id"] = "file-A".into();
        }
        let answer = send(world, "POST", path, key, Some(&body)).await;
        assert_eq!(
            answer.status(),
            200,
            "{path}: {}",
            answer.text().await.unwrap()
        );
    }
}

/// Method and path of every endpoint whose path names an object, from the register.
fn endpoints() -> Vec<(String, String)> {
    let table =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../dataplane/src/formats/endpoint/table.rs");
    let table = fs::read_to_string(table).unwrap();
    let (_, rows) = table.split_once("ENDPOINTS: &[Endpoint] = &[").unwrap();
    let mut found = Vec::new();
    let mut verb = "";
    for word in rows.split(|letter: char| letter.is_whitespace() || "(),".contains(letter)) {
        match word {
            "Get" | "Post" | "Put" | "Delete" => verb = word,
            "list" => verb = "Get",
            _ => {
                let path = word
                    .strip_prefix('"')
                    .and_then(|word| word.strip_suffix('"'));
                if let Some(path) = path.filter(|path| path.contains("{id}")) {
                    found.push((verb.to_uppercase(), format!("/v1{path}")));
                }
            }
        }
    }
    assert!(found.len() > 50, "{found:?}");
    found
}

/// Calls that name an object in their body.
fn referring(id: &str) -> Vec<(&'static str, Value)> {
    let responses = |more: Value| {
        let mut body = json!({"model": "house", "input": "hi"});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        ("/v1/responses", body)
    };
    vec![
        responses(json!({"previous_response_id": id})),
        responses(json!({"conversation": id})),
        responses(json!({"conversation": {"id": id}})),
        responses(json!({"input": [{"type": "item_reference", "id": id}]})),
        responses(
            json!({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": id}]}]}),
        ),
        responses(json!({"tools": [{"type": "file_search", "vector_store_ids": [id]}]})),
        responses(json!({"tools": [{"type": "code_interpreter", "container": id}]})),
        responses(
            json!({"tools": [{"type": "code_interpreter", "container": {"type": "auto", "file_ids": [id]}}]}),
        ),
        (
            "/v1/chat/completions",
            json!({"model": "house", "messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": id}}]}]}),
        ),
        (
            "/v1/messages",
            json!({"model": "house", "max_tokens": 5, "messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "file", "file_id": id}}]}]}),
        ),
        (
            "/v1/batches",
            json!({"input_file_id": id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}),
        ),
        (
            "/v1/fine_tuning/jobs",
            json!({"training_file": id, "model": "house"}),
        ),
        ("/v1/vector_stores", json!({"file_ids": [id]})),
    ]
}

#[tokio::test]
async fn nobody_else_reaches_what_an_account_has_made_by_any_endpoint() {
    let (world, upstream) = world().await;
    let alice = world.add_account("alice", 100.0).await;
    let bobby = world.add_account("bobby", 100.0).await;
    make_all(&world, &alice).await;
    let asked = upstream.count(UP);
    for (method, path) in endpoints() {
        let mut texts = Vec::new();
        let ids = KINDS.map(|kind| kind.2).into_iter();
        for id in ids.chain(["msg_A", "never_was"]) {
            let path = path.replace("{id}", id).replace(['{', '}'], "");
            let answer = send(&world, &method, &path, &bobby, None).await;
            assert_eq!(answer.status(), 404, "{method} {path}");
            texts.push(answer.text().await.unwrap().replace(id, "ID"));
        }
        texts.dedup();
        assert_eq!(
            texts.len(),
            1,
            "what is another's is like what never was: {texts:?}"
        );
    }
    for id in KINDS
        .map(|kind| kind.2)
        .iter()
        .copied()
        .chain(["msg_A", "never_was"])
    {
        for (path, body) in referring(id) {
            let answer = send(&world, "POST", path, &bobby, Some(&body)).await;
            assert_eq!(answer.status(), 404, "{path} {body}");
        }
    }
    assert_eq!(upstream.count(UP), asked, "the provider was asked");
}

#[tokio::test]
async fn the_owner_and_those_above_reach_it() {
    let (world, upstream) = world().await;
    let alice = world.add_account("alice", 100.0).await;
    make_all(&world, &alice).await;
    let asked = upstream.count(UP);
    for key in [alice.as_str(), ROOT] {
        for path in [
            "/v1/responses/resp_A",
            "/v1/responses/resp_A/input_items",
            "/v1/files/file-A/content",
            "/v1/conversations/conv_A/items",
            "/v1/chat/completions/chatcmpl-A",
        ] {
            let answer = send(&world, "GET", path, key, None).await;
            assert_eq!(answer.status(), 200, "{path}");
        }
        for (path, id) in [
            ("/v1/responses", "resp_A"),
            ("/v1/responses", "conv_A"),
            ("/v1/responses", "msg_A"),
            ("/v1/chat/completions", "file-A"),
        ] {
            let answers = referring(id).into_iter().filter(|call| call.0 == path);
            let mut reached = 0;
            for (path, body) in answers {
                reached +=
                    usize::from(send(&world, "POST", path, key, Some(&body)).await.status() == 200);
            }
            assert!(reached > 0, "{path} {id}");
        }
    }
    assert!(upstream.count(UP) > asked + 10);
}

#[tokio::test]
async fn a_call_goes_to_the_key_that_has_what_it_names() {
    let (world, upstream) = world().await;
    let alice = world.add_account("alice", 100.0).await;
    let second = world.add_key(OTHER, &upstream.base).await;
    let made = |id: &str| {
        json_answer(200, json!({"id": id, "status": "completed", "output": [], "usage": {"input_tokens": 1, "output_tokens": 1}}).to_string())
    };
    upstream.script(UP, made("resp_one"));
    upstream.script(OTHER, made("resp_two"));
    let body = json!({"model": "house", "input": "hi"});
    until("both keys have one", async || {
        world.post("/v1/responses", &alice, &body).await;
        upstream.count(UP) > 0 && upstream.count(OTHER) > 0
    })
    .await;
    for (id, key, not) in [("resp_one", UP, OTHER), ("resp_two", OTHER, UP)] {
        let (before, others) = (upstream.count(key), upstream.count(not));
        for _ in 0..4 {
            let path = format!("/v1/responses/{id}");
            assert_eq!(send(&world, "GET", &path, &alice, None).await.status(), 200);
            let body = json!({"model": "house", "input": "hi", "previous_response_id": id});
            assert_eq!(
                world.post("/v1/responses", &alice, &body).await.status(),
                200
            );
        }
        assert_eq!(
            (upstream.count(key), upstream.count(not)),
            (before + 8, others)
        );
    }
    // No provider has both.
    let file = json!({"model": "house", "previous_response_id": "resp_one", "input": [{"type": "item_reference", "id": "resp_two"}]});
    let answer = world.post("/v1/responses", &alice, &file).await;
    assert_eq!(answer.status(), 404, "an id of another kind is none");
    let gone = world.http.delete(world.url(&format!("/x-keys/{second}")));
    assert_eq!(world.root(gone).await.status(), 200);
    let answer = send(&world, "GET", "/v1/responses/resp_two", &alice, None).await;
    refused(answer, 503, "no_upstream_key").await;
}

#[tokio::test]
async fn lists_are_answered_here_and_show_what_is_the_callers() {
    let (world, upstream) = world().await;
    let alice = world.add_account("alice", 100.0).await;
    let bobby = world.add_account("bobby", 100.0).await;
    for at in 0..5 {
        upstream.script(
            UP,
            json_answer(200, format!(r#"{{"id":"file-{at}","object":"file"}}"#)),
        );
        assert_eq!(
            send(&world, "POST", "/v1/files", &alice, Some(&json!({})))
                .await
                .status(),
            200
        );
    }
    world.posted("alice", 5).await;
    let asked = upstream.count(UP);
    let list = async |key: &str, query: &str| -> Value {
        let answer = send(&world, "GET", &format!("/v1/files{query}"), key, None).await;
        assert_eq!(answer.status(), 200, "{query}");
        answer.json().await.unwrap()
    };
    let ids = |list: &Value| -> Vec<String> {
        let rows = list["data"].as_array().unwrap().iter();
        rows.map(|row| row["id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(ids(&list(&bobby, "").await), Vec::<String>::new());
    let first = list(&alice, "?limit=2").await;
    assert_eq!(
        (first["object"].as_str(), first["has_more"].as_bool()),
        (Some("list"), Some(true))
    );
    let asked_in_anthropics = world.http.get(world.url("/v1/files?limit=2"));
    let asked_in_anthropics = asked_in_anthropics.header("anthropic-version", "2023-06-01");
    let answer = asked_in_anthropics
        .bearer_auth(&alice)
        .send()
        .await
        .unwrap();
    let page: Value = answer.json().await.unwrap();
    assert_eq!(
        page["object"],
        Value::Null,
        "of both dialects, the caller's"
    );
    assert_eq!(page["data"][0]["type"], "file", "{page}");
    assert_eq!(ids(&page), ids(&first));
    let mut all = ids(&first);
    loop {
        let page = list(&alice, &format!("?limit=2&after={}", all.last().unwrap())).await;
        all.extend(ids(&page));
        if page["has_more"] == false {
            break;
        }
    }
    all.sort();
    assert_eq!(all, ["file-0", "file-1", "file-2", "file-3", "file-4"]);
    for path in [
        "/v1/batches",
        "/v1/messages/batches",
        "/v1/vector_stores",
        "/v1/fine_tuning/jobs",
        "/v1/videos",
        "/v1/chat/completions",
    ] {
        let answer = send(&world, "GET", path, &alice, None).await;
        let list: Value = answer.json().await.unwrap();
        assert_eq!(list["data"], json!([]), "{path}");
    }
    assert_eq!(upstream.count(UP), asked, "the provider was asked");
    assert_eq!(
        send(&world, "GET", "/v1/files", "sk-nobody", None)
            .await
            .status(),
        401
    );
}

#[tokio::test]
async fn owners_outlive_a_restart_and_what_is_deleted_is_gone() {
    let (mut world, upstream) = world().await;
    let alice = world.add_account("alice", 100.0).await;
    let bobby = world.add_account("bobby", 100.0).await;
    make_all(&world, &alice).await;
    world.stop().await;
    world.restart().await;
    let answer = send(&world, "GET", "/v1/files/file-A", &alice, None).await;
    assert_eq!(answer.status(), 200);
    refused(
        send(&world, "DELETE", "/v1/files/file-A", &bobby, None).await,
        404,
        "not_found",
    )
    .await;
    assert_eq!(
        send(&world, "DELETE", "/v1/files/file-A", &alice, None)
            .await
            .status(),
        200
    );
    let asked = upstream.count(UP);
    refused(
        send(&world, "GET", "/v1/files/file-A", &alice, None).await,
        404,
        "not_found",
    )
    .await;
    world.stop().await;
    world.restart().await;
    refused(
        send(&world, "GET", "/v1/files/file-A", &alice, None).await,
        404,
        "not_found",
    )
    .await;
    assert_eq!(upstream.count(UP), asked);
}

#[tokio::test]
async fn another_data_plane_knows_the_owner_at_once() {
    let control = World::control(&[("NODE_TOKEN", TOKEN)]).await;
    let upstream = Upstream::start().await;
    upstream.script(UP, maker());
    let (one, other) = (
        Plane::start(&control, "one", &[]).await,
        Plane::start(&control, "two", &[]).await,
    );
    control.add_key(UP, &upstream.base).await;
    let alice = control.add_account("alice", 100.0).await;
    let bobby = control.add_account("bobby", 100.0).await;
    let made = control.http.post(format!("{}/v1/files", one.node.base));
    let made = made
        .bearer_auth(&alice)
        .json(&json!({}))
        .send()
        .await
        .unwrap();
    assert_eq!(made.status(), 200);
    let get = async |key: &str| {
        let asked = control
            .http
            .get(format!("{}/v1/files/file-A", other.node.base));
        let answer = asked
            .bearer_auth(key)
            .timeout(Duration::from_secs(5))
            .send();
        answer.await.unwrap().status()
    };
    assert_eq!(get(&alice).await, 200);
    assert_eq!(get(&bobby).await, 404);
}
