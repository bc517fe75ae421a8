//! The models that a key's provider lists, and when to fetch the list again. They survive changes of the configuration.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use proxyxai_contract::clock::Millis;

/// How long a list is kept.
const KEPT_MS: i64 = 3_600_000;
/// How soon a failed request for a list is repeated.
const AGAIN_MS: i64 = 60_000;

/// Models that a key's provider has said it has.
#[derive(Debug, Default)]
pub(crate) struct ListedModels {
    listed: ArcSwapOption<BTreeSet<String>>,
    /// When it may be asked again.
    due: AtomicI64,
    asking: AtomicBool,
}

impl ListedModels {
    /// The latest list, if there was one.
    pub(crate) fn listed(&self) -> Option<Arc<BTreeSet<String>>> {
        self.listed.load_full()
    }

    /// Whether the caller has to fetch the list now. Returns `true` to only one of several callers.
    pub(crate) fn begin(&self, now: Millis) -> bool {
        let due = self.due.load(Ordering::Relaxed);
        let begins = now.0 >= due && {
            let next = now.0.saturating_add(AGAIN_MS);
            let (was, to) = (Ordering::Relaxed, Ordering::Relaxed);
            self.due.compare_exchange(due, next, was, to).is_ok()
        };
        if begins {
            self.asking.store(true, Ordering::Relaxed);
        }
        begins
    }

    /// Stores the list. `None` keeps the list from before.
    pub(crate) fn end(&self, listed: Option<BTreeSet<String>>, now: Millis) {
        if let Some(listed) = listed {
            self.listed.store(Some(Arc::new(listed)));
            self.due
                .store(now.0.saturating_add(KEPT_MS), Ordering::Relaxed);
        }
        self.asking.store(false, Ordering::Relaxed);
    }

    /// Whether a request is in flight.
    pub(crate) fn is_asked(&self) -> bool {
        self.asking.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_is_asked_once_an_hour_and_sooner_where_it_said_nothing() {
        let offer = ListedModels::default();
        let at = |ms: i64| Millis(1_000_000_000_000 + ms);
        assert!(offer.begin(at(0)) && !offer.begin(at(0)) && offer.is_asked());
        offer.end(None, at(10));
        assert!(!offer.is_asked() && offer.listed().is_none());
        assert!(!offer.begin(at(59_999)) && offer.begin(at(60_000)));
        let listed = BTreeSet::from(["a".to_owned()]);
        offer.end(Some(listed.clone()), at(60_010));
        assert!(!offer.begin(at(3_660_009)) && offer.begin(at(3_660_010)));
        offer.end(None, at(3_670_000));
        assert_eq!(
            offer.listed().as_deref(),
            Some(&listed),
            "the last one stays"
        );
    }
}
