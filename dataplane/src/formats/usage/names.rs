//! Under which names usage objects tell what: data, read by `count`. A provider's own word for something is a row more
//! here.
//!
//! Sources, where a name is not one of `OpenAI`'s:
//! - `cache_creation`, `iterations`, `thinking_tokens`: <https://platform.claude.com/docs/en/build-with-claude/prompt-caching>,
//!   `…/compaction`, `…/extended-thinking`.
//! - `server_tool_use`, `service_tier`, `speed`, `inference_geo`: <https://platform.claude.com/docs/en/api/messages>,
//!   `…/fast-mode`, `…/data-residency`.
//! - `prompt_cache_hit_tokens`, `…miss…`: <https://api-docs.deepseek.com/guides/kv_cache>.
//! - `cached_tokens` beside the counts: <https://platform.moonshot.ai/docs/api/chat>.
//! - `cache_write_tokens`, `server_tool_use_details`: <https://openrouter.ai/docs/guides/best-practices/prompt-caching>,
//!   <https://openrouter.ai/docs/client-sdks/python/components/bodyservertooluse.md>.
//! - `cached_read_tokens`, `cached_write_tokens`: <https://docs.getbifrost.ai/api-reference>.
//! - `cache_creation_tokens`, and Anthropic's names beside a prompt that includes them:
//!   <https://docs.litellm.ai/docs/completion/prompt_caching>.
//! - `num_cached_tokens`, `prompt_token_details`, `prompt_audio_seconds`, `connectors`, `pages_processed`:
//!   <https://docs.mistral.ai/api>.
//! - `reasoning_tokens` beside the counts, `citation_tokens`, `num_search_queries`, `search_context_size` and
//!   `tool_calls_details`: <https://docs.perplexity.ai/getting-started/pricing>, billed apart.
//! - `input_token_details`, `type: duration`: <https://platform.openai.com/docs/api-reference/audio>, transcriptions.
//! - `cached_tokens_details`: <https://platform.openai.com/docs/guides/realtime-costs>.
//! - `image_gen`, `web_search` of `tool_usage`: <https://github.com/BerriAI/litellm/pull/39610>.
//! - `server_side_tool_usage_details`, `num_server_side_tools_used`: <https://docs.x.ai/developers/tools/tool-usage-details>,
//!   <https://github.com/BerriAI/litellm/pull/30817>; `num_sources_used` is that of the Live Search before them.
//! - `search_units`: <https://docs.cohere.com/reference/rerank>.
//! - `video_tokens`: <https://help.aliyun.com/zh/model-studio/qwen-api-via-openai-chat-completions>; `seconds`,
//!   `characters`: the same vendor's speech models.

use proxyxai_contract::part::Part;

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
    InputVideo,
    CachedAudio,
    CachedImage,
    /// Tokens of the model that makes pictures for the one that was asked, beside its own.
    DrawInput,
    DrawInputImage,
    DrawOutput,
    DrawOutputImage,
    /// Calls of tools, whichever they were. From here on it is what is charged beside tokens.
    AllTools,
    Citation,
    Queries,
    SearchLow,
    SearchMedium,
    SearchHigh,
    WebSearches,
    /// Searches of another kind at the same price.
    OtherSearches,
    FileSearches,
    CodeSessions,
    Fetched,
    Pages,
    SearchUnits,
    Sources,
    Attachments,
    AnnotatedPages,
    AudioMillis,
    Characters,
    Drawn,
}

pub(super) const KINDS: usize = Kind::Drawn as usize + 1;

/// What is charged beside tokens, and what for.
pub(super) const PIECES: &[(Kind, Part)] = &[
    (Kind::Citation, Part::Citation),
    (Kind::Queries, Part::Query),
    (Kind::SearchLow, Part::WebSearchLow),
    (Kind::SearchMedium, Part::WebSearchMedium),
    (Kind::SearchHigh, Part::WebSearchHigh),
    (Kind::WebSearches, Part::WebSearch),
    (Kind::OtherSearches, Part::WebSearch),
    (Kind::FileSearches, Part::FileSearch),
    (Kind::CodeSessions, Part::CodeSession),
    (Kind::Fetched, Part::Page),
    (Kind::Pages, Part::Page),
    (Kind::SearchUnits, Part::SearchUnit),
    (Kind::Sources, Part::Document),
    (Kind::Attachments, Part::Document),
    (Kind::AnnotatedPages, Part::Document),
    (Kind::AudioMillis, Part::AudioHour),
    (Kind::Characters, Part::Character),
    (Kind::Drawn, Part::Image),
];

/// What a member of a usage object is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Slot {
    Count(Kind),
    /// Seconds, counted in milliseconds.
    Seconds(Kind),
    /// One of whatever a word stands for.
    OneOf(&'static [(&'static str, Kind)]),
    /// The tier that served; of two in an object that of the higher rank, and some words are that of none.
    Tier(u8, &'static [&'static str]),
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
    ("service_tier", Slot::Tier(2, &[])),
    ("speed", Slot::Tier(3, &[])),
    ("inference_geo", Slot::Tier(1, &["global", "not_available"])),
    ("server_tool_use", Slot::Counts(SERVER_TOOLS)),
    ("server_tool_use_details", Slot::Counts(SERVER_TOOLS)),
    ("server_side_tool_usage_details", Slot::Counts(XAI_TOOLS)),
    ("num_server_side_tools_used", Slot::Count(Kind::AllTools)),
    ("num_sources_used", Slot::Count(Kind::Sources)),
    ("tool_calls_details", Slot::Counts(CALLED_TOOLS)),
    ("connectors", Slot::Counts(CONNECTORS)),
    ("citation_tokens", Slot::Count(Kind::Citation)),
    ("num_search_queries", Slot::Count(Kind::Queries)),
    ("search_context_size", Slot::OneOf(CONTEXT_SIZES)),
    ("search_units", Slot::Count(Kind::SearchUnits)),
    ("billed_units", Slot::Counts(BILLED_UNITS)),
    ("pages_processed", Slot::Count(Kind::Pages)),
    (
        "pages_processed_annotation",
        Slot::Count(Kind::AnnotatedPages),
    ),
    ("seconds", Slot::Seconds(Kind::AudioMillis)),
    ("prompt_audio_seconds", Slot::Seconds(Kind::AudioMillis)),
    ("characters", Slot::Count(Kind::Characters)),
];

/// Of an object that tells of tools beside the usage.
pub(super) const TOOL_USAGE: Names = &[
    ("image_gen", Slot::Counts(DRAW)),
    ("web_search", Slot::Counts(REQUESTS)),
];

const REQUESTS: Names = &[("num_requests", Slot::Count(Kind::WebSearches))];

const DRAW: Names = &[
    ("input_tokens", Slot::Count(Kind::DrawInput)),
    ("output_tokens", Slot::Count(Kind::DrawOutput)),
    ("input_tokens_details", Slot::Counts(DRAW_INPUT)),
    ("output_tokens_details", Slot::Counts(DRAW_OUTPUT)),
];
const DRAW_INPUT: Names = &[("image_tokens", Slot::Count(Kind::DrawInputImage))];
const DRAW_OUTPUT: Names = &[("image_tokens", Slot::Count(Kind::DrawOutputImage))];

const SERVER_TOOLS: Names = &[
    ("web_search_requests", Slot::Count(Kind::WebSearches)),
    ("web_fetch_requests", Slot::Count(Kind::Fetched)),
];

const XAI_TOOLS: Names = &[
    ("web_search_calls", Slot::Count(Kind::WebSearches)),
    ("x_search_calls", Slot::Count(Kind::OtherSearches)),
    ("code_interpreter_calls", Slot::Count(Kind::CodeSessions)),
    ("file_search_calls", Slot::Count(Kind::FileSearches)),
    ("document_search_calls", Slot::Count(Kind::Attachments)),
    ("image_generation_calls", Slot::Count(Kind::Drawn)),
];

const CALLED_TOOLS: Names = &[
    (
        "search_web",
        Slot::Counts(&[("invocation", Slot::Count(Kind::WebSearches))]),
    ),
    (
        "web_search",
        Slot::Counts(&[("invocation", Slot::Count(Kind::WebSearches))]),
    ),
    (
        "people_search",
        Slot::Counts(&[("invocation", Slot::Count(Kind::OtherSearches))]),
    ),
    (
        "fetch_url",
        Slot::Counts(&[("invocation", Slot::Count(Kind::Fetched))]),
    ),
];

const CONNECTORS: Names = &[
    ("web_search", Slot::Count(Kind::WebSearches)),
    ("web_search_premium", Slot::Count(Kind::SearchHigh)),
    ("code_interpreter", Slot::Count(Kind::CodeSessions)),
    ("document_library", Slot::Count(Kind::FileSearches)),
    ("image_generation", Slot::Count(Kind::Drawn)),
];

const BILLED_UNITS: Names = &[
    ("input_tokens", Slot::Count(Kind::Input)),
    ("output_tokens", Slot::Count(Kind::Output)),
    ("search_units", Slot::Count(Kind::SearchUnits)),
];

const CONTEXT_SIZES: &[(&str, Kind)] = &[
    ("low", Kind::SearchLow),
    ("medium", Kind::SearchMedium),
    ("high", Kind::SearchHigh),
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
    ("cached_tokens_details", Slot::Counts(CACHED_DETAILS)),
    ("audio_tokens", Slot::Count(Kind::InputAudio)),
    ("image_tokens", Slot::Count(Kind::InputImage)),
    ("video_tokens", Slot::Count(Kind::InputVideo)),
];

const CACHED_DETAILS: Names = &[
    ("audio_tokens", Slot::Count(Kind::CachedAudio)),
    ("image_tokens", Slot::Count(Kind::CachedImage)),
];

const OUTPUT_DETAILS: Names = &[
    ("reasoning_tokens", Slot::Count(Kind::Reasoning)),
    ("thinking_tokens", Slot::Count(Kind::Reasoning)),
    ("audio_tokens", Slot::Count(Kind::OutputAudio)),
    ("image_tokens", Slot::Count(Kind::OutputImage)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_kind_is_charged_for_twice() {
        for (at, (kind, _)) in PIECES.iter().enumerate() {
            assert!(PIECES.iter().skip(at + 1).all(|(other, _)| other != kind));
        }
    }
}
