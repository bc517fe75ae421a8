//! The attempts of a call that took more than one, or whose only one failed. They are stored as one line of text:
//! `17 0 rate-limited 429 231;18 0 answered 200 940 gpt-4o`.

use std::fmt::Write as _;

use crate::{
    Invalid,
    id::{KeyId, Level},
};

/// The most attempts of one call that are kept.
pub const ATTEMPTS_MAX: usize = 16;

/// One request to one upstream key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The upstream key.
    pub key: KeyId,
    /// Its level.
    pub level: Level,
    /// The model requested; empty if it is the record's.
    pub model: String,
    /// Status of its response; `None` if there was none.
    pub status: Option<u16>,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// Milliseconds from sending the request to its outcome.
    pub duration_ms: u64,
}

/// The outcome of an attempt, which decides what is tried next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// A response for the client.
    Answered,
    /// The key is rate-limited for the model.
    RateLimited,
    /// The provider failed.
    Failed,
    /// The provider refused the key itself.
    Refused,
    /// A response that says nothing about the key; another key is tried.
    PassedOn,
    /// The provider could not be reached.
    Unreached,
    /// No response came in time.
    TimedOut,
    /// The connection broke before a response came.
    Broken,
    /// Another attempt was faster, or the call ended first.
    Cancelled,
}

impl AttemptOutcome {
    /// In the order of the numbers on the wire.
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

    /// The form that is stored and shown.
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
/// Errors if the text has another form.
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

/// Escapes the characters of a model's name that separate words or attempts.
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
