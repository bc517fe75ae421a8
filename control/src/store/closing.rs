//! Deleted accounts that are not settled yet.

use proxyxai_contract::{clock::Millis, id::AccountId};
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};

use super::{Db, entity::account};
use crate::Error;

/// At most this many are looked at in one go.
const CLOSING_MAX: u64 = 1000;

/// Accounts that were deleted before a moment and may have something left to settle.
pub(crate) async fn waiting(db: &impl Db, before: Millis) -> Result<Vec<AccountId>, Error> {
    let ids: Vec<i64> = account::Entity::find()
        .select_only()
        .column(account::Column::Id)
        .filter(account::Column::Closing.eq(true))
        .filter(account::Column::DeletedAt.lt(before.0))
        .order_by_asc(account::Column::Id)
        .limit(CLOSING_MAX)
        .into_tuple()
        .all(db.handle())
        .await?;
    let ids: Result<_, _> = ids.into_iter().map(AccountId::new).collect();
    ids.map_err(Error::from)
}
