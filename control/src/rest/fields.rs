//! Reading the fields of a JSON body. `null` counts as absent, unknown fields are passed over, and
//! a wrong type is refused by name; the value itself is never repeated, it may be a secret.

use std::{collections::BTreeMap, fmt};

use jiff::civil::Date;
use proxyxai_contract::{
    Invalid,
    clock::Millis,
    id::Level,
    money::{Money, Multiplier},
};
use rust_decimal::{Decimal, prelude::ToPrimitive as _};
use serde_json::{Map, Value};

use super::{days, json, request::unknown};

/// A JSON object.
#[derive(Default)]
pub(super) struct Fields(Map<String, Value>);

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may be secrets.
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Fields {
    pub(super) fn parse(body: &[u8]) -> Result<Self, Invalid> {
        match json::read(body)? {
            Value::Object(fields) => Ok(Self(fields)),
            _ => Err(Invalid::new("body", "must be a JSON object")),
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Refuses a misspelt one of these names. It would be passed over, and what it says left out.
    pub(super) fn check_spelling(&self, names: &[&'static str]) -> Result<(), Invalid> {
        for given in self
            .0
            .keys()
            .filter(|given| !names.contains(&given.as_str()))
        {
            if let Some(meant) = names.iter().find(|name| is_misspelt(given, name)) {
                return Err(Invalid::new(given, format!("is spelled `{meant}`")));
            }
        }
        Ok(())
    }

    /// Refuses fields of any other name.
    pub(super) fn only(&self, names: &[&'static str]) -> Result<(), Invalid> {
        self.check_spelling(names)?;
        match self.0.keys().find(|name| !names.contains(&name.as_str())) {
            None => Ok(()),
            Some(name) => Err(unknown(name, names)),
        }
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn read<'a, T>(
        &'a self,
        name: &str,
        wanted: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Invalid> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let refused = || Invalid::new(name, format!("must be {wanted}"));
        read(value).ok_or_else(refused).map(Some)
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<String>, Invalid> {
        self.read(name, "a string", |value| {
            value.as_str().map(ToOwned::to_owned)
        })
    }

    pub(super) fn required_text(&self, name: &str) -> Result<String, Invalid> {
        self.text(name)?.ok_or_else(|| missing(name))
    }

    /// A moment in RFC 3339.
    pub(super) fn moment(&self, name: &str) -> Result<Option<Millis>, Invalid> {
        let text = self.text(name)?;
        let moment = text.as_deref().map(Millis::from_rfc3339).transpose();
        moment.map_err(|error| error.under(name))
    }

    /// A day, YYYY-MM-DD.
    pub(super) fn day(&self, name: &str) -> Result<Option<Date>, Invalid> {
        let text = self.text(name)?;
        let day = text.as_deref().map(days::date).transpose();
        day.map_err(|()| Invalid::new(name, "must be a day, YYYY-MM-DD"))
    }

    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Invalid> {
        self.read(name, "true or false", Value::as_bool)
    }

    /// A whole number that fits `T`.
    pub(super) fn whole<T: TryFrom<i64>>(&self, name: &str) -> Result<Option<T>, Invalid> {
        let Some(number) = self.read(name, "a whole number", Value::as_i64)? else {
            return Ok(None);
        };
        let out_of_range = |_| Invalid::new(name, "is out of range");
        T::try_from(number).map(Some).map_err(out_of_range)
    }

    pub(super) fn level(&self, name: &str) -> Result<Option<Level>, Invalid> {
        let level = self.whole(name)?.map(Level::new).transpose();
        level.map_err(|error| error.under(name))
    }

    fn number(&self, name: &str) -> Result<Option<f64>, Invalid> {
        self.read(name, "a number", Value::as_f64)
    }

    /// Dollars of either sign.
    pub(super) fn money(&self, name: &str) -> Result<Option<Money>, Invalid> {
        let money = self.number(name)?.map(Money::from_dollars).transpose();
        money.map_err(|error| error.under(name))
    }

    /// Dollars that are not owed.
    pub(super) fn amount(&self, name: &str) -> Result<Option<Money>, Invalid> {
        match self.money(name)? {
            Some(money) if money.is_negative() => Err(negative(name)),
            money => Ok(money),
        }
    }

    pub(super) fn multiplier(&self, name: &str) -> Result<Option<Multiplier>, Invalid> {
        let number = self.number(name)?.map(Multiplier::from_number).transpose();
        number.map_err(|error| error.under(name))
    }

    /// A number that is not negative, in millionths.
    pub(super) fn micros(&self, name: &str) -> Result<Option<i64>, Invalid> {
        let Some(number) = self.number(name)? else {
            return Ok(None);
        };
        if number < 0.0 {
            return Err(negative(name));
        }
        let micros = Decimal::try_from(number)
            .ok()
            .and_then(|number| number.checked_mul(Decimal::from(1_000_000)))
            .and_then(|micros| micros.round().to_i64());
        let out_of_range = || Invalid::new(name, "is out of range");
        micros.ok_or_else(out_of_range).map(Some)
    }

    /// An object inside.
    pub(super) fn object(&self, name: &str) -> Result<Option<Self>, Invalid> {
        self.read(name, "a JSON object", |value| {
            value.as_object().cloned().map(Self)
        })
    }

    /// JSON that travels as text: an object, or the text of one.
    pub(super) fn json(&self, name: &str) -> Result<Option<String>, Invalid> {
        if let Some(Value::String(text)) = self.get(name) {
            json::check_text(text)?;
        }
        self.read(name, "a JSON object or a string", |value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Object(_) => Some(value.to_string()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => None,
        })
    }

    pub(super) fn texts(&self, name: &str) -> Result<Option<Vec<String>>, Invalid> {
        self.read(name, "an array of strings", |value| {
            let items = value.as_array()?.iter();
            items
                .map(|item| item.as_str().map(ToOwned::to_owned))
                .collect()
        })
    }

    /// Every field with its text.
    pub(super) fn pairs(&self) -> Result<Vec<(String, String)>, Invalid> {
        let pair = |(name, value): (&String, &Value)| match value.as_str() {
            Some(text) => Ok((name.clone(), text.to_owned())),
            None => Err(Invalid::new(name, "must be a string")),
        };
        self.0.iter().map(pair).collect()
    }

    /// Every field as the text of a setting: numbers and flags as they are written, objects as JSON.
    pub(super) fn settings(&self) -> Result<BTreeMap<String, String>, Invalid> {
        let text = |(name, value): (&String, &Value)| match value {
            Value::Null => None,
            Value::String(text) => {
                Some(json::check_text(text).map(|()| (name.clone(), text.clone())))
            }
            Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
                Some(Ok((name.clone(), value.to_string())))
            }
            Value::Array(_) => Some(Err(Invalid::new(name, "must be a string"))),
        };
        self.0.iter().filter_map(text).collect()
    }

    /// Routing rules: `src=dst` pairs as text, or as an object `{"src": "dst"}`.
    pub(super) fn rules(&self, name: &str) -> Result<Option<String>, Invalid> {
        let Some(Value::Object(pairs)) = self.get(name) else {
            return self.read(name, "a string or a JSON object", |value| {
                value.as_str().map(ToOwned::to_owned)
            });
        };
        let pair = |(source, target): (&String, &Value)| {
            let target = match target {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                    return Err(Invalid::new(name, "has a target that is no string"));
                }
            };
            // These would read back as other rules.
            if source.contains([',', '=']) || target.contains(',') {
                return Err(Invalid::new(name, "has a name with , or = in it"));
            }
            Ok(format!("{source}={target}"))
        };
        let pairs: Vec<String> = pairs.iter().map(pair).collect::<Result<_, _>>()?;
        Ok(Some(pairs.join(",")))
    }
}

fn missing(name: &str) -> Invalid {
    Invalid::new(name, "is missing")
}

fn negative(name: &str) -> Invalid {
    Invalid::new(name, "must not be negative")
}

/// Whether a name is meant for another: the same but for case and underscores, or a slip of the fingers away. What is
/// short and different is another word.
fn is_misspelt(given: &str, name: &str) -> bool {
    let plain = |name: &str| name.replace('_', "").to_ascii_lowercase();
    let (given, name) = (plain(given), plain(name));
    let slips = if name.len() < 5 {
        0
    } else {
        1 + usize::from(name.len() > 7)
    };
    given.len().abs_diff(name.len()) <= slips && strsim::osa_distance(&given, &name) <= slips
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields(body: &str) -> Fields {
        Fields::parse(body.as_bytes()).unwrap()
    }

    #[test]
    fn what_is_no_json_object_is_refused() {
        for bad in ["", "{", "[]", "7", "null", r#"{"a":1e400}"#, r#"{"a":NaN}"#] {
            let error = Fields::parse(bad.as_bytes()).unwrap_err();
            assert_eq!(error.field, "body", "{bad}");
        }
    }

    #[test]
    fn a_wrong_type_is_refused_by_name() {
        let body = fields(r#"{"N":"1","S":1,"B":"true","O":[],"A":["x",1],"F":1.5}"#);
        let named = |error: Invalid| error.field;
        assert_eq!(body.money("N").map_err(named), Err("N".to_owned()));
        assert_eq!(body.whole::<i64>("N").map_err(named), Err("N".to_owned()));
        assert_eq!(body.whole::<i64>("F").map_err(named), Err("F".to_owned()));
        assert_eq!(body.text("S").map_err(named), Err("S".to_owned()));
        assert_eq!(body.flag("B").map_err(named), Err("B".to_owned()));
        assert_eq!(body.texts("A").map_err(named), Err("A".to_owned()));
        assert!(body.object("O").is_err());
        assert!(body.rules("O").is_err());
    }

    #[test]
    fn what_is_absent_or_null_is_none() {
        let body = fields(r#"{"N":null}"#);
        assert_eq!(body.money("N").unwrap(), None);
        assert_eq!(body.text("M").unwrap(), None);
        assert!(!body.has("N"));
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        let body = fields(r#"{"huge":1e300,"minus":-0.5,"eleven":11,"big":9999999999}"#);
        assert!(body.money("huge").is_err());
        assert!(body.micros("huge").is_err());
        assert!(body.multiplier("huge").is_err());
        assert!(body.amount("minus").is_err());
        assert!(body.micros("minus").is_err());
        assert!(body.multiplier("minus").is_err());
        assert!(body.level("eleven").is_err());
        assert!(body.whole::<i32>("big").is_err());
        assert!(body.money("minus").unwrap().is_some());
    }

    #[test]
    fn fractions_of_days_are_kept() {
        let body = fields(r#"{"a":0.5,"b":365,"c":0.041666}"#);
        let micros = ["a", "b", "c"].map(|name| body.micros(name).unwrap());
        assert_eq!(micros, [Some(500_000), Some(365_000_000), Some(41_666)]);
    }

    proptest! {
        #[test]
        fn numbers_are_read_as_typed(parts in 0i64..=365_000_000) {
            let typed = Decimal::new(parts, 6);
            let body = fields(&format!("{{\"n\":{typed}}}"));
            prop_assert_eq!(body.micros("n").unwrap(), Some(parts));
            prop_assert_eq!(body.amount("n").unwrap(), Some(Money::from_nanos(parts * 1000)));
        }

        #[test]
        fn no_body_is_too_strange_to_be_refused(body in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Err(error) = Fields::parse(&body) {
                prop_assert_eq!(error.field, "body");
            }
        }
    }

    #[test]
    fn rules_may_be_text_or_an_object() {
        let body = fields(
            r#"{"t":"a=b","o":{"gpt-3*":"x","gpt-4*":2},"comma":{"a,b":"c"},"eq":{"a=b":"c"},"f":{"a":true}}"#,
        );
        assert_eq!(body.rules("t").unwrap().as_deref(), Some("a=b"));
        assert_eq!(
            body.rules("o").unwrap().as_deref(),
            Some("gpt-3*=x,gpt-4*=2")
        );
        for bad in ["comma", "eq", "f"] {
            assert!(body.rules(bad).is_err(), "{bad}");
        }
    }
}
