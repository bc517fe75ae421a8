//! Identifies a conversation by the name that its client gives it, or by its beginning. The body is scanned without
//! building a tree. What cannot be read belongs to no conversation.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// Identifies a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConversationHash(u64);

impl ConversationHash {
    /// Hashes what the calls of a conversation share. FNV-1a is the same on every node and in every version, which the
    /// standard library's hashes do not promise.
    pub(crate) fn new<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        const PRIME: u64 = 0x0100_0000_01b3;
        let mut hash = 0xcbf2_9ce4_8422_2325;
        for part in parts {
            for byte in part {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
            }
            // The ends of the parts are hashed too.
            hash = (hash ^ 0xff).wrapping_mul(PRIME);
        }
        Self(hash)
    }

    pub(crate) const fn get(self) -> u64 {
        self.0
    }
}

/// Fields of a body that may name its conversation.
#[derive(Deserialize)]
struct ConversationNames<'a> {
    #[serde(borrow, default)]
    user: Option<&'a RawValue>,
    #[serde(borrow, default)]
    prompt_cache_key: Option<&'a RawValue>,
}

/// Fields that a conversation begins with, in Anthropic's messages, chat and responses.
#[derive(Deserialize)]
struct Beginning<'a> {
    #[serde(borrow, default)]
    system: ContentTexts<'a>,
    #[serde(borrow, default)]
    instructions: ContentTexts<'a>,
    #[serde(borrow, default)]
    messages: FirstMessages<'a>,
    #[serde(borrow, default)]
    input: FirstMessages<'a>,
}

/// Messages up to the first user message.
#[derive(Default)]
struct FirstMessages<'a>(Vec<ChatMessage<'a>>);

#[derive(Default)]
struct ChatMessage<'a> {
    role: Cow<'a, str>,
    content: ContentTexts<'a>,
}

/// The texts of a content. Images are left out, and so are marks that move from turn to turn, such as `cache_control`.
#[derive(Default)]
struct ContentTexts<'a>(Vec<Cow<'a, str>>);

/// Identifies it by the client's name for it: a header, or else a field of the body.
pub(crate) fn session(header: Option<&[u8]>, body: &[u8]) -> Option<ConversationHash> {
    if let Some(name) = header.filter(|name| !name.is_empty()) {
        return Some(ConversationHash::new([name]));
    }
    let names: ConversationNames<'_> = serde_json::from_slice(body).ok()?;
    let text = |raw: Option<&RawValue>| {
        let text: Option<String> = serde_json::from_str(raw?.get()).ok();
        text.filter(|text| !text.is_empty())
    };
    let name = text(names.user).or_else(|| text(names.prompt_cache_key))?;
    Some(ConversationHash::new([name.as_bytes()]))
}

/// Identifies it by its system prompt and first user message, which all its turns share.
pub(crate) fn prefix(body: &[u8]) -> Option<ConversationHash> {
    let Beginning {
        system,
        instructions,
        messages,
        input,
    } = serde_json::from_slice(body).ok()?;
    let spoken = messages.0.into_iter().chain(input.0);
    let spoken = spoken.flat_map(|message| [vec![message.role], message.content.0]);
    let parts: Vec<_> = [system.0, instructions.0]
        .into_iter()
        .chain(spoken)
        .collect();
    if parts.iter().all(Vec::is_empty) {
        return None;
    }
    let parts = parts.iter().flatten();
    Some(ConversationHash::new(parts.map(|part| part.as_bytes())))
}

// === reading ===

impl<'de: 'a, 'a> Deserialize<'de> for FirstMessages<'a> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct MessagesVisitor;
        impl<'de> Visitor<'de> for MessagesVisitor {
            type Value = FirstMessages<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or messages")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(FirstMessages::default())
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(FirstMessages::said(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(FirstMessages::said(Cow::Owned(text.to_owned())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let mut opening = Vec::new();
                while let Some(message) = items.next_element::<ChatMessage<'de>>()? {
                    let last = message.role == "user";
                    opening.push(message);
                    if last {
                        break;
                    }
                }
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(FirstMessages(opening))
            }
        }
        input.deserialize_any(MessagesVisitor)
    }
}

impl<'a> FirstMessages<'a> {
    fn said(text: Cow<'a, str>) -> Self {
        Self(vec![ChatMessage {
            role: Cow::Borrowed("user"),
            content: ContentTexts(vec![text]),
        }])
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for ChatMessage<'a> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct MessageFields<'a> {
            #[serde(borrow, default)]
            role: Cow<'a, str>,
            #[serde(borrow, default)]
            content: ContentTexts<'a>,
        }
        let MessageFields { role, content } = MessageFields::deserialize(input)?;
        Ok(Self { role, content })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for ContentTexts<'a> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct TextsVisitor;
        impl<'de> Visitor<'de> for TextsVisitor {
            type Value = ContentTexts<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or parts")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(ContentTexts::default())
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(ContentTexts(vec![Cow::Borrowed(text)]))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(ContentTexts(vec![Cow::Owned(text.to_owned())]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let mut texts = Vec::new();
                while let Some(part) = items.next_element::<ContentTexts<'de>>()? {
                    texts.extend(part.0);
                }
                Ok(ContentTexts(texts))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
                let mut texts = Vec::new();
                while let Some(name) = fields.next_key::<Cow<'de, str>>()? {
                    if name == "text" {
                        texts = fields.next_value::<ContentTexts<'de>>()?.0;
                    } else {
                        fields.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(ContentTexts(texts))
            }
        }
        input.deserialize_any(TextsVisitor)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(body: &serde_json::Value) -> Option<ConversationHash> {
        prefix(body.to_string().as_bytes())
    }

    #[test]
    fn the_header_names_a_session_before_the_body_does() {
        let body = br#"{"prompt_cache_key":"c","user":"u"}"#;
        let named = |name: &str| Some(ConversationHash::new([name.as_bytes()]));
        assert_eq!(session(Some(b"h"), body), named("h"));
        assert_eq!(session(None, body), named("u"));
        assert_eq!(
            session(Some(b""), br#"{"user":"","prompt_cache_key":"c"}"#),
            named("c")
        );
        for nameless in [&br#"{"user":7}"#[..], b"{}", b"", b"not json", b"[1]"] {
            assert_eq!(session(None, nameless), None);
        }
    }

    #[test]
    fn later_turns_begin_as_the_first_one_did() {
        let system = json!({"role": "system", "content": "be kind"});
        let first = json!({"role": "user", "content": "caf\u{e9} \"x\""});
        let marked = json!({"role": "user", "content": [{"type": "text", "text": "caf\u{e9} \"x\"", "cache_control": {"type": "ephemeral"}}]});
        let answer = json!({"role": "assistant", "content": null, "tool_calls": [{"id": 1}]});
        let one = of(&json!({"model": "m", "messages": [system, first]}));
        let two = of(
            &json!({"messages": [system, marked, answer, {"role": "user", "content": "more"}], "stream": true}),
        );
        assert!(one.is_some());
        assert_eq!(one, two);
        let other = of(&json!({"messages": [system, {"role": "user", "content": "caf\u{e9}"}]}));
        assert_ne!(one, other);
        assert_ne!(one, of(&json!({"messages": [first]})));
    }

    #[test]
    fn every_dialect_has_a_beginning() {
        let anthropic = json!({"system": [{"type": "text", "text": "s"}], "messages": [{"role": "user", "content": "a"}]});
        let longer = json!({"system": "s", "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]});
        assert!(of(&anthropic).is_some());
        assert_eq!(of(&anthropic), of(&longer));
        let text = json!({"instructions": "s", "input": "a"});
        let items = json!({"instructions": "s", "input": [{"role": "user", "content": [{"type": "input_text", "text": "a"}]}, {"type": "reasoning", "id": "r"}]});
        assert!(of(&text).is_some());
        assert_eq!(of(&text), of(&items));
    }

    #[test]
    fn what_is_no_conversation_has_none() {
        for body in [
            json!({}),
            json!({"input": [1, 2]}),
            json!({"messages": "x", "system": 7}),
            json!([1]),
            json!({"messages": []}),
        ] {
            assert_eq!(of(&body), None, "{body}");
        }
    }
}
