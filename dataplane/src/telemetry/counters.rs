//! Counters of calls, one set for each serving thread, so that counting is an uncontended atomic addition. Every label
//! has a few fixed values; none comes from outside.

use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::Duration,
};

use proxyxai_contract::{bill::CallBill, part::PARTS, tokens::TokenUsage, usage::UsageMeasure};

use super::call_recorder::{CallOutcome, ResponseEnd};
use crate::{decide::admit::Refusal, formats::Route};

/// Names of routes, as labels.
pub(super) const ROUTES: [&str; 10] = [
    "chat",
    "completions",
    "responses",
    "messages",
    "embeddings",
    "other",
    "models",
    "administration",
    "pages",
    "unknown",
];
/// Statuses with a counter of their own; the others are counted by class.
pub(super) const STATUSES: [u16; 19] = [
    200, 400, 401, 402, 403, 404, 408, 409, 413, 422, 425, 429, 499, 500, 502, 503, 504, 508, 529,
];
pub(super) const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
pub(super) const TRIES: [&str; 6] = [
    "answered",
    "rate_limited",
    "failed",
    "refused",
    "passed_on",
    "cancelled",
];
pub(super) const ENDINGS: [&str; 4] = ["complete", "cut", "abandoned", "stopped"];
pub(super) const MEASURES: [&str; 3] = ["measured", "partial", "estimated"];
pub(super) const STREAMED: [&str; 2] = ["false", "true"];
pub(super) const TOKENS: [&str; 9] = [
    "input",
    "cached",
    "cache_write",
    "output",
    "reasoning",
    "input_audio",
    "output_audio",
    "input_image",
    "output_image",
];

/// Bounds in microseconds.
const WAITS: [u64; 17] = [
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    120_000_000,
    300_000_000,
    600_000_000,
    1_800_000_000,
];
const GAPS: [u64; 15] = [
    1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000,
    5_000_000, 10_000_000, 30_000_000, 60_000_000,
];
const OVERHEADS: [u64; 13] = [
    25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 250_000, 1_000_000, 10_000_000,
];
/// Buckets of the longest list of bounds, including the one beyond its last bound.
const BUCKETS: usize = 18;

/// Where a request goes that is not a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndpointKind {
    /// Lists that are served here.
    Models,
    /// Requests for control.
    Administration,
    /// Metrics, readiness, the front page.
    Pages,
    /// Unknown paths.
    Unknown,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttemptResult {
    /// With a response for the client.
    Answered,
    /// With a rate limit of the key for the model.
    RateLimited,
    /// With a fault of the provider, or of the way there.
    Failed,
    /// The key itself was refused.
    Refused,
    /// With something that says nothing about the key and is retried elsewhere.
    PassedOn,
    /// Another attempt was faster, or the client left.
    Cancelled,
}

/// Counters of one thread.
#[derive(Debug)]
pub(super) struct CallCounters {
    pub(super) calls: [Tally<{ STATUSES.len() + CLASSES.len() }>; ROUTES.len()],
    pub(super) tries: Tally<{ TRIES.len() }>,
    pub(super) retries: Tally<1>,
    pub(super) hedges: Tally<1>,
    pub(super) refusals: Tally<{ Refusal::CODES.len() }>,
    pub(super) endings: Tally<{ ENDINGS.len() }>,
    pub(super) measures: Tally<{ MEASURES.len() }>,
    pub(super) unpriced: Tally<1>,
    /// By part.
    pub(super) unpriced_parts: Tally<PARTS>,
    pub(super) absurd: Tally<1>,
    pub(super) tokens: Tally<{ TOKENS.len() }>,
    pub(super) cost_nanos: Tally<1>,
    /// By whether the response is a stream.
    pub(super) first_byte: [Histogram; 2],
    pub(super) duration: [Histogram; 2],
    pub(super) overhead: Histogram,
    pub(super) gap: Histogram,
    pub(super) open_streams: AtomicI64,
}

/// A row of counters.
#[derive(Debug)]
pub(super) struct Tally<const N: usize>([AtomicU64; N]);

/// How many times fell into each bucket.
#[derive(Debug)]
pub(super) struct Histogram {
    /// In microseconds.
    pub(super) bounds: &'static [u64],
    pub(super) buckets: Tally<BUCKETS>,
    pub(super) sum_us: Tally<1>,
}

impl CallCounters {
    pub(super) const fn new() -> Self {
        Self {
            calls: [const { Tally::new() }; ROUTES.len()],
            tries: Tally::new(),
            retries: Tally::new(),
            hedges: Tally::new(),
            refusals: Tally::new(),
            endings: Tally::new(),
            measures: Tally::new(),
            unpriced: Tally::new(),
            unpriced_parts: Tally::new(),
            absurd: Tally::new(),
            tokens: Tally::new(),
            cost_nanos: Tally::new(),
            first_byte: [const { Histogram::new(&WAITS) }; 2],
            duration: [const { Histogram::new(&WAITS) }; 2],
            overhead: Histogram::new(&OVERHEADS),
            gap: Histogram::new(&GAPS),
            open_streams: AtomicI64::new(0),
        }
    }

    /// Counts an ended call.
    pub(super) fn call(&self, facts: &CallOutcome<'_>) {
        self.answer(of_route(facts.route), facts.status);
        let retries = facts.tries.saturating_sub(1);
        let retries = retries.saturating_sub(facts.hedges);
        self.retries.add(0, retries.into());
        self.hedges.add(0, facts.hedges.into());
        let refused = |code| Refusal::CODES.iter().position(|known| *known == code);
        if let Some(at) = facts.refused.and_then(refused) {
            self.refusals.add(at, 1);
        }
        let streamed = usize::from(facts.streamed);
        self.duration[streamed & 1].observe(facts.duration);
        if let Some(head) = facts.head {
            self.overhead.observe(head.overhead);
            // The gateway's own responses have no provider's first byte.
            if facts.by.is_some() {
                self.first_byte[streamed & 1].observe(head.after);
                self.endings.add(of_ending(facts.ending), 1);
            }
        }
        let Some(record) = facts.record else {
            return;
        };
        self.tokens(&record.tokens);
        self.measures.add(of_measure(record.measure), 1);
        self.absurd.add(0, facts.absurd.into());
        self.unpriced.add(0, u64::from(!record.priced));
        self.parts(record.priced, &record.sum);
        let nanos = u64::try_from(record.cost.nanos()).unwrap_or_default();
        self.cost_nanos.add(0, nanos);
    }

    /// Counts a response to a request that is not a call.
    pub(super) fn page(&self, kind: EndpointKind, status: u16) {
        let at = Route::COUNT
            + match kind {
                EndpointKind::Models => 0,
                EndpointKind::Administration => 1,
                EndpointKind::Pages => 2,
                EndpointKind::Unknown => 3,
            };
        self.answer(at, status);
    }

    fn answer(&self, route: usize, status: u16) {
        let of_class = || (STATUSES.len() + usize::from(status / 100)).saturating_sub(1);
        let at = STATUSES.iter().position(|known| *known == status);
        if let Some(of_route) = self.calls.get(route) {
            of_route.add(at.unwrap_or_else(of_class), 1);
        }
    }

    fn parts(&self, priced: bool, sum: &CallBill) {
        // For a model without a price, no part has one.
        for part in sum.unpriced().filter(|_| priced) {
            self.unpriced_parts.add(part as usize, 1);
        }
    }

    fn tokens(&self, tokens: &TokenUsage) {
        let TokenUsage {
            input,
            cached,
            cache_write,
            cache_write_hour: _,
            output,
            reasoning,
            input_audio,
            output_audio,
            input_image,
            output_image,
            input_video: _,
            cached_audio: _,
            cached_image: _,
        } = *tokens;
        let kinds = [
            input,
            cached,
            cache_write,
            output,
            reasoning,
            input_audio,
            output_audio,
            input_image,
            output_image,
        ];
        for (at, count) in kinds.into_iter().enumerate() {
            self.tokens.add(at, count);
        }
    }
}

const fn of_route(route: Route) -> usize {
    match route {
        Route::Chat => 0,
        Route::Completions => 1,
        Route::Responses => 2,
        Route::Messages => 3,
        Route::Embeddings => 4,
        Route::Other => 5,
    }
}

const fn of_ending(ending: ResponseEnd) -> usize {
    match ending {
        ResponseEnd::Complete => 0,
        ResponseEnd::Cut => 1,
        ResponseEnd::Abandoned => 2,
        ResponseEnd::Stopped => 3,
    }
}

const fn of_measure(measure: UsageMeasure) -> usize {
    match measure {
        UsageMeasure::Measured => 0,
        UsageMeasure::Partial => 1,
        UsageMeasure::Estimated => 2,
    }
}

impl AttemptResult {
    pub(super) const fn index(self) -> usize {
        match self {
            Self::Answered => 0,
            Self::RateLimited => 1,
            Self::Failed => 2,
            Self::Refused => 3,
            Self::PassedOn => 4,
            Self::Cancelled => 5,
        }
    }
}

impl<const N: usize> Tally<N> {
    const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; N])
    }

    pub(super) fn add(&self, at: usize, count: u64) {
        if count > 0
            && let Some(counter) = self.0.get(at)
        {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }

    pub(super) fn read(&self) -> [u64; N] {
        std::array::from_fn(|at| {
            let counter = self.0.get(at);
            counter.map_or(0, |counter| counter.load(Ordering::Relaxed))
        })
    }
}

impl Histogram {
    const fn new(bounds: &'static [u64]) -> Self {
        assert!(bounds.len() < BUCKETS);
        Self {
            bounds,
            buckets: Tally::new(),
            sum_us: Tally::new(),
        }
    }

    pub(super) fn observe(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let at = self.bounds.iter().position(|bound| micros <= *bound);
        self.buckets.add(at.unwrap_or(self.bounds.len()), 1);
        self.sum_us.add(0, micros);
    }
}

#[cfg(test)]
mod tests {
    use proxyxai_contract::{bill::PriceLine, money::Money, part::BillPart};

    use super::*;

    #[test]
    fn a_time_falls_into_the_first_bucket_that_holds_it() {
        let histogram = Histogram::new(&GAPS);
        for micros in [0, 1_000, 1_001, 60_000_000, 60_000_001, 1 << 40] {
            histogram.observe(Duration::from_micros(micros));
        }
        let counts = histogram.buckets.read();
        assert_eq!(counts[..2], [2, 1]);
        assert_eq!(counts[14..16], [1, 2]);
        assert_eq!(counts.iter().sum::<u64>(), 6);
    }

    #[test]
    fn a_part_without_a_price_is_counted_once_a_call_where_its_model_has_one() {
        let line = |part, price| PriceLine {
            part,
            quantity: 7,
            price,
        };
        let lines = vec![
            line(BillPart::InputText, Some(Money::ZERO)),
            line(BillPart::WebSearch, None),
            line(BillPart::Tier, None),
        ];
        let sum = CallBill {
            lines,
            ..CallBill::default()
        };
        let counters = CallCounters::new();
        counters.parts(true, &sum);
        counters.parts(false, &sum);
        let counts = counters.unpriced_parts.read();
        for part in BillPart::all() {
            let named = [BillPart::WebSearch, BillPart::Tier].contains(&part);
            assert_eq!(counts[part as usize], u64::from(named), "{part:?}");
        }
    }

    #[test]
    fn every_status_is_counted_once() {
        let counters = CallCounters::new();
        for status in 100..600 {
            counters.page(EndpointKind::Models, status);
        }
        let counts = counters.calls[6].read();
        assert_eq!(counts.iter().sum::<u64>(), 500);
        assert!(counts[..STATUSES.len()].iter().all(|count| *count == 1));
        assert_eq!(counts[STATUSES.len()..], [100, 99, 100, 88, 94]);
    }

    #[test]
    fn the_bounds_rise() {
        for bounds in [&WAITS[..], &GAPS, &OVERHEADS] {
            assert!(bounds.is_sorted_by(|a, b| a < b));
        }
    }
}
