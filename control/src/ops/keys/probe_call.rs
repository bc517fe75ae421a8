//! The smallest call of a model, and the meaning of its response. Pure.

use serde_json::{Value, json};

/// The most tokens in the response.
const TOKENS: u32 = 1;
const MAX_TOKENS: &str = "max_tokens";
/// The parameter that reasoning models take instead.
const MAX_COMPLETION_TOKENS: &str = "max_completion_tokens";
/// Reasoning models use up the one token before they write, and report it as an error.
const CUT_SHORT: [&str; 2] = ["output limit was reached", "max_tokens was reached"];
const REFUSED: u16 = 400;
const PROMPT: &str = "Hi";

/// The API to call a model with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProbeApi {
    /// `OpenAI`'s chat completions.
    Chat {
        /// The parameter that limits the tokens of the response.
        bound: &'static str,
    },
    /// Anthropic's messages.
    Messages,
    /// Embeddings; no text is generated.
    Embeddings,
}

/// The result of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProbeResponse {
    /// HTTP status; 0 without a response.
    pub(super) status: u16,
    /// The error message; empty without one.
    pub(super) said: String,
}

impl ProbeResponse {
    /// The result if there was no response.
    pub(super) fn none(why: &str) -> Self {
        Self {
            status: 0,
            said: why.to_owned(),
        }
    }
}

impl ProbeApi {
    pub(super) fn of(model: &str, anthropic: bool) -> Self {
        if anthropic {
            Self::Messages
        } else if model.to_ascii_lowercase().contains("embed") {
            Self::Embeddings
        } else {
            Self::Chat { bound: MAX_TOKENS }
        }
    }

    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Chat { .. } => "/v1/chat/completions",
            Self::Messages => "/v1/messages",
            Self::Embeddings => "/v1/embeddings",
        }
    }

    pub(super) fn body(self, model: &str) -> Value {
        let messages = json!([{ "role": "user", "content": PROMPT }]);
        match self {
            Self::Chat { bound } => {
                json!({ "model": model, "messages": messages, bound: TOKENS })
            }
            Self::Messages => {
                json!({ "model": model, "messages": messages, MAX_TOKENS: TOKENS })
            }
            Self::Embeddings => json!({ "model": model, "input": PROMPT }),
        }
    }
}

/// The other form that the provider asks for, if it was not tried yet.
pub(super) fn other_form(form: ProbeApi, answer: &ProbeResponse) -> Option<ProbeApi> {
    let wanted = answer.status == REFUSED && answer.said.contains(MAX_COMPLETION_TOKENS);
    let other = ProbeApi::Chat {
        bound: MAX_COMPLETION_TOKENS,
    };
    (wanted && form == ProbeApi::Chat { bound: MAX_TOKENS }).then_some(other)
}

/// Whether the key was accepted and the model is served.
pub(super) fn serves(answer: &ProbeResponse) -> bool {
    let cut_short = CUT_SHORT.iter().any(|text| answer.said.contains(text));
    match answer.status {
        200..=299 => answer.said.is_empty(),
        REFUSED => cut_short,
        _ => false,
    }
}

/// The error in a body. Some providers respond with 200 and an error.
pub(super) fn objection(body: &[u8]) -> Option<String> {
    let json: Value = serde_json::from_slice(body).ok()?;
    let paths = ["/error/message", "/message", "/error"];
    let said = paths
        .iter()
        .find_map(|path| json.pointer(path).and_then(Value::as_str));
    said.filter(|said| !said.is_empty()).map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, said: &str) -> ProbeResponse {
        ProbeResponse {
            status,
            said: said.to_owned(),
        }
    }

    #[test]
    fn a_model_is_asked_in_the_form_of_its_provider() {
        for (model, anthropic, path) in [
            ("gpt-4o", false, "/v1/chat/completions"),
            ("claude-sonnet-4-5", true, "/v1/messages"),
            ("text-embedding-3-small", false, "/v1/embeddings"),
        ] {
            let form = ProbeApi::of(model, anthropic);
            assert_eq!(form.path(), path, "{model}");
            let body = form.body(model);
            assert_eq!(body["model"], model);
            let bounded = body["max_tokens"] == 1;
            assert_eq!(bounded, form != ProbeApi::Embeddings, "{body}");
        }
    }

    #[test]
    fn a_model_that_reasons_is_asked_once_more_in_its_own_words() {
        let form = ProbeApi::of("o3", false);
        let refusal = answer(
            400,
            "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
        );
        let other = other_form(form, &refusal).unwrap();
        let body = other.body("o3");
        assert_eq!(body["max_completion_tokens"], 1);
        assert_eq!(body.get("max_tokens"), None);
        assert_eq!(other_form(other, &refusal), None);
        assert_eq!(other_form(ProbeApi::Messages, &refusal), None);
        assert_eq!(other_form(form, &answer(401, &refusal.said)), None);
    }

    #[test]
    fn an_answer_that_was_cut_short_is_one_and_an_error_in_200_is_none() {
        let cut =
            "Could not finish the message because max_tokens or model output limit was reached.";
        for (status, said, wanted) in [
            (200, "", true),
            (200, "model not found", false),
            (400, cut, true),
            (400, "no such model", false),
            (401, cut, false),
            (404, "", false),
            (0, "", false),
        ] {
            assert_eq!(serves(&answer(status, said)), wanted, "{status} {said}");
        }
    }

    #[test]
    fn an_error_is_found_wherever_providers_put_it() {
        for (body, said) in [
            (r#"{"error":{"message":"a"}}"#, Some("a")),
            (r#"{"message":"b","error":null}"#, Some("b")),
            (r#"{"error":"c"}"#, Some("c")),
            (r#"{"error":null,"choices":[]}"#, None),
            (r#"{"id":"x","content":[]}"#, None),
            ("<html>", None),
        ] {
            assert_eq!(objection(body.as_bytes()).as_deref(), said, "{body}");
        }
    }
}
