//! Sealed copies of a generated master key, for a start without `master.key`.

use proxyxai_contract::client_key::KeyHash;
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _, sea_query::OnConflict,
};

use super::{Db, Tx, entity::master_copy};
use crate::Error;

/// Whose key opens a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    /// The root key that `INIT_USERS` set at the latest start.
    InitUsers,
    /// Root's current key.
    Root,
}

/// A stored copy.
#[derive(Debug, Clone)]
pub(crate) struct MasterCopy {
    /// `None` if a later version wrote the slot.
    pub(crate) slot: Option<Slot>,
    /// The hash of the key that opens it, made with the very master key that is sealed: useless to anyone else.
    pub(crate) key_hash: Vec<u8>,
    pub(crate) sealed: Vec<u8>,
}

// === impl Slot ===

impl Slot {
    const fn name(self) -> &'static str {
        match self {
            Self::InitUsers => "init_users",
            Self::Root => "root",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Self::InitUsers, Self::Root]
            .into_iter()
            .find(|slot| slot.name() == name)
    }
}

/// All copies.
pub(crate) async fn all(db: &impl Db) -> Result<Vec<MasterCopy>, Error> {
    let rows = master_copy::Entity::find().all(db.handle()).await?;
    let read = |row: master_copy::Model| MasterCopy {
        slot: Slot::named(&row.slot),
        key_hash: row.key_hash,
        sealed: row.sealed,
    };
    Ok(rows.into_iter().map(read).collect())
}

/// Stores a copy in a slot and replaces the one there.
pub(crate) async fn put(
    tx: &Tx,
    slot: Slot,
    key_hash: KeyHash,
    sealed: Vec<u8>,
) -> Result<(), Error> {
    let row = master_copy::ActiveModel {
        slot: Set(slot.name().to_owned()),
        key_hash: Set(key_hash.0.to_vec()),
        sealed: Set(sealed),
    };
    let replace = OnConflict::column(master_copy::Column::Slot)
        .update_columns([master_copy::Column::KeyHash, master_copy::Column::Sealed])
        .to_owned();
    master_copy::Entity::insert(row)
        .on_conflict(replace)
        .exec_without_returning(tx.handle())
        .await
        .map(drop)
        .map_err(Error::from)
}

/// Empties a slot.
pub(crate) async fn remove(tx: &Tx, slot: Slot) -> Result<(), Error> {
    master_copy::Entity::delete_many()
        .filter(master_copy::Column::Slot.eq(slot.name()))
        .exec(tx.handle())
        .await
        .map(drop)
        .map_err(Error::from)
}

/// Empties all slots.
pub(crate) async fn remove_all(tx: &Tx) -> Result<(), Error> {
    master_copy::Entity::delete_many()
        .exec(tx.handle())
        .await
        .map(drop)
        .map_err(Error::from)
}
