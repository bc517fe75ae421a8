//! Windows over calls and tokens: which limits are in force on a call, and whether it fits into what
//! its account has left of them. Windows come last of all reasons to refuse a call.

use proxyxai_contract::{
    clock::{Millis, Zone},
    id::AccountId,
    snapshot::Account,
    window::{ModelLimit, ModelLimits, Window, WindowAsk, WindowGrant},
};

use super::{
    counter::{Counter, Fit},
    refusal::{FullWindow, Refusal},
};

/// With more counters than this, those that are over are dropped.
const COUNTERS_KEPT: usize = 64;

/// A limit on a call: the smallest along the chain of accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit<'a> {
    pub(crate) window: Window,
    /// Units that it allows.
    pub(crate) most: u64,
    /// Whose it is; none for the system's limits by model.
    pub(crate) owner: Option<&'a str>,
    /// The model or pattern it is for; empty for an account's window.
    pub(crate) model: &'a str,
    /// What is counted together with the call: the pattern of the model limit that takes the place of
    /// the caller's own window, or empty.
    pub(crate) counted_as: &'a str,
}

/// An account of the chain with the limits by model that count for it.
struct Level<'a> {
    account: &'a Account,
    by_model: Option<&'a ModelLimit>,
    /// Who set them; none is the system.
    set_by: Option<&'a str>,
}

/// The limits in force on a call, at most one for each window. At each account of the chain a limit by
/// model takes the place of the window of the same kind; of all of them the smallest counts.
pub(crate) fn in_force<'a>(
    chain: &[&'a Account],
    system: &'a ModelLimits,
    model: Option<&str>,
) -> Vec<Limit<'a>> {
    let unlimited =
        |account: &&Account| account.limits.is_wide() && account.model_limits.is_empty();
    if chain.iter().all(unlimited) && system.is_empty() {
        return Vec::new();
    }
    let levels = levels(chain, system, model);
    Window::ALL
        .into_iter()
        .filter_map(|window| smallest(&levels, window))
        .collect()
}

/// From the caller to root; one without limits by model has those of its nearest ancestor.
fn levels<'a>(
    chain: &[&'a Account],
    system: &'a ModelLimits,
    model: Option<&str>,
) -> Vec<Level<'a>> {
    let find = |limits: &'a ModelLimits| model.and_then(|model| limits.find(model));
    let mut set_by = None;
    let mut by_model = find(system);
    let mut levels: Vec<_> = chain
        .iter()
        .rev()
        .map(|account| {
            if !account.model_limits.is_empty() {
                set_by = Some(account.name.as_str());
                by_model = find(&account.model_limits);
            }
            Level {
                account,
                by_model,
                set_by,
            }
        })
        .collect();
    levels.reverse();
    levels
}

fn smallest<'a>(levels: &[Level<'a>], window: Window) -> Option<Limit<'a>> {
    let own = levels.first()?.by_model;
    let counted_as = own
        .filter(|own| own.of(window).is_some())
        .map_or("", ModelLimit::pattern);
    let limit = |level: &Level<'a>| {
        let by_model = level.by_model.and_then(|own| Some((own, own.of(window)?)));
        let (limit, owner, model) = match by_model {
            Some((own, limit)) => (limit, level.set_by, own.pattern()),
            None => (
                level.account.limits.of(window),
                Some(level.account.name.as_str()),
                "",
            ),
        };
        Limit {
            window,
            most: limit,
            owner,
            model,
            counted_as,
        }
    };
    // Of equal ones the nearest is named.
    let smallest = levels.iter().map(limit).min_by_key(|limit| limit.most)?;
    (!window.is_wide(smallest.most)).then_some(smallest)
}

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

/// The counters of one account.
#[derive(Debug)]
pub(crate) struct Counters {
    account: AccountId,
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
    pub(crate) const fn new(account: AccountId) -> Self {
        Self {
            account,
            next: 0,
            slots: Vec::new(),
        }
    }

    /// Counts a call, if all its windows have room: one unit of each window of requests, and these
    /// tokens, which are a guess, of each window of tokens. Without tokens those are not looked at.
    pub(crate) fn admit(
        &mut self,
        limits: &[Limit<'_>],
        tokens: Option<u64>,
        zone: &Zone,
        now: Millis,
    ) -> Verdict {
        self.prune(now);
        let mut wait = false;
        let mut refused: Option<(&Limit<'_>, Millis)> = None;
        let looked_at = |limit: &&Limit<'_>| tokens.is_some() || !limit.window.counts_tokens();
        let limits: Vec<_> = limits
            .iter()
            .filter(looked_at)
            .map(|limit| (limit, self.place(limit, zone, now)))
            .collect();
        for (limit, at) in &limits {
            let Some(Slot { counter, .. }) = self.slots.get_mut(*at) else {
                continue;
            };
            let units = units(limit.window, tokens);
            match counter.fit(limit.most, units) {
                Fit::Yes => {}
                Fit::Ask => {
                    wait = true;
                    counter.want(limit.most, units);
                }
                Fit::No => {
                    let end = counter.period().end;
                    // Another try makes sense only when the last of them is over.
                    if refused.is_none_or(|(_, latest)| end > latest) {
                        refused = Some((limit, end));
                    }
                }
            }
        }
        if let Some((limit, end)) = refused {
            let left = self.left(&limits, now);
            return Verdict::Refused(refusal(limit, left, zone.rfc3339(end), end.since(now)));
        }
        if wait {
            return Verdict::Wait;
        }
        let taken = limits
            .iter()
            .filter_map(|(_, at)| Some(self.slots.get_mut(*at)?.take(tokens)))
            .collect();
        let left = self.left(&limits, now);
        Verdict::Admitted { taken, left }
    }

    /// A call ended after so many tokens.
    pub(crate) fn settle(&mut self, taken: &[Taken], tokens: u64) {
        self.each(taken, |counter, held| {
            if let Some(held) = held {
                counter.settle(held, tokens);
            }
        });
    }

    /// A call that was counted did not take place.
    pub(crate) fn give_back(&mut self, taken: &[Taken]) {
        self.each(taken, |counter, held| match held {
            Some(held) => counter.settle(held, 0),
            None => counter.give_back(),
        });
    }

    /// What is counted belongs to the window in which the call was let in; one that is over keeps no
    /// count.
    fn each(&mut self, taken: &[Taken], act: impl Fn(&mut Counter, Option<u64>)) {
        for Taken {
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
        let account = self.account;
        let ask = |slot: &mut Slot| {
            slot.counter
                .ask(account, slot.window, &slot.model, slot.limit)
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

    /// What is left of limits whose slots are known.
    fn left(&self, limits: &[(&Limit<'_>, usize)], now: Millis) -> Left {
        let mut left = Left::default();
        for (limit, at) in limits {
            let Some(Slot { counter, .. }) = self.slots.get(*at) else {
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

    /// Where a limit is counted, in the period of this moment.
    fn place(&mut self, limit: &Limit<'_>, zone: &Zone, now: Millis) -> usize {
        let span = limit.window.span();
        let known = |slot: &Slot| slot.window == limit.window && slot.model == limit.counted_as;
        let at = self.slots.iter().position(known).unwrap_or_else(|| {
            self.next = self.next.wrapping_add(1);
            self.slots.push(Slot {
                id: self.next,
                window: limit.window,
                model: limit.counted_as.to_owned(),
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

impl Slot {
    fn take(&mut self, tokens: Option<u64>) -> Taken {
        let held = tokens.filter(|_| self.window.counts_tokens());
        match held {
            Some(tokens) => self.counter.hold(self.limit, tokens),
            None => self.counter.spend(self.limit),
        }
        Taken {
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
