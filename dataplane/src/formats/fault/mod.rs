//! Whose fault a provider's refusal is, and what becomes of the key that got it. The body is a clue only
//! where providers agree on nothing better; words that a client could have put there decide nothing.

mod hint;
mod words;

use proxyxai_contract::clock::Millis;

use self::words::Words;

/// Set by another node on a refusal for lack of balance, which its own owner will cure.
pub(crate) const CASCADE_MARK: &str = "x-proxyxai-refusal";

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
    /// Try another key; this one is none the worse.
    RetryOnly,
}

/// Judges an answer by its status, its headers (looked up by lower-case name) and its body, of which
/// the beginning is enough.
pub(crate) fn judge<'h>(
    status: u16,
    header: &impl Fn(&str) -> Option<&'h str>,
    body: &[u8],
    now: Millis,
) -> Refused {
    let (verdict, why) = weigh(status, header, body, now);
    Refused {
        verdict,
        reason: format!("the provider answered {status}{why}"),
    }
}

/// Judges an error that came in a successful answer, by the status that it would have had by itself,
/// which is given too. None when it is the client's own, or says nothing of whose it is.
pub(crate) fn judge_within<'h>(
    header: &impl Fn(&str) -> Option<&'h str>,
    error: &[u8],
    now: Millis,
) -> Option<(u16, Refused)> {
    let status = Words::of(error).status()?;
    let (verdict, why) = weigh(status, header, error, now);
    let reason = format!("the provider's answer was an error, as with status {status}{why}");
    (verdict != Verdict::Deliver).then_some((status, Refused { verdict, reason }))
}

fn weigh<'h>(
    status: u16,
    header: &impl Fn(&str) -> Option<&'h str>,
    body: &[u8],
    now: Millis,
) -> (Verdict, &'static str) {
    let hint_ms = || hint::hint_ms(header, body, now);
    if matches!(status, 401..=403 | 429) && header(CASCADE_MARK).is_some() {
        let verdict = Verdict::RetrySleepKey { hint_ms: hint_ms() };
        return (verdict, ": the node above refuses its account");
    }
    match status {
        408 | 425 => (Verdict::RetryOnly, ""),
        // The call's way is at fault, not the key; another key may lead elsewhere.
        508 => (Verdict::RetryOnly, ": the call goes in a circle"),
        401 => (Verdict::RetryQuarantine, ": the key is not accepted"),
        402 => (
            Verdict::RetryQuarantine,
            ": the key's account is out of funds",
        ),
        400 | 403 | 429 => match Words::of(body).complaint(status) {
            Some(complaint) => (Verdict::RetryQuarantine, complaint.why()),
            None if status == 429 => (
                Verdict::RetrySleepPair { hint_ms: hint_ms() },
                ": rate limited",
            ),
            None => (Verdict::Deliver, ""),
        },
        500..=599 => (Verdict::RetrySleepKey { hint_ms: hint_ms() }, ""),
        _ => (Verdict::Deliver, ""),
    }
}

#[cfg(test)]
mod tests;
