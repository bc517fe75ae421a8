//! Deleting a descendant. Its credit is refunded, less what its in-flight calls may cost; its own descendants stay.

use proxyxai_contract::{clock::Millis, id::AccountId, money::Money};

use super::{LockedParties, changed, lock_parties};
use crate::{
    Control, Error,
    domain::{
        account::Dna,
        credit::{self, DELETE_FEE},
    },
    model::{AccountChangeResult, Caller},
    ops::{self, money},
    store::{self, AccountRecord, Tx},
};

/// For this long the deleting request settles the account itself, so that its response can state the refund. After
/// that, a background job does.
const DELETING_MS: i64 = 5_000;
/// The longest chain of deleted operators to follow.
const HEIRS_MAX: usize = 256;

/// Deletes a descendant. Its key stops at once. The caller gets back what in-flight calls cannot cost, and the rest
/// once they have ended.
pub(crate) async fn delete(
    control: &Control,
    caller: &Caller,
    identifier: &str,
) -> Result<AccountChangeResult, Error> {
    let before = Box::pin(end(control, caller, identifier)).await?;
    let id = before.account.id;
    ops::published(control).await;
    let mut done = Box::pin(settle_soon(control, id)).await?;
    let tx = control.store().begin_reading().await?;
    let after = changed(control, &tx, caller.account, id).await?;
    drop(tx);
    if caller.account != done.heir {
        // The operator was deleted meanwhile, and an account above it got the rest.
        (done.refund, done.pending) = (Money::ZERO, Money::ZERO);
    }
    tracing::info!(
        account.id = id.get(), operator.id = caller.account.get(), refund = %done.refund, pending = %done.pending,
        "account deleted"
    );
    Ok(AccountChangeResult {
        account: ops::shown(control, before),
        refund: done.refund,
        pending: done.pending,
        ..after
    })
}

/// Refunds at once what no lease covers, and the unused part of the leases when it is back, which takes moments.
async fn settle_soon(control: &Control, id: AccountId) -> Result<SettledCredit, Error> {
    let first = settle(control, id).await?;
    if first.pending == Money::ZERO {
        return Ok(first);
    }
    ops::fleet::come_home(control, id).await?;
    let mut done = settle(control, id).await?;
    if done.heir == first.heir {
        done.refund = done.refund.saturating_add(first.refund);
    }
    Ok(done)
}

/// Takes the account out of use: no more of its credit goes on lease, and leases are recalled.
async fn end(control: &Control, caller: &Caller, identifier: &str) -> Result<AccountRecord, Error> {
    let now = control.now();
    let tx = control.store().begin().await?;
    let own = ops::caller_account(control, &tx, caller).await?;
    let before = ops::visible(control, &tx, &own, identifier).await?;
    if before.account.id == caller.account {
        return Err(Error::Forbidden("an account may not delete itself"));
    }
    ops::may_manage(control, &tx, &own).await?;
    let LockedParties {
        operator,
        target: mut record,
        parent: _,
        entries,
    } = lock_parties(control, &tx, caller, before.account.id, None).await?;
    let revision = store::revisions::bump(&tx).await?.0;
    record.revision = revision;
    record.deleted = Some(now);
    record.key_hash = None;
    record.account.updated = now;
    // Data planes keep it while something is on lease: they poll later work in its name.
    record.gone = record.leased == Money::ZERO
        && !store::accounts::has_living_below(&tx, &record.account.dna).await?;
    (record.heir, record.closing) = (Some(caller.account), true);
    record.fee_due = match operator.account.parent {
        Some(_) => DELETE_FEE,
        None => Money::ZERO,
    };
    store::accounts::update(&tx, &record).await?;
    store::accounts::update(&tx, &operator).await?;
    store::client_keys::delete_of(&tx, record.account.id, now).await?;
    store::leases::recall(&tx, [record.account.id], now).await?;
    if record.gone {
        release_ancestors(&tx, &record, revision, now).await?;
    }
    store::ledger::post(&tx, now, &entries).await?;
    ops::audit::account(control, &tx, caller, Some(&before.account), None).await?;
    tx.commit().await?;
    Ok(before)
}

/// The result of settling a deleted account.
struct SettledCredit {
    heir: AccountId,
    refund: Money,
    pending: Money,
}

/// Settles, as far as possible by now, all deleted accounts with in-flight calls or late usage.
pub(crate) async fn settle_closed(control: &Control) -> Result<(), Error> {
    let before = control.now().plus(-DELETING_MS);
    for id in store::closing::waiting(control.store(), before).await? {
        control.publisher().recall([id], None);
        // An account that cannot be settled must not block the others.
        if let Err(error) = settle(control, id).await {
            tracing::warn!(
                account.id = id.get(),
                ?error,
                "a deleted account is settled later"
            );
        }
    }
    Ok(())
}

/// Gives the heir what in-flight calls can no longer cost. Calls that cost more than the account's credit are charged
/// to its parent, which granted it, or to the nearest living ancestor. One transaction, so that a crash leaves the
/// account as it was.
async fn settle(control: &Control, id: AccountId) -> Result<SettledCredit, Error> {
    let now = control.now();
    let heir = living_heir(control, id, true).await?;
    let payer = living_heir(control, id, false).await?;
    let tx = control.store().begin().await?;
    let mut locked = store::accounts::lock_all(&tx, [id, heir, payer], now).await?;
    let mut record = locked
        .remove(&id)
        .ok_or_else(|| ops::no_such_account(&id.to_string()))?;
    // An account that was deleted in between is skipped; the next run takes it.
    let mut living = |id: AccountId| {
        let found = locked.remove(&id);
        let living = found.filter(|record| record.deleted.is_none());
        living.ok_or_else(|| ops::no_such_account(&id.to_string()))
    };
    let mut other = living(heir)?;
    let mut payer = if payer == heir {
        None
    } else {
        Some(living(payer)?)
    };
    let mut entries = Vec::new();
    for side in [&mut other, &mut record].into_iter().chain(&mut payer) {
        entries.extend(money::clear_expired(side, now)?);
    }
    let covers = ops::fleet::release_covers(&tx, &mut record, now).await?;
    entries.extend(covers.into_iter().flatten());
    let (refund, settled) = money::settle_closed(&mut other, payer.as_mut(), &mut record, now)?;
    entries.extend(settled);
    let done = !record.closing;
    // If nothing moves, there is nothing to write.
    if done || !entries.is_empty() {
        let gone = done && forget(&tx, &mut record, now).await?;
        store::accounts::update(&tx, &record).await?;
        store::accounts::update_money_of_all(&tx, [&other].into_iter().chain(&payer)).await?;
        store::ledger::post(&tx, now, &entries).await?;
        tx.commit().await?;
        let others = payer.iter().map(|payer| payer.account.id);
        control.publisher().mark(others.chain([heir]));
        if gone {
            ops::published(control).await;
        }
    }
    let kept = record.account.balance.max(Money::ZERO);
    let pending = credit::price_of_grant(kept, record.account.rates, other.account.rates);
    Ok(SettledCredit {
        heir,
        refund,
        pending: pending.unwrap_or_default(),
    })
}

/// Removes a settled account from data planes, unless a living account inherits from it. Returns whether it was removed
/// now.
async fn forget(tx: &Tx, record: &mut AccountRecord, now: Millis) -> Result<bool, Error> {
    if record.gone || store::accounts::has_living_below(tx, &record.account.dna).await? {
        return Ok(false);
    }
    record.gone = true;
    record.revision = store::revisions::bump(tx).await?.0;
    release_ancestors(tx, record, record.revision, now).await?;
    Ok(true)
}

/// The account that gets what is left of a deleted one: its operator, or the operator's own heir. Without `operators`,
/// the account that pays its debt: the nearest living ancestor.
async fn living_heir(
    control: &Control,
    id: AccountId,
    operators: bool,
) -> Result<AccountId, Error> {
    let now = control.now();
    let mut at = id;
    // A tree has no more levels than this, and each step goes up.
    for _ in 0..HEIRS_MAX {
        let Some(record) = store::accounts::childless(control.store(), at, now).await? else {
            break;
        };
        if at != id && record.deleted.is_none() {
            return Ok(at);
        }
        match record.heir.filter(|_| operators).or(record.account.parent) {
            Some(next) => at = next,
            None => break,
        }
    }
    Ok(AccountId::ROOT)
}

/// A deleted ancestor stays in the snapshot for accounts that inherit from it, and goes with the last of them.
async fn release_ancestors(
    tx: &Tx,
    record: &AccountRecord,
    revision: u64,
    now: Millis,
) -> Result<(), Error> {
    let dna = Dna::parse(&record.account.dna).map_err(Error::internal)?;
    for id in dna.ids().into_iter().rev().skip(1) {
        let Some(mut ancestor) = store::accounts::get(tx, id, now).await? else {
            return Ok(());
        };
        if ancestor.deleted.is_none()
            || ancestor.leased > Money::ZERO
            || store::accounts::has_living_below(tx, &ancestor.account.dna).await?
        {
            return Ok(());
        }
        ancestor.gone = true;
        ancestor.revision = revision;
        store::accounts::update(tx, &ancestor).await?;
    }
    Ok(())
}
