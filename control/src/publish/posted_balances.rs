//! Balances for data planes: with their first update, whenever they changed, and all of them when a month begins.

use std::collections::BTreeMap;

use proxyxai_contract::{
    clock::Millis,
    id::{AccountId, NodeName},
    lease::PostedBalance,
    money::Money,
};

use super::Publisher;
use crate::{
    Error,
    model::DateRange,
    store::{self, AccountRecord, Store},
};

/// Above this many accounts, the charges of all accounts are read at once: a list of ids costs more than the few rows
/// that it would exclude.
const IDS_MAX: usize = 5_000;

impl Publisher {
    /// Marks accounts whose balance changed. Data planes get it with the next flush.
    pub(crate) fn mark(&self, accounts: impl IntoIterator<Item = AccountId>) {
        self.state().subscribers.mark(accounts);
    }

    /// Marks accounts whose new balance this node gets in its response. Other nodes get it with the next flush; without
    /// other nodes, nothing is read again.
    pub(crate) fn answered(
        &self,
        node: &NodeName,
        accounts: impl IntoIterator<Item = AccountId>,
        standings: &[PostedBalance],
    ) {
        let state = &mut *self.state();
        if state.subscribers.are_only(node) {
            let sent = standings.iter().map(|balance| (balance.account, *balance));
            state.sent.extend(sent);
        } else {
            state.subscribers.mark(accounts);
        }
    }

    /// Sends changed balances to data planes, and all balances when a month begins.
    pub(crate) async fn flush_standings(&self, store: &Store, now: Millis) -> Result<(), Error> {
        let month = self.config.zone.day(now).first_of_month();
        let (marked, last_month, new_month) = {
            let mut state = self.state();
            let last = state.month.replace(month);
            let new_month = last.is_some_and(|last| last != month) && !state.subscribers.is_empty();
            (state.subscribers.take_marked(), last, new_month)
        };
        if marked.is_empty() && !new_month {
            return Ok(());
        }
        let ids: Vec<_> = marked.iter().copied().collect();
        let flushed = self
            .read_and_tell(store, (!new_month).then_some(&ids), now)
            .await;
        if flushed.is_err() {
            let mut state = self.state();
            state.subscribers.mark(marked);
            state.month = last_month;
        }
        flushed
    }

    /// Balances of accounts as of now.
    pub(crate) async fn standings_of(
        &self,
        store: &impl store::Db,
        accounts: &[AccountRecord],
        now: Millis,
    ) -> Result<Vec<PostedBalance>, Error> {
        let ids: Vec<_> = accounts.iter().map(|record| record.account.id).collect();
        let some = (ids.len() <= IDS_MAX).then_some(ids.as_slice());
        let used = store::usage::costs(store, some, self.month(now)).await?;
        Ok(standings(accounts, &used).collect())
    }

    /// Balances of all accounts as of now. Their rows are read in pages and not kept.
    pub(super) async fn all_standings(
        &self,
        store: &Store,
        now: Millis,
    ) -> Result<Vec<PostedBalance>, Error> {
        let used = store::usage::costs(store, None, self.month(now)).await?;
        let (mut all, mut next) = (Vec::new(), Some(0));
        while let Some(after) = next {
            let (page, last) = store::accounts::snapshot_page(store, after, now).await?;
            all.extend(standings(&page, &used));
            next = last;
        }
        Ok(all)
    }

    /// The calendar month of a moment.
    pub(crate) fn month(&self, now: Millis) -> DateRange {
        let today = self.config.zone.day(now);
        DateRange {
            start: today.first_of_month(),
            end: today.last_of_month(),
        }
    }

    async fn read_and_tell(
        &self,
        store: &Store,
        ids: Option<&Vec<AccountId>>,
        now: Millis,
    ) -> Result<(), Error> {
        let _order = self.order.lock().await;
        let mut standings = match ids {
            None => self.all_standings(store, now).await?,
            Some(ids) => {
                let accounts = store::accounts::some(store, ids, now).await?;
                self.standings_of(store, &accounts, now).await?
            }
        };
        {
            let state = &mut *self.state();
            // An account that data planes do not know yet comes with its own update.
            standings.retain(|standing| state.catalogue.has_account(standing.account));
            standings.retain(|standing| {
                state.sent.insert(standing.account, *standing) != Some(*standing)
            });
            state.subscribers.tell_standings(&standings);
        }
        self.tell();
        Ok(())
    }
}

/// The balances of accounts that are not deleted, with what they used.
fn standings<'a>(
    accounts: &'a [AccountRecord],
    used: &'a BTreeMap<AccountId, Money>,
) -> impl Iterator<Item = PostedBalance> + 'a {
    let living = accounts.iter().filter(|record| record.deleted.is_none());
    living.map(|record| PostedBalance {
        account: record.account.id,
        balance: record.account.balance,
        month_used: used.get(&record.account.id).copied().unwrap_or_default(),
    })
}
