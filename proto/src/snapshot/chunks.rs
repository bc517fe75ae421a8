//! Updates in chunks: the first complete one may hold a hundred thousand accounts, which neither plane should have twice
//! in memory, as values and as a message.

use std::iter;

use super::SnapshotUpdate;

impl SnapshotUpdate {
    /// Cuts it into updates with at most so many accounts, balances and leases each. All but the last say that `more`
    /// follows. Each is made when it is asked for.
    pub fn into_chunks(mut self, items_max: usize) -> impl Iterator<Item = Self> + Send + 'static {
        let mut accounts = std::mem::take(&mut self.accounts).into_iter();
        let mut standings = std::mem::take(&mut self.standings).into_iter();
        let mut leases = std::mem::take(&mut self.leases).into_iter();
        let (revision, full) = (self.revision, self.full);
        let mut rest = Some(self);
        iter::from_fn(move || {
            let first = rest.take();
            let left = accounts.len() + standings.len() + leases.len();
            if first.is_none() && left == 0 {
                return None;
            }
            let mut chunk = first.unwrap_or_else(|| Self {
                full,
                ..Self::empty(revision)
            });
            chunk.accounts = accounts.by_ref().take(items_max).collect();
            chunk.standings = standings.by_ref().take(items_max).collect();
            chunk.leases = leases.by_ref().take(items_max).collect();
            chunk.more = accounts.len() + standings.len() + leases.len() > 0;
            Some(chunk)
        })
    }

    /// Adds the chunk that follows.
    pub fn append(&mut self, next: Self) {
        let Self {
            revision: _,
            full: _,
            more,
            accounts,
            removed_accounts,
            keys,
            removed_keys,
            settings,
            prices,
            standings,
            healths,
            leases,
            recalls,
        } = next;
        self.more = more;
        self.accounts.extend(accounts);
        self.removed_accounts.extend(removed_accounts);
        self.keys.extend(keys);
        self.removed_keys.extend(removed_keys);
        self.settings = settings.or_else(|| self.settings.take());
        self.prices = prices.or_else(|| self.prices.take());
        self.standings.extend(standings);
        self.healths.extend(healths);
        self.leases.extend(leases);
        self.recalls.extend(recalls);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        id::{AccountId, KeyId, Revision},
        lease::{LeasedCredit, PostedBalance},
        money::Money,
    };

    fn update(standings: i64, leases: i64) -> SnapshotUpdate {
        let account = |id| AccountId::new(id).unwrap();
        let standing = |id| PostedBalance {
            account: account(id),
            balance: Money::ZERO,
            month_used: Money::ZERO,
        };
        let lease = |id| LeasedCredit {
            payer: account(id).into(),
            version: 1,
            amount: Money::ZERO,
        };
        SnapshotUpdate {
            full: true,
            removed_keys: vec![KeyId::new(3).unwrap()],
            standings: (1..=standings).map(standing).collect(),
            leases: (1..=leases).map(lease).collect(),
            ..SnapshotUpdate::empty(Revision(7))
        }
    }

    proptest! {
        #[test]
        fn chunks_put_together_are_the_update(standings in 0..20_i64, leases in 0..20_i64, most in 1..9_usize) {
            let whole = update(standings, leases);
            let chunks: Vec<_> = whole.clone().into_chunks(most).collect();
            let fits = |chunk: &SnapshotUpdate| chunk.standings.len().max(chunk.leases.len()) <= most;
            prop_assert!(chunks.iter().all(fits));
            let last = chunks.len() - 1;
            prop_assert!(chunks.iter().enumerate().all(|(at, chunk)| chunk.full && chunk.more == (at < last)));
            let mut chunks = chunks.into_iter();
            let mut put = chunks.next().unwrap();
            chunks.for_each(|next| put.append(next));
            prop_assert_eq!(put, whole);
        }
    }
}
