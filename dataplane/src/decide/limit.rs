//! Windows over calls and tokens: whether a call fits into what its account, and those above it, have left of
//! them. Which limits are in force is in `in_force`. Windows come last of all reasons to refuse a call.

mod in_force;

use proxyxai_contract::{
    clock::{Millis, Zone},
    lease::Payer,
    window::{Window, WindowAsk, WindowGrant},
};

pub(crate) use in_force::{Limit, in_force};

use super::{
    counter::{Counter, Fit},
    refusal::{FullWindow, Refusal},
};

/// With more counters than this, those that are over are dropped.
const COUNTERS_KEPT: usize = 64;

/// What is left of a limit, for those who are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) limit: u64,
    pub(crate) left: u64,
    /// Until the window ends.
    pub(crate) reset_ms: i64,
}

/// The scarcest window of either kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Left {
    pub(crate) requests: Option<Share>,
    pub(crate) tokens: Option<Share>,
}

impl Left {
    fn see(&mut self, window: Window, share: Share) {
        let slot = if window.counts_tokens() {
            &mut self.tokens
        } else {
            &mut self.requests
        };
        let part = |share: Share, of: Share| u128::from(share.left) * u128::from(of.limit);
        if slot.is_none_or(|known| part(share, known) < part(known, share)) {
            *slot = Some(share);
        }
    }
}

/// What a call took of one counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Which of the places it is counted at.
    place: usize,
    counter: u64,
    start: Millis,
    /// Tokens it holds; none for a window of requests.
    held: Option<u64>,
}

/// The answer to a call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It fits and is counted.
    Admitted { taken: Vec<Taken>, left: Left },
    /// A window has nothing left.
    Refused(Refusal),
    /// Control has to be asked first.
    Wait,
}

/// The counters of an account, and the limits that a call has there.
pub(crate) type Place<'a, 'l> = (&'a mut Counters, &'l [Limit<'l>]);

/// What was found out about a call.
#[derive(Default)]
struct Look<'a> {
    /// For each limit that counts: its place, and its slot there.
    found: Vec<(&'a Limit<'a>, usize, usize)>,
    wait: bool,
    /// The limit that has nothing left for the longest.
    refused: Option<(&'a Limit<'a>, Millis)>,
}

/// Counts a call at all its places, if all its windows have room: one unit of each window of requests, and these
/// tokens, which are a guess, of each window of tokens. Without tokens those are not looked at. What is counted is
/// counted everywhere or nowhere.
pub(crate) fn admit(
    places: &mut [Place<'_, '_>],
    tokens: Option<u64>,
    zone: &Zone,
    now: Millis,
) -> Verdict {
    let mut look = Look::default();
    for (place, (counters, limits)) in places.iter_mut().enumerate() {
        counters.prune(now);
        counters.look(limits, place, tokens, (zone, now), &mut look);
    }
    let Look {
        found,
        wait,
        refused,
    } = look;
    if let Some((limit, end)) = refused {
        let left = left(places, &found, now);
        return Verdict::Refused(refusal(limit, left, zone.rfc3339(end), end.since(now)));
    }
    if wait {
        return Verdict::Wait;
    }
    let mut taken = Vec::with_capacity(found.len());
    for (_, place, slot) in &found {
        let slot = places
            .get_mut(*place)
            .and_then(|(counters, _)| counters.slots.get_mut(*slot));
        taken.extend(slot.map(|slot| slot.take(*place, tokens)));
    }
    let left = left(places, &found, now);
    Verdict::Admitted { taken, left }
}

/// What is left of limits whose slots are known.
fn left(places: &[Place<'_, '_>], found: &[(&Limit<'_>, usize, usize)], now: Millis) -> Left {
    let mut left = Left::default();
    for (limit, place, slot) in found {
        let slot = places
            .get(*place)
            .and_then(|(counters, _)| counters.slots.get(*slot));
        let Some(Slot { counter, .. }) = slot else {
            continue;
        };
        let share = Share {
            limit: limit.most,
            left: counter.left(limit.most),
            reset_ms: counter.period().end.since(now),
        };
        left.see(limit.window, share);
    }
    left
}

/// The counters of one account, or of one further client key.
#[derive(Debug)]
pub(crate) struct Counters {
    payer: Payer,
    next: u64,
    slots: Vec<Slot>,
}

#[derive(Debug)]
struct Slot {
    id: u64,
    window: Window,
    model: String,
    /// The limit in force at the latest call.
    limit: u64,
    counter: Counter,
}

impl Counters {
    /// Nothing is counted yet.
    pub(crate) fn new(payer: impl Into<Payer>) -> Self {
        Self {
            payer: payer.into(),
            next: 0,
            slots: Vec::new(),
        }
    }

    /// Whether a call fits here.
    fn look<'a>(
        &mut self,
        limits: &'a [Limit<'a>],
        place: usize,
        tokens: Option<u64>,
        (zone, now): (&Zone, Millis),
        look: &mut Look<'a>,
    ) {
        let looked_at = |limit: &&Limit<'_>| tokens.is_some() || !limit.window.counts_tokens();
        for limit in limits.iter().filter(looked_at) {
            let at = self.slot(limit, zone, now);
            look.found.push((limit, place, at));
            let Some(Slot { counter, .. }) = self.slots.get_mut(at) else {
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
                    // Another try makes sense only when the last of them is over.
                    if look.refused.is_none_or(|(_, latest)| end > latest) {
                        look.refused = Some((limit, end));
                    }
                }
            }
        }
    }

    /// A call ended after so many tokens.
    pub(crate) fn settle<'t>(&mut self, taken: impl IntoIterator<Item = &'t Taken>, tokens: u64) {
        self.each(taken, |counter, held| {
            if let Some(held) = held {
                counter.settle(held, tokens);
            }
        });
    }

    /// A call that was counted did not take place.
    pub(crate) fn give_back<'t>(&mut self, taken: impl IntoIterator<Item = &'t Taken>) {
        self.each(taken, |counter, held| match held {
            Some(held) => counter.settle(held, 0),
            None => counter.give_back(),
        });
    }

    /// What is counted belongs to the window in which the call was let in; one that is over keeps no
    /// count.
    fn each<'t>(
        &mut self,
        taken: impl IntoIterator<Item = &'t Taken>,
        act: impl Fn(&mut Counter, Option<u64>),
    ) {
        for Taken {
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

    /// What control is to be asked for now.
    pub(crate) fn asks(&mut self) -> Vec<WindowAsk> {
        let payer = self.payer;
        let ask = |slot: &mut Slot| {
            slot.counter
                .ask(payer, slot.window, &slot.model, slot.limit)
        };
        self.slots.iter_mut().filter_map(ask).collect()
    }

    /// Control has answered an ask.
    pub(crate) fn granted(&mut self, grant: &WindowGrant) {
        let key = &grant.key;
        let asked = |slot: &&mut Slot| slot.window == key.window && slot.model == key.model;
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

    /// Where a limit is counted, in the period of this moment.
    fn slot(&mut self, limit: &Limit<'_>, zone: &Zone, now: Millis) -> usize {
        let span = limit.window.span();
        let known = |slot: &Slot| slot.window == limit.window && slot.model == limit.model;
        let at = self.slots.iter().position(known).unwrap_or_else(|| {
            self.next = self.next.wrapping_add(1);
            self.slots.push(Slot {
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

impl Taken {
    /// Which of the places it is counted at.
    pub(crate) const fn place(&self) -> usize {
        self.place
    }
}

impl Slot {
    fn take(&mut self, place: usize, tokens: Option<u64>) -> Taken {
        let held = tokens.filter(|_| self.window.counts_tokens());
        match held {
            Some(tokens) => self.counter.hold(self.limit, tokens),
            None => self.counter.spend(self.limit),
        }
        Taken {
            place,
            counter: self.id,
            start: self.counter.period().start,
            held,
        }
    }
}

fn units(window: Window, tokens: Option<u64>) -> u64 {
    tokens.filter(|_| window.counts_tokens()).unwrap_or(1)
}

fn refusal(limit: &Limit<'_>, left: Left, resets: String, retry_after_ms: i64) -> Refusal {
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
