//! Upstream keys.

use proxyxai_contract::id::{KeyId, Revision};
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, EntityTrait as _, PaginatorTrait as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _,
};

use super::{Db, KeyRecord, Tx, entity::upstream_key, signed, write_error};
use crate::Error;

/// A living key.
pub(crate) async fn find(db: &impl Db, id: KeyId) -> Result<Option<KeyRecord>, Error> {
    let mut query = upstream_key::Entity::find_by_id(id.get())
        .filter(upstream_key::Column::DeletedAt.is_null());
    if db.locks_rows() {
        query = query.lock_exclusive();
    }
    let row = query.one(db.handle()).await?;
    row.map(KeyRecord::from_row).transpose()
}

/// All living keys by ascending id.
pub(crate) async fn living(db: &impl Db) -> Result<Vec<KeyRecord>, Error> {
    let query = upstream_key::Entity::find()
        .filter(upstream_key::Column::DeletedAt.is_null())
        .order_by_asc(upstream_key::Column::Id);
    let rows = query.all(db.handle()).await?;
    Ok(readable(rows))
}

/// All keys that ever existed, deleted ones included.
pub(crate) async fn all(db: &impl Db) -> Result<Vec<KeyRecord>, Error> {
    let query = upstream_key::Entity::find();
    Ok(readable(query.all(db.handle()).await?))
}

/// Keys that changed after a revision, deleted ones included.
pub(crate) async fn changed_since(db: &impl Db, since: Revision) -> Result<Vec<KeyRecord>, Error> {
    let query =
        upstream_key::Entity::find().filter(upstream_key::Column::Revision.gt(signed(since.0)));
    let rows = query.all(db.handle()).await?;
    Ok(readable(rows))
}

/// How many living keys are in rotation.
pub(crate) async fn count_enabled(db: &impl Db) -> Result<u64, Error> {
    upstream_key::Entity::find()
        .filter(upstream_key::Column::DeletedAt.is_null())
        .filter(upstream_key::Column::Enabled.eq(true))
        .count(db.handle())
        .await
        .map_err(Error::from)
}

/// Whether this secret is stored for the provider, optionally also by a deleted key.
pub(crate) async fn knows(
    db: &impl Db,
    fingerprint: &[u8],
    provider: &str,
    deleted_too: bool,
) -> Result<Option<KeyId>, Error> {
    let mut query = upstream_key::Entity::find()
        .filter(upstream_key::Column::Fingerprint.eq(fingerprint.to_vec()))
        .filter(upstream_key::Column::Provider.eq(provider));
    if !deleted_too {
        query = query.filter(upstream_key::Column::DeletedAt.is_null());
    }
    let row = query.one(db.handle()).await?;
    row.map(|row| KeyId::new(row.id))
        .transpose()
        .map_err(Error::from)
}

/// Stores a new key and returns its id; the id in the record is ignored.
pub(crate) async fn insert(tx: &Tx, record: &KeyRecord) -> Result<KeyId, Error> {
    let inserted = upstream_key::Entity::insert(record.to_row()?)
        .exec(tx.handle())
        .await
        .map_err(write_error)?;
    KeyId::new(inserted.last_insert_id).map_err(Error::from)
}

pub(crate) async fn update(tx: &Tx, record: &KeyRecord) -> Result<(), Error> {
    let row = upstream_key::ActiveModel {
        id: Set(record.key.id.get()),
        ..record.to_row()?
    };
    upstream_key::Entity::update(row)
        .exec(tx.handle())
        .await
        .map(drop)
        .map_err(write_error)
}

/// Skips rows that cannot be read, so that they do not block the others.
fn readable(rows: Vec<upstream_key::Model>) -> Vec<KeyRecord> {
    let read = |row: upstream_key::Model| {
        let id = row.id;
        KeyRecord::from_row(row)
            .inspect_err(
                |error| tracing::error!(key.id = id, error = ?error, "an upstream key is left out"),
            )
            .ok()
    };
    rows.into_iter().filter_map(read).collect()
}
