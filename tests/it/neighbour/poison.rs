//! Each request of `poisons.json`, sent by a customer and one below it, on pools of one, two and six keys.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use serde_json::Value;

use super::{MARK, Street};
use crate::{
    raw,
    upstream::{Script, event},
};

/// A client of such requests does not wait forever.
const PATIENCE: Duration = Duration::from_millis(700);
const ENV: [(&str, &str); 2] = [("RETRY_DEADLINE_MS", "3000"), ("IDLE_TIMEOUT_MS", "2000")];

#[tokio::test]
async fn no_request_of_one_customer_harms_another_on_one_key() {
    take_all(1).await;
}

#[tokio::test]
async fn no_request_of_one_customer_harms_another_on_two_keys() {
    take_all(2).await;
}

#[tokio::test]
async fn no_request_of_one_customer_harms_another_on_six_keys() {
    take_all(6).await;
}

async fn take_all(keys: usize) {
    let poisons: Value = serde_json::from_str(include_str!("poisons.json")).unwrap();
    let poisons = poisons.as_array().unwrap();
    assert!(poisons.len() >= 60);
    let street = Street::new(keys, &ENV).await;
    for poison in poisons {
        let name = poison["name"].as_str().unwrap();
        street.poison(&script(&poison["answers"]));
        let of = |key| {
            let (request, base) = (request(poison, key), &street.world.node.base);
            let sent = async move { raw::exchange(base, &request).await };
            tokio::time::timeout(PATIENCE, sent)
        };
        let send = async {
            for _ in 0..2 {
                let senders = [&street.bad, &street.below, &street.bad, &street.below];
                join_all(senders.map(|key| of(key))).await;
            }
        };
        let during = format!("{name}, on {keys}, meanwhile");
        tokio::join!(send, street.is_quiet(&during));
        street
            .is_quiet(&format!("{name}, on {keys}, afterwards"))
            .await;
        street.keys_are_there(name).await;
    }
}

/// A request as it is sent.
fn request(poison: &Value, key: &str) -> Bytes {
    let text = |value: &Value| value.as_str().unwrap_or_default().replace("$MARK", MARK);
    let body = match &poison["body"] {
        Value::Null => String::new(),
        Value::String(body) if body == "$BRACKETS" => "[".repeat(1_000_000),
        Value::String(body) => body.clone(),
        body => body.to_string().replace("$MARK", MARK),
    };
    let bearer = format!("Bearer {key}");
    let mut headers = vec![("Content-Type", "application/json")];
    if poison["auth"] != false {
        headers.push(("Authorization", &bearer));
    }
    let own = poison["headers"].as_object().into_iter().flatten();
    headers.extend(own.map(|(name, value)| (name.as_str(), value.as_str().unwrap())));
    let (method, path) = (text(&poison["method"]), text(&poison["path"]));
    raw::request(&method, &path, &headers, body.as_bytes())
}

/// The provider's response to it.
fn script(answers: &Value) -> Script {
    let said = event(r#"{"choices":[{"delta":{"content":"a"}}]}"#);
    let stream = |chunks, breaks| Script::Stream {
        chunks,
        pause: Duration::ZERO,
        breaks,
    };
    match answers {
        Value::Null => Script::Chat,
        Value::String(way) => match way.as_str() {
            "hangup" => Script::Hangup,
            "mute" => Script::Mute,
            "truncated" => Script::Truncated {
                body: "{\"choices\":[]}".into(),
                sent: 5,
            },
            "broken stream" => stream(vec![said], true),
            "stream error" => stream(
                vec![
                    said,
                    event(r#"{"error":{"message":"internal","code":500}}"#),
                ],
                false,
            ),
            other => panic!("{other}"),
        },
        answer => Script::Answer {
            status: u16::try_from(answer[0].as_u64().unwrap()).unwrap(),
            headers: vec![("content-type", "application/json".to_owned())],
            body: match &answer[1] {
                Value::String(text) => text.clone().into(),
                body => body.to_string().into(),
            },
        },
    }
}
