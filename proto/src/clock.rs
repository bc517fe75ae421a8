//! Time, passed in as a value. Only this file reads the system's clock.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::SystemTime,
};

use jiff::{Timestamp, civil::Date, tz::TimeZone};

use crate::Invalid;

/// A moment in milliseconds since 1970 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Millis(pub i64);

impl Millis {
    /// This moment plus so many milliseconds.
    #[must_use]
    pub const fn plus(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this moment, never negative.
    pub const fn since(self, earlier: Self) -> i64 {
        let ms = self.0.saturating_sub(earlier.0);
        if ms < 0 { 0 } else { ms }
    }

    /// Reads RFC 3339, e.g. `2026-01-31T00:00:00Z`.
    ///
    /// # Errors
    /// Errors if the text is not a valid moment.
    pub fn from_rfc3339(text: &str) -> Result<Self, Invalid> {
        text.trim()
            .parse::<Timestamp>()
            .map(Self::from)
            .map_err(|_| Invalid::new("time", "must be a moment in RFC 3339"))
    }

    /// The same moment as a `jiff` timestamp, clamped to its range.
    pub fn timestamp(self) -> Timestamp {
        Timestamp::from_millisecond(self.0).unwrap_or(Timestamp::MAX)
    }
}

/// A call asks for the time about ten times, so only this number is computed.
fn since_epoch_ms(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        seconds
            .saturating_mul(1000)
            .saturating_add(i64::from(since.subsec_millis()))
    })
}

impl From<Timestamp> for Millis {
    fn from(timestamp: Timestamp) -> Self {
        Self(timestamp.as_millisecond())
    }
}

/// Where "now" comes from: the system, or a test that advances it by hand.
#[derive(Clone)]
pub struct Clock(TimeSource);

#[derive(Clone)]
enum TimeSource {
    System,
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The system's clock.
    pub const fn system() -> Self {
        Self(TimeSource::System)
    }

    /// A clock that stands still until it is advanced.
    pub fn manual(start: Millis) -> Self {
        Self(TimeSource::Manual(Arc::new(AtomicI64::new(start.0))))
    }

    /// The current time of this clock.
    pub fn now(&self) -> Millis {
        match &self.0 {
            #[expect(
                clippy::disallowed_methods,
                reason = "the one place that reads the system's clock"
            )]
            TimeSource::System => Millis(since_epoch_ms(SystemTime::now())),
            TimeSource::Manual(now) => Millis(now.load(Ordering::Relaxed)),
        }
    }

    /// Advances a manual clock. Does nothing to the system's clock.
    pub fn advance(&self, ms: i64) {
        if let TimeSource::Manual(now) = &self.0 {
            now.fetch_add(ms, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            TimeSource::System => "Clock(system)",
            TimeSource::Manual(_) => "Clock(manual)",
        })
    }
}

/// The length of a window, on the clock of a time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowLength {
    /// From one full minute to the next.
    Minute,
    /// From one full hour to the next.
    Hour,
    /// A calendar day: 23 or 25 hours long on days when the clock changes.
    Day,
}

impl WindowLength {
    /// Its usual length in milliseconds.
    pub const fn usual_ms(self) -> i64 {
        match self {
            Self::Minute => 60_000,
            Self::Hour => 3_600_000,
            Self::Day => 86_400_000,
        }
    }
}

impl fmt::Display for WindowLength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        })
    }
}

/// From one boundary to the next: includes the start, excludes the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// First moment.
    pub start: Millis,
    /// First moment after it.
    pub end: Millis,
}

/// A time zone, which decides where days and months begin.
#[derive(Debug, Clone, PartialEq)]
pub struct Zone(TimeZone);

impl Zone {
    /// UTC.
    pub const UTC: Self = Self(TimeZone::UTC);

    /// Looks up a zone by its IANA name, e.g. `Asia/Shanghai`.
    ///
    /// # Errors
    /// Errors if there is no such zone.
    pub fn new(name: &str) -> Result<Self, Invalid> {
        TimeZone::get(name)
            .map(Self)
            .map_err(|_| Invalid::new("TZ", "is not a known time zone"))
    }

    /// IANA name.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// Calendar day of a moment.
    pub fn day(&self, at: Millis) -> Date {
        at.timestamp().to_zoned_datetime(self.0.clone()).date()
    }

    /// First moment of a day.
    pub fn start_of(&self, day: Date) -> Millis {
        day.to_zoned_datetime(self.0.clone())
            .map_or(Millis(0), |zoned| zoned.timestamp().into())
    }

    /// `YYYY-MM-DD HH:MM:SS` in local time of the zone.
    pub fn local(&self, at: Millis) -> String {
        let zoned = at.timestamp().to_zoned_datetime(self.0.clone());
        zoned.strftime("%Y-%m-%d %H:%M:%S").to_string()
    }

    /// The period that contains a moment. If the clock changes by less than a full hour, the hour ends there and
    /// another begins.
    pub fn period(&self, span: WindowLength, at: Millis) -> Period {
        match span {
            WindowLength::Minute | WindowLength::Hour => self.by_the_clock(span.usual_ms(), at),
            WindowLength::Day => self.day_around(at),
        }
    }

    fn by_the_clock(&self, length_ms: i64, at: Millis) -> Period {
        let shift = |at: Millis| i64::from(self.0.to_offset(at.timestamp()).seconds()) * 1000;
        let since = at.0.saturating_add(shift(at)).rem_euclid(length_ms);
        let (mut start, mut end) = (at.plus(-since), at.plus(length_ms - since));
        let put = |found: Option<jiff::tz::TimeZoneTransition<'_>>| {
            found.map(|found| Millis::from(found.timestamp()))
        };
        if shift(start) != shift(at) {
            // `preceding` excludes a transition at exactly this moment.
            let put = put(self.0.preceding(at.plus(1).timestamp()).next());
            start = put.map_or(start, |put| put.max(start));
        }
        if shift(end.plus(-1)) != shift(at) {
            let put = put(self.0.following(at.timestamp()).next());
            end = put.map_or(end, |put| put.min(end));
        }
        Period { start, end }
    }

    fn day_around(&self, at: Millis) -> Period {
        let day = self.day(at);
        let after = |day: Date| {
            day.tomorrow()
                .map_or(Millis(i64::MAX), |next| self.start_of(next))
        };
        let (start, end) = (self.start_of(day), after(day));
        if at < end {
            return Period { start, end };
        }
        // A clock set back over midnight shows the previous day again, whose end has already passed.
        let end_of_next = day.tomorrow().map_or(Millis(i64::MAX), after);
        Period {
            start: end,
            end: end_of_next,
        }
    }

    /// RFC 3339 with the zone's offset.
    pub fn rfc3339(&self, at: Millis) -> String {
        let zoned = at.timestamp().to_zoned_datetime(self.0.clone());
        jiff::fmt::temporal::DateTimePrinter::new()
            .timestamp_with_offset_to_string(&zoned.timestamp(), zoned.offset())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: i64 = 3_600_000;

    fn zone(name: &str) -> Zone {
        Zone::new(name).unwrap()
    }

    fn at(text: &str) -> Millis {
        text.parse::<Timestamp>().unwrap().into()
    }

    /// Start and end in local time of the zone.
    fn shown(zone: &Zone, span: WindowLength, moment: &str) -> [String; 2] {
        let Period { start, end } = zone.period(span, at(moment));
        [zone.rfc3339(start), zone.rfc3339(end)]
    }

    #[test]
    fn the_border_belongs_to_the_period_that_begins() {
        let utc = Zone::UTC;
        let minute = ["2026-11-01T12:00:00+00:00", "2026-11-01T12:01:00+00:00"];
        for moment in ["2026-11-01T12:00:00Z", "2026-11-01T12:00:59.999Z"] {
            assert_eq!(
                shown(&utc, WindowLength::Minute, moment),
                minute,
                "{moment}"
            );
        }
        assert_eq!(
            shown(&utc, WindowLength::Hour, "2026-11-01T12:59:59.999Z"),
            ["2026-11-01T12:00:00+00:00", "2026-11-01T13:00:00+00:00"]
        );
    }

    #[test]
    fn hours_follow_the_clock_of_a_zone_that_is_half_an_hour_off() {
        assert_eq!(
            shown(
                &zone("Asia/Kolkata"),
                WindowLength::Hour,
                "2026-11-01T12:10:00Z"
            ),
            ["2026-11-01T17:00:00+05:30", "2026-11-01T18:00:00+05:30"]
        );
    }

    #[test]
    fn a_day_has_23_or_25_hours_when_the_clock_is_put() {
        let berlin = zone("Europe/Berlin");
        assert_eq!(
            shown(&berlin, WindowLength::Day, "2026-03-29T10:00:00Z"),
            ["2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00"]
        );
        assert_eq!(
            shown(&berlin, WindowLength::Day, "2026-10-25T22:59:59.999Z"),
            ["2026-10-25T00:00:00+02:00", "2026-10-26T00:00:00+01:00"]
        );
        let length = |moment| {
            let day = berlin.period(WindowLength::Day, at(moment));
            day.end.since(day.start) / HOUR
        };
        assert_eq!(length("2026-03-29T10:00:00Z"), 23);
        assert_eq!(length("2026-10-25T10:00:00Z"), 25);
        // The hour that the clock shows twice is two hours long.
        let hours = ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"]
            .map(|moment| berlin.period(WindowLength::Hour, at(moment)));
        assert_eq!(hours[0].end, hours[1].start);
        assert!(hours.iter().all(|hour| hour.end.since(hour.start) == HOUR));
    }

    #[test]
    fn leap_days_and_month_ends_are_days_like_others() {
        assert_eq!(
            shown(&Zone::UTC, WindowLength::Day, "2028-02-29T23:59:59.999Z"),
            ["2028-02-29T00:00:00+00:00", "2028-03-01T00:00:00+00:00"]
        );
        assert_eq!(
            shown(&Zone::UTC, WindowLength::Day, "2027-02-28T12:00:00Z")[1],
            "2027-03-01T00:00:00+00:00"
        );
        assert_eq!(
            shown(
                &zone("Asia/Shanghai"),
                WindowLength::Day,
                "2026-12-31T15:59:59Z"
            )[1],
            "2027-01-01T00:00:00+08:00"
        );
    }

    #[test]
    fn an_hour_ends_where_the_clock_is_put_by_half_of_one() {
        let howe = zone("Australia/Lord_Howe");
        // 02:00 becomes 02:30 on 4 October 2026, and back on 5 April 2026.
        assert_eq!(
            shown(&howe, WindowLength::Hour, "2026-10-03T15:45:00Z"),
            ["2026-10-04T02:30:00+11:00", "2026-10-04T03:00:00+11:00"]
        );
        assert_eq!(
            shown(&howe, WindowLength::Hour, "2026-04-04T15:10:00Z"),
            ["2026-04-05T01:30:00+10:30", "2026-04-05T02:00:00+10:30"]
        );
    }

    #[test]
    fn a_day_that_begins_at_one_o_clock_is_whole() {
        // Midnight is skipped on 6 September 2026.
        let santiago = zone("America/Santiago");
        let [start, _] = shown(&santiago, WindowLength::Day, "2026-09-06T12:00:00Z");
        assert_eq!(start, "2026-09-06T01:00:00-03:00");
    }

    proptest! {
        #[test]
        fn periods_contain_their_moment_and_follow_each_other(
            seconds in 0i64..4_000_000_000,
            name in prop::sample::select(vec![
                "UTC", "Europe/Berlin", "America/New_York", "America/St_Johns", "America/Santiago",
                "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Casablanca", "Pacific/Apia",
            ]),
        ) {
            let (zone, moment) = (zone(name), Millis(seconds * 1000 + 7));
            for span in [WindowLength::Minute, WindowLength::Hour, WindowLength::Day] {
                let period = zone.period(span, moment);
                prop_assert!(period.start <= moment && moment < period.end);
                prop_assert_eq!(zone.period(span, period.start), period);
                prop_assert_eq!(zone.period(span, period.end.plus(-1)), period);
                prop_assert_eq!(zone.period(span, period.end).start, period.end);
            }
        }
    }
}
