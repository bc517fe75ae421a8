//! Where answers tell their usage, and under which names: data, read by `places` and `report`. A provider
//! that tells it elsewhere, or otherwise, is a row more here. In streams whole events are passed over that have
//! no object called `usage` (`may_tell`), so a row whose path ends otherwise is for answers that never are streams.
//!
//! Sources, where a row is not what `OpenAI` documents for the route:
//! - `x_groq.usage`: <https://console.groq.com/docs/text-chat>, the last chunk of a stream.
//! - `choices[].usage`: <https://platform.moonshot.ai/docs/api/chat>, the last chunk of a stream.
//! - `message.usage`, `usage` of `message_delta`, `cache_creation`, `iterations`:
//!   <https://platform.claude.com/docs/en/build-with-claude/streaming>, `…/prompt-caching`, `…/compaction`.
//! - `prompt_cache_hit_tokens`, `…miss…`: <https://api-docs.deepseek.com/guides/kv_cache>.
//! - `cached_tokens` beside the counts: <https://platform.moonshot.ai/docs/api/chat>.
//! - `cache_write_tokens`: <https://openrouter.ai/docs/guides/best-practices/prompt-caching>.
//! - `cached_read_tokens`, `cached_write_tokens`: <https://docs.getbifrost.ai/api-reference>.
//! - `cache_creation_tokens`, and Anthropic's names beside a prompt that includes them:
//!   <https://docs.litellm.ai/docs/completion/prompt_caching>.
//! - `num_cached_tokens`, `prompt_token_details`: <https://docs.mistral.ai/api>, `UsageInfo`.
//! - `reasoning_tokens` beside the counts: <https://docs.perplexity.ai/getting-started/pricing>, billed apart.
//! - `thinking_tokens`: <https://platform.claude.com/docs/en/build-with-claude/extended-thinking>.
//! - `tokens` of a reranker: <https://docs.siliconflow.com/en/api-reference/rerank/create-rerank>.
//! - `input_token_details`: <https://platform.openai.com/docs/api-reference/audio>, transcriptions.

use crate::formats::Route;

/// What is said of usage, and of an answer being one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// A usage object.
    Usage,
    /// The same before the answer has been made: a later one has the last word.
    FirstUsage,
    /// Something that only an answer has.
    Answer,
    /// The id of what the answer is about: a text.
    Id,
    /// The id of something that it put out.
    Item,
    /// The id of a container that it worked in.
    Container,
    /// The id of a file that it made.
    File,
    /// The same, with the results of a batch.
    Output,
    /// How far its work is.
    Status,
    /// The model of the call that is told of, where there are several.
    Model,
    /// The name of one of several calls.
    Call,
}

impl What {
    /// Whether it is a text, which is looked for only where objects are made.
    pub(super) const fn is_text(self) -> bool {
        !matches!(self, Self::Usage | Self::FirstUsage | Self::Answer)
    }
}

/// A path from the root of a body or of an event's data. `[]` is an item of an array.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) path: &'static [&'static str],
    pub(super) what: What,
}

/// Steps of a path, at most.
pub(super) const STEPS_MAX: usize = 4;

/// Whose protocol an answer follows, as far as usage goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Schema {
    /// Chat and text completions, embeddings.
    Completions,
    /// `OpenAI`'s responses.
    Responses,
    /// Anthropic's messages.
    Messages,
    /// The images endpoints: what they put out is pictures, and no details say so.
    Pictures,
    /// The endpoint that speaks: what it puts out is sound, and no details say so.
    Speech,
    /// Whatever else takes a model.
    Other,
    /// Results of a batch, a line for each call: Anthropic's, and `OpenAI`'s.
    MessageLines,
    BodyLines,
}

const COMPLETIONS: &[Row] = &[
    row(&["usage"], What::Usage),
    row(&["x_groq", "usage"], What::Usage),
    row(&["choices", "[]", "usage"], What::Usage),
    row(&["choices"], What::Answer),
    row(&["data"], What::Answer),
    row(&["output"], What::Answer),
    row(&["id"], What::Id),
    row(&["request_id"], What::Id),
    row(&["model"], What::Model),
];
const RESPONSES: &[Row] = &[
    row(&["usage"], What::Usage),
    row(&["response", "usage"], What::Usage),
    row(&["output"], What::Answer),
    row(&["choices"], What::Answer),
    row(&["id"], What::Id),
    row(&["response", "id"], What::Id),
    row(&["status"], What::Status),
    row(&["response", "status"], What::Status),
    row(&["output", "[]", "id"], What::Item),
    row(&["response", "output", "[]", "id"], What::Item),
    row(&["output", "[]", "container_id"], What::Container),
    row(
        &["response", "output", "[]", "container_id"],
        What::Container,
    ),
    row(&["model"], What::Model),
    row(&["response", "model"], What::Model),
];
const MESSAGES: &[Row] = &[
    row(&["usage"], What::Usage),
    row(&["message", "usage"], What::FirstUsage),
    row(&["content"], What::Answer),
    row(&["choices"], What::Answer),
    row(&["model"], What::Model),
    row(&["message", "model"], What::Model),
];
const OTHER: &[Row] = &[
    row(&["usage"], What::Usage),
    row(&["response", "usage"], What::Usage),
    row(&["tokens"], What::Usage),
    row(&["id"], What::Id),
    row(&["file", "id"], What::File),
    row(&["output_file_id"], What::Output),
    row(&["error_file_id"], What::File),
    row(&["status"], What::Status),
    row(&["processing_status"], What::Status),
];
/// The results of Anthropic's batches, a line for each call.
const MESSAGE_LINES: &[Row] = &[
    row(&["result", "message", "usage"], What::Usage),
    row(&["result", "message", "model"], What::Model),
    row(&["custom_id"], What::Call),
];
/// Those of `OpenAI`'s.
const BODY_LINES: &[Row] = &[
    row(&["response", "body", "usage"], What::Usage),
    row(&["response", "body", "model"], What::Model),
    row(&["custom_id"], What::Call),
];

const fn row(path: &'static [&'static str], what: What) -> Row {
    Row { path, what }
}

/// What a count counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// All of the prompt; some leave out what has to do with the cache.
    Prompt,
    Completion,
    Total,
    /// All of the prompt, but in Anthropic's meaning only what has nothing to do with the cache.
    Input,
    Output,
    /// Read from the cache, as a part of the prompt.
    Cached,
    /// Not read from it.
    Missed,
    /// Written to the cache, as a part of the prompt.
    Written,
    /// Anthropic's counts of both, beside `input_tokens`.
    ReadBeside,
    WrittenBeside,
    /// The same by how long it is kept.
    WrittenMinutes,
    WrittenHour,
    Reasoning,
    /// The same beside the completion, of which it is a part only where it is no larger.
    ReasoningBeside,
    InputAudio,
    OutputAudio,
    InputImage,
    OutputImage,
}

pub(super) const KINDS: usize = Kind::OutputImage as usize + 1;

/// What a member of a usage object is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Slot {
    Count(Kind),
    /// An object of counts.
    Counts(Names),
    /// A list of such usage objects, of which each that put out anything is billed: the whole is their sum,
    /// and may leave some out.
    Passes,
}

pub(super) type Names = &'static [(&'static str, Slot)];

/// Two names of one kind in an object tell the same; the larger counts.
pub(super) const USAGE: Names = &[
    ("prompt_tokens", Slot::Count(Kind::Prompt)),
    ("completion_tokens", Slot::Count(Kind::Completion)),
    ("total_tokens", Slot::Count(Kind::Total)),
    ("input_tokens", Slot::Count(Kind::Input)),
    ("output_tokens", Slot::Count(Kind::Output)),
    ("cached_tokens", Slot::Count(Kind::Cached)),
    ("num_cached_tokens", Slot::Count(Kind::Cached)),
    ("reasoning_tokens", Slot::Count(Kind::ReasoningBeside)),
    ("prompt_cache_hit_tokens", Slot::Count(Kind::Cached)),
    ("prompt_cache_miss_tokens", Slot::Count(Kind::Missed)),
    ("cache_read_input_tokens", Slot::Count(Kind::ReadBeside)),
    (
        "cache_creation_input_tokens",
        Slot::Count(Kind::WrittenBeside),
    ),
    ("cache_creation", Slot::Counts(LIFETIMES)),
    ("prompt_tokens_details", Slot::Counts(INPUT_DETAILS)),
    ("prompt_token_details", Slot::Counts(INPUT_DETAILS)),
    ("input_tokens_details", Slot::Counts(INPUT_DETAILS)),
    ("input_token_details", Slot::Counts(INPUT_DETAILS)),
    ("completion_tokens_details", Slot::Counts(OUTPUT_DETAILS)),
    ("completion_token_details", Slot::Counts(OUTPUT_DETAILS)),
    ("output_tokens_details", Slot::Counts(OUTPUT_DETAILS)),
    ("output_token_details", Slot::Counts(OUTPUT_DETAILS)),
    ("iterations", Slot::Passes),
];

const LIFETIMES: Names = &[
    (
        "ephemeral_5m_input_tokens",
        Slot::Count(Kind::WrittenMinutes),
    ),
    ("ephemeral_1h_input_tokens", Slot::Count(Kind::WrittenHour)),
];

const INPUT_DETAILS: Names = &[
    ("cached_tokens", Slot::Count(Kind::Cached)),
    ("cached_read_tokens", Slot::Count(Kind::Cached)),
    ("cache_write_tokens", Slot::Count(Kind::Written)),
    ("cached_write_tokens", Slot::Count(Kind::Written)),
    ("cache_creation_tokens", Slot::Count(Kind::Written)),
    ("cache_creation_input_tokens", Slot::Count(Kind::Written)),
    ("audio_tokens", Slot::Count(Kind::InputAudio)),
    ("image_tokens", Slot::Count(Kind::InputImage)),
];

const OUTPUT_DETAILS: Names = &[
    ("reasoning_tokens", Slot::Count(Kind::Reasoning)),
    ("thinking_tokens", Slot::Count(Kind::Reasoning)),
    ("audio_tokens", Slot::Count(Kind::OutputAudio)),
    ("image_tokens", Slot::Count(Kind::OutputImage)),
];

// === impl Schema ===

impl Schema {
    /// Of a call's route and the path it was asked by.
    pub(crate) fn of(route: Route, path: &str) -> Self {
        match route {
            Route::Responses => Self::Responses,
            Route::Messages => Self::Messages,
            Route::Other
                if path.starts_with("/v1/messages/batches/") && path.ends_with("/results") =>
            {
                Self::MessageLines
            }
            Route::Other if path.starts_with("/v1/files/") && path.ends_with("/content") => {
                Self::BodyLines
            }
            Route::Other if path.starts_with("/v1/images/") => Self::Pictures,
            Route::Other if path == "/v1/audio/speech" => Self::Speech,
            Route::Other => Self::Other,
            _ => Self::Completions,
        }
    }

    /// Whether it tells of many calls.
    pub(super) const fn is_lines(self) -> bool {
        matches!(self, Self::MessageLines | Self::BodyLines)
    }

    /// What all of the output is where its details do not tell.
    pub(super) const fn makes(self) -> Option<Kind> {
        match self {
            Self::Pictures => Some(Kind::OutputImage),
            Self::Speech => Some(Kind::OutputAudio),
            _ => None,
        }
    }

    pub(super) const fn rows(self) -> &'static [Row] {
        match self {
            Self::Completions => COMPLETIONS,
            Self::Responses => RESPONSES,
            Self::Messages => MESSAGES,
            Self::Pictures | Self::Speech | Self::Other => OTHER,
            Self::MessageLines => MESSAGE_LINES,
            Self::BodyLines => BODY_LINES,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMAS: [Schema; 8] = [
        Schema::Completions,
        Schema::Responses,
        Schema::Messages,
        Schema::Pictures,
        Schema::Speech,
        Schema::Other,
        Schema::MessageLines,
        Schema::BodyLines,
    ];

    #[test]
    fn usage_in_streams_is_called_so() {
        // A reranker answers with one body.
        const NEVER_IN_STREAMS: &[&[&str]] = &[&["tokens"]];
        for row in SCHEMAS.iter().flat_map(|schema| schema.rows()) {
            let tells = matches!(row.what, What::Usage | What::FirstUsage);
            let called_so = row.path.last() == Some(&"usage");
            assert!(
                !tells || called_so || NEVER_IN_STREAMS.contains(&row.path),
                "`may_tell` has to know it: {row:?}"
            );
        }
    }

    #[test]
    fn the_rows_fit_what_follows_them() {
        for schema in SCHEMAS {
            let texts = schema.rows().iter().map(|row| row.what.is_text());
            assert!(texts.is_sorted(), "those come last");
            assert!(schema.rows().len() <= u16::BITS as usize, "a bit for each");
            for row in schema.rows() {
                assert!((1..=STEPS_MAX).contains(&row.path.len()), "{row:?}");
            }
        }
    }
}
