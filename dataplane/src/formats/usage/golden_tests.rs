//! Real usage: the objects in `golden/`, taken from providers' documentation and their clients' tests and issues, are
//! read as the providers bill them and cost what the price lists say. The costs were computed separately by hand;
//! `cost_in_usd_ticks` and `cost` are the provider's own charges.

use std::{fs, path::PathBuf};

use http::Method;
use proptest::prelude::*;
use proxyxai_contract::{
    bill::{self, BilledUsage, CallBill},
    money::Multiplier,
    price::PriceTable,
    price_file,
    tokens::ImageUsage,
};
use serde_json::{Map, Value, json};

use super::*;
use crate::formats::endpoint;

const OBJECTS_MIN: usize = 200;

fn directory() -> PathBuf {
    concat!(env!("CARGO_MANIFEST_DIR"), "/src/formats/usage/golden").into()
}

pub(super) fn golden() -> Vec<Value> {
    let mut rows = Vec::new();
    for file in fs::read_dir(directory()).unwrap() {
        let file = file.unwrap().path();
        if file.extension().is_some_and(|it| it == "jsonl") {
            let text = fs::read_to_string(file).unwrap();
            rows.extend(text.lines().map(|line| serde_json::from_str(line).unwrap()));
        }
    }
    rows
}

/// The list prices that the costs were computed with.
pub(super) fn prices() -> PriceTable {
    let text = fs::read_to_string(directory().join("prices.json")).unwrap();
    price_file::load(Some(&text)).unwrap()
}

/// The bill for what was found.
pub(super) fn sum(
    row: &Value,
    reader: &UsageReader,
    tokens: &TokenUsage,
    prices: &PriceTable,
) -> CallBill {
    let price = prices.find(row["price"].as_str().unwrap()).unwrap();
    let used = BilledUsage {
        tokens,
        images: &ImageUsage::default(),
        pieces: &reader.pieces(),
        tier: reader.tier(),
    };
    bill::lines(price, &used)
}

pub(super) fn nanos(sum: &CallBill) -> i64 {
    let one = Multiplier::ONE;
    sum.cost(one, one).unwrap().nanos()
}

pub(super) fn schema(row: &Value) -> UsageSchema {
    let path = row["path"].as_str().unwrap();
    UsageSchema::of(endpoint::find(&Method::POST, path).route(), path)
}

/// The response as it arrives.
pub(super) fn wire(row: &Value) -> String {
    match row["events"].as_array() {
        Some(events) => stream(events),
        None => row["body"].to_string(),
    }
}

pub(super) fn stream(events: &[Value]) -> String {
    let mut wire = String::new();
    for event in events {
        if let Some(name) = event["type"].as_str() {
            wire.extend(["event: ", name, "\n"]);
        }
        wire.extend(["data: ", &event.to_string(), "\n\n"]);
    }
    wire
}

fn members(tokens: &TokenUsage) -> [(&'static str, u64); 13] {
    [
        ("input", tokens.input),
        ("cached", tokens.cached),
        ("cache_write", tokens.cache_write),
        ("cache_write_hour", tokens.cache_write_hour),
        ("output", tokens.output),
        ("reasoning", tokens.reasoning),
        ("input_audio", tokens.input_audio),
        ("output_audio", tokens.output_audio),
        ("input_image", tokens.input_image),
        ("output_image", tokens.output_image),
        ("input_video", tokens.input_video),
        ("cached_audio", tokens.cached_audio),
        ("cached_image", tokens.cached_image),
    ]
}

/// Counts as in the golden files: without zeros.
fn counts(tokens: Option<TokenUsage>) -> Value {
    let Some(tokens) = tokens else {
        return Value::Null;
    };
    let told = members(&tokens).into_iter().filter(|(_, count)| *count > 0);
    let told: Map<String, Value> = told
        .map(|(name, count)| (name.to_owned(), json!(count)))
        .collect();
    Value::Object(told)
}

fn are_a_partition(tokens: &TokenUsage) -> bool {
    tokens.cached + tokens.cache_write <= tokens.input
        && tokens.cache_write_hour <= tokens.cache_write
        && tokens.input_audio + tokens.input_image <= tokens.input
        && tokens.reasoning + tokens.output_audio + tokens.output_image <= tokens.output
}

#[test]
fn golden_usage_is_read_as_its_provider_bills_it() {
    let rows = golden();
    assert!(rows.len() >= OBJECTS_MIN, "{}", rows.len());
    let mut wrong = String::new();
    for row in &rows {
        assert!(row["source"].as_str().unwrap().starts_with("http"), "{row}");
        let mut reader = UsageReader::new(schema(row));
        reader.push(wire(row).as_bytes());
        let read = counts(reader.tokens());
        if read != row["counts"] {
            wrong.extend([&row.to_string(), "\nis read as ", &read.to_string(), "\n\n"]);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn golden_usage_costs_what_its_price_list_says() {
    let prices = prices();
    let mut costed = 0;
    let mut wrong = Vec::new();
    for row in golden() {
        let Some(cost) = row["cost"].as_i64() else {
            assert_eq!(row["price"], Value::Null, "{row}");
            continue;
        };
        costed += 1;
        let mut reader = UsageReader::new(schema(&row));
        reader.push(wire(&row).as_bytes());
        assert_eq!(
            reader.tier(),
            row["tier"].as_str().unwrap_or_default(),
            "{row}"
        );
        let sum = sum(&row, &reader, &reader.tokens().unwrap(), &prices);
        if nanos(&sum) != cost {
            wrong.push(format!("{row}\ncosts {}: {sum:?}\n\n", nanos(&sum)));
        }
        if let Some(told) = row["lines"].as_object() {
            let lines = sum
                .lines
                .iter()
                .map(|line| (line.part.name().to_owned(), json!(line.quantity)));
            assert_eq!(&lines.collect::<Map<_, _>>(), told, "{row}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.concat());
    assert!(costed >= OBJECTS_MIN, "{costed}");
}

#[test]
fn priced_parts_are_a_partition_of_what_was_used_and_none_is_priced_twice() {
    let prices = prices();
    for row in golden().iter().filter(|row| row["cost"].is_i64()) {
        let mut reader = UsageReader::new(schema(row));
        reader.push(wire(row).as_bytes());
        let tokens = reader.tokens().unwrap();
        let sum = sum(row, &reader, &tokens, &prices);
        let of_tokens = |line: &&bill::PriceLine| line.part.is_input() || line.part.is_output();
        let told: u64 = sum
            .lines
            .iter()
            .filter(of_tokens)
            .map(|line| line.quantity)
            .sum();
        assert_eq!(told, tokens.input + tokens.output, "{row}");
        let mut parts: Vec<_> = sum.lines.iter().map(|line| line.part).collect();
        parts.sort_unstable();
        parts.dedup();
        assert_eq!(parts.len(), sum.lines.len(), "{row}");
        assert_eq!(sum.unpriced().count(), 0, "{row}");
        let pieces: Map<_, _> = reader
            .pieces()
            .iter()
            .map(|(part, count)| (part.name().to_owned(), json!(count)))
            .collect();
        assert_eq!(
            Value::Object(pieces),
            *row.get("pieces").unwrap_or(&json!({})),
            "{row}"
        );
    }
}

#[test]
fn a_part_without_a_price_is_named() {
    let prices = prices();
    for row in golden().iter().filter(|row| row["pieces"].is_object()) {
        let mut reader = UsageReader::new(schema(row));
        reader.push(wire(row).as_bytes());
        let row = json!({"price": "own"});
        let sum = sum(&row, &reader, &reader.tokens().unwrap(), &prices);
        let named: Vec<_> = sum.unpriced().collect();
        // Text that was found has the price of the prompt.
        let used = reader.pieces().into_iter().map(|(part, _)| part);
        let used: Vec<_> = used.filter(|part| *part != BillPart::Citation).collect();
        assert!(
            used.iter().all(|part| named.contains(part)),
            "{used:?} {named:?}"
        );
    }
}

#[test]
fn golden_counts_are_a_partition_of_their_total() {
    for row in golden() {
        let mut reader = UsageReader::new(schema(&row));
        reader.push(wire(&row).as_bytes());
        let Some(tokens) = reader.tokens() else {
            continue;
        };
        assert!(are_a_partition(&tokens), "{row}");
        let last = row["events"].as_array().and_then(|events| events.last());
        let told = &last.unwrap_or(&row["body"])["usage"]["total_tokens"];
        if let (Some(total), true) = (told.as_u64(), row["odd"].is_null()) {
            assert_eq!(tokens.input + tokens.output, total, "{row}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn golden_usage_is_read_over_any_borders(cuts in prop::collection::vec(1usize..80, 1..16)) {
        for row in golden() {
            let wire = wire(&row);
            let mut rest = wire.as_bytes();
            let mut reader = UsageReader::new(schema(&row));
            for cut in cuts.iter().cycle() {
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                reader.push(piece);
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(&counts(reader.tokens()), &row["counts"], "{}", row);
        }
    }
}

proptest! {
    #[test]
    fn whatever_counts_are_told_no_token_is_counted_twice(
        prompt in 0u64..5000, made in 0u64..5000, total in 0u64..12_000, parts in any::<[u16; 9]>(),
    ) {
        let [cached, written, hour, audio, image, thought, spoken, drawn, apart] = parts.map(|part| part % 6000);
        let openai = json!({
            "prompt_tokens": prompt, "completion_tokens": made, "total_tokens": total, "reasoning_tokens": apart,
            "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written,
                "audio_tokens": audio, "image_tokens": image},
            "completion_tokens_details": {"reasoning_tokens": thought, "audio_tokens": spoken, "image_tokens": drawn},
        });
        let anthropic = json!({
            "input_tokens": prompt, "output_tokens": made, "cache_read_input_tokens": cached,
            "cache_creation_input_tokens": written, "cache_creation": {"ephemeral_1h_input_tokens": hour},
            "output_tokens_details": {"thinking_tokens": thought},
        });
        for (schema, usage) in [
            (UsageSchema::Completions, &openai), (UsageSchema::Pictures, &openai), (UsageSchema::Speech, &openai),
            (UsageSchema::Responses, &anthropic), (UsageSchema::Messages, &anthropic),
        ] {
            let mut reader = UsageReader::new(schema);
            reader.push(json!({"usage": usage}).to_string().as_bytes());
            let tokens = reader.tokens().unwrap_or_default();
            prop_assert!(are_a_partition(&tokens), "{schema:?} {usage} {tokens:?}");
        }
    }
}
