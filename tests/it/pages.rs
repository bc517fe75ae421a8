//! Requests of pages and scripts of all versions, byte for byte as they send them, and what they read from the
//! responses.

use reqwest::{Method, Response, header};
use serde_json::{Value, json};

use crate::{
    upstream::{Script, Upstream, json_answer},
    world::{ROOT, World, until},
};

const UP: &str = "sk-upstream-aaaaaaaaaaaaaaaaaaaaaa";
const PRICING: &str = r#"{"ChatPricing":{"house":{"InputText":1000,"OutputText":1000}}}"#;

fn chat_answer() -> Script {
    let answer = json!({
        "id": "c1", "object": "chat.completion", "model": "house",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 150, "total_tokens": 250},
    });
    json_answer(200, answer.to_string())
}

/// A page sends the bare key, a content type, and an origin.
async fn page(
    world: &World,
    method: Method,
    path: &str,
    key: &str,
    body: Option<Value>,
) -> Response {
    let request = world
        .http
        .request(method, world.url(path))
        .header("origin", "https://sub.example.com")
        .header("authorization", key)
        .header("content-type", "application/json");
    let request = match body {
        Some(body) => request.body(body.to_string()),
        None => request,
    };
    let answer = request.send().await.unwrap();
    assert_eq!(
        answer.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN],
        "*",
        "{path}"
    );
    answer
}

#[tokio::test]
async fn pages_are_served_with_a_strict_policy_and_are_asked_for_anew() {
    let world = World::start().await;
    let get = async |path: &str| {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        client.get(world.url(path)).send().await.unwrap()
    };
    for (path, kind) in [
        ("/", "text/html"),
        ("/console/", "text/html"),
        ("/billing/", "text/html"),
        ("/user/", "text/html"),
        ("/docs/", "text/html"),
        ("/style.css", "text/css"),
        ("/config.js", "text/javascript"),
        ("/console/main.js", "text/javascript"),
        ("/docs/text/rest.md", "text/markdown"),
    ] {
        let answer = get(path).await;
        assert_eq!(answer.status(), 200, "{path}");
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("content-type"), kind, "{path}");
        assert_eq!(header("cache-control"), "no-cache", "{path}");
        let policy = header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"));
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(header("x-content-type-options"), "nosniff");
        let known = world.http.get(world.url(path));
        let again = known.header("if-none-match", header("etag")).send().await;
        assert_eq!(again.unwrap().status(), 304, "{path}");
        let head = world.http.head(world.url(path)).send().await.unwrap();
        assert_eq!(head.status(), 200, "{path}");
    }
    for folder in ["/console", "/billing", "/user", "/docs"] {
        let answer = get(folder).await;
        assert_eq!(answer.status(), 308);
        assert_eq!(answer.headers()["location"], format!("{folder}/"));
    }
    for nowhere in [
        "/console/nothing.js",
        "/docs/text/../../Cargo.toml",
        "/pages/index.html",
    ] {
        let answer = get(nowhere).await;
        assert_eq!(answer.status(), 404, "{nowhere}");
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["error"]["code"], "not_found", "{nowhere}");
    }
    let posted = world.http.post(world.url("/console/")).send().await;
    assert_eq!(posted.unwrap().status(), 404);
}

/// Errors on the older paths have no CORS header, so a page of another origin cannot read them.
#[tokio::test]
async fn a_wrong_key_on_the_older_info_paths_is_no_answer_to_a_page() {
    let world = World::start().await;
    for (path, told) in [
        ("/dashboard/x_user/info", false),
        ("/dashboard/x-user-info", false),
        ("/dashboard/info", true),
    ] {
        for (key, status) in [("sk-Xvs-wrong", 401), (ROOT, 200)] {
            let request = world.http.get(world.url(path)).bearer_auth(key);
            let answer = request.header("origin", "https://usage.example.com");
            let answer = answer.send().await.unwrap();
            assert_eq!(answer.status(), status, "{path}");
            let open = answer
                .headers()
                .contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN);
            assert_eq!(open, told || status == 200, "{path} {status}");
        }
    }
}

async fn read(world: &World, path: &str, key: &str) -> Value {
    let answer = page(world, Method::GET, path, key, None).await;
    assert_eq!(answer.status(), 200, "{path}");
    answer.json().await.unwrap()
}

/// Every value that a page calls `toFixed` on.
fn all_numbers(value: &Value, pointers: &[&str]) {
    for pointer in pointers {
        let found = value.pointer(pointer);
        assert!(found.is_some_and(Value::is_number), "{pointer} in {value}");
    }
}

#[tokio::test]
async fn the_billing_page_reads_numbers_under_every_path_it_ever_had() {
    let (world, upstream) = (
        World::with(&[("PRICING", PRICING)]).await,
        Upstream::start().await,
    );
    upstream.script(UP, chat_answer());
    world.add_key(UP, &upstream.base).await;
    let key = world.add_account("alice", 100.0).await;
    assert_eq!(world.chat(&key, "house").await.status(), 200);
    world.posted("alice", 1).await;
    for path in [
        "/dashboard/x_user/info",
        "/dashboard/x-user-info",
        "/dashboard/info",
        "/dashboard/live",
    ] {
        for credential in [key.clone(), format!("Bearer {key}")] {
            let info = read(&world, path, &credential).await;
            all_numbers(
                &info,
                &[
                    "/id",
                    "/level",
                    "/child",
                    "/credit_used",
                    "/balance",
                    "/hard_limit",
                    "/rate_limit",
                    "/rpm",
                    "/tpd",
                    "/daily_usage/CreditUsed",
                    "/daily_usage/Requests",
                    "/monthly_usage/CreditUsed",
                    "/monthly_usage/Requests",
                    "/credit_balance/0/amount",
                    "/credit_balance/0/balance",
                ],
            );
            assert_eq!(
                (&info["credit_used"], &info["balance"]),
                (&json!(0.25), &json!(99.75))
            );
            assert_eq!(info["daily_usage"]["Requests"], 1);
        }
    }
}

#[tokio::test]
async fn the_user_page_creates_recharges_views_updates_and_deletes() {
    let world = World::start().await;
    let parent = world.add_account("parent", 1000.0).await;
    // A parent may give what it may use itself.
    world
        .change("parent", json!({"AllowLevels": "0,1,2", "Gear": 1}))
        .await;
    let preflight = world
        .http
        .request(Method::OPTIONS, world.url("/x-users/child"))
        .header("origin", "https://sub.example.com")
        .header("access-control-request-method", "DELETE")
        .header(
            "access-control-request-headers",
            "authorization,content-type",
        );
    let preflight = preflight.send().await.unwrap();
    assert_eq!(preflight.status(), 204);
    let allowed = preflight.headers()[header::ACCESS_CONTROL_ALLOW_METHODS]
        .to_str()
        .unwrap();
    assert!(allowed.contains("DELETE"), "{allowed}");

    let new =
        json!({ "Name": "child", "Email": "child@example.com", "CreditGranted": 5, "Rates": 1 });
    let added = page(&world, Method::POST, "/x-users", &parent, Some(new)).await;
    let added: Value = added.json().await.unwrap();
    let child = added["User"]["SecretKey"].as_str().unwrap();
    assert_eq!(
        read(&world, "/dashboard/status", child).await["manage"],
        false
    );
    let recharge = json!({ "CreditGranted": 100, "Email": "child@example.com", "Rates": 1 });
    page(
        &world,
        Method::PUT,
        "/x-users/child",
        &parent,
        Some(recharge),
    )
    .await;
    let id = added["User"]["ID"].as_i64().unwrap().to_string();
    for view in [
        "/x-dna",
        "/x-dna/child",
        &format!("/x-dna/{id}"),
        "/x-dna/child%40example.com",
    ] {
        let rows = read(&world, view, &parent).await;
        assert_eq!(rows[0]["Name"], "child", "{view}");
        assert_eq!(rows[0]["CreditGranted"], 100, "{view}");
    }
    let update = json!({
        "Name": id, "Level": 1, "Gear": 1, "Role": 1, "Factor": null, "RPM": 60, "RPH": 600, "RPD": 6000, "TPM": 1000, "TPH": 10000,
        "TPD": 100_000, "HardLimit": 50, "ChildLimit": 3, "AllowIPs": "10.0.0.0/8, 127.0.0.1", "AllowModels": "gpt-4o, o*",
        "AllowLevels": "1,2", "Resources": "/v1/chat/completions, /dashboard", "ModelMapper": "gpt-3.5*=gpt-4o-mini, gpt-4=gpt-4o",
        "LevelMapper": "gpt-4*=2", "BillingEmail": "b@example.com", "QRCode": "https://a.example.com/q.png", "Status": true,
    });
    let updated = page(
        &world,
        Method::PUT,
        &format!("/x-users/{id}"),
        &parent,
        Some(update),
    )
    .await;
    let updated: Value = updated.json().await.unwrap();
    assert_eq!(updated["User"]["Name"], "child", "{updated}");
    let deleted = page(&world, Method::DELETE, "/x-users/child", &parent, None).await;
    let deleted: Value = deleted.json().await.unwrap();
    assert_eq!(
        (&deleted["Action"], &deleted["User"]["Name"]),
        (&json!("delete"), &json!("child"))
    );
    let gone = page(&world, Method::GET, "/x-dna/child", &parent, None).await;
    assert_eq!(gone.status(), 404);
    let error: Value = gone.json().await.unwrap();
    assert_eq!(error["message"], error["error"]["message"]);
}

#[tokio::test]
async fn the_manager_page_reads_bills_with_every_number_in_place() {
    let (world, upstream) = (
        World::with(&[("PRICING", PRICING)]).await,
        Upstream::start().await,
    );
    upstream.script(UP, chat_answer());
    world.add_key(UP, &upstream.base).await;
    let key = world.add_account("alice", 100.0).await;
    assert_eq!(world.chat(&key, "house").await.status(), 200);
    world.posted("alice", 1).await;
    let bill = read(&world, "/dashboard/bill?days=2", &key).await;
    all_numbers(
        &bill,
        &[
            "/total_credit_used",
            "/total_requests",
            "/total_prompt",
            "/total_completion",
            "/usage_summary/house/model_stats/Requests",
            "/usage_summary/house/model_stats/Prompt",
            "/usage_summary/house/model_stats/Completion",
            "/usage_summary/house/model_stats/CreditUsed",
            "/usage_summary/house/usage_analysis/cost_percentage",
            "/usage_summary/house/usage_analysis/request_percentage",
            "/daily_costs/0/timestamp",
            "/daily_costs/0/total_credit_used",
            "/daily_costs/0/total_requests",
            "/daily_costs/1/line_items/0/cost",
            "/daily_costs/1/line_items/0/usage/model_stats/Prompt",
        ],
    );
    assert_eq!(
        (&bill["total_credit_used"], &bill["total_prompt"]),
        (&json!(0.25), &json!(100))
    );
    let of_all = read(&world, "/x-bill", ROOT).await;
    assert_eq!(
        of_all["total_usage"],
        json!({ "requests": 1, "cost": 0.25 })
    );
    assert_eq!(of_all["usage_users"][0]["name"], "alice");
    let usage = read(&world, "/v1/dashboard/billing/usage", &key).await;
    assert_eq!(usage["total_usage"], 25);
    let left = read(&world, "/v1/dashboard/billing/subscription", &key).await;
    assert_eq!(left["hard_limit_usd"], 100);
    let grants = read(&world, "/v1/dashboard/billing/credit_grants", &key).await;
    assert_eq!(grants["total_available"], 99.75);
    let models = world
        .http
        .get(world.url("/dashboard/models"))
        .bearer_auth(&key)
        .send()
        .await
        .unwrap();
    assert_eq!(models.json::<Value>().await.unwrap()["object"], "list");
}

#[tokio::test]
async fn what_operators_type_into_paths_and_bodies_is_in_no_log() {
    let world = World::with(&[("RUST_LOG", "trace,h2=info,hyper=info")]).await;
    let planted = "planted-Secret-0815";
    let sealed = read(&world, &format!("/x-ekey/{planted}"), ROOT).await;
    let text = sealed["encrypted"].as_str().unwrap();
    let opened = read(&world, &format!("/x-dkey/{text}"), ROOT).await;
    assert_eq!(opened["decrypted"], planted);
    let set = json!({ "EMAIL_PASS": planted });
    page(&world, Method::PUT, "/x-config", ROOT, Some(set)).await;
    until("the change is in the log", async || {
        world.node.log().contains("settings changed")
    })
    .await;
    assert!(!world.node.log().contains(planted));
}
