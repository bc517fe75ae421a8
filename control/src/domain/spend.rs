//! The points of a series of use, the span before it, and the sum of the values that are not listed.

use jiff::ToSpan as _;
use proxyxai_contract::{
    Invalid,
    clock::{Millis, Zone},
};

use crate::model::{DateRange, Earning, SpendRow, SpentTokens};

pub(crate) const HOUR_MS: i64 = 3_600_000;

/// Use is kept for about a year, and each day is a point.
const DAYS_MAX: i64 = 366;

/// The span of the same length before this one.
pub(crate) fn before(days: DateRange) -> Result<DateRange, Invalid> {
    let first = days.end.saturating_sub((DAYS_MAX - 1).days());
    if days.start < first {
        let problem = format!("must be at most {DAYS_MAX} days before the end");
        return Err(Invalid::new("start", problem));
    }
    let length = i64::try_from(days.each().count()).unwrap_or(DAYS_MAX);
    Ok(DateRange {
        start: days.start.saturating_sub(length.days()),
        end: days.start.saturating_sub(1.day()),
    })
}

/// The start of each hour of some days up to now, counted from the first day's midnight.
pub(crate) fn hours(days: DateRange, zone: &Zone, now: Millis) -> Result<Vec<Millis>, Invalid> {
    let today = zone.day(now);
    if days.start < today.saturating_sub(1.day()) || days.end > today {
        return Err(Invalid::new("per", "hour is for today and yesterday only"));
    }
    let end = days
        .end
        .tomorrow()
        .map_or(now, |next| zone.start_of(next).min(now.plus(1)));
    let mut hours = Vec::new();
    let mut at = zone.start_of(days.start);
    while at < end {
        hours.push(at);
        at = at.plus(HOUR_MS);
    }
    Ok(hours)
}

/// The total less the given rows. It is clamped at zero, because the hours of rows and total are read one after the
/// other.
pub(crate) fn others(total: &SpendRow, rows: &[SpendRow]) -> SpendRow {
    let left = |all: Earning, of: &dyn Fn(&SpendRow) -> Earning| {
        rows.iter().fold(all, |left, row| less(left, &of(row)))
    };
    let point = |(at, all): (usize, &Earning)| {
        left(*all, &|row| row.points.get(at).copied().unwrap_or_default())
    };
    SpendRow {
        now: left(total.now, &|row| row.now),
        before: left(total.before, &|row| row.before),
        points: total.points.iter().enumerate().map(point).collect(),
        ..SpendRow::default()
    }
}

fn less(all: Earning, part: &Earning) -> Earning {
    Earning {
        requests: all.requests.saturating_sub(part.requests),
        tokens: SpentTokens {
            input: all.tokens.input.saturating_sub(part.tokens.input),
            cached: all.tokens.cached.saturating_sub(part.tokens.cached),
            output: all.tokens.output.saturating_sub(part.tokens.output),
        },
        cost: all.cost.saturating_sub(part.cost),
        expense: all.expense.saturating_sub(part.expense),
        flat: all.flat.saturating_sub(part.flat),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proxyxai_contract::money::Money;

    use super::*;

    fn days(start: &str, end: &str) -> DateRange {
        DateRange {
            start: start.parse().unwrap(),
            end: end.parse().unwrap(),
        }
    }

    fn at(text: &str) -> Millis {
        Millis::from_rfc3339(text).unwrap()
    }

    #[test]
    fn the_span_before_is_as_long_and_ends_where_this_one_begins() {
        for (start, end, earlier, last) in [
            ("2026-03-01", "2026-03-01", "2026-02-28", "2026-02-28"),
            ("2026-03-01", "2026-03-31", "2026-01-29", "2026-02-28"),
            ("2024-01-01", "2024-12-31", "2022-12-31", "2023-12-31"),
        ] {
            let found = before(days(start, end)).unwrap();
            let found = (found.start.to_string(), found.end.to_string());
            assert_eq!(found, (earlier.to_owned(), last.to_owned()));
        }
        let long = before(days("2023-12-31", "2024-12-31"));
        assert_eq!(long.unwrap_err().field, "start");
    }

    #[test]
    fn hours_go_up_to_now_and_a_day_has_as_many_as_its_zone_says() {
        let berlin = Zone::new("Europe/Berlin").unwrap();
        let count = |start: &str, end: &str, now: &str| {
            hours(days(start, end), &berlin, at(now)).map(|hours| hours.len())
        };
        let noon = "2026-06-02T12:00:00+02:00";
        assert_eq!(count("2026-06-01", "2026-06-01", noon).unwrap(), 24);
        assert_eq!(count("2026-06-01", "2026-06-02", noon).unwrap(), 37);
        // Daylight saving time begins on 29 March and ends on 25 October.
        let spring = "2026-03-30T12:00:00+02:00";
        assert_eq!(count("2026-03-29", "2026-03-29", spring).unwrap(), 23);
        let autumn = "2026-10-26T12:00:00+01:00";
        assert_eq!(count("2026-10-25", "2026-10-25", autumn).unwrap(), 25);
        for (start, end) in [("2026-05-31", "2026-06-01"), ("2026-06-02", "2026-06-03")] {
            assert_eq!(count(start, end, noon).unwrap_err().field, "per");
        }
    }

    fn amount() -> impl Strategy<Value = Earning> {
        (0u64..1000, 0u64..1000, 0i64..1_000_000).prop_map(|(requests, input, cost)| Earning {
            requests,
            tokens: SpentTokens {
                input,
                cached: input / 2,
                output: requests,
            },
            cost: Money::from_nanos(cost),
            expense: Money::from_nanos(cost / 3),
            flat: Money::from_nanos(cost / 7),
        })
    }

    proptest! {
        #[test]
        fn the_rows_and_the_others_are_all(
            parts in proptest::collection::vec(proptest::collection::vec(amount(), 5), 1..6)
        ) {
            let sum = |amounts: &mut dyn Iterator<Item = &Earning>| {
                let mut total = Earning::default();
                for amount in amounts {
                    total.add(amount);
                }
                total
            };
            let of = |parts: &[Earning]| SpendRow {
                now: parts[0],
                before: parts[1],
                points: parts[2..].to_vec(),
                ..SpendRow::default()
            };
            let all: Vec<_> = (0..5).map(|at| sum(&mut parts.iter().map(|row| &row[at]))).collect();
            let rows: Vec<_> = parts.iter().map(|row| of(row)).collect();
            // The rows left out are in `other`.
            let (left, shown) = rows.split_first().unwrap();
            prop_assert_eq!(&others(&of(&all), shown), left);
        }
    }
}
