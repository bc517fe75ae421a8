//! The days that a query asks for. Days follow `TZ`; both ends are included.

use jiff::{ToSpan as _, civil::Date};
use proxyxai_contract::Invalid;

use super::{
    fields::{NO_DAY, date},
    request::QueryParams,
};
use crate::model::DateRange;

/// Use is kept for about a year, so a query may not span more.
const DAYS_MAX: i64 = 366;

/// Reads `d`/`date`, or `s`/`start` and `e`/`end`, or `days` back from today. Otherwise returns the given default.
pub(super) fn days(
    params: &QueryParams,
    today: Date,
    otherwise: DateRange,
) -> Result<DateRange, Invalid> {
    // Reads all parameters, so that an invalid one is reported even if another takes precedence.
    let day = either(params, "date", "d")?;
    let ends = (either(params, "start", "s")?, either(params, "end", "e")?);
    let back = days_back(params, today)?;
    if let Some(day) = day {
        return between("date", day, day);
    }
    match ends {
        (Some(start), end) => between("start", start, end.unwrap_or(today.max(start))),
        (None, Some(end)) => between("end", end.first_of_month(), end),
        (None, None) => Ok(back.unwrap_or(otherwise)),
    }
}

fn days_back(params: &QueryParams, today: Date) -> Result<Option<DateRange>, Invalid> {
    let span = |days: i64| {
        if !(1..=DAYS_MAX).contains(&days) {
            let problem = format!("must be from 1 to {DAYS_MAX}");
            return Err(Invalid::new("days", problem));
        }
        let before = days.saturating_sub(1).days();
        between("days", today.saturating_sub(before), today)
    };
    params.int("days")?.map(span).transpose()
}

/// Reads `start` and `end`. A start alone runs up to today; an end alone runs from the first of its month. Returns
/// `None` if both are missing.
pub(super) fn span(params: &QueryParams, today: Date) -> Result<Option<DateRange>, Invalid> {
    match (day(params, "start")?, day(params, "end")?) {
        (None, None) => Ok(None),
        (Some(start), end) => between("start", start, end.unwrap_or(today.max(start))).map(Some),
        (None, Some(end)) => between("end", end.first_of_month(), end).map(Some),
    }
}

/// Reads `start_date` and `end_date`. They default to the first of this month and today.
pub(super) fn dates(params: &QueryParams, today: Date) -> Result<DateRange, Invalid> {
    let end = day(params, "end_date")?.unwrap_or(today);
    let start = day(params, "start_date")?.unwrap_or_else(|| end.first_of_month());
    between("start_date", start, end)
}

/// From the first of the month to this day, both included.
pub(super) fn month_so_far(today: Date) -> DateRange {
    DateRange {
        start: today.first_of_month(),
        end: today,
    }
}

/// The days between two dates. Errors if the end is before the start, or if there are more than `DAYS_MAX`.
pub(super) fn between(field: &str, start: Date, end: Date) -> Result<DateRange, Invalid> {
    if start > end {
        return Err(Invalid::new(field, "must not be after the end"));
    }
    let last = start.saturating_add(DAYS_MAX.saturating_sub(1).days());
    if end > last {
        let problem = format!("must be at most {DAYS_MAX} days before the end");
        return Err(Invalid::new(field, problem));
    }
    Ok(DateRange { start, end })
}

fn either(params: &QueryParams, name: &str, short: &str) -> Result<Option<Date>, Invalid> {
    let (long, short) = (day(params, name)?, day(params, short)?);
    Ok(long.or(short))
}

fn day(params: &QueryParams, name: &str) -> Result<Option<Date>, Invalid> {
    let day = params.text(name).map(|text| date(text).ok_or(NO_DAY));
    day.transpose()
        .map_err(|problem| Invalid::new(name, problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> Date {
        text.parse().unwrap()
    }

    fn read(query: &[(&str, &str)]) -> Result<(String, String), String> {
        let today = date("2024-03-10");
        days(&QueryParams::of(query), today, month_so_far(today))
            .map(|days| (days.start.to_string(), days.end.to_string()))
            .map_err(|error| error.field)
    }

    fn span(start: &str, end: &str) -> (String, String) {
        (start.to_owned(), end.to_owned())
    }

    #[test]
    fn a_span_is_asked_for_in_several_ways() {
        assert_eq!(read(&[]).unwrap(), span("2024-03-01", "2024-03-10"));
        assert_eq!(
            read(&[("date", "2024-02-29")]).unwrap(),
            span("2024-02-29", "2024-02-29")
        );
        assert_eq!(
            read(&[("d", "2024-02-29")]).unwrap(),
            span("2024-02-29", "2024-02-29")
        );
        let both = [("start", "2024-01-01"), ("end", "2024-01-31")];
        assert_eq!(read(&both).unwrap(), span("2024-01-01", "2024-01-31"));
        let short = [("s", "2024-01-01"), ("e", "2024-01-31")];
        assert_eq!(read(&short).unwrap(), span("2024-01-01", "2024-01-31"));
        assert_eq!(
            read(&[("s", "2024-01-01")]).unwrap(),
            span("2024-01-01", "2024-03-10")
        );
        assert_eq!(
            read(&[("e", "2024-01-20")]).unwrap(),
            span("2024-01-01", "2024-01-20")
        );
        assert_eq!(
            read(&[("days", "1")]).unwrap(),
            span("2024-03-10", "2024-03-10")
        );
        assert_eq!(
            read(&[("days", "30")]).unwrap(),
            span("2024-02-10", "2024-03-10")
        );
        assert_eq!(
            read(&[("s", "2023-03-11")]).unwrap(),
            span("2023-03-11", "2024-03-10")
        );
    }

    #[test]
    fn what_is_no_span_is_named() {
        for (query, field) in [
            (("date", "yesterday"), "date"),
            (("date", "2023-02-29"), "date"),
            (("d", "2024-03-01T00:00:00"), "d"),
            (("days", "0"), "days"),
            (("days", "367"), "days"),
            (("days", "-5"), "days"),
            (("start", "2023-03-10"), "start"),
            (("start", "2024-13-01"), "start"),
        ] {
            assert_eq!(read(&[query]), Err(field.to_owned()), "{query:?}");
        }
        for query in [
            [("date", "2024-03-01"), ("days", "x")],
            [("date", "2024-03-01"), ("d", "x")],
            [("end", "2024-03-01"), ("days", "0")],
            [("date", "2024-03-01"), ("start", "x")],
        ] {
            let wrong = query[1].0.to_owned();
            assert_eq!(read(&query), Err(wrong), "{query:?}");
        }
        let turned = [("start", "2024-02-02"), ("end", "2024-02-01")];
        assert_eq!(read(&turned), Err("start".to_owned()));
    }
}
