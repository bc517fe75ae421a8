//! `/dashboard/logs`, `/x-news` and `/dashboard/news`.

use std::net::{IpAddr, Ipv4Addr};

use axum::{
    body::Body,
    extract::ConnectInfo,
    http::{Request, StatusCode},
};
use serde_json::json;

use super::{RestHarness, golden};

#[tokio::test]
async fn logs_have_the_documented_shape_and_pages() {
    let rig = RestHarness::start().await;
    let anna = rig.child(&rig.root, "anna", 100).await;
    rig.child(&anna, "bert", 20).await;
    rig.done("PUT", "/x-users/anna", json!({ "Alias": "Ann" }))
        .await;
    let shown = rig.get("/dashboard/logs").await.body;
    golden("dashboard.logs", &shown);
    assert_eq!(shown, rig.get("/dashboard/x-user-logs").await.body);
    assert_eq!(
        (
            &shown["total"],
            &shown["page"],
            &shown["size"],
            &shown["has_more"]
        ),
        (&json!(3), &json!(1), &json!(24), &json!(false))
    );
    let newest = &shown["logs"][0];
    assert_eq!(newest["action"], "update_user");
    assert_eq!(newest["created_at"], "2025-03-10 09:46:40");
    assert_eq!(
        newest["details"],
        r#"{"Alias":{"after":"Ann","before":"anna"}}"#
    );

    let page = rig.get("/dashboard/logs?size=2&page=1").await.body;
    assert_eq!(page["has_more"], true);
    assert_eq!(page["logs"].as_array().map(Vec::len), Some(2));
    let adds = rig
        .get("/dashboard/logs?action=add_user&status=success")
        .await;
    assert_eq!(adds.body["total"], 2);
    let target = shown["logs"][0]["target_id"].as_i64().unwrap();
    let path = format!("/dashboard/logs?target_id={target}");
    assert_eq!(rig.get(&path).await.body["total"], 2);
    let berts = rig.ask("GET", "/dashboard/logs", &anna, "").await.body;
    assert_eq!(berts["total"], 3);
    for (path, field) in [
        ("/dashboard/logs?size=101", "size"),
        ("/dashboard/logs?page=0", "page"),
        ("/dashboard/logs?target_id=x", "target_id"),
    ] {
        rig.get(path).await.names(field);
    }
}

#[tokio::test]
async fn a_record_says_where_the_operator_asked_from() {
    let rig = RestHarness::start().await;
    let body = json!({ "Name": "anna", "Email": "anna@example.com", "CreditGranted": 10 });
    let request = Request::builder()
        .method("POST")
        .uri("/x-users")
        .header("authorization", &rig.root)
        .extension(ConnectInfo(IpAddr::from(Ipv4Addr::new(192, 0, 2, 9))));
    let request = request.body(Body::from(body.to_string())).unwrap();
    assert_eq!(rig.send(request).await.status, StatusCode::OK);
    let shown = rig.get("/dashboard/logs").await.body;
    assert_eq!(shown["logs"][0]["ip"], "192.0.2.9");
}

#[tokio::test]
async fn news_have_the_documented_shape() {
    let rig = RestHarness::start().await;
    let anna = rig.child(&rig.root, "anna", 100).await;
    let news = |title: &str| json!({ "title": title, "content": "Ünïcode 😀\nand a line" });
    let posted = rig.done("POST", "/x-news", news("for all")).await;
    golden("x-news.post", &posted);
    assert_eq!(posted["news"]["created_at"], "2025-03-10T09:46:40Z");
    assert_eq!(posted["news"]["expires_at"], "2025-03-17T09:46:40Z");
    let posted = rig.done("POST", "/x-news/anna", news("for anna")).await;
    assert_eq!(posted["news"]["expires_at"], "2025-04-11T09:46:40Z");
    rig.done("POST", "/x-news/.1.2.", news("for annas")).await;

    let board = rig.ask("GET", "/dashboard/news", &anna, "").await.body;
    golden("dashboard.news", &board);
    let older = rig
        .ask("GET", "/dashboard/x-user-news", &anna, "")
        .await
        .body;
    assert_eq!(board, older);
    assert_eq!(board["user_news"][0]["content"], "Ünïcode 😀\nand a line");

    let posted = rig.get("/x-news?size=2").await;
    golden("x-news.posted", &posted.body);
    assert_eq!(posted.header("x-total-count"), "3");
    let (group, one) = (&posted.body[0], &posted.body[1]);
    assert_eq!(
        (&group["target"], &group["target_name"]),
        (&json!(".1.2."), &json!("anna"))
    );
    assert_eq!(
        (&one["target"], &one["title"]),
        (&json!("2"), &json!("for anna"))
    );
    rig.ask("DELETE", "/x-news?ID=1", &rig.root, "")
        .await
        .names("ID");
    let one = rig.ask("DELETE", "/x-news?id=1", &anna, "").await;
    one.refused(404, "not_found_error", "not_found");

    let gone = rig.done("DELETE", "/x-news/anna", json!({})).await;
    golden("x-news.delete", &gone);
    assert_eq!(gone["deleted"], 1);
    assert_eq!(rig.done("DELETE", "/x-news", json!({})).await["deleted"], 1);
    let board = rig.ask("GET", "/dashboard/news", &anna, "").await.body;
    assert_eq!(board["system_news"], json!([]));
    assert_eq!(board["dna_news"][0]["title"], "for annas");
}

#[tokio::test]
async fn bad_news_are_refused_by_name() {
    let rig = RestHarness::start().await;
    let anna = rig.child(&rig.root, "anna", 100).await;
    for (body, field) in [
        (json!({ "content": "c" }), "title"),
        (json!({ "title": "t" }), "content"),
        (json!({ "title": "t\r\nBcc: x", "content": "c" }), "title"),
        (json!({ "title": "t", "content": "c", "days": 0 }), "days"),
        (json!({ "title": "t", "content": "c", "days": 1.5 }), "days"),
        (json!({ "title": 1, "content": "c" }), "title"),
    ] {
        let body = body.to_string();
        let answer = rig.ask("POST", "/x-news", &rig.root, &body).await;
        answer.names(field);
    }
    let fine = json!({ "title": "t", "content": "c" }).to_string();
    rig.ask("POST", "/x-news", &anna, &fine)
        .await
        .refused(403, "permission_error", "forbidden");
    rig.ask("POST", "/x-news/nobody", &rig.root, &fine)
        .await
        .refused(404, "not_found_error", "not_found");
    assert_eq!(rig.get("/dashboard/logs").await.body["total"], 1);
}
