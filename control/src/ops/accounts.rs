//! The tree of accounts: reading it, and replacing keys. Creating, changing and deleting accounts have files of their
//! own.

mod bounds;
mod change;
mod create;
mod remove;
mod update;

use std::time::Duration;

pub(crate) use bounds::binding;
pub(super) use create::blank;
pub(crate) use create::create;
use proxyxai_contract::{client_key::ClientKey, id::AccountId, money::Money};
pub(crate) use remove::{delete, settle_closed};
use tokio::time::Instant;
pub(crate) use update::update;

use crate::{
    Control, Error,
    domain::{account::check_text, client_key, credit::LISTING_FEE, ledger::LedgerEntry},
    model::{Account, AccountChangeResult, AccountFilter, Caller, Listing, Page},
    ops::{self, money},
    store::{self, AccountRecord, Tx, accounts::AccountQuery},
};

/// How long a change waits for credit that in-flight calls reserve.
const IN_USE_MAX: Duration = Duration::from_secs(3);
/// How much of a client key is stored in clear text.
const PARTIAL_KEY_CHARS: usize = 20;
const SEARCH_BYTES_MAX: usize = 255;

/// Finds the caller itself or a descendant.
pub(crate) async fn find(
    control: &Control,
    caller: &Caller,
    identifier: &str,
) -> Result<Account, Error> {
    let own = ops::caller_account(control, control.store(), caller).await?;
    let record = ops::visible(control, control.store(), &own, identifier).await?;
    if record.account.id != own.account.id {
        ops::may_manage(control, control.store(), &own).await?;
    }
    Ok(ops::shown(control, record))
}

/// The caller's own account.
pub(crate) async fn caller(control: &Control, caller: &Caller) -> Result<Account, Error> {
    let own = store::accounts::get(control.store(), caller.account, control.now()).await?;
    own.filter(|record| record.deleted.is_none())
        .map(|record| ops::shown(control, record))
        .ok_or(Error::Unauthenticated)
}

/// Whether the caller may manage accounts below it now.
pub(crate) async fn manages(control: &Control, caller: &Caller) -> Result<bool, Error> {
    let own = ops::caller_account(control, control.store(), caller).await?;
    match ops::may_manage(control, control.store(), &own).await {
        Ok(()) => Ok(true),
        Err(Error::ManagementBalance { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Children or descendants of the caller. Listing all of them costs a fee.
pub(crate) async fn list(
    control: &Control,
    caller: &Caller,
    filter: AccountFilter,
    page: Page,
) -> Result<Listing<Account>, Error> {
    let AccountFilter {
        descendants,
        identifier,
        subtree,
        search,
        labels,
        order,
    } = filter;
    let store = control.store();
    let own = ops::caller_account(control, store, caller).await?;
    ops::may_manage(control, store, &own).await?;
    if let Some(identifier) = identifier {
        let record = ops::visible(control, store, &own, &identifier).await?;
        if !labels.fit(&record.account) {
            return Err(ops::no_such_account(&identifier));
        }
        return Ok(Listing {
            rows: vec![ops::shown(control, record)],
            total: 1,
        });
    }
    let top = match subtree {
        Some(dna) => Some(ops::visible(control, store, &own, &dna).await?.account.dna),
        None => None,
    };
    if let Some(search) = &search {
        check_text("search", search, SEARCH_BYTES_MAX)?;
    }
    let is_part = top.as_ref().is_some_and(|top| *top != own.account.dna);
    if labels.is_empty() && !is_part && search.is_none() && !caller.is_root() {
        pay_for_listing(control, caller).await?;
    }
    let filter = AccountQuery {
        parent: (!descendants && top.is_none()).then_some(caller.account),
        below: top.as_deref().unwrap_or(&own.account.dna),
        with_top: top.is_some(),
        search: search.as_deref(),
        labels,
        order,
    };
    // One consistent snapshot, so that the total matches the rows.
    let tx = store.begin_reading().await?;
    let found = store::accounts::list(&tx, &filter, page.bounded(), control.now()).await?;
    let rows = found
        .rows
        .into_iter()
        .map(|record| ops::shown(control, record))
        .collect();
    Ok(Listing {
        rows,
        total: found.total,
    })
}

/// A client key that replaces an account's first one.
#[derive(Debug)]
struct KeyReplacement<'a> {
    key: &'a ClientKey,
    /// For how long the former key keeps working. `None` if it stops at once.
    overlap_ms: Option<i64>,
}

/// Replaces the client key of the caller or of a descendant. The old one stops at once, or makes calls for an overlap
/// in seconds.
pub(crate) async fn rotate_key(
    control: &Control,
    caller: &Caller,
    identifier: Option<&str>,
    overlap_seconds: i64,
) -> Result<ClientKey, Error> {
    let overlap_ms = client_key::overlap_ms(overlap_seconds)?;
    let tx = control.store().begin().await?;
    let own = ops::caller_account(control, &tx, caller).await?;
    let target = match identifier {
        Some(identifier) => {
            ops::visible(control, &tx, &own, identifier)
                .await?
                .account
                .id
        }
        None => caller.account,
    };
    if target != caller.account {
        ops::may_manage(control, &tx, &own).await?;
    }
    let key = ClientKey::generate().map_err(Error::internal)?;
    let new = KeyReplacement {
        key: &key,
        overlap_ms,
    };
    replace_key(control, tx, caller, target, new).await?;
    Ok(key)
}

/// Gives root a chosen key, or a fresh one. The old one stops at once, or makes calls for an overlap; it no longer
/// opens a copy of the master key and no longer administers anything.
pub(crate) async fn rotate_root(
    control: &Control,
    caller: &Caller,
    chosen: Option<ClientKey>,
    overlap_seconds: i64,
) -> Result<ClientKey, Error> {
    ops::root_only(caller, "only root may choose a key, and only its own")?;
    let overlap_ms = client_key::overlap_ms(overlap_seconds)?;
    let key = match chosen {
        Some(key) => key,
        None => ClientKey::generate().map_err(Error::internal)?,
    };
    let tx = control.store().begin().await?;
    let new = KeyReplacement {
        key: &key,
        overlap_ms,
    };
    replace_key(control, tx, caller, caller.account, new).await?;
    Ok(key)
}

async fn replace_key(
    control: &Control,
    tx: Tx,
    caller: &Caller,
    target: AccountId,
    KeyReplacement { key, overlap_ms }: KeyReplacement<'_>,
) -> Result<(), Error> {
    let mut locked = store::accounts::lock(&tx, [target], control.now()).await?;
    let mut record = locked
        .remove(&target)
        .ok_or_else(|| ops::no_such_account(&target.to_string()))?;
    let before = record.clone();
    give_key(control, &mut record, key);
    record.account.updated = control.now();
    if let Some(hash) = record.key_hash {
        ops::client_keys::check_free(control, &tx, caller, &before.account, hash).await?;
    }
    if let Some(overlap_ms) = overlap_ms.filter(|_| record.key_hash != before.key_hash) {
        ops::client_keys::keep_former(control, &tx, caller, &before, overlap_ms).await?;
    }
    // Sealing takes a while, so it comes before the revision is locked.
    if target == AccountId::ROOT {
        ops::master_key::follow_root(control, &tx, key).await?;
    }
    record.revision = store::revisions::bump(&tx).await?.0;
    store::accounts::update(&tx, &record).await?;
    ops::audit::rotation(control, &tx, caller, &record.account, overlap_ms).await?;
    tx.commit().await?;
    if target == AccountId::ROOT {
        ops::root_key::replace(control, before.key_hash, key);
    }
    tracing::info!(
        account.id = target.get(),
        operator.id = caller.account.get(),
        "client key replaced"
    );
    ops::published(control).await;
    Ok(())
}

fn give_key(control: &Control, record: &mut AccountRecord, key: &ClientKey) {
    record.key_hash = Some(control.vault().hasher().hash(key.expose()));
    record.account.partial_key = tail(control, key);
}

/// The part of a client key that is stored in clear text.
pub(super) fn tail(control: &Control, key: &ClientKey) -> String {
    let chars = PARTIAL_KEY_CHARS.min(control.partial_key_chars());
    key.tail(chars).to_owned()
}

async fn pay_for_listing(control: &Control, caller: &Caller) -> Result<(), Error> {
    let now = control.now();
    let tx = control.store().begin().await?;
    let mut locked = store::accounts::lock(&tx, [caller.account], now).await?;
    let own = locked
        .get_mut(&caller.account)
        .ok_or(Error::Unauthenticated)?;
    let mut entries = Vec::new();
    entries.extend(money::clear_expired(own, now)?);
    // Two listings may fall into one millisecond; each entry belongs to its own transaction.
    entries.push(money::fee(own, LISTING_FEE, "listing", now)?);
    store::accounts::update_money(&tx, own).await?;
    store::ledger::post(&tx, now, &entries).await?;
    tx.commit().await?;
    control.publisher().mark([caller.account]);
    Ok(())
}

/// Whether a failure is worth a retry: data planes have the payer's credit on lease, and have returned some, or the
/// calls that reserve it may end before `until`.
async fn credit_came_back<T: Sync>(
    control: &Control,
    payer: AccountId,
    done: &Result<T, Error>,
    until: Instant,
) -> Result<bool, Error> {
    match done {
        Err(Error::InsufficientBalance { in_use, .. })
            if *in_use > Money::ZERO && Instant::now() < until =>
        {
            let back = ops::fleet::bring_back(control, payer).await?;
            Ok(back || ops::fleet::has_planes(control))
        }
        Ok(_) | Err(_) => Ok(false),
    }
}

/// The parties to a change, locked and without expired cards.
struct LockedParties {
    operator: AccountRecord,
    target: AccountRecord,
    /// The target's parent, if it takes part and is alive.
    parent: Option<AccountRecord>,
    entries: Vec<LedgerEntry>,
}

/// Locks the caller and the descendant to change, and the descendant's parent if it takes part.
async fn lock_parties(
    control: &Control,
    tx: &Tx,
    caller: &Caller,
    target: AccountId,
    patron: Option<AccountId>,
) -> Result<LockedParties, Error> {
    let now = control.now();
    let ids = [caller.account, target].into_iter().chain(patron);
    let mut locked = store::accounts::lock(tx, ids, now).await?;
    let mut operator = locked
        .remove(&caller.account)
        .ok_or(Error::Unauthenticated)?;
    let mut target = locked
        .remove(&target)
        .ok_or_else(|| ops::no_such_account(&target.to_string()))?;
    let mut patron = patron.and_then(|patron| locked.remove(&patron));
    let mut entries = Vec::new();
    for record in [&mut operator, &mut target].into_iter().chain(&mut patron) {
        entries.extend(money::clear_expired(record, now)?);
    }
    Ok(LockedParties {
        operator,
        target,
        parent: patron,
        entries,
    })
}

/// Both parties as the transaction leaves them. Read within it, since nothing may fail after the commit.
async fn changed(
    control: &Control,
    tx: &Tx,
    operator: AccountId,
    target: AccountId,
) -> Result<AccountChangeResult, Error> {
    let view = async |id: AccountId| {
        let record = store::accounts::get(tx, id, control.now()).await?;
        record
            .map(|record| ops::shown(control, record))
            .ok_or(Error::Unauthenticated)
    };
    Ok(AccountChangeResult {
        account: view(target).await?,
        operator: view(operator).await?,
        refund: Money::ZERO,
        pending: Money::ZERO,
    })
}
