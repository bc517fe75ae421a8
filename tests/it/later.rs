//! Work that ends after its call: its possible cost stays reserved, and it is charged once, no matter which client
//! fetches it and which process stops meanwhile.

use std::{process::Command, time::Duration};

use http::Method;
use sea_orm::{ConnectionTrait as _, Database};
use serde_json::{Value, json};

use crate::{
    fleet::{Plane, TOKEN},
    upstream::{Script, Upstream, event, events_at_once, json_answer},
    world::{World, refused, until},
};

const UP: &str = "sk-upstream-aaaaaaaaaaaaaaaaaaaaaa";
const PRICING: &str = r#"{"ChatPricing":{"house":{"InputText":1,"OutputText":10}}}"#;
/// The price of 100 input and 1,000 output tokens.
const COST: f64 = 0.0101;

fn response(status: &str, usage: &Value) -> Value {
    json!({"id": "resp_1", "object": "response", "background": true, "status": status, "error": null, "model": "house",
        "output": [], "usage": usage})
}

fn used() -> Value {
    json!({"input_tokens": 100, "output_tokens": 1000, "total_tokens": 1100})
}

/// Accepts the call, and then returns this when the result is fetched.
fn script(fetched: &Value) -> Script {
    let queued = json_answer(200, response("queued", &Value::Null).to_string());
    Script::where_it_says("input", queued, json_answer(200, fetched.to_string()))
}

async fn world(env: &[(&str, &str)]) -> (World, Upstream, String) {
    let mut all = vec![("PRICING", PRICING), ("PASSTHROUGH", ""), ("UNPRICED", "")];
    all.extend(env);
    let (world, upstream) = (World::with(&all).await, Upstream::start().await);
    upstream.script(UP, script(&response("in_progress", &Value::Null)));
    world.add_key(UP, &upstream.base).await;
    let alice = world.add_account("alice", 2.0).await;
    (world, upstream, alice)
}

fn background() -> Value {
    json!({"model": "house", "input": "look it up", "background": true, "max_output_tokens": 50_000})
}

async fn begin(world: &World, key: &str) {
    let answer = world.post("/v1/responses", key, &background()).await;
    assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
}

async fn get(world: &World, path: &str, key: &str) -> reqwest::Response {
    let request = world.http.get(world.url(path)).bearer_auth(key);
    request.send().await.unwrap()
}

async fn spent(world: &World) -> f64 {
    world.account("alice").await["CreditUsed"].as_f64().unwrap()
}

async fn has_spent(world: &World, cost: f64) {
    until("it is paid", async || {
        (spent(world).await - cost).abs() < 1e-9
    })
    .await;
}

/// Whether the books balance by `proxyxai verify`, and its output.
fn verify(world: &World) -> (bool, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_proxyxai"))
        .arg("verify")
        .env_clear()
        .env("DATA_DIR", world.dir())
        .envs(world.database_url().map(|url| ("DATABASE_URL", url)))
        .output()
        .unwrap();
    (
        done.status.success(),
        String::from_utf8(done.stdout).unwrap(),
    )
}

fn balanced(world: &World) -> String {
    let (balanced, out) = verify(world);
    assert!(balanced, "{out}");
    out
}

#[tokio::test]
async fn a_background_response_is_paid_once_however_often_it_is_fetched() {
    let (world, upstream, alice) = world(&[]).await;
    begin(&world, &alice).await;
    until("it is set aside", async || {
        balanced(&world).contains("1 works")
    })
    .await;
    for _ in 0..3 {
        assert_eq!(
            get(&world, "/v1/responses/resp_1", &alice).await.status(),
            200
        );
    }
    assert!(spent(&world).await.abs() < 1e-9);
    upstream.script(UP, script(&response("completed", &used())));
    for _ in 0..5 {
        let answer: Value = get(&world, "/v1/responses/resp_1", &alice)
            .await
            .json()
            .await
            .unwrap();
        assert_eq!(answer["status"], "completed");
    }
    has_spent(&world, COST).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    has_spent(&world, COST).await;
    assert!(!balanced(&world).contains("yet to be paid"));
}

#[tokio::test]
async fn what_it_may_cost_is_not_there_for_other_calls_until_it_is_over() {
    let (world, upstream, alice) = world(&[]).await;
    begin(&world, &alice).await;
    let dear = json!({"model": "house", "input": "x", "max_output_tokens": 170_000});
    // 50 cents are reserved, so less than $1.70 of two dollars is left.
    refused(
        world.post("/v1/responses", &alice, &dear).await,
        402,
        "insufficient_quota",
    )
    .await;
    upstream.script(UP, script(&response("cancelled", &Value::Null)));
    let cancel = world
        .http
        .post(world.url("/v1/responses/resp_1/cancel"))
        .bearer_auth(&alice);
    assert_eq!(cancel.send().await.unwrap().status(), 200);
    until("it is free again", async || {
        world.post("/v1/responses", &alice, &dear).await.status() == 200
    })
    .await;
    balanced(&world);
}

#[tokio::test]
async fn what_failed_costs_nothing_and_what_nobody_fetches_the_gateway_does() {
    for (end, usage, cost) in [
        ("failed", Value::Null, 0.0),
        ("completed", used(), COST),
        ("incomplete", used(), COST),
    ] {
        let (world, upstream, alice) = world(&[]).await;
        begin(&world, &alice).await;
        upstream.script(UP, script(&response(end, &usage)));
        until("it is over", async || {
            upstream
                .seen(UP)
                .iter()
                .any(|seen| seen.method == Method::GET)
                && !balanced(&world).contains("yet to be paid")
        })
        .await;
        has_spent(&world, cost).await;
        let asked = upstream.count(UP);
        tokio::time::sleep(Duration::from_millis(2500)).await;
        assert_eq!(upstream.count(UP), asked, "it looks no more");
    }
}

#[tokio::test]
async fn it_outlives_the_death_of_all_that_is_running() {
    let (mut world, upstream, alice) = world(&[]).await;
    begin(&world, &alice).await;
    until("it is on the books", async || {
        balanced(&world).contains("1 works")
    })
    .await;
    world.kill().await;
    world.restart().await;
    balanced(&world);
    let dear = json!({"model": "house", "input": "x", "max_output_tokens": 170_000});
    refused(
        world.post("/v1/responses", &alice, &dear).await,
        402,
        "insufficient_quota",
    )
    .await;
    upstream.script(UP, script(&response("completed", &used())));
    assert_eq!(
        get(&world, "/v1/responses/resp_1", &alice).await.status(),
        200
    );
    has_spent(&world, COST).await;
    assert!(!balanced(&world).contains("yet to be paid"));
}

#[tokio::test]
async fn two_data_planes_that_fetch_at_once_are_paid_once() {
    let control = World::control(&[("NODE_TOKEN", TOKEN), ("PRICING", PRICING)]).await;
    let upstream = Upstream::start().await;
    upstream.script(UP, script(&response("in_progress", &Value::Null)));
    let (one, other) = (
        Plane::start(&control, "one", &[]).await,
        Plane::start(&control, "two", &[]).await,
    );
    control.add_key(UP, &upstream.base).await;
    let alice = control.add_account("alice", 2.0).await;
    let made = control.http.post(format!("{}/v1/responses", one.node.base));
    let made = made
        .bearer_auth(&alice)
        .json(&background())
        .send()
        .await
        .unwrap();
    assert_eq!(made.status(), 200);
    let get = async |plane: &Plane| {
        let asked = control
            .http
            .get(format!("{}/v1/responses/resp_1", plane.node.base));
        asked.bearer_auth(&alice).send().await.unwrap().status()
    };
    assert_eq!(
        (get(&one).await, get(&other).await),
        (http::StatusCode::OK, http::StatusCode::OK)
    );
    upstream.script(UP, script(&response("completed", &used())));
    tokio::join!(get(&one), get(&other), get(&one), get(&other));
    has_spent(&control, COST).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    has_spent(&control, COST).await;
    balanced(&control);
}

#[tokio::test]
async fn a_deferred_completion_is_paid_when_it_is_fetched() {
    let (world, upstream, alice) = world(&[]).await;
    let done = json!({"id": "c_1", "object": "chat.completion", "model": "house", "choices": [{"index": 0, "message": {"role": "assistant", "content": "done"}}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 1000}});
    let accepted = |fetched| {
        let taken = json_answer(200, r#"{"request_id":"req-1"}"#);
        Script::where_it_says("messages", taken, fetched)
    };
    upstream.script(UP, accepted(json_answer(202, "")));
    let body = json!({"model": "house", "deferred": true, "max_tokens": 2000, "messages": [{"role": "user", "content": "hi"}]});
    assert_eq!(
        world
            .post("/v1/chat/completions", &alice, &body)
            .await
            .status(),
        200
    );
    let path = "/v1/chat/deferred-completion/req-1";
    assert_eq!(get(&world, path, &alice).await.status(), 202);
    // It can be fetched only once, which is left to the client.
    tokio::time::sleep(Duration::from_millis(3500)).await;
    assert_eq!(upstream.count(UP), 2);
    upstream.script(UP, accepted(json_answer(200, done.to_string())));
    assert_eq!(get(&world, path, &alice).await.status(), 200);
    has_spent(&world, COST).await;
    assert_eq!(get(&world, path, &alice).await.status(), 200);
    tokio::time::sleep(Duration::from_millis(500)).await;
    has_spent(&world, COST).await;
    balanced(&world);
}

#[tokio::test]
async fn a_stream_that_its_client_leaves_is_paid_later() {
    let (world, upstream, alice) = world(&[]).await;
    let created = event(
        &json!({"type": "response.created", "response": response("in_progress", &Value::Null)})
            .to_string(),
    );
    let ended = event(
        &json!({"type": "response.completed", "response": response("completed", &used())})
            .to_string(),
    );
    let begun = Script::Stalled {
        chunks: vec![
            created,
            event(r#"{"type":"response.output_text.delta","delta":"x"}"#),
        ],
    };
    upstream.script(
        UP,
        Script::where_it_says("input", begun, events_at_once(vec![ended])),
    );
    let mut body = background();
    body["stream"] = true.into();
    let mut answer = world.post("/v1/responses", &alice, &body).await;
    assert!(answer.chunk().await.unwrap().is_some());
    drop(answer);
    until("it is set aside", async || {
        balanced(&world).contains("1 works")
    })
    .await;
    let rest = get(
        &world,
        "/v1/responses/resp_1?stream=true&starting_after=2",
        &alice,
    )
    .await;
    assert!(rest.text().await.unwrap().contains("response.completed"));
    has_spent(&world, COST).await;
    assert!(!balanced(&world).contains("yet to be paid"));
}

#[tokio::test]
async fn what_nobody_can_find_out_any_more_is_paid_with_what_was_set_aside() {
    let (world, upstream, alice) = world(&[]).await;
    begin(&world, &alice).await;
    until("it is on the books", async || {
        balanced(&world).contains("1 works")
    })
    .await;
    let delete = world
        .http
        .delete(world.url("/v1/responses/resp_1"))
        .bearer_auth(&alice);
    refused(delete.send().await.unwrap(), 409, "invalid_request").await;
    upstream.script(
        UP,
        json_answer(404, r#"{"error":{"message":"no such response"}}"#),
    );
    let file = || format!("sqlite:{}/proxyxai.db", world.dir().display());
    let url = world.database_url().map_or_else(file, ToOwned::to_owned);
    let connection = Database::connect(url).await.unwrap();
    let sql = "UPDATE provider_object SET overdue_at = 0, look_at = 0";
    connection.execute_unprepared(sql).await.unwrap();
    connection.close().await.unwrap();
    until("it is paid", async || spent(&world).await > 0.49).await;
    assert!(spent(&world).await < 0.51);
    assert!(!balanced(&world).contains("yet to be paid"));
}

/// Three calls of two models, one of which fails.
fn lines() -> String {
    let line = |id: &str, model: &str, output: u64| {
        let usage = json!({"input_tokens": 100, "output_tokens": output});
        json!({"custom_id": id, "result": {"type": "succeeded", "message": {"id": "msg", "model": model, "content": [{"type": "text", "text": "x"}], "usage": usage}}})
    };
    let failed =
        json!({"custom_id": "c", "result": {"type": "errored", "error": {"type": "error"}}});
    [
        line("a", "house", 1000),
        line("b", "small-20260101", 2000),
        failed,
    ]
    .map(|line| format!("{line}\n"))
    .concat()
}

fn batch(status: &str) -> Value {
    json!({"id": "msgbatch_1", "type": "message_batch", "processing_status": status, "results_url": null})
}

fn requests() -> Value {
    let call = |id: &str, model: &str| json!({"custom_id": id, "params": {"model": model, "max_tokens": 3000, "messages": []}});
    json!({"requests": [call("a", "house"), call("b", "small"), call("c", "house")]})
}

const BATCH_PRICING: &str = r#"{"ChatPricing":{"house":{"InputText":1,"OutputText":10},"small":{"InputText":0,"OutputText":1}}}"#;
const BATCH_COST: f64 = COST + 0.002;

fn batches(results: Script) -> Script {
    let ended = json_answer(200, batch("ended").to_string());
    let taken = json_answer(200, batch("in_progress").to_string());
    let fetched = Script::where_it_says("/results", results, ended);
    Script::where_it_says("requests", taken, fetched)
}

#[tokio::test]
async fn the_lines_of_a_batch_of_messages_are_paid_once_by_model() {
    let (world, upstream, alice) = world(&[("PRICING", BATCH_PRICING)]).await;
    let not_yet = json_answer(
        404,
        r#"{"type":"error","error":{"type":"not_found_error","message":"no results"}}"#,
    );
    upstream.script(UP, batches(not_yet));
    let answer = world
        .post("/v1/messages/batches", &alice, &requests())
        .await;
    assert_eq!(answer.status(), 200);
    until("it is set aside", async || {
        balanced(&world).contains("1 works")
    })
    .await;
    assert_eq!(
        get(&world, "/v1/messages/batches/msgbatch_1", &alice)
            .await
            .status(),
        200
    );
    assert_eq!(
        get(&world, "/v1/messages/batches/msgbatch_1/results", &alice)
            .await
            .status(),
        404
    );
    let delete = world
        .http
        .delete(world.url("/v1/messages/batches/msgbatch_1"))
        .bearer_auth(&alice);
    assert_eq!(delete.send().await.unwrap().status(), 409);
    upstream.script(UP, batches(json_answer(200, lines())));
    for _ in 0..3 {
        let results = get(&world, "/v1/messages/batches/msgbatch_1/results", &alice).await;
        assert_eq!(results.text().await.unwrap(), lines());
    }
    has_spent(&world, BATCH_COST).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    has_spent(&world, BATCH_COST).await;
    assert!(!balanced(&world).contains("yet to be paid"));
    let list: Value = get(&world, "/v1/messages/batches", &alice)
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(list["data"][0]["id"], "msgbatch_1");
}

#[tokio::test]
async fn a_batch_of_messages_that_nobody_fetches_is_fetched() {
    let (world, upstream, alice) = world(&[("PRICING", BATCH_PRICING)]).await;
    upstream.script(UP, batches(json_answer(200, lines())));
    assert_eq!(
        world
            .post("/v1/messages/batches", &alice, &requests())
            .await
            .status(),
        200
    );
    has_spent(&world, BATCH_COST).await;
    assert!(!balanced(&world).contains("yet to be paid"));
    let seen = upstream.seen(UP);
    assert_eq!(
        seen.last().unwrap().headers["anthropic-version"],
        "2023-06-01"
    );
}

#[tokio::test]
async fn a_batch_is_let_in_by_what_all_its_calls_may_cost_and_may_ask_for() {
    let (world, upstream, alice) = world(&[("PRICING", BATCH_PRICING)]).await;
    let call = |model: &str, max: u64| {
        json!({"requests": [{"custom_id": "a", "params": {"model": "small", "max_tokens": 1}},
        {"custom_id": "b", "params": {"model": model, "max_tokens": max}}]})
    };
    let ask = async |body: Value| {
        world
            .post("/v1/messages/batches", &alice, &body)
            .await
            .status()
    };
    assert_eq!(ask(call("nameless", 5)).await, 403);
    assert_eq!(ask(call("house", 210_000)).await, 402);
    assert_eq!(ask(json!({"requests": []})).await, 400);
    world.change("alice", json!({"AllowModels": "small"})).await;
    assert_eq!(ask(call("house", 5)).await, 403);
    assert!(upstream.seen(UP).is_empty());
}

/// A file for a batch, uploaded as clients do.
async fn upload(world: &World, key: &str, lines: &str) {
    let form = format!(
        "--x\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--x\r\n\
         Content-Disposition: form-data; name=\"file\"; filename=\"calls.jsonl\"\r\n\r\n{lines}\r\n--x--\r\n"
    );
    let request = world.http.post(world.url("/v1/files")).bearer_auth(key);
    let request = request.header("content-type", "multipart/form-data; boundary=x");
    assert_eq!(request.body(form).send().await.unwrap().status(), 200);
}

fn calls(model: &str, max: u64) -> String {
    let call = |id: &str, model: &str, max: u64| {
        json!({"custom_id": id, "method": "POST", "url": "/v1/chat/completions",
        "body": {"model": model, "max_tokens": max, "messages": []}})
    };
    format!("{}\n{}", call("a", "house", 1000), call("b", model, max))
}

fn openai_batch(status: &str, output: Option<&str>) -> Value {
    json!({"id": "batch_1", "object": "batch", "status": status, "input_file_id": "file-in", "output_file_id": output, "error_file_id": null})
}

fn output() -> String {
    let line = |id: &str, output: u64| {
        json!({"id": "r", "custom_id": id, "error": null, "response": {"status_code": 200, "body": {"id": "c", "model": "house",
        "choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": 100, "completion_tokens": output}}}})
    };
    format!("{}\n{}\n", line("a", 1000), line("b", 1000))
}

/// The files, then the batch in this state.
fn openai(batch: &Value) -> Script {
    let file = json_answer(200, json!({"id": "file-in", "object": "file"}).to_string());
    let results = json_answer(200, output());
    let taken = json_answer(200, openai_batch("validating", None).to_string());
    let fetched = json_answer(200, batch.to_string());
    let batches = Script::where_it_says("completion_window", taken, fetched);
    let content = Script::where_it_says("/content", results, batches);
    Script::where_it_says("calls.jsonl", file, content)
}

const CREATE: &str =
    r#"{"input_file_id":"file-in","endpoint":"/v1/chat/completions","completion_window":"24h"}"#;

async fn create(world: &World, key: &str) -> u16 {
    let body: Value = serde_json::from_str(CREATE).unwrap();
    world
        .post("/v1/batches", key, &body)
        .await
        .status()
        .as_u16()
}

#[tokio::test]
async fn the_lines_of_a_batch_are_paid_once_whoever_fetches_them() {
    for fetches in [true, false] {
        let (world, upstream, alice) = world(&[]).await;
        upstream.script(UP, openai(&openai_batch("in_progress", None)));
        upload(&world, &alice, &calls("house", 1000)).await;
        assert_eq!(create(&world, &alice).await, 200);
        until("it is set aside", async || {
            balanced(&world).contains("1 works")
        })
        .await;
        assert_eq!(
            get(&world, "/v1/batches/batch_1", &alice).await.status(),
            200
        );
        assert_eq!(
            get(&world, "/v1/files/file-out/content", &alice)
                .await
                .status(),
            404
        );
        assert!(spent(&world).await.abs() < 1e-9);
        upstream.script(UP, openai(&openai_batch("completed", Some("file-out"))));
        if fetches {
            assert_eq!(
                get(&world, "/v1/batches/batch_1", &alice).await.status(),
                200
            );
            for _ in 0..3 {
                let content = get(&world, "/v1/files/file-out/content", &alice).await;
                assert_eq!(content.text().await.unwrap(), output());
            }
        }
        has_spent(&world, 2.0 * COST).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        has_spent(&world, 2.0 * COST).await;
        assert!(!balanced(&world).contains("yet to be paid"));
    }
}

#[tokio::test]
async fn a_batch_that_was_cancelled_or_failed_is_free() {
    for status in ["failed", "expired", "cancelled"] {
        let (world, upstream, alice) = world(&[]).await;
        upstream.script(UP, openai(&openai_batch(status, None)));
        upload(&world, &alice, &calls("house", 1000)).await;
        assert_eq!(create(&world, &alice).await, 200);
        assert_eq!(
            get(&world, "/v1/batches/batch_1", &alice).await.status(),
            200
        );
        until("nothing is set aside", async || {
            !balanced(&world).contains("yet to be paid")
                && upstream
                    .seen(UP)
                    .iter()
                    .any(|seen| seen.method == Method::GET)
        })
        .await;
        assert!(spent(&world).await.abs() < 1e-9);
    }
}

#[tokio::test]
async fn a_batch_of_calls_that_the_account_could_not_make_is_refused() {
    for (lines, status) in [
        (calls("nameless", 5), 400),
        (calls("house", 250_000), 402),
        ("{\"custom_id\":\"a\"}".to_owned(), 400),
        (format!("{}\n{{\"custom_id\"", calls("house", 5)), 400),
        ("no calls".to_owned(), 400),
    ] {
        let (world, upstream, alice) = world(&[]).await;
        upstream.script(UP, openai(&openai_batch("in_progress", None)));
        upload(&world, &alice, &lines).await;
        assert_eq!(create(&world, &alice).await, status, "{lines}");
        assert_eq!(upstream.count(UP), 1);
    }
}

#[tokio::test]
async fn a_call_in_a_batch_reaches_no_more_than_the_same_call_by_itself() {
    let (world, upstream, alice) = world(&[]).await;
    let bobby = world.add_account("bobby", 2.0).await;
    upstream.script(UP, script(&response("completed", &used())));
    let call = json!({"model": "house", "input": "hi"});
    assert_eq!(
        world.post("/v1/responses", &alice, &call).await.status(),
        200
    );
    upstream.script(UP, openai(&openai_batch("in_progress", None)));
    let mut asked = upstream.count(UP);
    for more in [
        json!({"previous_response_id": "resp_1"}),
        json!({"conversation": "conv_1"}),
        json!({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]}),
        json!({"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]}),
        json!({"Model": "other"}),
        json!({"models": ["nameless"]}),
        json!({"tools": [{"type": "image_generation", "model": "nameless"}]}),
        json!({"background": true}),
        json!({"max_output_tokens": "9"}),
    ] {
        let mut body = call.clone();
        let members = more.as_object().unwrap().clone();
        body.as_object_mut().unwrap().extend(members);
        let line = |url: &str| {
            json!({"custom_id": "b", "method": "POST", "url": url, "body": body}).to_string()
        };
        for url in ["/v1/responses", "/v1/embeddings"] {
            let lines = format!("{}\n{}", calls("house", 5), line(url));
            upload(&world, &bobby, &lines).await;
            assert_eq!(create(&world, &bobby).await, 400, "{more}");
            asked += 1;
        }
        let batch = json!({"requests": [{"custom_id": "a", "params": body}]});
        let answer = world.post("/v1/messages/batches", &bobby, &batch).await;
        let status = answer.status().as_u16();
        assert!(matches!(status, 400 | 403 | 404), "{status} {more}");
        assert_eq!(upstream.count(UP), asked, "{more}");
    }
    // With his own file bobby may create one.
    upload(&world, &bobby, &calls("house", 5)).await;
    assert_eq!(create(&world, &bobby).await, 200);
}

#[tokio::test]
async fn a_batch_has_no_calls_of_endpoints_that_the_account_may_not_call() {
    let (world, upstream, alice) = world(&[]).await;
    upstream.script(UP, openai(&openai_batch("in_progress", None)));
    let lists = "/v1/files,/v1/batches,/v1/messages/batches,/v1/embeddings";
    world.change("alice", json!({"Resources": lists})).await;
    upload(&world, &alice, &calls("house", 5)).await;
    assert_eq!(create(&world, &alice).await, 400);
    let answer = world
        .post("/v1/messages/batches", &alice, &requests())
        .await;
    assert_eq!(answer.status(), 403);
    assert_eq!(upstream.count(UP), 1);
    // Nor is one created for such an endpoint, whatever its calls contain.
    let embeddings = calls("house", 5).replace("chat/completions", "embeddings");
    upload(&world, &alice, &embeddings).await;
    assert_eq!(create(&world, &alice).await, 403);
    assert_eq!(upstream.count(UP), 2);
}

#[tokio::test]
async fn what_may_go_on_is_heard_to_its_end_though_its_client_has_left() {
    let cancelled = [("ABANDONED", "cancel"), ("ABANDONED_MS", "0")];
    for env in [&[][..], &cancelled] {
        let (world, upstream, alice) = world(env).await;
        let pause = Duration::from_millis(700);
        upstream.script(UP, Script::Slow { pause });
        let body = json!({"model": "house", "deferred": true, "max_tokens": 20, "messages": [{"role": "user", "content": "hi"}]});
        let left = world.http.post(world.url("/v1/chat/completions"));
        let left = left
            .bearer_auth(&alice)
            .json(&body)
            .timeout(Duration::from_millis(200));
        assert!(left.send().await.is_err());
        // It finished at once after all, with 11 input and 7 output tokens.
        has_spent(&world, 0.000_081).await;
        assert!(!balanced(&world).contains("yet to be paid"));
    }
}
