//! How long a provider asks to wait. The table lists the many places where it may say so.

use proxyxai_contract::clock::Millis;
use serde::Deserialize;

use super::moment;

/// Retrying a key each hour costs nothing, while a provider's wrong clock may cost a day.
const HINT_MS_MAX: i64 = 3_600_000;
const BODY_BYTES_MAX: usize = 8 * 1024;
/// Long enough for a moment and the words before it.
const TEXT_CHARS_MAX: usize = 48;

/// Places where a wait may be given.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hints {
    /// Headers that give the wait directly, most exact first.
    first: Vec<(String, TimeUnit)>,
    /// Headers with the rest of a limit and when it resets.
    limits: Vec<LimitHeaders>,
    /// Header values that mean nothing is left.
    used_up: Vec<String>,
    /// Members of a body.
    fields: Vec<(String, TimeUnit)>,
    /// Words before a wait in a text.
    phrases: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitHeaders {
    left: String,
    reset: String,
    /// Counts only if the header says that nothing is left.
    #[serde(default)]
    said: bool,
}

/// The unit of a bare number.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum TimeUnit {
    Ms,
    S,
}

impl TimeUnit {
    const fn ms(self) -> f64 {
        match self {
            Self::Ms => 1.0,
            Self::S => 1000.0,
        }
    }
}

/// What a refusal says.
#[derive(Clone, Copy)]
pub(super) struct RefusalText<'a> {
    pub(super) body: &'a [u8],
    /// The message in it.
    pub(super) message: &'a str,
}

/// The wait in milliseconds, if any is given: above zero and at most an hour.
pub(super) fn hint_ms<'h>(
    hints: &Hints,
    header: &impl Fn(&str) -> Option<&'h str>,
    refusal: RefusalText<'_>,
    now: Millis,
) -> Option<i64> {
    let said = |ms: &i64| *ms > 0;
    let outright = |(name, unit): &(String, TimeUnit)| {
        let wait = moment::wait(&header(name)?.to_ascii_lowercase(), unit.ms(), now);
        wait.filter(said)
    };
    // Only exhausted limits count. If no header says what is left, any of them may be exhausted.
    let used_up = |limit: &&LimitHeaders| match header(&limit.left) {
        Some(left) => hints.used_up.iter().any(|word| left.trim() == word),
        None => !limit.said,
    };
    let resets = || {
        let limits = hints.limits.iter().filter(used_up);
        let reset = |limit: &LimitHeaders| {
            let text = header(&limit.reset)?.to_ascii_lowercase();
            moment::wait(&text, TimeUnit::S.ms(), now)
        };
        limits.filter_map(reset).max().filter(said)
    };
    let ms = hints.first.iter().find_map(outright);
    let ms = ms.or_else(resets);
    let ms = ms.or_else(|| in_body(hints, refusal, now).filter(said));
    ms.map(|ms| ms.min(HINT_MS_MAX))
}

/// Fields are searched in the raw body at any depth. Phrases are searched in its message, which may contain escapes.
fn in_body(hints: &Hints, refusal: RefusalText<'_>, now: Millis) -> Option<i64> {
    let RefusalText { body, message } = refusal;
    let head = body.get(..BODY_BYTES_MAX.min(body.len()))?;
    let body = String::from_utf8_lossy(head).to_ascii_lowercase();
    let field =
        |(name, unit): &(String, TimeUnit)| after(&body, &format!("\"{name}\""), unit.ms(), now);
    let phrases = |text: &str| {
        let mut phrases = hints.phrases.iter();
        phrases.find_map(|phrase| after(text, phrase, TimeUnit::S.ms(), now))
    };
    let fields = hints.fields.iter().find_map(field);
    let fields = fields.or_else(|| phrases(message));
    fields.or_else(|| phrases(&body))
}

/// The wait after the first occurrence of a mark that has one.
fn after(text: &str, mark: &str, each: f64, now: Millis) -> Option<i64> {
    text.match_indices(mark).find_map(|(at, _)| {
        let after = text.get(at + mark.len()..)?;
        let after = after.trim_start_matches([' ', ':', '"', '\\', '\n', '=']);
        let end = after.char_indices().nth(TEXT_CHARS_MAX);
        let after = after.get(..end.map_or(after.len(), |(end, _)| end))?;
        // The end of a JSON text is not part of a date.
        let after = after.split(['"', '\\', '}']).next().unwrap_or(after);
        moment::wait(after, each, now).filter(|ms| *ms > 0)
    })
}
