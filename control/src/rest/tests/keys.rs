//! `/x-keys`.

use axum::http::StatusCode;
use serde_json::json;

use super::{RestHarness, SECRET, golden};

#[tokio::test]
async fn keys_are_written_and_shown_in_their_documented_shape() {
    let rig = RestHarness::start().await;
    let new = json!({
        "SecretKey": SECRET, "Name": "first", "Level": 2, "Provider": "https://api.example.com/v1",
        "Config": { "provider_type": "azure", "include_usage": false, "models": ["m"] }, "Color": 1,
    });
    let added = rig.done("POST", "/x-keys", new).await;
    golden("x-keys.write", &added);
    assert_eq!(added["Action"], "add");
    assert_eq!(added["Key"]["SecretKey"], "***");
    assert_eq!(added["Key"]["Config"]["include_usage"], false);
    assert_eq!(added["Key"]["CreatedAt"], "2025-03-10T09:46:40+00:00");
    let path = format!("/x-keys/{}", added["Key"]["ID"]);

    let changed = rig
        .done("POST", &path, json!({ "Level": 3, "SecretKey": "***" }))
        .await;
    golden("x-keys.write", &changed);
    assert_eq!(
        (&changed["Action"], &changed["Key"]["Level"]),
        (&json!("update"), &json!(3))
    );
    assert_eq!(changed["Key"]["Name"], "first");
    let changed = rig
        .done(
            "PUT",
            &path,
            json!({ "Status": false, "config": { "models": ["n"] } }),
        )
        .await;
    assert_eq!(changed["Key"]["Status"], false);
    assert_eq!(changed["Key"]["Config"]["provider_type"], "standard");

    let list = rig.get("/x-keys").await;
    golden("x-keys.list", &list.body);
    assert!(!list.body.to_string().contains(SECRET));
    golden("x-keys.list", &rig.get(&path).await.body);

    let deleted = rig.done("DELETE", &path, json!({})).await;
    golden("x-keys.write", &deleted);
    assert_eq!(deleted["Action"], "delete");
    rig.get(&path)
        .await
        .refused(404, "not_found_error", "not_found");
}

#[tokio::test]
async fn keys_are_filtered_and_paged() {
    let rig = RestHarness::start().await;
    for number in 0..5 {
        let host = if number < 2 {
            "a.example.com"
        } else {
            "b.example.com"
        };
        let key = json!({
            "SecretKey": format!("{SECRET}-{number}"), "Provider": format!("https://{host}"), "Level": number % 3,
        });
        rig.done("POST", "/x-keys", key).await;
    }
    let page = rig.get("/x-keys?size=2").await;
    let headers = ["x-total-count", "x-page", "x-per-page", "x-total-pages"];
    assert_eq!(headers.map(|name| page.header(name)), ["5", "1", "2", "3"]);
    assert_eq!(page.body.as_array().unwrap().len(), 2);
    let page = rig.get("/x-keys?page=3&size=2").await;
    assert_eq!(page.body.as_array().unwrap().len(), 1);
    for (path, rows) in [
        ("/x-keys/a.example.com", 2),
        ("/x-keys?provider=b.example.com", 3),
        ("/x-keys?provider=https%3A%2F%2Fb.example.com", 3),
        ("/x-keys/L0", 2),
        ("/x-keys?level=2", 1),
        ("/x-keys?level=2&provider=a.example.com", 0),
        ("/x-keys?id=4", 1),
        ("/x-keys?id=99", 0),
        ("/x-keys?level=", 5),
    ] {
        let answer = rig.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert_eq!(answer.body.as_array().unwrap().len(), rows, "{path}");
    }
    for (path, field) in [
        ("/x-keys?size=1001", "size"),
        ("/x-keys?page=0", "page"),
        ("/x-keys?level=eleven", "level"),
        ("/x-keys?id=-1", "id"),
        ("/x-keys?state=tired", "state"),
        ("/x-keys/L11", "Level"),
    ] {
        rig.get(path).await.names(field);
    }
}

#[tokio::test]
async fn a_key_that_cannot_be_used_is_not_stored() {
    let rig = RestHarness::start().await;
    for (body, field) in [
        (r#"{"Name":"x"}"#, "SecretKey"),
        (r#"{"SecretKey":12345678901234567890}"#, "SecretKey"),
        (r#"{"SecretKey":"short"}"#, "SecretKey"),
        (
            r#"{"SecretKey":"sk-upstream-0123456789","Level":"1"}"#,
            "Level",
        ),
        (
            r#"{"SecretKey":"sk-upstream-0123456789","Level":11}"#,
            "Level",
        ),
        (
            r#"{"SecretKey":"sk-upstream-0123456789","Provider":"ftp://h"}"#,
            "Provider",
        ),
        (
            r#"{"SecretKey":"sk-upstream-0123456789","Provider":"https://u:p@h"}"#,
            "Provider",
        ),
        (
            r#"{"SecretKey":"sk-upstream-0123456789","Status":1}"#,
            "Status",
        ),
        (
            r#"{"SecretKey":"sk-upstream-0123456789","Config":[]}"#,
            "Config",
        ),
        (
            r#"{"SecretKey":"sk-upstream-0123456789","Config":{"Price":{"Factor":0.5}}}"#,
            "Price",
        ),
        (
            r#"{"SecretKey":"sk-upstream-0123456789","Config":{"maxConcurrency":2}}"#,
            "maxConcurrency",
        ),
        (
            r#"{"SecretKey":"sk-upstream-0123456789","Config":{"provider_type":"x"}}"#,
            "provider_type",
        ),
        (r#"{"SecretKey":"sk-upstream-0123456789""#, "body"),
        ("[]", "body"),
        ("", "body"),
    ] {
        let answer = rig.ask("POST", "/x-keys", &rig.root, body).await;
        answer.names(field);
        assert!(
            !answer.body.to_string().contains("0123456789"),
            "{}",
            answer.body
        );
    }
    assert_eq!(rig.get("/x-keys").await.body, json!([]));
}
