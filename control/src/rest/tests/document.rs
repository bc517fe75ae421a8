//! Rules of the `OpenAPI` document: it has what the router has, and it parses.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;

fn document() -> Value {
    serde_json::to_value(Control::rest_document()).unwrap()
}

/// Method, path and operation.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let each = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().unwrap();
        methods.iter().map(|(method, operation)| {
            (method.to_ascii_uppercase(), path.clone(), operation.clone())
        })
    });
    each.collect()
}

#[tokio::test]
async fn every_path_takes_the_methods_of_the_document_and_no_others() {
    let rig = RestHarness::start().await;
    let document = document();
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() > 50, "{}", paths.len());
    for (path, item) in paths {
        let mut told: BTreeSet<String> = item
            .as_object()
            .unwrap()
            .keys()
            .map(|method| method.to_ascii_uppercase())
            .collect();
        if told.contains("GET") {
            told.insert("HEAD".to_owned());
        }
        let request = Request::builder().method("PATCH").uri(filled(path));
        let request = request.body(Body::empty()).unwrap();
        let answer = rig.router.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let allowed = answer.headers()["allow"].to_str().unwrap();
        let taken: BTreeSet<_> = allowed
            .split(',')
            .map(|method| method.trim().to_owned())
            .collect();
        assert_eq!(taken, told, "{path}");
    }
}

fn filled(path: &str) -> String {
    path.replace(['{', '}'], "")
}

/// Nothing else can put a route into the router.
#[test]
fn only_the_table_names_routes() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/rest");
    let mut folders = vec![folder.clone()];
    let mut looked_at = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            looked_at += 1;
            let text = fs::read_to_string(&path).unwrap();
            for way in [".route(", ".route_service(", ".nest(", "axum::routing"] {
                let is_table =
                    path.ends_with("rest/openapi.rs") || path.ends_with("tests/document.rs");
                assert!(is_table || !text.contains(way), "{path:?} has {way}");
            }
        }
    }
    assert!(looked_at > 30, "{looked_at}");
}

#[test]
fn operations_have_an_id_of_their_own_and_say_what_they_do() {
    let mut ids = BTreeSet::new();
    for (method, path, operation) in operations(&document()) {
        let id = operation["operationId"].as_str().unwrap().to_owned();
        let is_name = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        assert!(is_name, "{method} {path}: {id}");
        assert!(ids.insert(id.clone()), "{method} {path}: {id} is another's");
        for member in ["summary", "tags"] {
            let told = operation[member].to_string();
            assert!(told.len() > 4, "{method} {path} has no {member}");
        }
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.contains_key("200"), "{method} {path}");
    }
}

#[test]
fn every_reference_leads_somewhere_and_everything_is_referred_to() {
    let document = document();
    let mut found = BTreeSet::new();
    let mut rest = vec![&document];
    while let Some(value) = rest.pop() {
        match value {
            Value::Object(members) => {
                if let Some(to) = members.get("$ref").and_then(Value::as_str) {
                    found.insert(to.to_owned());
                }
                rest.extend(members.values());
            }
            Value::Array(items) => rest.extend(items),
            _ => {}
        }
    }
    for reference in &found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    for kind in ["schemas", "responses"] {
        for name in document["components"][kind].as_object().unwrap().keys() {
            let reference = format!("#/components/{kind}/{name}");
            assert!(found.contains(&reference), "nothing refers to {reference}");
        }
    }
}

#[test]
fn what_is_put_together_is_one_object_with_each_field_once() {
    let document = document();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for (name, schema) in schemas {
        assert!(schema.get("allOf").is_none(), "{name}");
    }
    for (name, required) in [
        ("CreateAccount", "Name"),
        ("CreateKey", "SecretKey"),
        ("CreateClientKey", "Name"),
    ] {
        let schema = &schemas[name];
        assert!(
            schema["required"]
                .as_array()
                .unwrap()
                .contains(&required.into()),
            "{name}"
        );
        // A required field is not nullable.
        let field = schema["properties"][required].to_string();
        assert!(!field.contains("null"), "{name}: {field}");
        assert!(schema["description"].is_string(), "{name}");
    }
}

#[test]
fn every_segment_of_a_path_is_told_of() {
    for (method, path, operation) in operations(&document()) {
        let named: BTreeSet<_> = path
            .split('/')
            .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
            .collect();
        let parameters = operation["parameters"].as_array().cloned();
        let parameters = parameters.unwrap_or_default();
        let told: BTreeSet<_> = parameters
            .iter()
            .filter(|parameter| parameter["in"] == "path")
            .inspect(|parameter| assert!(parameter["description"].is_string(), "{path}"))
            .map(|parameter| parameter["name"].as_str().unwrap())
            .collect();
        assert_eq!(named, told, "{method} {path}");
    }
}

#[tokio::test]
async fn earnings_are_exported_of_a_year_and_up_to_the_last_day_there_is() {
    let rig = RestHarness::start().await;
    let endless = "/x-earnings.csv?start=0001-01-01&end=9999-12-31";
    rig.get(endless).await.names("start");
    let last = "/x-earnings.csv?start=9999-12-31&end=9999-12-31";
    let answer = tokio::time::timeout(std::time::Duration::from_secs(10), rig.get(last)).await;
    assert_eq!(answer.unwrap().status, StatusCode::OK);
}
