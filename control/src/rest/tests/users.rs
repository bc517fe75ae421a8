//! `/x-users` and `/x-dna`.

use axum::http::StatusCode;
use serde_json::json;

use super::{RestHarness, TestResponse, golden};

#[tokio::test]
async fn accounts_are_written_in_their_documented_shape() {
    let rig = RestHarness::start().await;
    let anna = rig.child(&rig.root, "anna", 100).await;
    let new = json!({
        "Name": "berta", "Email": "berta@example.com", "CreditGranted": 10, "Alias": "B", "Days": 30.5, "RPM": 60,
    });
    let added = rig
        .ask("POST", "/x-users", &anna, &new.to_string())
        .await
        .body;
    golden("x-users.create", &added);
    assert_eq!(
        (&added["Action"], &added["User"]["Alias"]),
        (&json!("add"), &json!("B"))
    );
    assert_eq!(added["Parent"]["Name"], "anna");
    assert_eq!(added["User"]["Updates"]["Balance"], 10);
    assert_eq!(added["User"]["Updates"]["RPM"], 60);

    let change = json!({ "CreditGranted": 5, "Name": "berta", "RateLimit": 50 });
    let changed = rig
        .ask("PUT", "/x-users/berta", &anna, &change.to_string())
        .await
        .body;
    golden("x-users.update", &changed);
    assert_eq!(changed["Action"], "update");
    assert_eq!(changed["Parent"]["Balance"], 85);
    let updates = &changed["User"]["Updates"];
    assert_eq!(
        (&updates["Balance"], &updates["CreditGranted"]),
        (&json!(15), &json!(5))
    );
    assert_eq!(updates["RPM"], 50);

    let limits = json!({ "gpt-4*": { "rpm": 5 } });
    let change = json!({ "ModelLimits": limits });
    rig.ask("PUT", "/x-users/berta", &anna, &change.to_string())
        .await;
    let row = &rig.ask("GET", "/x-users/berta", &anna, "").await.body[0];
    assert_eq!(row["ModelLimits"], limits);
    for bad in [
        r#"{"ModelLimits":{"gpt":5}}"#,
        r#"{"ModelLimits":"["}"#,
        r#"{"ModelLimits":7}"#,
    ] {
        let refused = rig.ask("PUT", "/x-users/berta", &anna, bad).await;
        refused.names("ModelLimits");
    }

    let change = json!({ "Status": false, "CreditGranted": 0 });
    let changed = rig
        .ask("POST", "/x-users/berta", &anna, &change.to_string())
        .await
        .body;
    let updates = &changed["User"]["Updates"];
    assert_eq!(
        (&updates["Status"], &updates["CreditGranted"]),
        (&json!(false), &json!(0))
    );

    let deleted = rig.ask("DELETE", "/x-users/berta", &anna, "").await.body;
    golden("x-users.delete", &deleted);
    assert_eq!(
        (&deleted["Action"], &deleted["User"]["Name"]),
        (&json!("delete"), &json!("berta"))
    );
}

#[tokio::test]
async fn accounts_are_listed_and_found() {
    let rig = RestHarness::start().await;
    let anna = rig.child(&rig.root, "anna", 100).await;
    rig.child(&rig.root, "L1234", 10).await;
    rig.child(&anna, "berta", 10).await;
    let names = |answer: &TestResponse| -> Vec<String> {
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        let rows = answer.body.as_array().unwrap().iter();
        rows.map(|row| row["Name"].as_str().unwrap().to_owned())
            .collect()
    };
    let children = rig.get("/x-users").await;
    golden("x-users.list", &children.body);
    assert_eq!(children.body[0]["SecretKey"], "***");
    assert!(!children.body.to_string().contains(&anna));
    assert_eq!(names(&children), ["L1234", "anna"]);
    assert_eq!(names(&rig.get("/x-dna").await), ["berta", "L1234", "anna"]);
    let page = rig.get("/x-dna?page=2&size=2").await;
    assert_eq!(
        (names(&page), page.header("x-total-count")),
        (vec!["anna".to_owned()], "3")
    );
    for path in [
        "/x-users/anna",
        "/x-dna/anna",
        "/x-users/anna%40example.com",
        "/x-users/2",
        "/x-users/.1.2.",
        "/x-users?name=anna",
        "/x-users?email=anna%40example.com",
        "/x-users?id=2",
    ] {
        let answer = rig.get(path).await;
        golden("x-users.list", &answer.body);
        assert_eq!(names(&answer), ["anna"], "{path}");
    }
    assert_eq!(names(&rig.get("/x-users/L1234").await), ["L1234"]);
    assert_eq!(names(&rig.get("/x-users/L0").await), ["L1234", "anna"]);
    assert_eq!(names(&rig.get("/x-users?level=7").await).len(), 0);
    let stranger = rig.ask("GET", "/x-users/L1234", &anna, "").await;
    stranger.refused(404, "not_found_error", "not_found");
}

#[tokio::test]
async fn what_is_wrong_with_an_account_is_named_and_nothing_is_stored() {
    let rig = RestHarness::start().await;
    for (body, field) in [
        (
            r#"{"Name":"anna","Email":"a@example.com","CreditGranted":"100"}"#,
            "CreditGranted",
        ),
        (
            r#"{"Name":"anna","Email":"a@example.com"}"#,
            "CreditGranted",
        ),
        (
            r#"{"Name":"ann","Email":"a@example.com","CreditGranted":100}"#,
            "Name",
        ),
        (
            r#"{"Name":"1234","Email":"a@example.com","CreditGranted":100}"#,
            "Name",
        ),
        (
            r#"{"Name":"anna","Email":"nobody","CreditGranted":100}"#,
            "Email",
        ),
        (
            r#"{"Name":"anna","Email":"a@example.com","CreditGranted":100,"Days":366}"#,
            "Days",
        ),
        (
            r#"{"Name":"anna","Email":"a@example.com","CreditGranted":100,"AllowIPs":"x"}"#,
            "AllowIPs",
        ),
        (
            r#"{"Name":"anna","Email":"a@example.com","CreditGranted":1e400}"#,
            "body",
        ),
    ] {
        rig.ask("POST", "/x-users", &rig.root, body)
            .await
            .names(field);
    }
    assert_eq!(rig.get("/x-users").await.body, json!([]));
}

#[tokio::test]
async fn what_people_read_is_text_and_nothing_passes_for_root() {
    let rig = RestHarness::start().await;
    let root = rig.root.clone();
    let created = |name: &str, more: &str| {
        format!(
            r#"{{"Name":{},"Email":"x@example.com","CreditGranted":10{more}}}"#,
            json!(name)
        )
    };
    for (name, more, field) in [
        ("ROOT", "", "Name"),
        ("r00t", "", "Name"),
        ("rооt", "", "Name"),
        ("<b>bold</b>", "", "Name"),
        ("al\u{200b}ice", "", "Name"),
        ("al\u{202e}ice", "", "Name"),
        ("alice", r#","Alias":"<script>""#, "Alias"),
        ("alice", r#","Alias":"a\u0007b""#, "Alias"),
        ("alice", r#","QRCode":"javascript:alert(1)""#, "QRCode"),
        ("alice", r#","Name":"bobby""#, "Name"),
        ("alice", r#","ModelLimits":{"m":{"rpm":1,"rpm":2}}"#, "rpm"),
        ("alice", r#","ModelLimits":"{\"m\":{},\"m\":{}}""#, "m"),
    ] {
        let answer = rig
            .ask("POST", "/x-users", &root, &created(name, more))
            .await;
        answer.names(field);
    }
    let fine = created(
        "alice",
        r#","Alias":"O'Brien","QRCode":"https://x.example/a.png""#,
    );
    let answer = rig.ask("POST", "/x-users", &root, &fine).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    for (change, field) in [
        (r#"{"Name":"Root"}"#, "Name"),
        (r#"{"Alias":"a>b"}"#, "Alias"),
        (r#"{"QRCode":"data:text/html,x"}"#, "QRCode"),
    ] {
        rig.ask("PUT", "/x-users/alice", &root, change)
            .await
            .names(field);
    }
    let key = r#"{"SecretKey":"sk-12345678901234567890","Name":"<i>"}"#;
    rig.ask("POST", "/x-keys", &root, key).await.names("Name");
}
