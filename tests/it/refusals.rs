//! Attempts of retried calls, and calls refused before any attempt: both are recorded and shown to those concerned.

use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use crate::{
    upstream::{Script, Upstream, status},
    world::{World, until},
};

const GOOD: &str = "sk-good-one-aaaaaaaaaaaa";
const SICK: &str = "sk-sick-eeeeeeeeeeeeeeee";

async fn read(world: &World, path: &str, key: &str) -> Value {
    let asked = world.http.get(world.url(path)).bearer_auth(key);
    let answer = asked.send().await.unwrap();
    assert_eq!(answer.status(), 200, "{path}");
    answer.json().await.unwrap()
}

fn rows(answer: &Value) -> Vec<Value> {
    answer["refusals"].as_array().unwrap().clone()
}

fn represented(rows: &[Value]) -> u64 {
    let each = rows.iter().map(|row| row["Represents"].as_u64().unwrap());
    each.sum()
}

#[tokio::test]
async fn a_retried_call_shows_both_attempts_to_root_and_none_to_its_account() {
    let (world, upstream) = (World::start().await, Upstream::start().await);
    let (sick, good) = (
        world.add_key(SICK, &upstream.base).await,
        world.add_key(GOOD, &upstream.base).await,
    );
    upstream.script(SICK, status(503));
    upstream.script(GOOD, Script::Chat);
    let key = world.add_account("alice", 100.0).await;
    // One of the two calls tries the failing key first.
    for _ in 0..2 {
        assert_eq!(world.chat(&key, "gpt-4o-mini").await.status(), 200);
    }
    world.posted("alice", 2).await;
    let records = world.read("/x-usage?user=alice").await;
    let records = records.as_array().unwrap();
    let of = |tries: u64| {
        let mut found = records.iter().filter(|record| record["Tries"] == tries);
        found.next().unwrap().clone()
    };
    assert!(of(1).get("Attempts").is_none(), "a good one says it all");
    let attempts = of(2)["Attempts"].clone();
    let told = |at: usize, field: &str| attempts[at][field].clone();
    assert_eq!(attempts.as_array().unwrap().len(), 2);
    assert_eq!(
        [told(0, "Key"), told(0, "Outcome"), told(0, "Status")],
        [json!(sick), json!("failed"), json!(503)]
    );
    assert_eq!(
        [told(1, "Key"), told(1, "Outcome"), told(1, "Status")],
        [json!(good), json!("answered"), json!(200)]
    );
    assert_eq!(told(0, "Model"), "", "it is the model that was used");
    let own = read(&world, "/x-usage", &key).await;
    let own = own.as_array().unwrap();
    assert_eq!(own.len(), 2);
    assert!(own.iter().all(|record| record.get("Attempts").is_none()));
}

#[tokio::test]
async fn a_call_that_all_keys_failed_has_its_attempts_in_its_record_and_is_in_no_other_list() {
    let world = World::with(&[("RETRY_DEADLINE_MS", "200")]).await;
    let upstream = Upstream::start().await;
    let sick = world.add_key(SICK, &upstream.base).await;
    upstream.script(SICK, status(503));
    let key = world.add_account("alice", 100.0).await;
    assert_eq!(world.chat(&key, "gpt-4o-mini").await.status(), 503);
    // Now the key is cooling down, and no key is tried.
    let second = world.chat(&key, "gpt-4o-mini").await;
    let status = second.status().as_u16();
    let error: Value = second.json().await.unwrap();
    let mut refused = Vec::new();
    until("the second call is listed as refused", async || {
        refused = rows(&read(&world, "/x-refusals", &key).await);
        !refused.is_empty()
    })
    .await;
    let mut records = Value::Null;
    until("the first call has a record", async || {
        records = world.read("/x-usage?user=alice").await;
        records[0].is_object()
    })
    .await;
    assert_eq!((records.as_array().unwrap().len(), refused.len()), (1, 1));
    let attempts = &records[0]["Attempts"];
    assert_eq!(attempts.as_array().unwrap().len(), 1);
    assert_eq!(attempts[0]["Key"], sick);
    assert_eq!(attempts[0]["Outcome"], "failed");
    let row = &refused[0];
    assert_ne!(row["RequestID"], records[0]["RequestID"]);
    assert_eq!(row["Status"], status);
    assert_eq!(row["Code"], error["error"]["code"]);
    assert_eq!(row["Model"], "gpt-4o-mini");
    assert_eq!(row["Path"], "/v1/chat/completions");
}

#[tokio::test]
async fn a_refused_call_is_listed_as_the_client_was_told() {
    let world = World::with(&[("UNPRICED", "refuse")]).await;
    let upstream = Upstream::start().await;
    upstream.script(GOOD, Script::Chat);
    world.add_key(GOOD, &upstream.base).await;
    let key = world.add_account("alice", 100.0).await;
    let chat = |key: &str, model: &str| {
        let body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}]});
        let asked = world.http.post(world.url("/v1/chat/completions"));
        let asked = asked
            .bearer_auth(key)
            .header("x-request-id", format!("id-{model}"));
        asked.json(&body).send()
    };
    let answer = chat(&key, "no-such-model").await.unwrap();
    let status = answer.status().as_u16();
    assert!((400..500).contains(&status), "{status}");
    let error: Value = answer.json().await.unwrap();
    let unknown = chat("sk-Xvs-nobody", "stranger").await.unwrap();
    assert_eq!(unknown.status(), 401);
    assert_eq!(chat(&key, "gpt-4o-mini").await.unwrap().status(), 200);
    world.posted("alice", 1).await;
    let mut all = Vec::new();
    until("both are listed", async || {
        all = rows(&world.read("/x-refusals").await);
        all.len() == 2
    })
    .await;
    let own = rows(&read(&world, "/x-refusals", &key).await);
    assert_eq!(own.len(), 1, "nobody but root sees those of unknown keys");
    let row = &own[0];
    assert_eq!(row["Status"], status);
    assert_eq!(row["Code"], error["error"]["code"]);
    let (shown, told) = (row["Message"].as_str(), error["error"]["message"].as_str());
    assert!(told.unwrap().starts_with(shown.unwrap()));
    assert!(!shown.unwrap().is_empty());
    assert_eq!(row["RequestID"], "id-no-such-model");
    assert_eq!(row["Model"], "no-such-model");
    let stranger = all.iter().find(|row| row["UserID"] == 0).unwrap();
    assert_eq!(
        (&stranger["Status"], &stranger["RequestID"]),
        (&json!(401), &json!("id-stranger"))
    );
    let asked = "/x-refusals?status=4xx&request_id=id-stranger&size=1";
    assert_eq!(rows(&world.read(asked).await).len(), 1);
    for bad in [
        "status=9",
        "before=x",
        "below=perhaps",
        "start=never",
        "size=0",
    ] {
        let path = format!("/x-refusals?{bad}");
        let answer = world.root(world.http.get(world.url(&path))).await;
        assert_eq!(answer.status(), 400, "{bad}");
    }
}

#[tokio::test]
async fn a_flood_of_refusals_leaves_room_for_a_neighbours_and_adds_up() {
    const FLOOD: usize = 5_000;
    let world = World::start().await;
    let (noisy, quiet) = (
        world.add_account("noisy", 100.0).await,
        world.add_account("quiet", 100.0).await,
    );
    let call = async |key: &str| {
        let asked = world.http.post(world.url("/v1/chat/completions"));
        let answer = asked.bearer_auth(key).body("{").send().await.unwrap();
        assert_eq!(answer.status(), 400);
    };
    stream::iter(0..FLOOD)
        .for_each_concurrent(32, async |at| {
            call(&noisy).await;
            if at == FLOOD / 2 {
                call(&quiet).await;
            }
        })
        .await;
    let mut seen = (Vec::new(), Vec::new());
    until("all are told of", async || {
        seen = (
            rows(&read(&world, "/x-refusals?size=500", &noisy).await),
            rows(&read(&world, "/x-refusals", &quiet).await),
        );
        represented(&seen.0) >= FLOOD as u64 && !seen.1.is_empty()
    })
    .await;
    assert_eq!(represented(&seen.0), FLOOD as u64);
    assert_eq!(represented(&seen.1), 1);
    assert!(seen.0.len() < 500, "{} rows", seen.0.len());
}

#[tokio::test]
async fn none_are_kept_where_none_are_wanted() {
    let world = World::with(&[("REFUSAL_RETENTION_DAYS", "0")]).await;
    let key = world.add_account("alice", 100.0).await;
    let refuse = async || {
        let asked = world.http.post(world.url("/v1/chat/completions"));
        let answer = asked.bearer_auth(&key).body("{").send().await.unwrap();
        assert_eq!(answer.status(), 400);
    };
    refuse().await;
    tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
    assert!(rows(&world.read("/x-refusals").await).is_empty());
}
