//! Rules of the reader: any provider's format, any split into chunks, and only real reports.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn read(schema: UsageSchema, chunks: &[&[u8]]) -> UsageReader {
    let mut reader = UsageReader::new(schema);
    for chunk in chunks {
        reader.push(chunk);
    }
    reader
}

fn tokens(schema: UsageSchema, body: &str) -> Option<TokenUsage> {
    read(schema, &[body.as_bytes()]).tokens()
}

fn usage(schema: UsageSchema, usage: &Value) -> TokenUsage {
    tokens(schema, &json!({ "id": "x", "usage": usage }).to_string()).unwrap()
}

const NONE: TokenUsage = TokenUsage {
    input: 0,
    cached: 0,
    cache_write: 0,
    cache_write_hour: 0,
    output: 0,
    reasoning: 0,
    input_audio: 0,
    output_audio: 0,
    input_image: 0,
    output_image: 0,
    input_video: 0,
    cached_audio: 0,
    cached_image: 0,
};

#[test]
fn chat_usage_is_read_with_its_parts() {
    let report = json!({
        "prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150,
        "prompt_tokens_details": {"cached_tokens": 40, "audio_tokens": 5, "image_tokens": 6},
        "completion_tokens_details": {"reasoning_tokens": 30, "audio_tokens": 7, "accepted_prediction_tokens": 0},
    });
    let expected = TokenUsage {
        input: 100,
        cached: 40,
        output: 50,
        reasoning: 30,
        input_audio: 5,
        output_audio: 7,
        input_image: 6,
        ..NONE
    };
    assert_eq!(usage(UsageSchema::Completions, &report), expected);
}

#[test]
fn responses_usage_has_the_cached_part_inside() {
    let report = json!({
        "input_tokens": 36, "input_tokens_details": {"cached_tokens": 6},
        "output_tokens": 87, "output_tokens_details": {"reasoning_tokens": 10}, "total_tokens": 123,
    });
    let expected = TokenUsage {
        input: 36,
        cached: 6,
        output: 87,
        reasoning: 10,
        ..NONE
    };
    assert_eq!(usage(UsageSchema::Completions, &report), expected);
}

#[test]
fn anthropic_usage_has_the_cache_beside_the_input() {
    let report = json!({
        "input_tokens": 10, "cache_creation_input_tokens": 20, "cache_read_input_tokens": 30,
        "cache_creation": {"ephemeral_5m_input_tokens": 20}, "output_tokens": 5, "service_tier": "standard",
    });
    let expected = TokenUsage {
        input: 60,
        cached: 30,
        cache_write: 20,
        output: 5,
        ..NONE
    };
    assert_eq!(usage(UsageSchema::Messages, &report), expected);
    // The format identifies it on other routes too.
    assert_eq!(usage(UsageSchema::Completions, &report), expected);
}

#[test]
fn other_spellings_are_read() {
    for (report, expected) in [
        (
            json!({"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10, "prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 5}),
            TokenUsage {
                input: 9,
                cached: 4,
                output: 1,
                ..NONE
            },
        ),
        // An embedding.
        (
            json!({"prompt_tokens": 9, "total_tokens": 9}),
            TokenUsage { input: 9, ..NONE },
        ),
        // A reranker.
        (json!({"total_tokens": 9}), TokenUsage { input: 9, ..NONE }),
        // Reasoning that is only in the total.
        (
            json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 40}),
            TokenUsage {
                input: 10,
                output: 30,
                reasoning: 25,
                ..NONE
            },
        ),
        // Reasoning in addition to the completion.
        (
            json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 40, "completion_tokens_details": {"reasoning_tokens": 25}}),
            TokenUsage {
                input: 10,
                output: 30,
                reasoning: 25,
                ..NONE
            },
        ),
        // A transcription.
        (
            json!({"type": "tokens", "input_tokens": 14, "input_token_details": {"text_tokens": 0, "audio_tokens": 14}, "output_tokens": 4, "total_tokens": 18}),
            TokenUsage {
                input: 14,
                input_audio: 14,
                output: 4,
                ..NONE
            },
        ),
        // A cache counted in addition to the prompt.
        (
            json!({"prompt_tokens": 10, "completion_tokens": 5, "cache_read_input_tokens": 100}),
            TokenUsage {
                input: 110,
                cached: 100,
                output: 5,
                ..NONE
            },
        ),
        // Nulls, fractions and nonsense affect no other field.
        (
            json!({"prompt_tokens": 9.0, "completion_tokens": "many", "total_tokens": -1, "prompt_tokens_details": null}),
            TokenUsage { input: 9, ..NONE },
        ),
        (json!({"prompt_tokens": 0, "completion_tokens": 0}), NONE),
    ] {
        assert_eq!(
            usage(UsageSchema::Completions, &report),
            expected,
            "{report}"
        );
    }
}

#[test]
fn what_is_no_report_is_not_heard() {
    for body in [
        r#"{"usage":null}"#,
        r#"{"usage":{}}"#,
        r#"{"usage":{"type":"duration","seconds":9}}"#,
        r#"{"usage":[{"prompt_tokens":1}]}"#,
        r#"{"usage":"{"prompt_tokens":1}"}"#,
        r#"{"content":"say \"usage\":{\"prompt_tokens\":1}"}"#,
        r#"{"type":"usage","x":{"prompt_tokens":1}}"#,
        r#"{"usage":{"prompt_tokens":1"#,
        r#"{"xusage":{"prompt_tokens":1}}"#,
    ] {
        assert_eq!(tokens(UsageSchema::Completions, body), None, "{body}");
    }
    let long = format!(
        r#"{{"usage":{{"x":"{}","prompt_tokens":1}}}}"#,
        "x".repeat(schema_scanner::OBJECT_BYTES_MAX)
    );
    assert_eq!(tokens(UsageSchema::Completions, &long), None);
}

#[test]
fn a_report_after_an_endless_object_is_still_heard() {
    let long = format!(
        r#"{{"usage":{{"x":"{}"}},"usage" : {{"prompt_tokens":1}}}}"#,
        "x".repeat(schema_scanner::OBJECT_BYTES_MAX)
    );
    assert_eq!(tokens(UsageSchema::Completions, &long).unwrap().input, 1);
}

#[test]
fn an_object_of_that_name_in_a_tools_schema_does_not_count() {
    let body = r#"{"tools":[{"parameters":{"usage":{"input_tokens":1,"input_tokens_details":{"cached_tokens":999}}}}],
        "usage":{"input_tokens":50,"output_tokens":5}}"#;
    assert_eq!(
        tokens(UsageSchema::Completions, body),
        Some(TokenUsage {
            input: 50,
            output: 5,
            ..NONE
        })
    );
    assert_eq!(
        tokens(UsageSchema::Messages, body),
        Some(TokenUsage {
            input: 50,
            output: 5,
            ..NONE
        })
    );
}

#[test]
fn a_later_report_of_nothing_does_not_erase_an_earlier_one() {
    let stream = "data: {\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2}}\n\ndata: {\"usage\":{\"prompt_tokens\":0,\"completion_tokens\":0}}\n\n";
    assert_eq!(
        tokens(UsageSchema::Completions, stream),
        Some(TokenUsage {
            input: 5,
            output: 2,
            ..NONE
        })
    );
}

const ANTHROPIC_STREAM: &str = concat!(
    "event: message_start\n",
    "data: {\"type\":\"message_start\",\"message\":{\"content\":[],\"usage\":{\"input_tokens\":25,\"cache_read_input_tokens\":7,\"output_tokens\":1}}}\n\n",
    "event: content_block_delta\n",
    "data: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"Hello\"}}\n\n",
    "event: message_delta\n",
    "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"input_tokens\":0,\"cache_read_input_tokens\":null,\"output_tokens\":15}}\n\n",
    "event: message_stop\n",
    "data: {\"type\":\"message_stop\"}\n\n",
);

#[test]
fn anthropic_streams_report_in_parts() {
    let reader = read(UsageSchema::Messages, &[ANTHROPIC_STREAM.as_bytes()]);
    assert_eq!(
        reader.tokens(),
        Some(TokenUsage {
            input: 32,
            cached: 7,
            output: 15,
            ..NONE
        })
    );
    assert_eq!(reader.delivered_bytes(), 5);
    assert!(reader.finished());
    let cut = ANTHROPIC_STREAM.find("event: message_delta").unwrap();
    let reader = read(
        UsageSchema::Messages,
        &[&ANTHROPIC_STREAM.as_bytes()[..cut]],
    );
    assert_eq!(
        reader.tokens(),
        Some(TokenUsage {
            input: 32,
            cached: 7,
            output: 1,
            ..NONE
        })
    );
    assert!(!reader.finished());
}

#[test]
fn end_marks_are_seen_and_not_taken_from_texts() {
    let finished = |stream: &str| read(UsageSchema::Completions, &[stream.as_bytes()]).finished();
    for stream in [
        "data: [DONE]\n\n",
        "data: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\n",
        "data: {\"type\" : \"response.completed\"}\n\n",
        "data: {\"type\":\"response.incomplete\"}\n\n",
        "data: {\"type\":\"response.failed\"}\n\n",
    ] {
        assert!(finished(stream), "{stream}");
    }
    for stream in [
        "data: {\"content\":\"data: [DONE]\"}\n\n",
        "data: {\"content\":\"\\\"finish_reason\\\":\\\"stop\\\"\"}\n\n",
        "data: {\"choices\":[{\"finish_reason\":null,\"x\":\"stop\"}]}\n\n",
        "data: {\"type\":\"response.created\"}\n\n",
        "data: [DONT]\n\n",
        ": a stray \" quote\ndata: {\"a\":1}\n\n",
    ] {
        assert!(!finished(stream), "{stream}");
    }
    assert!(finished(": a stray \" quote\ndata: [DONE]\n\n"));
}

#[test]
fn an_answer_says_how_near_its_end_it_is() {
    let stages = |body: &str| {
        let reader = read(UsageSchema::Completions, &[body.as_bytes()]);
        (reader.is_near_end(), reader.finished(), reader.closed())
    };
    for (stream, expected) in [
        (
            "data: {\"type\":\"response.output_text.delta\",\"delta\":\"a\"}\n\n",
            (false, false, false),
        ),
        (
            "data: {\"type\":\"response.output_text.done\",\"text\":\"a\"}\n\n",
            (true, false, false),
        ),
        (
            "data: {\"type\":\"content_block_stop\"}\n\n",
            (true, false, false),
        ),
        (
            "data: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\n",
            (true, true, false),
        ),
        (
            "data: {\"type\":\"response.failed\"}\n\n",
            (true, true, true),
        ),
        ("data: {\"type\":\"message_stop\"}\n\n", (true, true, true)),
        ("data: [DONE]\n\n", (true, true, true)),
        // Another part begins.
        (
            "data: {\"type\":\"content_block_stop\"}\n\ndata: {\"type\":\"content_block_start\"}\n\n",
            (false, false, false),
        ),
        (
            "data: {\"type\":\"response.output_item.done\"}\n\ndata: {\"type\":\"response.output_item.added\"}\n\n",
            (false, false, false),
        ),
        // A JSON response was generated before it was sent.
        ("{\"choices\":[", (true, false, false)),
    ] {
        assert_eq!(stages(stream), expected, "{stream}");
    }
}

#[test]
fn generated_text_is_counted_once() {
    let delivered =
        |body: &str| read(UsageSchema::Completions, &[body.as_bytes()]).delivered_bytes();
    assert_eq!(
        delivered(r#"{"choices":[{"message":{"role":"assistant","content":"four"}}]}"#),
        4
    );
    assert_eq!(
        delivered(
            "data: {\"delta\":\"abc\"}\n\ndata: {\"delta\":\"def\"}\n\ndata: {\"text\":\"abcdef\"}\n\n"
        ),
        6
    );
    assert_eq!(
        delivered(r#"{"delta":{"content":"ab","reasoning_content":"cd"},"content":null,"x":"y"}"#),
        4
    );
    assert_eq!(
        delivered(r#"{"data":[{"embedding":[0.1,0.2]}],"model":"text"}"#),
        0
    );
}

#[test]
fn an_estimate_is_four_bytes_a_token_and_at_least_one() {
    let guess = |request, delivered| {
        let TokenUsage { input, output, .. } = estimate(request, delivered);
        (input, output)
    };
    assert_eq!(guess(0, 0), (0, 0));
    assert_eq!(guess(1, 1), (1, 1));
    assert_eq!(guess(400, 41), (100, 11));
}

/// A JSON object without a usage member, as an answer may contain it.
pub(super) fn noise() -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[a-u]{1,5}", "[a-z\"\\\\{}:,\n\u{e9}]{0,12}", 0..5)
        .prop_map(|members| json!(members))
}

proptest! {
    #[test]
    fn any_split_hears_the_same(
        noise in prop::collection::vec(noise(), 0..4),
        numbers in (0u64..1_000_000, 0u64..1_000_000),
        events in any::<bool>(),
        lengths in prop::collection::vec(1usize..40, 0..60),
    ) {
        let report = json!({"prompt_tokens": numbers.0, "completion_tokens": numbers.1, "x": "}\""});
        let whole = json!({"choices": noise, "text": "t\"x", "usage": report, "finish_reason": "stop"}).to_string();
        let body = if events { format!("event: x\ndata: {whole}\n\ndata: [DONE]\n\n") } else { whole };
        let at_once = read(UsageSchema::Completions, &[body.as_bytes()]);
        prop_assert_eq!(at_once.tokens(), Some(TokenUsage { input: numbers.0, output: numbers.1, ..NONE }));
        prop_assert!(at_once.finished());
        let mut reader = UsageReader::new(UsageSchema::Completions);
        let mut rest = body.as_bytes();
        for length in lengths.into_iter().chain(std::iter::repeat(7)) {
            let (chunk, after) = rest.split_at(length.min(rest.len()));
            reader.push(chunk);
            rest = after;
            if rest.is_empty() { break }
        }
        prop_assert_eq!(reader.tokens(), at_once.tokens());
        prop_assert_eq!(reader.finished(), at_once.finished());
        prop_assert_eq!(reader.delivered_bytes(), at_once.delivered_bytes());
    }

    #[test]
    fn one_byte_at_a_time_hears_the_same(cut in 1usize..ANTHROPIC_STREAM.len()) {
        let stream = &ANTHROPIC_STREAM.as_bytes()[..cut];
        let single: Vec<&[u8]> = stream.chunks(1).collect();
        let (whole, single) = (read(UsageSchema::Messages, &[stream]), read(UsageSchema::Messages, &single));
        prop_assert_eq!(single.tokens(), whole.tokens());
        prop_assert_eq!(single.finished(), whole.finished());
        prop_assert_eq!(single.delivered_bytes(), whole.delivered_bytes());
    }

    #[test]
    fn no_bytes_make_it_fail_badly(chunks in prop::collection::vec("(\"usage\"|[:{}\\\\\" ]|1|\n){0,12}", 0..8)) {
        let chunks: Vec<&[u8]> = chunks.iter().map(String::as_bytes).collect();
        let reader = read(UsageSchema::Completions, &chunks);
        let whole = chunks.concat();
        prop_assert_eq!(reader.tokens(), read(UsageSchema::Completions, &[&whole]).tokens());
    }

    #[test]
    fn totals_include_their_parts(counts in prop::collection::vec(prop::option::of(0u64..2000), 8), anthropic in any::<bool>()) {
        let names = ["prompt_tokens", "input_tokens", "completion_tokens", "output_tokens", "total_tokens",
            "cache_read_input_tokens", "cache_creation_input_tokens", "cached_tokens"];
        let members: serde_json::Map<_, _> = names.iter().zip(counts).map(|(name, count)| ((*name).to_owned(), json!(count))).collect();
        let schema = if anthropic { UsageSchema::Messages } else { UsageSchema::Completions };
        if let Some(tokens) = tokens(schema, &json!({"usage": members}).to_string()) {
            prop_assert!(tokens.cached + tokens.cache_write <= tokens.input);
            prop_assert!(tokens.reasoning <= tokens.output);
        }
    }
}

#[test]
fn what_comes_before_a_body_does_not_tell_its_shape() {
    for (pieces, json) in [
        (&["\n", "\u{feff}", "{\"choices\":[]"][..], true),
        (&["\n\u{feff}{\"choices\":[]"], true),
        (&["\u{feff}", " ", "data: {}\n\n"], false),
        (&[" \u{feff}data: {}\n\n"], false),
    ] {
        let mut reader = UsageReader::new(UsageSchema::Completions);
        for piece in pieces {
            reader.push(piece.as_bytes());
        }
        assert_eq!(reader.is_near_end(), json, "{pieces:?}");
    }
}
