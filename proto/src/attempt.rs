//! The attempts of a call that took more than one, or whose only one failed; and the one line of text that they
//! are stored as: `17 0 rate-limited 429 231;18 0 answered 200 940 gpt-4o`.

use std::fmt::Write as _;

use crate::{
    Invalid,
    id::{KeyId, Level},
};

/// Attempts of one call that are kept.
pub const ATTEMPTS_MAX: usize = 16;

/// One key that was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Who was asked.
    pub key: KeyId,
    /// Level of its pool.
    pub level: Level,
    /// Model that it was asked for; empty where that is the one of the record.
    pub model: String,
    /// Status of its answer; none when none came.
    pub status: Option<u16>,
    /// What came of it.
    pub outcome: AttemptOutcome,
    /// From when it was asked to its outcome.
    pub duration_ms: u64,
}

/// What came of asking a key, as it decides what is tried next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// An answer for the client.
    Answered,
    /// A rate limit of the key for the model.
    RateLimited,
    /// A fault of the provider's.
    Failed,
    /// The key itself was refused.
    Refused,
    /// Something that says nothing of the key and is tried elsewhere.
    PassedOn,
    /// The provider could not be reached.
    Unreached,
    /// No answer came in time.
    TimedOut,
    /// The connection broke before there was an answer.
    Broken,
    /// Another attempt was faster, or the call ended meanwhile.
    Cancelled,
}

impl AttemptOutcome {
    /// In the order of the wire's numbers.
    pub const ALL: [Self; 9] = [
        Self::Answered,
        Self::RateLimited,
        Self::Failed,
        Self::Refused,
        Self::PassedOn,
        Self::Unreached,
        Self::TimedOut,
        Self::Broken,
        Self::Cancelled,
    ];

    /// As stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::RateLimited => "rate-limited",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::PassedOn => "passed-on",
            Self::Unreached => "unreached",
            Self::TimedOut => "timed-out",
            Self::Broken => "broken",
            Self::Cancelled => "cancelled",
        }
    }

    /// Reads what `as_str` wrote.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == text)
    }
}

/// The stored form.
pub fn text(attempts: &[Attempt]) -> String {
    let mut text = String::new();
    for attempt in attempts {
        let Attempt {
            key,
            level,
            model,
            status,
            outcome,
            duration_ms,
        } = attempt;
        let words = format_args!(
            "{key} {} {} {} {duration_ms}",
            level.get(),
            outcome.as_str(),
            status.unwrap_or_default()
        );
        // Writing to a string cannot fail.
        let _written = text.write_fmt(words);
        if !model.is_empty() {
            text.push(' ');
            escape(model, &mut text);
        }
        text.push(';');
    }
    text.pop();
    text
}

/// Reads what `text` wrote.
///
/// # Errors
/// When it is none.
pub fn parse(text: &str) -> Result<Vec<Attempt>, Invalid> {
    let attempts = text.split(';').filter(|words| !words.is_empty());
    let invalid = || Invalid::new("attempts", format!("{text:?} cannot be read"));
    attempts
        .map(|words| parse_one(words).ok_or_else(invalid))
        .collect()
}

fn parse_one(words: &str) -> Option<Attempt> {
    let mut words = words.split(' ');
    let key = words.next()?.parse().ok()?;
    let level = words.next()?.parse().ok()?;
    let outcome = AttemptOutcome::parse(words.next()?)?;
    let status: u16 = words.next()?.parse().ok()?;
    let duration_ms = words.next()?.parse().ok()?;
    let model = match words.next() {
        Some(model) => unescape(model)?,
        None => String::new(),
    };
    words.next().is_none().then_some(())?;
    Some(Attempt {
        key: KeyId::new(key).ok()?,
        level: Level::new(level).ok()?,
        model,
        status: Some(status).filter(|status| *status != 0),
        outcome,
        duration_ms,
    })
}

/// A model's name without what separates words and attempts.
fn escape(model: &str, text: &mut String) {
    for char in model.chars() {
        if matches!(char, '%' | ';' | ' ') || char.is_ascii_control() {
            // Writing to a string cannot fail.
            let _written = text.write_fmt(format_args!("%{:02x}", u32::from(char)));
        } else {
            text.push(char);
        }
    }
}

fn unescape(text: &str) -> Option<String> {
    let mut pieces = text.split('%');
    let mut model = pieces.next()?.to_owned();
    for piece in pieces {
        let (code, rest) = piece.split_at_checked(2)?;
        model.push(char::from(u8::from_str_radix(code, 16).ok()?));
        model.push_str(rest);
    }
    Some(model)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attempt(key: i64, outcome: AttemptOutcome, status: u16, model: &str) -> Attempt {
        Attempt {
            key: KeyId::new(key).unwrap(),
            level: Level::new(2).unwrap(),
            model: model.to_owned(),
            status: Some(status).filter(|status| *status != 0),
            outcome,
            duration_ms: 231,
        }
    }

    #[test]
    fn attempts_are_a_line_that_a_person_can_read() {
        let attempts = [
            attempt(17, AttemptOutcome::RateLimited, 429, ""),
            attempt(18, AttemptOutcome::Unreached, 0, "a b;c%"),
            attempt(19, AttemptOutcome::Answered, 200, ""),
        ];
        assert_eq!(
            text(&attempts),
            "17 2 rate-limited 429 231;18 2 unreached 0 231 a%20b%3bc%25;19 2 answered 200 231"
        );
        assert_eq!(text(&[]), "");
        assert_eq!(parse("").unwrap(), []);
    }

    #[test]
    fn what_is_no_such_line_is_refused() {
        for bad in [
            "17",
            "17 2 broken 0",
            "17 2 bent 0 1",
            "17 99 broken 0 1",
            "0 2 broken 0 1",
            "17 2 broken 0 1 a b",
            "17 2 broken 0 1 a%2",
            "17 2 broken 0 1 a%zz",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn attempts_come_back_from_their_text(
            rows in prop::collection::vec(
                (1i64.., 0i64..=10, any::<String>(), 0u16.., 0usize..9, any::<u64>()), 0..20,
            ),
        ) {
            let attempts: Vec<_> = rows
                .into_iter()
                .map(|(key, level, model, status, outcome, duration_ms)| Attempt {
                    key: KeyId::new(key).unwrap(),
                    level: Level::new(level).unwrap(),
                    model,
                    status: Some(status).filter(|status| *status != 0),
                    outcome: AttemptOutcome::ALL[outcome],
                    duration_ms,
                })
                .collect();
            prop_assert_eq!(parse(&text(&attempts)).unwrap(), attempts);
        }
    }
}
