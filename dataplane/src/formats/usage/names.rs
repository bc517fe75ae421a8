//! The names in usage objects and their meaning: data for `count`. A provider's own name needs another row here.
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

use proxyxai_contract::part::BillPart;

/// What a count counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CountKind {
    /// The whole prompt; some providers leave out cached tokens.
    Prompt,
    Completion,
    Total,
    /// The whole prompt; for Anthropic without tokens read from or written to the cache.
    Input,
    Output,
    /// Read from the cache, as a part of the prompt.
    Cached,
    /// Not read from the cache.
    Missed,
    /// Written to the cache, as a part of the prompt.
    Written,
    /// Anthropic's counts of both, in addition to `input_tokens`.
    ReadBeside,
    WrittenBeside,
    /// Written to the cache, by lifetime.
    WrittenMinutes,
    WrittenHour,
    Reasoning,
    /// Reasoning reported next to the completion. It is part of the completion only if it is not larger.
    ReasoningBeside,
    InputAudio,
    OutputAudio,
    InputImage,
    OutputImage,
    InputVideo,
    CachedAudio,
    CachedImage,
    /// Tokens of the image model that was called on behalf of the requested model, in addition to the latter's.
    DrawInput,
    DrawInputImage,
    DrawOutput,
    DrawOutputImage,
    /// Calls of any tools. This and all later kinds are charged in addition to tokens.
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

pub(super) const KINDS: usize = CountKind::Drawn as usize + 1;

/// The units charged in addition to tokens, and what they are charged as.
pub(super) const PIECES: &[(CountKind, BillPart)] = &[
    (CountKind::Citation, BillPart::Citation),
    (CountKind::Queries, BillPart::Query),
    (CountKind::SearchLow, BillPart::WebSearchLow),
    (CountKind::SearchMedium, BillPart::WebSearchMedium),
    (CountKind::SearchHigh, BillPart::WebSearchHigh),
    (CountKind::WebSearches, BillPart::WebSearch),
    (CountKind::OtherSearches, BillPart::WebSearch),
    (CountKind::FileSearches, BillPart::FileSearch),
    (CountKind::CodeSessions, BillPart::CodeSession),
    (CountKind::Fetched, BillPart::Page),
    (CountKind::Pages, BillPart::Page),
    (CountKind::SearchUnits, BillPart::SearchUnit),
    (CountKind::Sources, BillPart::Document),
    (CountKind::Attachments, BillPart::Document),
    (CountKind::AnnotatedPages, BillPart::Document),
    (CountKind::AudioMillis, BillPart::AudioHour),
    (CountKind::Characters, BillPart::Character),
    (CountKind::Drawn, BillPart::Image),
];

/// The meaning of a member of a usage object.
#[derive(Debug, Clone, Copy)]
pub(super) enum UsageSlot {
    Count(CountKind),
    /// Seconds, counted in milliseconds.
    Seconds(CountKind),
    /// One unit of the kind that the word stands for.
    OneOf(&'static [(&'static str, CountKind)]),
    /// The service tier. Of two in an object, the one with the higher rank wins. The listed words mean no tier.
    Tier(u8, &'static [&'static str]),
    /// An object of counts.
    Counts(UsageNames),
    /// A list of usage objects. Each with any output is billed. The whole is their sum but may leave some out.
    Passes,
}

pub(super) type UsageNames = &'static [(&'static str, UsageSlot)];

/// Two names of one kind in an object mean the same; the larger count wins.
pub(super) const USAGE: UsageNames = &[
    ("prompt_tokens", UsageSlot::Count(CountKind::Prompt)),
    ("completion_tokens", UsageSlot::Count(CountKind::Completion)),
    ("total_tokens", UsageSlot::Count(CountKind::Total)),
    ("input_tokens", UsageSlot::Count(CountKind::Input)),
    ("output_tokens", UsageSlot::Count(CountKind::Output)),
    ("cached_tokens", UsageSlot::Count(CountKind::Cached)),
    ("num_cached_tokens", UsageSlot::Count(CountKind::Cached)),
    (
        "reasoning_tokens",
        UsageSlot::Count(CountKind::ReasoningBeside),
    ),
    (
        "prompt_cache_hit_tokens",
        UsageSlot::Count(CountKind::Cached),
    ),
    (
        "prompt_cache_miss_tokens",
        UsageSlot::Count(CountKind::Missed),
    ),
    (
        "cache_read_input_tokens",
        UsageSlot::Count(CountKind::ReadBeside),
    ),
    (
        "cache_creation_input_tokens",
        UsageSlot::Count(CountKind::WrittenBeside),
    ),
    ("cache_creation", UsageSlot::Counts(LIFETIMES)),
    ("prompt_tokens_details", UsageSlot::Counts(INPUT_DETAILS)),
    ("prompt_token_details", UsageSlot::Counts(INPUT_DETAILS)),
    ("input_tokens_details", UsageSlot::Counts(INPUT_DETAILS)),
    ("input_token_details", UsageSlot::Counts(INPUT_DETAILS)),
    (
        "completion_tokens_details",
        UsageSlot::Counts(OUTPUT_DETAILS),
    ),
    (
        "completion_token_details",
        UsageSlot::Counts(OUTPUT_DETAILS),
    ),
    ("output_tokens_details", UsageSlot::Counts(OUTPUT_DETAILS)),
    ("output_token_details", UsageSlot::Counts(OUTPUT_DETAILS)),
    ("iterations", UsageSlot::Passes),
    ("service_tier", UsageSlot::Tier(2, &[])),
    ("speed", UsageSlot::Tier(3, &[])),
    (
        "inference_geo",
        UsageSlot::Tier(1, &["global", "not_available"]),
    ),
    ("server_tool_use", UsageSlot::Counts(SERVER_TOOLS)),
    ("server_tool_use_details", UsageSlot::Counts(SERVER_TOOLS)),
    (
        "server_side_tool_usage_details",
        UsageSlot::Counts(XAI_TOOLS),
    ),
    (
        "num_server_side_tools_used",
        UsageSlot::Count(CountKind::AllTools),
    ),
    ("num_sources_used", UsageSlot::Count(CountKind::Sources)),
    ("tool_calls_details", UsageSlot::Counts(CALLED_TOOLS)),
    ("connectors", UsageSlot::Counts(CONNECTORS)),
    ("citation_tokens", UsageSlot::Count(CountKind::Citation)),
    ("num_search_queries", UsageSlot::Count(CountKind::Queries)),
    ("search_context_size", UsageSlot::OneOf(CONTEXT_SIZES)),
    ("search_units", UsageSlot::Count(CountKind::SearchUnits)),
    ("billed_units", UsageSlot::Counts(BILLED_UNITS)),
    ("pages_processed", UsageSlot::Count(CountKind::Pages)),
    (
        "pages_processed_annotation",
        UsageSlot::Count(CountKind::AnnotatedPages),
    ),
    ("seconds", UsageSlot::Seconds(CountKind::AudioMillis)),
    (
        "prompt_audio_seconds",
        UsageSlot::Seconds(CountKind::AudioMillis),
    ),
    ("characters", UsageSlot::Count(CountKind::Characters)),
];

/// Names in a report on tools next to the usage.
pub(super) const TOOL_USAGE: UsageNames = &[
    ("image_gen", UsageSlot::Counts(DRAW)),
    ("web_search", UsageSlot::Counts(REQUESTS)),
];

const REQUESTS: UsageNames = &[("num_requests", UsageSlot::Count(CountKind::WebSearches))];

const DRAW: UsageNames = &[
    ("input_tokens", UsageSlot::Count(CountKind::DrawInput)),
    ("output_tokens", UsageSlot::Count(CountKind::DrawOutput)),
    ("input_tokens_details", UsageSlot::Counts(DRAW_INPUT)),
    ("output_tokens_details", UsageSlot::Counts(DRAW_OUTPUT)),
];
const DRAW_INPUT: UsageNames = &[("image_tokens", UsageSlot::Count(CountKind::DrawInputImage))];
const DRAW_OUTPUT: UsageNames = &[("image_tokens", UsageSlot::Count(CountKind::DrawOutputImage))];

const SERVER_TOOLS: UsageNames = &[
    (
        "web_search_requests",
        UsageSlot::Count(CountKind::WebSearches),
    ),
    ("web_fetch_requests", UsageSlot::Count(CountKind::Fetched)),
];

const XAI_TOOLS: UsageNames = &[
    ("web_search_calls", UsageSlot::Count(CountKind::WebSearches)),
    ("x_search_calls", UsageSlot::Count(CountKind::OtherSearches)),
    (
        "code_interpreter_calls",
        UsageSlot::Count(CountKind::CodeSessions),
    ),
    (
        "file_search_calls",
        UsageSlot::Count(CountKind::FileSearches),
    ),
    (
        "document_search_calls",
        UsageSlot::Count(CountKind::Attachments),
    ),
    ("image_generation_calls", UsageSlot::Count(CountKind::Drawn)),
];

const CALLED_TOOLS: UsageNames = &[
    (
        "search_web",
        UsageSlot::Counts(&[("invocation", UsageSlot::Count(CountKind::WebSearches))]),
    ),
    (
        "web_search",
        UsageSlot::Counts(&[("invocation", UsageSlot::Count(CountKind::WebSearches))]),
    ),
    (
        "people_search",
        UsageSlot::Counts(&[("invocation", UsageSlot::Count(CountKind::OtherSearches))]),
    ),
    (
        "fetch_url",
        UsageSlot::Counts(&[("invocation", UsageSlot::Count(CountKind::Fetched))]),
    ),
];

const CONNECTORS: UsageNames = &[
    ("web_search", UsageSlot::Count(CountKind::WebSearches)),
    (
        "web_search_premium",
        UsageSlot::Count(CountKind::SearchHigh),
    ),
    (
        "code_interpreter",
        UsageSlot::Count(CountKind::CodeSessions),
    ),
    (
        "document_library",
        UsageSlot::Count(CountKind::FileSearches),
    ),
    ("image_generation", UsageSlot::Count(CountKind::Drawn)),
];

const BILLED_UNITS: UsageNames = &[
    ("input_tokens", UsageSlot::Count(CountKind::Input)),
    ("output_tokens", UsageSlot::Count(CountKind::Output)),
    ("search_units", UsageSlot::Count(CountKind::SearchUnits)),
];

const CONTEXT_SIZES: &[(&str, CountKind)] = &[
    ("low", CountKind::SearchLow),
    ("medium", CountKind::SearchMedium),
    ("high", CountKind::SearchHigh),
];

const LIFETIMES: UsageNames = &[
    (
        "ephemeral_5m_input_tokens",
        UsageSlot::Count(CountKind::WrittenMinutes),
    ),
    (
        "ephemeral_1h_input_tokens",
        UsageSlot::Count(CountKind::WrittenHour),
    ),
];

const INPUT_DETAILS: UsageNames = &[
    ("cached_tokens", UsageSlot::Count(CountKind::Cached)),
    ("cached_read_tokens", UsageSlot::Count(CountKind::Cached)),
    ("cache_write_tokens", UsageSlot::Count(CountKind::Written)),
    ("cached_write_tokens", UsageSlot::Count(CountKind::Written)),
    (
        "cache_creation_tokens",
        UsageSlot::Count(CountKind::Written),
    ),
    (
        "cache_creation_input_tokens",
        UsageSlot::Count(CountKind::Written),
    ),
    ("cached_tokens_details", UsageSlot::Counts(CACHED_DETAILS)),
    ("audio_tokens", UsageSlot::Count(CountKind::InputAudio)),
    ("image_tokens", UsageSlot::Count(CountKind::InputImage)),
    ("video_tokens", UsageSlot::Count(CountKind::InputVideo)),
];

const CACHED_DETAILS: UsageNames = &[
    ("audio_tokens", UsageSlot::Count(CountKind::CachedAudio)),
    ("image_tokens", UsageSlot::Count(CountKind::CachedImage)),
];

const OUTPUT_DETAILS: UsageNames = &[
    ("reasoning_tokens", UsageSlot::Count(CountKind::Reasoning)),
    ("thinking_tokens", UsageSlot::Count(CountKind::Reasoning)),
    ("audio_tokens", UsageSlot::Count(CountKind::OutputAudio)),
    ("image_tokens", UsageSlot::Count(CountKind::OutputImage)),
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
