//! One usage object in any provider's spelling, and what it says in tokens by kind.

use std::iter;

use proxyxai_contract::{part::Part, usage::Tokens};

use super::{
    count::{Count, read_into},
    names::{KINDS, Kind, Names, PIECES, USAGE},
    shape::Schema,
    tier::Tier,
};

/// The counts that have been reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Report {
    counts: [Count; KINDS],
    /// The tier that served.
    pub(super) tier: Tier,
}

/// What a provider's own counts come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Reported {
    pub(crate) tokens: Tokens,
    /// What is said of the prompt, or of the answer, can not be; its tokens are nothing then.
    pub(crate) absurd_input: bool,
    pub(crate) absurd_output: bool,
    /// Something of it can not be.
    pub(crate) absurd: bool,
}

/// Counts of the prompt that stand beside each other: when one of them is corrected, all are.
const BESIDE: [Kind; 5] = [
    Kind::Input,
    Kind::ReadBeside,
    Kind::WrittenBeside,
    Kind::WrittenMinutes,
    Kind::WrittenHour,
];

/// Counts of tools by which it is told what each was for.
const TOOLS: [Kind; 7] = [
    Kind::WebSearches,
    Kind::OtherSearches,
    Kind::FileSearches,
    Kind::CodeSessions,
    Kind::Fetched,
    Kind::Attachments,
    Kind::Drawn,
];

// === impl Report ===

impl Default for Report {
    fn default() -> Self {
        Self {
            counts: [Count::Absent; KINDS],
            tier: Tier::default(),
        }
    }
}

impl Report {
    /// Reads an object; none when it has no count, and so is no usage.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn read(object: &[u8]) -> Result<Option<Self>, serde_json::Error> {
        Self::read_by(USAGE, object)
    }

    /// The same of an object with other names.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn read_by(names: Names, object: &[u8]) -> Result<Option<Self>, serde_json::Error> {
        let mut report = Self::default();
        read_into(&mut report, names, object)?;
        let says = report.counts.iter().any(|count| *count != Count::Absent);
        Ok(says.then_some(report))
    }

    pub(super) fn of(&self, kind: Kind) -> Count {
        self.counts.get(kind as usize).copied().unwrap_or_default()
    }

    fn get(&self, kind: Kind) -> u64 {
        self.of(kind).get()
    }

    pub(super) fn set(&mut self, kind: Kind, count: Count) {
        if let Some(place) = self.counts.get_mut(kind as usize) {
            *place = count;
        }
    }

    /// All that is written to the cache is at least what is told of it by its lifetimes.
    pub(super) fn add_up_lifetimes(&mut self) {
        let by_lifetime = self
            .of(Kind::WrittenMinutes)
            .plus(self.of(Kind::WrittenHour));
        let written = self.of(Kind::WrittenBeside).larger(by_lifetime);
        self.set(Kind::WrittenBeside, written);
    }

    /// Whether it is said that nothing was made.
    pub(super) fn put_out_nothing(&self) -> bool {
        self.of(Kind::Output) == Count::Said(0)
    }

    /// What each of two tells that are billed both.
    pub(super) fn plus(&self, other: &Self) -> Self {
        self.with(other, Count::plus)
    }

    pub(super) fn larger(&self, other: &Self) -> Self {
        self.with(other, Count::larger)
    }

    /// This later report laid over an earlier one, count by count.
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

    /// Tokens by kind; totals include their parts.
    pub(super) fn reported(&self, schema: Schema) -> Reported {
        let whole = self.of(Kind::Prompt).first(self.of(Kind::Input));
        let made = self.of(Kind::Completion).first(self.of(Kind::Output));
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
            tokens.cached_audio = part(Kind::CachedAudio, tokens.cached);
            let silent = tokens.cached.saturating_sub(tokens.cached_audio);
            tokens.cached_image = part(Kind::CachedImage, silent);
            tokens.cache_write = cache.written.min(input.saturating_sub(tokens.cached));
            tokens.cache_write_hour = part(Kind::WrittenHour, tokens.cache_write);
            tokens.input_audio = part(Kind::InputAudio, input);
            let silent = input.saturating_sub(tokens.input_audio);
            tokens.input_image = part(Kind::InputImage, silent);
            let still = silent.saturating_sub(tokens.input_image);
            tokens.input_video = part(Kind::InputVideo, still);
        }
        if !reported.absurd_output {
            // What is one kind of output is no other.
            let made = |kind| match self.of(kind) {
                Count::Absent if schema.makes() == Some(kind) => output,
                count => count.get(),
            };
            let thought = self
                .get(Kind::Reasoning)
                .max(self.get(Kind::ReasoningBeside));
            tokens.output = output;
            tokens.reasoning = thought.max(hidden).min(output);
            let shown = output.saturating_sub(tokens.reasoning);
            tokens.output_audio = made(Kind::OutputAudio).min(shown);
            let silent = shown.saturating_sub(tokens.output_audio);
            tokens.output_image = made(Kind::OutputImage).min(silent);
        }
        reported
    }

    /// Whether it tells of tokens at all.
    pub(super) fn counts_tokens(&self) -> bool {
        let tokens = self.counts.iter().take(Kind::DrawInput as usize);
        tokens.into_iter().any(|count| *count != Count::Absent)
    }

    /// What is told beside the tokens of the prompt and the answer, by what it is charged as.
    pub(super) fn pieces(&self) -> impl Iterator<Item = (Part, u64)> + '_ {
        let counts = PIECES.iter().map(|(kind, part)| (*part, self.get(*kind)));
        counts.filter(|(_, count)| *count > 0)
    }

    /// How many calls of tools there were, where it is not told of which; nearly all are searches, or cost the same.
    pub(super) fn tools(&self) -> u64 {
        let apart = TOOLS.iter().any(|kind| self.of(*kind) != Count::Absent);
        if apart { 0 } else { self.get(Kind::AllTools) }
    }

    /// Whether it tells of a part, be it that there is none.
    pub(super) fn tells(&self, part: Part) -> bool {
        let mut kinds = PIECES.iter().filter(|(_, told)| *told == part);
        kinds.any(|(kind, _)| self.of(*kind) != Count::Absent)
    }

    /// Tokens of the model that made pictures for the one that answered, where a report of tools tells them.
    pub(super) fn drawn(&self, tokens: &mut Tokens) {
        let add = |sum: &mut u64, kind| *sum = sum.saturating_add(self.get(kind));
        add(&mut tokens.input, Kind::DrawInput);
        add(&mut tokens.output, Kind::DrawOutput);
        let image = self.get(Kind::DrawInputImage);
        tokens.input_image = tokens
            .input_image
            .saturating_add(image.min(self.get(Kind::DrawInput)));
        // Where no details say so, it is pictures.
        let image = match self.of(Kind::DrawOutputImage) {
            Count::Absent => self.get(Kind::DrawOutput),
            count => count.get().min(self.get(Kind::DrawOutput)),
        };
        tokens.output_image = tokens.output_image.saturating_add(image);
    }

    /// Whether it tells of such tokens.
    pub(super) fn has_drawn(&self) -> bool {
        self.get(Kind::DrawOutput) > 0
    }

    /// All of the prompt, all that was made, and what of that only the total tells.
    fn sums(&self, cache: &Cache, whole: Count, made: Count) -> (u64, u64, u64) {
        let total = self.of(Kind::Total);
        let parts = cache.read.saturating_add(cache.written);
        if cache.beside {
            return (whole.get().saturating_add(parts), made.get(), 0);
        }
        let Count::Said(whole) = whole else {
            // Rerankers and some embedders report a total alone.
            let alone = whole == Count::Absent && made == Count::Absent;
            let input = if alone { total.get() } else { 0 };
            let told = parts.saturating_add(self.get(Kind::Missed));
            let (output, hidden) = self.thought(made.get(), 0);
            return (input.max(told), output, hidden);
        };
        let (whole, made) = (u64::from(whole), made.get());
        let gap = total.get().saturating_sub(whole).saturating_sub(made);
        let between = cache.between(gap, self.get(Kind::Reasoning));
        let (beside, hidden) = between.unwrap_or((0, gap));
        let mut input = whole.saturating_add(beside);
        // Parts larger than the whole are beside it as well.
        if parts > input {
            input = whole.saturating_add(parts);
        }
        let (output, hidden) = self.thought(made, hidden);
        (input, output, hidden)
    }

    /// All that was made, and what of it stands beside the completion, of which the total tells so much.
    fn thought(&self, made: u64, hidden: u64) -> (u64, u64) {
        let apart = self.get(Kind::ReasoningBeside);
        if hidden == 0 && apart > made {
            return (made.saturating_add(apart), apart);
        }
        let output = made.saturating_add(hidden);
        // Where details are larger than the whole, no less than they tell was made.
        (output.max(self.get(Kind::Reasoning)), hidden)
    }

    fn cache(&self, schema: Schema) -> Cache {
        let (read, written) = (self.of(Kind::ReadBeside), self.of(Kind::WrittenBeside));
        let named = read != Count::Absent || written != Count::Absent;
        let prompt = matches!(self.of(Kind::Prompt), Count::Said(1..) | Count::Absurd);
        let beside = !prompt
            && self.of(Kind::Input) != Count::Absent
            && (schema == Schema::Messages || named);
        let (read, written) = if beside {
            (read, written)
        } else {
            (
                self.of(Kind::Cached).first(read),
                self.of(Kind::Written).first(written),
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

/// What of the prompt has to do with the cache.
struct Cache {
    read: u64,
    written: u64,
    /// Whether it is told beside the rest of the prompt.
    beside: bool,
    absurd: bool,
}

impl Cache {
    /// What lies between a total and its two parts, when it is exactly something that is told elsewhere: tokens
    /// beside the prompt, and reasoning beside the completion.
    fn between(&self, gap: u64, reasoning: u64) -> Option<(u64, u64)> {
        let both = self.read.saturating_add(self.written);
        let beside = || [0, self.read, self.written, both].into_iter();
        let mut ways = iter::once((0, reasoning))
            .chain(beside().map(|beside| (beside, 0)))
            .chain(beside().map(|beside| (beside, reasoning)));
        ways.find(|(beside, hidden)| beside.saturating_add(*hidden) == gap)
    }
}
