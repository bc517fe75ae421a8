//! The cost of a key paid by the month over some days. Each day has its share, so that all days of a month add up to
//! the monthly price.

use jiff::{ToSpan as _, civil::Date};
use proxyxai_contract::money::Money;

use crate::model::DateRange;

/// Monthly prices, each with the day from which it applies, in order of days.
pub(crate) type MonthlyPrices = Vec<(Date, Money)>;

/// The cost on each day of a span. Days without cost are left out.
pub(crate) fn by_day(changes: &[(Date, Money)], days: DateRange) -> Vec<(Date, Money)> {
    let mut found = Vec::new();
    let mut day = days.start;
    while day <= days.end {
        let since = changes.iter().rev().find(|(from, _)| *from <= day);
        let share = since.map_or(Money::ZERO, |(_, monthly)| share(*monthly, day));
        if share != Money::ZERO {
            found.push((day, share));
        }
        match day.checked_add(1.day()) {
            Ok(next) => day = next,
            Err(_) => break,
        }
    }
    found
}

/// The share of a day. Fractions of nano-dollars go to the later days.
fn share(monthly: Money, day: Date) -> Money {
    let length = i128::from(day.days_in_month());
    let through = |days: i8| {
        let part = i128::from(monthly.nanos()).checked_mul(i128::from(days));
        part.and_then(|part| part.checked_div(length))
            .unwrap_or_default()
    };
    let share = through(day.day()).saturating_sub(through(day.day().saturating_sub(1)));
    Money::from_nanos(i64::try_from(share).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn days(start: &str, end: &str) -> DateRange {
        DateRange {
            start: start.parse().unwrap(),
            end: end.parse().unwrap(),
        }
    }

    fn total(changes: &[(Date, Money)], days: DateRange) -> i64 {
        by_day(changes, days)
            .iter()
            .map(|(_, share)| share.nanos())
            .sum()
    }

    #[test]
    fn an_amount_counts_from_its_day_until_the_next_one() {
        let usd = |dollars: i64| Money::from_nanos(dollars * Money::PER_DOLLAR);
        let at = |day: &str, dollars| (day.parse().unwrap(), usd(dollars));
        let changes = [
            at("2026-11-11", 30),
            at("2026-11-21", 60),
            at("2026-12-01", 0),
        ];
        for (start, end, expected) in [
            ("2026-10-01", "2026-11-10", 0),
            ("2026-11-11", "2026-11-11", 1),
            ("2026-11-01", "2026-11-20", 10),
            ("2026-11-21", "2026-11-30", 20),
            ("2026-10-01", "2027-10-01", 30),
        ] {
            assert_eq!(
                total(&changes, days(start, end)),
                usd(expected).nanos(),
                "{start}"
            );
        }
        assert_eq!(by_day(&[], days("2026-10-01", "2026-11-10")), []);
    }

    proptest! {
        #[test]
        fn the_days_of_a_month_add_up_to_its_amount(nanos in 0i64..9_000_000_000_000, month in 1i8..=12, cut in 1i8..28) {
            let first = jiff::civil::date(2028, month, 1);
            let changes = [(first, Money::from_nanos(nanos))];
            let whole = DateRange { start: first, end: first.last_of_month() };
            prop_assert_eq!(total(&changes, whole), nanos);
            let (until, from) = (jiff::civil::date(2028, month, cut), jiff::civil::date(2028, month, cut + 1));
            let halves = total(&changes, DateRange { end: until, ..whole }) + total(&changes, DateRange { start: from, ..whole });
            prop_assert_eq!(halves, nanos);
        }
    }
}
