//! `/x-self`, `/x-root`, `/x-gkey`, `/x-ekey` and `/x-dkey`.

use axum::http::StatusCode;
use serde_json::json;

use super::{RestHarness, golden};

#[tokio::test]
async fn everybody_may_replace_the_own_key_with_todays_word() {
    let rig = RestHarness::start().await;
    let anna = rig.child(&rig.root, "anna", 100).await;
    let before = rig.get("/x-info?user=anna").await.body;
    for bad in [
        "{}",
        r#"{"confirm":"2025-03-09-ROTATE-SELF"}"#,
        r#"{"confirm":"2025-03-10-ROTATE-ROOT"}"#,
    ] {
        rig.ask("POST", "/x-self", &anna, bad)
            .await
            .names("confirm");
    }
    let good = r#"{"confirm":"2025-03-10-ROTATE-SELF"}"#;
    let rotated = rig.ask("POST", "/x-self", &anna, good).await.body;
    golden("x-self", &rotated);
    assert_eq!(rotated["message"], "Self key rotated successfully");
    assert_eq!(rotated["rotate"]["action"], "rotate_self");
    let key = rotated["rotate"]["key"].as_str().unwrap();
    let old = rig.ask("GET", "/dashboard/info", &anna, "").await;
    old.refused(401, "authentication_error", "invalid_api_key");
    let new = rig.ask("GET", "/dashboard/info", key, "").await;
    assert_eq!(
        (new.status, &new.body["name"]),
        (StatusCode::OK, &json!("anna"))
    );
    let after = rig.get("/x-info?user=anna").await.body;
    assert_ne!(before["PublicKey"], after["PublicKey"]);
    assert_eq!(after["PartialKey"], key[key.len() - 20..]);
}

#[tokio::test]
async fn root_may_choose_its_key() {
    let rig = RestHarness::start().await;
    let anna = rig.child(&rig.root, "anna", 100).await;
    let fresh = rig.get("/x-gkey").await.body["key"]
        .as_str()
        .unwrap()
        .to_owned();
    let confirm = "2025-03-10-ROTATE-ROOT";
    let own = json!({ "confirm": confirm, "key": fresh }).to_string();
    let refused = rig.ask("POST", "/x-root", &anna, &own).await;
    refused.refused(403, "permission_error", "forbidden");
    for (body, field) in [
        (json!({ "key": fresh }), "confirm"),
        (json!({ "confirm": confirm, "key": "sk-Xvs" }), "key"),
        (
            json!({ "confirm": confirm, "name": "anna", "key": fresh }),
            "key",
        ),
    ] {
        rig.ask("POST", "/x-root", &rig.root, &body.to_string())
            .await
            .names(field);
    }
    let rotated = rig.ask("POST", "/x-root", &rig.root, &own).await.body;
    golden("x-self", &rotated);
    assert_eq!(
        (&rotated["rotate"]["action"], &rotated["rotate"]["key"]),
        (&json!("rotate_root"), &json!(fresh))
    );
    rig.get("/x-users")
        .await
        .refused(401, "authentication_error", "invalid_api_key");
    let body = json!({ "confirm": confirm, "name": "root" }).to_string();
    let again = rig.ask("POST", "/x-root", &fresh, &body).await.body;
    assert_ne!(again["rotate"]["key"], json!(fresh));
}

#[tokio::test]
async fn root_gives_an_account_below_it_a_new_key() {
    let rig = RestHarness::start().await;
    let anna = rig.child(&rig.root, "anna", 100).await;
    let berta = rig.child(&anna, "berta", 20).await;
    let body = json!({ "confirm": "2025-03-10-ROTATE-ROOT", "name": "berta" }).to_string();
    let refused = rig.ask("POST", "/x-root", &anna, &body).await;
    refused.refused(403, "permission_error", "forbidden");
    let rotated = rig.ask("POST", "/x-root", &rig.root, &body).await.body;
    golden("x-self", &rotated);
    assert_eq!(rotated["rotate"]["name"], "berta");
    let key = rotated["rotate"]["key"].as_str().unwrap();
    let new = rig.ask("GET", "/dashboard/info", key, "").await;
    assert_eq!(new.body["name"], "berta");
    let old = rig.ask("GET", "/dashboard/info", &berta, "").await;
    old.refused(401, "authentication_error", "invalid_api_key");
    let nobody = json!({ "confirm": "2025-03-10-ROTATE-ROOT", "name": "carol" }).to_string();
    let unknown = rig.ask("POST", "/x-root", &rig.root, &nobody).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_text_is_sealed_and_opened_by_root_alone() {
    let rig = RestHarness::start().await;
    let anna = rig.child(&rig.root, "anna", 100).await;
    let sealed = rig.get("/x-ekey/pass%2Fword%20%C3%A9").await.body;
    golden("x-ekey", &sealed);
    let text = sealed["encrypted"].as_str().unwrap();
    let opened = rig.get(&format!("/x-dkey/{text}")).await.body;
    golden("x-dkey", &opened);
    assert_eq!(opened["decrypted"], "pass/word é");
    rig.get("/x-dkey/nonsense").await.names("text");
    rig.get(&format!("/x-dkey/{}", &text[1..]))
        .await
        .names("text");
    for path in ["/x-ekey/a", &format!("/x-dkey/{text}")] {
        let refused = rig.ask("GET", path, &anna, "").await;
        refused.refused(403, "permission_error", "forbidden");
    }
}
