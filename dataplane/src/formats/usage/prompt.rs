//! Estimates the tokens of a request if the provider reports none: counts its texts and what providers add to each
//! message. The request is scanned without building it.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{BYTES_PER_TOKEN, tokenizer};
use crate::formats::Route;

/// Per message and before the answer, as OpenAI documents it for its chat models.
const TOKENS_PER_MESSAGE: u64 = 4;
const TOKENS_PER_REPLY: u64 = 3;
/// For an image of 1024 × 1024; providers scale images to about this size.
const TOKENS_PER_PICTURE: u64 = 765;

/// Members of a message that the model does not read as text.
const UNSAID: [&str; 17] = [
    "type",
    "role",
    "id",
    "tool_call_id",
    "tool_use_id",
    "call_id",
    "item_id",
    "status",
    "detail",
    "cache_control",
    "signature",
    "encrypted_content",
    "image_url",
    "source",
    "input_audio",
    "file",
    "file_id",
];

/// The role of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PromptRole {
    /// The request itself.
    Root,
    /// Content for the model, including nested texts and numbers.
    Said,
    /// The schema of a tool or response format, whose names the model sees too.
    Schema,
    Ignored,
}

#[derive(Debug, Default)]
struct PromptSum {
    tokens: u64,
    messages: u64,
}

struct Node<'a> {
    place: PromptRole,
    sum: &'a mut PromptSum,
}

/// Tokens of the prompt in a JSON request; estimated from its length if it is not JSON.
pub(crate) fn estimate_prompt(route: Route, body: &[u8]) -> u64 {
    let mut sum = PromptSum::default();
    let root = Node {
        place: PromptRole::Root,
        sum: &mut sum,
    };
    let read = root.deserialize(&mut serde_json::Deserializer::from_slice(body));
    if read.is_err() && sum.tokens == 0 {
        return (body.len() as u64).div_ceil(BYTES_PER_TOKEN);
    }
    match route {
        Route::Chat | Route::Responses | Route::Messages => sum
            .tokens
            .saturating_add(sum.messages.max(1).saturating_mul(TOKENS_PER_MESSAGE))
            .saturating_add(TOKENS_PER_REPLY),
        Route::Completions | Route::Embeddings | Route::Other => sum.tokens,
    }
}

impl PromptRole {
    fn below(self, name: &str) -> Self {
        let ignored = match self {
            Self::Root => {
                return match name {
                    "messages" | "system" | "input" | "instructions" | "prompt" | "suffix" => {
                        Self::Said
                    }
                    "tools" | "functions" | "response_format" => Self::Schema,
                    _ => Self::Ignored,
                };
            }
            Self::Said => UNSAID.contains(&name),
            Self::Schema => matches!(name, "type" | "strict"),
            Self::Ignored => true,
        };
        if ignored { Self::Ignored } else { self }
    }
}

impl PromptSum {
    fn text(&mut self, text: &str) {
        self.tokens = self.tokens.saturating_add(tokenizer::count(text));
    }

    /// The role that a member's name gives to its value.
    fn name(&mut self, place: PromptRole, name: &str) {
        match (place, name) {
            (PromptRole::Said, "role") => self.messages = self.messages.saturating_add(1),
            (PromptRole::Said, "image_url" | "source") => {
                self.tokens = self.tokens.saturating_add(TOKENS_PER_PICTURE);
            }
            (PromptRole::Schema, name) => self.text(name),
            (PromptRole::Root, "instructions" | "system") => {
                self.messages = self.messages.saturating_add(1);
            }
            (PromptRole::Root | PromptRole::Said | PromptRole::Ignored, _) => {}
        }
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<(), D::Error> {
        input.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key::<std::borrow::Cow<'de, str>>()? {
            self.sum.name(self.place, &name);
            match self.place.below(&name) {
                PromptRole::Ignored => {
                    members.next_value::<IgnoredAny>()?;
                }
                place => members.next_value_seed(Node {
                    place,
                    sum: self.sum,
                })?,
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let place = self.place;
        while items
            .next_element_seed(Node {
                place,
                sum: self.sum,
            })?
            .is_some()
        {}
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        if matches!(self.place, PromptRole::Said | PromptRole::Schema) {
            self.sum.text(text);
        }
        Ok(())
    }

    /// In a prompt of tokens, each number is a token.
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        if self.place == PromptRole::Said {
            self.sum.tokens = self.sum.tokens.saturating_add(1);
        }
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_counts_and_what_frames_it_does_not() {
        for (route, body, tokens) in [
            (
                Route::Chat,
                r#"{"model":"m","messages":[{"role":"user","content":"hello world"}],"user":"not said"}"#,
                2 + 4 + 3,
            ),
            (
                Route::Chat,
                r#"{"messages":[{"role":"system","content":"hello"},{"role":"user","content":[{"type":"text","text":"hello world"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAAAAAAAAAA"}}]}]}"#,
                1 + 2 + 765 + 2 * 4 + 3,
            ),
            (
                Route::Responses,
                r#"{"instructions":"hello","input":"hello world"}"#,
                1 + 2 + 4 + 3,
            ),
            (
                Route::Messages,
                r#"{"system":"hello","max_tokens":9,"messages":[{"role":"user","content":"hello world"}]}"#,
                1 + 2 + 2 * 4 + 3,
            ),
            (Route::Embeddings, r#"{"input":["hello","hello world"]}"#, 3),
            (Route::Embeddings, r#"{"input":[[1,2,3],[4]]}"#, 4),
            (Route::Completions, r#"{"prompt":"hello world"}"#, 2),
            (Route::Completions, "no JSON at all", 4),
        ] {
            assert_eq!(estimate_prompt(route, body.as_bytes()), tokens, "{body}");
        }
    }

    #[test]
    fn the_names_of_a_tool_count() {
        let body = r#"{"messages":[],"tools":[{"type":"function","function":{"name":"hello","parameters":{}}}]}"#;
        assert!(estimate_prompt(Route::Chat, body.as_bytes()) > 8);
    }
}
