//! `LiteLLM`'s list: prices for one token, by names that may begin with a vendor. Suffixes of the fields give tiers and
//! prompt lengths.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde_json::{Map, Value, json};

use super::{
    CHAT, Groups, VENDORS, decimal,
    media::{PER_PIXEL, add_size, pictures, sized, sound, video},
    number,
    tiers::{Fields, ImportedTier},
};

const TOKENS: [(&str, &str); 14] = [
    ("InputText", "input_cost_per_token"),
    ("CachedText", "cache_read_input_token_cost"),
    ("CacheWrite", "cache_creation_input_token_cost"),
    (
        "CacheWriteHour",
        "cache_creation_input_token_cost_above_1hr",
    ),
    ("InputAudio", "input_cost_per_audio_token"),
    ("CachedAudio", "cache_read_input_audio_token_cost"),
    ("InputImage", "input_cost_per_image_token"),
    ("CachedImage", "cache_read_input_image_token_cost"),
    ("InputVideo", "input_cost_per_video_token"),
    ("OutputText", "output_cost_per_token"),
    ("ReasonText", "output_cost_per_reasoning_token"),
    ("OutputAudio", "output_cost_per_audio_token"),
    ("OutputImage", "output_cost_per_image_token"),
    ("CitationText", "citation_cost_per_token"),
];

/// Tiers, as responses name them and as fields end.
const TIERS: [(&str, &str); 4] = [
    ("flex", "_flex"),
    ("priority", "_priority"),
    ("batch", "_batches"),
    ("ultrafast", "_ultrafast"),
];

/// Fees for what is counted by the piece.
const FEES: [(&str, &str); 4] = [
    ("Call", "input_cost_per_request"),
    ("Maps", "google_maps_grounding_cost_per_query"),
    ("CodeSession", "code_interpreter_cost_per_session"),
    // For one call, whatever the field's name says.
    ("FileSearch", "file_search_cost_per_1k_calls"),
];

const SEARCHES: [(&str, &str); 3] = [
    ("WebSearchLow", "search_context_size_low"),
    ("WebSearchMedium", "search_context_size_medium"),
    ("WebSearchHigh", "search_context_size_high"),
];

pub(super) fn read(list: &Map<String, Value>, mut groups: Groups) -> Groups {
    let mut sizes = Vec::new();
    // A vendor's own price takes precedence over resellers', and a plain name over one with a prefix.
    let mut entries: Vec<_> = list
        .iter()
        .filter(|(name, _)| *name != "sample_spec")
        .collect();
    let place = |entry: &Value| {
        let provider = provider(entry);
        let place = VENDORS
            .iter()
            .position(|(_, theirs, _)| *theirs == provider);
        place.unwrap_or(VENDORS.len())
    };
    entries.sort_by_key(|(name, entry)| (place(entry), name.contains('/')));
    for (name, entry) in entries {
        let mode = entry.get("mode").and_then(Value::as_str).unwrap_or("none");
        let Some((group, fields)) = group_and_fields(mode, entry) else {
            groups.skip(mode);
            continue;
        };
        if let Some((size, model)) = sized(name) {
            sizes.push((model, size, provider(entry), fields));
        } else if fields.contains_key(PER_PIXEL) {
            groups.skip(mode);
        } else {
            let (provider, name) = named(name, entry);
            groups.add(group, name, provider, fields);
        }
    }
    for (model, size, theirs, fields) in sizes {
        let by_tokens = groups.by_name.get(CHAT);
        if !by_tokens.is_some_and(|models| models.contains_key(model)) {
            add_size(&mut groups, model, theirs, size, &fields);
        }
    }
    groups
}

/// Group and fields of an entry. Returns `None` if its price cannot be expressed here.
fn group_and_fields(mode: &str, entry: &Value) -> Option<(&'static str, Map<String, Value>)> {
    let mut fields = by_tokens(entry);
    let by_tokens = fields.contains_key("InputText") || fields.contains_key("OutputText");
    let piece = |name: &str| decimal(entry, name).filter(|price| !price.is_zero());
    for (ours, theirs) in FEES {
        fields.extend(
            piece(theirs)
                .and_then(number)
                .map(|fee| (ours.to_owned(), fee)),
        );
    }
    fields.extend(searches(entry));
    let group = match mode {
        "chat" | "completion" | "responses" | "embedding" | "moderation" | "realtime"
            if by_tokens =>
        {
            CHAT
        }
        "image_generation" | "image_edit" if by_tokens => {
            // Output that is reported without its kind must not be free.
            if let (None, Some(image)) = (fields.get("OutputText"), fields.get("OutputImage")) {
                fields.insert("OutputText".to_owned(), image.clone());
            }
            CHAT
        }
        "image_generation" | "image_edit" => return pictures(entry),
        "audio_transcription" | "audio_speech" => {
            sound(mode, entry, &mut fields)?;
            "AudioPricing"
        }
        "video_generation" => return video(entry),
        "rerank" => {
            let query = piece("input_cost_per_query").and_then(number);
            let units = query.map(|query| ("SearchUnit".to_owned(), query));
            fields.extend(units);
            // For entries with a price per search, the list has tokens at zero.
            fields.retain(|name, price| {
                !["InputText", "OutputText"].contains(&name.as_str()) || price.as_f64() != Some(0.0)
            });
            (!fields.is_empty()).then_some("RerankPricing")?
        }
        "ocr" => {
            let page = piece("ocr_cost_per_page").and_then(number)?;
            fields = Map::from_iter([("Page".to_owned(), page)]);
            if let Some(batch) = piece("ocr_cost_per_page_batches").and_then(number) {
                fields.insert("Tiers".to_owned(), json!({"batch": {"Page": batch}}));
            }
            return Some(("CallPricing", fields));
        }
        "chat" | "completion" | "responses" if fields.contains_key("Call") => "CallPricing",
        _ => return None,
    };
    limits(mode, entry, &mut fields);
    Some((group, fields))
}

/// All token prices, with their steps and tiers.
fn by_tokens(entry: &Value) -> Map<String, Value> {
    let mut scale = ImportedTier {
        fields: prices(entry, "", ""),
        steps: steps(entry, ""),
    };
    let ranges = entry.get("tiered_pricing").and_then(Value::as_array);
    for range in ranges.into_iter().flatten() {
        let from = range.get("range").and_then(|range| range.get(0));
        match from.and_then(Value::as_f64).map(whole) {
            Some(0) => scale.fields.extend(prices(range, "", "")),
            Some(above) => drop(scale.steps.insert(above, prices(range, "", ""))),
            None => {}
        }
    }
    scale.tidy();
    let mut tiers: BTreeMap<_, _> = TIERS
        .into_iter()
        .map(|(name, ending)| {
            let fields = prices(entry, "", ending);
            let steps = steps(entry, ending);
            (name, ImportedTier { fields, steps })
        })
        .collect();
    // Anthropic's fast mode is a factor of all prices.
    let fast = entry.get("provider_specific_entry");
    if let Some(factor) = fast.and_then(|entry| decimal(entry, "fast")) {
        let times =
            |(name, price): (&&'static str, &Decimal)| Some((*name, price.checked_mul(factor)?));
        let fields = scale.fields.iter().filter_map(times).collect();
        tiers.insert(
            "fast",
            ImportedTier {
                fields,
                ..ImportedTier::default()
            },
        );
    }
    scale.write(&tiers)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float that is no number of tokens becomes the nearest that is"
)]
const fn whole(tokens: f64) -> u64 {
    tokens as u64
}

fn prices(entry: &Value, step: &str, tier: &str) -> Fields {
    TOKENS
        .into_iter()
        .filter_map(|(ours, theirs)| {
            let price = decimal(entry, &format!("{theirs}{step}{tier}"))?;
            Some((ours, price.checked_mul(1_000_000.into())?))
        })
        .collect()
}

/// `…_above_200k_tokens`, with the suffix of a tier.
fn steps(entry: &Value, tier: &str) -> BTreeMap<u64, Fields> {
    let names = entry.as_object().into_iter().flat_map(Map::keys);
    let lengths = names.filter_map(|name| {
        let (_, length) = name
            .strip_suffix(tier)?
            .split_once("_cost_per_token_above_")?;
        length.strip_suffix("k_tokens")?.parse::<u64>().ok()
    });
    lengths
        .map(|length| {
            let fields = prices(entry, &format!("_above_{length}k_tokens"), tier);
            (length.saturating_mul(1000), fields)
        })
        .collect()
}

/// Searches by context size; one price if all cost the same.
fn searches(entry: &Value) -> Map<String, Value> {
    let Some(by_size) = entry.get("search_context_cost_per_query") else {
        return Map::new();
    };
    let prices: Vec<_> = SEARCHES
        .into_iter()
        .filter_map(|(ours, theirs)| Some((ours, decimal(by_size, theirs).and_then(number)?)))
        .collect();
    let same =
        |(_, price): &&(&str, Value)| prices.first().is_some_and(|(_, first)| first == price);
    if prices.len() == SEARCHES.len() && prices.iter().all(|one| same(&one)) {
        let first = prices.into_iter().next();
        return first
            .map(|(_, price)| ("WebSearch".to_owned(), price))
            .into_iter()
            .collect();
    }
    prices
        .into_iter()
        .map(|(name, price)| (name.to_owned(), price))
        .collect()
}

fn limits(mode: &str, entry: &Value, fields: &mut Map<String, Value>) {
    // The limit of an embedding model applies to each text, not to the call.
    let for_call = !["embedding", "moderation", "rerank"].contains(&mode);
    let limits = [
        ("MaxInput", "max_input_tokens"),
        ("MaxOutput", "max_output_tokens"),
    ];
    for (ours, theirs) in limits {
        let most = decimal(entry, theirs).filter(|most| most.fract().is_zero());
        let most = most.filter(|_| for_call).and_then(number);
        fields.extend(most.map(|most| (ours.to_owned(), most)));
    }
    if entry.get("supports_reasoning") == Some(&Value::Bool(true)) {
        fields.insert("Reasons".to_owned(), true.into());
    }
}

/// The provider's name in our table, and the model without the prefix of a vendor that is reached directly.
fn named<'a>(name: &'a str, entry: &'a Value) -> (&'a str, &'a str) {
    let theirs = provider(entry);
    let vendor = VENDORS.iter().find(|(_, name, _)| *name == theirs);
    let Some((ours, ..)) = vendor else {
        return (theirs, name);
    };
    let (prefix, rest) = name.split_once('/').unwrap_or_default();
    let known = prefix == theirs
        || VENDORS
            .iter()
            .any(|(our, other, _)| our == ours && *other == prefix);
    (ours, if known { rest } else { name })
}

fn provider(entry: &Value) -> &str {
    let provider = entry.get("litellm_provider");
    provider.and_then(Value::as_str).unwrap_or_default()
}
