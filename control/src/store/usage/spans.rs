//! Ranges of days as a few whole years, months and thirds of months, with as few single days as possible.

use jiff::civil::{Date, date};

use crate::model::DateRange;

/// The cost of a whole span in days: it has about as many rows as several days together, since more accounts use
/// something in it.
const WHOLE_COST: usize = 4;

/// The units that have totals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SpanUnit {
    Year,
    Month,
    /// Days 1 to 10, 11 to 20, and the rest of a month.
    Third,
    Day,
}

/// Totals to add (index 0) and totals to subtract (index 1).
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(in crate::store) struct SpanCover {
    /// Names of whole spans, as they are stored.
    pub(in crate::store) spans: [Vec<String>; 2],
    /// Single days.
    pub(in crate::store) days: [Vec<Date>; 2],
}

impl SpanCover {
    /// The cheapest cover of some days.
    pub(in crate::store) fn of(days: DateRange) -> Self {
        let mut cover = Self::default();
        for year in days.start.year()..=days.end.year() {
            cover.add(within(SpanUnit::Year, date(year, 1, 1), days), false);
        }
        cover
    }

    fn cost(&self) -> usize {
        let count = |lists: [usize; 2]| lists[0].saturating_add(lists[1]);
        let whole = count([self.spans[0].len(), self.spans[1].len()]);
        let single = count([self.days[0].len(), self.days[1].len()]);
        whole.saturating_mul(WHOLE_COST).saturating_add(single)
    }

    fn add(&mut self, mut other: Self, taken: bool) {
        if taken {
            other.spans.reverse();
            other.days.reverse();
        }
        for (mine, theirs) in self.spans.iter_mut().zip(other.spans) {
            mine.extend(theirs);
        }
        for (mine, theirs) in self.days.iter_mut().zip(other.days) {
            mine.extend(theirs);
        }
    }
}

/// The whole spans that contain a day.
pub(super) fn spans_of(day: Date) -> [String; 3] {
    [SpanUnit::Year, SpanUnit::Month, SpanUnit::Third].map(|unit| unit.name(day))
}

impl SpanUnit {
    fn name(self, day: Date) -> String {
        match self {
            Self::Year => format!("{:04}", day.year()),
            Self::Month => format!("{:04}-{:02}", day.year(), day.month()),
            Self::Third => {
                let third = match day.day() {
                    ..=10 => 1,
                    11..=20 => 2,
                    _ => 3,
                };
                format!("{:04}-{:02}/{third}", day.year(), day.month())
            }
            Self::Day => day.to_string(),
        }
    }

    /// The last day of the unit that begins at a day.
    fn last(self, first: Date) -> Date {
        match self {
            Self::Year => first.last_of_year(),
            Self::Third if first.day() < 20 => first.saturating_add(jiff::Span::new().days(9)),
            Self::Month | Self::Third => first.last_of_month(),
            Self::Day => first,
        }
    }

    const fn smaller(self) -> Self {
        match self {
            Self::Year => Self::Month,
            Self::Month => Self::Third,
            Self::Third | Self::Day => Self::Day,
        }
    }
}

/// The part of some days within the unit that begins at a day: all of it, the smaller units that make it up, or the
/// whole less the smaller units outside the range.
fn within(unit: SpanUnit, first: Date, days: DateRange) -> SpanCover {
    let last = unit.last(first);
    let mut whole = SpanCover::default();
    if days.end < first || days.start > last || days.end < days.start {
        return whole;
    }
    if unit == SpanUnit::Day {
        whole.days[0].push(first);
        return whole;
    }
    whole.spans[0].push(unit.name(first));
    if days.start <= first && days.end >= last {
        return whole;
    }
    let mut pieces = SpanCover::default();
    pieces.add(smaller(unit, first, days), false);
    let before = days.start.yesterday().ok().filter(|end| *end >= first);
    let after = days.end.tomorrow().ok().filter(|start| *start <= last);
    let missing = [
        before.map(|end| (first, end)),
        after.map(|start| (start, last)),
    ];
    for (start, end) in missing.into_iter().flatten() {
        whole.add(smaller(unit, first, DateRange { start, end }), true);
    }
    if whole.cost() < pieces.cost() {
        whole
    } else {
        pieces
    }
}

fn smaller(unit: SpanUnit, first: Date, days: DateRange) -> SpanCover {
    let (part, last) = (unit.smaller(), unit.last(first));
    let (mut cover, mut next) = (SpanCover::default(), Some(first));
    while let Some(begins) = next.filter(|begins| *begins <= last) {
        cover.add(within(part, begins, days), false);
        next = part.last(begins).tomorrow().ok();
    }
    cover
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    fn of(start: &str, end: &str) -> SpanCover {
        let (start, end) = (day(start), day(end));
        SpanCover::of(DateRange { start, end })
    }

    fn cover(more: &[&str], less: &[&str], days: &[&str], without: &[&str]) -> SpanCover {
        let texts = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        let dates = |list: &[&str]| list.iter().map(|text| day(text)).collect();
        SpanCover {
            spans: [texts(more), texts(less)],
            days: [dates(days), dates(without)],
        }
    }

    #[test]
    fn few_totals_make_up_a_span() {
        assert_eq!(
            of("2028-02-01", "2028-02-29"),
            cover(&["2028-02"], &[], &[], &[])
        );
        assert_eq!(
            of("2026-01-01", "2026-12-31"),
            cover(&["2026"], &[], &[], &[])
        );
        assert_eq!(
            of("2026-11-01", "2026-11-22"),
            cover(
                &["2026-11/1", "2026-11/2"],
                &[],
                &["2026-11-21", "2026-11-22"],
                &[]
            )
        );
        assert_eq!(
            of("2026-11-01", "2026-11-29"),
            cover(&["2026-11"], &[], &[], &["2026-11-30"])
        );
        assert_eq!(
            of("2026-02-01", "2026-12-31"),
            cover(&["2026"], &["2026-01"], &[], &[])
        );
        assert_eq!(
            of("2025-12-31", "2026-01-02"),
            cover(&[], &[], &["2025-12-31", "2026-01-01", "2026-01-02"], &[])
        );
    }

    /// How often each day of some years is counted.
    fn counted(cover: &SpanCover) -> BTreeMap<Date, i64> {
        let mut counts = BTreeMap::new();
        let mut at = day("2023-01-01");
        while at < day("2029-01-01") {
            let names = spans_of(at);
            let whole = |list: &[String]| list.iter().filter(|name| names.contains(name)).count();
            let single = |list: &[Date]| list.iter().filter(|day| **day == at).count();
            let [more, less] = [0, 1].map(|side: usize| {
                i64::try_from(whole(&cover.spans[side]) + single(&cover.days[side])).unwrap()
            });
            counts.insert(at, more - less);
            at = at.tomorrow().unwrap();
        }
        counts
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_day_of_a_span_counts_once_and_no_other(start in 0i64..1000, length in 0i64..800) {
            let at = |days: i64| day("2024-01-01").checked_add(jiff::Span::new().days(days)).unwrap();
            let days = DateRange { start: at(start), end: at(start + length) };
            let cover = SpanCover::of(days);
            for (day, count) in counted(&cover) {
                prop_assert_eq!(count, i64::from(day >= days.start && day <= days.end), "{}", day);
            }
            prop_assert!(cover.days[0].len() + cover.days[1].len() <= 20);
        }
    }
}
