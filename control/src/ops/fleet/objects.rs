//! Objects stored at providers. They are stored in the transaction that posts their report, so an object has its owner
//! as soon as its call is posted. Its later work is paid once, by whichever client and however often it is fetched.
//!
//! What such work may cost stays reserved until then, as a lease that no data plane holds. Neither a restart nor the
//! end of a data plane frees it.

use std::collections::{BTreeMap, BTreeSet};

use proxyxai_contract::{
    bill::CallBill,
    clock::Millis,
    id::{AccountId, KeyId, NodeName},
    lease::PayerId,
    money::Money,
    object::{DueWork, ID_BYTES_MAX, LIST_MAX, OwnedObject},
    tokens::{ImageUsage, TokenUsage},
    usage::{UsageMeasure, UsageRecord},
};

use super::client_key_lease::{self, LockedClientKeys};
use crate::{
    Control, Error,
    domain::ledger::LedgerEntry,
    ops::money,
    store::{
        self, AccountRecord, Tx,
        leases::LeaseRecord,
        objects::{HOLDER, ObjectWork},
    },
};

pub(crate) use crate::store::objects::ObjectQuery;

/// The most ids in one query.
const IDS_MAX: usize = 64;
/// The most objects deleted at a time.
const PRUNE_ROWS_MAX: u64 = 1_000;

/// The reserves that the objects of a report change, beside its costs.
#[derive(Debug, Default)]
pub(super) struct HoldMovements {
    /// Newly reserved for later work.
    held: BTreeMap<PayerId, Money>,
    /// Released.
    released: BTreeMap<PayerId, Money>,
}

/// Whether a lease is a reserve for later work.
pub(super) fn is_later(node: &NodeName) -> bool {
    node.as_str() == HOLDER
}

/// Applies what records say of objects, in their order. A record that pays for work already paid costs nothing; one
/// whose work cannot be followed costs what was reserved for it.
pub(super) async fn apply(
    tx: &Tx,
    records: &mut [UsageRecord],
    accounts: &BTreeMap<AccountId, AccountRecord>,
    now: Millis,
) -> Result<HoldMovements, Error> {
    let mut movements = HoldMovements::default();
    if records.iter().all(|record| record.objects.is_none()) {
        return Ok(movements);
    }
    store::objects::keep(tx, records, now).await?;
    for record in records {
        let (Some(key), Some(objects)) = (record.key, record.objects.clone()) else {
            continue;
        };
        if let Some(made) = objects.made.first().filter(|_| objects.pending) {
            let work = (key, &*record, made);
            let known = accounts.contains_key(&record.account);
            let held = Some(objects.held).filter(|_| known).unwrap_or_default();
            if store::objects::keep_pending(tx, work, held, now).await? {
                add(&mut movements.held, record, held);
            } else {
                tracing::warn!(
                    request.id = record.request_id,
                    object.id = made.id,
                    "work of an object that is known already cannot be followed; it is paid with what was set aside"
                );
                record.cost = record.cost.saturating_add(objects.held);
                record.measure = UsageMeasure::Estimated;
            }
        }
        if let Some(settles) = &objects.settles {
            let settlement = (settles.id.as_str(), settles.settlement.as_str());
            settle(tx, (key, settlement), record, &mut movements).await?;
        }
        if let Some(id) = &objects.forgets {
            store::objects::forget(tx, key, id).await?;
        }
    }
    Ok(movements)
}

/// Pays for the work of an object, once.
async fn settle(
    tx: &Tx,
    (key, (id, settlement)): (KeyId, (&str, &str)),
    record: &mut UsageRecord,
    movements: &mut HoldMovements,
) -> Result<(), Error> {
    match store::objects::lock(tx, key, id).await? {
        ObjectWork::Pending {
            account,
            client_key,
            held,
        } if account == record.account => {
            store::objects::settle(tx, key, id, settlement).await?;
            // The key that made the object pays, even if data planes no longer know it.
            record.client_key = client_key;
            add(&mut movements.released, record, held);
        }
        ObjectWork::Settled(by) if by == settlement => {}
        ObjectWork::Pending { .. } | ObjectWork::Settled(_) => {
            record.cost = Money::ZERO;
            record.tokens = TokenUsage::default();
            record.images = ImageUsage::default();
            record.sum = CallBill::default();
            record.objects = None;
        }
        // The object is no longer known, so it cannot have been paid before.
        ObjectWork::None => {}
    }
    Ok(())
}

/// Updates the reserves, and takes what is newly reserved from the leases that admitted the calls.
pub(super) async fn reserve(
    tx: &Tx,
    movements: &HoldMovements,
    accounts: &mut BTreeMap<AccountId, AccountRecord>,
    keys: &mut LockedClientKeys,
    leases: &mut BTreeMap<PayerId, LeaseRecord>,
) -> Result<Vec<LedgerEntry>, Error> {
    let moved = movements.held.keys().chain(movements.released.keys());
    let payers: BTreeSet<_> = moved.copied().collect();
    let mut entries = Vec::new();
    if payers.is_empty() {
        return Ok(entries);
    }
    let holder = NodeName::new(HOLDER)?;
    let mut reserves = store::leases::of_node(tx, &holder, payers.iter().copied()).await?;
    for payer in payers {
        let of = |moved: &BTreeMap<_, Money>| moved.get(&payer).copied().unwrap_or_default();
        let (held, released) = (of(&movements.held), of(&movements.released));
        let reserve = reserves.entry(payer);
        let reserve = reserve.or_insert_with(|| LeaseRecord::first(&holder, 0, payer));
        let lease = leases.get_mut(&payer).filter(|_| held > Money::ZERO);
        let part = |lease: &LeaseRecord| held.min(lease.lease.amount).max(Money::ZERO);
        let change = held.saturating_sub(released);
        if let Some(id) = payer.client_key {
            if let Some(key) = keys.get_mut(&id) {
                if let Some(lease) = lease {
                    let part = part(lease);
                    client_key_lease::give(key, lease, part.negated());
                }
                client_key_lease::give(key, reserve, change);
            }
            continue;
        }
        let Some(account) = accounts.get_mut(&payer.account) else {
            continue;
        };
        if let Some(lease) = lease {
            let part = part(lease);
            entries.push(money::lease(account, lease, part.negated())?);
        }
        if change != Money::ZERO {
            entries.push(money::lease(account, reserve, change)?);
        }
    }
    // This lease never expires for lack of renewal.
    store::leases::put(tx, reserves.values(), Millis(i64::MAX)).await?;
    Ok(entries)
}

/// All objects with these ids.
pub(crate) async fn find(control: &Control, ids: &[String]) -> Result<Vec<OwnedObject>, Error> {
    let ids: Vec<_> = ids
        .iter()
        .filter(|id| (1..=ID_BYTES_MAX).contains(&id.len()) && !id.contains('\0'))
        .take(IDS_MAX)
        .cloned()
        .collect();
    store::objects::find(control.store(), &ids, control.now()).await
}

/// A page of an account's objects.
pub(crate) async fn list(
    control: &Control,
    wanted: ObjectQuery,
) -> Result<(Vec<OwnedObject>, bool), Error> {
    let limit = wanted.limit.clamp(1, LIST_MAX);
    let fits = |id: &String| !id.contains('\0');
    let wanted = ObjectQuery {
        limit,
        after: wanted.after.filter(fits),
        before: wanted.before.filter(fits),
        ..wanted
    };
    store::objects::list(control.store(), &wanted, control.now()).await
}

/// Claims work that should be finished by now.
pub(crate) async fn claim(control: &Control, limit: u32) -> Result<Vec<DueWork>, Error> {
    // Usually there is none, and a look does not need the write lock.
    if !store::objects::is_due(control.store(), control.now()).await? {
        return Ok(Vec::new());
    }
    let tx = control.store().begin().await?;
    let due = store::objects::claim(&tx, limit.clamp(1, LIST_MAX), control.now()).await?;
    tx.commit().await?;
    Ok(due)
}

/// Deletes expired objects.
pub(crate) async fn prune(control: &Control) -> Result<u64, Error> {
    let tx = control.store().begin().await?;
    let gone = store::objects::prune(&tx, control.now(), PRUNE_ROWS_MAX).await?;
    tx.commit().await?;
    Ok(gone)
}

/// Adds an amount for the account of a record, and for its key.
fn add(moved: &mut BTreeMap<PayerId, Money>, record: &UsageRecord, amount: Money) {
    // Root's own calls are bound to no credit, only to the limit of their key.
    let own = (record.account != AccountId::ROOT).then(|| record.account.into());
    for payer in [own, record.key_payer()].into_iter().flatten() {
        let total = moved.entry(payer).or_default();
        *total = total.saturating_add(amount);
    }
}
