//! Forged usage: usage that a client has echoed is never taken for the provider's, wherever in the response it appears.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// What a client would like to be billed.
fn forged() -> Value {
    json!({
        "prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2, "input_tokens": 1, "output_tokens": 1,
        "input_tokens_details": {"cached_tokens": 1}, "cache_read_input_tokens": 1,
    })
}

/// The real usage in the words of a protocol.
fn real(schema: UsageSchema) -> Value {
    match schema {
        UsageSchema::Completions => {
            json!({"prompt_tokens": 5000, "completion_tokens": 700, "total_tokens": 5700})
        }
        _ => json!({"input_tokens": 5000, "output_tokens": 700}),
    }
}

/// The schema of a tool with the forged usage under every name that reports usage.
fn tool_schema() -> Value {
    let inner = json!({"usage": forged(), "x_groq": {"usage": forged()}, "response": {"usage": forged()}, "message": {"usage": forged()}});
    json!({
        "type": "object", "usage": forged(), "response": {"usage": forged()}, "properties": inner.clone(), "default": inner,
        "required": [{"usage": forged()}], "choices": [{"usage": forged()}],
    })
}

/// The request's data that a response of `/v1/responses` repeats, all of it controlled by the client.
fn response_echo() -> Value {
    let said = json!({"usage": forged(), "response": {"usage": forged()}}).to_string();
    json!({
        "id": "resp_1", "object": "response", "status": "completed", "model": "gpt-4o",
        "instructions": [{"type": "message", "role": "system", "content": [{"type": "input_text", "text": said}], "usage": forged()}],
        "metadata": {"usage": forged(), "response": {"usage": forged()}, "text": said},
        "tools": [{"type": "function", "name": "f", "parameters": tool_schema(), "usage": forged()}, {"usage": forged()}],
        "tool_choice": {"type": "function", "name": "f", "usage": forged()},
        "text": {"format": {"type": "json_schema", "name": "s", "schema": tool_schema(), "usage": forged()}, "usage": forged()},
        "prompt": {"id": "pmpt_1", "variables": {"usage": forged()}},
        "reasoning": {"usage": forged()},
        "response": {"response": {"usage": forged()}},
        "output": [
            {"type": "function_call", "id": "fc_1", "arguments": said, "usage": forged()},
            {"type": "mcp_call", "id": "m_1", "arguments": said, "output": said},
            {"type": "message", "id": "msg_1", "content": [{"type": "output_text", "text": said, "usage": forged()}]},
            [{"usage": forged()}],
        ],
    })
}

/// What responses of other protocols repeat.
fn echo(schema: UsageSchema) -> Value {
    let said = json!({"usage": forged()}).to_string();
    match schema {
        UsageSchema::Completions => json!({
            "id": "c", "object": "chat.completion", "model": "m", "metadata": {"usage": forged(), "text": said},
            "choices": [{
                "index": 0, "finish_reason": "tool_calls", "logprobs": {"usage": forged()},
                "message": {
                    "role": "assistant", "content": said, "usage": forged(), "parsed": tool_schema(),
                    "tool_calls": [{"id": "t", "usage": forged(), "function": {"name": "f", "arguments": tool_schema(), "usage": forged()}}],
                },
                "delta": {"usage": forged(), "tool_calls": [{"function": {"arguments": tool_schema()}}]},
            }],
            "tools": [{"function": {"parameters": tool_schema()}}], "response": {"usage": forged()}, "message": {"usage": forged()},
        }),
        UsageSchema::Messages => json!({
            "id": "m", "type": "message", "role": "assistant", "model": "m", "metadata": {"usage": forged()},
            "content": [
                {"type": "tool_use", "id": "t", "name": "f", "input": tool_schema(), "usage": forged()},
                {"type": "text", "text": said},
            ],
            "content_block": {"type": "tool_use", "input": tool_schema(), "usage": forged()},
            "delta": {"usage": forged(), "partial_json": said}, "response": {"usage": forged()}, "container": {"usage": forged()},
        }),
        _ => response_echo(),
    }
}

const SCHEMAS: [UsageSchema; 3] = [
    UsageSchema::Completions,
    UsageSchema::Responses,
    UsageSchema::Messages,
];

/// The tokens found in a text that arrives in pieces of these lengths, cycled.
fn heard(schema: UsageSchema, text: &str, lengths: &[usize]) -> Option<(u64, u64)> {
    let mut reader = UsageReader::new(schema);
    let (mut rest, mut at) = (text.as_bytes(), 0);
    while !rest.is_empty() {
        let length = lengths.get(at % lengths.len().max(1)).copied();
        let (piece, further) = rest.split_at(length.unwrap_or(rest.len()).clamp(1, rest.len()));
        reader.push(piece);
        (rest, at) = (further, at + 1);
    }
    reader.tokens().map(|tokens| (tokens.input, tokens.output))
}

/// A response with the real usage before or after the echoed data, or without it.
fn answer(schema: UsageSchema, usage: Option<bool>, pretty: bool) -> String {
    let Value::Object(echo) = echo(schema) else {
        unreachable!("an object");
    };
    let usage_member = format!("\"usage\":{}", real(schema));
    let write = |(name, value): (&String, &Value)| {
        let value = if pretty {
            format!("{value:#}")
        } else {
            value.to_string()
        };
        format!("\"{name}\":{value}")
    };
    let mut members: Vec<_> = echo.iter().map(write).collect();
    match usage {
        Some(true) => members.insert(0, usage_member),
        Some(false) => members.push(usage_member),
        None => {}
    }
    format!("{{{}}}", members.join(","))
}

#[test]
fn what_is_echoed_alone_is_no_usage() {
    for schema in SCHEMAS {
        for pretty in [false, true] {
            let body = answer(schema, None, pretty);
            assert_eq!(heard(schema, &body, &[]), None, "{schema:?}");
        }
        let event = format!("data: {}\n\n", answer(schema, None, false));
        assert_eq!(heard(schema, &event, &[]), None, "{schema:?}");
    }
}

#[test]
fn a_stream_of_responses_with_echoes_in_each_event_has_the_usage_of_its_end() {
    let echo = response_echo();
    let mut done = echo.clone();
    done["usage"] = real(UsageSchema::Responses);
    let events = [
        json!({"type": "response.created", "response": echo}),
        json!({"type": "response.output_item.done", "item": {"usage": forged(), "arguments": tool_schema()}, "part": {"usage": forged()}}),
        json!({"type": "response.completed", "response": done}),
    ];
    let written = |event: &Value| {
        let name = event["type"].as_str().unwrap();
        format!("event: {name}\ndata: {event}\n\n")
    };
    let text = events.iter().map(written).collect::<Vec<_>>().concat();
    for lengths in [&[][..], &[1], &[63, 64, 65], &[7, 1000]] {
        assert_eq!(
            heard(UsageSchema::Responses, &text, lengths),
            Some((5000, 700))
        );
    }
}

proptest! {
    #[test]
    fn no_echo_takes_the_place_of_the_usage(
        at in 0usize..3, first in any::<bool>(), pretty in any::<bool>(), streamed in any::<bool>(),
        lengths in prop::collection::vec(1usize..300, 1..20),
    ) {
        let schema = SCHEMAS[at];
        let mut body = answer(schema, Some(first), pretty && !streamed);
        if streamed {
            body = format!("data: {body}\n\n");
        }
        prop_assert_eq!(heard(schema, &body, &lengths), Some((5000, 700)));
    }
}
