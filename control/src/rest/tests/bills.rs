//! `/x-bill`, `/dashboard/bill`, and `OpenAI`'s billing endpoints.

use proxyxai_contract::{id::AccountId, usage::UsageRecord};
use serde_json::json;

use super::{RestHarness, START, golden};
use crate::{
    ops,
    testing::{DAY_MS, call, node},
};

/// Anna (id 2) with Berta (id 3) and Carla (id 4) below her; calls of all three on two days.
async fn used(rig: &RestHarness) -> String {
    let anna = rig.child(&rig.root, "anna", 100).await;
    rig.child(&anna, "berta", 10).await;
    rig.child(&anna, "carla", 10).await;
    rig.done("PUT", "/x-users/anna", json!({ "AllowLevels": "0,3" }))
        .await;
    rig.done("PUT", "/x-users/carla", json!({ "Level": 3 }))
        .await;
    let record = |sequence, account, cost, model: &str, days: i64| UsageRecord {
        model_used: model.to_owned(),
        start: START.plus(-days * DAY_MS),
        ..call(sequence, AccountId::new(account).unwrap(), cost)
    };
    let records = vec![
        record(1, 2, 0.5, "gpt-4o", 0),
        record(2, 2, 0.25, "o3", 0),
        record(3, 2, 1.0, "o3", 1),
        record(4, 3, 2.0, "gpt-4o", 0),
        record(5, 3, 1.0, "o3", 1),
        record(6, 4, 1.0, "o3", 1),
        record(7, 4, 9.0, "o3", 40),
    ];
    ops::fleet::report_usage(&rig.control, &node("n"), 1, records)
        .await
        .unwrap();
    anna
}

#[tokio::test]
async fn a_bill_of_descendants_adds_up_by_day_model_and_account() {
    let rig = RestHarness::start().await;
    let anna = used(&rig).await;
    let bill = rig.ask("GET", "/x-bill", &anna, "").await;
    golden("x-bill", &bill.body);
    assert_eq!(bill.header("x-total-count"), "2");
    let body = &bill.body;
    assert_eq!(body["total_usage"], json!({ "requests": 3, "cost": 4 }));
    let (first, second) = (&body["data"][0], &body["data"][1]);
    assert_eq!(first["aggregation_timestamp"], 1_741_478_400);
    assert_eq!(
        (&first["n_requests"], &first["n_context_tokens_total"]),
        (&json!(2), &json!(20))
    );
    assert_eq!(first["n_generated_tokens_total"], 10);
    assert_eq!(first["n_cached_tokens_total"], 4);
    assert_eq!(
        first["usage_details"]["o3"],
        json!({ "requests": 2, "prompt": 20, "completion": 10, "cost": 2 })
    );
    assert_eq!(second["usage_details"]["gpt-4o"]["cost"], 2);
    let berta = &body["usage_users"][0];
    assert_eq!(
        (&berta["id"], &berta["name"], &berta["total_cost"]),
        (&json!(3), &json!("berta"), &json!(3))
    );
    assert_eq!(
        berta["usage_analysis"],
        json!({ "request_percentage": 66.67, "cost_percentage": 75.0 })
    );
}

#[tokio::test]
async fn a_bill_is_narrowed_to_accounts_and_days() {
    let rig = RestHarness::start().await;
    let anna = used(&rig).await;
    let cost = async |key: &str, query: &str| {
        let bill = rig.ask("GET", &format!("/x-bill?{query}"), key, "").await;
        assert_eq!(bill.status.as_u16(), 200, "{query}: {}", bill.body);
        bill.body["total_usage"]["cost"].clone()
    };
    for (query, total) in [
        ("u=berta", 3),
        ("user=4", 1),
        ("user=berta%40example.com", 3),
        ("u=.1.2.3.", 3),
        ("u=L3", 1),
        ("u=L0", 3),
        ("level=3", 1),
        ("u=T7", 0),
        ("d=2025-03-10", 2),
        ("date=2025-03-09", 2),
        ("s=2025-03-10&e=2025-03-10", 2),
        ("days=1", 2),
        ("days=60", 13),
        ("start=2025-01-01&end=2025-02-28&u=carla", 9),
        ("date=2024-03-10", 0),
    ] {
        assert_eq!(cost(&anna, query).await, total, "{query}");
    }
    assert_eq!(cost(&rig.root, "").await, 5.75);
    rig.done("DELETE", "/x-users/carla", json!({})).await;
    assert_eq!(
        cost(&anna, "").await,
        4,
        "a deleted account stays on the bill"
    );
    let page = rig.ask("GET", "/x-bill?size=1&page=2", &anna, "").await;
    assert_eq!(page.body["usage_users"].as_array().unwrap().len(), 1);
    assert_eq!(page.body["usage_users"][0]["name"], "carla");
    assert_eq!(
        (
            page.header("x-total-count"),
            &page.body["total_usage"]["cost"]
        ),
        ("2", &json!(4))
    );
    for (query, field) in [
        ("d=x", "d"),
        ("days=0", "days"),
        ("s=2025-03-11&e=2025-03-10", "start"),
        ("size=0", "size"),
        ("u=L11", "Level"),
    ] {
        let refused = rig.ask("GET", &format!("/x-bill?{query}"), &anna, "").await;
        assert_eq!(refused.status.as_u16(), 400, "{query}");
        assert!(
            refused.body["message"]
                .as_str()
                .unwrap()
                .to_lowercase()
                .starts_with(&format!("{field}: ").to_lowercase()),
            "{}",
            refused.body
        );
    }
    let stranger = rig.child(&rig.root, "stranger", 100).await;
    let refused = rig.ask("GET", "/x-bill?u=berta", &stranger, "").await;
    refused.refused(404, "not_found_error", "not_found");
    assert_eq!(cost(&stranger, "").await, 0);
}

#[tokio::test]
async fn the_own_bill_has_numbers_wherever_pages_compute() {
    let rig = RestHarness::start().await;
    let anna = used(&rig).await;
    let today = rig.ask("GET", "/dashboard/bill", &anna, "").await.body;
    assert_eq!(
        (&today["total_credit_used"], &today["total_requests"]),
        (&json!(0.75), &json!(2))
    );
    let bill = rig
        .ask(
            "GET",
            "/dashboard/bill?start=2025-03-09&end=2025-03-10",
            &anna,
            "",
        )
        .await
        .body;
    golden("dashboard.bill", &bill);
    assert_eq!(bill["total_credit_used"], 1.75);
    assert_eq!(
        bill["usage_summary"]["o3"]["model_stats"],
        json!({ "Requests": 2, "Prompt": 20, "Completion": 10, "CreditUsed": 1.25 })
    );
    assert_eq!(
        bill["usage_summary"]["o3"]["usage_analysis"],
        json!({ "cost_percentage": 71.43, "request_percentage": 66.67 })
    );
    assert_eq!(
        (
            &bill["daily_costs"][0]["date"],
            &bill["daily_costs"][0]["total_credit_used"]
        ),
        (&json!("2025-03-09"), &json!(1))
    );
    assert_eq!(bill["daily_costs"][1]["line_items"][0]["name"], "gpt-4o");
    let nobody = rig.child(&rig.root, "nobody", 100).await;
    let empty = rig
        .ask("GET", "/dashboard/bill?days=30", &nobody, "")
        .await
        .body;
    assert_eq!(
        (&empty["total_credit_used"], &empty["usage_summary"]),
        (&json!(0), &json!({}))
    );
    // Days without use are included, so that charts are correct.
    let days = empty["daily_costs"].as_array().unwrap();
    assert_eq!(days.len(), 30);
    assert_eq!(
        (&days[0]["date"], &days[29]["date"]),
        (&json!("2025-02-09"), &json!("2025-03-10"))
    );
    assert_eq!(
        (&days[0]["total_credit_used"], &days[0]["line_items"]),
        (&json!(0), &json!([]))
    );
}

#[tokio::test]
async fn clients_of_openais_billing_see_what_is_left() {
    let rig = RestHarness::start().await;
    let anna = used(&rig).await;
    for version in ["", "/v1"] {
        let ask = async |what: &str| {
            let path = format!("{version}/dashboard/billing/{what}");
            rig.ask("GET", &path, &anna, "").await.body
        };
        let usage = ask("usage?start_date=2025-03-09&end_date=2025-03-31").await;
        golden("billing.usage", &usage);
        // Days without use are included here too.
        assert_eq!(usage["daily_costs"].as_array().unwrap().len(), 23);
        assert_eq!(usage["total_usage"], 175, "in cents");
        assert_eq!(
            usage["daily_costs"][0]["line_items"],
            json!([{ "name": "o3", "cost": 100 }])
        );
        let subscription = ask("subscription").await;
        golden("billing.subscription", &subscription);
        // 100 of credit, of which 20 was given to an account below, no fee: 80 is spent or left.
        assert_eq!(subscription["hard_limit_usd"], 80);
        assert_eq!(subscription["hard_limit"], 8000);
        let grants = ask("credit_grants").await;
        golden("billing.credit_grants", &grants);
        assert_eq!(
            (&grants["total_granted"], &grants["total_available"]),
            (&json!(100), &json!(78.25))
        );
        assert_eq!(grants["grants"]["data"][0]["used_amount"], 21.75);
    }
    let long = "/dashboard/billing/usage?start_date=2024-01-01&end_date=2025-03-01";
    rig.ask("GET", long, &anna, "").await.names("start_date");
}
