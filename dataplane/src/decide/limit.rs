//! Rate limit windows: whether a call fits into what its account, and those above it, have left. `in_force` decides
//! which limits apply. Windows are the last of all reasons to refuse a call.

mod in_force;

use proxyxai_contract::{
    clock::{Millis, Zone},
    lease::PayerId,
    window::{LimitWindow, WindowAsk, WindowGrant},
};

pub(crate) use in_force::{EffectiveLimit, effective_limits};

use super::{
    counter::{Counter, Fit},
    refusal::{FullWindow, Refusal},
};

/// With more counters than this, those of past periods are dropped.
const COUNTERS_KEPT: usize = 64;

/// What is left of a limit, for response headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WindowStatus {
    pub(crate) limit: u64,
    pub(crate) left: u64,
    /// Time until the window ends.
    pub(crate) reset_ms: i64,
}

/// The scarcest window of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RemainingLimits {
    pub(crate) requests: Option<WindowStatus>,
    pub(crate) tokens: Option<WindowStatus>,
}

impl RemainingLimits {
    fn see(&mut self, window: LimitWindow, share: WindowStatus) {
        let slot = if window.counts_tokens() {
            &mut self.tokens
        } else {
            &mut self.requests
        };
        let part =
            |share: WindowStatus, of: WindowStatus| u128::from(share.left) * u128::from(of.limit);
        if slot.is_none_or(|known| part(share, known) < part(known, share)) {
            *slot = Some(share);
        }
    }
}

/// What a call took from one counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CountedUnits {
    /// Index of the place at which it is counted.
    place: usize,
    counter: u64,
    start: Millis,
    /// Tokens that it holds; `None` for a window of requests.
    held: Option<u64>,
}

/// The decision on a call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum WindowDecision {
    /// It fits and is counted.
    Admitted {
        taken: Vec<CountedUnits>,
        left: RemainingLimits,
    },
    /// A window has nothing left.
    Refused(Refusal),
    /// Control has to be asked first.
    Wait,
}

/// The counters of an account, and the limits that a call has there.
pub(crate) type LimitScope<'a, 'l> = (&'a mut WindowCounters, &'l [EffectiveLimit<'l>]);

/// The result of checking a call.
#[derive(Default)]
struct LimitCheck<'a> {
    /// Each limit that applies, with its place and its slot there.
    found: Vec<(&'a EffectiveLimit<'a>, usize, usize)>,
    wait: bool,
    /// The exhausted limit whose window ends last.
    refused: Option<(&'a EffectiveLimit<'a>, Millis)>,
}

/// Counts a call at all its places, if all its windows have room: one unit in each window of requests, and the
/// estimated tokens in each window of tokens. Without tokens, the latter are not checked. The call is counted
/// everywhere or nowhere.
pub(crate) fn admit(
    places: &mut [LimitScope<'_, '_>],
    tokens: Option<u64>,
    zone: &Zone,
    now: Millis,
) -> WindowDecision {
    let mut look = LimitCheck::default();
    let time = ZonedTime { zone, now };
    for (place, (counters, limits)) in places.iter_mut().enumerate() {
        counters.prune(now);
        counters.look(limits, place, tokens, time, &mut look);
    }
    let LimitCheck {
        found,
        wait,
        refused,
    } = look;
    if let Some((limit, end)) = refused {
        let left = left(places, &found, now);
        return WindowDecision::Refused(refusal(limit, left, zone.rfc3339(end), end.since(now)));
    }
    if wait {
        return WindowDecision::Wait;
    }
    let mut taken = Vec::with_capacity(found.len());
    for (_, place, slot) in &found {
        let slot = places
            .get_mut(*place)
            .and_then(|(counters, _)| counters.slots.get_mut(*slot));
        taken.extend(slot.map(|slot| slot.take(*place, tokens)));
    }
    let left = left(places, &found, now);
    WindowDecision::Admitted { taken, left }
}

/// What is left of limits with known slots.
fn left(
    places: &[LimitScope<'_, '_>],
    found: &[(&EffectiveLimit<'_>, usize, usize)],
    now: Millis,
) -> RemainingLimits {
    let mut left = RemainingLimits::default();
    for (limit, place, slot) in found {
        let slot = places
            .get(*place)
            .and_then(|(counters, _)| counters.slots.get(*slot));
        let Some(CounterSlot { counter, .. }) = slot else {
            continue;
        };
        let share = WindowStatus {
            limit: limit.most,
            left: counter.left(limit.most),
            reset_ms: counter.period().end.since(now),
        };
        left.see(limit.window, share);
    }
    left
}

/// A time, and where its days begin.
#[derive(Clone, Copy)]
struct ZonedTime<'a> {
    zone: &'a Zone,
    now: Millis,
}

/// The counters of one account, or of one further client key.
#[derive(Debug)]
pub(crate) struct WindowCounters {
    payer: PayerId,
    next: u64,
    slots: Vec<CounterSlot>,
}

#[derive(Debug)]
struct CounterSlot {
    id: u64,
    window: LimitWindow,
    model: String,
    /// The limit in force at the latest call.
    limit: u64,
    counter: Counter,
}

impl WindowCounters {
    /// Counters with nothing counted.
    pub(crate) fn new(payer: impl Into<PayerId>) -> Self {
        Self {
            payer: payer.into(),
            next: 0,
            slots: Vec::new(),
        }
    }

    /// Whether a call fits here.
    fn look<'a>(
        &mut self,
        limits: &'a [EffectiveLimit<'a>],
        place: usize,
        tokens: Option<u64>,
        time: ZonedTime<'_>,
        look: &mut LimitCheck<'a>,
    ) {
        let looked_at =
            |limit: &&EffectiveLimit<'_>| tokens.is_some() || !limit.window.counts_tokens();
        for limit in limits.iter().filter(looked_at) {
            let at = self.slot(limit, time.zone, time.now);
            look.found.push((limit, place, at));
            let Some(CounterSlot { counter, .. }) = self.slots.get_mut(at) else {
                continue;
            };
            let units = units(limit.window, tokens);
            match counter.fit(limit.most, units) {
                Fit::Yes => {}
                Fit::Ask => {
                    look.wait = true;
                    counter.want(limit.most, units);
                }
                Fit::No => {
                    let end = counter.period().end;
                    // A retry makes sense only when the last of them is over.
                    if look.refused.is_none_or(|(_, latest)| end > latest) {
                        look.refused = Some((limit, end));
                    }
                }
            }
        }
    }

    /// A call ended and used this many tokens.
    pub(crate) fn settle<'t>(
        &mut self,
        taken: impl IntoIterator<Item = &'t CountedUnits>,
        tokens: u64,
    ) {
        self.each(taken, |counter, held| {
            if let Some(held) = held {
                counter.settle(held, tokens);
            }
        });
    }

    /// A call that was counted did not take place.
    pub(crate) fn give_back<'t>(&mut self, taken: impl IntoIterator<Item = &'t CountedUnits>) {
        self.each(taken, |counter, held| match held {
            Some(held) => counter.settle(held, 0),
            None => counter.give_back(),
        });
    }

    /// A call counts in the window in which it was admitted; a past window keeps no count.
    fn each<'t>(
        &mut self,
        taken: impl IntoIterator<Item = &'t CountedUnits>,
        act: impl Fn(&mut Counter, Option<u64>),
    ) {
        for CountedUnits {
            place: _,
            counter,
            start,
            held,
        } in taken
        {
            let slot = self.slots.iter_mut().find(|slot| slot.id == *counter);
            if let Some(slot) = slot.filter(|slot| slot.counter.period().start == *start) {
                act(&mut slot.counter, *held);
            }
        }
    }

    /// Whether control is to be asked for something.
    pub(crate) fn wants(&self) -> bool {
        self.slots.iter().any(|slot| slot.counter.wants())
    }

    /// What to ask control for now.
    pub(crate) fn asks(&mut self) -> Vec<WindowAsk> {
        let payer = self.payer;
        let ask = |slot: &mut CounterSlot| {
            slot.counter
                .ask(payer, slot.window, &slot.model, slot.limit)
        };
        self.slots.iter_mut().filter_map(ask).collect()
    }

    /// Control has answered an ask.
    pub(crate) fn granted(&mut self, grant: &WindowGrant) {
        let key = &grant.key;
        let asked = |slot: &&mut CounterSlot| slot.window == key.window && slot.model == key.model;
        if let Some(slot) = self.slots.iter_mut().find(asked) {
            slot.counter.granted(grant);
        }
    }

    /// Control could not be asked.
    pub(crate) fn failed(&mut self) {
        for slot in &mut self.slots {
            slot.counter.failed();
        }
    }

    /// The slot in which a limit is counted, in the current period.
    fn slot(&mut self, limit: &EffectiveLimit<'_>, zone: &Zone, now: Millis) -> usize {
        let span = limit.window.span();
        let known = |slot: &CounterSlot| slot.window == limit.window && slot.model == limit.model;
        let at = self.slots.iter().position(known).unwrap_or_else(|| {
            self.next = self.next.wrapping_add(1);
            self.slots.push(CounterSlot {
                id: self.next,
                window: limit.window,
                model: limit.model.to_owned(),
                limit: limit.most,
                counter: Counter::new(span, zone, now),
            });
            self.slots.len().saturating_sub(1)
        });
        #[expect(clippy::indexing_slicing, reason = "just found or pushed")]
        let slot = &mut self.slots[at];
        slot.limit = limit.most;
        slot.counter.roll(span, zone, now);
        at
    }

    fn prune(&mut self, now: Millis) {
        if self.slots.len() > COUNTERS_KEPT {
            self.slots.retain(|slot| !slot.counter.is_over(now));
        }
    }
}

impl CountedUnits {
    /// Index of the place at which it is counted.
    pub(crate) const fn place(&self) -> usize {
        self.place
    }
}

impl CounterSlot {
    fn take(&mut self, place: usize, tokens: Option<u64>) -> CountedUnits {
        let held = tokens.filter(|_| self.window.counts_tokens());
        match held {
            Some(tokens) => self.counter.hold(self.limit, tokens),
            None => self.counter.spend(self.limit),
        }
        CountedUnits {
            place,
            counter: self.id,
            start: self.counter.period().start,
            held,
        }
    }
}

fn units(window: LimitWindow, tokens: Option<u64>) -> u64 {
    tokens.filter(|_| window.counts_tokens()).unwrap_or(1)
}

fn refusal(
    limit: &EffectiveLimit<'_>,
    left: RemainingLimits,
    resets: String,
    retry_after_ms: i64,
) -> Refusal {
    Refusal::RateLimited(Box::new(FullWindow {
        account: limit.owner.map(ToOwned::to_owned),
        key: limit.key.map(ToOwned::to_owned),
        window: limit.window,
        limit: limit.most,
        model: limit.model.to_owned(),
        resets,
        retry_after_ms,
        left,
    }))
}

#[cfg(test)]
mod tests;
