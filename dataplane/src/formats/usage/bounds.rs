//! Upper bounds on a provider's counts, by the model that was called. A larger count is the provider's fault and must
//! not ruin the account.

use super::Reported;

/// A call may take several passes through its model: compaction, and searches by tools.
const PASSES_MAX: u64 = 16;
/// Price tables may lag behind what a model can do, so counts up to here are not checked.
const ASKED_ABOVE: u64 = 1_000_000;
/// As much as the largest existing model reads.
const UNKNOWN_MAX: u64 = 10_000_000;

/// Most tokens of a pass through a model, if known.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ModelBounds {
    pub(crate) input: Option<u64>,
    pub(crate) output: Option<u64>,
}

impl ModelBounds {
    /// Whether counts are large enough to be checked.
    pub(crate) fn concern(reported: &Reported) -> bool {
        reported.tokens.input > ASKED_ABOVE || reported.tokens.output > ASKED_ABOVE
    }

    /// Removes impossible counts.
    pub(crate) fn hold(self, reported: &mut Reported) {
        let most = |cap: Option<u64>| {
            cap.map_or(UNKNOWN_MAX, |cap| {
                cap.saturating_mul(PASSES_MAX).max(ASKED_ABOVE)
            })
        };
        let tokens = &mut reported.tokens;
        if tokens.input > most(self.input) {
            reported.absurd_input = true;
            tokens.input = 0;
            (tokens.cached, tokens.cache_write, tokens.cache_write_hour) = (0, 0, 0);
            (tokens.input_audio, tokens.input_image) = (0, 0);
        }
        if tokens.output > most(self.output) {
            reported.absurd_output = true;
            (tokens.output, tokens.reasoning) = (0, 0);
            (tokens.output_audio, tokens.output_image) = (0, 0);
        }
        reported.absurd |= reported.absurd_input || reported.absurd_output;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proxyxai_contract::tokens::TokenUsage;

    use super::*;

    fn held(input: u64, output: u64, bounds: ModelBounds) -> Reported {
        let mut reported = Reported {
            tokens: TokenUsage {
                input,
                output,
                ..TokenUsage::default()
            },
            ..Reported::default()
        };
        bounds.hold(&mut reported);
        reported
    }

    #[test]
    fn what_a_model_can_not_do_is_not_taken_over() {
        let known = ModelBounds {
            input: Some(200_000),
            output: Some(8_000),
        };
        for (input, output, bounds, expected) in [
            (3_200_000, 1_000_000, known, (false, false)),
            (3_200_001, 1_000_000, known, (true, false)),
            (5, 1_000_001, known, (false, true)),
            (
                10_000_000,
                10_000_000,
                ModelBounds::default(),
                (false, false),
            ),
            (10_000_001, 10_000_001, ModelBounds::default(), (true, true)),
        ] {
            let reported = held(input, output, bounds);
            assert_eq!(
                (reported.absurd_input, reported.absurd_output),
                expected,
                "{input} {output}"
            );
        }
    }

    proptest! {
        #[test]
        fn nothing_is_left_of_a_side_that_can_not_be(input in any::<u64>(), output in any::<u64>()) {
            let reported = held(input, output, ModelBounds::default());
            prop_assert!(reported.tokens.input <= UNKNOWN_MAX && reported.tokens.output <= UNKNOWN_MAX);
            prop_assert_eq!(reported.absurd, input > UNKNOWN_MAX || output > UNKNOWN_MAX);
        }
    }
}
