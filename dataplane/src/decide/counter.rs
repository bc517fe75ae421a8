//! One window of one account as one data plane counts it: what it was granted, what it has spent, what
//! calls under way hold. Knows one period at a time and never goes back to an earlier one.

use proxyxai_contract::{
    clock::{Millis, Period, WindowLength, Zone},
    lease::PayerId,
    window::{LimitWindow, WindowAsk, WindowGrant, WindowKey},
};

/// What is asked for at a time is this share of the limit: little enough that what a restart loses is
/// not missed, and that others get some.
const SLICE_SHARE: u64 = 8;
/// Small limits are not asked for one by one.
const SLICE_MIN: u64 = 4;
/// With less than this share of a slice left, the next is asked for.
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
    /// Granted to this data plane, and what it told to have spent beyond that.
    leased: u64,
    /// Spent here.
    used: u64,
    /// Kept for calls under way.
    held: u64,
    /// Granted to all data planes, as control said last; none before its first word.
    total: Option<u64>,
    /// What calls wait for.
    demand: u64,
    /// Whether the next slice is wanted ahead of need.
    low: bool,
    /// The ask under way: what it told as overspent.
    asked: Option<u64>,
}

impl Counter {
    /// Nothing spent in the period that contains this moment.
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

    /// Begins a new period when this one is over. A clock that steps back stays in the one begun, so
    /// that it brings no second allowance.
    pub(crate) fn roll(&mut self, span: WindowLength, zone: &Zone, now: Millis) {
        if now >= self.period.end {
            *self = Self::new(span, zone, now);
        }
    }

    /// The period it counts.
    pub(crate) const fn period(&self) -> Period {
        self.period
    }

    /// Whether it can be forgotten.
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

    /// What may be spent without asking.
    fn free(&self, limit: u64) -> u64 {
        let leased = self.leased.saturating_sub(self.used);
        leased.saturating_sub(self.held).min(self.left(limit))
    }

    /// Whether control may have more.
    fn may_ask(&self, limit: u64) -> bool {
        limit > 0 && self.total.is_none_or(|total| total < limit)
    }

    /// Whether a call of so many units fits. When no more can be had, one unit is enough: what a call
    /// uses beyond it is known at its end only.
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

    /// A call waits for so many units.
    pub(crate) fn want(&mut self, limit: u64, units: u64) {
        let missing = units.max(1).saturating_sub(self.free(limit));
        self.demand = self.demand.saturating_add(missing);
    }

    /// Spends a unit.
    pub(crate) fn spend(&mut self, limit: u64) {
        self.used = self.used.saturating_add(1);
        self.watch_level(limit);
    }

    /// Keeps units for a call.
    pub(crate) fn hold(&mut self, limit: u64, units: u64) {
        self.held = self.held.saturating_add(units);
        self.watch_level(limit);
    }

    fn watch_level(&mut self, limit: u64) {
        self.low = self.may_ask(limit) && self.free(limit) < slice(limit) / LOW_SHARE;
    }

    /// Gives back a unit of a call that did not take place.
    pub(crate) fn give_back(&mut self) {
        self.used = self.used.saturating_sub(1);
    }

    /// A call ended: what it held is replaced by what it used.
    pub(crate) fn settle(&mut self, held: u64, used: u64) {
        self.held = self.held.saturating_sub(held);
        self.used = self.used.saturating_add(used);
    }

    /// Whether there is something to ask for now.
    pub(crate) const fn wants(&self) -> bool {
        (self.demand > 0 || self.low) && self.asked.is_none()
    }

    /// The next ask, if there is something to ask for and no ask under way.
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

    /// Control has answered. A grant of another period is of no use.
    pub(crate) fn granted(&mut self, grant: &WindowGrant) {
        if grant.key.start != self.period.start {
            return;
        }
        let told = self.asked.take().unwrap_or_default();
        self.leased = self
            .leased
            .saturating_add(told)
            .saturating_add(grant.granted);
        self.total = Some(grant.total);
        // Whoever waits looks again and says so again.
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
