//! Prices of `LiteLLM`'s list by the piece: images, videos, speech and recordings.

use std::str::FromStr as _;

use rust_decimal::Decimal;
use serde_json::{Map, Value, json};

use super::{Groups, VENDORS, decimal, number};

/// Placeholder for the price of a pixel until the size is known; no table has it.
pub(super) const PER_PIXEL: &str = "per pixel";

pub(super) fn pictures(entry: &Value) -> Option<(&'static str, Map<String, Value>)> {
    let mut fields = Map::new();
    let of_image = ["output_cost_per_image", "input_cost_per_image"];
    let price = of_image.into_iter().find_map(|name| decimal(entry, name));
    let pixels = ["input_cost_per_pixel", "output_cost_per_pixel"];
    let pixel = pixels.into_iter().find_map(|name| decimal(entry, name));
    let price = price.filter(|price| !price.is_zero() || pixel.is_none());
    if let Some(price) = price.and_then(number) {
        fields.insert("Call".to_owned(), price);
    } else {
        fields.insert(PER_PIXEL.to_owned(), pixel?.to_string().into());
    }
    let sizes = by_size(entry, "output_cost_per_image_", |size| {
        size.to_lowercase()
            .strip_suffix('k')
            .is_some_and(|k| k.parse::<u32>().is_ok())
    });
    fields.extend((!sizes.is_empty()).then(|| ("Sizes".to_owned(), sizes.into())));
    Some(("ImgPricing", fields))
}

pub(super) fn video(entry: &Value) -> Option<(&'static str, Map<String, Value>)> {
    let names = ["output_cost_per_video_per_second", "output_cost_per_second"];
    let second = names.into_iter().find_map(|name| decimal(entry, name));
    let second = second.filter(|price| !price.is_zero()).and_then(number)?;
    let mut fields = Map::from_iter([("Second".to_owned(), second)]);
    let sizes = by_size(entry, "output_cost_per_second_", |size| {
        size.starts_with(|first: char| first.is_ascii_digit())
    });
    fields.extend((!sizes.is_empty()).then(|| ("Sizes".to_owned(), sizes.into())));
    Some(("VideoPricing", fields))
}

/// Prices whose field ends with a size.
fn by_size(entry: &Value, begin: &str, is_size: fn(&str) -> bool) -> Map<String, Value> {
    let names = entry.as_object().into_iter().flat_map(Map::keys);
    names
        .filter_map(|name| {
            let size = name.strip_prefix(begin).filter(|size| is_size(size))?;
            Some((size.to_lowercase(), decimal(entry, name).and_then(number)?))
        })
        .collect()
}

/// Speech by characters, and recordings by duration unless they are priced by tokens.
pub(super) fn sound(mode: &str, entry: &Value, fields: &mut Map<String, Value>) -> Option<()> {
    let price = |name: &str| decimal(entry, name).filter(|price| !price.is_zero());
    let characters = price("input_cost_per_character");
    let characters = characters.and_then(|price| price.checked_mul(1_000_000.into()));
    fields.extend(
        characters
            .and_then(number)
            .map(|price| ("Character".to_owned(), price)),
    );
    if mode == "audio_transcription" {
        let hour = price("input_cost_per_second").and_then(|price| price.checked_mul(3600.into()));
        // A price per hour or minute, which the list has divided and rounded.
        let hour = hour.map(|hour| hour.round_dp(3));
        fields.extend(
            hour.and_then(number)
                .map(|hour| ("AudioHour".to_owned(), hour)),
        );
    }
    let metered = ["InputText", "OutputText", "Character", "AudioHour"];
    metered
        .iter()
        .any(|name| fields.contains_key(*name))
        .then_some(())
}

/// `1024-x-1792/dall-e-3` and `hd/1024-x-1792/dall-e-3`: size with quality, and model.
pub(super) fn sized(name: &str) -> Option<(String, &str)> {
    let (before, model) = name.rsplit_once('/')?;
    let (quality, size) = before.rsplit_once('/').unwrap_or(("", before));
    let (width, height) = size.split_once("-x-")?;
    let whole = |text: &str| text.parse::<u32>().ok();
    let size = format!("{}x{}", whole(width)?, whole(height)?);
    Some(match quality {
        "" | "standard" => (size, model),
        _ => (format!("{quality}/{size}"), model),
    })
}

pub(super) fn add_size(
    groups: &mut Groups,
    model: &str,
    theirs: &str,
    size: String,
    fields: &Map<String, Value>,
) {
    let price = fields.get("Call").cloned().or_else(|| {
        let pixel = Decimal::from_str(fields.get(PER_PIXEL)?.as_str()?).ok()?;
        let (width, height) = size.rsplit('/').next()?.split_once('x')?;
        let count = Decimal::from_str(width)
            .ok()?
            .checked_mul(Decimal::from_str(height).ok()?)?;
        number(pixel.checked_mul(count)?.round_dp(6))
    });
    let Some(price) = price else { return };
    let vendor = VENDORS.iter().find(|(_, name, _)| *name == theirs);
    let provider = vendor.map_or(theirs, |(ours, ..)| ours);
    let first = Map::from_iter([("Call".to_owned(), price.clone())]);
    groups.add("ImgPricing", model, provider, first);
    let entry = groups
        .by_name
        .get_mut("ImgPricing")
        .and_then(|models| models.get_mut(model));
    if let Some(Value::Object(entry)) = entry {
        let sizes = entry.entry("Sizes").or_insert_with(|| json!({}));
        if let Value::Object(sizes) = sizes {
            sizes.insert(size, price);
        }
    }
}
