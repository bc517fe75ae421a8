//! Deleting a descendant. What is left of its credit comes back; its own descendants live on.

use proxyxai_contract::clock::Millis;

use super::{Sides, changed, lock_sides};
use crate::{
    Control, Error,
    domain::account::Dna,
    ops::{self, money},
    store::{self, AccountRecord, Tx},
    view::{Caller, Changed},
};

/// Deletes a descendant and refunds its credit to the caller.
pub(crate) async fn delete(
    control: &Control,
    caller: &Caller,
    identifier: &str,
) -> Result<Changed, Error> {
    let now = control.now();
    let tx = control.store().begin().await?;
    let own = ops::caller_account(control, &tx, caller).await?;
    let before = ops::visible(control, &tx, &own, identifier).await?;
    if before.view.id == caller.account {
        return Err(Error::Forbidden("nobody may delete the own account"));
    }
    ops::may_manage(control, &tx, &own).await?;
    let Sides {
        mut operator,
        target: mut record,
        patron: _,
        mut entries,
    } = lock_sides(control, &tx, caller, before.view.id, None).await?;
    entries.extend(ops::fleet::release_all(&tx, &mut record, now).await?);
    let (refund, entry) = money::close(&mut operator, &mut record, now)?;
    entries.push(entry);
    let revision = store::revisions::bump(&tx).await?.0;
    (record.revision, operator.revision) = (revision, revision);
    record.deleted = Some(now);
    record.key_hash = None;
    record.view.updated = now;
    record.gone = !store::accounts::has_living_below(&tx, &record.view.dna).await?;
    store::accounts::update(&tx, &record).await?;
    store::accounts::update(&tx, &operator).await?;
    release_ancestors(&tx, &record, revision, now).await?;
    store::ledger::post(&tx, now, &entries).await?;
    ops::audit::account(control, &tx, caller, Some(&before.view), None).await?;
    let (account, operator) = (record.view.id, caller.account);
    let after = changed(control, &tx, operator, account).await?;
    tx.commit().await?;
    tracing::info!(account.id = account.get(), operator.id = operator.get(), refund = %refund, "account deleted");
    ops::published(control).await;
    Ok(Changed {
        account: ops::shown(control, before),
        refund,
        ..after
    })
}

/// A deleted ancestor stays in the snapshot for those who inherit from it; the last of them takes
/// it along.
async fn release_ancestors(
    tx: &Tx,
    record: &AccountRecord,
    revision: u64,
    now: Millis,
) -> Result<(), Error> {
    let dna = Dna::parse(&record.view.dna).map_err(Error::internal)?;
    for id in dna.ids().into_iter().rev().skip(1) {
        let Some(mut ancestor) = store::accounts::get(tx, id, now).await? else {
            return Ok(());
        };
        if ancestor.deleted.is_none()
            || store::accounts::has_living_below(tx, &ancestor.view.dna).await?
        {
            return Ok(());
        }
        ancestor.gone = true;
        ancestor.revision = revision;
        store::accounts::update(tx, &ancestor).await?;
    }
    Ok(())
}
