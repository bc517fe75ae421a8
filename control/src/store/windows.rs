//! What of each window was granted to data planes.

use proxyxai_contract::{
    clock::Millis,
    window::{Window, WindowKey},
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _, QuerySelect as _,
    sea_query::OnConflict,
};

use super::{Db as _, Tx, entity::window_grant as row, one_row, signed, unsigned};
use crate::Error;

/// Units of one window that are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Granted to data planes.
    pub(crate) granted: u64,
    /// Spent beyond what was granted.
    pub(crate) overspent: u64,
}

impl Taken {
    /// Both together.
    pub(crate) const fn total(self) -> u64 {
        self.granted.saturating_add(self.overspent)
    }
}

/// Locks a window and reads what is gone of it.
pub(crate) async fn lock(tx: &Tx, key: &WindowKey) -> Result<Taken, Error> {
    let fresh = row::ActiveModel {
        account_id: Set(key.account.get()),
        window: Set(key.window.name().to_owned()),
        model: Set(key.model.clone()),
        start_at: Set(key.start.0),
        granted: Set(0),
        overspent: Set(0),
    };
    row::Entity::insert(fresh)
        .on_conflict(OnConflict::new().do_nothing().to_owned())
        .exec_without_returning(tx.handle())
        .await?;
    let mut query = row::Entity::find_by_id(id(key));
    if tx.locks_rows() {
        query = query.lock_exclusive();
    }
    let found = query.one(tx.handle()).await?;
    let found = found.ok_or_else(|| Error::internal("a window vanished before it was read"))?;
    Ok(Taken {
        granted: unsigned(found.granted),
        overspent: unsigned(found.overspent),
    })
}

/// Stores what is gone of a window that is locked.
pub(crate) async fn set(tx: &Tx, key: &WindowKey, taken: Taken) -> Result<(), Error> {
    let values = row::ActiveModel {
        granted: Set(signed(taken.granted)),
        overspent: Set(signed(taken.overspent)),
        ..Default::default()
    };
    let (account, window, model, start) = id(key);
    let update = row::Entity::update_many()
        .set(values)
        .filter(row::Column::AccountId.eq(account))
        .filter(row::Column::Window.eq(window))
        .filter(row::Column::Model.eq(model))
        .filter(row::Column::StartAt.eq(start));
    let written = update.exec(tx.handle()).await?;
    one_row(&written)
}

/// Forgets windows of these kinds that began before a moment.
pub(crate) async fn prune(tx: &Tx, windows: &[Window], before: Millis) -> Result<u64, Error> {
    let these = row::Entity::delete_many()
        .filter(row::Column::StartAt.lt(before.0))
        .filter(row::Column::Window.is_in(windows.iter().map(|window| window.name())));
    let gone = these.exec(tx.handle()).await?;
    Ok(gone.rows_affected)
}

fn id(key: &WindowKey) -> (i64, String, String, i64) {
    (
        key.account.get(),
        key.window.name().to_owned(),
        key.model.clone(),
        key.start.0,
    )
}
