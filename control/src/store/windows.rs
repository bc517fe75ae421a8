//! What of each window was granted to data planes.

use proxyxai_contract::{
    clock::Millis,
    id::AccountId,
    window::{LimitWindow, WindowKey},
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, ConnectionTrait as _, EntityTrait as _, QueryFilter as _,
    QueryResult, QuerySelect as _, Value, sea_query::OnConflict,
};

use super::{
    Db, Tx, bills,
    client_keys::{key_column, key_of_column},
    corrupt,
    entity::window_grant as row,
    number, one_row, signed, statement, unsigned,
};
use crate::{
    Error,
    model::{Listing, Page, WindowUsage},
};

/// Units taken of one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WindowConsumption {
    /// Granted to data planes.
    pub(crate) granted: u64,
    /// Spent beyond the grants.
    pub(crate) overspent: u64,
    /// The limit at the latest request.
    pub(crate) most: u64,
}

impl WindowConsumption {
    /// Both together.
    pub(crate) const fn total(self) -> u64 {
        self.granted.saturating_add(self.overspent)
    }
}

/// Locks a window and reads what is taken of it.
pub(crate) async fn lock(tx: &Tx, key: &WindowKey) -> Result<WindowConsumption, Error> {
    let fresh = row::ActiveModel {
        account_id: Set(key.account.get()),
        client_key_id: Set(key_column(key.client_key)),
        window: Set(key.window.name().to_owned()),
        model: Set(key.model.clone()),
        start_at: Set(key.start.0),
        granted: Set(0),
        overspent: Set(0),
        most: Set(0),
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
    Ok(WindowConsumption {
        granted: unsigned(found.granted),
        overspent: unsigned(found.overspent),
        most: unsigned(found.most),
    })
}

/// Stores what is taken of a locked window.
pub(crate) async fn set(tx: &Tx, key: &WindowKey, taken: WindowConsumption) -> Result<(), Error> {
    let values = row::ActiveModel {
        granted: Set(signed(taken.granted)),
        overspent: Set(signed(taken.overspent)),
        most: Set(signed(taken.most)),
        ..Default::default()
    };
    let (account, client_key, window, model, start) = id(key);
    let update = row::Entity::update_many()
        .set(values)
        .filter(row::Column::AccountId.eq(account))
        .filter(row::Column::ClientKeyId.eq(client_key))
        .filter(row::Column::Window.eq(window))
        .filter(row::Column::Model.eq(model))
        .filter(row::Column::StartAt.eq(start));
    let written = update.exec(tx.handle()).await?;
    one_row(&written)
}

/// A kind of window, with the start and end of its current one.
pub(crate) type OpenWindow = (LimitWindow, Millis, Millis);

/// Open windows of the accounts at or below a DNA, those with the least left first.
pub(crate) async fn nearest(
    db: &impl Db,
    dna: &str,
    open: &[OpenWindow],
    page: Page,
) -> Result<Listing<WindowUsage>, Error> {
    let (range, below) = bills::below(db, dna, true);
    let kinds = vec!["(w.\"window\" = ? AND w.start_at = ?)"; open.len()].join(" OR ");
    let kind = |(window, start, _): &OpenWindow| [Value::from(window.name()), start.0.into()];
    let values: Vec<Value> = open.iter().flat_map(kind).chain(below).collect();
    // Nothing is ever taken of a limit of 0.
    let these = format!(
        "FROM window_grant w JOIN account a ON a.id = w.account_id LEFT JOIN client_key k ON k.id = w.client_key_id \
         WHERE ({kinds}) AND w.most > 0 AND a.deleted_at IS NULL AND k.deleted_at IS NULL AND {range}"
    );
    let (size, skip) = (
        page.size,
        page.page.saturating_sub(1).saturating_mul(page.size),
    );
    let sql = format!(
        "SELECT w.account_id, a.name, w.client_key_id, COALESCE(k.name, '') AS client_key, \
         w.\"window\" AS named, w.model, w.start_at, w.most, \
         w.granted + w.overspent AS taken {these} \
         ORDER BY CAST(w.granted + w.overspent AS DOUBLE PRECISION) / w.most DESC, w.account_id, w.client_key_id, named, w.model \
         LIMIT {size} OFFSET {skip}"
    );
    let rows = db
        .handle()
        .query_all_raw(statement(db, &sql, values.clone()));
    let rows = rows.await?;
    let read = |row: &QueryResult| used(row, open);
    let rows = rows.iter().map(read).collect::<Result<_, _>>()?;
    let sql = format!("SELECT COUNT(*) AS counted {these}");
    let row = db
        .handle()
        .query_one_raw(statement(db, &sql, values))
        .await?;
    let total = row.map_or(Ok(0), |row| number(&row, "counted"))?;
    Ok(Listing {
        rows,
        total: unsigned(total),
    })
}

fn used(row: &QueryResult, open: &[OpenWindow]) -> Result<WindowUsage, Error> {
    let account = number(row, "account_id")?;
    let name: String = row.try_get("", "named")?;
    let found = open.iter().find(|(window, ..)| window.name() == name);
    let (window, start, end) = found.ok_or_else(|| corrupt("window", account, "unknown window"))?;
    Ok(WindowUsage {
        key: WindowKey {
            account: AccountId::new(account)?,
            client_key: key_of_column(number(row, "client_key_id")?)?,
            window: *window,
            model: row.try_get("", "model")?,
            start: *start,
        },
        name: row.try_get("", "name")?,
        client_key: row.try_get("", "client_key")?,
        limit: unsigned(number(row, "most")?),
        taken: unsigned(number(row, "taken")?),
        resets: *end,
    })
}

/// Deletes windows of these kinds that began before a moment.
pub(crate) async fn prune(tx: &Tx, windows: &[LimitWindow], before: Millis) -> Result<u64, Error> {
    let these = row::Entity::delete_many()
        .filter(row::Column::StartAt.lt(before.0))
        .filter(row::Column::Window.is_in(windows.iter().map(|window| window.name())));
    let gone = these.exec(tx.handle()).await?;
    Ok(gone.rows_affected)
}

fn id(key: &WindowKey) -> (i64, i64, String, String, i64) {
    (
        key.account.get(),
        key_column(key.client_key),
        key.window.name().to_owned(),
        key.model.clone(),
        key.start.0,
    )
}
