//! Refusals, credentials and cross-origin requests.

use axum::{body::Body, http::Request};
use serde_json::json;

use super::RestHarness;

#[tokio::test]
async fn every_refusal_has_its_status_and_the_documented_shape() {
    let rig = RestHarness::start().await;
    let (root, post) = (rig.root.as_str(), "POST");
    let anna = rig.child(root, "anna", 100).await;
    let poor = rig.child(root, "poor", 5).await;
    let ask = async |method, path, key: &str, body: &str| rig.ask(method, path, key, body).await;

    let wrong = ask("GET", "/x-users", "sk-wrong", "").await;
    wrong.refused(401, "authentication_error", "invalid_api_key");
    let few = ask("GET", "/x-users", &poor, "").await;
    few.refused(401, "authentication_error", "management_balance");
    let forbidden = ask("GET", "/x-keys", &anna, "").await;
    forbidden.refused(403, "permission_error", "forbidden");
    let nobody = rig.get("/x-users/nobody").await;
    nobody.refused(404, "not_found_error", "not_found");
    for path in ["/x-nothing", "/dashboard/nothing", "/x-users/a/b"] {
        rig.get(path)
            .await
            .refused(404, "not_found_error", "not_found");
    }
    let method = ask("DELETE", "/x-conf", root, "").await;
    method.refused(405, "invalid_request_error", "method_not_allowed");
    assert_eq!(method.header("allow"), "GET,HEAD,POST");
    let twin = r#"{"Name":"anna","Email":"twin@example.com","CreditGranted":10}"#;
    let conflict = ask(post, "/x-users", root, twin).await;
    conflict.refused(409, "invalid_request_error", "conflict");
    assert_eq!(conflict.body["error"]["param"], "Name");
    let dear = r#"{"Name":"dear","Email":"dear@example.com","CreditGranted":1000}"#;
    let broke = ask(post, "/x-users", &anna, dear).await;
    broke.refused(402, "insufficient_quota", "insufficient_quota");
    let huge = format!(r#"{{"Name":"{}"}}"#, "a".repeat(2 * 1024 * 1024));
    let large = ask(post, "/x-users", root, &huge).await;
    large.refused(413, "invalid_request_error", "request_too_large");

    rig.done("PUT", "/x-users/anna", json!({ "Suspended": true }))
        .await;
    let suspended = ask("GET", "/dashboard/info", &anna, "").await;
    suspended.refused(401, "authentication_error", "account_suspended");
}

#[tokio::test]
async fn a_credential_is_taken_in_three_forms_and_never_from_elsewhere() {
    let rig = RestHarness::start().await;
    let bearer = format!("bearer {}", rig.root);
    let root = rig.root.as_str();
    for (header, value, status) in [
        ("authorization", bearer.as_str(), 200),
        ("authorization", root, 200),
        ("x-api-key", root, 200),
        ("api-key", root, 401),
    ] {
        let request = Request::builder()
            .uri("/dashboard/info")
            .header(header, value);
        let answer = rig.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status.as_u16(), status, "{header}");
    }
    let query = format!("/dashboard/info?key={root}");
    let request = Request::builder().uri(query).body(Body::empty()).unwrap();
    let answer = rig.send(request).await;
    answer.refused(401, "authentication_error", "invalid_api_key");
}
