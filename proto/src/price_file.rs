//! The price table's JSON form (see `docs/prices.md`) and the overriding of single fields by the
//! setting `PRICING`.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{
    Invalid,
    money::{Money, Multiplier},
    price::{ImagePrice, ModelPrice, PriceTable},
};

/// The table that ships with the program.
pub const DEFAULT: &str = include_str!("../../prices/pricing.json");

const CHAT: &str = "ChatPricing";
const IMAGES: &str = "ImgPricing";
const FINE_TUNING: &str = "FineTuningPricing";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct File {
    version: String,
    providers: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    chat_pricing: BTreeMap<String, Entry>,
    #[serde(default)]
    audio_pricing: BTreeMap<String, Entry>,
    #[serde(default)]
    img_pricing: BTreeMap<String, Entry>,
    #[serde(default)]
    call_pricing: BTreeMap<String, Entry>,
    #[serde(default)]
    rerank_pricing: BTreeMap<String, Entry>,
    #[serde(default)]
    fine_tuning_pricing: BTreeMap<String, Entry>,
}

/// Fields of all groups; each group uses those that fit it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    #[serde(default)]
    provider: String,
    #[serde(alias = "Input")]
    input_text: Option<f64>,
    #[serde(alias = "Output")]
    output_text: Option<f64>,
    cached_text: Option<f64>,
    cache_write: Option<f64>,
    cache_write_hour: Option<f64>,
    reason_text: Option<f64>,
    input_audio: Option<f64>,
    output_audio: Option<f64>,
    cached_audio: Option<f64>,
    input_image: Option<f64>,
    output_image: Option<f64>,
    call: Option<f64>,
    rates: Option<f64>,
    max_input: Option<u64>,
    max_output: Option<u64>,
    #[serde(default)]
    sizes: BTreeMap<String, f64>,
    /// Tools billed by the piece, which no answer tells the number of: read and not acted on.
    #[serde(flatten)]
    tools: BTreeMap<String, f64>,
}

/// Reads the table that ships, with the fields of `PRICING` laid over it.
///
/// # Errors
/// Names the group, model and field that is wrong.
pub fn load(pricing: Option<&str>) -> Result<PriceTable, Invalid> {
    compose(DEFAULT, pricing)
}

/// Reads a table, with the fields of `PRICING` laid over it.
///
/// # Errors
/// Names the group, model and field that is wrong.
pub fn compose(table: &str, pricing: Option<&str>) -> Result<PriceTable, Invalid> {
    let mut table: Value =
        serde_json::from_str(table).map_err(|error| Invalid::new("table", error.to_string()))?;
    let mut suffix = String::new();
    if let Some(text) = pricing.filter(|text| !text.trim().is_empty()) {
        let over: Value = serde_json::from_str(text)
            .map_err(|error| Invalid::new("PRICING", error.to_string()))?;
        if !over.is_object() {
            return Err(Invalid::new("PRICING", "must be a JSON object"));
        }
        lay_over(&mut table, over, 0);
        let digest = Sha256::digest(text.as_bytes());
        suffix = digest
            .iter()
            .take(4)
            .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    }
    let file: File = serde_json::from_value(table)
        .map_err(|error| Invalid::new("PRICING", error.to_string()))?;
    parse(file, &suffix)
}

/// Groups, models and fields are three levels of objects; below them a value replaces a value.
fn lay_over(base: &mut Value, over: Value, depth: usize) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) if depth < 3 => {
            for (name, value) in over {
                lay_over(base.entry(name).or_insert(Value::Null), value, depth + 1);
            }
        }
        (base, over) => *base = over,
    }
}

fn parse(file: File, suffix: &str) -> Result<PriceTable, Invalid> {
    let File {
        version,
        providers,
        chat_pricing,
        audio_pricing,
        img_pricing,
        call_pricing,
        rerank_pricing,
        fine_tuning_pricing,
    } = file;
    let version = if suffix.is_empty() {
        version
    } else {
        format!("{version}+{suffix}")
    };
    let groups = [
        (CHAT, chat_pricing),
        ("AudioPricing", audio_pricing),
        (IMAGES, img_pricing),
        ("CallPricing", call_pricing),
        ("RerankPricing", rerank_pricing),
        (FINE_TUNING, fine_tuning_pricing),
    ];
    let mut models = HashMap::default();
    for (group, entries) in groups {
        for (model, entry) in entries {
            let price = entry.price(group).map_err(|error| {
                Invalid::new(
                    format!("PRICING.{group}.{model}.{}", error.field),
                    error.problem,
                )
            })?;
            // Fine-tuned models are found by their base, and must not change what that costs itself.
            let name = if group == FINE_TUNING {
                format!("ft:{}", model.trim_start_matches("ft:"))
            } else {
                model
            };
            models.insert(name, price);
        }
    }
    Ok(PriceTable {
        version,
        models,
        provider_hosts: providers.into_iter().collect(),
    })
}

impl Entry {
    fn price(self, group: &str) -> Result<ModelPrice, Invalid> {
        for (field, dollars) in &self.tools {
            let known =
                field.starts_with("Size") || ["Find", "Page", "Query"].contains(&field.as_str());
            if !known {
                return Err(Invalid::new(field, "is no field of a price"));
            }
            amount(field, Some(*dollars))?;
        }
        let rates = self
            .rates
            .map_or(Ok(Multiplier::ONE), Multiplier::from_number);
        let call = required(amount("Call", self.call)?);
        let sizes: BTreeMap<_, _> = self
            .sizes
            .into_iter()
            .map(|(size, dollars)| {
                let price = required(amount(&format!("Sizes.{size}"), Some(dollars))?);
                Ok((size, price))
            })
            .collect::<Result<_, Invalid>>()?;
        let (call, image) = if group == IMAGES {
            let by_size = ImagePrice { sizes, other: call };
            (Money::ZERO, Some(by_size))
        } else if sizes.is_empty() {
            (call, None)
        } else {
            return Err(Invalid::new("Sizes", "belongs to ImgPricing"));
        };
        let mut input = amount("InputText", self.input_text)?;
        let mut output = amount("OutputText", self.output_text)?;
        if [CHAT, FINE_TUNING].contains(&group) {
            // Both are required. One that was forgotten must not make half of each call free.
            (input, output) = (input.or(output), output.or(input));
            if input.is_none() {
                let problem =
                    "is missing; a model that costs by the call alone belongs into CallPricing";
                return Err(Invalid::new("InputText", problem));
            }
        }
        Ok(ModelPrice {
            provider: self.provider,
            input_text: required(input),
            output_text: required(output),
            cached_text: amount("CachedText", self.cached_text)?,
            cache_write: amount("CacheWrite", self.cache_write)?,
            cache_write_hour: amount("CacheWriteHour", self.cache_write_hour)?,
            reason_text: amount("ReasonText", self.reason_text)?,
            input_audio: amount("InputAudio", self.input_audio)?,
            output_audio: amount("OutputAudio", self.output_audio)?,
            cached_audio: amount("CachedAudio", self.cached_audio)?,
            input_image: amount("InputImage", self.input_image)?,
            output_image: amount("OutputImage", self.output_image)?,
            call,
            image,
            rates: rates.map_err(|error| error.under("Rates"))?,
            max_input: self.max_input,
            max_output: self.max_output,
        })
    }
}

/// A price that is left out is nothing: a model priced by call needs no token price.
fn required(price: Option<Money>) -> Money {
    price.unwrap_or(Money::ZERO)
}

fn amount(field: &str, dollars: Option<f64>) -> Result<Option<Money>, Invalid> {
    let Some(dollars) = dollars else {
        return Ok(None);
    };
    match Money::from_dollars(dollars) {
        Ok(money) if !money.is_negative() => Ok(Some(money)),
        Ok(_) => Err(Invalid::new(field, "must not be negative")),
        Err(error) => Err(error.under(field)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            .find(|(model, price)| price.cached_text.is_some() && !model.starts_with("ft:"))
            .unwrap();
        let text = format!(
            r#"{{"ChatPricing":{{"{model}":{{"InputText":123.5}},"own":{{"InputText":1}}}}}}"#
        );
        let table = load(Some(&text)).unwrap();
        let after = table.models.get(model).unwrap();
        assert_eq!(after.input_text, Money::from_dollars(123.5).unwrap());
        assert_eq!(after.cached_text, before.cached_text);
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
                (price.input_text, price.output_text),
                (dollars(input), dollars(output)),
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
        assert_eq!((of("c").call, of("c").image.clone()), (dollars(0.5), None));
        let image = of("i").image.clone().unwrap();
        assert_eq!((of("i").call, image.other), (Money::ZERO, dollars(0.04)));
        assert_eq!(image.sizes.get("512x512"), Some(&dollars(0.02)));
        assert_eq!(of("a").output_audio, Some(dollars(4.0)));
        assert_eq!(
            (of("a").input_text, of("a").output_text),
            (dollars(1.0), dollars(2.0))
        );
        assert_eq!(of("k").call, dollars(0.25));
        assert_eq!(
            (of("r").input_text, of("r").call),
            (dollars(2.0), dollars(1.0))
        );
        assert_eq!(of("ft:gpt-4o:me::1").input_text, dollars(3.75));
        assert_eq!(of("gpt-4o").input_text, dollars(2.5));
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
