//! Bodies of the administration: every field in every type it may be asked for.

use proxyxai_contract::{Invalid, money::Money, routing::ModelMapper};
use serde_json::Value;

use super::{
    super::fields::Fields,
    body::{change, new_account},
};

/// Short texts, and those that are words alone, stand in our own words by chance.
const TELLING_CHARS_MIN: usize = 12;
const TELLING_DIGITS_MIN: usize = 4;

/// A JSON body.
pub fn rest(body: &[u8]) {
    let fields = match Fields::parse(body) {
        Ok(fields) => fields,
        Err(error) => {
            // A member that stands twice is named.
            let twice = error.problem == "is given twice";
            assert!(twice || error.field == "body");
            return;
        }
    };
    let tree: Value = serde_json::from_slice(body).expect("it was read as JSON");
    let tree = tree.as_object().expect("it was read as an object");
    for (name, value) in tree {
        one(&fields, name, value);
    }
    quiet(change(&fields), tree.values());
    quiet(new_account(&fields), tree.values());
    if let Ok(settings) = fields.settings() {
        let given = tree.iter().filter(|(_, value)| !value.is_null());
        assert!(given.map(|(name, _)| name).eq(settings.keys()));
    }
}

fn one(fields: &Fields, name: &str, value: &Value) {
    let values = || std::iter::once(value);
    assert_eq!(fields.has(name), !value.is_null());
    quiet(fields.flag(name), values());
    quiet(fields.whole::<i64>(name), values());
    quiet(fields.whole::<u8>(name), values());
    quiet(fields.level(name), values());
    quiet(fields.multiplier(name), values());
    quiet(fields.texts(name), values());
    quiet(
        fields
            .micros(name)
            .map(|micros| assert!(micros.is_none_or(|it| it >= 0))),
        values(),
    );
    let amount = fields.amount(name);
    quiet(
        amount.map(|amount| assert!(amount.is_none_or(|it| it >= Money::ZERO))),
        values(),
    );
    if let Ok(text) = fields.text(name) {
        assert_eq!(text.as_deref(), value.as_str());
    }
    if let (Ok(Some(json)), Some(object)) = (fields.json(name), value.as_object()) {
        let read: Value = serde_json::from_str(&json).expect("what was written as JSON");
        // Numbers may differ in their sixteenth digit.
        let read = read.as_object().expect("an object is written as one");
        assert!(read.keys().eq(object.keys()));
    }
    if let (Ok(Some(rules)), Some(pairs)) = (fields.rules(name), value.as_object()) {
        assert_eq!(
            rules.split(',').filter(|rule| !rule.is_empty()).count(),
            pairs.len()
        );
        let _read = ModelMapper::parse(&rules);
    }
}

/// A refusal names the field and does not repeat the value, which may be a secret.
fn quiet<'v, T>(read: Result<T, Invalid>, values: impl Iterator<Item = &'v Value>) {
    let Err(Invalid { field: _, problem }) = read else {
        return;
    };
    let digits = |text: &str| text.bytes().filter(u8::is_ascii_digit).count();
    let telling =
        |text: &&str| text.len() >= TELLING_CHARS_MIN && digits(text) >= TELLING_DIGITS_MIN;
    for value in values.filter_map(Value::as_str).filter(telling) {
        assert!(!problem.contains(value), "{problem}");
    }
}
