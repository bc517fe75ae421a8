//! Estimates what a model wrote unseen when a call ended before its provider reported usage. It goes by the time
//! without output, for models that reason before they write and for responses that come as a whole.

use std::time::Duration;

/// About what large reasoning models write in a second. A slower model costs less than is charged, a faster one more.
/// For an exact count the client has to wait, or the response has to be read on.
const TOKENS_PER_SECOND: u64 = 100;
/// Shorter silences are the way to the provider and back, and its queue.
const SILENCE_MIN: Duration = Duration::from_secs(1);

/// The part of a silence in which the model worked.
pub(crate) fn silence(time: Duration) -> Duration {
    if time < SILENCE_MIN {
        Duration::ZERO
    } else {
        time
    }
}

/// Tokens written during a silence: at most `most`, less the `seen` ones.
pub(crate) fn tokens(silence: Duration, most: u64, seen: u64) -> u64 {
    let millis = u64::try_from(silence.as_millis()).unwrap_or(u64::MAX);
    let written = millis.saturating_mul(TOKENS_PER_SECOND) / 1000;
    written.min(most.saturating_sub(seen))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_hidden_grows_with_the_silence_up_to_what_the_answer_may_have() {
        let seconds = Duration::from_secs;
        assert_eq!(tokens(seconds(30), 100_000, 0), 3_000);
        assert_eq!(tokens(seconds(30), 2_000, 500), 1_500);
        assert_eq!(tokens(seconds(0), 2_000, 0), 0);
    }

    #[test]
    fn a_short_silence_is_the_networks() {
        assert_eq!(silence(Duration::from_millis(999)), Duration::ZERO);
        assert_eq!(
            silence(Duration::from_millis(1_500)),
            Duration::from_millis(1_500)
        );
    }

    proptest! {
        #[test]
        fn what_was_seen_and_what_was_not_never_exceed_what_the_answer_may_have(millis: u64, most: u64, seen: u64) {
            let hidden = tokens(Duration::from_millis(millis), most, seen);
            prop_assert!(hidden == 0 || hidden.saturating_add(seen) <= most);
        }
    }
}
