//! The latest two accounts that a key has answered: enough to tell whether it answers more than one. Written at most
//! once a second, because all CPUs read it.

use std::sync::atomic::{AtomicI64, Ordering};

use proxyxai_contract::{clock::Millis, id::AccountId};

/// A success this old is recorded again, in milliseconds.
const NOTED_MS: i64 = 1000;
/// Successes this recent describe the key's current state, in milliseconds.
const RECENT_MS: i64 = 60_000;

/// When a key last answered two different accounts.
#[derive(Debug, Default)]
pub(super) struct Served([ServedAccount; 2]);

/// Its fields may be from two calls that were recorded at once, which does no harm.
#[derive(Debug, Default)]
struct ServedAccount {
    /// 0 for none.
    account: AtomicI64,
    at: AtomicI64,
}

impl Served {
    pub(super) fn note(&self, account: AccountId, now: Millis) {
        let [first, second] = &self.0;
        let own = self.0.iter().find(|slot| slot.is_of(account));
        let older = || {
            if first.at() <= second.at() {
                first
            } else {
                second
            }
        };
        let slot = own.unwrap_or_else(older);
        if slot.account.load(Ordering::Relaxed) != 0 && now.since(slot.at()) < NOTED_MS {
            return;
        }
        slot.account.store(account.get(), Ordering::Relaxed);
        slot.at.store(now.0, Ordering::Relaxed);
    }

    /// Whether the key has ever answered.
    pub(super) fn anybody(&self) -> bool {
        let used = |slot: &ServedAccount| slot.account.load(Ordering::Relaxed) != 0;
        self.0.iter().any(used)
    }

    /// Whether the key has lately answered other accounts.
    pub(super) fn others(&self, than: AccountId, now: Millis) -> bool {
        let recent = |slot: &ServedAccount| {
            let account = slot.account.load(Ordering::Relaxed);
            account != 0 && account != than.get() && now.since(slot.at()) < RECENT_MS
        };
        self.0.iter().any(recent)
    }
}

impl ServedAccount {
    fn is_of(&self, account: AccountId) -> bool {
        self.account.load(Ordering::Relaxed) == account.get()
    }

    fn at(&self) -> Millis {
        Millis(self.at.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_seen_for_a_minute_whoever_else_was_answered() {
        let [own, other] = [7, 8].map(|id| AccountId::new(id).unwrap());
        let served = Served::default();
        assert!(!served.anybody() && !served.others(own, Millis(0)));
        served.note(own, Millis(1));
        assert!(served.anybody() && !served.others(own, Millis(1)));
        served.note(other, Millis(5000));
        for ms in 0..50 {
            served.note(own, Millis(6000 + ms * 1000));
        }
        assert!(served.others(own, Millis(60_000)));
        assert!(!served.others(own, Millis(65_000)));
    }
}
