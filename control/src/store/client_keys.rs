//! Client keys that accounts have beside their first one. A change needs the lock of the account, and what is spent of
//! a key's limit is written together with the account's charge.

use std::collections::{BTreeMap, BTreeSet};

use proxyxai_contract::{
    Invalid,
    access::AllowList,
    client_key::KeyHash,
    clock::Millis,
    id::{AccountId, ClientKeyId},
    money::Money,
    snapshot::FurtherKey,
};
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait as _, EntityTrait as _, PaginatorTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, Select, Value,
};

use super::{
    Db, ROWS_PER_INSERT, Tx, all_rows, corrupt, entity::client_key, in_batches, is_among, one_row,
    signed, unsigned, write_error,
};
use crate::{Error, domain::name, model::ClientKeyInfo};

/// A further client key, with the fields that are not shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClientKeyRecord {
    /// The fields that may be shown.
    pub(crate) key: ClientKeyInfo,
    /// The hash of its secret.
    pub(crate) key_hash: KeyHash,
    /// The part of its limit that data planes have on lease.
    pub(crate) leased: Money,
    /// When it was deleted. Its in-flight calls are still posted.
    pub(crate) deleted: Option<Millis>,
}

impl ClientKeyRecord {
    /// Whether no call was made with it, and no in-flight call reserves some of its limit.
    pub(crate) fn was_never_used(&self) -> bool {
        let view = &self.key;
        view.used.is_none() && view.credit_used == Money::ZERO && self.leased == Money::ZERO
    }
}

/// A key in a column that is not null: 0 for none.
pub(super) fn key_column(key: Option<ClientKeyId>) -> i64 {
    key.map_or(0, ClientKeyId::get)
}

/// Reads what `key_column` wrote.
pub(super) fn key_of_column(id: i64) -> Result<Option<ClientKeyId>, Invalid> {
    let given = Some(id).filter(|id| *id != 0).map(ClientKeyId::new);
    given.transpose()
}

/// The living keys of an account, newest first.
pub(crate) async fn of_account(
    db: &impl Db,
    account: AccountId,
) -> Result<Vec<ClientKeyRecord>, Error> {
    let query = living()
        .filter(client_key::Column::AccountId.eq(account.get()))
        .order_by_desc(client_key::Column::Id);
    records(db, query).await
}

/// How many living keys an account has.
pub(crate) async fn count(db: &impl Db, account: AccountId) -> Result<u64, Error> {
    let query = living().filter(client_key::Column::AccountId.eq(account.get()));
    query.count(db.handle()).await.map_err(Error::from)
}

/// Deletes the row of a key.
pub(crate) async fn remove(tx: &Tx, key: ClientKeyId) -> Result<(), Error> {
    let these = client_key::Entity::delete_by_id(key.get());
    these.exec(tx.handle()).await?;
    Ok(())
}

/// Deletes the rows of keys that were deleted before a moment and have nothing on lease.
pub(crate) async fn prune(tx: &Tx, before: Millis) -> Result<u64, Error> {
    let these = client_key::Entity::delete_many()
        .filter(client_key::Column::DeletedAt.lt(before.0))
        .filter(client_key::Column::Leased.eq(0));
    let gone = these.exec(tx.handle()).await?;
    Ok(gone.rows_affected)
}

/// One of an account's living keys.
pub(crate) async fn find(
    db: &impl Db,
    account: AccountId,
    id: ClientKeyId,
) -> Result<Option<ClientKeyRecord>, Error> {
    let query = living()
        .filter(client_key::Column::Id.eq(id.get()))
        .filter(client_key::Column::AccountId.eq(account.get()));
    records(db, query).await.map(|mut found| found.pop())
}

/// The living key whose secret has this hash.
pub(crate) async fn by_hash(db: &impl Db, hash: KeyHash) -> Result<Option<ClientKeyRecord>, Error> {
    let query = living().filter(client_key::Column::KeyHash.eq(hash.0.to_vec()));
    records(db, query).await.map(|mut found| found.pop())
}

/// What data planes get to know of the living keys of these accounts.
pub(crate) async fn known(
    db: &impl Db,
    accounts: &[AccountId],
) -> Result<BTreeMap<AccountId, Vec<FurtherKey>>, Error> {
    let mut found = Vec::new();
    for chunk in accounts.chunks(ROWS_PER_INSERT) {
        let ids = chunk.iter().map(|id| id.get()).collect();
        let these = living()
            .filter(is_among(db, client_key::Column::AccountId, ids))
            .order_by_asc(client_key::Column::Id);
        found.extend(records(db, these).await?);
    }
    let mut known: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for record in found {
        let account = record.key.account;
        known.entry(account).or_default().push(record.as_known());
    }
    Ok(known)
}

/// Locks keys by id, also deleted ones, to change what is spent of them. The locks of their accounts come first.
pub(crate) async fn lock(
    tx: &Tx,
    ids: impl IntoIterator<Item = ClientKeyId>,
) -> Result<BTreeMap<ClientKeyId, ClientKeyRecord>, Error> {
    let ids: BTreeSet<i64> = ids.into_iter().map(ClientKeyId::get).collect();
    let ids: Vec<i64> = ids.into_iter().collect();
    let mut locked = BTreeMap::new();
    for chunk in ids.chunks(ROWS_PER_INSERT) {
        let mut query = client_key::Entity::find()
            .filter(is_among(tx, client_key::Column::Id, chunk.to_vec()))
            .order_by_asc(client_key::Column::Id);
        if tx.locks_rows() {
            query = query.lock_exclusive();
        }
        let found = records(tx, query).await?.into_iter();
        locked.extend(found.map(|record| (record.key.id, record)));
    }
    Ok(locked)
}

/// Names of keys, also of deleted ones.
pub(crate) async fn names(db: &impl Db, ids: Vec<i64>) -> Result<BTreeMap<i64, String>, Error> {
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let names: Vec<(i64, String)> = client_key::Entity::find()
        .select_only()
        .columns([client_key::Column::Id, client_key::Column::Name])
        .filter(is_among(db, client_key::Column::Id, ids))
        .into_tuple()
        .all(db.handle())
        .await?;
    Ok(names.into_iter().collect())
}

/// Stores a new key, whose id the database chooses.
pub(crate) async fn insert(tx: &Tx, record: &mut ClientKeyRecord) -> Result<(), Error> {
    let mut row = to_row(record);
    row.id = NotSet;
    let insert = client_key::Entity::insert(row).exec(tx.handle());
    let inserted = Box::pin(insert).await.map_err(write_error)?;
    record.key.id = ClientKeyId::new(inserted.last_insert_id)?;
    Ok(())
}

/// Stores every column of a key.
pub(crate) async fn update(tx: &Tx, record: &ClientKeyRecord) -> Result<(), Error> {
    let mut row = to_row(record);
    row.id = NotSet;
    let update = client_key::Entity::update_many()
        .set(row)
        .filter(client_key::Column::Id.eq(record.key.id.get()));
    let written = Box::pin(update.exec(tx.handle()));
    written
        .await
        .map_err(write_error)
        .and_then(|written| one_row(&written))
}

/// Stores the columns that calls change.
pub(crate) async fn update_spend(
    tx: &Tx,
    records: impl Iterator<Item = &ClientKeyRecord>,
) -> Result<(), Error> {
    let rows: Vec<[Value; 5]> = records
        .map(|record| {
            let view = &record.key;
            [
                view.id.get().into(),
                view.credit_used.nanos().into(),
                record.leased.nanos().into(),
                signed(view.requests).into(),
                view.used.map(|at| at.0).into(),
            ]
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let (count, sql) = (rows.len(), |rows: &str| {
        format!(
            "UPDATE client_key SET credit_used = new.column2, leased = new.column3, requests = new.column4, \
             used_at = new.column5 FROM ({rows}) AS new WHERE client_key.id = new.column1"
        )
    });
    all_rows(in_batches(tx, rows, sql).await?, count)
}

/// Deletes the keys of an account that is deleted.
pub(crate) async fn delete_of(tx: &Tx, account: AccountId, now: Millis) -> Result<(), Error> {
    client_key::Entity::update_many()
        .set(client_key::ActiveModel {
            deleted_at: Set(Some(now.0)),
            ..Default::default()
        })
        .filter(client_key::Column::AccountId.eq(account.get()))
        .filter(client_key::Column::DeletedAt.is_null())
        .exec(tx.handle())
        .await
        .map(drop)
        .map_err(Error::from)
}

fn living() -> Select<client_key::Entity> {
    client_key::Entity::find().filter(client_key::Column::DeletedAt.is_null())
}

/// Reads rows. A row that cannot be read is skipped, so that it does not block the others.
async fn records(
    db: &impl Db,
    query: Select<client_key::Entity>,
) -> Result<Vec<ClientKeyRecord>, Error> {
    let rows = query.all(db.handle()).await?;
    Ok(rows.into_iter().filter_map(readable).collect())
}

fn readable(row: client_key::Model) -> Option<ClientKeyRecord> {
    let id = row.id;
    read(row)
        .map_err(|error| corrupt("client key", id, error))
        .inspect_err(
            |error| tracing::error!(client_key.id = id, error = ?error, "a client key is left out"),
        )
        .ok()
}

fn read(row: client_key::Model) -> Result<ClientKeyRecord, Invalid> {
    let hash = <[u8; 32]>::try_from(row.key_hash);
    Ok(ClientKeyRecord {
        key: ClientKeyInfo {
            id: ClientKeyId::new(row.id)?,
            account: AccountId::new(row.account_id)?,
            name: row.name,
            partial_key: row.partial_key,
            enabled: row.enabled,
            expires: row.expires_at.map(Millis),
            credit_limit: row.credit_limit.map(Money::from_nanos),
            rpm: row.rpm.map(unsigned),
            models: AllowList::parse(&row.allow_models)?,
            credit_used: Money::from_nanos(row.credit_used),
            requests: unsigned(row.requests),
            used: row.used_at.map(Millis),
            created: Millis(row.created_at),
            updated: Millis(row.updated_at),
        },
        key_hash: hash
            .map(KeyHash)
            .map_err(|_| Invalid::new("key_hash", "must be 32 bytes"))?,
        leased: Money::from_nanos(row.leased),
        deleted: row.deleted_at.map(Millis),
    })
}

fn to_row(record: &ClientKeyRecord) -> client_key::ActiveModel {
    let view = &record.key;
    client_key::ActiveModel {
        id: Set(view.id.get()),
        account_id: Set(view.account.get()),
        name: Set(view.name.clone()),
        name_folded: Set(name::folded(&view.name)),
        key_hash: Set(record.key_hash.0.to_vec()),
        partial_key: Set(view.partial_key.clone()),
        enabled: Set(view.enabled),
        expires_at: Set(view.expires.map(|at| at.0)),
        credit_limit: Set(view.credit_limit.map(Money::nanos)),
        rpm: Set(view.rpm.map(signed)),
        allow_models: Set(view.models.text()),
        credit_used: Set(view.credit_used.nanos()),
        leased: Set(record.leased.nanos()),
        requests: Set(signed(view.requests)),
        used_at: Set(view.used.map(|at| at.0)),
        created_at: Set(view.created.0),
        updated_at: Set(view.updated.0),
        deleted_at: Set(record.deleted.map(|at| at.0)),
    }
}

// === impl ClientKeyRecord ===

impl ClientKeyRecord {
    fn as_known(&self) -> FurtherKey {
        let view = &self.key;
        FurtherKey {
            id: view.id,
            name: view.name.clone(),
            key_hash: self.key_hash,
            enabled: view.enabled,
            expires: view.expires,
            credit_limit: view.credit_limit,
            rpm: view.rpm,
            models: view.models.clone(),
        }
    }
}
