//! `GET /metrics`: what this data plane holds of its accounts' money, in Prometheus' text format. Sums
//! only: no account is named. For root, or for whoever asks from this very host.

use std::net::IpAddr;

use axum::{body::Body, response::IntoResponse as _};
use http::{HeaderMap, Response, header};
use prometheus_client::{encoding::text, metrics::gauge::ConstGauge, registry::Registry};
use proxyxai_contract::{id::AccountId, money::Money};

use crate::{
    decide::admit::Refusal,
    formats::Family,
    live::{Figures, Snapshot},
    relay::{Relay, refuse},
};

const TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The page, for whom it is.
pub(super) fn page(relay: &Relay, peer: IpAddr, headers: &HeaderMap) -> Response<Body> {
    let Some(snapshot) = relay.live.snapshot() else {
        return refuse(Family::OpenAi, &Refusal::Unavailable);
    };
    // Behind a proxy of the same host everybody would come from it.
    let local = peer.to_canonical().is_loopback() && !headers.contains_key("x-forwarded-for");
    let root = || {
        Relay::authenticate(&snapshot, headers)
            .is_ok_and(|account| account.account.id == AccountId::ROOT)
    };
    if !local && !root() {
        return refuse(Family::OpenAi, &Refusal::Unauthenticated);
    }
    let mut page = String::new();
    match text::encode(&mut page, &registry(relay, &snapshot)) {
        Ok(()) => ([(header::CONTENT_TYPE, TYPE)], page).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written");
            refuse(Family::OpenAi, &Refusal::Unavailable)
        }
    }
}

fn registry(relay: &Relay, snapshot: &Snapshot) -> Registry {
    let mut sums = Figures::default();
    for purse in snapshot.purses() {
        let own = purse.figures();
        sums.leased = sums.leased.saturating_add(own.leased);
        sums.held = sums.held.saturating_add(own.held);
        sums.unposted = sums.unposted.saturating_add(own.unposted);
        sums.at_risk = sums.at_risk.saturating_add(own.at_risk);
        sums.exceeded = sums.exceeded.saturating_add(own.exceeded);
    }
    let mut registry = Registry::with_prefix("proxyxai");
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
    dollars(
        "overspend_bound_usd",
        "Most that calls under way can cost beyond what is set aside for them",
        sums.at_risk,
    );
    dollars(
        "overspend_usd",
        "What calls have cost beyond what was set aside for them, since the start",
        sums.exceeded,
    );
    let mut count = |name: &str, help: &str, count: u64| {
        registry.register(
            name,
            help,
            ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX)),
        );
    };
    count("open_calls", "Calls under way", relay.open_calls() as u64);
    count(
        "config_revision",
        "Revision of the configuration in use",
        snapshot.revision.0,
    );
    registry
}
