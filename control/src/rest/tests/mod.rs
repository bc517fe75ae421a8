//! The REST front through its router, over a real control plane on SQLite. Shapes are compared with
//! `tests/golden/*.json`, which hold the keys of a response and the JSON types of its values.

mod accounts;
mod bills;
mod calls;
mod client_keys;
mod conf;
mod config;
mod document;
mod keys;
mod logs;
mod prices;
mod refusals;
mod running;
mod secrets;
mod spend;
mod users;

use std::fs;
use tempfile::TempDir;

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, StatusCode},
};
use http_body_util::BodyExt as _;
use proxyxai_contract::clock::{Clock, Millis};
use serde_json::{Map, Value, json};
use tower::ServiceExt as _;

use crate::{Control, config::Config, store::database::Database};

/// 2025-03-10 09:46:40 UTC.
const START: Millis = Millis(1_741_600_000_000);
const SECRET: &str = "sk-upstream-0123456789";

struct RestHarness {
    control: Control,
    router: Router,
    root: String,
    dir: TempDir,
}

struct TestResponse {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl RestHarness {
    async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let config = Config::new(
            Database::Sqlite(dir.path().join("test.db")),
            dir.path().to_owned(),
        );
        let control = Control::start(config, Clock::manual(START)).await.unwrap();
        let root = control.first_root_key().unwrap().expose().to_owned();
        Self {
            router: control.rest_router(),
            control,
            root,
            dir,
        }
    }

    async fn send(&self, request: Request<Body>) -> TestResponse {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        TestResponse {
            status: parts.status,
            headers: parts.headers,
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        }
    }

    async fn ask(&self, method: &str, path: &str, key: &str, body: &str) -> TestResponse {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {key}"))
            // The content type that `curl -d` sends.
            .header("content-type", "application/x-www-form-urlencoded");
        let request = request.body(Body::from(body.to_owned())).unwrap();
        self.send(request).await
    }

    async fn get(&self, path: &str) -> TestResponse {
        self.ask("GET", path, &self.root, "").await
    }

    /// A request by root that must succeed.
    async fn done(&self, method: &str, path: &str, body: Value) -> Value {
        let answer = self.ask(method, path, &self.root, &body.to_string()).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.body);
        answer.body
    }

    /// Creates a child of the account of `key` and returns its client key.
    async fn child(&self, key: &str, name: &str, credit: u64) -> String {
        let email = format!("{name}@example.com");
        let body = json!({ "Name": name, "Email": email, "CreditGranted": credit });
        let answer = self.ask("POST", "/x-users", key, &body.to_string()).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        answer.body["User"]["SecretKey"]
            .as_str()
            .unwrap()
            .to_owned()
    }
}

impl TestResponse {
    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    /// Asserts the documented error shape, with this status and code.
    fn refused(&self, status: u16, kind: &str, code: &str) {
        let error = &self.body["error"];
        let shape = if error["param"].is_null() {
            "error"
        } else {
            "error.field"
        };
        golden(shape, &self.body);
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        assert_eq!(
            (&error["type"], &error["code"]),
            (&json!(kind), &json!(code))
        );
        assert_eq!(error["message"], self.body["message"]);
    }

    /// Asserts that a bad request names this field.
    fn names(&self, field: &str) {
        self.refused(400, "invalid_request_error", "invalid_request");
        let message = self.body["message"].as_str().unwrap();
        assert!(message.starts_with(&format!("{field}: ")), "{message}");
        assert_eq!(self.body["error"]["param"], field);
    }
}

fn shape(value: &Value) -> Value {
    match value {
        Value::Null => json!("null"),
        Value::Bool(_) => json!("boolean"),
        Value::Number(_) => json!("number"),
        Value::String(_) => json!("string"),
        Value::Array(items) => items.iter().take(1).map(shape).collect(),
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(key, value)| (key.clone(), shape(value)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
    }
}

fn golden(name: &str, answer: &Value) {
    let path = format!("{}/../tests/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let wanted: Value =
        fs::read(&path).map_or(Value::Null, |text| serde_json::from_slice(&text).unwrap());
    let found = shape(answer);
    let text = serde_json::to_string_pretty(&found).unwrap();
    assert!(
        found == wanted,
        "{path} should be, if this is right:\n{text}"
    );
}
