//! `LiteLLM`'s public price list (`model_prices_and_context_window.json`) as a table of ours. Prices
//! there are per token; surcharges, tiers, seconds, characters and pages have no place in a table
//! and are left out (docs/prices.md).

use std::{collections::BTreeMap, str::FromStr as _};

use rust_decimal::Decimal;
use serde_json::{Map, Value, json};

use crate::{Invalid, price_file};

/// What was read.
#[derive(Debug)]
pub struct Imported {
    /// A table in our form.
    pub table: Value,
    /// Models in it.
    pub models: usize,
    /// Entries that were left out, by their mode.
    pub skipped: BTreeMap<String, usize>,
}

/// Vendors that are reached directly: their name there, the prefix of their models, our name.
const VENDORS: [(&str, &str, &str); 7] = [
    ("openai", "openai/", "openai"),
    (
        "text-completion-openai",
        "text-completion-openai/",
        "openai",
    ),
    ("anthropic", "anthropic/", "anthropic"),
    ("gemini", "gemini/", "google"),
    ("deepseek", "deepseek/", "deepseek"),
    ("xai", "xai/", "xai"),
    ("mistral", "mistral/", "mistral"),
];

/// Carries the price of a pixel until the size is known; no table has it.
const PER_PIXEL: &str = "per pixel";

const TOKEN_PRICES: [(&str, &str); 11] = [
    ("InputText", "input_cost_per_token"),
    ("OutputText", "output_cost_per_token"),
    ("CachedText", "cache_read_input_token_cost"),
    ("CacheWrite", "cache_creation_input_token_cost"),
    (
        "CacheWriteHour",
        "cache_creation_input_token_cost_above_1hr",
    ),
    ("ReasonText", "output_cost_per_reasoning_token"),
    ("InputAudio", "input_cost_per_audio_token"),
    ("OutputAudio", "output_cost_per_audio_token"),
    ("CachedAudio", "cache_read_input_audio_token_cost"),
    ("InputImage", "input_cost_per_image_token"),
    ("OutputImage", "output_cost_per_image_token"),
];

/// Reads the list. `version` is the day it was read, as the table is to say.
///
/// # Errors
/// When it is no such list, or the table made of it could not be loaded.
pub fn from_litellm(text: &str, version: &str) -> Result<Imported, Invalid> {
    let list: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| Invalid::new("file", error.to_string()))?;
    let mut groups: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    let mut skipped: BTreeMap<String, usize> = BTreeMap::new();
    let mut sizes = Vec::new();
    // The vendor's own price goes before that of others who sell its models, and a plain name
    // before one with a prefix.
    let mut entries: Vec<_> = list
        .iter()
        .filter(|(name, _)| *name != "sample_spec")
        .collect();
    entries.sort_by_key(|(name, entry)| (vendor(entry).is_none(), name.contains('/')));
    for (name, entry) in entries {
        let mode = entry.get("mode").and_then(Value::as_str).unwrap_or("none");
        let Some((group, fields)) = group_and_fields(mode, entry) else {
            *skipped.entry(mode.to_owned()).or_default() += 1;
            continue;
        };
        if name.contains("-x-") {
            // Other qualities than the standard one have no place in a table.
            sizes.extend(sized(name).map(|(size, model)| (model, size, fields)));
            continue;
        }
        if fields.contains_key(PER_PIXEL) {
            *skipped.entry(mode.to_owned()).or_default() += 1;
            continue;
        }
        let (provider, name) = named(name, entry);
        let (group, name) = match name.strip_prefix("ft:") {
            Some(base) => ("FineTuningPricing", base),
            None => (group, name),
        };
        let taken = group != "FineTuningPricing"
            && groups
                .iter()
                .any(|(group, models)| *group != "FineTuningPricing" && models.contains_key(name));
        if !taken {
            let mut fields = fields;
            fields.insert("Provider".to_owned(), provider.into());
            groups
                .entry(group)
                .or_default()
                .entry(name)
                .or_insert(Value::Object(fields));
        }
    }
    for (model, size, fields) in sizes {
        let by_tokens = groups.get("ChatPricing");
        if by_tokens.is_some_and(|models| models.contains_key(model)) {
            continue;
        }
        add_size(
            groups.entry("ImgPricing").or_default(),
            model,
            size,
            &fields,
        );
    }
    let models = groups.values().map(Map::len).sum();
    let built_in: Value = serde_json::from_str(&price_file::DEFAULT)
        .map_err(|error| Invalid::new("pricing.json", error.to_string()))?;
    let mut table = json!({"Version": version, "Providers": built_in.get("Providers")});
    for (group, models) in groups {
        if let Value::Object(table) = &mut table {
            table.insert(group.to_owned(), models.into());
        }
    }
    price_file::compose(&table.to_string(), None)?;
    Ok(Imported {
        table,
        models,
        skipped,
    })
}

/// Where an entry belongs and what it costs; none when nothing of its price can be told here.
fn group_and_fields(mode: &str, entry: &Value) -> Option<(&'static str, Map<String, Value>)> {
    let mut fields = Map::new();
    for (ours, theirs) in TOKEN_PRICES {
        let price = decimal(entry, theirs).and_then(|price| price.checked_mul(1_000_000.into()));
        fields.extend(price.and_then(number).map(|price| (ours.to_owned(), price)));
    }
    let by_tokens = fields.contains_key("InputText") || fields.contains_key("OutputText");
    let of_call = decimal(entry, "input_cost_per_request");
    let of_query = decimal(entry, "input_cost_per_query").filter(|_| mode == "rerank");
    let call = of_call.or(of_query).and_then(number);
    let of_image = ["output_cost_per_image", "input_cost_per_image"]
        .into_iter()
        .find_map(|name| decimal(entry, name));
    let group = match mode {
        "chat" | "completion" | "responses" | "embedding" | "moderation" | "realtime"
            if by_tokens || call.is_some() =>
        {
            "ChatPricing"
        }
        "image_generation" | "image_edit" if by_tokens => {
            // Output that is reported without its kind must not be free.
            if let (None, Some(image)) = (fields.get("OutputText"), fields.get("OutputImage")) {
                fields.insert("OutputText".to_owned(), image.clone());
            }
            "ChatPricing"
        }
        "image_generation" | "image_edit" => {
            let pixels = decimal(entry, "input_cost_per_pixel");
            let price = of_image.filter(|price| !price.is_zero() || pixels.is_none());
            if let Some(price) = price.and_then(number) {
                fields.insert("Call".to_owned(), price);
            } else {
                let pixel = pixels.map(|price| price.to_string());
                fields.insert(PER_PIXEL.to_owned(), pixel?.into());
            }
            return Some(("ImgPricing", fields));
        }
        "audio_transcription" | "audio_speech" if by_tokens => "AudioPricing",
        "rerank" if by_tokens || call.is_some() => "RerankPricing",
        _ => return None,
    };
    fields.extend(call.map(|call| ("Call".to_owned(), call)));
    if group == "AudioPricing" || group == "RerankPricing" {
        // What these groups call their text prices.
        for (text, short) in [("InputText", "Input"), ("OutputText", "Output")] {
            if let Some(price) = fields.remove(text) {
                fields.insert(short.to_owned(), price);
            }
        }
    }
    let limits = [
        ("MaxInput", "max_input_tokens"),
        ("MaxOutput", "max_output_tokens"),
    ];
    for (ours, theirs) in limits {
        // The limit of an embedding model counts for each text, not for the call.
        let for_call =
            ours == "MaxOutput" || !["embedding", "moderation", "rerank"].contains(&mode);
        let most = decimal(entry, theirs).filter(|most| for_call && most.fract().is_zero());
        fields.extend(most.and_then(number).map(|most| (ours.to_owned(), most)));
    }
    Some((group, fields))
}

/// Provider in our words, and the name without the prefix of a vendor that is reached directly.
fn named<'a>(name: &'a str, entry: &'a Value) -> (&'a str, &'a str) {
    match vendor(entry) {
        Some((_, prefix, ours)) => (ours, name.strip_prefix(prefix).unwrap_or(name)),
        None => (provider(entry), name),
    }
}

fn provider(entry: &Value) -> &str {
    let provider = entry.get("litellm_provider");
    provider.and_then(Value::as_str).unwrap_or_default()
}

fn vendor(entry: &Value) -> Option<(&'static str, &'static str, &'static str)> {
    let provider = provider(entry);
    VENDORS.into_iter().find(|(theirs, ..)| *theirs == provider)
}

/// `1024-x-1792/dall-e-3` and `standard/1024-x-1792/dall-e-3`: size and model.
fn sized(name: &str) -> Option<(String, &str)> {
    let name = name.strip_prefix("standard/").unwrap_or(name);
    let (size, model) = name.split_once('/')?;
    let (width, height) = size.split_once("-x-")?;
    let whole = |text: &str| text.parse::<u32>().ok();
    Some((format!("{}x{}", whole(width)?, whole(height)?), model))
        .filter(|(_, model)| !model.contains('/'))
}

fn add_size(
    models: &mut Map<String, Value>,
    model: &str,
    size: String,
    fields: &Map<String, Value>,
) {
    let price = fields.get("Call").cloned().or_else(|| {
        let pixel = Decimal::from_str(fields.get(PER_PIXEL)?.as_str()?).ok()?;
        let (width, height) = size.split_once('x')?;
        let count = Decimal::from_str(width)
            .ok()?
            .checked_mul(Decimal::from_str(height).ok()?)?;
        number(pixel.checked_mul(count)?.round_dp(6))
    });
    let Some(price) = price else { return };
    let entry = models
        .entry(model)
        .or_insert_with(|| json!({"Provider": "openai", "Call": price, "Sizes": {}}));
    if let Value::Object(entry) = entry {
        entry.remove(PER_PIXEL);
        let sizes = entry.entry("Sizes").or_insert_with(|| json!({}));
        if let Value::Object(sizes) = sizes {
            sizes.insert(size, price);
        }
    }
}

/// A number that is one, exactly as it is written.
fn decimal(entry: &Value, name: &str) -> Option<Decimal> {
    let text = entry.get(name)?.as_number()?.to_string();
    Decimal::from_str(&text)
        .or_else(|_| Decimal::from_scientific(&text))
        .ok()
        .filter(|number| !number.is_sign_negative())
}

fn number(value: Decimal) -> Option<Value> {
    serde_json::from_str(&value.normalize().to_string()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::Money;
    use crate::part::Part;

    const LIST: &str = r#"{
        "sample_spec": {"mode": "one of: chat, embedding", "input_cost_per_token": 0.0},
        "gpt-4o": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 2.5e-06,
            "output_cost_per_token": 1e-05, "cache_read_input_token_cost": 1.25e-06,
            "max_input_tokens": 128000, "max_output_tokens": 16384, "input_cost_per_token_batches": 1.25e-06},
        "openai/gpt-4o": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 9e-06},
        "gemini/gemini-x": {"litellm_provider": "gemini", "mode": "chat", "input_cost_per_token": 3e-07,
            "output_cost_per_token": 2.5e-06, "output_cost_per_reasoning_token": 3.5e-06, "input_cost_per_audio_token": 1e-06},
        "azure/gpt-4o": {"litellm_provider": "azure", "mode": "chat", "input_cost_per_token": 2.75e-06},
        "claude-x": {"litellm_provider": "anthropic", "mode": "chat", "input_cost_per_token": 3e-06,
            "output_cost_per_token": 1.5e-05, "cache_creation_input_token_cost": 3.75e-06},
        "gemini-x": {"litellm_provider": "vertex_ai", "mode": "chat", "input_cost_per_token": 9e-07},
        "draw": {"litellm_provider": "openai", "mode": "image_generation", "input_cost_per_token": 5e-06, "output_cost_per_image_token": 4e-05},
        "1024-x-1024/draw": {"litellm_provider": "openai", "mode": "image_generation", "input_cost_per_image": 0.01},
        "hd/1024-x-1792/dall-e-3": {"litellm_provider": "openai", "mode": "image_generation", "input_cost_per_pixel": 6.539e-08},
        "embed": {"litellm_provider": "openai", "mode": "embedding", "input_cost_per_token": 2e-08, "max_input_tokens": 8191},
        "speak": {"litellm_provider": "openai", "mode": "audio_speech", "input_cost_per_token": 6e-07, "output_cost_per_audio_token": 1.2e-05},
        "rank": {"litellm_provider": "cohere", "mode": "rerank", "input_cost_per_query": 0.002},
        "paint": {"litellm_provider": "xai", "mode": "image_generation", "output_cost_per_image": 0.07},
        "512-x-512/dall-e-2": {"litellm_provider": "openai", "mode": "image_generation", "input_cost_per_pixel": 6.86e-08},
        "standard/1024-x-1792/dall-e-3": {"litellm_provider": "openai", "mode": "image_generation", "input_cost_per_pixel": 4.359e-08},
        "ft:gpt-4o-2024-08-06": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 3.75e-06, "output_cost_per_token": 1.5e-05},
        "film": {"litellm_provider": "openai", "mode": "video_generation", "output_cost_per_second": 0.1},
        "whisper": {"litellm_provider": "openai", "mode": "audio_transcription", "input_cost_per_second": 0.0001},
        "odd": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": -1}
    }"#;

    #[test]
    fn a_public_price_list_becomes_a_table() {
        let imported = from_litellm(LIST, "2030-01-01").unwrap();
        let table = price_file::compose(&imported.table.to_string(), None).unwrap();
        let dollars = |number| Money::from_dollars(number).unwrap();
        let of = |model: &str| table.models.get(model).unwrap_or_else(|| panic!("{model}"));
        let gpt = of("gpt-4o");
        assert_eq!(
            (
                gpt.of(Part::InputText).unwrap(),
                gpt.of(Part::OutputText).unwrap()
            ),
            (dollars(2.5), dollars(10.0))
        );
        assert_eq!(
            (gpt.of(Part::CachedText), gpt.max_input),
            (Some(dollars(1.25)), Some(128_000))
        );
        assert_eq!(of("gemini-x").provider, "google");
        assert_eq!(of("gemini-x").of(Part::Reasoning), Some(dollars(3.5)));
        assert_eq!(of("gemini-x").of(Part::InputAudio), Some(dollars(1.0)));
        assert_eq!(
            of("azure/gpt-4o").of(Part::InputText).unwrap(),
            dollars(2.75)
        );
        assert_eq!(of("claude-x").of(Part::CacheWrite), Some(dollars(3.75)));
        assert_eq!(
            (
                of("embed").max_input,
                of("embed").of(Part::InputText).unwrap()
            ),
            (None, dollars(0.02))
        );
        assert_eq!(of("speak").of(Part::OutputAudio), Some(dollars(12.0)));
        assert_eq!(of("rank").call(), dollars(0.002));
        assert_eq!(of("paint").image.as_ref().unwrap().other, dollars(0.07));
        assert_eq!(
            (
                of("draw").of(Part::OutputText).unwrap(),
                of("draw").image.is_none()
            ),
            (dollars(40.0), true)
        );
        let tall = of("dall-e-3")
            .image
            .as_ref()
            .unwrap()
            .sizes
            .get("1024x1792");
        assert_eq!(tall, Some(&dollars(0.079_988)));
        assert_eq!(
            table
                .find("ft:gpt-4o-2024-08-06:me::1")
                .unwrap()
                .of(Part::OutputText)
                .unwrap(),
            dollars(15.0)
        );
        let skipped: Vec<_> = imported
            .skipped
            .iter()
            .map(|(mode, count)| (mode.as_str(), *count))
            .collect();
        assert_eq!(
            skipped,
            [
                ("audio_transcription", 1),
                ("chat", 1),
                ("video_generation", 1)
            ]
        );
        assert_eq!(imported.models, table.models.len());
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for bad in ["", "[]", "{", "NaN"] {
            assert!(from_litellm(bad, "v").is_err(), "{bad}");
        }
    }
}
