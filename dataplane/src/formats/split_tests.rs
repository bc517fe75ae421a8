//! However a body is cut into chunks, the same bytes and the same usage result.

use bytes::Bytes;
use proptest::prelude::*;
use proxyxai_contract::tokens::TokenUsage;

use super::{
    sse::{EventCutter, events},
    usage::{UsageReader, UsageSchema, without_usage},
};

const CHAT: &str = concat!(
    ": PROCESSING\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}],\"usage\":null}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"日本 \\\"usage\\\":{}\"}}],\"usage\":null}\n\n",
    "id: 7\ndata: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\ndata: \"usage\":null}\n\n",
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":19,\"completion_tokens\":10,\"total_tokens\":29,\"prompt_tokens_details\":{\"cached_tokens\":4,\"audio_tokens\":1},\"completion_tokens_details\":{\"reasoning_tokens\":3,\"audio_tokens\":2}}}\n\n",
    "data: [DONE]\n\n",
);
const RESPONSES: &str = concat!(
    "\u{feff}event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"usage\":null}}\n\n",
    "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"é\\n\"}\n\n",
    "event: response.incomplete\ndata: {\"type\":\"response.incomplete\",\"response\":{\"status\":\"incomplete\",\"usage\":{\"input_tokens\":5,\"input_tokens_details\":{\"cached_tokens\":2},\"output_tokens\":9,\"output_tokens_details\":{\"reasoning_tokens\":4}}}}\n\n",
);
const FAILED: &str = concat!(
    "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"a\"}\n\n",
    "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"server_error\"},\"usage\":{\"input_tokens\":5,\"output_tokens\":1}}}\n\n",
);
const MESSAGES: &str = concat!(
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":25,\"cache_creation_input_tokens\":3,\"cache_read_input_tokens\":7,\"output_tokens\":1}}}\n\n",
    "event: ping\ndata: {\"type\": \"ping\"}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"Hello\"}}\n\n",
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":15}}\n\n",
    "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\ndata: cut off",
);

/// The result of a stream.
#[derive(Debug, PartialEq)]
struct Passed {
    out: Vec<u8>,
    tokens: Option<TokenUsage>,
    marks: [bool; 3],
    delivered: u64,
    words: u64,
}

fn pass<'c>(
    schema: UsageSchema,
    edits: bool,
    chunks: impl IntoIterator<Item = &'c [u8]>,
) -> Passed {
    let (mut cutter, mut reader, mut out) =
        (EventCutter::new(), UsageReader::new(schema), Vec::new());
    let mut show = |run: Bytes| {
        reader.push(&run);
        let shown = if edits { without_usage(run) } else { Some(run) };
        out.extend_from_slice(&shown.unwrap_or_default());
    };
    for chunk in chunks {
        cutter.push(Bytes::copy_from_slice(chunk)).map(&mut show);
    }
    cutter.release().map(&mut show);
    Passed {
        out,
        tokens: reader.tokens(),
        marks: [reader.is_near_end(), reader.finished(), reader.closed()],
        delivered: reader.delivered_bytes(),
        words: reader.take_output_text().tokens(),
    }
}

/// Every stream with every kind of line end.
fn streams() -> Vec<(UsageSchema, String)> {
    let all = [
        (UsageSchema::Completions, CHAT),
        (UsageSchema::Responses, RESPONSES),
        (UsageSchema::Responses, FAILED),
        (UsageSchema::Messages, MESSAGES),
    ];
    all.into_iter()
        .flat_map(|(schema, text)| {
            ["\n", "\r\n", "\r"].map(|end| (schema, text.replace('\n', end)))
        })
        .collect()
}

#[test]
fn a_stream_cut_at_any_byte_comes_to_the_same() {
    for (schema, text) in streams() {
        let body = text.as_bytes();
        for edits in [false, true] {
            let whole = pass(schema, edits, [body]);
            assert_eq!(pass(schema, edits, body.chunks(1)), whole, "{text}");
            for at in 0..=body.len() {
                let (first, second) = body.split_at(at);
                assert_eq!(pass(schema, edits, [first, second]), whole, "{at}: {text}");
            }
        }
    }
}

#[test]
fn usage_of_every_kind_is_heard_in_every_stream_also_one_that_failed() {
    let heard = |schema, text: &str| pass(schema, false, [text.as_bytes()]).tokens.unwrap();
    let chat = TokenUsage {
        input: 19,
        cached: 4,
        input_audio: 1,
        output: 10,
        output_audio: 2,
        reasoning: 3,
        ..TokenUsage::default()
    };
    assert_eq!(heard(UsageSchema::Completions, CHAT), chat);
    let incomplete = TokenUsage {
        input: 5,
        cached: 2,
        output: 9,
        reasoning: 4,
        ..TokenUsage::default()
    };
    assert_eq!(heard(UsageSchema::Responses, RESPONSES), incomplete);
    let failed = TokenUsage {
        input: 5,
        output: 1,
        ..TokenUsage::default()
    };
    assert_eq!(heard(UsageSchema::Responses, FAILED), failed);
    let messages = TokenUsage {
        input: 35,
        cached: 7,
        cache_write: 3,
        output: 15,
        ..TokenUsage::default()
    };
    assert_eq!(heard(UsageSchema::Messages, MESSAGES), messages);
}

#[test]
fn what_was_not_asked_for_is_all_that_is_missing() {
    for (schema, text) in streams() {
        let Passed { out, .. } = pass(schema, true, [text.as_bytes()]);
        let kept: Vec<&[u8]> = events(&out).collect();
        if !text.contains("prompt_tokens") {
            assert_eq!(out, text.as_bytes());
            continue;
        }
        let all = events(text.as_bytes()).count();
        assert_eq!(kept.len() + 1, all, "the usage chunk is gone");
        assert!(
            !kept
                .concat()
                .windows(15)
                .any(|part| part == b"\"prompt_tokens\"")
        );
    }
}

proptest! {
    #[test]
    fn any_bytes_in_any_pieces_come_to_the_same(
        parts in prop::collection::vec(prop::sample::select(vec![
            "data: ", "event: error", "{\"choices\":[]", "\"usage\":", "{\"prompt_tokens\":3}", "null", "}", ",",
            "\n", "\r", "\r\n", "\n\n", ":", "\"", "\\", "[DONE]", "\u{feff}", "\"type\":\"message_stop\"", "\"delta\":\"é\"",
        ]), 0..40),
        lengths in prop::collection::vec(1usize..9, 0..80),
        edits in any::<bool>(),
    ) {
        let body = parts.concat();
        let mut rest = body.as_bytes();
        let mut chunks = Vec::new();
        for length in lengths {
            let (chunk, after) = rest.split_at(length.min(rest.len()));
            chunks.push(chunk);
            rest = after;
        }
        chunks.push(rest);
        prop_assert_eq!(pass(UsageSchema::Completions, edits, chunks), pass(UsageSchema::Completions, edits, [body.as_bytes()]));
    }
}
