//! Reads the body of a request into its type. `null` counts as absent. Unknown fields are ignored unless the type
//! denies them; misspelt ones are refused. Errors name the field and never repeat the value, which may be a secret.

use proxyxai_contract::Invalid;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use serde_path_to_error::Segment;
use utoipa::{
    PartialSchema,
    openapi::{
        RefOr,
        schema::{AdditionalProperties, Schema},
    },
};

use super::json;

/// Longer than any known name.
const NAME_CHARS_MAX: usize = 64;

/// A JSON object that is a request body, or part of one.
pub(super) trait Body: Sized {
    /// The names of its fields.
    fn shape() -> &'static Shape;

    /// Builds the value from fields that were checked against the shape.
    fn build(fields: Map<String, Value>) -> Result<Self, Invalid>;
}

/// Makes a body of a type that serde reads and that has a schema, or of two bodies read from the same fields. Fields
/// listed as `shown` appear in responses only; a row sent back may contain them, and they are ignored.
macro_rules! body {
    ($body:ty $(, shown: [$($shown:literal),* $(,)?])?) => {
        body!(@ $body, Shape::of::<$body>(&[$($($shown),*)?]), Shape::fields);
    };
    ($body:ty: $one:ident $first:ty, $other:ident $second:ty) => {
        body!(@ $body, Shape::both::<$first, $second>(), |fields| {
            Ok(Self {
                $one: <$first>::build(fields.clone())?,
                $other: <$second>::build(fields)?,
            })
        });
    };
    (@ $body:ty, $shape:expr, $build:expr) => {
        impl Body for $body {
            fn shape() -> &'static Shape {
                static SHAPE: std::sync::LazyLock<Shape> = std::sync::LazyLock::new(|| $shape);
                &SHAPE
            }

            fn build(
                fields: serde_json::Map<String, serde_json::Value>,
            ) -> Result<Self, proxyxai_contract::Invalid> {
                let build: fn(serde_json::Map<String, serde_json::Value>) -> _ = $build;
                build(fields)
            }
        }
    };
}
pub(super) use body;

pub(super) fn read<B: Body>(body: &[u8]) -> Result<B, Invalid> {
    match json::read(body)? {
        Value::Object(fields) => object(fields),
        _ => Err(Invalid::new("body", "must be a JSON object")),
    }
}

/// Reads an object that is already parsed.
pub(super) fn object<B: Body>(fields: Map<String, Value>) -> Result<B, Invalid> {
    B::shape().check(&fields)?;
    B::build(fields)
}

/// The names of a body's fields. They come from its schema, so what is read is what is documented.
#[derive(Debug, Default)]
pub(super) struct Shape {
    names: Vec<String>,
    required: Vec<String>,
    /// Whether other fields are refused.
    is_closed: bool,
}

impl Shape {
    /// The fields of a schema, and those that are only `shown`: responses have them, so they come back with whole rows.
    pub(super) fn of<B: PartialSchema>(shown: &[&str]) -> Self {
        let RefOr::T(Schema::Object(schema)) = B::schema() else {
            return Self::default();
        };
        let shown = shown.iter().map(|name| (*name).to_owned());
        Self {
            names: schema.properties.into_keys().chain(shown).collect(),
            required: schema.required,
            is_closed: matches!(
                schema.additional_properties.as_deref(),
                Some(AdditionalProperties::FreeForm(false))
            ),
        }
    }

    /// Joins two bodies that are read from the same fields. Neither may deny unknown fields, since they may belong to
    /// the other.
    pub(super) fn both<B: Body, C: Body>() -> Self {
        let (one, other) = (B::shape(), C::shape());
        let both = |one: &[String], other: &[String]| [one, other].concat();
        Self {
            names: both(&one.names, &other.names),
            required: both(&one.required, &other.required),
            is_closed: false,
        }
    }

    /// Deserializes the fields. An error names the innermost field.
    pub(super) fn fields<B: DeserializeOwned>(fields: Map<String, Value>) -> Result<B, Invalid> {
        serde_path_to_error::deserialize(Value::Object(fields)).map_err(|error| {
            let field = error
                .path()
                .iter()
                .next_back()
                .and_then(|segment| match segment {
                    Segment::Map { key } => Some(key.clone()),
                    Segment::Seq { .. } | Segment::Enum { .. } | Segment::Unknown => None,
                });
            let field = field.unwrap_or_else(|| "body".to_owned());
            Invalid::new(field, error.into_inner().to_string())
        })
    }

    fn check(&self, fields: &Map<String, Value>) -> Result<(), Invalid> {
        self.check_names(fields)?;
        let is_missing = |name: &&String| fields.get(*name).is_none_or(Value::is_null);
        match self.required.iter().find(is_missing) {
            None => Ok(()),
            Some(name) => Err(Invalid::new(name, "is missing")),
        }
    }

    /// Refuses misspelt fields. Ignoring one would drop its value without a word.
    fn check_names(&self, fields: &Map<String, Value>) -> Result<(), Invalid> {
        let foreign = || fields.keys().filter(|name| !self.names.contains(name));
        for given in foreign() {
            if let Some(meant) = self.names.iter().find(|name| is_misspelt(given, name)) {
                return Err(Invalid::new(given, format!("is spelled `{meant}`")));
            }
        }
        match foreign().next() {
            Some(name) if self.is_closed => Err(unknown(name, &self.names)),
            _ => Ok(()),
        }
    }
}

/// The message for an unknown name. A long name is shortened.
pub(super) fn unknown(name: &str, names: &[impl AsRef<str>]) -> Invalid {
    let name: String = name.chars().take(NAME_CHARS_MAX).collect();
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    let problem = if names.is_empty() {
        "is not known here, nor any other".to_owned()
    } else {
        format!("is not known here; it may be {}", names.join(", "))
    };
    Invalid::new(name, problem)
}

/// Whether a name is a misspelling of another: equal but for case and underscores, or one edit away. Short names that
/// differ count as other words.
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
    use serde::Deserialize;
    use serde_json::json;
    use utoipa::ToSchema;

    use super::*;
    use crate::rest::fields::{Flag, Inside, Rules, SignedDollars, Text, Texts, Whole};

    #[derive(Deserialize, ToSchema)]
    #[serde(rename_all = "PascalCase")]
    #[expect(dead_code, reason = "some are there to be refused")]
    struct Open {
        needed: Option<Text>,
        money: Option<SignedDollars>,
        #[schema(value_type = Option<i64>)]
        whole: Option<Whole<i64>>,
        flag: Option<Flag>,
        texts: Option<Texts>,
        rules: Option<Rules>,
        #[schema(value_type = Option<Closed>)]
        inside: Option<Inside<Closed>>,
    }
    body!(Open, shown: ["ShownAlone"]);

    #[derive(Deserialize, ToSchema)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "they are there to be refused")]
    struct Closed {
        needed: Text,
        flag: Option<Flag>,
    }
    body!(Closed);

    #[derive(Deserialize, ToSchema)]
    struct Small {
        small: Text,
    }
    body!(Small);

    #[derive(ToSchema)]
    struct Parts {
        #[serde(flatten)]
        small: Small,
        #[serde(flatten)]
        open: Open,
    }
    body!(Parts: small Small, open Open);

    fn refusal<B: Body>(body: &Value) -> (String, String) {
        let refused = read::<B>(body.to_string().as_bytes()).err().unwrap();
        (refused.field, refused.problem)
    }

    #[test]
    fn what_is_no_json_object_is_refused() {
        for bad in ["", "{", "[]", "7", "null", r#"{"a":1e400}"#, r#"{"a":NaN}"#] {
            let error = read::<Open>(bad.as_bytes()).err().unwrap();
            assert_eq!(error.field, "body", "{bad}");
        }
    }

    #[test]
    fn a_wrong_type_is_refused_by_name_and_not_repeated() {
        for (field, value, problem) in [
            ("Needed", json!(1_234_567), "must be a string"),
            ("Money", json!("1234567"), "must be a number"),
            ("Whole", json!("1234567"), "must be a whole number"),
            ("Whole", json!(1.5), "must be a whole number"),
            ("Flag", json!("true"), "must be true or false"),
            ("Texts", json!(["x", 1]), "must be an array of strings"),
            ("Texts", json!("x"), "must be an array of strings"),
            ("Rules", json!([]), "must be a string or a JSON object"),
            ("Inside", json!([]), "must be a JSON object"),
        ] {
            let refused = refusal::<Open>(&json!({ field: value }));
            assert_eq!(refused, (field.to_owned(), problem.to_owned()));
        }
    }

    #[test]
    fn a_field_of_an_object_inside_is_refused_by_its_own_name() {
        let inside = |value: Value| {
            let body = json!({ "Inside": value }).to_string();
            let body = read::<Open>(body.as_bytes()).unwrap();
            body.inside.unwrap().read().map(|_| ()).unwrap_err()
        };
        let bad_flag = inside(json!({ "needed": "x", "flag": 1 }));
        assert_eq!(bad_flag, Invalid::new("flag", "must be true or false"));
        assert_eq!(inside(json!({})), Invalid::new("needed", "is missing"));
        let misspelt = inside(json!({ "needed": "x", "flagg": true }));
        assert_eq!(misspelt.field, "flagg");
    }

    #[test]
    fn null_counts_as_absent() {
        let body = read::<Open>(br#"{"Money":null,"Rules":null,"Inside":null}"#).unwrap();
        assert!(body.money.is_none() && body.rules.is_none() && body.inside.is_none());
        let missing = ("needed".to_owned(), "is missing".to_owned());
        assert_eq!(refusal::<Closed>(&json!({ "needed": null })), missing);
        assert_eq!(refusal::<Closed>(&json!({})), missing);
    }

    #[test]
    fn a_misspelt_field_is_refused_and_a_foreign_one_only_where_all_are_known() {
        for (given, meant) in [
            ("needed", "Needed"),
            ("Monney", "Money"),
            ("shown_alone", "ShownAlone"),
        ] {
            let refused = refusal::<Open>(&json!({ given: null }));
            assert_eq!(refused, (given.to_owned(), format!("is spelled `{meant}`")));
        }
        assert!(read::<Open>(br#"{"Color":1,"ShownAlone":{}}"#).is_ok());
        let foreign = refusal::<Closed>(&json!({ "needed": "x", "color": 1 }));
        let told = "is not known here; it may be needed, flag";
        assert_eq!(foreign, ("color".to_owned(), told.to_owned()));
    }

    #[test]
    fn a_body_of_two_parts_has_the_fields_of_both() {
        let parts = read::<Parts>(br#"{"small":"x","Needed":"y","Color":1}"#).unwrap();
        let texts = (parts.small.small.0, parts.open.needed.unwrap().0);
        assert_eq!(texts, ("x".to_owned(), "y".to_owned()));
        for (body, field, problem) in [
            (json!({ "Needed": "y" }), "small", "is missing"),
            (json!({ "small": 1 }), "small", "must be a string"),
            (
                json!({ "small": "x", "Flag": 1 }),
                "Flag",
                "must be true or false",
            ),
            (json!({ "Small": "x" }), "Small", "is spelled `small`"),
        ] {
            assert_eq!(
                refusal::<Parts>(&body),
                (field.to_owned(), problem.to_owned())
            );
        }
    }

    proptest! {
        #[test]
        fn no_body_is_too_strange_to_be_refused(body in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Err(error) = read::<Open>(&body) {
                prop_assert_eq!(error.field, "body");
            }
        }
    }
}
