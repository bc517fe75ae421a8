//! Work that ends after its call: what it may cost stays set aside, and it is paid once, whoever fetches it and
//! whatever is stopped meanwhile.

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
/// What 100 tokens in and 1,000 out cost.
const COST: f64 = 0.0101;

fn response(status: &str, usage: Value) -> Value {
    json!({"id": "resp_1", "object": "response", "background": true, "status": status, "error": null, "model": "house",
        "output": [], "usage": usage})
}

fn used() -> Value {
    json!({"input_tokens": 100, "output_tokens": 1000, "total_tokens": 1100})
}

/// Takes the call, and says this of it from then on.
fn script(fetched: &Value) -> Script {
    let queued = json_answer(200, response("queued", Value::Null).to_string());
    Script::where_it_says("input", queued, json_answer(200, fetched.to_string()))
}

async fn world(env: &[(&str, &str)]) -> (World, Upstream, String) {
    let mut all = vec![("PRICING", PRICING), ("PASSTHROUGH", ""), ("UNPRICED", "")];
    all.extend(env);
    let (world, upstream) = (World::with(&all).await, Upstream::start().await);
    upstream.script(UP, script(&response("in_progress", Value::Null)));
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

/// What `proxyxai verify` says.
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
    upstream.script(UP, script(&response("completed", used())));
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
    // 50 cents are set aside, and $1.70 are not left of two.
    refused(
        world.post("/v1/responses", &alice, &dear).await,
        402,
        "insufficient_quota",
    )
    .await;
    upstream.script(UP, script(&response("cancelled", Value::Null)));
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
        upstream.script(UP, script(&response(end, usage)));
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
    upstream.script(UP, script(&response("completed", used())));
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
    upstream.script(UP, script(&response("in_progress", Value::Null)));
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
    upstream.script(UP, script(&response("completed", used())));
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
    // It can be fetched once, and that is the client's.
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
        &json!({"type": "response.created", "response": response("in_progress", Value::Null)})
            .to_string(),
    );
    let ended = event(
        &json!({"type": "response.completed", "response": response("completed", used())})
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
