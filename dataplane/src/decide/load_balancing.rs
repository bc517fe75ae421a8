//! Which key of a level a call gets. The caller says which keys are usable and keeps what a rule has to
//! remember: who was last, what each has earned, how fast each answers. Keys are named by their place.

/// Draws for a pair of candidates before the keys are simply gone through.
const DRAWS_MAX: u32 = 8;

/// The first usable key after the last picked one, going round once; none when no key is usable.
/// Whoever picks stores the answer as the next `last`, so that a key next to a sleeping one does not get
/// that one's share as well.
pub(crate) fn next(last: usize, keys: usize, usable: impl Fn(usize) -> bool) -> Option<usize> {
    around(last, keys).find(|at| usable(*at))
}

/// Who is picked by weight, and what it pays for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WeightedPick {
    pub(crate) at: usize,
    pub(crate) pays: i64,
}

/// Smooth weighted round robin: each usable key earns its weight, and the richest is picked and pays what
/// all of them earned. `earn` adds a key's weight to its credit and tells both.
pub(crate) fn weighted(
    keys: usize,
    usable: impl Fn(usize) -> bool,
    mut earn: impl FnMut(usize) -> (i64, i64),
) -> Option<WeightedPick> {
    let mut richest: Option<(usize, i64)> = None;
    let mut pays = 0;
    for at in (0..keys).filter(|at| usable(*at)) {
        let (weight, credit) = earn(at);
        pays += weight;
        if richest.is_none_or(|(_, most)| credit > most) {
            richest = Some((at, credit));
        }
    }
    richest.map(|(at, _)| WeightedPick { at, pays })
}

/// The usable key with the fewest calls under way; among equals the first after the last picked one.
pub(crate) fn least_busy(
    last: usize,
    keys: usize,
    usable: impl Fn(usize) -> bool,
    busy: impl Fn(usize) -> u32,
) -> Option<usize> {
    around(last, keys)
        .filter(|at| usable(*at))
        .min_by_key(|at| busy(*at))
}

/// The cheaper one of two usable keys drawn at random, so that no key is everybody's favourite at the
/// same moment and a slow one is still met now and then.
pub(crate) fn two_choices(
    keys: usize,
    usable: impl Fn(usize) -> bool,
    cost: impl Fn(usize) -> f64,
    mut random: impl FnMut(usize) -> usize,
) -> Option<usize> {
    if keys == 0 {
        return None;
    }
    let mut draw = |not: Option<usize>| {
        let good = |at: &usize| Some(*at) != not && usable(*at);
        let drawn = (0..DRAWS_MAX).map(|_| random(keys)).find(good);
        drawn.or_else(|| around(random(keys), keys).find(good))
    };
    let one = draw(None)?;
    let Some(other) = draw(Some(one)) else {
        return Some(one);
    };
    let closer = cost(one).total_cmp(&cost(other)).is_le();
    Some(if closer { one } else { other })
}

/// All places, beginning after the last one.
fn around(last: usize, keys: usize) -> impl Iterator<Item = usize> {
    let first = last
        .checked_add(1)
        .and_then(|next| next.checked_rem(keys))
        .unwrap_or_default();
    (first..keys).chain(0..first.min(keys))
}

#[cfg(test)]
mod tests;
