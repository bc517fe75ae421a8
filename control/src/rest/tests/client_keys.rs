//! `/x-users/{identifier}/keys` and `/x-self/keys`.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{RestHarness, golden};

fn made(answer: &Value) -> (i64, String) {
    let key = &answer["Key"];
    let secret = key["SecretKey"].as_str().unwrap().to_owned();
    (key["ID"].as_i64().unwrap(), secret)
}

#[tokio::test]
async fn a_key_is_made_shown_changed_and_deleted() {
    let rig = RestHarness::start().await;
    let anna = rig.child(&rig.root, "anna", 100).await;
    let body = r#"{"Name":"ci","Days":1.5,"CreditLimit":2.5,"RPM":7,"AllowModels":"gpt-4*"}"#;
    let added = rig.ask("POST", "/x-self/keys", &anna, body).await.body;
    golden("x-users.keys.add", &added);
    let (id, secret) = made(&added);
    assert!(
        secret.starts_with("sk-Xvs")
            && secret.ends_with(added["Key"]["PartialKey"].as_str().unwrap())
    );
    let listed = rig.get("/x-users/anna/keys").await.body;
    golden("x-users.keys.list", &listed);
    let row = &listed[0];
    assert_eq!(
        (
            &row["Name"],
            &row["CreditLimit"],
            &row["RPM"],
            &row["AllowModels"]
        ),
        (&json!("ci"), &json!(2.5), &json!(7), &json!("gpt-4*"))
    );
    assert_eq!(row["SecretKey"], Value::Null);
    let path = format!("/x-users/anna/keys/{id}");
    // A whole row may be sent back.
    let mut whole = row.clone();
    whole["ExpiresAt"] = json!("");
    whole["Status"] = json!(false);
    let changed = rig
        .ask("PUT", &path, &rig.root, &whole.to_string())
        .await
        .body;
    assert_eq!(changed["Action"], "update");
    let own = format!("/x-self/keys/{id}");
    let shown = rig.ask("GET", &own, &anna, "").await.body;
    assert_eq!(
        (&shown["ExpiresAt"], &shown["Status"]),
        (&Value::Null, &json!(false))
    );
    assert_eq!(shown["CreditLimit"], json!(2.5));
    let deleted = rig.ask("DELETE", &own, &anna, "").await;
    assert_eq!(
        (deleted.status, &deleted.body["Action"]),
        (StatusCode::OK, &json!("delete"))
    );
    rig.ask("GET", &own, &anna, "")
        .await
        .refused(404, "not_found_error", "not_found");
    assert_eq!(rig.get("/x-users/anna/keys").await.body, json!([]));
}

#[tokio::test]
async fn what_cannot_be_read_is_named() {
    let rig = RestHarness::start().await;
    for (body, field) in [
        (r"{}", "Name"),
        (r#"{"Name":""}"#, "Name"),
        (r#"{"Name":7}"#, "Name"),
        (r#"{"Name":"a","RPM":-1}"#, "RPM"),
        (r#"{"Name":"a","CreditLimit":-1}"#, "CreditLimit"),
        (r#"{"Name":"a","CreditLimit":"1"}"#, "CreditLimit"),
        (r#"{"Name":"a","Days":0}"#, "Days"),
        (r#"{"Name":"a","Days":1,"ExpiresAt":""}"#, "Days"),
        (
            r#"{"Name":"a","ExpiresAt":"2001-01-01T00:00:00Z"}"#,
            "ExpiresAt",
        ),
        (r#"{"Name":"a","ExpiresAt":"soon"}"#, "ExpiresAt"),
        (
            r#"{"Name":"a","ExpireAt":"2031-01-01T00:00:00Z"}"#,
            "ExpireAt",
        ),
        (r#"{"Name":"a","AllowModels":"-gpt-4"}"#, "AllowModels"),
    ] {
        let refused = rig.ask("POST", "/x-self/keys", &rig.root, body).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{body}");
        refused.names(field);
    }
    for path in ["/x-self/keys/x", "/x-self/keys/0", "/x-users/root/keys/-1"] {
        rig.get(path).await.names("ID");
    }
    rig.get("/x-users/nobody/keys")
        .await
        .refused(404, "not_found_error", "not_found");
}

#[tokio::test]
async fn a_further_key_reads_about_its_account_and_nothing_else() {
    let rig = RestHarness::start().await;
    let anna = rig.child(&rig.root, "anna", 100).await;
    let added = rig
        .ask("POST", "/x-self/keys", &anna, r#"{"Name":"ci"}"#)
        .await;
    let (id, secret) = made(&added.body);
    let info = rig.ask("GET", "/dashboard/info", &secret, "").await.body;
    assert_eq!(
        (&info["name"], &info["client_key"]["ID"]),
        (&json!("anna"), &json!(id))
    );
    for path in [
        "/dashboard/status",
        "/dashboard/bill",
        "/v1/dashboard/billing/usage",
    ] {
        let answer = rig.ask("GET", path, &secret, "").await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
    }
    for (method, path) in [
        ("GET", "/x-users"),
        ("GET", "/x-self/keys"),
        ("GET", "/dashboard/logs"),
        ("GET", "/dashboard/conf"),
        ("POST", "/x-self"),
        ("DELETE", "/x-users/anna"),
    ] {
        rig.ask(method, path, &secret, "{}")
            .await
            .refused(403, "permission_error", "forbidden");
    }
}
