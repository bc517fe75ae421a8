//! `/openapi.json` of running gateways: each serves exactly what its own document describes.

use std::collections::BTreeSet;

use http::Method;
use serde_json::Value;

use crate::{
    fleet::{Plane, TOKEN},
    world::World,
};

/// Method and path of each operation.
type Operations = BTreeSet<(String, String)>;

fn operations(document: &Value) -> Operations {
    let paths = document["paths"].as_object().unwrap();
    let each = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().keys();
        methods.map(move |method| (method.to_ascii_uppercase(), path.clone()))
    });
    each.collect()
}

/// The operations that the document at an address describes, after checking that each exists.
async fn served(http: &reqwest::Client, base: &str) -> Operations {
    let answer = http.get(format!("{base}/openapi.json")).send().await;
    let answer = answer.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/json");
    let document: Value = answer.json().await.unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let tags = document["tags"].as_array().unwrap();
    let names: BTreeSet<_> = tags.iter().map(|tag| tag["name"].as_str()).collect();
    assert_eq!(names.len(), tags.len(), "{tags:?}");
    let told = operations(&document);
    for (method, path) in &told {
        let url = format!("{base}{}", path.replace(['{', '}'], ""));
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let answer = http.request(method.clone(), url).send().await.unwrap();
        let status = answer.status().as_u16();
        let needs_key =
            !document["paths"][path][method.as_str().to_ascii_lowercase()]["security"].is_null();
        // Without a key a protected operation always gets 401.
        let wanted = if needs_key {
            status == 401
        } else {
            status != 404 && status != 405
        };
        assert!(wanted, "{method} {path} answers {status}");
    }
    told
}

#[tokio::test]
async fn every_role_serves_what_its_document_tells_of() {
    let control = World::control(&[("NODE_TOKEN", TOKEN)]).await;
    let forwarding = Plane::start(&control, "forwarding", &[]).await;
    let all_in_one = World::start().await;
    let http = &control.http;

    let by_control = served(http, &control.node.base).await;
    let by_plane = served(http, &forwarding.node.base).await;
    let by_both = served(http, &all_in_one.node.base).await;

    assert_eq!(by_plane, by_both);
    let calls = &by_both - &by_control;
    assert!(calls.contains(&("POST".to_owned(), "/v1/chat/completions".to_owned())));
    assert!(calls.contains(&("GET".to_owned(), "/metrics".to_owned())));
    for (_, path) in &calls {
        let administers = path.starts_with("/x-") || path.starts_with("/dashboard/");
        assert!(!administers || path == "/dashboard/models", "{path}");
    }
    for (_, path) in &by_control {
        assert!(
            !path.starts_with("/v1/") || path.starts_with("/v1/dashboard/"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_data_plane_that_forwards_nothing_tells_of_calls_alone() {
    let control = World::control(&[("NODE_TOKEN", TOKEN)]).await;
    let plane = Plane::start(&control, "alone", &[("CONTROL_HTTP", "")]).await;
    let told = served(&control.http, &plane.node.base).await;
    assert!(told.contains(&("POST".to_owned(), "/v1/messages".to_owned())));
    assert!(told.iter().all(|(_, path)| !path.starts_with("/x-")));
}
