//! Parses durations and moments as people and programs write them: `6m0s`, `10 seconds`, `2026-12-01 at 00:00 UTC`,
//! seconds since 1970. Moments without a zone are taken as UTC.

use jiff::{Timestamp, civil, fmt::rfc2822, tz::Offset};
use proxyxai_contract::clock::Millis;

/// No wait is as long as the time since 1970, so such a large number is a moment.
const SECONDS_MIN: i64 = 1_000_000_000;
const MILLIS_MIN: i64 = 1_000_000_000_000;
const MILLIS_MAX: i64 = 100_000_000_000_000;

/// The wait at the beginning of a text, in milliseconds: a number of `each` milliseconds, a duration, or a moment.
pub(super) fn wait(text: &str, each: f64, now: Millis) -> Option<i64> {
    let text = text.trim();
    if let Some(date) = date(text) {
        return Some(date.since(now));
    }
    if let Some((ms, _)) = span(text) {
        return Some(ms);
    }
    let end = text.find(|char: char| !char.is_ascii_digit() && char != '.');
    let (number, rest) = text.split_at(end.unwrap_or(text.len()));
    if rest.starts_with(char::is_alphanumeric) || rest.starts_with([':', '-', '/', '_']) {
        return None;
    }
    let number = number.trim_end_matches('.');
    let plain = milliseconds(number, 1.0)?;
    match plain {
        MILLIS_MIN..MILLIS_MAX => Some(Millis(plain).since(now)),
        SECONDS_MIN..MILLIS_MIN => Some(Millis(milliseconds(number, 1000.0)?).since(now)),
        _ => milliseconds(number, each),
    }
}

fn milliseconds(text: &str, each: f64) -> Option<i64> {
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number: f64 = text.parse().ok().filter(|_| plain)?;
    let ms = (number * each).ceil().min(1e15);
    format!("{ms:.0}").parse().ok()
}

/// A duration such as `6m0s`, `1.2s`, `20ms`, `10 seconds` or `2 hours and 5 minutes`, and the rest of the text.
fn span(text: &str) -> Option<(i64, &str)> {
    let mut rest = text;
    let mut total: Option<i64> = None;
    loop {
        let from = rest.trim_start_matches([' ', ',']);
        let from = from.strip_prefix("and ").unwrap_or(from);
        let digits = from.find(|char: char| !char.is_ascii_digit() && char != '.');
        let (number, after) = from.split_at(digits.unwrap_or(from.len()));
        let unit_text = after.trim_start_matches(' ');
        let letters = unit_text.find(|char: char| !char.is_alphabetic());
        let (unit, after) = unit_text.split_at(letters.unwrap_or(unit_text.len()));
        let each = match unit {
            "ms" | "millisecond" | "milliseconds" => 1.0,
            "s" | "sec" | "secs" | "second" | "seconds" => 1_000.0,
            "m" | "min" | "mins" | "minute" | "minutes" => 60_000.0,
            "h" | "hr" | "hrs" | "hour" | "hours" => 3_600_000.0,
            "d" | "day" | "days" => 86_400_000.0,
            unit if unit.starts_with("毫秒") => 1.0,
            unit if unit.starts_with('秒') => 1_000.0,
            unit if unit.starts_with('分') => 60_000.0,
            unit if unit.starts_with("小时") => 3_600_000.0,
            _ => return total.map(|ms| (ms, rest)),
        };
        let Some(ms) = milliseconds(number, each) else {
            return total.map(|ms| (ms, rest));
        };
        total = Some(total.unwrap_or_default().saturating_add(ms));
        rest = after;
    }
}

/// The date at the beginning of a text.
fn date(text: &str) -> Option<Millis> {
    let whole = text.parse::<Timestamp>().ok();
    let whole = whole.or_else(|| rfc2822::DateTimeParser::new().parse_timestamp(text).ok());
    if let Some(whole) = whole {
        return Some(whole.into());
    }
    let (day, rest) = numbered_day(text).or_else(|| named_day(text))?;
    let rest = rest.trim_start_matches([' ', ',', 't', 'T']);
    let rest = rest.strip_prefix("at ").unwrap_or(rest);
    let end = rest.find(|char: char| !char.is_ascii_digit() && char != ':' && char != '.');
    let (clock, zone) = rest.split_at(end.unwrap_or(rest.len()));
    let mut numbers = clock.split([':', '.']).map(|part| part.parse::<i8>().ok());
    let mut next = || numbers.next().flatten().unwrap_or_default();
    let (hour, minute, second) = (next(), next(), next());
    let zone = zone.trim_start();
    let hour = match zone.get(..2).unwrap_or_default() {
        "pm" if hour < 12 => hour + 12,
        "am" if hour == 12 => 0,
        _ => hour,
    };
    let moment = day.to_datetime(civil::Time::new(hour, minute, second, 0).ok()?);
    let moment = offset(zone).to_timestamp(moment).ok()?;
    Some(moment.into())
}

/// A day such as `2026-12-01`, and the rest of the text.
fn numbered_day(text: &str) -> Option<(civil::Date, &str)> {
    let (day, rest) = text.split_at_checked(10)?;
    let parts: Vec<_> = day.split(['-', '/']).collect();
    let [year, month, day] = parts.as_slice() else {
        return None;
    };
    let day = civil::Date::new(
        year.parse().ok().filter(|year| *year > 1999)?,
        month.parse().ok()?,
        day.parse().ok()?,
    )
    .ok()?;
    Some((day, rest))
}

/// A day such as `dec 1st, 2026`, in lower case, and the rest of the text.
fn named_day(text: &str) -> Option<(civil::Date, &str)> {
    const MONTHS: [&str; 12] = [
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ];
    let (name, rest) = text.split_once(' ')?;
    let month = MONTHS.iter().position(|month| name.starts_with(month))?;
    let (day, rest) = rest.split_once([',', ' '])?;
    let day = day.trim_end_matches(|char: char| char.is_ascii_alphabetic());
    let (year, rest) = rest.trim_start().split_at_checked(4)?;
    let month = i8::try_from(month).ok()?.checked_add(1)?;
    let day = civil::Date::new(year.parse().ok()?, month, day.parse().ok()?).ok()?;
    Some((day, rest))
}

/// The offset from UTC of a zone such as ` +08:00`; UTC for anything else.
fn offset(zone: &str) -> Offset {
    let zone = zone.trim_start();
    let sign = match zone.bytes().next() {
        Some(b'+') => 1,
        Some(b'-') => -1,
        _ => return Offset::UTC,
    };
    let digits: String = zone
        .chars()
        .skip(1)
        .filter(|char| *char != ':')
        .take_while(char::is_ascii_digit)
        .take(4)
        .collect();
    let part = |at| {
        digits
            .get(at..at + 2)
            .and_then(|part| part.parse::<i32>().ok())
    };
    let seconds = part(0).unwrap_or_default() * 3600 + part(2).unwrap_or_default() * 60;
    Offset::from_seconds(sign * seconds).unwrap_or(Offset::UTC)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2025-01-01 00:00:00 UTC.
    const NOW: Millis = Millis(1_735_689_600_000);

    #[test]
    fn spans_and_moments_are_read_however_they_are_written() {
        for (text, ms) in [
            ("6m0s", Some(360_000)),
            ("1.2s.", Some(1200)),
            ("20ms", Some(20)),
            ("10 seconds", Some(10_000)),
            ("2 hours and 5 minutes", Some(7_500_000)),
            ("30秒后重试", Some(30_000)),
            ("1800", Some(1_800_000)),
            ("0.5", Some(500)),
            ("1735689605", Some(5000)),
            ("1735689605000", Some(5000)),
            ("2025-01-01T00:00:30Z", Some(30_000)),
            ("2025-01-01 00:00:30", Some(30_000)),
            ("2025-01-01 00:00:30.", Some(30_000)),
            ("2025-01-01 at 00:01 utc.", Some(60_000)),
            ("2025/01/01 00:00:30", Some(30_000)),
            ("2025-01-02", Some(86_400_000)),
            ("2025-01-01t08:00:30+08:00", Some(30_000)),
            ("2025-01-01 08:00:30 +0800", Some(30_000)),
            ("wed, 01 jan 2025 00:00:20 gmt", Some(20_000)),
            ("jan 1st, 2025 12:05 am.", Some(300_000)),
            ("january 1, 2025 at 1:00 pm utc", Some(46_800_000)),
            ("a while", None),
            ("12:30", None),
            ("", None),
            ("-5", None),
        ] {
            assert_eq!(wait(text, 1000.0, NOW), ms, "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_is_written_breaks_it(text in any::<String>(), dated in "20[0-9]{2}[-/][0-9]{2}[-/][0-9]{2}[ tT][0-9:. +-]{0,12}") {
            let _wait = (wait(&text, 1000.0, NOW), wait(&dated, 1.0, NOW));
        }
    }
}
