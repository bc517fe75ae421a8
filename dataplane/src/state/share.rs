//! The share of an account, with all below it, of the resources that all calls use. It is counted by atomics for the
//! account and for each ancestor below root: a thousand sub-accounts have no more than the account above them.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use proxyxai_contract::snapshot::{AccountConfig, ProxySettings};

use super::AccountState;
use crate::decide::{admit::Refusal, share};

/// The counters of an account. They survive changes of the account.
#[derive(Debug, Default)]
pub(crate) struct AccountShare {
    calls: AtomicUsize,
    bytes: AtomicUsize,
    waiting: AtomicUsize,
}

/// The shares that a call takes from, its own account's first. Root has none.
pub(super) type ShareChain = Box<[Arc<AccountShare>]>;

impl AccountState {
    /// Counts an open call. `leave` must follow, also after a refusal.
    ///
    /// # Errors
    /// Errors if the account, or one above it, is at its limit of open calls.
    pub(crate) fn enter(
        &self,
        chain: &[&AccountConfig],
        settings: &ProxySettings,
        open_calls_max: usize,
    ) -> Result<(), Refusal> {
        let mut full = None;
        for (share, owner) in self.path.iter().zip(chain) {
            let open = share.calls.fetch_add(1, Ordering::Relaxed) + 1;
            let system = settings.calls_per_account_max;
            let most = share::calls_max(owner.calls_max, system, open_calls_max);
            if open > most && full.is_none() {
                full = Some(Refusal::ShareTaken {
                    account: owner.name.clone(),
                    what: "open calls",
                });
            }
        }
        full.map_or(Ok(()), Err)
    }

    /// A call that entered has ended.
    pub(crate) fn leave(&self) {
        for share in &self.path {
            share.calls.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Takes `more` bytes for a buffer that then has `buffer`, while `left` bytes are left for all. Returns `false`,
    /// and takes nothing, if the account or one above it may not have them.
    pub(crate) fn hold(&self, more: usize, buffer: usize, left: usize) -> bool {
        let mut may = true;
        for share in &self.path {
            let held = share.bytes.fetch_add(more, Ordering::Relaxed) + more;
            may &= share::may_hold(held, buffer, left);
        }
        if !may {
            self.release(more);
        }
        may
    }

    /// Releases bytes.
    pub(crate) fn release(&self, bytes: usize) {
        for share in &self.path {
            share.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    /// Counts a waiting call as one of `all`. Returns `false` if the account or one above it may not wait.
    /// `stop_waiting` must follow in any case.
    pub(super) fn wait(&self, all: usize, most: usize) -> bool {
        let mut may = all <= most;
        for share in &self.path {
            let own = share.waiting.fetch_add(1, Ordering::Relaxed) + 1;
            may &= share::may_wait(own, all, most);
        }
        may
    }

    pub(super) fn stop_waiting(&self) {
        for share in &self.path {
            share.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proxyxai_contract::id::AccountId;
    use tokio::sync::mpsc;

    use super::*;
    use crate::{
        decide::samples::{account, settings},
        state::{CreditLease, RateLimitWindows},
    };

    fn state(id: i64, path: &[&Arc<AccountShare>]) -> AccountState {
        let id = AccountId::new(id).unwrap();
        AccountState {
            account: account(id.get()).into(),
            customer: id,
            credit: Arc::new(CreditLease::new(id, mpsc::channel(1).0)),
            windows: Arc::new(RateLimitWindows::new(id)),
            keys: Box::default(),
            path: path.iter().map(|share| Arc::clone(share)).collect(),
        }
    }

    #[test]
    fn a_thousand_sub_accounts_have_no_more_than_the_one_they_belong_to() {
        let (parents, mut settings) = (Arc::<AccountShare>::default(), settings());
        settings.calls_per_account_max = NonZeroU32::new(10);
        let parent = state(2, &[&parents]);
        let mut open = 0;
        for id in 3..1003 {
            let child = state(id, &[&Arc::default(), &parents]);
            let chain = [&*child.account, &*parent.account];
            match child.enter(&chain, &settings, 10_000) {
                Ok(()) => open += 1,
                Err(refusal) => {
                    assert!(refusal.message().contains("account-2"), "{refusal:?}");
                    child.leave();
                }
            }
        }
        assert_eq!(open, 10);
        assert!(parent.enter(&[&parent.account], &settings, 10_000).is_err());
        parent.leave();
        let other = state(2000, &[&Arc::default()]);
        assert_eq!(other.enter(&[&other.account], &settings, 10_000), Ok(()));
        let root = state(1, &[]);
        for _ in 0..100 {
            assert_eq!(root.enter(&[&root.account], &settings, 10_000), Ok(()));
        }
    }

    #[test]
    fn what_is_refused_is_not_held() {
        let account = state(2, &[&Arc::default()]);
        assert!(account.hold(400, 400, 600), "a single buffer");
        assert!(!account.hold(300, 300, 300), "700 of 1000, and 300 left");
        assert!(account.hold(100, 100, 500));
        account.release(500);
        assert_eq!(account.path[0].bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_queue_has_a_place_for_others() {
        let (hog, other) = (state(2, &[&Arc::default()]), state(3, &[&Arc::default()]));
        let mut waiting = 0;
        for _ in 0..1000 {
            if hog.wait(waiting + 1, 1000) {
                waiting += 1;
            } else {
                hog.stop_waiting();
            }
        }
        assert_eq!(waiting, 500);
        assert!(other.wait(waiting + 1, 1000));
    }
}
