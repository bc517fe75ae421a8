//! `/x-nodes`, `/x-ledger` and the probe of keys.

use axum::http::StatusCode;
use proxyxai_contract::id::NodeName;
use serde_json::json;

use crate::testing::process;

use super::{RestHarness, SECRET, golden};
use crate::ops;

#[tokio::test]
async fn data_planes_are_shown_to_root_alone() {
    let rig = RestHarness::start().await;
    let anna = rig.child(&rig.root, "anna", 100).await;
    for name in ["n1", "n2"] {
        let name = NodeName::new(name).unwrap();
        let watch = ops::fleet::watch(&rig.control, process(name, 7), "1.2.3".to_owned());
        drop(watch.await.unwrap());
    }
    let shown = rig.get("/x-nodes").await.body;
    golden("x-nodes", &shown);
    let node = &shown["Nodes"][0];
    assert_eq!(
        (&node["Name"], &node["Version"], &node["Connected"]),
        (&json!("n1"), &json!("1.2.3"), &json!(false))
    );
    assert_eq!(node["Lag"], shown["Revision"]);
    assert_eq!((&shown["Total"], &node["Leases"]), (&json!(2), &json!(0)));
    let second = rig.get("/x-nodes?size=1&page=2").await.body;
    assert_eq!(
        (&second["Nodes"][0]["Name"], &second["Total"]),
        (&json!("n2"), &json!(2))
    );
    assert_eq!(rig.get("/x-nodes?connected=true").await.body["Total"], 0);
    rig.ask("GET", "/x-nodes", &anna, "")
        .await
        .refused(403, "permission_error", "forbidden");
    for (path, field) in [
        ("/x-nodes?conected=true", "conected"),
        ("/x-nodes?connected=yes", "connected"),
        ("/x-nodes?size=0", "size"),
    ] {
        rig.get(path).await.names(field);
    }
}

#[tokio::test]
async fn the_ledger_is_paged_and_filtered_for_everybody() {
    let rig = RestHarness::start().await;
    let anna = rig.child(&rig.root, "anna", 100).await;
    rig.child(&anna, "bert", 20).await;
    let all = rig.get("/x-ledger").await;
    golden("x-ledger", &all.body);
    let books = |answer: &super::TestResponse| {
        let rows = answer.body.as_array().unwrap().iter();
        rows.map(|row| row["Book"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert!(books(&all).contains(&"mint".to_owned()));
    let own = rig.ask("GET", "/x-ledger", &anna, "").await;
    assert_eq!(
        (own.header("x-total-count"), books(&own)),
        ("2", vec!["account".to_owned(); 2])
    );
    assert_eq!(
        (&own.body[0]["Amount"], &own.body[0]["Reason"]),
        (&json!(-20), &json!("grant"))
    );
    let berts = rig
        .ask("GET", "/x-ledger?user=bert&reason=grant", &anna, "")
        .await;
    assert_eq!(
        (&berts.body[0]["Name"], &berts.body[0]["Amount"]),
        (&json!("bert"), &json!(20))
    );
    let page = rig
        .get("/x-ledger?size=1&page=2&start=2025-03-10&end=2025-03-10")
        .await;
    assert_eq!(page.body.as_array().map(Vec::len), Some(1));
    let before = rig.get("/x-ledger?end=2025-03-09").await;
    assert_eq!(before.header("x-total-count"), "0");
    for (path, field) in [
        ("/x-ledger?reason=gift", "reason"),
        ("/x-ledger?start=today", "start"),
        ("/x-ledger?from=2025-03-10", "from"),
        ("/x-ledger?size=1001", "size"),
    ] {
        rig.get(path).await.names(field);
    }
    let strange = rig.ask("GET", "/x-ledger?user=root", &anna, "").await;
    strange.refused(404, "not_found_error", "not_found");
}

#[tokio::test]
async fn a_probe_answers_what_came_of_it() {
    let rig = RestHarness::start().await;
    let anna = rig.child(&rig.root, "anna", 100).await;
    // No server listens there.
    let key = json!({ "SecretKey": SECRET, "Provider": "http://127.0.0.1:9" });
    let added = rig.done("POST", "/x-keys", key).await;
    let path = format!("/x-keys/{}/probe", added["Key"]["ID"]);
    for body in ["", "{}", r#"{"Model":"gpt-4o"}"#] {
        let answer = rig.ask("POST", &path, &rig.root, body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        golden("x-keys.probe", &answer.body);
        assert_eq!(
            (
                &answer.body["Accepted"],
                &answer.body["Status"],
                &answer.body["Detail"]
            ),
            (&json!(false), &json!(0), &json!("no connection"))
        );
    }
    for (body, field) in [
        (r#"{"model":"gpt-4o"}"#, "model"),
        (r#"{"Model":7}"#, "Model"),
        (r#"{"Model":"a\nb"}"#, "Model"),
        (r#"{"Key":7}"#, "Key"),
        ("[]", "body"),
    ] {
        rig.ask("POST", &path, &rig.root, body).await.names(field);
    }
    rig.ask("POST", "/x-keys/99/probe", &rig.root, "")
        .await
        .refused(404, "not_found_error", "not_found");
    rig.ask("POST", &path, &anna, "")
        .await
        .refused(403, "permission_error", "forbidden");
}
