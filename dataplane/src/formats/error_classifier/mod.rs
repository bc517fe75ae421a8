//! Whose fault a provider's refusal is, and what becomes of the key that got it. What providers say is a
//! table (`refusals.json`); here is only what its words lead to. The body is a clue only where providers
//! agree on nothing better; words that a client could have put there decide nothing.

mod hint;
mod moment;
mod table;
mod words;

use proxyxai_contract::clock::Millis;

use self::{
    table::{RefusalMeaning, TABLE},
    words::ErrorWords,
};

/// Set by another node on a refusal for lack of balance, which its own owner will cure.
pub(crate) const CASCADE_MARK: &str = "x-proxyxai-refusal";

/// A limit that is used up, when nobody says until when: so long is too short to hurt and too long to ask
/// in vain all the time.
const LIMIT_MS: i64 = 10 * 60_000;

/// What a refusal means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClassifiedRefusal {
    /// What to do.
    pub(crate) verdict: FaultVerdict,
    /// Why, for logs, operators and the client: our own words, at most 120 printable characters.
    pub(crate) reason: String,
}

/// What to do about a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FaultVerdict {
    /// The client's own fault: it gets the answer as it came.
    Deliver,
    /// Try another key; this one sleeps.
    RetrySleepKey {
        /// For so long, if the provider said.
        hint_ms: Option<i64>,
    },
    /// Try another key; this one sleeps for this model.
    RetrySleepPair {
        /// For so long, if the provider said.
        hint_ms: Option<i64>,
    },
    /// Try another key; this one is not accepted or has no funds.
    RetryQuarantine,
    /// Try another key; whether this one is accepted has to be found out.
    RetryDoubt,
    /// Try another key; this one sleeps for the call's account, and for all once others have seen the
    /// same: what one call brings about says nothing to those of others.
    RetryBlame,
    /// Try another key; this one is none the worse.
    RetryOnly,
}

/// A provider's refusal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UpstreamRefusal<'r> {
    pub(crate) status: u16,
    /// Of which the beginning is enough.
    pub(crate) body: &'r [u8],
    /// Whether a model was asked. Elsewhere keys of another kind may be wanted.
    pub(crate) of_model: bool,
}

/// Judges an answer, whose headers are looked up by lower-case name.
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

/// Judges an error that came in a successful answer, by the status that it would have had by itself,
/// which is given too. None when it is the client's own, or says nothing of whose it is.
pub(crate) fn classify_embedded<'h>(
    header: &impl Fn(&str) -> Option<&'h str>,
    error: &[u8],
    now: Millis,
) -> Option<(u16, ClassifiedRefusal)> {
    let words = ErrorWords::of(error);
    // Under 403 only words count.
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
    let hint_ms = || hint::hint_ms(&TABLE.hints, header, (refusal.body, &words.message), now);
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
            // Whoever says when to come back speaks of itself.
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
        // Where no model is asked, another kind of key may be wanted.
        RefusalMeaning::Key if !refusal.of_model => FaultVerdict::RetryDoubt,
        RefusalMeaning::Key | RefusalMeaning::Funds => FaultVerdict::RetryQuarantine,
        RefusalMeaning::Doubt => FaultVerdict::RetryDoubt,
    };
    (verdict, meaning.why())
}

#[cfg(test)]
mod tests;
