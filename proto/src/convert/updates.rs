//! Updates of the configuration. A data plane leaves out and names single items that it cannot read. It never applies
//! half of an item.

use std::sync::Arc;

use super::{
    accounts::{SharedParts, account_from_wire, account_to_wire},
    keys::{health_from_wire, health_to_wire, key_from_wire, key_to_wire},
    leases::{client_key_to_wire, lease_from_wire, lease_to_wire, payer_from_wire},
    prices::{prices_from_wire, prices_to_wire},
    settings::{settings_from_wire, settings_to_wire},
    standing_from_wire, standing_to_wire,
};
use crate::{
    Invalid,
    id::{AccountId, KeyId, Revision},
    lease::PayerId,
    snapshot::{AccountConfig, RejectedItem, SnapshotUpdate},
    wire,
};

/// Reads an update. Returns the items that cannot be read beside it.
pub fn update_from_wire(update: wire::Update) -> (SnapshotUpdate, Vec<RejectedItem>) {
    let wire::Update {
        revision,
        full,
        more,
        accounts,
        removed_account_ids,
        keys,
        removed_key_ids,
        settings,
        prices,
        standings,
        healths,
        leases,
        recalled_account_ids,
        recalled_client_keys,
        heartbeat: _,
    } = update;
    let mut rejections = Vec::new();
    let mut refuse = |kind, item: String, error: Invalid| {
        rejections.push(RejectedItem {
            kind,
            item,
            problem: error.to_string(),
        });
    };
    let mut read = SnapshotUpdate {
        full,
        more,
        ..SnapshotUpdate::empty(Revision(revision))
    };
    read.accounts = accounts_from_wire(accounts, |id, error| refuse("account", id, error));
    for entry in keys {
        let id = entry.id.to_string();
        match key_from_wire(entry) {
            Ok(key) => read.keys.push(key),
            Err(error) => refuse("key", id, error),
        }
    }
    if let Some(settings) = settings {
        match settings_from_wire(settings) {
            Ok(settings) => read.settings = Some(Arc::new(settings)),
            Err(error) => refuse("settings", error.field.clone(), error),
        }
    }
    if let Some(table) = prices {
        let (table, bad) = prices_from_wire(table);
        read.prices = Some(Arc::new(table));
        for (model, error) in bad {
            refuse("price", model, error);
        }
    }
    read.removed_accounts = readable(removed_account_ids, AccountId::new);
    read.removed_keys = readable(removed_key_ids, KeyId::new);
    read.standings = readable(standings, |standing| standing_from_wire(&standing));
    read.healths = readable(healths, health_from_wire);
    read.leases = readable(leases, lease_from_wire);
    read.recalls = readable(recalled_account_ids, |id| {
        AccountId::new(id).map(PayerId::from)
    });
    let keys = readable(recalled_client_keys, |key| {
        payer_from_wire(key.account_id, key.client_key_id)
    });
    read.recalls.extend(keys);
    (read, rejections)
}

fn accounts_from_wire(
    entries: Vec<wire::AccountEntry>,
    mut refuse: impl FnMut(String, Invalid),
) -> Vec<Arc<AccountConfig>> {
    let mut shared = SharedParts::default();
    let mut read = Vec::with_capacity(entries.len());
    for entry in entries {
        let id = entry.id.to_string();
        match account_from_wire(entry, &mut shared) {
            Ok(account) => read.push(Arc::new(account)),
            Err(error) => refuse(id, error),
        }
    }
    read
}

/// The items that can be read. The others are dropped without being reported.
fn readable<T, U>(items: Vec<T>, read: impl FnMut(T) -> Result<U, Invalid>) -> Vec<U> {
    items.into_iter().map(read).filter_map(Result::ok).collect()
}

/// An update for the wire.
pub fn update_to_wire(update: &SnapshotUpdate) -> wire::Update {
    let SnapshotUpdate {
        revision,
        full,
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
    } = update;
    wire::Update {
        revision: revision.0,
        full: *full,
        more: *more,
        accounts: accounts.iter().map(|it| account_to_wire(it)).collect(),
        removed_account_ids: removed_accounts.iter().map(|id| id.get()).collect(),
        keys: keys.iter().map(key_to_wire).collect(),
        removed_key_ids: removed_keys.iter().map(|id| id.get()).collect(),
        settings: settings.as_deref().map(settings_to_wire),
        prices: prices.as_deref().map(prices_to_wire),
        standings: standings.iter().map(standing_to_wire).collect(),
        healths: healths.iter().map(health_to_wire).collect(),
        leases: leases.iter().map(lease_to_wire).collect(),
        recalled_account_ids: recalls
            .iter()
            .filter(|payer| payer.client_key.is_none())
            .map(|payer| payer.account.get())
            .collect(),
        recalled_client_keys: recalls
            .iter()
            .filter(|payer| payer.client_key.is_some())
            .map(|payer| wire::ClientKeyRef {
                account_id: payer.account.get(),
                client_key_id: client_key_to_wire(payer.client_key),
            })
            .collect(),
        heartbeat: false,
    }
}
