//! What the buffers of all calls may hold together: request bodies, and events whose end has not come.
//! Small ones are free, for the number of calls bounds them; the rest is taken from one store, and who
//! finds it empty goes without.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// What each buffer may hold without being counted.
pub(super) const FREE_BYTES: usize = 64 * 1024;

/// The store. Clones are one.
#[derive(Debug, Clone)]
pub(crate) struct Memory(Arc<Store>);

#[derive(Debug)]
struct Store {
    left: AtomicUsize,
}

/// What one buffer has taken; given back when dropped.
#[derive(Debug)]
pub(crate) struct Room {
    store: Arc<Store>,
    taken: usize,
}

impl Memory {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self(Arc::new(Store {
            left: AtomicUsize::new(bytes_max),
        }))
    }

    /// For a buffer that is empty yet.
    pub(super) fn room(&self) -> Room {
        Room {
            store: Arc::clone(&self.0),
            taken: 0,
        }
    }
}

impl Room {
    /// Makes it a room for so many bytes at least; false, and everything stays as it was, when there is
    /// not enough.
    pub(super) fn hold(&mut self, bytes: usize) -> bool {
        let Some(more) = counted(bytes)
            .checked_sub(self.taken)
            .filter(|more| *more > 0)
        else {
            return true;
        };
        let left = &self.store.left;
        let take = |left: usize| left.checked_sub(more);
        let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        self.taken += if taken.is_ok() { more } else { 0 };
        taken.is_ok()
    }

    /// Makes it a room for no more than so many bytes.
    pub(super) fn shrink(&mut self, bytes: usize) {
        if let Some(less) = self
            .taken
            .checked_sub(counted(bytes))
            .filter(|less| *less > 0)
        {
            self.store.left.fetch_add(less, Ordering::Relaxed);
            self.taken -= less;
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

/// What counts of so many bytes.
const fn counted(bytes: usize) -> usize {
    if bytes <= FREE_BYTES { 0 } else { bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_never_more_than_there_is_and_comes_back() {
        let memory = Memory::new(3 * FREE_BYTES);
        let (mut one, mut other) = (memory.room(), memory.room());
        assert!(one.hold(2 * FREE_BYTES));
        assert!(other.hold(FREE_BYTES), "small ones are free");
        assert!(!other.hold(FREE_BYTES + 1));
        assert!(!other.hold(2 * FREE_BYTES));
        assert!(one.hold(1), "less is always there");
        assert!(
            !other.hold(2 * FREE_BYTES),
            "and gives nothing back by itself"
        );
        one.shrink(1);
        assert!(other.hold(3 * FREE_BYTES));
        assert!(!one.hold(FREE_BYTES + 1));
        drop((one, other));
        assert_eq!(memory.0.left.load(Ordering::Relaxed), 3 * FREE_BYTES);
    }
}
