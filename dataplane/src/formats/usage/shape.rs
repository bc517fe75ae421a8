//! Where responses report their usage: data for `schema_scanner`. A provider that reports it elsewhere needs another
//! row here; the names inside usage objects are in `names`.
//!
//! In streams, events without an object named `usage` and without a tool call are skipped (`may_tell`). So a row with
//! another path only suits responses that are never streamed, or data that accompanies usage.
//!
//! Sources, where a row is not what `OpenAI` documents for the route:
//! - `x_groq.usage`: <https://console.groq.com/docs/text-chat>, the last chunk of a stream.
//! - `choices[].usage`: <https://platform.moonshot.ai/docs/api/chat>, the last chunk of a stream.
//! - `message.usage`, `usage` of `message_delta`:
//!   <https://platform.claude.com/docs/en/build-with-claude/streaming>.
//! - `tokens` of a reranker: <https://docs.siliconflow.com/en/api-reference/rerank/create-rerank>.
//! - `meta.billed_units`: <https://docs.cohere.com/reference/rerank>.
//! - `usage_info`: <https://docs.mistral.ai/api>, OCR.
//! - `tool_usage` beside the usage of a response: <https://github.com/BerriAI/litellm/pull/39610>.
//! - `output[]` of a response, of which searches are billed, and the opening of pages is not:
//!   <https://developers.openai.com/api/docs/guides/tools-web-search>, <https://github.com/BerriAI/litellm/pull/39610>.
//! - `service_tier` beside the usage: <https://platform.openai.com/docs/api-reference/chat/object>,
//!   <https://console.groq.com/docs/flex-processing>, <https://docs.x.ai/developers/rest-api-reference>.

use super::names::CountKind;
use crate::formats::Route;

/// What is read from a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SchemaField {
    /// A usage object.
    Usage,
    /// A usage object from before the answer was generated. A later one is final.
    FirstUsage,
    /// Tool usage next to the usage object.
    ToolUsage,
    /// A value that only an answer has.
    Answer,
    /// An output entry, which may be a tool call.
    Entry,
    /// The service tier: a text.
    Tier,
    /// The type of an output entry.
    EntryType,
    /// The entry's id, if not reported elsewhere.
    EntryId,
    /// The tool's action.
    Action,
    /// The id of the response's object: a text.
    Id,
    /// The id of an output item.
    Item,
    /// The id of a container used by the response.
    Container,
    /// The id of a created file.
    File,
    /// The id of the file with the results of a batch.
    Output,
    /// The status of the work.
    Status,
    /// The model of one of several calls.
    Model,
    /// The name of one of several calls.
    Call,
}

impl SchemaField {
    /// Whether it is a text.
    pub(super) const fn is_text(self) -> bool {
        !matches!(
            self,
            Self::Usage | Self::FirstUsage | Self::ToolUsage | Self::Answer | Self::Entry
        )
    }

    /// Whether it is only read where objects are created.
    pub(super) const fn is_of_objects(self) -> bool {
        self.is_text() && !self.is_of_tools() && !matches!(self, Self::Tier)
    }

    /// Whether it shows which tools were called.
    pub(super) const fn is_of_tools(self) -> bool {
        matches!(
            self,
            Self::Entry
                | Self::EntryType
                | Self::EntryId
                | Self::Action
                | Self::Item
                | Self::Container
        )
    }
}

/// A path from the root of a body or of an event's data. `[]` stands for array items.
#[derive(Debug)]
pub(super) struct SchemaRow {
    pub(super) path: &'static [&'static str],
    pub(super) what: SchemaField,
}

/// The longest path.
pub(super) const STEPS_MAX: usize = 5;

/// The protocol that a response's usage follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UsageSchema {
    /// Chat and text completions, embeddings.
    Completions,
    /// `OpenAI`'s responses.
    Responses,
    /// Anthropic's messages.
    Messages,
    /// The images endpoints. Their output is images, even without details.
    Pictures,
    /// The speech endpoint. Its output is audio, even without details.
    Speech,
    /// Any other endpoint with a model.
    Other,
    /// Results of a batch, one line per call: Anthropic's, and `OpenAI`'s.
    MessageLines,
    BodyLines,
}

const COMPLETIONS: &[SchemaRow] = &[
    row(&["usage"], SchemaField::Usage),
    row(&["x_groq", "usage"], SchemaField::Usage),
    row(&["choices", "[]", "usage"], SchemaField::Usage),
    row(&["meta", "billed_units"], SchemaField::Usage),
    row(&["choices"], SchemaField::Answer),
    row(&["data"], SchemaField::Answer),
    row(&["output"], SchemaField::Answer),
    row(&["service_tier"], SchemaField::Tier),
    row(&["id"], SchemaField::Id),
    row(&["request_id"], SchemaField::Id),
    row(&["model"], SchemaField::Model),
];
const RESPONSES: &[SchemaRow] = &[
    row(&["usage"], SchemaField::Usage),
    row(&["response", "usage"], SchemaField::Usage),
    row(&["tool_usage"], SchemaField::ToolUsage),
    row(&["response", "tool_usage"], SchemaField::ToolUsage),
    row(&["output"], SchemaField::Answer),
    row(&["choices"], SchemaField::Answer),
    row(&["output", "[]"], SchemaField::Entry),
    row(&["response", "output", "[]"], SchemaField::Entry),
    row(&["item"], SchemaField::Entry),
    row(&["service_tier"], SchemaField::Tier),
    row(&["response", "service_tier"], SchemaField::Tier),
    row(&["output", "[]", "type"], SchemaField::EntryType),
    row(
        &["response", "output", "[]", "type"],
        SchemaField::EntryType,
    ),
    row(&["item", "type"], SchemaField::EntryType),
    row(&["item", "id"], SchemaField::EntryId),
    row(&["output", "[]", "action", "type"], SchemaField::Action),
    row(
        &["response", "output", "[]", "action", "type"],
        SchemaField::Action,
    ),
    row(&["item", "action", "type"], SchemaField::Action),
    row(&["output", "[]", "id"], SchemaField::Item),
    row(&["response", "output", "[]", "id"], SchemaField::Item),
    row(&["output", "[]", "container_id"], SchemaField::Container),
    row(
        &["response", "output", "[]", "container_id"],
        SchemaField::Container,
    ),
    row(&["item", "container_id"], SchemaField::Container),
    row(&["id"], SchemaField::Id),
    row(&["response", "id"], SchemaField::Id),
    row(&["status"], SchemaField::Status),
    row(&["response", "status"], SchemaField::Status),
    row(&["model"], SchemaField::Model),
    row(&["response", "model"], SchemaField::Model),
];
const MESSAGES: &[SchemaRow] = &[
    row(&["usage"], SchemaField::Usage),
    row(&["message", "usage"], SchemaField::FirstUsage),
    row(&["content"], SchemaField::Answer),
    row(&["choices"], SchemaField::Answer),
    row(&["model"], SchemaField::Model),
    row(&["message", "model"], SchemaField::Model),
];
const OTHER: &[SchemaRow] = &[
    row(&["usage"], SchemaField::Usage),
    row(&["response", "usage"], SchemaField::Usage),
    row(&["tokens"], SchemaField::Usage),
    row(&["meta", "billed_units"], SchemaField::Usage),
    row(&["usage_info"], SchemaField::Usage),
    row(&["id"], SchemaField::Id),
    row(&["file", "id"], SchemaField::File),
    row(&["output_file_id"], SchemaField::Output),
    row(&["error_file_id"], SchemaField::File),
    row(&["status"], SchemaField::Status),
    row(&["processing_status"], SchemaField::Status),
];
/// The results of Anthropic's batches, one line per call.
const MESSAGE_LINES: &[SchemaRow] = &[
    row(&["result", "message", "usage"], SchemaField::Usage),
    row(&["result", "message", "model"], SchemaField::Model),
    row(&["custom_id"], SchemaField::Call),
];
/// The results of `OpenAI`'s batches.
const BODY_LINES: &[SchemaRow] = &[
    row(&["response", "body", "usage"], SchemaField::Usage),
    row(&["response", "body", "model"], SchemaField::Model),
    row(&["custom_id"], SchemaField::Call),
];

const fn row(path: &'static [&'static str], what: SchemaField) -> SchemaRow {
    SchemaRow { path, what }
}

// === impl UsageSchema ===

impl UsageSchema {
    /// The schema for a call's route and path.
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

    /// Whether it reports many calls.
    pub(super) const fn is_lines(self) -> bool {
        matches!(self, Self::MessageLines | Self::BodyLines)
    }

    /// Whether its answers are text and so always have tokens.
    pub(super) const fn is_text(self) -> bool {
        matches!(self, Self::Completions | Self::Responses | Self::Messages)
    }

    /// Whether its output shows which tools were called.
    pub(super) const fn has_tools(self) -> bool {
        matches!(self, Self::Responses)
    }

    /// The kind of all output without details.
    pub(super) const fn makes(self) -> Option<CountKind> {
        match self {
            Self::Pictures => Some(CountKind::OutputImage),
            Self::Speech => Some(CountKind::OutputAudio),
            _ => None,
        }
    }

    pub(super) const fn rows(self) -> &'static [SchemaRow] {
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

    const SCHEMAS: [UsageSchema; 8] = [
        UsageSchema::Completions,
        UsageSchema::Responses,
        UsageSchema::Messages,
        UsageSchema::Pictures,
        UsageSchema::Speech,
        UsageSchema::Other,
        UsageSchema::MessageLines,
        UsageSchema::BodyLines,
    ];

    #[test]
    fn usage_in_streams_is_called_so() {
        // Rerankers, embedders and document readers return a single body.
        const NEVER_IN_STREAMS: &[&[&str]] =
            &[&["tokens"], &["meta", "billed_units"], &["usage_info"]];
        for row in SCHEMAS.iter().flat_map(|schema| schema.rows()) {
            let tells = matches!(row.what, SchemaField::Usage | SchemaField::FirstUsage);
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
            let of_objects = schema.rows().iter().map(|row| row.what.is_of_objects());
            assert!(of_objects.is_sorted(), "and those of objects behind them");
            assert!(schema.rows().len() <= u32::BITS as usize, "a bit for each");
            for row in schema.rows() {
                assert!((1..=STEPS_MAX).contains(&row.path.len()), "{row:?}");
            }
        }
    }
}
