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
    /// Makes it a room for so many bytes; false, and everything stays as it was, when there is not enough.
    pub(super) fn hold(&mut self, bytes: usize) -> bool {
        let wanted = if bytes <= FREE_BYTES { 0 } else { bytes };
        let left = &self.store.left;
        if wanted > self.taken {
            let more = wanted - self.taken;
            let take = |left: usize| left.checked_sub(more);
            let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
            if taken.is_err() {
                return false;
            }
        } else if wanted < self.taken {
            left.fetch_add(self.taken - wanted, Ordering::Relaxed);
        }
        self.taken = wanted;
        true
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.taken > 0 {
            self.store.left.fetch_add(self.taken, Ordering::Relaxed);
        }
    }
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
        assert!(other.hold(3 * FREE_BYTES));
        assert!(!one.hold(FREE_BYTES + 1));
        drop((one, other));
        assert_eq!(memory.0.left.load(Ordering::Relaxed), 3 * FREE_BYTES);
    }
}
