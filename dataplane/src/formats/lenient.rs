//! Reads values of the expected type and skips others, which the provider may refuse. Skipped values are not built, so
//! they need no memory whatever their length. (An untagged serde enum would first keep all of it, at many times its
//! size.)

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// A text; `None` for anything else.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct LenientText(pub(super) Option<String>);

/// A text, or the text in an object's `id`; `None` for anything else.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Id(pub(super) Option<String>);

struct TextVisitor {
    /// Whether the `id` of an object is accepted.
    or_id: bool,
}

impl<'de> Deserialize<'de> for LenientText {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input
            .deserialize_any(TextVisitor { or_id: false })
            .map(Self)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_any(TextVisitor { or_id: true }).map(Self)
    }
}

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_str<E>(self, text: &str) -> Result<Option<String>, E> {
        Ok(Some(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Option<String>, E> {
        Ok(Some(text))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Option<String>, A::Error> {
        let mut id = None;
        while let Some(is_id) = members.next_key_seed(IsId)? {
            if !(self.or_id && is_id) {
                members.next_value::<IgnoredAny>()?;
            } else if id.is_some() {
                // Parsers differ on which of two counts.
                return Err(A::Error::duplicate_field("id"));
            } else {
                id = Some(members.next_value::<LenientText>()?);
            }
        }
        Ok(id.and_then(|LenientText(id)| id))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Option<String>, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Option<String>, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Option<String>, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Option<String>, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Option<String>, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Option<String>, E> {
        Ok(None)
    }
}

/// Whether a member is named `id`.
struct IsId;

impl<'de> DeserializeSeed<'de> for IsId {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<bool, D::Error> {
        input.deserialize_str(self)
    }
}

impl Visitor<'_> for IsId {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(name == "id")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn every_kind_of_value_is_taken_and_a_text_is_kept() {
        for (json, text, id) in [
            (r#""a""#, Some("a"), Some("a")),
            (r#""a\u00e4\n""#, Some("a\u{e4}\n"), Some("a\u{e4}\n")),
            (r#""""#, Some(""), Some("")),
            (r#"{"id":"a"}"#, None, Some("a")),
            (r#"{"x":[{"id":"b"}],"id":"a","y":{}}"#, None, Some("a")),
            (r#"{"\u0069d":"a"}"#, None, Some("a")),
            (r#"{"id":["a"]}"#, None, None),
            (r#"{"id":{"id":"a"}}"#, None, None),
            ("{}", None, None),
            ("[0,0,[0,{}],\"a\"]", None, None),
            ("[]", None, None),
            ("0", None, None),
            ("-1", None, None),
            ("1.5e300", None, None),
            ("184467440737095516150", None, None),
            ("true", None, None),
            ("null", None, None),
        ] {
            let LenientText(found) = serde_json::from_str(json).unwrap();
            assert_eq!(found.as_deref(), text, "{json}");
            let Id(found) = serde_json::from_str(json).unwrap();
            assert_eq!(found.as_deref(), id, "{json}");
        }
        let twice = r#"{"id":"a","id":"b"}"#;
        assert!(serde_json::from_str::<Id>(twice).is_err());
    }

    proptest! {
        #[test]
        fn what_follows_a_value_is_read_as_ever(items in prop::collection::vec(any::<Option<i64>>(), 0..9), after in "[a-z]{0,9}") {
            let list = json!([items, {"id": items}, after]);
            let read: Vec<LenientText> = serde_json::from_value(list.clone()).unwrap();
            let texts: Vec<_> = read.into_iter().map(|LenientText(text)| text).collect();
            prop_assert_eq!(&texts, &[None, None, Some(after.clone())]);
            let LenientText(whole) = serde_json::from_value(list).unwrap();
            prop_assert_eq!(whole, None);
            let Id(id) = serde_json::from_value(json!({"x": items, "id": after})).unwrap();
            prop_assert_eq!(Value::from(id), Value::from(after));
        }
    }
}
