//! One usage object in any provider's spelling, and what it says in tokens by kind.

use std::fmt;

use proxyxai_contract::usage::Tokens;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::Family;

/// The counts that have been reported; each may be absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Report {
    /// `prompt_tokens`: all of the prompt.
    prompt: Count,
    completion: Count,
    total: Count,
    /// `input_tokens`: all of the prompt, but in Anthropic's meaning only its uncached part.
    input: Count,
    output: Count,
    cached: Count,
    cache_write: Count,
    /// Anthropic's cache counts, beside `input_tokens`.
    cache_read_beside: Count,
    cache_write_beside: Count,
    reasoning: Count,
    input_audio: Count,
    output_audio: Count,
    input_image: Count,
    output_image: Count,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Fields {
    prompt_tokens: Count,
    completion_tokens: Count,
    total_tokens: Count,
    input_tokens: Count,
    output_tokens: Count,
    cached_tokens: Count,
    prompt_cache_hit_tokens: Count,
    cache_creation_input_tokens: Count,
    cache_read_input_tokens: Count,
    prompt_tokens_details: Option<Details>,
    completion_tokens_details: Option<Details>,
    #[serde(alias = "input_token_details")]
    input_tokens_details: Option<Details>,
    #[serde(alias = "output_token_details")]
    output_tokens_details: Option<Details>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    #[serde(rename = "cached_tokens")]
    cached: Count,
    #[serde(rename = "cache_write_tokens", alias = "cache_creation_tokens")]
    cache_write: Count,
    #[serde(rename = "reasoning_tokens")]
    reasoning: Count,
    #[serde(rename = "audio_tokens")]
    audio: Count,
    #[serde(rename = "image_tokens")]
    image: Count,
}

/// A count, if it is one. Nulls and nonsense are absent, so that they cost no other field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Count(Option<u64>);

// === impl Report ===

impl Report {
    /// Reads an object; none when it has no count, and so is no usage.
    pub(super) fn read(object: &[u8]) -> Option<Self> {
        let fields: Fields = serde_json::from_slice(object).ok()?;
        let Fields {
            prompt_tokens,
            completion_tokens,
            total_tokens,
            input_tokens,
            output_tokens,
            cached_tokens,
            prompt_cache_hit_tokens,
            cache_creation_input_tokens,
            cache_read_input_tokens,
            prompt_tokens_details,
            completion_tokens_details,
            input_tokens_details,
            output_tokens_details,
        } = fields;
        let input = prompt_tokens_details
            .or(input_tokens_details)
            .unwrap_or_default();
        let output = completion_tokens_details
            .or(output_tokens_details)
            .unwrap_or_default();
        let report = Self {
            prompt: prompt_tokens,
            completion: completion_tokens,
            total: total_tokens,
            input: input_tokens,
            output: output_tokens,
            cached: input.cached.or(prompt_cache_hit_tokens).or(cached_tokens),
            cache_write: input.cache_write,
            cache_read_beside: cache_read_input_tokens,
            cache_write_beside: cache_creation_input_tokens,
            reasoning: output.reasoning,
            input_audio: input.audio,
            output_audio: output.audio,
            input_image: input.image,
            output_image: output.image,
        };
        (report != Self::default()).then_some(report)
    }

    /// This later part of a report laid over an earlier one, field by field.
    pub(super) fn over(self, before: Self) -> Self {
        Self {
            prompt: self.prompt.over(before.prompt),
            completion: self.completion.over(before.completion),
            total: self.total.over(before.total),
            input: self.input.over(before.input),
            output: self.output.over(before.output),
            cached: self.cached.over(before.cached),
            cache_write: self.cache_write.over(before.cache_write),
            cache_read_beside: self.cache_read_beside.over(before.cache_read_beside),
            cache_write_beside: self.cache_write_beside.over(before.cache_write_beside),
            reasoning: self.reasoning.over(before.reasoning),
            input_audio: self.input_audio.over(before.input_audio),
            output_audio: self.output_audio.over(before.output_audio),
            input_image: self.input_image.over(before.input_image),
            output_image: self.output_image.over(before.output_image),
        }
    }

    /// Whether it counts nothing.
    pub(super) fn is_zero(&self) -> bool {
        let tokens = self.tokens(Family::OpenAi);
        tokens.input == 0 && tokens.output == 0
    }

    /// Tokens by kind; totals include their parts.
    pub(super) fn tokens(self, family: Family) -> Tokens {
        let (mut input, cached, cache_write) = self.input(family);
        let (output, reasoning) = self.output(input);
        // Some providers count the cached part beside the prompt; parts larger than the whole show it.
        let parts = cached.saturating_add(cache_write);
        if parts > input {
            input = input.saturating_add(parts);
        }
        Tokens {
            input,
            cached,
            cache_write,
            output,
            reasoning: reasoning.min(output),
            input_audio: self.input_audio.get().min(input),
            output_audio: self.output_audio.get().min(output),
            input_image: self.input_image.get().min(input),
            output_image: self.output_image.get().min(output),
        }
    }

    /// All prompt tokens, those read from the cache, and those written to it.
    fn input(&self, family: Family) -> (u64, u64, u64) {
        let cached = self.cached.or(self.cache_read_beside).get();
        let cache_write = self.cache_write.or(self.cache_write_beside).get();
        if let Count(Some(prompt)) = self.prompt {
            return (prompt, cached, cache_write);
        }
        let beside = self.cache_read_beside.0.is_some() || self.cache_write_beside.0.is_some();
        let Count(Some(input)) = self.input else {
            // Rerankers and some embedders report a total alone.
            let alone = self.output.0.is_none() && self.completion.0.is_none();
            let input = if alone { self.total.get() } else { 0 };
            return (
                input.max(cached.saturating_add(cache_write)),
                cached,
                cache_write,
            );
        };
        if family == Family::Anthropic || beside {
            let (read, write) = (self.cache_read_beside.get(), self.cache_write_beside.get());
            return (
                input.saturating_add(read).saturating_add(write),
                read,
                write,
            );
        }
        (input, cached, cache_write)
    }

    /// All generated tokens, and those spent on reasoning. Some providers leave reasoning out of
    /// `completion_tokens` and have it in the total alone.
    fn output(&self, input: u64) -> (u64, u64) {
        let reasoning = self.reasoning.get();
        let Count(Some(completion)) = self.completion else {
            return (self.output.get(), reasoning);
        };
        let hidden = self
            .total
            .get()
            .saturating_sub(input)
            .saturating_sub(completion);
        (completion.saturating_add(hidden), reasoning.max(hidden))
    }
}

// === impl Count ===

impl Count {
    fn get(self) -> u64 {
        self.0.unwrap_or_default()
    }

    fn or(self, other: Self) -> Self {
        Self(self.0.or(other.0))
    }

    /// The later of two counts. Counts only grow within an answer, so a later zero says nothing.
    fn over(self, before: Self) -> Self {
        match self.0 {
            Some(count) if count > 0 => self,
            Some(_) | None => before.or(self),
        }
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_any(CountVisitor)
    }
}

struct CountVisitor;

impl<'de> Visitor<'de> for CountVisitor {
    type Value = Count;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_u64<E>(self, count: u64) -> Result<Count, E> {
        Ok(Count(Some(count)))
    }

    fn visit_i64<E>(self, count: i64) -> Result<Count, E> {
        Ok(Count(u64::try_from(count).ok()))
    }

    fn visit_f64<E>(self, count: f64) -> Result<Count, E> {
        // Whole numbers written with a fraction; anything else is no count.
        let whole = count.is_finite() && count.fract() == 0.0;
        Ok(Count(
            whole.then(|| format!("{count:.0}").parse().ok()).flatten(),
        ))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Count, E> {
        Ok(Count(None))
    }

    fn visit_str<E>(self, _: &str) -> Result<Count, E> {
        Ok(Count(None))
    }

    fn visit_unit<E>(self) -> Result<Count, E> {
        Ok(Count(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Count, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Count(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Count, A::Error> {
        while items.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Count(None))
    }
}
