//! Types of JSON fields: how each is read, the error if it is something else, and its schema.

use std::{borrow::Cow, collections::BTreeMap, marker::PhantomData};

use jiff::civil::Date;
use proxyxai_contract::{
    Invalid,
    clock::Millis,
    id::Level,
    money::{Money, Multiplier},
};
use rust_decimal::{Decimal, prelude::ToPrimitive as _};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr, Schema,
        schema::{AdditionalProperties, ObjectBuilder, OneOfBuilder, SchemaType, Type},
    },
};

use super::{
    body::{self, Body, Shape, body},
    json,
};

/// The problem as a phrase that follows the field's name. It never contains the value.
type FieldProblem = Cow<'static, str>;

/// A text.
#[derive(Deserialize, ToSchema)]
#[serde(try_from = "Value")]
#[schema(value_type = String)]
pub(super) struct Text(pub(super) String);

impl TryFrom<Value> for Text {
    type Error = FieldProblem;

    fn try_from(value: Value) -> Result<Self, FieldProblem> {
        match value {
            Value::String(text) => Ok(Self(text)),
            _ => Err("must be a string".into()),
        }
    }
}

/// Texts, in their order.
#[derive(Deserialize, ToSchema)]
#[serde(try_from = "Value")]
#[schema(value_type = Vec<String>)]
pub(super) struct Texts(pub(super) Vec<String>);

impl TryFrom<Value> for Texts {
    type Error = FieldProblem;

    fn try_from(value: Value) -> Result<Self, FieldProblem> {
        let texts = match value {
            Value::Array(items) => items.into_iter().map(Text::try_from).collect(),
            _ => Err(FieldProblem::default()),
        };
        let texts: Vec<Text> = texts.map_err(|_| "must be an array of strings")?;
        Ok(Self(texts.into_iter().map(|text| text.0).collect()))
    }
}

/// True or false.
#[derive(Deserialize, ToSchema)]
#[serde(try_from = "Value")]
#[schema(value_type = bool)]
pub(super) struct Flag(pub(super) bool);

impl TryFrom<Value> for Flag {
    type Error = FieldProblem;

    fn try_from(value: Value) -> Result<Self, FieldProblem> {
        let flag = value.as_bool().ok_or("must be true or false")?;
        Ok(Self(flag))
    }
}

/// A whole number that fits `T`. The bounds depend on the field, so its schema is declared there.
#[derive(Deserialize)]
#[serde(try_from = "Value", bound = "T: TryFrom<i64>")]
pub(super) struct Whole<T>(pub(super) T);

impl<T: TryFrom<i64>> TryFrom<Value> for Whole<T> {
    type Error = FieldProblem;

    fn try_from(value: Value) -> Result<Self, FieldProblem> {
        let number = value.as_i64().ok_or("must be a whole number")?;
        let number = T::try_from(number).map_err(|_| "is out of range")?;
        Ok(Self(number))
    }
}

/// How many there may be, of anything.
#[derive(Deserialize, ToSchema)]
#[serde(try_from = "Value")]
#[schema(value_type = i64, minimum = 0)]
pub(super) struct Count(pub(super) u64);

impl TryFrom<Value> for Count {
    type Error = FieldProblem;

    fn try_from(value: Value) -> Result<Self, FieldProblem> {
        let Whole(count) = Whole::<i64>::try_from(value)?;
        let count = u64::try_from(count).map_err(|_| NEGATIVE)?;
        Ok(Self(count))
    }
}

/// A pool of upstream keys.
#[derive(Deserialize, ToSchema)]
#[serde(try_from = "Value")]
#[schema(value_type = i32, minimum = 0, maximum = 10)]
pub(super) struct LevelNumber(pub(super) Level);

impl TryFrom<Value> for LevelNumber {
    type Error = FieldProblem;

    fn try_from(value: Value) -> Result<Self, FieldProblem> {
        let Whole(number) = Whole::try_from(value)?;
        Level::new(number).map(Self).map_err(problem)
    }
}

/// Dollars, to nine places, of either sign.
#[derive(Deserialize, ToSchema)]
#[serde(try_from = "Value")]
#[schema(value_type = f64)]
pub(super) struct SignedDollars(pub(super) Money);

impl TryFrom<Value> for SignedDollars {
    type Error = FieldProblem;

    fn try_from(value: Value) -> Result<Self, FieldProblem> {
        let money = Money::from_dollars(number(&value)?);
        money.map(Self).map_err(problem)
    }
}

/// Dollars, to nine places, that are not owed.
#[derive(Deserialize, ToSchema)]
#[serde(try_from = "Value")]
#[schema(value_type = f64, minimum = 0)]
pub(super) struct DollarAmount(pub(super) Money);

impl TryFrom<Value> for DollarAmount {
    type Error = FieldProblem;

    fn try_from(value: Value) -> Result<Self, FieldProblem> {
        match SignedDollars::try_from(value)? {
            SignedDollars(money) if money.is_negative() => Err(NEGATIVE.into()),
            SignedDollars(money) => Ok(Self(money)),
        }
    }
}

/// What is multiplied by, to six places.
#[derive(Deserialize, ToSchema)]
#[serde(try_from = "Value")]
#[schema(value_type = f64, exclusive_minimum = 0, maximum = 1_000_000)]
pub(super) struct MultiplierNumber(pub(super) Multiplier);

impl TryFrom<Value> for MultiplierNumber {
    type Error = FieldProblem;

    fn try_from(value: Value) -> Result<Self, FieldProblem> {
        let multiplier = Multiplier::from_number(number(&value)?);
        multiplier.map(Self).map_err(problem)
    }
}

/// A number to six places that is not negative, in millionths.
#[derive(Deserialize, ToSchema)]
#[serde(try_from = "Value")]
#[schema(value_type = f64, minimum = 0)]
pub(super) struct Micros(pub(super) i64);

impl TryFrom<Value> for Micros {
    type Error = FieldProblem;

    fn try_from(value: Value) -> Result<Self, FieldProblem> {
        let number = number(&value)?;
        if number < 0.0 {
            return Err(NEGATIVE.into());
        }
        let micros = Decimal::try_from(number)
            .ok()
            .and_then(|number| number.checked_mul(Decimal::from(1_000_000)))
            .and_then(|micros| micros.round().to_i64());
        Ok(Self(micros.ok_or("is out of range")?))
    }
}

/// A moment in RFC 3339.
#[derive(Deserialize, ToSchema)]
#[serde(try_from = "Value")]
#[schema(value_type = String, format = DateTime)]
pub(super) struct Moment(pub(super) Millis);

impl TryFrom<Value> for Moment {
    type Error = FieldProblem;

    fn try_from(value: Value) -> Result<Self, FieldProblem> {
        let Text(text) = Text::try_from(value)?;
        Millis::from_rfc3339(&text).map(Self).map_err(problem)
    }
}

/// A day, YYYY-MM-DD.
#[derive(Deserialize, ToSchema)]
#[serde(try_from = "Value")]
#[schema(value_type = String, format = Date)]
pub(super) struct Day(pub(super) Date);

impl TryFrom<Value> for Day {
    type Error = FieldProblem;

    fn try_from(value: Value) -> Result<Self, FieldProblem> {
        let Text(text) = Text::try_from(value)?;
        date(&text).map(Self).ok_or_else(|| NO_DAY.into())
    }
}

pub(super) const NO_DAY: &str = "must be a day, YYYY-MM-DD";

/// Parses a date. The parser also accepts a whole timestamp and would drop the time, so the length is checked.
pub(super) fn date(text: &str) -> Option<Date> {
    let day = text.get(..10).filter(|_| text.len() == 10)?;
    day.parse().ok()
}

/// JSON as text: an object, or a text that contains one.
#[derive(Deserialize)]
#[serde(try_from = "Value")]
pub(super) struct ObjectText(String);

impl ObjectText {
    /// Returns the text. Errors if an object in it has a duplicate member.
    pub(super) fn checked(self) -> Result<String, Invalid> {
        json::check_text(&self.0)?;
        Ok(self.0)
    }
}

impl TryFrom<Value> for ObjectText {
    type Error = FieldProblem;

    fn try_from(value: Value) -> Result<Self, FieldProblem> {
        match value {
            Value::String(text) => Ok(Self(text)),
            Value::Object(_) => Ok(Self(value.to_string())),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
                Err("must be a JSON object or a string".into())
            }
        }
    }
}

impl ToSchema for ObjectText {}

impl PartialSchema for ObjectText {
    fn schema() -> RefOr<Schema> {
        either("A JSON object, or the text of one.", any_object())
    }
}

/// Routing rules: `src=dst` pairs as text, or as an object `{"src": "dst"}`.
#[derive(Deserialize)]
#[serde(try_from = "Value")]
pub(super) struct Rules(pub(super) String);

impl TryFrom<Value> for Rules {
    type Error = FieldProblem;

    fn try_from(value: Value) -> Result<Self, FieldProblem> {
        match value {
            Value::String(text) => Ok(Self(text)),
            Value::Object(pairs) => {
                let pairs: Vec<String> = pairs.iter().map(rule).collect::<Result<_, _>>()?;
                Ok(Self(pairs.join(",")))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
                Err("must be a string or a JSON object".into())
            }
        }
    }
}

fn rule((source, target): (&String, &Value)) -> Result<String, FieldProblem> {
    let target = match target {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            return Err("has a target that is no string".into());
        }
    };
    // Such a name would be parsed as other rules.
    if source.contains([',', '=']) || target.contains(',') {
        return Err("has a name with , or = in it".into());
    }
    Ok(format!("{source}={target}"))
}

impl ToSchema for Rules {}

impl PartialSchema for Rules {
    fn schema() -> RefOr<Schema> {
        let target = OneOfBuilder::new().item(plain(Type::String));
        let target = target.item(plain(Type::Number));
        let pairs = ObjectBuilder::new().additional_properties(Some(Schema::from(target)));
        let description = "Rules as text, `source=target,…`, or as an object `{\"source\": \"target\"}`, in which no \
            name has a comma and no source a `=`.";
        either(description, pairs)
    }
}

/// The text of a setting: numbers and flags as written, objects as JSON.
#[derive(Deserialize)]
#[serde(try_from = "Value")]
pub(super) struct SettingText(String);

impl TryFrom<Value> for SettingText {
    type Error = FieldProblem;

    fn try_from(value: Value) -> Result<Self, FieldProblem> {
        match value {
            Value::String(text) => Ok(Self(text)),
            Value::Bool(_) | Value::Number(_) | Value::Object(_) => Ok(Self(value.to_string())),
            Value::Null | Value::Array(_) => Err("must be a string".into()),
        }
    }
}

impl ToSchema for SettingText {}

impl PartialSchema for SettingText {
    fn schema() -> RefOr<Schema> {
        let types = [
            Type::String,
            Type::Number,
            Type::Boolean,
            Type::Object,
            Type::Null,
        ];
        let description = "The text of a setting. A number, a flag or an object stands for its JSON, and null is \
            passed over.";
        ObjectBuilder::new()
            .schema_type(SchemaType::from_iter(types))
            .description(Some(description))
            .into()
    }
}

/// Settings by name.
#[derive(Deserialize, ToSchema)]
#[schema(value_type = BTreeMap<String, SettingText>)]
pub(super) struct Settings(BTreeMap<String, Option<SettingText>>);
body!(Settings);

impl Settings {
    /// Returns the texts. Errors if an object in one of them has a duplicate member.
    pub(super) fn checked(self) -> Result<BTreeMap<String, String>, Invalid> {
        let given = self.0.into_iter();
        let given = given.filter_map(|(name, text)| Some((name, text?.0)));
        given
            .map(|(name, text)| json::check_text(&text).map(|()| (name, text)))
            .collect()
    }
}

/// Texts by name.
#[derive(Deserialize, ToSchema)]
#[schema(value_type = BTreeMap<String, String>)]
pub(super) struct Pairs(BTreeMap<String, Text>);
body!(Pairs);

impl Pairs {
    pub(super) fn texts(self) -> impl Iterator<Item = (String, String)> {
        self.0.into_iter().map(|(name, text)| (name, text.0))
    }
}

/// A nested object that is a body of its own. Its schema is that of `B`.
#[derive(Deserialize)]
#[serde(try_from = "Value", bound = "")]
pub(super) struct Inside<B>(Map<String, Value>, PhantomData<B>);

impl<B> TryFrom<Value> for Inside<B> {
    type Error = FieldProblem;

    fn try_from(value: Value) -> Result<Self, FieldProblem> {
        match value {
            Value::Object(fields) => Ok(Self(fields, PhantomData)),
            _ => Err("must be a JSON object".into()),
        }
    }
}

impl<B: Body> Inside<B> {
    pub(super) fn read(self) -> Result<B, Invalid> {
        body::object(self.0)
    }
}

const NEGATIVE: &str = "must not be negative";

fn number(value: &Value) -> Result<f64, FieldProblem> {
    value.as_f64().ok_or_else(|| "must be a number".into())
}

fn problem(invalid: Invalid) -> FieldProblem {
    invalid.problem.into()
}

fn plain(of: Type) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(of)
}

fn any_object() -> ObjectBuilder {
    ObjectBuilder::new().additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(true)))
}

/// The schema of a text or the other type.
fn either(description: &str, other: ObjectBuilder) -> RefOr<Schema> {
    let either = OneOfBuilder::new().item(plain(Type::String)).item(other);
    Schema::from(either.description(Some(description))).into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::DeserializeOwned;
    use serde_json::json;

    use super::*;

    fn read<T: DeserializeOwned>(value: Value) -> Result<T, String> {
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        let (huge, minus) = (json!(1e300), json!(-0.5));
        assert!(read::<SignedDollars>(huge.clone()).is_err());
        assert!(read::<Micros>(huge.clone()).is_err());
        assert!(read::<MultiplierNumber>(huge).is_err());
        assert!(read::<DollarAmount>(minus.clone()).is_err());
        assert!(read::<Micros>(minus.clone()).is_err());
        assert!(read::<MultiplierNumber>(minus.clone()).is_err());
        assert!(read::<LevelNumber>(json!(11)).is_err());
        assert!(read::<Count>(json!(-1)).is_err());
        assert!(read::<Whole<i32>>(json!(9_999_999_999_i64)).is_err());
        assert!(read::<SignedDollars>(minus).is_ok());
    }

    #[test]
    fn fractions_of_days_are_kept() {
        let micros =
            [json!(0.5), json!(365), json!(0.041_666)].map(|days| read::<Micros>(days).unwrap().0);
        assert_eq!(micros, [500_000, 365_000_000, 41_666]);
    }

    #[test]
    fn a_day_is_no_moment() {
        assert!(read::<Day>(json!("2026-03-01")).is_ok());
        for bad in ["2026-02-30", "2026-03-01T00:00:00", "2026-3-1", ""] {
            assert_eq!(
                read::<Day>(json!(bad)).err().as_deref(),
                Some(NO_DAY),
                "{bad}"
            );
        }
    }

    proptest! {
        #[test]
        fn numbers_are_read_as_typed(parts in 0i64..=365_000_000) {
            let typed: Value = serde_json::from_str(&Decimal::new(parts, 6).to_string()).unwrap();
            prop_assert_eq!(read::<Micros>(typed.clone()).unwrap().0, parts);
            prop_assert_eq!(read::<DollarAmount>(typed).unwrap().0, Money::from_nanos(parts * 1000));
        }
    }

    #[test]
    fn rules_may_be_text_or_an_object() {
        let rules = |value| read::<Rules>(value).map(|it| it.0);
        assert_eq!(rules(json!("a=b")).unwrap(), "a=b");
        let pairs = json!({ "gpt-3*": "x", "gpt-4*": 2 });
        assert_eq!(rules(pairs).unwrap(), "gpt-3*=x,gpt-4*=2");
        for bad in [
            json!({ "a,b": "c" }),
            json!({ "a=b": "c" }),
            json!({ "a": true }),
        ] {
            assert!(rules(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_text_of_json_with_a_member_twice_is_refused_by_that_member() {
        let twice = r#"{"a":{"b":1,"b":2}}"#;
        let table: ObjectText = read(json!(twice)).unwrap();
        assert_eq!(table.checked().unwrap_err().field, "b");
        let settings = json!({ "PRICING": twice, "HEDGE": "on" }).to_string();
        let settings: Settings = body::read(settings.as_bytes()).unwrap();
        assert_eq!(settings.checked().unwrap_err().field, "b");
    }

    #[test]
    fn settings_are_kept_as_they_are_written() {
        let given = json!({ "A": "x", "B": 5, "C": true, "D": { "e": 1.5 }, "E": null });
        let settings: Settings = body::read(given.to_string().as_bytes()).unwrap();
        let settings: Vec<_> = settings.checked().unwrap().into_iter().collect();
        let wanted = [("A", "x"), ("B", "5"), ("C", "true"), ("D", r#"{"e":1.5}"#)];
        let wanted = wanted.map(|(name, text)| (name.to_owned(), text.to_owned()));
        assert_eq!(settings, wanted);
        let list = body::read::<Settings>(br#"{"A":[]}"#).err().unwrap();
        assert_eq!(list, Invalid::new("A", "must be a string"));
    }
}
