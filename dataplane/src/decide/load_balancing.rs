//! Which key of a level a call gets. The caller says which keys are usable and stores the state of each rule: the last
//! pick, the credit of each key, its latency. Keys are named by index.

/// Random draws for a pair of candidates before all keys are tried in order.
const DRAWS_MAX: u32 = 8;

/// The first usable key after the last pick, in one round; `None` if no key is usable. The caller stores the result as
/// the next `last`, so that the neighbour of a sleeping key does not get that one's share as well.
pub(crate) fn next(last: usize, keys: usize, usable: impl Fn(usize) -> bool) -> Option<usize> {
    around(last, keys).find(|at| usable(*at))
}

/// A pick by weight, and what the key pays for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WeightedPick {
    pub(crate) at: usize,
    pub(crate) pays: i64,
}

/// Smooth weighted round robin: each usable key earns its weight, and the richest is picked and pays what all earned.
/// `earn` adds a key's weight to its credit and returns both.
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

/// The usable key with the fewest in-flight calls; of equal ones, the first after the last pick.
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

/// The cheaper of two random usable keys. So no key gets all calls at the same moment, and a slow one is still tried
/// now and then.
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

/// All indices, beginning after the last pick.
fn around(last: usize, keys: usize) -> impl Iterator<Item = usize> {
    let first = last
        .checked_add(1)
        .and_then(|next| next.checked_rem(keys))
        .unwrap_or_default();
    (first..keys).chain(0..first.min(keys))
}

#[cfg(test)]
mod tests;
