//! Time, handed in. The only place that reads the system's clock.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
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

    /// The same moment as a `jiff` timestamp, clamped to its range.
    pub fn timestamp(self) -> Timestamp {
        Timestamp::from_millisecond(self.0).unwrap_or(Timestamp::MAX)
    }
}

impl From<Timestamp> for Millis {
    fn from(timestamp: Timestamp) -> Self {
        Self(timestamp.as_millisecond())
    }
}

/// Where "now" comes from: the system, or a test that moves it by hand.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System,
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The system's clock.
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still until it is moved.
    pub fn manual(start: Millis) -> Self {
        Self(Source::Manual(Arc::new(AtomicI64::new(start.0))))
    }

    /// The moment it shows.
    pub fn now(&self) -> Millis {
        match &self.0 {
            #[expect(
                clippy::disallowed_methods,
                reason = "the one place that reads the system's clock"
            )]
            Source::System => Millis(Timestamp::now().as_millisecond()),
            Source::Manual(now) => Millis(now.load(Ordering::Relaxed)),
        }
    }

    /// Moves a manual clock; the system's stays as it is.
    pub fn advance(&self, ms: i64) {
        if let Source::Manual(now) = &self.0 {
            now.fetch_add(ms, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Source::System => "Clock(system)",
            Source::Manual(_) => "Clock(manual)",
        })
    }
}

/// A time zone, which decides where days and months begin.
#[derive(Debug, Clone, PartialEq)]
pub struct Zone(TimeZone);

impl Zone {
    /// Universal time.
    pub const UTC: Self = Self(TimeZone::UTC);

    /// By its IANA name, e.g. `Asia/Shanghai`.
    ///
    /// # Errors
    /// When there is no such zone.
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
        at.timestamp().to_zoned(self.0.clone()).date()
    }

    /// First moment of a day.
    pub fn start_of(&self, day: Date) -> Millis {
        day.to_zoned(self.0.clone())
            .map_or(Millis(0), |zoned| zoned.timestamp().into())
    }

    /// `YYYY-MM-DD HH:MM:SS` on the clocks of the zone.
    pub fn local(&self, at: Millis) -> String {
        let zoned = at.timestamp().to_zoned(self.0.clone());
        zoned.strftime("%Y-%m-%d %H:%M:%S").to_string()
    }

    /// RFC 3339 with the zone's offset.
    pub fn rfc3339(&self, at: Millis) -> String {
        let zoned = at.timestamp().to_zoned(self.0.clone());
        jiff::fmt::temporal::DateTimePrinter::new()
            .timestamp_with_offset_to_string(&zoned.timestamp(), zoned.offset())
    }
}
