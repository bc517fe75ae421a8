//! The counters of all threads, added up, in the Prometheus format.

use std::{fmt, sync::atomic::Ordering};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::{MetricType, gauge::ConstGauge, info::Info},
    registry::{Registry, Unit},
};
use proxyxai_contract::part::BillPart;

use super::{
    Telemetry,
    counters::{
        CLASSES, CallCounters, ENDINGS, Histogram, MEASURES, ROUTES, STATUSES, STREAMED, TOKENS,
        TRIES, Tally,
    },
};
use crate::decide::admit::Refusal;

/// Names and values of labels.
pub(crate) type Labels = Vec<(&'static str, String)>;

/// Counters or gauges with different labels.
#[derive(Debug)]
pub(crate) struct Rows {
    kind: MetricType,
    rows: Vec<(Labels, f64)>,
}

/// Histograms with different labels.
#[derive(Debug)]
struct Spreads(Vec<(Labels, Spread)>);

#[derive(Debug)]
struct Spread {
    sum_seconds: f64,
    /// Upper bound in seconds, and the count of that bucket alone.
    buckets: Vec<(f64, u64)>,
}

impl Telemetry {
    /// Registers all counters of calls.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let threads = self.threads();
        let counters = Sums(&threads);
        registry.register(
            "build",
            "The program",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        registry.register(
            "requests",
            "Requests by kind of path and status",
            counters.calls(),
        );
        let mut count = |name: &str, help: &str, rows: Rows| registry.register(name, help, rows);
        count(
            "tries",
            "Attempts upstream by outcome",
            counters.row("outcome", &TRIES, |of| &of.tries),
        );
        count(
            "retries",
            "Attempts after the first of a call, hedges left out",
            counters.one(|of| &of.retries),
        );
        count(
            "hedges",
            "Second keys asked beside a slow one",
            counters.one(|of| &of.hedges),
        );
        count(
            "refusals",
            "Calls refused by the gateway itself, by code",
            counters.row("code", &Refusal::CODES, |of| &of.refusals),
        );
        count(
            "answers",
            "Answers of providers by how they ended",
            counters.row("ending", &ENDINGS, |of| &of.endings),
        );
        count(
            "usage_records",
            "Usage records by how their tokens were found",
            counters.row("measure", &MEASURES, |of| &of.measures),
        );
        count(
            "unpriced_records",
            "Usage records of models without a price",
            counters.one(|of| &of.unpriced),
        );
        count(
            "unpriced_parts",
            "Calls that used what their model's price has no price of, by part",
            counters.parts(),
        );
        count(
            "absurd_reports",
            "Answers whose provider reported counts of tokens that can not be",
            counters.one(|of| &of.absurd),
        );
        count(
            "tokens",
            "Tokens by kind; input and output include their parts",
            counters.row("kind", &TOKENS, |of| &of.tokens),
        );
        self.register_sums(&counters, registry);
        register_times(&counters, registry);
    }

    fn register_sums(&self, counters: &Sums<'_>, registry: &mut Registry) {
        let mut count = |name: &str, help: &str, rows: Rows| registry.register(name, help, rows);
        let dropped = self.0.shared.log.as_ref();
        let dropped = dropped.map_or(0, |log| log.dropped.load(Ordering::Relaxed));
        count(
            "access_log_dropped_lines",
            "Lines of the access log that came faster than they could be written",
            Rows::counter(vec![(Vec::new(), float(dropped))]),
        );
        let nanos = counters.sum(|of| &of.cost_nanos)[0];
        #[expect(
            clippy::cast_precision_loss,
            reason = "a metric is a floating-point number"
        )]
        let dollars = nanos as f64 / 1e9;
        count(
            "cost_usd",
            "What calls were charged, rates and factors applied",
            Rows::counter(vec![(Vec::new(), dollars)]),
        );
    }
}

fn register_times(counters: &Sums<'_>, registry: &mut Registry) {
    let mut times = |name: &str, help: &str, times: Spreads| {
        registry.register_with_unit(name, help, Unit::Seconds, times);
    };
    times(
        "time_to_first_byte",
        "From a call's head to the head of a provider's answer",
        counters.by_stream(|of| &of.first_byte),
    );
    times(
        "call_duration",
        "From a call's head to the end of its answer",
        counters.by_stream(|of| &of.duration),
    );
    times(
        "overhead",
        "The same to the answer's head, less waiting for the client's body and for providers",
        Spreads(vec![(Vec::new(), counters.spread(|of| &of.overhead))]),
    );
    times(
        "stream_gap",
        "Between one piece of a streamed answer and the next, pings left out",
        Spreads(vec![(Vec::new(), counters.spread(|of| &of.gap))]),
    );
    let open = |of: &std::sync::Arc<CallCounters>| of.open_streams.load(Ordering::Relaxed);
    let open: i64 = counters.0.iter().map(open).sum();
    registry.register(
        "open_streams",
        "Streamed answers under way",
        ConstGauge::new(open.max(0)),
    );
}

/// Adds up over threads.
struct Sums<'a>(&'a [std::sync::Arc<CallCounters>]);

impl Sums<'_> {
    fn sum<const N: usize>(&self, of: impl Fn(&CallCounters) -> &Tally<N>) -> [u64; N] {
        self.0.iter().fold([0; N], |sum, counters| {
            let own = of(counters).read();
            std::array::from_fn(|at| sum[at].saturating_add(own[at]))
        })
    }

    fn one(&self, of: impl Fn(&CallCounters) -> &Tally<1>) -> Rows {
        let [count] = self.sum(of);
        Rows::counter(vec![(Vec::new(), float(count))])
    }

    fn row<const N: usize>(
        &self,
        label: &'static str,
        names: &[&str; N],
        of: impl Fn(&CallCounters) -> &Tally<N>,
    ) -> Rows {
        let rows = names.iter().zip(self.sum(of));
        let rows = rows.map(|(name, count)| (vec![(label, (*name).to_owned())], float(count)));
        Rows::counter(rows.collect())
    }

    /// Only pairs that have occurred: most never do.
    fn calls(&self) -> Rows {
        let statuses = STATUSES.iter().map(u16::to_string);
        let statuses = statuses.chain(CLASSES.iter().map(|class| (*class).to_owned()));
        let statuses: Vec<_> = statuses.collect();
        let mut rows = Vec::new();
        for (at, route) in ROUTES.iter().enumerate() {
            let counts = self.sum(|of| &of.calls[at]);
            for (status, count) in statuses.iter().zip(counts).filter(|(_, count)| *count > 0) {
                let labels = vec![("route", (*route).to_owned()), ("status", status.clone())];
                rows.push((labels, float(count)));
            }
        }
        Rows::counter(rows)
    }

    /// Only parts that have occurred: most have a price everywhere.
    fn parts(&self) -> Rows {
        let counts = BillPart::all().zip(self.sum(|of| &of.unpriced_parts));
        let counts = counts.filter(|(_, count)| *count > 0);
        let rows = counts.map(|(part, count)| {
            let labels = vec![("part", part.name().to_owned())];
            (labels, float(count))
        });
        Rows::counter(rows.collect())
    }

    fn by_stream(&self, of: impl Fn(&CallCounters) -> &[Histogram; 2]) -> Spreads {
        let rows = STREAMED.iter().enumerate().map(|(at, streamed)| {
            let labels = vec![("stream", (*streamed).to_owned())];
            (labels, self.spread(|counters| &of(counters)[at & 1]))
        });
        Spreads(rows.collect())
    }

    fn spread(&self, of: impl Fn(&CallCounters) -> &Histogram) -> Spread {
        let counts = self.sum(|counters| &of(counters).buckets);
        let [sum_us] = self.sum(|counters| &of(counters).sum_us);
        let bounds = self.0.first().map_or(&[][..], |first| of(first).bounds);
        let ends = bounds.iter().map(|bound| float(*bound) / 1e6);
        let buckets = ends.chain([f64::MAX]).zip(counts);
        Spread {
            sum_seconds: float(sum_us) / 1e6,
            buckets: buckets.collect(),
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a metric is a floating-point number"
)]
fn float(count: u64) -> f64 {
    count as f64
}

impl Rows {
    fn counter(rows: Vec<(Labels, f64)>) -> Self {
        let kind = MetricType::Counter;
        Self { kind, rows }
    }

    /// The current count of each.
    pub(crate) fn gauge(label: &'static str, counts: &[(&str, u64)]) -> Self {
        let row = |(name, count): &(&str, u64)| (vec![(label, (*name).to_owned())], float(*count));
        Self {
            kind: MetricType::Gauge,
            rows: counts.iter().map(row).collect(),
        }
    }

    fn encode_one(&self, value: f64, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        match self.kind {
            MetricType::Gauge => encoder.encode_gauge(&value),
            // Whole numbers are written as such.
            _ if value.fract() == 0.0 && value < 1e15 => {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a whole number below 1e15"
                )]
                let whole = value as u64;
                encoder.encode_counter::<NoLabelSet, _, u64>(&whole, None)
            }
            _ => encoder.encode_counter::<NoLabelSet, _, u64>(&value, None),
        }
    }
}

impl EncodeMetric for Rows {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for (labels, value) in &self.rows {
            if labels.is_empty() {
                return self.encode_one(*value, encoder);
            }
            self.encode_one(*value, encoder.encode_family(labels)?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        self.kind
    }
}

impl EncodeMetric for Spreads {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for (labels, spread) in &self.0 {
            let Spread {
                sum_seconds,
                buckets,
            } = spread;
            let count = buckets.iter().map(|(_, count)| count).sum();
            let none: Option<&std::collections::HashMap<usize, _>> = None;
            if labels.is_empty() {
                return encoder.encode_histogram::<NoLabelSet>(*sum_seconds, count, buckets, none);
            }
            encoder
                .encode_family(labels)?
                .encode_histogram::<NoLabelSet>(*sum_seconds, count, buckets, none)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}
