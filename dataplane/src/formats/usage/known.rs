//! What is known of an answer's tokens when it ends, and how: told by the provider, or to be counted in its texts.

use proxyxai_contract::{tokens::TokenUsage, usage::UsageMeasure};

use super::{ModelBounds, Reported, UsageReader};

/// What is known of an answer's tokens.
pub(crate) struct ResolvedUsage {
    /// The provider's own count.
    pub(crate) reported: Option<Reported>,
    pub(crate) measure: UsageMeasure,
    /// What has to be counted in texts.
    pub(crate) counts_input: bool,
    pub(crate) counts_output: bool,
    /// Whether the provider's counts can not be.
    pub(crate) absurd: bool,
}

impl ResolvedUsage {
    /// Of an answer that ended, be it complete or not. What its model can do is asked for only where it matters.
    pub(crate) fn of(
        reader: &UsageReader,
        complete: bool,
        bounds: impl FnOnce() -> ModelBounds,
    ) -> Self {
        let whole = complete && !reader.failed();
        // None at all says nothing of an answer that ended early, or that had some text.
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
            // A stream that only began to tell, and did not say that it ends.
            Some(_) if !last_word && !reader.finished() => UsageMeasure::Partial,
            Some(_) | None => UsageMeasure::Estimated,
        };
        let lacks = |part: fn(&Reported) -> bool| reported.as_ref().is_none_or(part);
        Self {
            measure,
            counts_input: lacks(|reported| reported.absurd_input),
            // What was reported before the break may lack the output that went out after it.
            counts_output: !whole || !last_word || lacks(|reported| reported.absurd_output),
            absurd: reader.garbled() || reported.is_some_and(|reported| reported.absurd),
            reported,
        }
    }

    /// Whether what came was no answer.
    pub(crate) fn is_nothing(&self, reader: &UsageReader) -> bool {
        self.measure == UsageMeasure::Estimated && !self.absurd && !reader.answered()
    }

    /// The tokens, by a guess where they will be counted.
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
