//! Laws of real usage: the objects of `golden/`, as providers document them and as the tests and issues of
//! their clients show them, are read as their providers bill them.

use std::{fs, path::Path};

use http::Method;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::formats::endpoint;

const OBJECTS_MIN: usize = 150;

fn golden() -> Vec<Value> {
    let directory = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src/formats/usage/golden"
    ));
    let mut rows = Vec::new();
    for file in fs::read_dir(directory).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        rows.extend(text.lines().map(|line| serde_json::from_str(line).unwrap()));
    }
    rows
}

fn schema(row: &Value) -> Schema {
    let path = row["path"].as_str().unwrap();
    Schema::of(endpoint::find(&Method::POST, path).route(), path)
}

/// The answer as it comes over the wire.
fn wire(row: &Value) -> String {
    let Some(events) = row["events"].as_array() else {
        return row["body"].to_string();
    };
    let mut wire = String::new();
    for event in events {
        if let Some(name) = event["type"].as_str() {
            wire.extend(["event: ", name, "\n"]);
        }
        wire.extend(["data: ", &event.to_string(), "\n\n"]);
    }
    wire
}

fn members(tokens: &Tokens) -> [(&'static str, u64); 10] {
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
    ]
}

/// As the golden files have counts: without those that are nothing.
fn counts(tokens: Option<Tokens>) -> Value {
    let Some(tokens) = tokens else {
        return Value::Null;
    };
    let told = members(&tokens).into_iter().filter(|(_, count)| *count > 0);
    let told: Map<String, Value> = told
        .map(|(name, count)| (name.to_owned(), json!(count)))
        .collect();
    Value::Object(told)
}

fn are_a_partition(tokens: &Tokens) -> bool {
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
            (Schema::Completions, &openai), (Schema::Pictures, &openai), (Schema::Speech, &openai),
            (Schema::Responses, &anthropic), (Schema::Messages, &anthropic),
        ] {
            let mut reader = UsageReader::new(schema);
            reader.push(json!({"usage": usage}).to_string().as_bytes());
            let tokens = reader.tokens().unwrap_or_default();
            prop_assert!(are_a_partition(&tokens), "{schema:?} {usage} {tokens:?}");
        }
    }
}
