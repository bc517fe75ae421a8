//! One rate limit window of one account on one data plane: units that were granted, spent, and held by in-flight calls.
//! It knows one period at a time and never goes back to an earlier one.

use proxyxai_contract::{
    clock::{Millis, Period, WindowLength, Zone},
    lease::PayerId,
    window::{LimitWindow, WindowAsk, WindowGrant, WindowKey},
};

/// Share of the limit that is requested at a time: little enough that what a restart loses does not matter, and that
/// other data planes get some.
const SLICE_SHARE: u64 = 8;
/// Smallest slice, so that small limits are not requested unit by unit.
const SLICE_MIN: u64 = 4;
/// With less than this share of a slice left, the next one is requested.
const LOW_SHARE: u64 = 4;

/// Whether a call fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    /// It does.
    Yes,
    /// Nothing is left until the period ends.
    No,
    /// Control has to be asked first.
    Ask,
}

/// The units of one period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Counter {
    period: Period,
    /// Granted to this data plane, plus what it reported to have spent beyond that.
    leased: u64,
    /// Spent here.
    used: u64,
    /// Held for in-flight calls.
    held: u64,
    /// Granted to all data planes, by control's last reply; `None` before the first.
    total: Option<u64>,
    /// Units that calls wait for.
    demand: u64,
    /// Whether to request the next slice ahead of need.
    low: bool,
    /// The ask in flight, with the overspent units that it reported.
    asked: Option<u64>,
}

impl Counter {
    /// A counter of the period that contains `now`, with nothing spent.
    pub(crate) fn new(span: WindowLength, zone: &Zone, now: Millis) -> Self {
        Self {
            period: zone.period(span, now),
            leased: 0,
            used: 0,
            held: 0,
            total: None,
            demand: 0,
            low: false,
            asked: None,
        }
    }

    /// Begins a new period once this one is over. If the clock steps back, the current period stays, so that there is
    /// no second allowance.
    pub(crate) fn roll(&mut self, span: WindowLength, zone: &Zone, now: Millis) {
        if now >= self.period.end {
            *self = Self::new(span, zone, now);
        }
    }

    /// The period it counts.
    pub(crate) const fn period(&self) -> Period {
        self.period
    }

    /// Whether it can be dropped.
    pub(crate) fn is_over(&self, now: Millis) -> bool {
        now >= self.period.end && self.held == 0
    }

    /// What all data planes together have left of a limit, as far as is known here.
    pub(crate) fn left(&self, limit: u64) -> u64 {
        let elsewhere = self.total.unwrap_or_default().saturating_sub(self.leased);
        limit
            .saturating_sub(elsewhere)
            .saturating_sub(self.used)
            .saturating_sub(self.held)
    }

    /// Units that can be spent without asking.
    fn free(&self, limit: u64) -> u64 {
        let leased = self.leased.saturating_sub(self.used);
        leased.saturating_sub(self.held).min(self.left(limit))
    }

    /// Whether control may have more units.
    fn may_ask(&self, limit: u64) -> bool {
        limit > 0 && self.total.is_none_or(|total| total < limit)
    }

    /// Whether a call of this many units fits. If no more can be had, one unit is enough: use beyond it is known only
    /// at the call's end.
    pub(crate) fn fit(&self, limit: u64, units: u64) -> Fit {
        let free = self.free(limit);
        if free >= units.max(1) {
            Fit::Yes
        } else if self.may_ask(limit) {
            Fit::Ask
        } else if free > 0 {
            Fit::Yes
        } else {
            Fit::No
        }
    }

    /// A call waits for this many units.
    pub(crate) fn want(&mut self, limit: u64, units: u64) {
        let missing = units.max(1).saturating_sub(self.free(limit));
        self.demand = self.demand.saturating_add(missing);
    }

    /// Spends a unit.
    pub(crate) fn spend(&mut self, limit: u64) {
        self.used = self.used.saturating_add(1);
        self.watch_level(limit);
    }

    /// Holds units for a call.
    pub(crate) fn hold(&mut self, limit: u64, units: u64) {
        self.held = self.held.saturating_add(units);
        self.watch_level(limit);
    }

    fn watch_level(&mut self, limit: u64) {
        self.low = self.may_ask(limit) && self.free(limit) < slice(limit) / LOW_SHARE;
    }

    /// Returns a unit of a call that did not take place.
    pub(crate) fn give_back(&mut self) {
        self.used = self.used.saturating_sub(1);
    }

    /// A call ended: replaces the units it held by those it used.
    pub(crate) fn settle(&mut self, held: u64, used: u64) {
        self.held = self.held.saturating_sub(held);
        self.used = self.used.saturating_add(used);
    }

    /// Whether there is something to ask for now.
    pub(crate) const fn wants(&self) -> bool {
        (self.demand > 0 || self.low) && self.asked.is_none()
    }

    /// The next ask, if there is something to ask for and no ask in flight.
    pub(crate) fn ask(
        &mut self,
        payer: PayerId,
        window: LimitWindow,
        model: &str,
        limit: u64,
    ) -> Option<WindowAsk> {
        if !self.wants() {
            return None;
        }
        let need = std::mem::take(&mut self.demand);
        self.low = false;
        let overspent = self.used.saturating_sub(self.leased);
        self.asked = Some(overspent);
        Some(WindowAsk {
            key: WindowKey {
                account: payer.account,
                client_key: payer.client_key,
                window,
                model: model.to_owned(),
                start: self.period.start,
            },
            limit,
            need,
            want: need.max(slice(limit)),
            overspent,
        })
    }

    /// Applies control's grant. A grant for another period is ignored.
    pub(crate) fn granted(&mut self, grant: &WindowGrant) {
        if grant.key.start != self.period.start {
            return;
        }
        let asked = self.asked.take().unwrap_or_default();
        self.leased = self
            .leased
            .saturating_add(asked)
            .saturating_add(grant.granted);
        self.total = Some(grant.total);
        // A waiting call checks again and repeats its demand.
        self.demand = 0;
    }

    /// Control could not be asked.
    pub(crate) const fn failed(&mut self) {
        self.asked = None;
        self.demand = 0;
    }
}

fn slice(limit: u64) -> u64 {
    (limit / SLICE_SHARE).max(SLICE_MIN).min(limit)
}
