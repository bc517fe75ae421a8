//! Every way in which a call can end, for every kind of call. What is recorded is the upstream's own count if there is
//! one, and otherwise within 5 % of what the upstream would have counted.

use std::time::Duration;

use bytes::Bytes;
use proxyxai_contract::wire::Measure;
use reqwest::Response;
use serde_json::{Value, json};

use crate::{
    upstream::{Script, Upstream, event},
    world::{World, until},
};

const UP: &str = "sk-upstream-aaaaaaaaaaaaaaaaaaaaaa";

/// The response, a word or two at a time, and the tokens that OpenAI's own tokenizer counts in the first pieces of it.
const PIECES: [&str; 8] = [
    "Four score",
    " and seven",
    " years ago",
    " our fathers",
    " brought forth",
    " upon this",
    " continent",
    " a new nation.",
];
const PIECE_TOKENS: [i64; 8] = [2, 4, 6, 8, 10, 12, 13, 17];
/// The prompt, and its tokens with its frame: 4 around the message, 3 before the response.
const PROMPT: &str = "Please recite the Gettysburg Address from memory, slowly and with feeling, as if you stood on the field yourself and the whole country listened to every word of it.";
const PROMPT_TOKENS: i64 = 34 + 4 + 3;
/// The usage that the upstream reports, if it reports any.
const REPORTED: (i64, i64) = (57, 29);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Chat,
    Responses,
    Messages,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Normal,
    /// The client leaves after this many pieces.
    HangUp(usize),
    /// The upstream breaks off after this many pieces.
    Cut(usize),
    /// A normal end that reports zero usage.
    Zero,
    /// A normal end without usage.
    Silent,
}

const ENDS: [End; 7] = [
    End::Normal,
    End::HangUp(1),
    End::HangUp(4),
    End::HangUp(8),
    End::Cut(3),
    End::Zero,
    End::Silent,
];

impl Kind {
    const fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Responses => "/v1/responses",
            Self::Messages => "/v1/messages",
        }
    }

    fn request(self, asked: bool) -> Value {
        let message = json!([{"role": "user", "content": PROMPT}]);
        let mut request = json!({"model": "m", "stream": true});
        match self {
            Self::Responses => request["input"] = json!(PROMPT),
            Self::Chat | Self::Messages => request["messages"] = message,
        }
        if self == Self::Messages {
            request["max_tokens"] = json!(100);
        }
        if asked && self == Self::Chat {
            request["stream_options"] = json!({"include_usage": true});
        }
        request
    }

    /// The events before the text, for each piece of it, and after it.
    fn events(self, usage: Option<(i64, i64)>) -> (Vec<Bytes>, Vec<Bytes>, Vec<Bytes>) {
        let named = |data: Value| {
            let name = data["type"].as_str().unwrap();
            Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
        };
        let plain = |data: Value| event(&data.to_string());
        let choice = |delta: Value, reason: Value| {
            plain(json!({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}))
        };
        let whole = PIECES.concat();
        match self {
            Self::Chat => {
                let mut after = vec![choice(json!({}), json!("stop"))];
                after.extend(usage.map(|(input, output)| {
                    plain(json!({"choices": [], "usage": {"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output}}))
                }));
                after.push(event("[DONE]"));
                (
                    vec![choice(
                        json!({"role": "assistant", "content": ""}),
                        Value::Null,
                    )],
                    PIECES
                        .map(|text| choice(json!({"content": text}), Value::Null))
                        .into(),
                    after,
                )
            }
            Self::Responses => {
                let usage = usage.map(|(input, output)| json!({"input_tokens": input, "output_tokens": output, "total_tokens": input + output}));
                (
                    vec![named(
                        json!({"type": "response.created", "response": {"id": "resp_1", "instructions": null, "usage": null}}),
                    )],
                    PIECES
                        .map(|text| {
                            named(json!({"type": "response.output_text.delta", "delta": text}))
                        })
                        .into(),
                    vec![
                        named(json!({"type": "response.output_text.done", "text": whole})),
                        named(
                            json!({"type": "response.completed", "response": {"id": "resp_1", "output": [{"type": "message", "content": [{"type": "output_text", "text": whole}]}], "usage": usage}}),
                        ),
                    ],
                )
            }
            Self::Messages => {
                let start = usage.map(|(input, output)| json!({"input_tokens": input, "output_tokens": output.min(1)}));
                let end = usage.map(|(_, output)| json!({"output_tokens": output}));
                (
                    vec![
                        named(json!({"type": "message_start", "message": {"id": "msg_1", "content": [], "usage": start}})),
                        named(json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})),
                    ],
                    PIECES.map(|text| named(json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}))).into(),
                    vec![
                        named(json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": end})),
                        named(json!({"type": "message_stop"})),
                    ],
                )
            }
        }
    }

    fn script(self, end: End) -> Script {
        let usage = match end {
            End::Normal | End::HangUp(_) | End::Cut(_) => Some(REPORTED),
            End::Zero => Some((0, 0)),
            End::Silent => None,
        };
        let (mut chunks, pieces, after) = self.events(usage);
        let shown = match end {
            End::HangUp(pieces) | End::Cut(pieces) => pieces,
            End::Normal | End::Zero | End::Silent => PIECES.len(),
        };
        chunks.extend(pieces.into_iter().take(shown));
        if !matches!(end, End::HangUp(_) | End::Cut(_)) {
            chunks.extend(after);
        } else if matches!(end, End::HangUp(_)) {
            return Script::Stalled { chunks };
        }
        Script::Stream {
            chunks,
            pause: Duration::from_millis(1),
            breaks: matches!(end, End::Cut(_)),
        }
    }

    /// The expected record and its label.
    fn expected(self, end: End) -> (i64, i64, Measure) {
        // Only Messages reports the prompt before the text.
        let prompt = match self {
            Self::Messages => REPORTED.0,
            Self::Chat | Self::Responses => PROMPT_TOKENS,
        };
        match end {
            End::Normal => (REPORTED.0, REPORTED.1, Measure::Measured),
            // Zero is not a valid count of a text that was received.
            End::Zero | End::Silent => (PROMPT_TOKENS, PIECE_TOKENS[7], Measure::Estimated),
            End::HangUp(pieces) | End::Cut(pieces) => {
                (prompt, PIECE_TOKENS[pieces - 1], Measure::Partial)
            }
        }
    }
}

/// Reads until this many pieces have come, or all of it.
async fn read(mut answer: Response, end: End) {
    let mut text = String::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        text.push_str(std::str::from_utf8(&chunk).unwrap());
        if let End::HangUp(pieces) = end
            && text.contains(PIECES[pieces - 1])
        {
            return;
        }
    }
}

fn near(got: i64, wanted: i64) -> bool {
    (got - wanted).abs() * 20 <= wanted
}

/// A gateway that cancels calls when their clients leave.
async fn cancelling() -> World {
    World::with(&[("ABANDONED", "cancel")]).await
}

#[tokio::test]
async fn every_end_of_every_kind_of_call_is_counted_and_labelled() {
    let (world, upstream) = (cancelling().await, Upstream::start().await);
    world.add_key(UP, &upstream.base).await;
    let key = world.add_account("alice", 100.0).await;
    let mut calls = 0;
    for kind in [Kind::Chat, Kind::Responses, Kind::Messages] {
        for asked in [true, false] {
            for end in ENDS {
                upstream.script(UP, kind.script(end));
                let answer = world.post(kind.path(), &key, &kind.request(asked)).await;
                assert_eq!(answer.status(), 200, "{kind:?} {end:?}");
                read(answer, end).await;
                calls += 1;
                until("the call is on record", async || {
                    world.grpc().usage("alice").await.len() == calls
                })
                .await;
                let record = world.grpc().usage("alice").await.remove(0).record.unwrap();
                let tokens = record.tokens.unwrap_or_default();
                let (input, output, measure) = kind.expected(end);
                let exact = measure == Measure::Measured;
                let fits = |got, wanted| {
                    if exact {
                        got == wanted
                    } else {
                        near(got, wanted)
                    }
                };
                assert!(
                    fits(tokens.input, input) && fits(tokens.output, output),
                    "{kind:?}, asked {asked}, {end:?}: {tokens:?} instead of {input} and {output}"
                );
                assert_eq!(
                    record.measure(),
                    measure,
                    "{kind:?}, asked {asked}, {end:?}"
                );
            }
        }
    }
    world.grpc().verify_books().await;
}

#[tokio::test]
async fn a_client_that_leaves_before_the_first_byte_is_billed_for_its_prompt() {
    let (world, upstream) = (cancelling().await, Upstream::start().await);
    world.add_key(UP, &upstream.base).await;
    let key = world.add_account("alice", 100.0).await;
    upstream.script(UP, Script::Mute);
    let request = Kind::Chat.request(false);
    let call = world.post(Kind::Chat.path(), &key, &request);
    let patience = Duration::from_millis(300);
    assert!(tokio::time::timeout(patience, call).await.is_err());
    until("the call is on record", async || {
        world.grpc().usage("alice").await.len() == 1
    })
    .await;
    let record = world.grpc().usage("alice").await.remove(0).record.unwrap();
    assert_eq!((record.status, record.measure()), (499, Measure::Partial));
    let tokens = record.tokens.unwrap_or_default();
    assert!(near(tokens.input, PROMPT_TOKENS), "{tokens:?}");
    assert_eq!(tokens.output, 0);
}
