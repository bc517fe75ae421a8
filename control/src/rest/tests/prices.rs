//! `/x-prices` and `/x-books`.

use axum::http::StatusCode;
use proxyxai_contract::id::{AccountId, NodeName};
use serde_json::{Value, json};

use super::{RestHarness, golden};
use crate::{ops, testing};

/// A table of one model.
fn table(input: f64) -> Value {
    json!({
        "Version": "2026-10-01", "Providers": {},
        "ChatPricing": { "house": { "InputText": input, "OutputText": 10 } },
    })
}

async fn loaded(rig: &RestHarness, input: f64) -> Value {
    let body = json!({ "Table": table(input), "Force": true, "Note": "for tests" });
    rig.done("POST", "/x-prices", body).await
}

#[tokio::test]
async fn prices_are_shown_compared_and_loaded() {
    let rig = RestHarness::start().await;
    let first = loaded(&rig, 1.5).await;
    golden("x-prices.load", &first);
    let diff = json!({ "Table": table(3.0).to_string() });
    let diff = rig.done("POST", "/x-prices/diff", diff).await;
    golden("x-prices.diff", &diff);
    assert_eq!(
        diff["Changes"],
        json!([{
            "Model": "house", "Field": "InputText", "Unit": "dollars", "Old": 1.5, "New": 3, "Fallback": null,
            "Percent": 100.0,
        }])
    );
    let shown = rig.get("/x-prices").await.body;
    golden("x-prices", &shown);
    assert_eq!(shown["Version"], first["Version"]);
    assert_eq!(shown["Table"], table(1.5));
    assert_eq!(shown["Versions"][0]["Note"], "for tests");
    // Comparing has changed nothing, and a table made from older prices is not loaded.
    let over = json!({ "Table": table(3.0), "OverVersion": "another" });
    let late = rig
        .ask("POST", "/x-prices", &rig.root, &over.to_string())
        .await;
    late.names("Table");
    let name = shown["Versions"][1]["Version"].as_str().unwrap();
    let name = name.replace('+', "%2B");
    let older = rig.get(&format!("/x-prices?version={name}")).await.body;
    assert_eq!(older["Version"]["Source"], "built-in");
    let at = rig.get("/x-prices?time=2025-03-10T09:46:40Z").await.body;
    assert_eq!(at["Version"], shown["Version"]);
    rig.get("/x-prices?version=none")
        .await
        .refused(404, "not_found_error", "not_found");
}

#[tokio::test]
async fn what_is_wrong_about_prices_is_named() {
    let rig = RestHarness::start().await;
    let anna = rig.child(&rig.root, "anna", 100).await;
    for (method, path, body, field) in [
        ("GET", "/x-prices?versions=1", "", "versions"),
        ("GET", "/x-prices?time=now", "", "time"),
        ("GET", "/x-prices/unpriced?days=32", "", "days"),
        ("GET", "/x-prices/unpriced?day=3", "", "day"),
        ("GET", "/x-books?deep=1", "", "deep"),
        ("POST", "/x-prices", "{}", "Table"),
        ("POST", "/x-prices", r#"{"Table":7}"#, "Table"),
        (
            "POST",
            "/x-prices",
            r#"{"Table":{},"ValidFrom":"now"}"#,
            "ValidFrom",
        ),
        (
            "POST",
            "/x-prices/diff",
            r#"{"Table":{},"Force":true}"#,
            "Force",
        ),
        ("POST", "/x-prices/import", r#"{"Table":{}}"#, "Table"),
        (
            "POST",
            "/x-prices/import",
            r#"{"Table":{},"Format":"csv"}"#,
            "Format",
        ),
        ("POST", "/x-prices/rerate", "{}", "Start"),
        (
            "POST",
            "/x-prices/rerate",
            r#"{"Start":"2025-03-11","End":"2025-03-10"}"#,
            "Start",
        ),
        (
            "POST",
            "/x-prices/rerate",
            r#"{"Start":"2025-03-01","Dryrun":false}"#,
            "Dryrun",
        ),
    ] {
        rig.ask(method, path, &rig.root, body).await.names(field);
        let refused = rig.ask(method, path, &anna, body).await;
        // Where no large body is read, the name is checked before the rights.
        assert!(
            refused.status == 403 || path.starts_with("/x-books"),
            "{path}"
        );
    }
    let forbidden = rig.ask("GET", "/x-books", &anna, "").await;
    forbidden.refused(403, "permission_error", "forbidden");
}

#[tokio::test]
async fn a_table_may_be_larger_than_other_bodies() {
    let rig = RestHarness::start().await;
    let mut large = table(1.0);
    large["Note"] = json!("x".repeat(2 * 1024 * 1024));
    let body = json!({ "Table": large }).to_string();
    let answer = rig.ask("POST", "/x-prices/diff", &rig.root, &body).await;
    assert_ne!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    let body = format!(r#"{{"Table":"{}"}}"#, "x".repeat(17 * 1024 * 1024));
    let answer = rig.ask("POST", "/x-prices/diff", &rig.root, &body).await;
    answer.refused(413, "invalid_request_error", "request_too_large");
}

#[tokio::test]
async fn a_list_is_laid_over_the_prices_and_nothing_is_loaded() {
    let rig = RestHarness::start().await;
    let before = rig.get("/x-prices").await.body;
    let list = json!({ "gpt-4o": {
        "litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 9e-6, "output_cost_per_token": 1e-5,
    }});
    let import = json!({ "Format": "litellm", "Table": list });
    let imported = rig.done("POST", "/x-prices/import", import).await;
    assert_eq!(imported["OverVersion"], before["Version"]["Version"]);
    let change = |field: &str| {
        let changes = imported["Changes"].as_array().unwrap().iter();
        let mut of_field = changes.filter(|it| it["Model"] == "gpt-4o" && it["Field"] == field);
        of_field.next().map(|it| it["New"].clone())
    };
    assert_eq!(change("InputText"), Some(json!(9)));
    assert_eq!(imported["Table"]["ChatPricing"]["gpt-4o"]["InputText"], 9);
    // It is more than twice the previous price.
    let mut objections = imported["Objections"].as_array().unwrap().iter();
    assert!(objections.any(|it| it.as_str().unwrap().starts_with("gpt-4o InputText")));
    assert_eq!(imported["Read"], 1);
    assert_eq!(rig.get("/x-prices").await.body, before);
    let other = json!({ "Format": "models.dev", "Table": list }).to_string();
    let other = rig.ask("POST", "/x-prices/import", &rig.root, &other);
    other.await.names("Table");
    let nobody = json!({ "Table": list, "Providers": ["nobody"] }).to_string();
    let nobody = rig.ask("POST", "/x-prices/import", &rig.root, &nobody);
    nobody.await.names("Providers");
    // The result loads like any table.
    let load = json!({
        "Table": imported["Table"], "OverVersion": imported["OverVersion"], "Force": true,
    });
    rig.done("POST", "/x-prices", load).await;
    assert_ne!(
        rig.get("/x-prices").await.body["Version"],
        before["Version"]
    );
}

#[tokio::test]
async fn models_without_a_price_are_told_until_their_days_are_over_and_calls_are_priced_anew() {
    let rig = RestHarness::start().await;
    rig.child(&rig.root, "anna", 100).await;
    let account = AccountId::new(2).unwrap();
    let record = |sequence| {
        let mut record = testing::call(sequence, account, 0.0);
        record.model_used = "house".to_owned();
        record.start = super::START;
        record.priced = false;
        record
    };
    let mut records: Vec<_> = (1..=3).map(record).collect();
    // This call was not answered, and this one has a price.
    records[1].status = 502;
    records.push(testing::call(4, account, 0.5));
    let node = NodeName::new("n1").unwrap();
    let posted = ops::fleet::report_usage(&rig.control, &node, 1, records);
    Box::pin(posted).await.unwrap();
    let unpriced = rig.get("/x-prices/unpriced").await;
    golden("x-prices.unpriced", &unpriced.body);
    assert_eq!(
        unpriced.body,
        json!([{ "Model": "house", "Requests": 2, "Users": 1, "LastAt": "2025-03-10T09:46:40+00:00", "HasPrice": false }])
    );
    assert_eq!(unpriced.header("x-total-count"), "1");
    loaded(&rig, 1.5).await;
    let now = rig.get("/x-prices/unpriced?days=31").await.body;
    assert_eq!(now[0]["HasPrice"], true);

    // Nothing is posted unless the request asks for it.
    let from = json!({ "Start": "2025-03-10" });
    let dry = rig.done("POST", "/x-prices/rerate", from).await;
    golden("x-prices.rerate", &dry);
    assert_eq!(dry["DryRun"], true);
    let again = json!({ "Start": "2025-03-10", "DryRun": false });
    let real = rig.done("POST", "/x-prices/rerate", again).await;
    assert_eq!(
        (&real["Records"], &real["Corrections"]),
        (&dry["Records"], &dry["Corrections"])
    );
}

#[tokio::test]
async fn the_books_are_recomputed_by_one_at_a_time() {
    let rig = RestHarness::start().await;
    rig.child(&rig.root, "anna", 100).await;
    let books = rig.get("/x-books").await.body;
    golden("x-books", &books);
    assert_eq!(
        (&books["Balanced"], &books["Accounts"]),
        (&json!(true), &json!(2))
    );
    let one = rig.control.verifying().lock().await;
    let second = rig.get("/x-books").await;
    second.refused(409, "invalid_request_error", "busy");
    drop(one);
    assert_eq!(rig.get("/x-books").await.body["Balanced"], true);
}
