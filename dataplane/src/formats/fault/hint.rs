//! How long a provider asks to be left alone: the many places where it may say so.

use jiff::{Timestamp, fmt::rfc2822};
use proxyxai_contract::clock::Millis;

/// A key that is asked again each hour costs nothing, while a provider's wrong clock may cost a day.
const HINT_MS_MAX: i64 = 3_600_000;
const BODY_BYTES_MAX: usize = 8 * 1024;

/// What is left of a limit, and when it is whole again.
const RESETS: [(&str, &str); 6] = [
    (
        "x-ratelimit-remaining-requests",
        "x-ratelimit-reset-requests",
    ),
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    (
        "anthropic-ratelimit-requests-remaining",
        "anthropic-ratelimit-requests-reset",
    ),
    (
        "anthropic-ratelimit-tokens-remaining",
        "anthropic-ratelimit-tokens-reset",
    ),
    (
        "anthropic-ratelimit-input-tokens-remaining",
        "anthropic-ratelimit-input-tokens-reset",
    ),
    (
        "anthropic-ratelimit-output-tokens-remaining",
        "anthropic-ratelimit-output-tokens-reset",
    ),
];

const PHRASES: [&str; 5] = [
    "\"retrydelay\"",
    "try again in",
    "retry after",
    "retry in",
    "retry_after",
];

/// Milliseconds to wait, if anything says so. Never zero, never above an hour.
pub(super) fn hint_ms<'h>(
    header: &impl Fn(&str) -> Option<&'h str>,
    body: &[u8],
    now: Millis,
) -> Option<i64> {
    let exact = || header("retry-after-ms").and_then(|text| milliseconds(text, 1.0));
    let standard = || header("retry-after").and_then(|text| wait(text, now));
    // The limits that are used up count; where nothing says what is left, all of them might be.
    let used_up = |remaining: &str| header(remaining).is_none_or(|left| left.trim() == "0");
    let resets = || {
        let resets = RESETS.iter().filter(|(remaining, _)| used_up(remaining));
        resets
            .filter_map(|(_, reset)| wait(header(reset)?, now))
            .max()
    };
    let said = |ms: &i64| *ms > 0;
    let ms = exact().filter(said);
    let ms = ms.or_else(|| standard().filter(said));
    let ms = ms.or_else(|| resets().filter(said));
    let ms = ms.or_else(|| in_body(body).filter(said));
    ms.map(|ms| ms.min(HINT_MS_MAX))
}

/// A header's value: seconds, a duration, a moment in seconds since 1970, or a date.
fn wait(text: &str, now: Millis) -> Option<i64> {
    let text = text.trim();
    if let Some(ms) = milliseconds(text, 1000.0) {
        // No wait is as long as the time since 1970, so that large a number is a moment.
        return Some(if ms > 1_000_000_000_000 {
            Millis(ms).since(now)
        } else {
            ms
        });
    }
    if let Some((ms, "")) = duration(text) {
        return Some(ms);
    }
    let date = text.parse::<Timestamp>().ok();
    let date = date.or_else(|| rfc2822::DateTimeParser::new().parse_timestamp(text).ok())?;
    Some(Millis::from(date).since(now))
}

fn milliseconds(text: &str, each: f64) -> Option<i64> {
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number: f64 = text.parse().ok().filter(|_| plain)?;
    let ms = (number * each).ceil().min(1e15);
    format!("{ms:.0}").parse().ok()
}

/// A duration such as `6m0s`, `1.2s`, `20ms` or `10 seconds`, and what follows it.
fn duration(text: &str) -> Option<(i64, &str)> {
    let mut rest = text;
    let mut total: Option<i64> = None;
    loop {
        let digits = rest.find(|char: char| !char.is_ascii_digit() && char != '.');
        let (number, after) = rest.split_at(digits.unwrap_or(rest.len()));
        let unit_text = after.trim_start_matches(' ');
        let letters = unit_text.find(|char: char| !char.is_ascii_alphabetic());
        let (unit, after) = unit_text.split_at(letters.unwrap_or(unit_text.len()));
        let each = match unit {
            "ms" | "millisecond" | "milliseconds" => 1.0,
            "s" | "sec" | "secs" | "second" | "seconds" => 1_000.0,
            "m" | "min" | "mins" | "minute" | "minutes" => 60_000.0,
            "h" | "hr" | "hour" | "hours" => 3_600_000.0,
            "d" | "day" | "days" => 86_400_000.0,
            _ => return total.map(|ms| (ms, rest)),
        };
        let Some(ms) = milliseconds(number, each) else {
            return total.map(|ms| (ms, rest));
        };
        total = Some(total.unwrap_or_default().saturating_add(ms));
        rest = after;
    }
}

fn in_body(body: &[u8]) -> Option<i64> {
    let head = body.get(..BODY_BYTES_MAX.min(body.len()))?;
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    PHRASES.iter().find_map(|phrase| {
        let (_, after) = text.split_once(phrase)?;
        let after = after.trim_start_matches([' ', ':', '"', '\n']);
        let (ms, _) = duration(after)?;
        Some(ms)
    })
}
