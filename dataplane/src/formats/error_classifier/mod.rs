//! Decides who caused a provider's refusal and what happens to the key. The table `refusals.json` holds the providers'
//! wording; this file maps it to verdicts. The body counts only where nothing better is standardized. Words that a
//! client could have placed there decide nothing.

mod hint;
mod moment;
mod table;
mod words;

use proxyxai_contract::clock::Millis;

use self::{
    table::{RefusalMeaning, TABLE},
    words::ErrorWords,
};

/// Set by another node that refuses for lack of balance, which that node's operator can fix.
pub(crate) const CASCADE_MARK: &str = "x-proxyxai-refusal";

/// Cool-down for an exhausted limit without a stated reset: short enough not to hurt, and long enough to avoid constant
/// retries.
const LIMIT_MS: i64 = 10 * 60_000;

/// The meaning of a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClassifiedRefusal {
    /// What to do.
    pub(crate) verdict: FaultVerdict,
    /// The reason for logs, operators and the client, in our own words: at most 120 printable characters.
    pub(crate) reason: String,
}

/// How to react to a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FaultVerdict {
    /// The client's fault: deliver the response unchanged.
    Deliver,
    /// Retry with another key; this one cools down.
    RetrySleepKey {
        /// The wait that the provider gave, if any.
        hint_ms: Option<i64>,
    },
    /// Retry with another key; this one cools down for this model.
    RetrySleepPair {
        /// The wait that the provider gave, if any.
        hint_ms: Option<i64>,
    },
    /// Retry with another key; this one is not accepted or has no funds.
    RetryQuarantine,
    /// Retry with another key; a key check must find out whether this one is accepted.
    RetryDoubt,
    /// Retry with another key. This one cools down for the call's account, and for all accounts once others see the
    /// same failure: what one call causes says nothing about others.
    RetryBlame,
    /// Retry with another key; this one is unaffected.
    RetryOnly,
}

/// A provider's refusal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UpstreamRefusal<'r> {
    pub(crate) status: u16,
    /// The beginning is enough.
    pub(crate) body: &'r [u8],
    /// Whether the call was for a model. Otherwise another kind of key may be needed.
    pub(crate) of_model: bool,
}

/// Classifies a refusal. `header` looks up headers by lower-case name.
pub(crate) fn classify<'h>(
    refusal: UpstreamRefusal<'_>,
    header: &impl Fn(&str) -> Option<&'h str>,
    now: Millis,
) -> ClassifiedRefusal {
    let words = ErrorWords::of(refusal.body);
    let (verdict, why) = weigh(refusal, &words, header, now);
    ClassifiedRefusal {
        verdict,
        reason: format!("the provider answered {}{why}", refusal.status),
    }
}

/// Classifies an error inside a successful response, and returns the status that it should have had. Returns `None` if
/// the client caused it or the cause is unknown.
pub(crate) fn classify_embedded<'h>(
    header: &impl Fn(&str) -> Option<&'h str>,
    error: &[u8],
    now: Millis,
) -> Option<(u16, ClassifiedRefusal)> {
    let words = ErrorWords::of(error);
    // Under 403 only the words count.
    let status = TABLE.status(&words).unwrap_or(403);
    let refusal = UpstreamRefusal {
        status,
        body: error,
        of_model: true,
    };
    let (verdict, why) = weigh(refusal, &words, header, now);
    let reason = format!("the provider's answer was an error, as with status {status}{why}");
    (verdict != FaultVerdict::Deliver).then_some((status, ClassifiedRefusal { verdict, reason }))
}

fn weigh<'h>(
    refusal: UpstreamRefusal<'_>,
    words: &ErrorWords,
    header: &impl Fn(&str) -> Option<&'h str>,
    now: Millis,
) -> (FaultVerdict, &'static str) {
    let text = hint::RefusalText {
        body: refusal.body,
        message: &words.message,
    };
    let hint_ms = || hint::hint_ms(&TABLE.hints, header, text, now);
    if matches!(refusal.status, 401..=403 | 429) && header(CASCADE_MARK).is_some() {
        let verdict = FaultVerdict::RetrySleepKey { hint_ms: hint_ms() };
        return (verdict, ": the node above refuses its account");
    }
    let meaning = TABLE.meaning(refusal, words);
    let verdict = match meaning {
        RefusalMeaning::Call => FaultVerdict::Deliver,
        RefusalMeaning::Elsewhere | RefusalMeaning::Again | RefusalMeaning::Circle => {
            FaultVerdict::RetryOnly
        }
        RefusalMeaning::Fault => match hint_ms() {
            // A provider that gives a time to come back means itself, not the call.
            hint_ms @ Some(_) => FaultVerdict::RetrySleepKey { hint_ms },
            None => FaultVerdict::RetryBlame,
        },
        RefusalMeaning::Down => FaultVerdict::RetrySleepKey { hint_ms: hint_ms() },
        RefusalMeaning::Rate => FaultVerdict::RetrySleepPair { hint_ms: hint_ms() },
        RefusalMeaning::Model => FaultVerdict::RetrySleepPair {
            hint_ms: hint_ms().or(Some(LIMIT_MS)),
        },
        RefusalMeaning::Limit => FaultVerdict::RetrySleepKey {
            hint_ms: hint_ms().or(Some(LIMIT_MS)),
        },
        // Calls without a model may need another kind of key.
        RefusalMeaning::Key if !refusal.of_model => FaultVerdict::RetryDoubt,
        RefusalMeaning::Key | RefusalMeaning::Funds => FaultVerdict::RetryQuarantine,
        RefusalMeaning::Doubt => FaultVerdict::RetryDoubt,
    };
    (verdict, meaning.why())
}

#[cfg(test)]
mod tests;
