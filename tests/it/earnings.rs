//! Earnings of calls, node by node, their tags, and the bill in each record.

use serde_json::{Value, json};

use crate::{
    upstream::{Script, Upstream},
    world::{World, metrics, refused},
};

const UP: &str = "sk-upstream-aaaaaaaaaaaaaaaaaaaaaa";
const PRICING: &str = r#"{"ChatPricing":{"house":{"InputText":2.5,"OutputText":10}}}"#;
const PATH: &str = "/v1/chat/completions";

/// A world with a price of `house` and a key with a price rule.
async fn priced(secret: &str, provider: &str, price: Value) -> World {
    let world = World::with(&[("PRICING", PRICING)]).await;
    let config = json!({ "price": price });
    let key = json!({"SecretKey": secret, "Provider": provider, "Name": "pool", "Config": config});
    world.add_key_with(key).await;
    world
}

fn nanos(dollars: &Value) -> i64 {
    format!("{:.0}", dollars.as_f64().unwrap() * 1e9)
        .parse()
        .unwrap()
}

/// Cost, expense and margin of all calls, in nano-dollars.
async fn earned(world: &World, by: &str) -> [i64; 3] {
    let answer = world.read(&format!("/x-earnings?by={by}")).await;
    let of = |row: &Value| ["Cost", "Expense", "Margin"].map(|name| nanos(&row[name]));
    let rows: Vec<_> = answer["Rows"].as_array().unwrap().iter().map(of).collect();
    let total = of(&answer["Total"]);
    for at in 0..3 {
        assert_eq!(
            rows.iter().map(|row| row[at]).sum::<i64>(),
            total[at],
            "{by}"
        );
    }
    total
}

#[tokio::test]
async fn each_node_of_a_cascade_knows_its_own_margin() {
    let upstream = Upstream::start().await;
    upstream.script(UP, Script::Chat);
    let upper = priced(UP, &upstream.base, json!({"Factor": 0.6})).await;
    let reseller = upper.add_account("reseller", 100.0).await;
    let lower = priced(&reseller, &upper.node.base, json!({})).await;
    let alice = lower.add_account("alice", 100.0).await;
    lower.change("alice", json!({"Factor": 2})).await;
    assert_eq!(lower.chat(&alice, "house").await.status(), 200);
    lower.posted("alice", 1).await;
    upper.posted("reseller", 1).await;
    // 11 × $2.5 and 7 × $10 per million.
    for by in ["key", "provider", "model", "account", "day", "level"] {
        assert_eq!(earned(&lower, by).await, [195_000, 97_500, 97_500]);
        assert_eq!(earned(&upper, by).await, [97_500, 58_500, 39_000]);
    }
    let record = |record: Value| {
        let row = &record[0];
        ["Cost", "Expense", "Margin"].map(|name| nanos(&row[name]))
    };
    assert_eq!(
        record(lower.read("/x-usage?user=alice").await),
        [195_000, 97_500, 97_500]
    );
    assert_eq!(
        record(upper.read("/x-usage?user=reseller").await),
        [97_500, 58_500, 39_000]
    );
    let page = metrics(&upper.node.base).await;
    for line in [
        "proxyxai_earned_usd_total 0.0000975",
        "proxyxai_expense_usd_total 0.0000585",
    ] {
        assert!(page.contains(line), "{line}\n{page}");
    }
}

#[tokio::test]
async fn a_customer_can_add_up_its_bill_and_sees_nothing_of_what_it_cost() {
    let upstream = Upstream::start().await;
    upstream.script(UP, Script::Chat);
    let world = priced(UP, &upstream.base, json!({"Factor": 0.6})).await;
    let alice = world.add_account("alice", 100.0).await;
    world.change("alice", json!({"Factor": 1.5})).await;
    assert_eq!(world.chat(&alice, "house").await.status(), 200);
    world.posted("alice", 1).await;
    let ask = async |path: &str| {
        let request = world.http.get(world.url(path)).bearer_auth(&alice);
        request.send().await.unwrap()
    };
    let answer = ask("/x-usage").await;
    assert_eq!(answer.headers()["x-total-count"], "1");
    let records: Value = answer.json().await.unwrap();
    let record = &records[0];
    let mut sum = 0.0;
    for line in record["Bill"].as_array().unwrap() {
        assert_eq!(line["Unit"], "1M tokens");
        let number = |name: &str| line[name].as_f64().unwrap();
        let amount = number("Quantity") * number("Price") / 1e6;
        assert!((amount - number("Amount")).abs() < 1e-12, "{line}");
        sum += amount;
    }
    let multipliers = ["ModelRates", "Rates", "Factor"].map(|name| record[name].as_f64().unwrap());
    let cost = sum * multipliers.iter().product::<f64>();
    assert!(
        (cost - record["Cost"].as_f64().unwrap()).abs() < 1e-9,
        "{record}"
    );
    assert_eq!(
        record["Sum"],
        "11 input_text × $2.5 / 1M tokens = $0.0000275; 7 output_text × $10 / 1M tokens = $0.00007; \
         together $0.0000975 × 1.5 (Factor) = $0.00014625"
    );
    for hidden in ["Expense", "Margin"] {
        assert!(record.get(hidden).is_none(), "{record}");
    }
    let csv = ask("/x-bill.csv").await.text().await.unwrap();
    assert!(
        csv.lines()
            .next()
            .unwrap()
            .ends_with(",bill,tag,abandoned,client_key"),
        "{csv}"
    );
    for path in ["/x-earnings", "/x-earnings.csv", "/x-earnings?by=account"] {
        refused(ask(path).await, 403, "forbidden").await;
    }
    refused(ask("/x-usage?user=root").await, 404, "not_found").await;
    let bad = world.http.get(world.url("/x-earnings?by=moon"));
    refused(world.root(bad).await, 400, "invalid_request").await;
    let bad = json!({"SecretKey": "sk-upstream-bbbbbbbbbbbbbbbbbbb", "Config": {"price": {"Factor": -1}}});
    let bad = world.http.post(world.url("/x-keys")).json(&bad);
    let message = refused(world.root(bad).await, 400, "invalid_request").await;
    assert!(message.starts_with("price.Factor"), "{message}");
}

#[tokio::test]
async fn a_call_is_counted_under_its_header_or_what_its_body_says_and_the_header_stays_here() {
    let upstream = Upstream::start().await;
    upstream.script(UP, Script::Chat);
    let world = priced(UP, &upstream.base, json!({})).await;
    let alice = world.add_account("alice", 100.0).await;
    let call = async |tag: Option<&str>, mut body: Value| {
        body["model"] = "house".into();
        let mut request = world.http.post(world.url(PATH)).bearer_auth(&alice);
        if let Some(tag) = tag {
            request = request.header("x-proxyxai-tag", tag);
        }
        request.json(&body).send().await.unwrap()
    };
    for (tag, body) in [
        (Some("team-a"), json!({"user": "anna"})),
        (Some("team-a"), json!({})),
        (None, json!({"user": "anna", "metadata": {"user_id": "u"}})),
        (None, json!({"metadata": {"user_id": "u"}})),
        (None, json!({})),
    ] {
        assert_eq!(call(tag, body).await.status(), 200);
    }
    let long = "x".repeat(65);
    refused(call(Some(&long), json!({})).await, 400, "invalid_request").await;
    world.posted("alice", 5).await;
    let seen = upstream.seen(UP);
    assert_eq!(seen.len(), 5);
    assert!(
        seen.iter()
            .all(|call| !call.headers.contains_key("x-proxyxai-tag"))
    );
    let tags = world.read("/x-tags?user=alice").await;
    let tags = tags.as_array().unwrap().iter();
    let tags: Vec<_> = tags
        .map(|row| {
            (
                row["Tag"].as_str().unwrap(),
                row["Requests"].as_u64().unwrap(),
                nanos(&row["Cost"]),
            )
        })
        .collect();
    assert_eq!(
        tags,
        [
            ("team-a", 2, 195_000),
            ("anna", 1, 97_500),
            ("u", 1, 97_500)
        ]
    );
    let csv = world.http.get(world.url("/x-tags.csv")).bearer_auth(&alice);
    let csv = csv.send().await.unwrap().text().await.unwrap();
    assert!(
        csv.contains("\r\nteam-a,2,22,0,14,0.000195000\r\n"),
        "{csv}"
    );
}

#[tokio::test]
async fn bodies_are_not_asked_whom_they_are_for_where_that_is_switched_off() {
    let upstream = Upstream::start().await;
    upstream.script(UP, Script::Chat);
    let world = World::with(&[("PRICING", PRICING), ("TAG_MEMBERS", "-")]).await;
    world.add_key(UP, &upstream.base).await;
    let alice = world.add_account("alice", 100.0).await;
    let body = json!({"model": "house", "user": "anna"});
    assert_eq!(world.post(PATH, &alice, &body).await.status(), 200);
    world.posted("alice", 1).await;
    let records = world.read("/x-usage?user=alice").await;
    assert_eq!(records[0]["Tag"], "");
    assert_eq!(world.read("/x-tags?user=alice").await, json!([]));
}
