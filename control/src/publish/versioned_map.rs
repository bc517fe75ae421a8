//! Items with the revision at which each changed last, in the order of revisions too: what changed since one of them is
//! found without a look at the rest.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use proxyxai_contract::id::Revision;

/// Removals are kept for data planes that lag behind. Past this many, a data plane that lags further gets the full
/// configuration.
pub(super) const REMOVALS_MAX: usize = 10_000;

/// Items that exist, and those that were removed lately.
#[derive(Debug)]
pub(super) struct VersionedMap<K, T> {
    items: BTreeMap<K, (Revision, Arc<T>)>,
    changed: RevisionIndex<K>,
    removals: BTreeMap<K, Revision>,
    removed: RevisionIndex<K>,
}

#[derive(Debug)]
struct RevisionIndex<K>(BTreeMap<Revision, BTreeSet<K>>);

// === impl VersionedMap ===

impl<K, T> Default for VersionedMap<K, T> {
    fn default() -> Self {
        Self {
            items: BTreeMap::new(),
            changed: RevisionIndex(BTreeMap::new()),
            removals: BTreeMap::new(),
            removed: RevisionIndex(BTreeMap::new()),
        }
    }
}

impl<K: Ord + Copy, T: PartialEq> VersionedMap<K, T> {
    pub(super) fn get(&self, id: K) -> Option<&T> {
        self.items.get(&id).map(|(_, item)| item.as_ref())
    }

    /// Stores an item, or its removal. An item that never existed needs no removal, and one without a change no update.
    pub(super) fn put(&mut self, id: K, item: Option<T>, revision: Revision) {
        if self.get(id) == item.as_ref() {
            return;
        }
        if let Some((at, _)) = self.items.remove(&id) {
            self.changed.remove(at, id);
        }
        if let Some(at) = self.removals.remove(&id) {
            self.removed.remove(at, id);
        }
        if let Some(item) = item {
            self.items.insert(id, (revision, Arc::new(item)));
            self.changed.insert(revision, id);
        } else {
            self.removals.insert(id, revision);
            self.removed.insert(revision, id);
        }
    }

    /// What changed and what was removed since a revision; all items if it is `None`.
    pub(super) fn since(&self, since: Option<Revision>) -> (Vec<Arc<T>>, Vec<K>) {
        let Some(since) = since else {
            let all = self.items.values().map(|(_, item)| Arc::clone(item));
            return (all.collect(), Vec::new());
        };
        let changed = self.changed.since(since);
        let changed = changed.filter_map(|id| self.items.get(&id));
        (
            changed.map(|(_, item)| Arc::clone(item)).collect(),
            self.removed.since(since).collect(),
        )
    }

    /// Drops the older half of the removals if there are too many. Returns up to which revision.
    pub(super) fn prune(&mut self) -> Revision {
        let mut floor = Revision(0);
        if self.removals.len() > REMOVALS_MAX {
            while self.removals.len() > REMOVALS_MAX / 2
                && let Some((revision, ids)) = self.removed.0.pop_first()
            {
                for id in &ids {
                    self.removals.remove(id);
                }
                floor = revision;
            }
        }
        floor
    }
}

// === impl RevisionIndex ===

impl<K: Ord + Copy> RevisionIndex<K> {
    fn insert(&mut self, at: Revision, id: K) {
        self.0.entry(at).or_default().insert(id);
    }

    fn remove(&mut self, at: Revision, id: K) {
        if let Some(ids) = self.0.get_mut(&at) {
            ids.remove(&id);
            if ids.is_empty() {
                self.0.remove(&at);
            }
        }
    }

    fn since(&self, since: Revision) -> impl Iterator<Item = K> {
        let later = self.0.range((Bound::Excluded(since), Bound::Unbounded));
        later.flat_map(|(_, ids)| ids).copied()
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, cmp::Ordering};

    use proptest::prelude::*;

    use super::*;

    thread_local! {
        static COMPARED: Cell<u64> = const { Cell::new(0) };
    }

    /// An id that counts comparisons.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct CountedId(i64);

    impl Ord for CountedId {
        fn cmp(&self, other: &Self) -> Ordering {
            COMPARED.set(COMPARED.get() + 1);
            self.0.cmp(&other.0)
        }
    }

    impl PartialOrd for CountedId {
        fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }

    #[test]
    fn an_update_since_a_revision_costs_what_changed() {
        let mut map = VersionedMap::default();
        (0..50_000).for_each(|id| map.put(CountedId(id), Some(1), Revision(1)));
        COMPARED.set(0);
        map.put(CountedId(7), Some(2), Revision(2));
        map.put(CountedId(9), None, Revision(3));
        let (changed, removed) = map.since(Some(Revision(1)));
        assert_eq!((*changed[0], changed.len()), (2, 1));
        assert_eq!(removed, [CountedId(9)]);
        assert_eq!(map.prune(), Revision(0));
        assert!(COMPARED.get() < 1000, "{}", COMPARED.get());
    }

    proptest! {
        #[test]
        fn what_changed_since_is_what_a_walk_finds(
            edits in prop::collection::vec((0..8_u8, any::<Option<bool>>()), 0..40),
            since in 0..40_u64,
        ) {
            let (mut map, mut plain) = (VersionedMap::default(), BTreeMap::new());
            for (revision, (id, item)) in (1..).map(Revision).zip(edits) {
                let known = plain.get(&id).and_then(|(_, item)| *item);
                if known != item {
                    plain.insert(id, (revision, item));
                }
                map.put(id, item, revision);
            }
            let later = plain.iter().filter(|(_, (at, _))| *at > Revision(since));
            let (changed, mut removed) = map.since(Some(Revision(since)));
            removed.sort_unstable();
            let gone: Vec<_> = later.clone().filter(|(_, (_, item))| item.is_none()).map(|(id, _)| *id).collect();
            prop_assert_eq!(removed, gone);
            let mut changed: Vec<_> = changed.iter().map(|item| **item).collect();
            let mut expected: Vec<_> = later.filter_map(|(_, (_, item))| *item).collect();
            changed.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(changed, expected);
            prop_assert_eq!(map.since(None).0.len(), plain.values().filter(|(_, item)| item.is_some()).count());
        }
    }
}
