//! Leases of credit: what each data plane may spend of an account without asking.

use std::collections::{BTreeMap, BTreeSet};

use proxyxai_contract::{
    clock::Millis,
    id::{AccountId, NodeName},
    lease::{LeasedCredit, PayerId},
    money::Money,
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, Condition, ConnectionTrait as _, EntityTrait as _,
    QueryFilter as _, QueryResult, QuerySelect as _, Value, sea_query::IntoCondition as _,
};

use super::{
    Db, ROWS_PER_INSERT, Tx,
    client_keys::{key_column, key_of_column},
    entity::lease,
    in_batches, is_among, number,
    replicas::{Notice, notify},
    signed, statement, unsigned,
};
use crate::{Error, model::NodeLeases};

/// At most this many leases are processed at a time.
const ROWS_MAX: u64 = 1000;

/// A lease with its node and spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeaseRecord {
    /// The lease as the data plane knows it.
    pub(crate) lease: LeasedCredit,
    /// The node that holds it.
    pub(crate) node: NodeName,
    /// The spool whose usage is posted against it.
    pub(crate) epoch: u64,
}

impl LeaseRecord {
    /// A lease before the first grant.
    pub(crate) fn first(node: &NodeName, epoch: u64, payer: PayerId) -> Self {
        Self {
            lease: LeasedCredit {
                payer,
                version: 0,
                amount: Money::ZERO,
            },
            node: node.clone(),
            epoch,
        }
    }
}

/// A node's leases on these accounts and further keys.
pub(crate) async fn of_node(
    db: &impl Db,
    node: &NodeName,
    payers: impl IntoIterator<Item = impl Into<PayerId>>,
) -> Result<BTreeMap<PayerId, LeaseRecord>, Error> {
    let payers: BTreeSet<PayerId> = payers.into_iter().map(Into::into).collect();
    let ids: BTreeSet<i64> = payers.iter().map(|payer| payer.account.get()).collect();
    let ids: Vec<i64> = ids.into_iter().collect();
    let only_accounts = payers.iter().all(|payer| payer.client_key.is_none());
    let mut found = BTreeMap::new();
    for chunk in ids.chunks(ROWS_PER_INSERT) {
        let mut query = lease::Entity::find()
            .filter(is_among(db, lease::Column::AccountId, chunk.to_vec()))
            .filter(lease::Column::Node.eq(node.as_str()));
        if only_accounts {
            query = query.filter(lease::Column::ClientKeyId.eq(0));
        }
        found.extend(by_payer(query.all(db.handle()).await?)?);
    }
    found.retain(|payer, _| payers.contains(payer));
    Ok(found)
}

/// All leases of a node.
pub(crate) async fn all_of_node(db: &impl Db, node: &NodeName) -> Result<Vec<LeaseRecord>, Error> {
    let rows = lease::Entity::find()
        .filter(lease::Column::Node.eq(node.as_str()))
        .all(db.handle())
        .await?;
    rows.into_iter().map(record).collect()
}

/// All leases on an account's credit with an amount left.
pub(crate) async fn on_account(
    db: &impl Db,
    account: AccountId,
) -> Result<Vec<LeaseRecord>, Error> {
    let rows = lease::Entity::find()
        .filter(lease::Column::AccountId.eq(account.get()))
        .filter(lease::Column::ClientKeyId.eq(0))
        .filter(lease::Column::Amount.gt(0))
        .all(db.handle())
        .await?;
    rows.into_iter().map(record).collect()
}

/// What each node may spend without asking.
pub(crate) async fn by_node(db: &impl Db) -> Result<BTreeMap<String, NodeLeases>, Error> {
    let sql = "SELECT node, COUNT(*) AS accounts, CAST(SUM(amount) AS BIGINT) AS amount FROM lease \
        WHERE amount > 0 AND client_key_id = 0 GROUP BY node";
    let rows = db.handle().query_all_raw(statement(db, sql, []));
    let read = |row: &QueryResult| {
        let leased = NodeLeases {
            accounts: number(row, "accounts").map(unsigned)?,
            amount: Money::from_nanos(number(row, "amount")?),
        };
        Ok((row.try_get("", "node")?, leased))
    };
    rows.await?.iter().map(read).collect()
}

/// Leases with an amount left that were not renewed since, with their nodes.
pub(crate) async fn untouched_since(
    db: &impl Db,
    since: Millis,
) -> Result<Vec<(NodeName, PayerId)>, Error> {
    let rows = lease::Entity::find()
        .filter(lease::Column::Amount.gt(0))
        .filter(lease::Column::TouchedAt.lt(since.0))
        .limit(ROWS_MAX)
        .all(db.handle())
        .await?;
    let pair = |row| record(row).map(|held| (held.node, held.lease.payer));
    rows.into_iter().map(pair).collect()
}

/// Stores leases of one node.
pub(crate) async fn put<'a>(
    tx: &Tx,
    leases: impl IntoIterator<Item = &'a LeaseRecord>,
    now: Millis,
) -> Result<(), Error> {
    let rows = leases.into_iter().map(|held| row(held, now));
    let sql = |rows: &str| {
        format!(
            "INSERT INTO lease (account_id, client_key_id, node, epoch, amount, version, touched_at, recalled_at) {rows} \
             ON CONFLICT (account_id, client_key_id, node) DO UPDATE SET epoch = excluded.epoch, amount = excluded.amount, \
             version = excluded.version, touched_at = excluded.touched_at"
        )
    };
    in_batches(tx, rows.collect(), sql).await.map(drop)
}

/// Renews the leases of a node that reports. Leases of a spool that it has lost are not renewed and expire.
pub(crate) async fn touch(
    tx: &Tx,
    (node, epoch): (&NodeName, u64),
    now: Millis,
) -> Result<(), Error> {
    lease::Entity::update_many()
        .set(lease::ActiveModel {
            touched_at: Set(now.0),
            ..Default::default()
        })
        .filter(lease::Column::Node.eq(node.as_str()))
        .filter(lease::Column::Epoch.eq(signed(epoch)))
        .filter(lease::Column::Amount.gt(0))
        .exec(tx.handle())
        .await
        .map(drop)
        .map_err(Error::from)
}

/// Records for the other replicas that unused credit of these payers is recalled.
pub(crate) async fn recall(
    tx: &Tx,
    payers: impl IntoIterator<Item = impl Into<PayerId>>,
    now: Millis,
) -> Result<(), Error> {
    let payers: Vec<PayerId> = payers.into_iter().map(Into::into).collect();
    let (accounts, keys): (Vec<PayerId>, Vec<PayerId>) = payers
        .into_iter()
        .partition(|payer| payer.client_key.is_none());
    let mut wanted = Vec::new();
    if !accounts.is_empty() {
        let ids = accounts.iter().map(|payer| payer.account.get());
        let of_account = lease::Column::ClientKeyId.eq(0);
        let these = lease::Column::AccountId.is_in(ids);
        wanted.push(Condition::all().add(these).add(of_account));
    }
    if !keys.is_empty() {
        let ids = keys.iter().map(|payer| key_column(payer.client_key));
        wanted.push(lease::Column::ClientKeyId.is_in(ids).into_condition());
    }
    for these in wanted {
        lease::Entity::update_many()
            .set(lease::ActiveModel {
                recalled_at: Set(now.0),
                ..Default::default()
            })
            .filter(these)
            .filter(lease::Column::Amount.gt(0))
            .exec(tx.handle())
            .await?;
    }
    notify(tx, &Notice::Changed).await
}

/// Payers whose unused credit was recalled since.
pub(crate) async fn recalled_since(db: &impl Db, since: Millis) -> Result<Vec<PayerId>, Error> {
    let ids: Vec<(i64, i64)> = lease::Entity::find()
        .select_only()
        .columns([lease::Column::AccountId, lease::Column::ClientKeyId])
        .distinct()
        .filter(lease::Column::RecalledAt.gt(since.0))
        .filter(lease::Column::Amount.gt(0))
        .limit(ROWS_MAX)
        .into_tuple()
        .all(db.handle())
        .await?;
    ids.into_iter()
        .map(|(account, key)| payer(account, key))
        .collect()
}

fn payer(account: i64, client_key: i64) -> Result<PayerId, Error> {
    Ok(PayerId {
        account: AccountId::new(account)?,
        client_key: key_of_column(client_key)?,
    })
}

fn row(held: &LeaseRecord, now: Millis) -> [Value; 8] {
    let LeaseRecord { lease, node, epoch } = held;
    [
        lease.payer.account.get().into(),
        key_column(lease.payer.client_key).into(),
        node.as_str().into(),
        epoch.cast_signed().into(),
        lease.amount.nanos().into(),
        signed(lease.version).into(),
        now.0.into(),
        0i64.into(),
    ]
}

fn record(row: lease::Model) -> Result<LeaseRecord, Error> {
    let lease::Model {
        account_id,
        client_key_id,
        node,
        epoch,
        amount,
        version,
        touched_at: _,
        recalled_at: _,
    } = row;
    Ok(LeaseRecord {
        lease: LeasedCredit {
            payer: payer(account_id, client_key_id)?,
            version: unsigned(version),
            amount: Money::from_nanos(amount),
        },
        node: NodeName::new(&node)?,
        epoch: epoch.cast_unsigned(),
    })
}

fn by_payer(rows: Vec<lease::Model>) -> Result<BTreeMap<PayerId, LeaseRecord>, Error> {
    rows.into_iter()
        .map(|row| record(row).map(|held| (held.lease.payer, held)))
        .collect()
}
