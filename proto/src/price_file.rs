//! The price table's JSON form (see `docs/prices.md`) and single fields overridden by the setting `PRICING`.

use std::{
    collections::{BTreeMap, HashMap},
    sync::LazyLock,
};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::{Invalid, model_aliases::undated, price::PriceTable, price_entry};

/// The files that ship, one for each provider. Each is a complete table.
const FILES: [&str; 16] = [
    include_str!("../../prices/anthropic.json"),
    include_str!("../../prices/cohere.json"),
    include_str!("../../prices/deepseek.json"),
    include_str!("../../prices/fireworks.json"),
    include_str!("../../prices/google.json"),
    include_str!("../../prices/groq.json"),
    include_str!("../../prices/minimax.json"),
    include_str!("../../prices/mistral.json"),
    include_str!("../../prices/moonshot.json"),
    include_str!("../../prices/openai.json"),
    include_str!("../../prices/openrouter.json"),
    include_str!("../../prices/perplexity.json"),
    include_str!("../../prices/qwen.json"),
    include_str!("../../prices/together.json"),
    include_str!("../../prices/xai.json"),
    include_str!("../../prices/zhipu.json"),
];

const GROUPS: [&str; 7] = [
    price_entry::CHAT,
    "AudioPricing",
    price_entry::IMAGES,
    price_entry::VIDEO,
    "CallPricing",
    "RerankPricing",
    price_entry::FINE_TUNING,
];

/// The table that ships: all files merged.
pub static DEFAULT: LazyLock<String> = LazyLock::new(|| merge_files(&FILES).to_string());

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PriceFile {
    version: String,
    providers: BTreeMap<String, Vec<String>>,
    /// Sources of the prices, by a name that entries refer to.
    #[serde(default)]
    sources: BTreeMap<String, PriceListSource>,
    #[serde(flatten)]
    groups: BTreeMap<String, BTreeMap<String, Map<String, Value>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct PriceListSource {
    url: String,
    date: String,
}

/// Merges tables whose names are disjoint. The latest version becomes that of the whole.
fn merge_files(files: &[&str]) -> Value {
    let mut whole = Value::Object(Map::new());
    let mut version = String::new();
    for text in files {
        let file: Value = serde_json::from_str(text).unwrap_or_default();
        if let Some(own) = file.get("Version").and_then(Value::as_str) {
            version = version.max(own.to_owned());
        }
        merge_json(&mut whole, file, 0);
    }
    merge_json(&mut whole, json!({ "Version": version }), 0);
    whole
}

/// Reads the table that ships, with fields overridden by `PRICING`.
///
/// # Errors
/// Errors if a field is invalid; the error names group, model and field.
pub fn load(pricing: Option<&str>) -> Result<PriceTable, Invalid> {
    compose(&DEFAULT, pricing)
}

/// Reads a table, with fields overridden by `PRICING`.
///
/// # Errors
/// Errors if a field is invalid; the error names group, model and field.
pub fn compose(table: &str, pricing: Option<&str>) -> Result<PriceTable, Invalid> {
    let (file, suffix) = read(table, pricing)?;
    parse(file, &suffix)
}

/// Like [`compose`]; also returns the entries as written, reading the table once.
///
/// # Errors
/// Errors if a field is invalid; the error names group, model and field.
pub fn compose_with_entries(
    table: &str,
    pricing: &str,
) -> Result<(PriceTable, PriceEntries), Invalid> {
    let (file, suffix) = read(table, Some(pricing))?;
    let listing = PriceEntries(file.groups.clone());
    Ok((parse(file, &suffix)?, listing))
}

/// A table as written, and the version suffix that marks its overrides.
fn read(table: &str, pricing: Option<&str>) -> Result<(PriceFile, String), Invalid> {
    let mut table: Value =
        serde_json::from_str(table).map_err(|error| Invalid::new("table", error.to_string()))?;
    let mut suffix = String::new();
    if let Some(text) = pricing.filter(|text| !text.trim().is_empty()) {
        let over: Value = serde_json::from_str(text)
            .map_err(|error| Invalid::new("PRICING", error.to_string()))?;
        if !over.is_object() {
            return Err(Invalid::new("PRICING", "must be a JSON object"));
        }
        merge_json(&mut table, over, 0);
        let digest = Sha256::digest(text.as_bytes());
        suffix = const_hex::encode(&digest[..4]);
    }
    let whole = if suffix.is_empty() {
        "table"
    } else {
        "PRICING"
    };
    let file: PriceFile =
        serde_json::from_value(table).map_err(|error| Invalid::new(whole, error.to_string()))?;
    Ok((file, suffix))
}

/// The entries of a table as written, which others may override.
#[derive(Debug, Clone, Default)]
pub struct PriceEntries(BTreeMap<String, BTreeMap<String, Map<String, Value>>>);

impl PriceEntries {
    /// Reads a table with fields overridden by `PRICING`.
    ///
    /// # Errors
    /// Errors if it is not a table.
    pub fn of(table: &str, pricing: Option<&str>) -> Result<Self, Invalid> {
        read(table, pricing).map(|(file, _)| Self(file.groups))
    }

    /// Merges these fields into the table's entries, found under the provider's name or the plain name. Models that end
    /// up without a valid price are left out.
    pub fn merged_under(
        &self,
        provider: &str,
        models: &BTreeMap<String, Map<String, Value>>,
    ) -> PriceTable {
        let mut table = PriceTable::default();
        for (name, over) in models {
            let own = format!("{provider}/{name}");
            let bare = name
                .rsplit_once('/')
                .map_or(name.as_str(), |(_, bare)| bare);
            let names = [own.as_str(), name, bare, undated(bare).unwrap_or(bare)];
            let (group, mut fields) = names
                .into_iter()
                .find_map(|name| self.entry(name))
                .unwrap_or_else(|| (group_of(over), Map::new()));
            fields.extend(over.clone());
            // A model's multiplier is what customers pay on top.
            fields.remove("Rates");
            if let Ok(price) = price_entry::read(group, &fields) {
                table.models.insert(name.clone(), price);
            }
        }
        table
    }

    fn entry(&self, name: &str) -> Option<(&str, Map<String, Value>)> {
        // Fine-tuned models are found by the name of their base.
        let (name, tuned) = match name.strip_prefix("ft:") {
            Some(rest) => (rest.split(':').next().unwrap_or_default(), true),
            None => (name, false),
        };
        let groups = self.0.iter();
        let mut groups =
            groups.filter(|(group, _)| (group.as_str() == price_entry::FINE_TUNING) == tuned);
        groups.find_map(|(group, models)| Some((group.as_str(), models.get(name)?.clone())))
    }
}

/// Checks fields that may override any entry of the table.
///
/// # Errors
/// Errors if a field is invalid; the error names it.
pub(crate) fn check_fields(fields: &Map<String, Value>) -> Result<(), Invalid> {
    let group = group_of(fields);
    let mut whole = fields.clone();
    if group == price_entry::CHAT {
        // Missing fields come from the table.
        whole.entry("InputText").or_insert_with(|| 0.into());
    }
    price_entry::read(group, &whole).map(drop)
}

/// The group of a new entry, judged by its fields.
fn group_of(fields: &Map<String, Value>) -> &'static str {
    let is_text = |name: &String| {
        let part = price_entry::part(name);
        part.is_some_and(|part| part.is_input() || part.is_output())
    };
    if fields.contains_key("Second") {
        price_entry::VIDEO
    } else if fields.contains_key("Sizes") {
        price_entry::IMAGES
    } else if fields.keys().any(is_text) {
        price_entry::CHAT
    } else {
        "CallPricing"
    }
}

/// Merges groups, models and fields, which are three levels of objects. Below them a value replaces a value.
fn merge_json(base: &mut Value, over: Value, depth: usize) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) if depth < 3 => {
            for (name, value) in over {
                merge_json(base.entry(name).or_insert(Value::Null), value, depth + 1);
            }
        }
        (base, over) => *base = over,
    }
}

fn parse(file: PriceFile, suffix: &str) -> Result<PriceTable, Invalid> {
    let PriceFile {
        version,
        providers,
        sources,
        mut groups,
    } = file;
    for (name, PriceListSource { url, date }) in &sources {
        if url.is_empty() || date.parse::<jiff::civil::Date>().is_err() {
            let problem = "needs a Url, and a Date as YYYY-MM-DD";
            return Err(Invalid::new(format!("Sources.{name}"), problem));
        }
    }
    let version = if suffix.is_empty() {
        version
    } else {
        format!("{version}+{suffix}")
    };
    let mut models = HashMap::default();
    for group in GROUPS {
        for (model, fields) in groups.remove(group).unwrap_or_default() {
            let field = |name: &str| format!("PRICING.{group}.{model}.{name}");
            let price = price_entry::read(group, &fields)
                .map_err(|error| Invalid::new(field(&error.field), error.problem))?;
            let source = fields.get("Source").and_then(Value::as_str);
            if source.is_some_and(|source| !sources.contains_key(source)) {
                return Err(Invalid::new(field("Source"), "is not one of Sources"));
            }
            // Fine-tuned models are found by their base, but must not change the price of the base itself.
            let name = if group == price_entry::FINE_TUNING {
                format!("ft:{}", model.trim_start_matches("ft:"))
            } else {
                model
            };
            models.insert(name, price);
        }
    }
    if let Some(group) = groups.keys().next() {
        let known = GROUPS.join(", ");
        let problem = format!("is no group of prices; known are {known}");
        return Err(Invalid::new(format!("PRICING.{group}"), problem));
    }
    Ok(PriceTable {
        version,
        models,
        provider_hosts: providers.into_iter().collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{money::Money, part::BillPart};

    #[test]
    fn the_table_that_ships_can_be_read() {
        let table = load(None).unwrap();
        assert!(table.models.len() > 50);
        for (model, price) in &table.models {
            assert!(
                table.provider_hosts.contains_key(&price.provider),
                "{model}"
            );
        }
    }

    #[test]
    fn an_override_changes_single_fields_and_the_version() {
        let plain = load(None).unwrap();
        let (model, before) = plain
            .models
            .iter()
            .find(|(model, price)| {
                price.standard.units.own(BillPart::CachedText).is_some()
                    && !model.starts_with("ft:")
            })
            .unwrap();
        let text = format!(
            r#"{{"ChatPricing":{{"{model}":{{"InputText":123.5}},"own":{{"InputText":1}}}}}}"#
        );
        let table = load(Some(&text)).unwrap();
        let after = table.models.get(model).unwrap();
        assert_eq!(
            after.of(BillPart::InputText),
            Money::from_dollars(123.5).ok()
        );
        assert_eq!(
            after.of(BillPart::CachedText),
            before.of(BillPart::CachedText)
        );
        assert!(table.models.contains_key("own"));
        assert_ne!(table.version, plain.version);
    }

    #[test]
    fn a_forgotten_price_makes_no_half_of_a_call_free() {
        let text = r#"{"ChatPricing":{"in":{"InputText":1},"out":{"OutputText":2},"free":{"InputText":1,"OutputText":0}},
            "RerankPricing":{"r":{"Input":3}}}"#;
        let table = load(Some(text)).unwrap();
        for (model, input, output) in [
            ("in", 1.0, 1.0),
            ("out", 2.0, 2.0),
            ("free", 1.0, 0.0),
            ("r", 3.0, 0.0),
        ] {
            let price = table.find(model).unwrap();
            let dollars = |number| Money::from_dollars(number).unwrap();
            assert_eq!(
                [BillPart::InputText, BillPart::OutputText].map(|part| price.of(part)),
                [dollars(input), dollars(output)].map(Some),
                "{model}"
            );
        }
    }

    #[test]
    fn a_model_of_a_chat_without_a_price_of_its_text_is_refused() {
        for entry in ["{}", r#"{"Call":1}"#, r#"{"CachedText":1}"#] {
            let text = format!(r#"{{"ChatPricing":{{"own":{entry}}}}}"#);
            let error = load(Some(&text)).unwrap_err();
            assert_eq!(error.field, "PRICING.ChatPricing.own.InputText", "{entry}");
        }
    }

    #[test]
    fn a_model_may_say_how_much_it_reads_and_writes() {
        let text = r#"{"ChatPricing":{"gpt-4o":{"MaxOutput":99},"own":{"InputText":1}}}"#;
        let table = load(Some(text)).unwrap();
        let caps = |model: &str| {
            let price = table.models.get(model).unwrap();
            (price.max_input, price.max_output)
        };
        assert_eq!(caps("gpt-4o"), (Some(128_000), Some(99)));
        assert_eq!(caps("own"), (None, None));
    }

    #[test]
    fn every_group_is_priced_its_own_way() {
        let text = r#"{
            "ChatPricing": {"c": {"InputText": 1, "Call": 0.5, "Size1K": 3, "Find": 0.01, "Page": 0, "Query": 2}},
            "ImgPricing": {"i": {"Call": 0.04, "Sizes": {"512x512": 0.02}, "Rates": 2}},
            "AudioPricing": {"a": {"Input": 1, "Output": 2, "InputAudio": 3, "OutputAudio": 4, "Call": 5}},
            "CallPricing": {"k": {"Call": 0.25}},
            "RerankPricing": {"r": {"Input": 2, "Call": 1}},
            "FineTuningPricing": {"gpt-4o": {"InputText": 3.75, "OutputText": 15}}
        }"#;
        let table = load(Some(text)).unwrap();
        let of = |model: &str| table.find(model).unwrap();
        let dollars = |number| Money::from_dollars(number).unwrap();
        assert_eq!(
            (of("c").call(), of("c").image.clone()),
            (dollars(0.5), None)
        );
        let image = of("i").image.clone().unwrap();
        assert_eq!((of("i").call(), image.other), (Money::ZERO, dollars(0.04)));
        assert_eq!(image.sizes.get("512x512"), Some(&dollars(0.02)));
        assert_eq!(of("a").of(BillPart::OutputAudio), Some(dollars(4.0)));
        assert_eq!(
            [BillPart::InputText, BillPart::OutputText].map(|part| of("a").of(part)),
            [1.0, 2.0].map(|price| Some(dollars(price)))
        );
        assert_eq!(of("k").call(), dollars(0.25));
        assert_eq!(
            (of("r").of(BillPart::InputText), of("r").call()),
            (Some(dollars(2.0)), dollars(1.0))
        );
        assert_eq!(
            of("ft:gpt-4o:me::1").of(BillPart::InputText),
            Some(dollars(3.75))
        );
        assert_eq!(of("gpt-4o").of(BillPart::InputText), Some(dollars(2.5)));
    }

    #[test]
    fn a_bad_price_is_named() {
        for bad in [
            "nonsense",
            "[]",
            r#"{"ChatPricing":{"m":{"InputText":-1}}}"#,
            r#"{"ChatPricing":{"m":{"InputText":"1"}}}"#,
            r#"{"ChatPricing":{"m":{"Rates":0}}}"#,
            r#"{"ChatPricing":{"m":{"MaxOutput":-1}}}"#,
            r#"{"ChatPricing":{"m":{"MaxInput":1.5}}}"#,
            r#"{"ChatPrices":{}}"#,
            r#"{"ChatPricing":{"m":{"InputTxt":1}}}"#,
            r#"{"ChatPricing":{"m":{"Find":-1}}}"#,
            r#"{"ChatPricing":{"m":{"Sizes":{"a":1}}}}"#,
            r#"{"ImgPricing":{"m":{"Sizes":{"a":-1}}}}"#,
            r#"{"ChatPricing":{"m":{"InputText":1e400}}}"#,
            r#"{"ChatPricing":{"m":{"InputText":NaN}}}"#,
        ] {
            assert!(load(Some(bad)).is_err(), "{bad}");
        }
    }
}
