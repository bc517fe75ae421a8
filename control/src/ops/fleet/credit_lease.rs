//! Credit on lease: data planes request slices, return what they do not need, and lose their leases if they are silent
//! for too long. Each movement is booked.

use std::collections::BTreeMap;

use proxyxai_contract::{
    clock::Millis,
    id::{AccountId, ClientKeyId, NodeName},
    lease::{LeaseAnswer, LeaseAsk, LeaseShortage, PayerId, PostedBalance},
    money::Money,
};

use super::{
    client_key_lease,
    objects::is_later,
    rate_change_cover::{is_cover, leave_out},
};
use crate::{
    Control, Error,
    domain::{
        credit,
        lease::{self, Headroom},
        ledger::LedgerEntry,
    },
    ops::money,
    store::{self, AccountRecord, Tx, leases::LeaseRecord},
};

/// A lost message from a node must not cost it its leases at once, and clocks may differ a little: control waits this
/// much longer than the lease time that data planes get.
const GRACE_MS: i64 = 60_000;
/// How many steps an operator's change waits for credit that is on lease, at most.
const RECALL_STEPS: u32 = 40;
const RECALL_STEP_MS: u64 = 25;
/// After this many steps without a return, the rest is taken to be reserved by calls.
const STILL_STEPS: u32 = 10;

/// Handles a data plane's lease requests. An empty request renews its leases.
pub(crate) async fn lease_credit(
    control: &Control,
    node: &NodeName,
    epoch: u64,
    asks: Vec<LeaseAsk>,
) -> Result<Vec<LeaseAnswer>, Error> {
    let now = control.now();
    let tx = control.store().begin().await?;
    store::nodes::lock(&tx, node, epoch, now).await?;
    if asks.is_empty() {
        store::leases::touch(&tx, (node, epoch), now).await?;
        tx.commit().await?;
        return Ok(Vec::new());
    }
    let mut asked = BTreeMap::new();
    for ask in &asks {
        // If two requests are for one lease, the first one counts.
        asked.entry(ask.payer).or_insert(ask);
    }
    // A deleted account gets no more credit, but its returned credit is accepted.
    let accounts = asked.keys().map(|payer| payer.account);
    let mut accounts = store::accounts::lock_all(&tx, accounts, now).await?;
    let mut leases = store::leases::of_node(&tx, node, asked.keys().copied()).await?;
    let records: Vec<_> = accounts.values().cloned().collect();
    let mut standings = control.publisher().standings_of(&tx, &records, now).await?;
    standings.extend(records.iter().filter_map(last_standing));
    let mut entries = Vec::new();
    let mut raised = Vec::new();
    let nodes = control.publisher().watching();
    let of_keys = client_key_lease::answer(&tx, (node, epoch), &asked, &mut leases, (nodes, now));
    let mut answers = of_keys.await?;
    for standing in standings {
        let (id, payer) = (standing.account, PayerId::from(standing.account));
        let (Some(record), Some(ask)) = (accounts.get_mut(&id), asked.get(&payer)) else {
            continue;
        };
        let held = leases.entry(payer);
        let held = held.or_insert_with(|| LeaseRecord::first(node, epoch, payer));
        entries.extend(adopt(record, held, epoch)?);
        let above = control.publisher().month_limit_above(id);
        let mut done = settle(record, held, ask, (&standing, above), nodes)?;
        if done.1 == Some(LeaseShortage::Month) && raise_limit(record, ask, (&standing, above)) {
            raised.push(id);
            done = settle(record, held, ask, (&standing, above), nodes)?;
        }
        let (entry, shortage) = done;
        entries.extend(entry);
        answers.push(LeaseAnswer {
            lease: held.lease,
            standing,
            shortage,
            elsewhere: record.leased.saturating_sub(held.lease.amount),
        });
    }
    store_raised(&tx, &mut accounts, &raised).await?;
    for record in accounts.values() {
        store::accounts::update_leased(&tx, record).await?;
    }
    store::leases::put(&tx, leases.values(), now).await?;
    store::ledger::post(&tx, now, &entries).await?;
    leave_out(&tx, &mut answers).await?;
    let short: Vec<_> = answers
        .iter()
        .filter(|answer| answer.shortage.is_some() && answer.elsewhere > Money::ZERO)
        .map(|answer| answer.lease.payer)
        .collect();
    store::leases::recall(&tx, short.iter().copied(), now).await?;
    tx.commit().await?;
    control.publisher().recall(short, Some(node));
    if !raised.is_empty() {
        // Not awaited: the data plane that would have to acknowledge is the one that asks.
        control
            .publisher()
            .refresh(control.store(), control.vault(), now)
            .await?;
    }
    Ok(answers)
}

/// Raises the monthly limit of an account with automatic quota, if the waiting call would exceed it. A call is admitted
/// only within the limit, so posted usage alone never reaches it.
fn raise_limit(
    record: &mut AccountRecord,
    ask: &LeaseAsk,
    (standing, above): (&PostedBalance, Option<Money>),
) -> bool {
    let view = &mut record.account;
    let Some(hard) = view.hard_limit else {
        return false;
    };
    let used = standing
        .month_used
        .saturating_add(record.leased)
        .saturating_add(ask.need);
    let raised = credit::auto_quota(hard, view.auto_quota, used, view.balance);
    let raised = raised.and_then(|risen| credit::risen_within(hard, risen, above));
    if let Some(hard) = raised {
        tracing::info!(account.id = view.id.get(), hard_limit = %hard, "the month's limit rose by itself");
        view.hard_limit = Some(hard);
    }
    raised.is_some()
}

/// Stores raised limits.
async fn store_raised(
    tx: &Tx,
    accounts: &mut BTreeMap<AccountId, AccountRecord>,
    raised: &[AccountId],
) -> Result<(), Error> {
    if raised.is_empty() {
        return Ok(());
    }
    let revision = store::revisions::bump(tx).await?.0;
    for id in raised {
        if let Some(record) = accounts.get_mut(id) {
            record.revision = revision;
            store::accounts::update_money(tx, record).await?;
        }
    }
    Ok(())
}

/// Takes back the lease of a node that lost its spool: it no longer knows its leases and cannot use them.
fn adopt(
    record: &mut AccountRecord,
    held: &mut LeaseRecord,
    epoch: u64,
) -> Result<Option<LedgerEntry>, Error> {
    if held.epoch == epoch {
        return Ok(None);
    }
    held.epoch = epoch;
    let amount = held.lease.amount;
    money::lease(record, held, amount.negated()).map(Some)
}

/// Grants or takes back the requested change, if the request has the current version of the lease.
fn settle(
    record: &mut AccountRecord,
    held: &mut LeaseRecord,
    ask: &LeaseAsk,
    (standing, above): (&PostedBalance, Option<Money>),
    nodes: usize,
) -> Result<(Option<LedgerEntry>, Option<LeaseShortage>), Error> {
    if ask.version != held.lease.version {
        return Ok((None, None));
    }
    if ask.change.is_negative() {
        let back = ask.change.max(held.lease.amount.negated());
        return Ok((Some(money::lease(record, held, back)?), None));
    }
    let room = Headroom {
        balance: standing.balance,
        month_left: credit::within(record.account.hard_limit, above)
            .map(|limit| limit.saturating_sub(standing.month_used)),
        leased: record.leased,
    };
    match lease::grant(&room, ask.change, ask.need, nodes) {
        Ok(granted) => Ok((Some(money::lease(record, held, granted)?), None)),
        Err(shortage) => Ok((None, Some(shortage))),
    }
}

/// Takes back the leases of nodes that were silent for too long.
pub(crate) async fn release_lost(control: &Control) -> Result<(), Error> {
    let now = control.now();
    let silence_ms = i64::try_from(control.config().lease_ms).unwrap_or(i64::MAX);
    let since = now.plus(silence_ms.saturating_add(GRACE_MS).saturating_neg());
    let lost = store::leases::untouched_since(control.store(), since).await?;
    let mut by_node: BTreeMap<NodeName, Vec<PayerId>> = BTreeMap::new();
    for (node, payer) in lost.into_iter().filter(|(node, _)| !is_later(node)) {
        by_node.entry(node).or_default().push(payer);
    }
    for (node, payers) in by_node {
        if !is_cover(&node) {
            tracing::warn!(
                node = node.as_str(),
                payers = payers.len(),
                "a data plane was not heard of; its leases are taken back"
            );
        }
        release(control, &node, &payers, now).await?;
    }
    Ok(())
}

async fn release(
    control: &Control,
    node: &NodeName,
    payers: &[PayerId],
    now: Millis,
) -> Result<(), Error> {
    let tx = control.store().begin().await?;
    let ids = payers.iter().map(|payer| payer.account);
    let mut accounts = store::accounts::lock_all(&tx, ids, now).await?;
    let mut keys = client_key_lease::locked(&tx, payers.iter().copied()).await?;
    let mut leases = store::leases::of_node(&tx, node, payers.iter().copied()).await?;
    let mut entries = Vec::new();
    for (payer, held) in &mut leases {
        let amount = held.lease.amount.negated();
        if let Some(id) = payer.client_key {
            if let Some(key) = keys.get_mut(&id) {
                client_key_lease::give(key, held, amount);
            }
        } else if let Some(record) = accounts.get_mut(&payer.account) {
            entries.push(money::lease(record, held, amount)?);
            store::accounts::update_leased(&tx, record).await?;
        }
    }
    store::client_keys::update_spend(&tx, keys.values()).await?;
    store::leases::put(&tx, leases.values(), now).await?;
    store::ledger::post(&tx, now, &entries).await?;
    tx.commit().await
}

/// A deleted account has nothing to spend.
fn last_standing(record: &AccountRecord) -> Option<PostedBalance> {
    record.deleted.map(|_| PostedBalance {
        account: record.account.id,
        balance: Money::ZERO,
        month_used: Money::ZERO,
    })
}

/// Releases what was reserved for calls in flight when rates rose, once no data plane has a lease left and so no such
/// call remains. Returns `None` while a lease is left.
pub(crate) async fn release_covers(
    tx: &Tx,
    record: &mut AccountRecord,
    now: Millis,
) -> Result<Option<Vec<LedgerEntry>>, Error> {
    let mut leases = store::leases::on_account(tx, record.account.id).await?;
    if leases.iter().any(|held| !is_cover(&held.node)) {
        return Ok(None);
    }
    let mut entries = Vec::new();
    for held in &mut leases {
        let amount = held.lease.amount;
        entries.push(money::lease(record, held, amount.negated())?);
    }
    store::leases::put(tx, &leases, now).await?;
    Ok(Some(entries))
}

/// Recalls the leases on a deleted account and waits a little, until all is back or calls reserve the rest.
pub(crate) async fn come_home(control: &Control, account: AccountId) -> Result<(), Error> {
    if !has_planes(control) {
        return Ok(());
    }
    let mut before = leased(control, account).await?;
    let mut still = 0;
    for _ in 0..RECALL_STEPS {
        if before == Money::ZERO || still >= STILL_STEPS {
            return Ok(());
        }
        control.publisher().recall([account], None);
        tokio::time::sleep(std::time::Duration::from_millis(RECALL_STEP_MS)).await;
        let now = leased(control, account).await?;
        still = if now == before { still + 1 } else { 0 };
        before = now;
    }
    Ok(())
}

/// Recalls what is on lease of a key's limit beyond the limit, and waits a little for it. What in-flight calls reserve
/// stays on lease.
pub(crate) async fn bring_back_of_key(
    control: &Control,
    account: AccountId,
    key: ClientKeyId,
) -> Result<(), Error> {
    let payer = PayerId {
        account,
        client_key: Some(key),
    };
    let tx = control.store().begin().await?;
    store::leases::recall(&tx, [payer], control.now()).await?;
    tx.commit().await?;
    for _ in 0..RECALL_STEPS {
        let found = store::client_keys::find(control.store(), account, key).await?;
        if found.is_none_or(|found| client_key_lease::is_within(&found)) {
            return Ok(());
        }
        control.publisher().recall([payer], None);
        tokio::time::sleep(std::time::Duration::from_millis(RECALL_STEP_MS)).await;
    }
    Ok(())
}

/// Whether there may be data planes that can return something: those of other replicas are not known here.
pub(crate) fn has_planes(control: &Control) -> bool {
    control.publisher().watching() > 0 || control.store().is_shared()
}

async fn leased(control: &Control, account: AccountId) -> Result<Money, Error> {
    let found = store::accounts::childless(control.store(), account, control.now()).await?;
    Ok(found.map(|record| record.leased).unwrap_or_default())
}

/// Recalls an account's credit on lease and waits a little. Returns whether any came back.
pub(crate) async fn bring_back(control: &Control, account: AccountId) -> Result<bool, Error> {
    let before = leased(control, account).await?;
    if before == Money::ZERO {
        return Ok(false);
    }
    let tx = control.store().begin().await?;
    store::leases::recall(&tx, [account], control.now()).await?;
    tx.commit().await?;
    for _ in 0..RECALL_STEPS {
        control.publisher().recall([account], None);
        tokio::time::sleep(std::time::Duration::from_millis(RECALL_STEP_MS)).await;
        if leased(control, account).await? < before {
            return Ok(true);
        }
    }
    Ok(false)
}
