//! Calls that wait until a key of a level is free. Customers take turns, and so do the accounts of a customer: one with
//! a thousand calls here is served as often as one with a single call. Only waiting calls take the lock.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use proxyxai_contract::id::AccountId;
use tokio::sync::oneshot;

use super::AccountState;

/// Calls that may wait for a key of a level at once.
const WAITING_MAX: usize = 1000;

#[derive(Debug, Default)]
pub(super) struct FairQueue {
    waiting: AtomicUsize,
    lines: Mutex<QueueState>,
}

/// Waiting calls in order of arrival, and when each had its turn.
#[derive(Debug, Default)]
struct QueueState {
    waiters: Vec<Waiter>,
    turns: HashMap<AccountId, u64>,
    count: u64,
}

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    customer: AccountId,
    account: AccountId,
    wake: oneshot::Sender<()>,
}

/// A place in the queue, until it is dropped.
struct QueueTicket<'a> {
    queue: &'a FairQueue,
    account: &'a AccountState,
    /// `None` if the queue was full.
    line: Option<(u64, oneshot::Receiver<()>)>,
}

impl FairQueue {
    /// Waits up to `patience` until a key is free, and not at all if one is free by now. Returns `false` if too many
    /// calls wait already, in all or of this account.
    pub(super) async fn wait(
        &self,
        account: &AccountState,
        patience: Duration,
        is_full: impl Fn() -> bool,
    ) -> bool {
        let mut place = self.enter(account);
        let Some((_, woken)) = &mut place.line else {
            return false;
        };
        // What was freed before the place was taken has woken another call, or none.
        if is_full() {
            let woken = tokio::time::timeout(patience, woken).await;
            if woken.is_ok() {
                place.line = None;
            }
        }
        true
    }

    /// A key is free.
    pub(super) fn freed(&self) {
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return;
        }
        // Skip calls that have left meanwhile.
        while let Some(waiter) = self.lines().next() {
            if waiter.wake.send(()).is_ok() {
                return;
            }
        }
    }

    fn enter<'a>(&'a self, account: &'a AccountState) -> QueueTicket<'a> {
        let all = self.waiting.fetch_add(1, Ordering::SeqCst) + 1;
        let may = account.wait(all, WAITING_MAX);
        let line = may.then(|| {
            let (wake, woken) = oneshot::channel();
            let (customer, account) = (account.customer, account.account.id);
            let ticket = self.lines().join(customer, account, wake);
            (ticket, woken)
        });
        QueueTicket {
            queue: self,
            account,
            line,
        }
    }

    fn lines(&self) -> MutexGuard<'_, QueueState> {
        // A call is always in its line completely, or not at all.
        let lines = self.lines.lock();
        lines.unwrap_or_else(PoisonError::into_inner)
    }
}

impl QueueState {
    fn join(&mut self, customer: AccountId, account: AccountId, wake: oneshot::Sender<()>) -> u64 {
        self.count += 1;
        self.waiters.push(Waiter {
            ticket: self.count,
            customer,
            account,
            wake,
        });
        self.count
    }

    /// Picks the customer that has waited longest for a turn, then its account that has, and that account's first call.
    fn next(&mut self) -> Option<Waiter> {
        let turn = |id| self.turns.get(&id).copied().unwrap_or_default();
        let waiters = self.waiters.iter().enumerate();
        let order = |(_, waiter): &(usize, &Waiter)| (turn(waiter.customer), turn(waiter.account));
        let (at, _) = waiters.min_by_key(order)?;
        let waiter = self.waiters.remove(at);
        self.count += 1;
        self.turns.insert(waiter.customer, self.count);
        if waiter.account != waiter.customer {
            self.turns.insert(waiter.account, self.count);
        }
        self.forget();
        Some(waiter)
    }

    fn leave(&mut self, ticket: u64) {
        self.waiters.retain(|waiter| waiter.ticket != ticket);
        self.forget();
    }

    /// Turns are counted among those that wait together.
    fn forget(&mut self) {
        if self.waiters.is_empty() {
            self.turns.clear();
        }
    }
}

impl Drop for QueueTicket<'_> {
    fn drop(&mut self) {
        if let Some((ticket, mut woken)) = self.line.take() {
            self.queue.lines().leave(ticket);
            if woken.try_recv().is_ok() {
                self.queue.freed();
            }
        }
        self.queue.waiting.fetch_sub(1, Ordering::SeqCst);
        self.account.stop_waiting();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn account(id: usize) -> AccountId {
        AccountId::new(i64::try_from(id).unwrap() + 1).unwrap()
    }

    proptest! {
        #[test]
        fn nobody_waits_for_more_turns_than_there_are_others(
            crowd in prop::collection::vec(0usize..5, 0..200), own in 0usize..5,
        ) {
            let mut lines = QueueState::default();
            for customer in &crowd {
                lines.join(account(*customer), account(10 + customer), oneshot::channel().0);
            }
            lines.join(account(own), account(20), oneshot::channel().0);
            let served = |lines: &mut QueueState| lines.next().map(|waiter| waiter.account);
            let mut turns = 0;
            while served(&mut lines) != Some(account(20)) {
                turns += 1;
            }
            // Each customer once, and the other account of its own before it.
            prop_assert!(turns <= 10, "{turns}");
        }

        #[test]
        fn all_are_served_once_and_in_their_order(crowd in prop::collection::vec(0usize..5, 0..200)) {
            let mut lines = QueueState::default();
            for customer in &crowd {
                lines.join(account(*customer), account(*customer), oneshot::channel().0);
            }
            let mut last = [0; 5];
            let mut served = 0;
            while let Some(waiter) = lines.next() {
                let id = usize::try_from(waiter.account.get()).unwrap() - 1;
                prop_assert!(waiter.ticket > last[id]);
                last[id] = waiter.ticket;
                served += 1;
            }
            prop_assert_eq!(served, crowd.len());
            prop_assert!(lines.turns.is_empty());
        }
    }
}
