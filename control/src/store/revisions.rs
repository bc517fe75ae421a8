//! The one row that counts changes of the configuration, and the sentinel of the master key in it.

use proxyxai_contract::id::Revision;
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait as _, EntityTrait as _, QueryFilter as _,
    sea_query::{Expr, ExprTrait as _, OnConflict},
};

use super::{
    Db, Tx,
    entity::revision,
    replicas::{Notice, notify},
    unsigned,
};
use crate::Error;

const ROW: i64 = 1;
/// Exists for a moment only, see `put_probe`.
const PROBE_ROW: i64 = 2;
const PROBE_BYTES: usize = 64 * 1024;

/// The state of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConfigRevision {
    /// Its revision.
    pub(crate) revision: Revision,
    /// How often the key pool was reloaded.
    pub(crate) reloads: u64,
}

/// Reads the current state.
pub(crate) async fn current(db: &impl Db) -> Result<ConfigRevision, Error> {
    let row = row(db).await?;
    Ok(ConfigRevision {
        revision: Revision(unsigned(row.current)),
        reloads: unsigned(row.reload_count),
    })
}

/// Counts a change and locks the row until the transaction ends, so that revisions become visible in order. Called
/// after all other locks are taken.
pub(crate) async fn bump(tx: &Tx) -> Result<Revision, Error> {
    bump_by(tx, 0).await.map(|standing| standing.revision)
}

/// Counts a reload of the key pool.
pub(crate) async fn bump_reload(tx: &Tx) -> Result<ConfigRevision, Error> {
    bump_by(tx, 1).await
}

async fn bump_by(tx: &Tx, reloads: i64) -> Result<ConfigRevision, Error> {
    revision::Entity::update_many()
        .col_expr(
            revision::Column::Current,
            Expr::col(revision::Column::Current).add(1),
        )
        .col_expr(
            revision::Column::ReloadCount,
            Expr::col(revision::Column::ReloadCount).add(reloads),
        )
        .filter(revision::Column::Id.eq(ROW))
        .exec(tx.handle())
        .await?;
    notify(tx, &Notice::Changed).await?;
    current(tx).await
}

/// The stored sentinel.
pub(crate) async fn sentinel(db: &impl Db) -> Result<Option<Vec<u8>>, Error> {
    row(db).await.map(|row| row.sentinel)
}

/// Stores the sentinel.
pub(crate) async fn set_sentinel(tx: &Tx, sealed: Vec<u8>) -> Result<(), Error> {
    let row = revision::ActiveModel {
        id: Set(ROW),
        sentinel: Set(Some(sealed)),
        ..Default::default()
    };
    revision::Entity::update(row)
        .exec(tx.handle())
        .await
        .map(drop)
        .map_err(Error::from)
}

/// Writes a row to find out whether the storage accepts writes again. It is as long as a larger change, since a full
/// disk may have room for a short one, and random, since a server compresses what is not.
pub(crate) async fn put_probe(tx: &Tx) -> Result<(), Error> {
    let mut bytes = vec![0; PROBE_BYTES];
    getrandom::fill(&mut bytes).map_err(Error::internal)?;
    let row = revision::ActiveModel {
        id: Set(PROBE_ROW),
        current: Set(0),
        reload_count: Set(0),
        sentinel: Set(Some(bytes)),
    };
    // A process may have died between this and `take_probe`, or another may be probing.
    let replace = OnConflict::column(revision::Column::Id)
        .update_column(revision::Column::Sentinel)
        .to_owned();
    let insert = revision::Entity::insert(row).on_conflict(replace);
    insert.exec_without_returning(tx.handle()).await?;
    Ok(())
}

/// Removes the probe row.
pub(crate) async fn take_probe(tx: &Tx) -> Result<(), Error> {
    let delete = revision::Entity::delete_by_id(PROBE_ROW);
    delete.exec(tx.handle()).await?;
    Ok(())
}

async fn row(db: &impl Db) -> Result<revision::Model, Error> {
    let row = revision::Entity::find_by_id(ROW).one(db.handle()).await?;
    row.ok_or_else(|| Error::internal("the revision row is missing"))
}
