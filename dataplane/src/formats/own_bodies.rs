//! The few bodies that the gateway writes: errors in the client's dialect, and the list of models.

mod models;

use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Dialect, Route};

pub(crate) use models::{AnthropicModel, AnthropicModels, Page, anthropic_model, anthropic_models};

/// An error.
#[derive(Serialize, ToSchema)]
#[schema(as = CallError)]
pub(crate) struct OpenAiBody<'a> {
    error: OpenAiError<'a>,
    /// Old pages print the top-level text.
    message: &'a str,
}

#[derive(Serialize, ToSchema)]
#[schema(as = CallErrorTold)]
pub(crate) struct OpenAiError<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    code: &'a str,
    /// Always null: we refuse calls, not parameters.
    #[schema(required = true)]
    param: Option<&'a str>,
}

/// An error in Anthropic's shape.
#[derive(Serialize, ToSchema)]
#[schema(as = AnthropicCallError)]
pub(crate) struct AnthropicBody<'a> {
    #[serde(rename = "type")]
    body: &'static str,
    error: AnthropicError<'a>,
    message: &'a str,
    code: &'a str,
}

#[derive(Serialize, ToSchema)]
#[schema(as = AnthropicCallErrorTold)]
pub(crate) struct AnthropicError<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    message: &'a str,
}

/// The error that ends a stream of chat or text completions.
#[derive(Serialize)]
struct OpenAiEnd<'a> {
    error: OpenAiError<'a>,
}

/// The error event of Responses. The outer members follow the protocol; SDKs look for `error` in any stream.
#[derive(Serialize)]
struct ResponsesEnd<'a> {
    #[serde(rename = "type")]
    event: &'static str,
    code: &'a str,
    message: &'a str,
    param: Option<&'a str>,
    /// The sequence number is not tracked here.
    sequence_number: u64,
    error: OpenAiError<'a>,
}

#[derive(Serialize)]
struct AnthropicEnd<'a> {
    #[serde(rename = "type")]
    event: &'static str,
    error: AnthropicError<'a>,
}

/// A list of models.
#[derive(Serialize, ToSchema)]
pub(crate) struct Models<'a> {
    object: &'static str,
    data: Vec<Model<'a>>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Model<'a> {
    id: &'a str,
    object: &'static str,
    created: i64,
    owned_by: &'static str,
}

impl<'a> Model<'a> {
    const fn new(id: &'a str, created: i64) -> Self {
        Self {
            id,
            object: "model",
            created,
            owned_by: "proxyxai",
        }
    }
}

/// An error body. `kind` is the error's type in `OpenAI`'s shape; Anthropic's follows from the status.
pub(crate) fn error_body(
    dialect: Dialect,
    status: u16,
    code: &str,
    kind: &str,
    message: &str,
) -> Bytes {
    match dialect {
        Dialect::OpenAi => json(&OpenAiBody {
            error: openai(code, kind, message),
            message,
        }),
        Dialect::Anthropic => json(&AnthropicBody {
            body: "error",
            error: AnthropicError {
                kind: anthropic_kind(status),
                message,
            },
            message,
            code,
        }),
    }
}

/// The event that ends an interrupted stream so that SDKs raise an error. Returns `None` if the protocol has no such
/// event.
pub(crate) fn broken_stream(route: Route, status: u16, code: &str, message: &str) -> Option<Bytes> {
    let error = || openai(code, code, message);
    let (name, data) = match route {
        Route::Chat | Route::Completions => ("", json(&OpenAiEnd { error: error() })),
        Route::Responses => (
            "event: error\n",
            json(&ResponsesEnd {
                event: "error",
                code,
                message,
                param: None,
                sequence_number: 0,
                error: error(),
            }),
        ),
        Route::Messages => (
            "event: error\n",
            json(&AnthropicEnd {
                event: "error",
                error: AnthropicError {
                    kind: anthropic_kind(status),
                    message,
                },
            }),
        ),
        Route::Embeddings | Route::Other => return None,
    };
    Some([name.as_bytes(), b"data: ", &data, b"\n\n"].concat().into())
}

/// Models in `OpenAI`'s list shape. `created` is in seconds since 1970.
pub(crate) fn models_list<'a>(names: impl Iterator<Item = &'a str>, created: i64) -> Bytes {
    json(&Models {
        object: "list",
        data: names.map(|id| Model::new(id, created)).collect(),
    })
}

/// One entry of that list.
pub(crate) fn model(id: &str, created: i64) -> Bytes {
    json(&Model::new(id, created))
}

fn openai<'a>(code: &'a str, kind: &'a str, message: &'a str) -> OpenAiError<'a> {
    OpenAiError {
        message,
        kind,
        code,
        param: None,
    }
}

/// Anthropic's error type for a status.
const fn anthropic_kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        500..=599 => "api_error",
        _ => "invalid_request_error",
    }
}

pub(super) fn json(value: &impl Serialize) -> Bytes {
    // Structs of plain text always serialize.
    serde_json::to_vec(value).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn parsed(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    #[test]
    fn errors_have_the_documented_shape() {
        let openai = error_body(
            Dialect::OpenAi,
            402,
            "insufficient_quota",
            "insufficient_quota",
            "no",
        );
        assert_eq!(
            parsed(&openai),
            json!({"error": {"message": "no", "type": "insufficient_quota", "code": "insufficient_quota", "param": null}, "message": "no"})
        );
        let anthropic = error_body(Dialect::Anthropic, 401, "invalid_api_key", "x", "no");
        assert_eq!(
            parsed(&anthropic),
            json!({"type": "error", "error": {"type": "authentication_error", "message": "no"}, "message": "no", "code": "invalid_api_key"})
        );
    }

    #[test]
    fn anthropic_errors_are_typed_by_status() {
        for (status, kind) in [
            (400, "invalid_request_error"),
            (404, "not_found_error"),
            (413, "request_too_large"),
            (429, "rate_limit_error"),
            (502, "api_error"),
            (529, "overloaded_error"),
        ] {
            assert_eq!(anthropic_kind(status), kind);
        }
    }

    #[test]
    fn a_broken_stream_ends_with_an_error_event_of_its_protocol() {
        use crate::formats::sse::{data_of, name_of};
        let end = |route| broken_stream(route, 502, "upstream_error", "cut");
        for route in [Route::Chat, Route::Completions] {
            let event = end(route).unwrap();
            assert_eq!(name_of(&event), None);
            assert_eq!(
                parsed(&data_of(&event)),
                json!({"error": {"message": "cut", "type": "upstream_error", "code": "upstream_error", "param": null}})
            );
        }
        let event = end(Route::Responses).unwrap();
        assert_eq!(name_of(&event), Some(&b"error"[..]));
        let data = parsed(&data_of(&event));
        assert_eq!(
            (&data["type"], &data["message"]),
            (&json!("error"), &json!("cut"))
        );
        assert_eq!(data["error"]["message"], "cut");
        let event = end(Route::Messages).unwrap();
        assert_eq!(
            event,
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"cut\"}}\n\n"
        );
        assert_eq!((end(Route::Embeddings), end(Route::Other)), (None, None));
    }

    #[test]
    fn models_are_listed_as_openai_lists_them() {
        assert_eq!(
            parsed(&models_list(["a"].into_iter(), 7)),
            json!({"object": "list", "data": [{"id": "a", "object": "model", "created": 7, "owned_by": "proxyxai"}]})
        );
    }

    proptest! {
        #[test]
        fn any_message_survives(message in any::<String>()) {
            for dialect in [Dialect::OpenAi, Dialect::Anthropic] {
                let body = parsed(&error_body(dialect, 500, "code", "kind", &message));
                prop_assert_eq!(&body["error"]["message"], &Value::from(message.as_str()));
                prop_assert_eq!(&body["message"], &body["error"]["message"]);
            }
        }
    }
}
