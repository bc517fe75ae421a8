//! `/x-spend`.

use proxyxai_contract::{
    clock::Millis,
    id::AccountId,
    usage::UsageRecord,
    window::{LimitWindow, WindowAsk, WindowKey},
};
use serde_json::json;

use super::{RestHarness, START, golden};
use crate::{
    ops,
    testing::{DAY_MS, call, node},
};

async fn used(rig: &RestHarness) -> String {
    let anna = rig.child(&rig.root, "anna", 100).await;
    rig.child(&anna, "berta", 10).await;
    let record = |sequence, account, cost, days: i64| UsageRecord {
        start: START.plus(-days * DAY_MS),
        ..call(sequence, AccountId::new(account).unwrap(), cost)
    };
    let records = vec![
        record(1, 2, 0.5, 0),
        record(2, 3, 0.25, 1),
        record(3, 2, 1.0, 2),
    ];
    ops::fleet::report_usage(&rig.control, &node("n"), 1, records)
        .await
        .unwrap();
    anna
}

#[tokio::test]
async fn use_is_a_series_with_the_span_before() {
    let rig = RestHarness::start().await;
    let anna = used(&rig).await;
    let path = "/x-spend?by=account&days=2";
    let own = rig.ask("GET", path, &anna, "").await.body;
    golden("x-spend", &own);
    assert_eq!(
        (&own["Start"], &own["End"]),
        (&json!("2025-03-09"), &json!("2025-03-10"))
    );
    let before = (&own["StartBefore"], &own["EndBefore"]);
    assert_eq!(before, (&json!("2025-03-07"), &json!("2025-03-08")));
    assert_eq!(own["Unit"], "units");
    let anna_row = &own["Rows"][0];
    assert_eq!(
        (&anna_row["Name"], &anna_row["Cost"]),
        (&json!("anna"), &json!(0.5))
    );
    assert_eq!(anna_row["Before"]["Cost"], 1);
    assert_eq!(anna_row["Points"]["Cost"], json!([0, 0.5]));
    assert_eq!(own["Total"]["Points"]["Requests"], json!([1, 1]));
    let root = rig.get(path).await.body;
    golden("x-spend.root", &root);
    assert_eq!(root["Unit"], "dollars");
    let hours = rig.get("/x-spend?per=hour&date=2025-03-10").await.body;
    golden("x-spend.root", &hours);
    assert_eq!(hours["Points"].as_array().unwrap().len(), 10);
    assert_eq!(hours["Points"][9], "2025-03-10T09:00:00+00:00");
    assert_eq!(hours["Total"]["Points"]["Cost"][9], 0.5);
}

#[tokio::test]
async fn windows_say_how_much_of_them_is_left() {
    let rig = RestHarness::start().await;
    let anna = rig.child(&rig.root, "anna", 100).await;
    let ask = WindowAsk {
        key: WindowKey {
            account: AccountId::new(2).unwrap(),
            client_key: None,
            window: LimitWindow::Rph,
            model: String::new(),
            start: Millis(START.0 / 3_600_000 * 3_600_000),
        },
        limit: 100,
        need: 5,
        want: 5,
        overspent: 0,
    };
    ops::fleet::lease_windows(&rig.control, vec![ask])
        .await
        .unwrap();
    let shown = rig.ask("GET", "/x-windows", &anna, "").await;
    golden("x-windows", &shown.body);
    assert_eq!(shown.header("x-total-count"), "1");
    let row = &shown.body[0];
    assert_eq!((&row["Taken"], &row["Limit"]), (&json!(5), &json!(100)));
    assert_eq!(row["ResetsAt"], "2025-03-10T10:00:00+00:00");
    rig.get("/x-windows?window=RPM").await.names("window");
}

#[tokio::test]
async fn what_is_asked_wrongly_is_named() {
    let rig = RestHarness::start().await;
    let anna = used(&rig).await;
    for (query, field) in [
        ("by=day", "by"),
        ("per=minute", "per"),
        ("per=hour&days=3", "per"),
        ("per=hour&date=2025-03-01", "per"),
        ("below=no", "below"),
        ("days=367", "days"),
        ("model=gpt-4o", "model"),
    ] {
        rig.get(&format!("/x-spend?{query}")).await.names(field);
    }
    let refused = rig.ask("GET", "/x-spend?by=key", &anna, "").await;
    refused.refused(403, "permission_error", "forbidden");
    let refused = rig.ask("GET", "/x-spend?user=root", &anna, "").await;
    refused.refused(404, "not_found_error", "not_found");
}
