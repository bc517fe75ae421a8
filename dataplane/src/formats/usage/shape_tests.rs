//! Rules of the schema: only values at its paths count, each known shape is read, and impossible counts are not.

use std::io::Write as _;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{shape::SchemaField, *};

fn hear(schema: UsageSchema, body: &[u8]) -> UsageReader {
    let mut reader = UsageReader::new(schema);
    reader.push(body);
    reader
}

fn reported(schema: UsageSchema, usage: &Value) -> Reported {
    let body = json!({"id": "x", "usage": usage}).to_string();
    hear(schema, body.as_bytes()).reported().unwrap()
}

/// Input, cached, written, written for an hour, output.
fn counts(tokens: &TokenUsage) -> [u64; 5] {
    [
        tokens.input,
        tokens.cached,
        tokens.cache_write,
        tokens.cache_write_hour,
        tokens.output,
    ]
}

#[test]
fn usage_counts_only_where_the_schema_has_it() {
    let usage = r#"{"input_tokens":7,"output_tokens":3,"prompt_tokens":7,"completion_tokens":3}"#;
    for (schema, body, heard) in [
        (UsageSchema::Completions, "{\"usage\":U}", true),
        (UsageSchema::Completions, "{\"x_groq\":{\"usage\":U}}", true),
        (
            UsageSchema::Completions,
            "{\"choices\":[{\"index\":0,\"usage\" : U}]}",
            true,
        ),
        (
            UsageSchema::Completions,
            "{\"response\":{\"usage\":U}}",
            false,
        ),
        (
            UsageSchema::Completions,
            "{\"choices\":[{\"message\":{\"usage\":U}}]}",
            false,
        ),
        (
            UsageSchema::Completions,
            "{\"metadata\":{\"usage\":U}}",
            false,
        ),
        (UsageSchema::Completions, "[{\"usage\":U}]", false),
        (UsageSchema::Responses, "{\"response\":{\"usage\":U}}", true),
        (
            UsageSchema::Responses,
            "{\"response\":{\"tools\":[{\"parameters\":{\"usage\":U}}]}}",
            false,
        ),
        (
            UsageSchema::Responses,
            "{\"response\":{\"metadata\":{\"usage\":U}}}",
            false,
        ),
        (
            UsageSchema::Responses,
            "{\"a\\\"response\":{\"usage\":U}}",
            false,
        ),
        (UsageSchema::Messages, "{\"message\":{\"usage\":U}}", true),
        (
            UsageSchema::Messages,
            "{\"content\":[{\"input\":{\"usage\":U}}]}",
            false,
        ),
        (
            UsageSchema::Messages,
            "{\"content\":[{\"text\":\"\\\\\\\"usage\\\":U\"}]}",
            false,
        ),
    ] {
        let body = body.replace('U', usage);
        let tokens = hear(schema, body.as_bytes()).tokens();
        assert_eq!(tokens.is_some(), heard, "{schema:?} {body}");
        let event = format!("data: {body}\n\n");
        let tokens = hear(schema, event.as_bytes()).tokens();
        assert_eq!(tokens.is_some(), heard, "{schema:?} {event}");
    }
}

#[test]
fn an_echo_after_the_usage_does_not_replace_it() {
    let body = r#"{"usage":{"input_tokens":500,"output_tokens":60},
        "content":[{"type":"tool_use","input":{"usage":{"input_tokens":1,"output_tokens":1}}}]}"#;
    let tokens = hear(UsageSchema::Messages, body.as_bytes())
        .tokens()
        .unwrap();
    assert_eq!(counts(&tokens), [500, 0, 0, 0, 60]);
}

#[test]
fn a_cache_is_told_inside_the_prompt_or_beside_it() {
    for (schema, usage, expected) in [
        // The total shows which.
        (
            UsageSchema::Completions,
            json!({"prompt_tokens": 300, "completion_tokens": 20, "total_tokens": 5320, "cache_read_input_tokens": 5000}),
            [5300, 5000, 0, 0, 20],
        ),
        (
            UsageSchema::Completions,
            json!({"prompt_tokens": 300, "completion_tokens": 20, "total_tokens": 420, "prompt_tokens_details": {"cached_tokens": 100}}),
            [400, 100, 0, 0, 20],
        ),
        (
            UsageSchema::Completions,
            json!({"prompt_tokens": 300, "completion_tokens": 20, "total_tokens": 320, "cache_read_input_tokens": 100}),
            [300, 100, 0, 0, 20],
        ),
        (
            UsageSchema::Completions,
            json!({"prompt_tokens": 300, "completion_tokens": 20, "total_tokens": 1020, "cache_read_input_tokens": 500, "cache_creation_input_tokens": 200}),
            [1000, 500, 200, 0, 20],
        ),
        (
            UsageSchema::Responses,
            json!({"input_tokens": 300, "output_tokens": 20, "total_tokens": 420, "input_tokens_details": {"cached_tokens": 100}}),
            [400, 100, 0, 0, 20],
        ),
        (
            UsageSchema::Completions,
            json!({"completion_tokens": 2, "prompt_cache_hit_tokens": 64, "prompt_cache_miss_tokens": 36}),
            [100, 64, 0, 0, 2],
        ),
        // By lifetime, with or without the sum.
        (
            UsageSchema::Messages,
            json!({"input_tokens": 3, "output_tokens": 5, "cache_creation_input_tokens": 900,
                "cache_creation": {"ephemeral_5m_input_tokens": 200, "ephemeral_1h_input_tokens": 700}}),
            [903, 0, 900, 700, 5],
        ),
        (
            UsageSchema::Messages,
            json!({"input_tokens": 3, "output_tokens": 5, "cache_creation": {"ephemeral_1h_input_tokens": 700}}),
            [703, 0, 700, 700, 5],
        ),
        // Each pass is billed.
        (
            UsageSchema::Messages,
            json!({"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 1, "iterations": [
                {"type": "compaction", "input_tokens": 900, "output_tokens": 50, "cache_creation": {"ephemeral_1h_input_tokens": 30}},
                {"type": "message", "input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 1}]}),
            [941, 1, 30, 30, 55],
        ),
        (
            UsageSchema::Messages,
            json!({"input_tokens": 10, "output_tokens": 5, "iterations": null}),
            [10, 0, 0, 0, 5],
        ),
        (
            UsageSchema::Messages,
            json!({"input_tokens": 10, "output_tokens": 5, "iterations": 3}),
            [10, 0, 0, 0, 5],
        ),
        // As text.
        (
            UsageSchema::Completions,
            json!({"prompt_tokens": "11", "completion_tokens": "7"}),
            [11, 0, 0, 0, 7],
        ),
    ] {
        let reported = reported(schema, &usage);
        assert_eq!(counts(&reported.tokens), expected, "{usage}");
        assert!(!reported.absurd, "{usage}");
    }
}

#[test]
fn what_can_be_no_count_is_told_apart_and_costs_no_other() {
    for (absurd, input, output) in [
        (json!(-7), true, false),
        (json!(1.5), true, false),
        (json!(1_000_000_000_000u64), true, false),
        (json!(u64::MAX), true, false),
        (json!(1e300), true, false),
        (json!("NaN"), true, false),
        (json!(null), false, false),
    ] {
        let usage = json!({"prompt_tokens": absurd, "completion_tokens": 2, "total_tokens": 1});
        let reported = reported(UsageSchema::Completions, &usage);
        assert_eq!(
            (reported.absurd_input, reported.absurd_output),
            (input, output),
            "{usage}"
        );
        assert_eq!(reported.tokens.output, 2, "{usage}");
        assert_eq!(reported.tokens.input, 0, "{usage}");
    }
    let garbled = hear(
        UsageSchema::Completions,
        b"{\"usage\":{\"prompt_tokens\":NaN}}",
    );
    assert!(garbled.garbled() && garbled.tokens().is_none());
}

#[test]
fn a_later_report_corrects_the_prompt_as_a_whole_and_takes_no_details_back() {
    let start = |usage: &str| {
        format!("data: {{\"type\":\"message_start\",\"message\":{{\"usage\":{usage}}}}}\n\n")
    };
    let delta = |usage: &str| format!("data: {{\"type\":\"message_delta\",\"usage\":{usage}}}\n\n");
    let first = start(
        r#"{"input_tokens":0,"cache_read_input_tokens":900,"cache_creation_input_tokens":0,"output_tokens":1}"#,
    );
    let right = delta(
        r#"{"input_tokens":900,"cache_read_input_tokens":0,"cache_creation_input_tokens":0,"output_tokens":8}"#,
    );
    let silent = delta(r#"{"input_tokens":0,"cache_read_input_tokens":0,"output_tokens":8}"#);
    for (last, expected) in [(right, [900, 0, 0, 0, 8]), (silent, [900, 900, 0, 0, 8])] {
        let reader = hear(UsageSchema::Messages, format!("{first}{last}").as_bytes());
        assert_eq!(counts(&reader.tokens().unwrap()), expected);
        assert!(reader.has_last_word());
    }
    assert!(!hear(UsageSchema::Messages, first.as_bytes()).has_last_word());
    let twice = concat!(
        "data: {\"choices\":[],\"x_groq\":{\"usage\":{\"prompt_tokens\":50,\"completion_tokens\":7,\"prompt_tokens_details\":{\"cached_tokens\":40}}}}\n\n",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":50,\"completion_tokens\":7}}\n\n",
    );
    let reader = hear(UsageSchema::Completions, twice.as_bytes());
    assert_eq!(counts(&reader.tokens().unwrap()), [50, 40, 0, 0, 7]);
}

#[test]
fn what_the_images_endpoints_put_out_is_pictures_unless_they_say_otherwise() {
    let plain = json!({"input_tokens": 5, "output_tokens": 40});
    let told = json!({"input_tokens": 5, "output_tokens": 40, "output_tokens_details": {"image_tokens": 30, "text_tokens": 10}});
    for (schema, usage, pictures) in [
        (UsageSchema::Pictures, &plain, 40),
        (UsageSchema::Pictures, &told, 30),
        (UsageSchema::Responses, &plain, 0),
    ] {
        assert_eq!(reported(schema, usage).tokens.output_image, pictures);
    }
    assert_eq!(
        UsageSchema::of(crate::formats::Route::Other, "/v1/images/edits"),
        UsageSchema::Pictures
    );
}

#[test]
fn a_stream_that_ends_with_an_error_is_not_whole() {
    let text = "data: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"a\"}}\n\n";
    let usage = "data: {\"usage\":{\"output_tokens\":5}}\n\n";
    for (end, failed) in [
        (
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n",
            true,
        ),
        ("data: {\"error\":{\"code\":502}}\n\ndata: [DONE]\n\n", true),
        ("data: {\"error\":\"words\"}\n\n", true),
        ("data: {\"error\":null,\"x\":{\"y\":1}}\n\n", false),
        ("data: {\"error\":{}}\n\n", false),
        ("data: [DONE]\n\n", false),
    ] {
        let stream = format!("{text}{end}");
        assert_eq!(
            hear(UsageSchema::Messages, stream.as_bytes()).failed(),
            failed,
            "{end}"
        );
        let told = format!("{text}{end}{usage}");
        assert!(
            !hear(UsageSchema::Messages, told.as_bytes()).failed(),
            "{end}"
        );
    }
}

#[test]
fn a_page_an_error_and_nothing_are_no_answers() {
    for body in [
        "",
        "<html><body>Welcome</body></html>",
        "{\"error\":{\"message\":\"no\"}}",
        "{\"choices\":null,\"base_resp\":{\"status_code\":1004}}",
        "{}",
        ": alive\n\n",
    ] {
        assert!(
            !hear(UsageSchema::Completions, body.as_bytes()).answered(),
            "{body}"
        );
    }
    for body in [
        "{\"choices\":[{}]}",
        "{\"data\":[{\"embedding\":[1]}]}",
        "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n",
        "data: [DONE]\n\n",
        "\u{1}\u{2}",
    ] {
        assert!(
            hear(UsageSchema::Completions, body.as_bytes()).answered(),
            "{body}"
        );
    }
}

fn packed(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_compressed_answer_is_read_and_a_bomb_is_not() {
    let stream = "data: {\"choices\":[{\"delta\":{\"content\":\"abc\"}}]}\n\ndata: {\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2001}}\n\n";
    for pieces in [1, 7, 4096] {
        let mut reader = UsageReader::new(UsageSchema::Completions);
        for piece in packed(stream.as_bytes()).chunks(pieces) {
            reader.push(piece);
        }
        assert_eq!(counts(&reader.tokens().unwrap()), [5, 0, 0, 0, 2001]);
        assert_eq!(reader.delivered_bytes(), 3);
    }
    let bomb = packed(&vec![b' '; 80 * 1024 * 1024]);
    let reader = hear(UsageSchema::Completions, &bomb);
    assert_eq!(reader.tokens(), None);
    assert!(reader.delivered_bytes() > 0, "it counts by its length");
    let broken = [&[0x1F, 0x8B][..], b"no such thing"].concat();
    assert!(hear(UsageSchema::Completions, &broken).answered());
}

/// Any JSON, in which the relevant names are frequent.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        (0u64..99).prop_map(|number| json!(number)),
        "[a-z\"\\\\{}\\[\\]:, ]{0,9}".prop_map(|text| json!(text)),
    ];
    let name = prop::sample::select(vec![
        "usage",
        "response",
        "choices",
        "x_groq",
        "message",
        "a\"",
        "prompt_tokens",
    ]);
    leaf.prop_recursive(5, 40, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name.clone(), inner, 0..4)
                .prop_map(|members| json!(members)),
        ]
    })
}

const fn is_object(what: SchemaField) -> bool {
    matches!(
        what,
        SchemaField::Usage | SchemaField::FirstUsage | SchemaField::ToolUsage
    )
}

/// The objects at the paths of a schema, as a parser finds them.
fn at_places(schema: UsageSchema, value: &Value) -> Vec<Value> {
    let mut found = Vec::new();
    for row in schema.rows().iter().filter(|row| is_object(row.what)) {
        let mut at = if value.is_object() {
            vec![value]
        } else {
            vec![]
        };
        for step in row.path {
            at = at
                .into_iter()
                .flat_map(|value| match (*step, value) {
                    ("[]", Value::Array(items)) => items.iter().collect(),
                    (name, Value::Object(members)) => members.get(name).into_iter().collect(),
                    _ => Vec::new(),
                })
                .collect();
        }
        found.extend(at.into_iter().filter(|value| value.is_object()).cloned());
    }
    found
}

proptest! {
    #[test]
    fn what_is_found_is_what_a_parser_finds(value in any_json(), pretty in any::<bool>(), lengths in prop::collection::vec(1usize..90, 0..40)) {
        let text = if pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() };
        for schema in [UsageSchema::Completions, UsageSchema::Responses, UsageSchema::Messages] {
            let (mut places, mut found) = (SchemaScanner::new(schema.rows(), false), Vec::<Value>::new());
            let mut rest = text.as_bytes();
            let mut lengths = lengths.iter();
            while !rest.is_empty() {
                let length = lengths.next().map_or(rest.len(), |length| (*length).min(rest.len()));
                let (piece, after) = rest.split_at(length);
                places.push(piece, |what, object| if is_object(what) {
                    found.push(serde_json::from_slice(object).unwrap());
                });
                rest = after;
            }
            let by_text = |values: Vec<Value>| {
                let mut texts: Vec<_> = values.iter().map(Value::to_string).collect();
                texts.sort();
                texts
            };
            prop_assert_eq!(by_text(found), by_text(at_places(schema, &value)), "{}", text);
        }
    }
}
