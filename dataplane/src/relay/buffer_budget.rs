//! A budget for the buffers of all calls: request bodies, and events whose end has not arrived. Small buffers are free,
//! because the number of calls bounds them; larger ones reserve from one budget, or get nothing if it is empty.
//!
//! No account may use it up (`decide::share`).

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::state::AccountState;

/// Bytes of each buffer that are not counted.
pub(super) const FREE_BYTES: usize = 64 * 1024;

/// The budget; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct BufferBudget(Arc<Store>);

#[derive(Debug)]
struct Store {
    left: AtomicUsize,
}

/// What one buffer has reserved; released on drop.
#[derive(Debug)]
pub(crate) struct BufferReservation {
    budget: Arc<Store>,
    /// The account it counts for, once that is known.
    owner: Option<Arc<AccountState>>,
    taken: usize,
}

impl BufferBudget {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self(Arc::new(Store {
            left: AtomicUsize::new(bytes_max),
        }))
    }

    /// A reservation for a buffer that is still empty.
    pub(super) fn reservation(&self) -> BufferReservation {
        BufferReservation {
            budget: Arc::clone(&self.0),
            owner: None,
            taken: 0,
        }
    }
}

/// Why nothing could be reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BufferExhausted {
    /// The budget does not have enough.
    Store,
    /// The account has used its share.
    Share,
}

impl BufferReservation {
    /// Counts it for an account. Must be called before it holds anything.
    pub(super) fn belong_to(&mut self, account: &Arc<AccountState>) {
        self.owner = Some(Arc::clone(account));
    }

    /// The account it counts for.
    pub(super) fn owner(&self) -> Option<&AccountState> {
        self.owner.as_deref()
    }

    /// Grows it to at least this many bytes.
    ///
    /// # Errors
    /// Errors if there is not enough, or the account has used its share. Then nothing has changed.
    pub(super) fn grow_to(&mut self, bytes: usize) -> Result<(), BufferExhausted> {
        let Some(more) = counted(bytes)
            .checked_sub(self.taken)
            .filter(|more| *more > 0)
        else {
            return Ok(());
        };
        let store = &self.budget.left;
        let take = |left: usize| left.checked_sub(more);
        let before = store.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        let left = before.map_err(|_| BufferExhausted::Store)? - more;
        let owner = self.owner.as_ref();
        if owner.is_some_and(|owner| !owner.hold(more, self.taken + more, left)) {
            store.fetch_add(more, Ordering::Relaxed);
            return Err(BufferExhausted::Share);
        }
        self.taken += more;
        Ok(())
    }

    /// Shrinks it to at most this many bytes.
    pub(super) fn shrink(&mut self, bytes: usize) {
        if let Some(less) = self
            .taken
            .checked_sub(counted(bytes))
            .filter(|less| *less > 0)
        {
            self.budget.left.fetch_add(less, Ordering::Relaxed);
            if let Some(owner) = &self.owner {
                owner.release(less);
            }
            self.taken -= less;
        }
    }
}

impl Drop for BufferReservation {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

/// How many of these bytes count.
const fn counted(bytes: usize) -> usize {
    if bytes <= FREE_BYTES { 0 } else { bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_never_more_than_there_is_and_comes_back() {
        let memory = BufferBudget::new(3 * FREE_BYTES);
        let (mut one, mut other) = (memory.reservation(), memory.reservation());
        assert_eq!(one.grow_to(2 * FREE_BYTES), Ok(()));
        assert_eq!(other.grow_to(FREE_BYTES), Ok(()), "small ones are free");
        assert!(other.grow_to(FREE_BYTES + 1).is_err());
        assert_eq!(other.grow_to(2 * FREE_BYTES), Err(BufferExhausted::Store));
        assert_eq!(one.grow_to(1), Ok(()), "less is always there");
        assert!(
            other.grow_to(2 * FREE_BYTES).is_err(),
            "and gives nothing back by itself"
        );
        one.shrink(1);
        assert_eq!(other.grow_to(3 * FREE_BYTES), Ok(()));
        assert!(one.grow_to(FREE_BYTES + 1).is_err());
        drop((one, other));
        assert_eq!(memory.0.left.load(Ordering::Relaxed), 3 * FREE_BYTES);
    }
}
