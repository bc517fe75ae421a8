//! `GET /metrics`: counters of calls and the state of this data plane, in the Prometheus text format. No account, key
//! or model is named. Readable with root's key or `METRICS_TOKEN`, and without either on an address of its own.

use std::{net::IpAddr, time::Duration};

use axum::{body::Body, response::IntoResponse as _};
use http::{HeaderMap, Response, header};
use prometheus_client::{
    encoding::text,
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::{Registry, Unit},
};
use proxyxai_contract::{
    clock::Millis, earnings::EarningCounters, id::AccountId, money::Money, snapshot::HealthState,
};
use subtle::ConstantTimeEq as _;

use crate::{
    decide::admit::{self, Refusal},
    formats::Dialect,
    relay::{Relay, credential_from, refuse},
    state::{Caller, Figures, LeaseState, Snapshot},
    telemetry::Rows,
};

pub(super) const KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The page, if the request is authorized.
pub(super) fn page(relay: &Relay, peer: IpAddr, headers: &HeaderMap) -> Response<Body> {
    let Some(snapshot) = relay.state.snapshot() else {
        return refuse(Dialect::OpenAi, &Refusal::Unavailable);
    };
    let by_root = || {
        let Caller { account, key } = relay.authenticate(&snapshot, headers)?;
        if account.account.id != AccountId::ROOT || key.is_some() {
            return Err(Refusal::Unauthenticated);
        }
        let from = relay.client_address(peer, headers);
        admit::address(&snapshot.chain(&account.account), from)
    };
    if holds_token(relay, headers) {
        return open(relay);
    }
    by_root().map_or_else(
        |refusal| refuse(Dialect::OpenAi, &refusal),
        |()| open(relay),
    )
}

fn holds_token(relay: &Relay, headers: &HeaderMap) -> bool {
    let (Some(token), Some(given)) = (&relay.config.metrics_token, credential_from(headers)) else {
        return false;
    };
    // Constant time, so that timing does not reveal where they differ.
    token.expose().as_bytes().ct_eq(given.as_bytes()).into()
}

/// The page, without authorization.
pub(super) fn open(relay: &Relay) -> Response<Body> {
    let Some(snapshot) = relay.state.snapshot() else {
        return refuse(Dialect::OpenAi, &Refusal::Unavailable);
    };
    let mut page = String::new();
    match text::encode(&mut page, &registry(relay, &snapshot)) {
        Ok(()) => ([(header::CONTENT_TYPE, KIND)], page).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written");
            refuse(Dialect::OpenAi, &Refusal::Unavailable)
        }
    }
}

fn registry(relay: &Relay, snapshot: &Snapshot) -> Registry {
    let mut sums = Figures::default();
    for credit_lease in snapshot.credit_leases() {
        let own = credit_lease.figures();
        sums.leased = sums.leased.saturating_add(own.leased);
        sums.held = sums.held.saturating_add(own.held);
        sums.unposted = sums.unposted.saturating_add(own.unposted);
        sums.unbounded = sums.unbounded.saturating_add(own.unbounded);
        sums.exceeded = sums.exceeded.saturating_add(own.exceeded);
    }
    let mut registry = Registry::with_prefix("proxyxai");
    relay.telemetry.register(&mut registry);
    credit(&sums, &mut registry);
    if let Some(earned) = &relay.config.earned {
        posted(earned, &mut registry);
    }
    let counts = [
        (
            "unbounded_calls",
            "Calls under way that may cost more than is set aside for them, for part of what they use is bounded by nobody",
            sums.unbounded,
        ),
        ("open_calls", "Calls under way", relay.open_calls() as u64),
        (
            "abandoned_calls",
            "Calls under way whose clients have left",
            relay.abandoned_calls() as u64,
        ),
        (
            "config_revision",
            "Revision of the configuration in use",
            snapshot.revision.0,
        ),
        (
            "accounts",
            "Accounts",
            snapshot.credit_leases().count() as u64,
        ),
    ];
    for (name, help, count) in counts {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        registry.register(name, help, ConstGauge::new(count));
    }
    ages(relay, snapshot, &mut registry);
    states(relay, snapshot, &mut registry);
    registry
}

/// Credit on lease and how it is used.
fn credit(sums: &Figures, registry: &mut Registry) {
    let mut dollars = |name: &str, help: &str, amount: Money| {
        registry.register(name, help, ConstGauge::new(amount.dollars()));
    };
    dollars(
        "credit_leased_usd",
        "Credit on lease from control",
        sums.leased,
    );
    dollars(
        "credit_held_usd",
        "Credit set aside for calls under way",
        sums.held,
    );
    dollars(
        "credit_unposted_usd",
        "Charges that control has not posted yet",
        sums.unposted,
    );
    if sums.unbounded == 0 {
        dollars(
            "overspend_bound_usd",
            "Most that calls under way can cost beyond what is set aside for them; absent while some are without bounds",
            Money::ZERO,
        );
    }
    dollars(
        "overspend_usd",
        "What calls have cost beyond what was set aside for them, since the start",
        sums.exceeded,
    );
}

/// Only available beside a control plane, which alone knows what keys cost.
fn posted(earned: &EarningCounters, registry: &mut Registry) {
    for (name, help, sum) in [
        (
            "earned_usd",
            "What calls that were posted here cost their accounts, in dollars, since the start",
            earned.cost(),
        ),
        (
            "expense_usd",
            "What they cost whoever runs the gateway, since the start",
            earned.expense(),
        ),
    ] {
        registry.register(name, help, ConstCounter::new(sum.dollars()));
    }
}

fn ages(relay: &Relay, snapshot: &Snapshot, registry: &mut Registry) {
    let now = relay.clock.now();
    let since = |at: Millis| Duration::from_millis(now.since(at).unsigned_abs());
    let oldest = relay.record_queue.waiting_since().map(since);
    for (name, help, age) in [
        (
            "config_age",
            "Since the configuration in use was taken over",
            since(snapshot.since),
        ),
        (
            "control_silence",
            "Since control was last heard of",
            relay.state.reach().silence(),
        ),
        (
            "spool_oldest_age",
            "Since the end of the oldest call that control has not posted; 0 without one",
            oldest.unwrap_or_default(),
        ),
    ] {
        let age = ConstGauge::new(age.as_secs_f64());
        registry.register_with_unit(name, help, Unit::Seconds, age);
    }
}

/// Counts keys, keys for one model, leases and records by state.
fn states(relay: &Relay, snapshot: &Snapshot, registry: &mut Registry) {
    let now = relay.clock.now();
    let (mut keys, mut pairs) = (Counts::of(KEY_STATES), Counts::of(PAIR_STATES));
    for key in snapshot.keys() {
        let (whole, asleep) = key.health.standing();
        keys.add(state(whole, now));
        for pair in asleep {
            pairs.add(state(pair, now));
        }
    }
    let mut leases = Counts::of(LEASE_STATES);
    for credit_lease in snapshot.credit_leases() {
        leases.add(match credit_lease.lease_state() {
            LeaseState::Absent => continue,
            LeaseState::Active => "active",
            LeaseState::Exhausted => "exhausted",
            LeaseState::Recalled => "recalled",
            LeaseState::Returning => "returning",
        });
    }
    let records = [
        ("memory", relay.spool().queued() as u64),
        ("disk", relay.record_queue.depth()),
    ];
    for (name, help, rows) in [
        ("keys", "Upstream keys by state", keys.rows("state")),
        (
            "key_models",
            "Upstream keys that rest for one model, by state",
            pairs.rows("state"),
        ),
        ("leases", "Leases of credit by state", leases.rows("state")),
        (
            "spool_records",
            "Usage records that control has not posted, by where they wait",
            Rows::gauge("place", &records),
        ),
    ] {
        registry.register(name, help, rows);
    }
}

/// A `returning` key has rested and gets one call at a time.
const KEY_STATES: &[&str] = &["ready", "sleeping", "returning", "quarantined", "disabled"];
const PAIR_STATES: &[&str] = &["sleeping", "returning"];
const LEASE_STATES: &[&str] = &["active", "exhausted", "recalled", "returning"];

fn state(health: HealthState, now: Millis) -> &'static str {
    match health {
        HealthState::Ready => "ready",
        HealthState::Sleeping { until } | HealthState::Quarantined { until } if until <= now => {
            "returning"
        }
        HealthState::Sleeping { .. } => "sleeping",
        HealthState::Quarantined { .. } => "quarantined",
        HealthState::Disabled => "disabled",
    }
}

/// How often each of a few states occurred.
struct Counts(Vec<(&'static str, u64)>);

impl Counts {
    fn of(states: &[&'static str]) -> Self {
        Self(states.iter().map(|state| (*state, 0)).collect())
    }

    fn add(&mut self, state: &str) {
        if let Some((_, count)) = self.0.iter_mut().find(|(known, _)| *known == state) {
            *count += 1;
        }
    }

    fn rows(&self, label: &'static str) -> Rows {
        Rows::gauge(label, &self.0)
    }
}
