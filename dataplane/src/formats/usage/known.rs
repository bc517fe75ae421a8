//! The usage known at the end of an answer, and how it is known: reported by the provider, or to be counted from the
//! texts.

use proxyxai_contract::{tokens::TokenUsage, usage::UsageMeasure};

use super::{ModelBounds, Reported, UsageReader};

/// The usage of an answer at its end.
pub(crate) struct ResolvedUsage {
    /// The provider's own count.
    pub(crate) reported: Option<Reported>,
    pub(crate) measure: UsageMeasure,
    /// What must be counted from the texts.
    pub(crate) counts_input: bool,
    pub(crate) counts_output: bool,
    /// Whether the provider's counts are impossible.
    pub(crate) absurd: bool,
}

impl ResolvedUsage {
    /// The usage of a complete or interrupted answer. `bounds` is only called for large counts.
    pub(crate) fn of(
        reader: &UsageReader,
        complete: bool,
        bounds: impl FnOnce() -> ModelBounds,
    ) -> Self {
        let whole = complete && !reader.failed();
        // All zeros mean nothing for an answer that was interrupted or had some text.
        let silent = !whole || (reader.is_text() && reader.delivered_bytes() > 0);
        let says = |reported: &Reported| !silent || reported.tokens != TokenUsage::default();
        let mut reported = reader.reported().filter(says);
        if let Some(reported) = &mut reported
            && ModelBounds::concern(reported)
        {
            bounds().hold(reported);
        }
        let last_word = reader.has_last_word();
        let measure = match &reported {
            _ if !whole => UsageMeasure::Partial,
            Some(reported) if last_word && !reported.absurd => UsageMeasure::Measured,
            // A stream with only an initial report, which did not announce its end.
            Some(_) if !last_word && !reader.finished() => UsageMeasure::Partial,
            Some(_) | None => UsageMeasure::Estimated,
        };
        let lacks = |part: fn(&Reported) -> bool| reported.as_ref().is_none_or(part);
        Self {
            measure,
            counts_input: lacks(|reported| reported.absurd_input),
            // Usage reported before the interruption may lack output that followed.
            counts_output: !whole || !last_word || lacks(|reported| reported.absurd_output),
            absurd: reader.garbled() || reported.is_some_and(|reported| reported.absurd),
            reported,
        }
    }

    /// Whether the response was no answer.
    pub(crate) fn is_nothing(&self, reader: &UsageReader) -> bool {
        self.measure == UsageMeasure::Estimated && !self.absurd && !reader.answered()
    }

    /// The tokens, with an estimate for those to be counted.
    pub(crate) fn tokens(&self, guess: &TokenUsage) -> TokenUsage {
        let mut tokens = self.reported.map(|it| it.tokens).unwrap_or_default();
        if self.counts_input {
            tokens.input = guess.input;
        }
        if self.counts_output {
            tokens.output = tokens.output.max(guess.output);
        }
        tokens
    }
}
