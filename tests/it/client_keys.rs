//! Further client keys of an account: what each may do and spend by itself, over data planes, kills and time.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use proxyxai_contract::clock::{Clock, Zone};
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::{
    fleet::{Plane, TOKEN},
    prices::today,
    upstream::{Script, Upstream, event},
    world::{Node, ROOT, World, documented, refused, until},
};

const UP: &str = "sk-upstream-aaaaaaaaaaaaaaaaaaaaaa";
/// Only output costs, so a call that uses all it may costs exactly what was reserved for it.
const PRICING: &str = r#"{"ChatPricing":{"house":{"InputText":0,"OutputText":100000},"other":{"InputText":0,"OutputText":100000}}}"#;
/// The price of seven tokens.
const CALL: f64 = 0.7;
const ENV: [(&str, &str); 4] = [
    ("NODE_TOKEN", TOKEN),
    ("CREDIT_WAIT_MS", "60000"),
    ("PRICING", PRICING),
    ("CALL_MIN_BALANCE", "0"),
];

struct Rig {
    world: World,
    upstream: Upstream,
    /// Alice's first key.
    first: String,
}

impl Rig {
    async fn start() -> Self {
        Self::of(World::with(&ENV).await).await
    }

    async fn of(world: World) -> Self {
        let upstream = Upstream::start().await;
        upstream.script(UP, Script::Chat);
        world.add_key(UP, &upstream.base).await;
        let first = world.add_account("alice", 1_000_000.0).await;
        Self {
            world,
            upstream,
            first,
        }
    }

    async fn ask(&self, method: Method, path: &str, key: &str, body: Value) -> Response {
        let request = self.world.http.request(method, self.world.url(path));
        let request = request.bearer_auth(key).json(&body);
        request.send().await.unwrap()
    }

    /// Creates a further key of alice. Returns its id and secret.
    async fn further(&self, body: Value) -> (i64, String) {
        let answer = self
            .ask(Method::POST, "/x-self/keys", &self.first, body)
            .await;
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
        let answer: Value = answer.json().await.unwrap();
        let key = &answer["Key"];
        let secret = key["SecretKey"].as_str().unwrap().to_owned();
        (key["ID"].as_i64().unwrap(), secret)
    }

    async fn change(&self, id: i64, body: Value) {
        let path = format!("/x-self/keys/{id}");
        let answer = self.ask(Method::PUT, &path, &self.first, body).await;
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    }

    /// The row of a further key.
    async fn row(&self, id: i64) -> Value {
        let path = format!("/x-users/alice/keys/{id}");
        self.world.read(&path).await
    }

    /// Waits until this many calls of a key are posted, and returns their cost.
    async fn spent(&self, id: i64, calls: usize) -> f64 {
        let what = format!("{calls} calls of the key are posted");
        until(&what, async || self.row(id).await["Requests"] == calls).await;
        self.row(id).await["CreditUsed"].as_f64().unwrap()
    }
}

fn house(max_tokens: u64) -> Value {
    json!({
        "model": "house", "max_tokens": max_tokens,
        "messages": [{"role": "user", "content": "hi"}],
    })
}

#[tokio::test]
async fn a_further_key_makes_calls_of_its_account_and_they_are_told_apart() {
    let rig = Rig::start().await;
    let (id, secret) = rig.further(json!({"Name": "ci"})).await;
    assert_eq!(rig.world.chat(&secret, "house").await.status(), 200);
    assert_eq!(rig.world.chat(&rig.first, "house").await.status(), 200);
    assert!((rig.spent(id, 1).await - CALL).abs() < 1e-9);
    rig.world.posted("alice", 2).await;
    let row = rig.row(id).await;
    assert_eq!(
        (&row["Name"], &row["SecretKey"]),
        (&json!("ci"), &Value::Null)
    );
    assert!(row["LastUsedAt"].is_string());
    let calls = rig.world.read("/x-usage?user=alice").await;
    let mut made_with: Vec<_> = calls
        .as_array()
        .unwrap()
        .iter()
        .map(|call| call["ClientKey"].as_i64().unwrap())
        .collect();
    made_with.sort_unstable();
    assert_eq!(made_with, [0, id]);
    let found = rig.world.read(&format!("/x-calls?client_key={id}")).await;
    assert_eq!(found["calls"].as_array().unwrap().len(), 1);
    assert_eq!(found["calls"][0]["ClientKeyName"], "ci");
    let csv = rig
        .world
        .root(rig.world.http.get(rig.world.url("/x-bill.csv")))
        .await;
    let csv = csv.text().await.unwrap();
    assert!(csv.lines().next().unwrap().contains(",client_key"), "{csv}");
    assert!(
        csv.lines().any(|line| line.contains(&format!(",{id},"))),
        "{csv}"
    );
    // The secret appears only in the response that created it.
    assert!(!rig.world.node.log().contains(&secret[6..]));
    rig.world.grpc().verify_books().await;
}

#[tokio::test]
async fn a_further_key_reads_and_calls_and_administrates_nothing() {
    let rig = Rig::start().await;
    let (id, secret) = rig
        .further(json!({"Name": "ci", "RPM": 5, "AllowModels": "house"}))
        .await;
    let info: Value = rig
        .ask(Method::GET, "/dashboard/info", &secret, json!({}))
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(
        (&info["name"], &info["client_key"]["ID"]),
        (&json!("alice"), &json!(id))
    );
    assert_eq!(info["client_key"]["AllowModels"], "house");
    let of_first = rig.ask(Method::GET, "/dashboard/info", &rig.first, json!({}));
    let of_first: Value = of_first.await.json().await.unwrap();
    assert_eq!(of_first["client_key"], Value::Null);
    let subscription = rig.ask(
        Method::GET,
        "/dashboard/billing/subscription",
        &secret,
        json!({}),
    );
    assert_eq!(subscription.await.status(), 200);
    for (method, path) in [
        (Method::GET, "/x-users"),
        (Method::POST, "/x-self"),
        (Method::GET, "/x-self/keys"),
        (Method::POST, "/x-self/keys"),
        (Method::GET, "/x-usage"),
        (Method::GET, "/dashboard/logs"),
    ] {
        let answer = rig
            .ask(method, path, &secret, json!({"Name": "more"}))
            .await;
        refused(answer, 403, "forbidden").await;
    }
    let models = rig.ask(Method::GET, "/v1/models", &secret, json!({})).await;
    let models: Value = models.json().await.unwrap();
    let names: Vec<_> = models["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["id"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["house"]);
    let told = refused(
        rig.world.chat(&secret, "other").await,
        403,
        "model_not_allowed",
    )
    .await;
    assert!(told.contains("\"ci\""), "{told}");
    assert_eq!(rig.world.chat(&rig.first, "other").await.status(), 200);
}

#[tokio::test]
async fn a_key_stops_when_it_is_off_expired_or_deleted_and_a_stream_goes_on() {
    let rig = Rig::start().await;
    let chunks = vec![event(r#"{"choices":[{"delta":{"content":"a"}}]}"#); 12];
    let pause = Duration::from_millis(250);
    let stream = Script::Stream {
        chunks,
        pause,
        breaks: false,
    };
    rig.upstream.script(
        UP,
        Script::where_it_says("\"stream\":true", stream, Script::Chat),
    );
    let (id, secret) = rig.further(json!({"Name": "ci"})).await;
    let end = Zone::UTC.rfc3339(Clock::system().now().plus(1500));
    rig.change(id, json!({"ExpiresAt": end})).await;
    let open = rig.world.chat_stream(&secret, "house").await;
    assert_eq!(open.status(), 200);
    until("the key has expired", async || {
        rig.world.chat(&secret, "house").await.status() == 401
    })
    .await;
    let told = refused(
        rig.world.chat(&secret, "house").await,
        401,
        "invalid_api_key",
    )
    .await;
    assert!(told.contains("has expired"), "{told}");
    let text = open.text().await.unwrap();
    assert_eq!(text.matches("\"content\":\"a\"").count(), 12, "{text}");
    // Each change is in effect when its response arrives.
    rig.change(id, json!({"ExpiresAt": ""})).await;
    assert_eq!(rig.world.chat(&secret, "house").await.status(), 200);
    rig.change(id, json!({"Status": false})).await;
    let told = refused(
        rig.world.chat(&secret, "house").await,
        401,
        "invalid_api_key",
    )
    .await;
    assert!(told.contains("switched off"), "{told}");
    rig.change(id, json!({"Status": true})).await;
    assert_eq!(rig.world.chat(&secret, "house").await.status(), 200);
    let path = format!("/x-self/keys/{id}");
    let gone = rig.ask(Method::DELETE, &path, &rig.first, json!({})).await;
    assert_eq!(gone.status(), 200);
    refused(
        rig.world.chat(&secret, "house").await,
        401,
        "invalid_api_key",
    )
    .await;
    assert_eq!(rig.world.chat(&rig.first, "house").await.status(), 200);
}

#[tokio::test]
async fn requests_of_a_key_are_counted_by_themselves() {
    let rig = Rig::start().await;
    // A minute may end in between.
    let (_, secret) = rig.further(json!({"Name": "ci", "RPM": 3})).await;
    let mut statuses = Vec::new();
    for _ in 0..8 {
        statuses.push(rig.world.chat(&secret, "house").await.status().as_u16());
    }
    let served = statuses.iter().filter(|status| **status == 200).count();
    assert!((3..=6).contains(&served), "{statuses:?}");
    let refused_at = statuses.iter().position(|status| *status == 429).unwrap();
    assert!(refused_at >= 3, "{statuses:?}");
    let answer = rig.world.chat(&secret, "house").await;
    if answer.status() == 429 {
        let told = documented(&answer.json().await.unwrap(), "rate_limit_exceeded");
        assert!(told.contains("\"ci\""), "{told}");
    }
    for _ in 0..4 {
        assert_eq!(rig.world.chat(&rig.first, "house").await.status(), 200);
    }
}

/// Statuses of this many concurrent calls with a key, spread over nodes.
async fn rush(nodes: &[&Node], http: &reqwest::Client, key: &str, calls: usize) -> Vec<u16> {
    let call = |at: usize| {
        let base = &nodes[at % nodes.len()].base;
        let request = http
            .post(format!("{base}/v1/chat/completions"))
            .bearer_auth(key)
            .json(&house(7));
        async move {
            let answer = request.send().await.unwrap();
            let status = answer.status().as_u16();
            if status == 402 {
                let text = answer.text().await.unwrap();
                assert!(
                    text.contains("insufficient_quota") && text.contains("\\\"ci\\\""),
                    "{text}"
                );
            }
            status
        }
    };
    stream::iter((0..calls).map(call))
        .buffer_unordered(calls)
        .collect()
        .await
}

fn served(statuses: &[u16]) -> usize {
    let served = statuses.iter().filter(|status| **status == 200).count();
    let short = statuses.iter().filter(|status| **status == 402).count();
    assert_eq!(served + short, statuses.len(), "{statuses:?}");
    served
}

#[tokio::test]
async fn a_key_spends_its_limit_and_nothing_beyond_on_one_node_through_a_kill() {
    let mut rig = Rig::start().await;
    let pause = Duration::from_millis(30);
    rig.upstream.script(UP, Script::Slow { pause });
    let (id, secret) = rig
        .further(json!({"Name": "ci", "CreditLimit": 20.5 * CALL}))
        .await;
    let first = served(&rush(&[&rig.world.node], &rig.world.http, &secret, 12).await);
    assert_eq!(first, 12);
    rig.world.kill().await;
    rig.world.restart_in_place().await;
    let second = served(&rush(&[&rig.world.node], &rig.world.http, &secret, 40).await);
    assert_eq!(first + second, 20);
    let spent = rig.spent(id, 20).await;
    assert!((spent - 20.0 * CALL).abs() < 1e-6, "{spent}");
    // Its account has more, and so has a key without a limit.
    assert_eq!(rig.world.chat(&rig.first, "house").await.status(), 200);
    rig.change(id, json!({"CreditLimit": 30.0 * CALL})).await;
    assert_eq!(
        served(&rush(&[&rig.world.node], &rig.world.http, &secret, 20).await),
        10
    );
    rig.spent(id, 30).await;
    rig.world.grpc().verify_books().await;
}

#[tokio::test]
async fn a_limit_that_is_lowered_counts_as_soon_as_it_is_answered() {
    let rig = Rig::start().await;
    let (id, secret) = rig
        .further(json!({"Name": "ci", "CreditLimit": 5_000}))
        .await;
    let nodes = [&rig.world.node];
    let begun = rush(&nodes, &rig.world.http, &secret, 60).await;
    assert_eq!(served(&begun), 60);
    rig.spent(id, 60).await;
    rig.change(id, json!({"CreditLimit": 1})).await;
    let late = rush(&nodes, &rig.world.http, &secret, 40).await;
    assert_eq!(served(&late), 0);
}

#[tokio::test]
async fn a_key_spends_its_limit_and_nothing_beyond_over_two_data_planes() {
    let rig = Rig::of(World::control(&ENV).await).await;
    let pause = Duration::from_millis(30);
    rig.upstream.script(UP, Script::Slow { pause });
    let wait = [("CREDIT_WAIT_MS", "60000")];
    let one = Plane::start(&rig.world, "plane-a", &wait).await;
    let mut two = Plane::start(&rig.world, "plane-b", &wait).await;
    let body = json!({"Name": "ci", "CreditLimit": 40.5 * CALL});
    let (id, secret) = rig.further(body).await;
    let http = &rig.world.http;
    let first = served(&rush(&[&one.node, &two.node], http, &secret, 24).await);
    assert_eq!(first, 24);
    two.node.kill().await;
    two.restart_in_place().await;
    let second = served(&rush(&[&one.node, &two.node], http, &secret, 60).await);
    assert_eq!(first + second, 40);
    let spent = rig.spent(id, 40).await;
    assert!((spent - 40.0 * CALL).abs() < 1e-6, "{spent}");
    // A change of a key is in effect on both nodes before its response arrives.
    rig.change(id, json!({"Status": false})).await;
    for plane in [&one, &two] {
        let answer = plane.node.chat(http, &secret, "house").await;
        refused(answer, 401, "invalid_api_key").await;
    }
    rig.world.grpc().verify_books().await;
}

#[tokio::test]
async fn the_former_secret_makes_calls_until_the_overlap_is_over() {
    let rig = Rig::start().await;
    let word = |word: &str| format!("{}-{word}", today());
    let rotate = json!({"confirm": word("ROTATE-SELF"), "overlap": 2});
    let answer = rig.ask(Method::POST, "/x-self", &rig.first, rotate).await;
    assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    let answer: Value = answer.json().await.unwrap();
    let fresh = answer["rotate"]["key"].as_str().unwrap();
    for key in [&*rig.first, fresh] {
        assert_eq!(rig.world.chat(key, "house").await.status(), 200);
    }
    // Only the new key may use the administration.
    refused(
        rig.ask(Method::GET, "/x-self/keys", &rig.first, json!({}))
            .await,
        403,
        "forbidden",
    )
    .await;
    let keys = rig.ask(Method::GET, "/x-self/keys", fresh, json!({})).await;
    let keys: Value = keys.json().await.unwrap();
    assert_eq!(keys.as_array().unwrap().len(), 1);
    until("the overlap is over", async || {
        rig.world.chat(&rig.first, "house").await.status() == 401
    })
    .await;
    assert_eq!(rig.world.chat(fresh, "house").await.status(), 200);
    let root = json!({"confirm": word("ROTATE-ROOT"), "name": "alice", "overlap": 60});
    let answer = rig.ask(Method::POST, "/x-root", ROOT, root).await;
    let answer: Value = answer.json().await.unwrap();
    let newest = answer["rotate"]["key"].as_str().unwrap();
    for key in [fresh, newest] {
        assert_eq!(rig.world.chat(key, "house").await.status(), 200);
    }
    assert!(!rig.world.node.log().contains(&newest[6..]));
}
