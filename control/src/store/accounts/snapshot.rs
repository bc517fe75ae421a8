//! The accounts that data planes know: all of them in pages, and those that changed.

use proxyxai_contract::{clock::Millis, id::Revision};
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};

use super::{records, with_cards};
use crate::{
    Error,
    store::{AccountRecord, Db, entity::account, signed},
};

/// Few enough that their rows take some megabytes, and enough that statements cost next to nothing.
const SNAPSHOT_PAGE: u64 = 5_000;

/// Accounts of a snapshot: living ones, and deleted ones that living ones inherit from. A page of those after an id, 0
/// at first, and after which id the next page begins; `None` if there is none.
pub(crate) async fn snapshot_page(
    db: &impl Db,
    after: i64,
    now: Millis,
) -> Result<(Vec<AccountRecord>, Option<i64>), Error> {
    let page = account::Entity::find()
        .filter(account::Column::Gone.eq(false))
        .filter(account::Column::Id.gt(after))
        .order_by_asc(account::Column::Id)
        .limit(SNAPSHOT_PAGE);
    let rows = page.all(db.handle()).await?;
    let last = rows.last().map(|row| row.id);
    Ok((with_cards(db, rows, now).await?, last))
}

/// Accounts that changed after a revision, deleted ones included.
pub(crate) async fn changed_since(
    db: &impl Db,
    since: Revision,
    now: Millis,
) -> Result<Vec<AccountRecord>, Error> {
    records(
        db,
        account::Entity::find().filter(account::Column::Revision.gt(signed(since.0))),
        now,
    )
    .await
}
