//! Whose fault a provider's refusal is, and what becomes of the key that got it. What providers say is a
//! table (`refusals.json`); here is only what its words lead to. The body is a clue only where providers
//! agree on nothing better; words that a client could have put there decide nothing.

mod hint;
mod moment;
mod table;
mod words;

use proxyxai_contract::clock::Millis;

use self::{
    table::{Meaning, TABLE},
    words::Words,
};

/// Set by another node on a refusal for lack of balance, which its own owner will cure.
pub(crate) const CASCADE_MARK: &str = "x-proxyxai-refusal";

/// A limit that is used up, when nobody says until when: so long is too short to hurt and too long to ask
/// in vain all the time.
const LIMIT_MS: i64 = 10 * 60_000;

/// What a refusal means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// What to do.
    pub(crate) verdict: Verdict,
    /// Why, for logs, operators and the client: our own words, at most 120 printable characters.
    pub(crate) reason: String,
}

/// What to do about a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
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
pub(crate) struct Refusal<'r> {
    pub(crate) status: u16,
    /// Of which the beginning is enough.
    pub(crate) body: &'r [u8],
    /// Whether a model was asked. Elsewhere keys of another kind may be wanted.
    pub(crate) of_model: bool,
}

/// Judges an answer, whose headers are looked up by lower-case name.
pub(crate) fn judge<'h>(
    refusal: Refusal<'_>,
    header: &impl Fn(&str) -> Option<&'h str>,
    now: Millis,
) -> Refused {
    let words = Words::of(refusal.body);
    let (verdict, why) = weigh(refusal, &words, header, now);
    Refused {
        verdict,
        reason: format!("the provider answered {}{why}", refusal.status),
    }
}

/// Judges an error that came in a successful answer, by the status that it would have had by itself,
/// which is given too. None when it is the client's own, or says nothing of whose it is.
pub(crate) fn judge_within<'h>(
    header: &impl Fn(&str) -> Option<&'h str>,
    error: &[u8],
    now: Millis,
) -> Option<(u16, Refused)> {
    let words = Words::of(error);
    // Under 403 only words count.
    let status = TABLE.status(&words).unwrap_or(403);
    let refusal = Refusal {
        status,
        body: error,
        of_model: true,
    };
    let (verdict, why) = weigh(refusal, &words, header, now);
    let reason = format!("the provider's answer was an error, as with status {status}{why}");
    (verdict != Verdict::Deliver).then_some((status, Refused { verdict, reason }))
}

fn weigh<'h>(
    refusal: Refusal<'_>,
    words: &Words,
    header: &impl Fn(&str) -> Option<&'h str>,
    now: Millis,
) -> (Verdict, &'static str) {
    let hint_ms = || hint::hint_ms(&TABLE.hints, header, (refusal.body, &words.message), now);
    if matches!(refusal.status, 401..=403 | 429) && header(CASCADE_MARK).is_some() {
        let verdict = Verdict::RetrySleepKey { hint_ms: hint_ms() };
        return (verdict, ": the node above refuses its account");
    }
    let meaning = TABLE.meaning(refusal, words);
    let verdict = match meaning {
        Meaning::Call => Verdict::Deliver,
        Meaning::Elsewhere | Meaning::Again | Meaning::Circle => Verdict::RetryOnly,
        Meaning::Fault => match hint_ms() {
            // Whoever says when to come back speaks of itself.
            hint_ms @ Some(_) => Verdict::RetrySleepKey { hint_ms },
            None => Verdict::RetryBlame,
        },
        Meaning::Down => Verdict::RetrySleepKey { hint_ms: hint_ms() },
        Meaning::Rate => Verdict::RetrySleepPair { hint_ms: hint_ms() },
        Meaning::Model => Verdict::RetrySleepPair {
            hint_ms: hint_ms().or(Some(LIMIT_MS)),
        },
        Meaning::Limit => Verdict::RetrySleepKey {
            hint_ms: hint_ms().or(Some(LIMIT_MS)),
        },
        // Where no model is asked, another kind of key may be wanted.
        Meaning::Key if !refusal.of_model => Verdict::RetryDoubt,
        Meaning::Key | Meaning::Funds => Verdict::RetryQuarantine,
        Meaning::Doubt => Verdict::RetryDoubt,
    };
    (verdict, meaning.why())
}

#[cfg(test)]
mod tests;
