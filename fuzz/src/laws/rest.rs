//! Bodies of the administration: every field in every type it may be asked for.

use proxyxai_contract::{Invalid, money::Money, routing::ModelMapper};
use serde_json::Value;

use super::{
    super::{
        body::read,
        fields::{
            Count, Day, DollarAmount, Flag, LevelNumber, Micros, Moment, MultiplierNumber,
            ObjectText, Rules, Settings, Text, Texts, Whole,
        },
    },
    body::{change, new_account},
};

/// Short texts, and those that are words alone, stand in our own words by chance.
const TELLING_CHARS_MIN: usize = 12;
const TELLING_DIGITS_MIN: usize = 4;

/// A JSON body.
pub fn rest(body: &[u8]) {
    let settings = read::<Settings>(body);
    if let Err(error) = &settings
        && (error.field == "body" || error.problem == "is given twice")
    {
        return;
    }
    let tree: Value = serde_json::from_slice(body).expect("it was read as JSON");
    let tree = tree.as_object().expect("it was read as an object");
    tree.values().for_each(one);
    quiet(read(body).and_then(change), tree.values());
    quiet(read(body).and_then(new_account), tree.values());
    if let Ok(settings) = settings.and_then(Settings::checked) {
        let given = tree.iter().filter(|(_, value)| !value.is_null());
        assert!(given.map(|(name, _)| name).eq(settings.keys()));
    }
}

/// A field in each type it may be asked for.
fn one(value: &Value) {
    quiet_as::<Flag>(value);
    quiet_as::<Whole<i64>>(value);
    quiet_as::<Whole<u8>>(value);
    quiet_as::<Count>(value);
    quiet_as::<LevelNumber>(value);
    quiet_as::<MultiplierNumber>(value);
    quiet_as::<Texts>(value);
    quiet_as::<Moment>(value);
    quiet_as::<Day>(value);
    if let Some(Micros(micros)) = quiet_as(value) {
        assert!(micros >= 0);
    }
    if let Some(DollarAmount(amount)) = quiet_as(value) {
        assert!(amount >= Money::ZERO);
    }
    let text = quiet_as(value).map(|Text(text)| text);
    assert_eq!(text.as_deref(), value.as_str());
    let json = quiet_as(value).and_then(|json: ObjectText| json.checked().ok());
    if let (Some(json), Some(object)) = (json, value.as_object()) {
        let read: Value = serde_json::from_str(&json).expect("what was written as JSON");
        // Numbers may differ in their sixteenth digit.
        let read = read.as_object().expect("an object is written as one");
        assert!(read.keys().eq(object.keys()));
    }
    if let (Some(Rules(rules)), Some(pairs)) = (quiet_as(value), value.as_object()) {
        assert_eq!(
            rules.split(',').filter(|rule| !rule.is_empty()).count(),
            pairs.len()
        );
        let _read = ModelMapper::parse(&rules);
    }
}

fn quiet_as<T>(value: &Value) -> Option<T>
where
    T: TryFrom<Value>,
    T::Error: ToString,
{
    let read = T::try_from(value.clone());
    let read = read.map_err(|problem| Invalid::new("field", problem.to_string()));
    match read {
        Ok(read) => Some(read),
        Err(refused) => {
            quiet(Err::<T, _>(refused), std::iter::once(value));
            None
        }
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
