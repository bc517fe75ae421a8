//! One usage object in any provider's format, converted to tokens by kind.

use std::iter;

use proxyxai_contract::{part::BillPart, tokens::TokenUsage};

use super::{
    count::{Count, read_into},
    names::{CountKind, KINDS, PIECES, USAGE, UsageNames},
    shape::UsageSchema,
    tier::Tier,
};

/// The reported counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UsageReport {
    counts: [Count; KINDS],
    /// The service tier.
    pub(super) tier: Tier,
}

/// The result of a provider's own counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Reported {
    pub(crate) tokens: TokenUsage,
    /// The count of the prompt, or of the answer, is impossible. Its tokens are zero then.
    pub(crate) absurd_input: bool,
    pub(crate) absurd_output: bool,
    /// Some count is impossible.
    pub(crate) absurd: bool,
}

/// Separate counts of the prompt: if one of them is corrected, all are.
const BESIDE: [CountKind; 5] = [
    CountKind::Input,
    CountKind::ReadBeside,
    CountKind::WrittenBeside,
    CountKind::WrittenMinutes,
    CountKind::WrittenHour,
];

/// Tool counts by purpose.
const TOOLS: [CountKind; 7] = [
    CountKind::WebSearches,
    CountKind::OtherSearches,
    CountKind::FileSearches,
    CountKind::CodeSessions,
    CountKind::Fetched,
    CountKind::Attachments,
    CountKind::Drawn,
];

// === impl UsageReport ===

impl Default for UsageReport {
    fn default() -> Self {
        Self {
            counts: [Count::Absent; KINDS],
            tier: Tier::default(),
        }
    }
}

impl UsageReport {
    /// Reads an object. Returns `None` if it has no count, so is no usage.
    ///
    /// # Errors
    /// Errors if it cannot be read.
    pub(super) fn read(object: &[u8]) -> Result<Option<Self>, serde_json::Error> {
        Self::read_by(USAGE, object)
    }

    /// Like `read`, for an object with other names.
    ///
    /// # Errors
    /// Errors if it cannot be read.
    pub(super) fn read_by(
        names: UsageNames,
        object: &[u8],
    ) -> Result<Option<Self>, serde_json::Error> {
        let mut report = Self::default();
        read_into(&mut report, names, object)?;
        let says = report.counts.iter().any(|count| *count != Count::Absent);
        Ok(says.then_some(report))
    }

    pub(super) fn of(&self, kind: CountKind) -> Count {
        self.counts.get(kind as usize).copied().unwrap_or_default()
    }

    fn get(&self, kind: CountKind) -> u64 {
        self.of(kind).get()
    }

    pub(super) fn set(&mut self, kind: CountKind, count: Count) {
        if let Some(place) = self.counts.get_mut(kind as usize) {
            *place = count;
        }
    }

    /// Raises the tokens written to the cache to the sum of its lifetimes.
    pub(super) fn add_up_lifetimes(&mut self) {
        let by_lifetime = self
            .of(CountKind::WrittenMinutes)
            .plus(self.of(CountKind::WrittenHour));
        let written = self.of(CountKind::WrittenBeside).larger(by_lifetime);
        self.set(CountKind::WrittenBeside, written);
    }

    /// Whether it reports an output of zero.
    pub(super) fn put_out_nothing(&self) -> bool {
        self.of(CountKind::Output) == Count::Said(0)
    }

    /// The sum of two reports that are both billed.
    pub(super) fn plus(&self, other: &Self) -> Self {
        self.with(other, Count::plus)
    }

    pub(super) fn larger(&self, other: &Self) -> Self {
        self.with(other, Count::larger)
    }

    /// This later report on top of an earlier one, count by count.
    pub(super) fn over(&self, before: &Self) -> Self {
        let mut report = self.with(before, Count::over);
        report.tier = self.tier.over(before.tier);
        if BESIDE.iter().any(|kind| self.get(*kind) > 0) {
            for kind in BESIDE {
                if let Count::Said(_) = self.of(kind) {
                    report.set(kind, self.of(kind));
                }
            }
        }
        report
    }

    fn with(&self, other: &Self, join: impl Fn(Count, Count) -> Count) -> Self {
        let mut both = *self;
        for (one, other) in both.counts.iter_mut().zip(&other.counts) {
            *one = join(*one, *other);
        }
        both
    }

    /// Tokens by kind. Totals include their parts.
    pub(super) fn reported(&self, schema: UsageSchema) -> Reported {
        let whole = self.of(CountKind::Prompt).first(self.of(CountKind::Input));
        let made = self
            .of(CountKind::Completion)
            .first(self.of(CountKind::Output));
        let cache = self.cache(schema);
        let mut reported = Reported {
            absurd_input: whole == Count::Absurd || cache.absurd,
            absurd_output: made == Count::Absurd,
            absurd: self.counts.contains(&Count::Absurd),
            ..Reported::default()
        };
        let (input, output, hidden) = self.sums(&cache, whole, made);
        let part = |kind, whole: u64| self.get(kind).min(whole);
        let tokens = &mut reported.tokens;
        if !reported.absurd_input {
            (tokens.input, tokens.cached) = (input, cache.read.min(input));
            tokens.cached_audio = part(CountKind::CachedAudio, tokens.cached);
            let silent = tokens.cached.saturating_sub(tokens.cached_audio);
            tokens.cached_image = part(CountKind::CachedImage, silent);
            tokens.cache_write = cache.written.min(input.saturating_sub(tokens.cached));
            tokens.cache_write_hour = part(CountKind::WrittenHour, tokens.cache_write);
            tokens.input_audio = part(CountKind::InputAudio, input);
            let silent = input.saturating_sub(tokens.input_audio);
            tokens.input_image = part(CountKind::InputImage, silent);
            let still = silent.saturating_sub(tokens.input_image);
            tokens.input_video = part(CountKind::InputVideo, still);
        }
        if !reported.absurd_output {
            // The kinds of output do not overlap.
            let made = |kind| match self.of(kind) {
                Count::Absent if schema.makes() == Some(kind) => output,
                count => count.get(),
            };
            let thought = self
                .get(CountKind::Reasoning)
                .max(self.get(CountKind::ReasoningBeside));
            tokens.output = output;
            tokens.reasoning = thought.max(hidden).min(output);
            let shown = output.saturating_sub(tokens.reasoning);
            tokens.output_audio = made(CountKind::OutputAudio).min(shown);
            let silent = shown.saturating_sub(tokens.output_audio);
            tokens.output_image = made(CountKind::OutputImage).min(silent);
        }
        reported
    }

    /// Whether it counts tokens.
    pub(super) fn counts_tokens(&self) -> bool {
        let tokens = self.counts.iter().take(CountKind::DrawInput as usize);
        tokens.into_iter().any(|count| *count != Count::Absent)
    }

    /// The units charged in addition to tokens.
    pub(super) fn pieces(&self) -> impl Iterator<Item = (BillPart, u64)> + '_ {
        let counts = PIECES.iter().map(|(kind, part)| (*part, self.get(*kind)));
        counts.filter(|(_, count)| *count > 0)
    }

    /// Tool calls of unknown kind. Nearly all are searches, or have the same price.
    pub(super) fn tools(&self) -> u64 {
        let apart = TOOLS.iter().any(|kind| self.of(*kind) != Count::Absent);
        if apart {
            0
        } else {
            self.get(CountKind::AllTools)
        }
    }

    /// Whether it has a count for a part, even zero.
    pub(super) fn tells(&self, part: BillPart) -> bool {
        let mut kinds = PIECES.iter().filter(|(_, reported)| *reported == part);
        kinds.any(|(kind, _)| self.of(*kind) != Count::Absent)
    }

    /// Adds the tokens of the image model that was called for the answering model, if a report on tools has them.
    pub(super) fn drawn(&self, tokens: &mut TokenUsage) {
        let add = |sum: &mut u64, kind| *sum = sum.saturating_add(self.get(kind));
        add(&mut tokens.input, CountKind::DrawInput);
        add(&mut tokens.output, CountKind::DrawOutput);
        let image = self.get(CountKind::DrawInputImage);
        tokens.input_image = tokens
            .input_image
            .saturating_add(image.min(self.get(CountKind::DrawInput)));
        // Without details, all of it is images.
        let image = match self.of(CountKind::DrawOutputImage) {
            Count::Absent => self.get(CountKind::DrawOutput),
            count => count.get().min(self.get(CountKind::DrawOutput)),
        };
        tokens.output_image = tokens.output_image.saturating_add(image);
    }

    /// Whether it has such tokens.
    pub(super) fn has_drawn(&self) -> bool {
        self.get(CountKind::DrawOutput) > 0
    }

    /// The whole prompt, the whole output, and the part of the output that is only in the total.
    fn sums(&self, cache: &Cache, whole: Count, made: Count) -> (u64, u64, u64) {
        let total = self.of(CountKind::Total);
        let parts = cache.read.saturating_add(cache.written);
        if cache.beside {
            return (whole.get().saturating_add(parts), made.get(), 0);
        }
        let Count::Said(whole) = whole else {
            // Rerankers and some embedders report only a total.
            let alone = whole == Count::Absent && made == Count::Absent;
            let input = if alone { total.get() } else { 0 };
            let known = parts.saturating_add(self.get(CountKind::Missed));
            let (output, hidden) = self.thought(made.get(), 0);
            return (input.max(known), output, hidden);
        };
        let (whole, made) = (u64::from(whole), made.get());
        let gap = total.get().saturating_sub(whole).saturating_sub(made);
        let between = cache.between(gap, self.get(CountKind::Reasoning));
        let (beside, hidden) = between.unwrap_or((0, gap));
        let mut input = whole.saturating_add(beside);
        // Parts larger than the whole are not included in it.
        if parts > input {
            input = whole.saturating_add(parts);
        }
        let (output, hidden) = self.thought(made, hidden);
        (input, output, hidden)
    }

    /// The whole output, and the part that is not in the completion, of which `hidden` comes from the total.
    fn thought(&self, made: u64, hidden: u64) -> (u64, u64) {
        let apart = self.get(CountKind::ReasoningBeside);
        if hidden == 0 && apart > made {
            return (made.saturating_add(apart), apart);
        }
        let output = made.saturating_add(hidden);
        // If details exceed the whole, they are a lower bound of the output.
        (output.max(self.get(CountKind::Reasoning)), hidden)
    }

    fn cache(&self, schema: UsageSchema) -> Cache {
        let (read, written) = (
            self.of(CountKind::ReadBeside),
            self.of(CountKind::WrittenBeside),
        );
        let named = read != Count::Absent || written != Count::Absent;
        let prompt = matches!(self.of(CountKind::Prompt), Count::Said(1..) | Count::Absurd);
        let beside = !prompt
            && self.of(CountKind::Input) != Count::Absent
            && (schema == UsageSchema::Messages || named);
        let (read, written) = if beside {
            (read, written)
        } else {
            (
                self.of(CountKind::Cached).first(read),
                self.of(CountKind::Written).first(written),
            )
        };
        Cache {
            read: read.get(),
            written: written.get(),
            beside,
            absurd: beside && (read == Count::Absurd || written == Count::Absurd),
        }
    }
}

/// The prompt's tokens that involve the cache.
struct Cache {
    read: u64,
    written: u64,
    /// Whether they are reported in addition to the rest of the prompt.
    beside: bool,
    absurd: bool,
}

impl Cache {
    /// Explains the gap between a total and its two parts, if it is exactly the sum of other counts: tokens in addition
    /// to the prompt, and reasoning in addition to the completion.
    fn between(&self, gap: u64, reasoning: u64) -> Option<(u64, u64)> {
        let both = self.read.saturating_add(self.written);
        let beside = || [0, self.read, self.written, both].into_iter();
        let mut ways = iter::once((0, reasoning))
            .chain(beside().map(|beside| (beside, 0)))
            .chain(beside().map(|beside| (beside, reasoning)));
        ways.find(|(beside, hidden)| beside.saturating_add(*hidden) == gap)
    }
}
