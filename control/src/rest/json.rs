//! JSON without duplicate members. For a duplicate, some parsers take the first value and some the last, so a checked
//! value might not be the one used. Duplicates are refused at any depth.

use std::{cell::RefCell, fmt};

use proxyxai_contract::Invalid;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Parses a value.
///
/// # Errors
/// Errors if it is not JSON, or if an object in it has a duplicate member, which the error names.
pub(super) fn read(body: &[u8]) -> Result<Value, Invalid> {
    let twice = RefCell::default();
    let mut reader = serde_json::Deserializer::from_slice(body);
    let read = UniqueKeys(&twice)
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value));
    read.map_err(|error| match twice.take() {
        Some(member) => given_twice(&member),
        None => Invalid::new("body", format!("is not valid JSON: {error}")),
    })
}

/// Checks JSON that is sent as text for duplicates. Invalid JSON passes: its parser refuses it.
pub(super) fn check_text(text: &str) -> Result<(), Invalid> {
    let twice = RefCell::default();
    let mut reader = serde_json::Deserializer::from_str(text);
    // A parse error is ignored: only a duplicate sets the name.
    let _read = UniqueKeys(&twice).deserialize(&mut reader);
    twice
        .take()
        .map_or(Ok(()), |member| Err(given_twice(&member)))
}

fn given_twice(member: &str) -> Invalid {
    let member: String = member.chars().take(100).collect();
    Invalid::new(member, "is given twice")
}

/// Deserializes a value and records the name of a duplicate member.
#[derive(Clone, Copy)]
struct UniqueKeys<'a>(&'a RefCell<Option<String>>);

impl<'de> DeserializeSeed<'de> for UniqueKeys<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for UniqueKeys<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if object.contains_key(&name) {
                self.0.replace(Some(name));
                return Err(A::Error::custom("a member is given twice"));
            }
            let value = members.next_value_seed(self)?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_member_given_twice_is_named_at_any_depth() {
        for (body, member) in [
            (r#"{"Name":1,"Name":1}"#, "Name"),
            (r#"{"a":{"b":[{"c":1,"d":2,"c":null}]}}"#, "c"),
            (r#"{"a":1,"\u0061":2}"#, "a"),
            (r#"{"":1,"":2}"#, ""),
        ] {
            let error = read(body.as_bytes()).unwrap_err();
            assert_eq!(
                (error.field.as_str(), error.problem.as_str()),
                (member, "is given twice")
            );
            assert_eq!(check_text(body), Err(error));
        }
        for fine in [r#"{"a":1,"A":2,"b":{"a":3}}"#, r#"[{"a":1},{"a":2}]"#] {
            assert!(read(fine.as_bytes()).is_ok());
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            (-1e9f64..1e9).prop_map(Value::from),
            ".{0,8}".prop_map(Value::String),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                prop::collection::btree_map(".{0,3}", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn other_json_reads_as_ever(value in any_json()) {
            let text = value.to_string();
            prop_assert_eq!(read(text.as_bytes()).unwrap(), serde_json::from_str::<Value>(&text).unwrap());
        }
    }
}
