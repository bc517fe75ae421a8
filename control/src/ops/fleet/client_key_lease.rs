//! Leases of further client keys' limits: the same requests and responses as for accounts' credit, on the same terms.
//! No money moves, so the ledger has no entries for them.

use std::collections::{BTreeMap, BTreeSet};

use proxyxai_contract::{
    clock::Millis,
    id::{ClientKeyId, NodeName},
    lease::{LeaseAnswer, LeaseAsk, LeaseShortage, PayerId, PostedBalance},
    money::Money,
    usage::UsageRecord,
};

use crate::{
    Error,
    domain::lease::{self, Headroom},
    model::FAILED_FROM,
    store::{self, Tx, client_keys::ClientKeyRecord, leases::LeaseRecord},
};

pub(super) type LockedClientKeys = BTreeMap<ClientKeyId, ClientKeyRecord>;
type KeyLeases = BTreeMap<PayerId, LeaseRecord>;

/// The further keys among payers.
pub(super) async fn locked(
    tx: &Tx,
    payers: impl IntoIterator<Item = PayerId>,
) -> Result<LockedClientKeys, Error> {
    let ids = payers.into_iter().filter_map(|payer| payer.client_key);
    store::client_keys::lock(tx, ids).await
}

/// Whether nothing is on lease of a key's limit, or what is on lease and spent fits the limit.
pub(super) fn is_within(key: &ClientKeyRecord) -> bool {
    let gone = key.key.credit_used.saturating_add(key.leased);
    key.leased == Money::ZERO || key.key.credit_limit.is_none_or(|limit| gone <= limit)
}

/// What control has left of a key's limit. Zero if the key is not in force.
fn room(key: &ClientKeyRecord, now: Millis) -> Headroom {
    let view = &key.key;
    let in_force = key.deleted.is_none() && view.enabled;
    let in_force = in_force && view.expires.is_none_or(|end| end > now);
    let balance = match view.credit_limit {
        Some(limit) if in_force => limit.saturating_sub(view.credit_used),
        // For a data plane that still applies a limit which was removed.
        None if in_force => Money::MAX,
        Some(_) | None => Money::ZERO,
    };
    Headroom {
        balance,
        month_left: None,
        leased: key.leased,
    }
}

/// Handles requests for leases of keys' limits.
pub(super) async fn answer(
    tx: &Tx,
    (node, epoch): (&NodeName, u64),
    asked: &BTreeMap<PayerId, &LeaseAsk>,
    leases: &mut KeyLeases,
    (nodes, now): (usize, Millis),
) -> Result<Vec<LeaseAnswer>, Error> {
    let mut keys = locked(tx, asked.keys().copied()).await?;
    let mut answers = Vec::new();
    for (payer, ask) in asked {
        let key = payer.client_key.and_then(|id| keys.get_mut(&id));
        let Some(key) = key.filter(|key| key.key.account == payer.account) else {
            continue;
        };
        let held = leases
            .entry(*payer)
            .or_insert_with(|| LeaseRecord::first(node, epoch, *payer));
        if held.epoch != epoch {
            // A node that lost its spool no longer knows its leases and cannot use them.
            held.epoch = epoch;
            give(key, held, held.lease.amount.negated());
        }
        let room = room(key, now);
        let shortage = settle(key, held, ask, (&room, nodes));
        answers.push(LeaseAnswer {
            lease: held.lease,
            standing: PostedBalance {
                account: payer.account,
                balance: room.balance,
                month_used: Money::ZERO,
            },
            shortage,
            elsewhere: key.leased.saturating_sub(held.lease.amount),
        });
    }
    store::client_keys::update_spend(tx, keys.values()).await?;
    Ok(answers)
}

/// Grants or takes back the requested change, if the request has the current version of the lease.
fn settle(
    key: &mut ClientKeyRecord,
    held: &mut LeaseRecord,
    ask: &LeaseAsk,
    (room, nodes): (&Headroom, usize),
) -> Option<LeaseShortage> {
    if ask.version != held.lease.version {
        return None;
    }
    if ask.change.is_negative() {
        let back = ask.change.max(held.lease.amount.negated());
        give(key, held, back);
        return None;
    }
    match lease::grant(room, ask.change, ask.need, nodes) {
        Ok(granted) => {
            give(key, held, granted);
            None
        }
        Err(shortage) => Some(shortage),
    }
}

/// Moves some of a key's limit onto a lease; a negative amount moves it back.
pub(super) fn give(key: &mut ClientKeyRecord, held: &mut LeaseRecord, amount: Money) {
    held.lease.amount = held.lease.amount.saturating_add(amount);
    held.lease.version = held.lease.version.saturating_add(1);
    key.leased = key.leased.saturating_add(amount);
}

/// The payers of records: accounts, and the further keys of their calls.
pub(super) fn payers(records: &[UsageRecord]) -> BTreeSet<PayerId> {
    let of = |record: &UsageRecord| [Some(record.account.into()), record.key_payer()];
    records.iter().flat_map(of).flatten().collect()
}

/// Adds the cost of calls to their keys, in the units that their accounts have now.
pub(super) fn charge_all(
    keys: &mut LockedClientKeys,
    leases: &mut KeyLeases,
    records: &[UsageRecord],
    cost: impl Fn(&UsageRecord) -> Option<Money>,
) {
    for record in records {
        let Some(payer) = record.key_payer() else {
            continue;
        };
        let key = payer.client_key.and_then(|id| keys.get_mut(&id));
        let key = key.filter(|key| key.key.account == payer.account);
        let (Some(key), Some(cost)) = (key, cost(record)) else {
            continue;
        };
        let objects = record.objects.as_ref();
        let is_later = objects.is_some_and(|objects| objects.settles.is_some());
        let held = leases.get_mut(&payer).filter(|_| !is_later);
        charge(key, held, record, cost);
    }
}

/// Adds the cost of a call to its key, and takes it from the lease that admitted it. Later work was not admitted on a
/// lease.
fn charge(
    key: &mut ClientKeyRecord,
    held: Option<&mut LeaseRecord>,
    record: &UsageRecord,
    cost: Money,
) {
    let view = &mut key.key;
    view.credit_used = view.credit_used.saturating_add(cost);
    let answered = u64::from(record.status < FAILED_FROM);
    view.requests = view.requests.saturating_add(answered);
    view.used = view.used.max(Some(record.start));
    if let Some(held) = held {
        let part = cost.min(held.lease.amount).max(Money::ZERO);
        give(key, held, part.negated());
    }
}
