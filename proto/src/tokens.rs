//! What a call used: tokens by kind, and images.

/// Tokens of one call by kind. Totals include their parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TokenUsage {
    /// All prompt tokens, cached ones included.
    pub input: u64,
    /// Prompt tokens read from the provider's cache.
    pub cached: u64,
    /// Prompt tokens written to the provider's cache.
    pub cache_write: u64,
    /// Part of `cache_write` that is kept for an hour, which costs more.
    pub cache_write_hour: u64,
    /// All generated tokens, reasoning included.
    pub output: u64,
    /// Generated tokens spent on reasoning.
    pub reasoning: u64,
    /// Audio part of `input`.
    pub input_audio: u64,
    /// Audio part of `output`.
    pub output_audio: u64,
    /// Image part of `input`.
    pub input_image: u64,
    /// Image part of `output`.
    pub output_image: u64,
    /// Video part of `input`.
    pub input_video: u64,
    /// Audio part of `cached`.
    pub cached_audio: u64,
    /// Image part of `cached`.
    pub cached_image: u64,
}

/// Images of one call that are charged by the piece, or the requested size of a video.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageUsage {
    /// How many were requested.
    pub count: u64,
    /// Requested size, e.g. `1024x1024`, prefixed with the quality if the call names one: `high/1024x1024`; empty if it
    /// named neither.
    pub size: String,
}
