//! The ledger: entries and their postings, written once and never changed.

use std::collections::{BTreeSet, HashMap};

use proxyxai_contract::{clock::Millis, id::AccountId, money::Money};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, Value,
};

use super::{Db, Tx, entity::posting, in_batches, is_server, returned_in_batches, statement};
use crate::{
    Error,
    domain::ledger::{Book, LedgerEntry},
};

/// How many postings other transactions may write between the start and the commit of one.
const POSTINGS_LATE_MAX: i64 = 2_000;

/// Writes entries. References of one call must differ.
pub(crate) async fn post(tx: &Tx, at: Millis, entries: &[LedgerEntry]) -> Result<(), Error> {
    let entries: Vec<_> = entries.iter().filter(|entry| !entry.is_empty()).collect();
    let ids = insert_entries(tx, at, &entries).await?;
    let mut rows = Vec::with_capacity(entries.len() * 2);
    for entry in entries {
        let id = ids
            .get(entry.reference.as_str())
            .ok_or_else(|| Error::internal("an entry got no id"))?;
        let row = |(book, amount): &(Book, Money)| -> [Value; 4] {
            let account = book.account().map(AccountId::get);
            let book = book.as_str();
            [
                (*id).into(),
                book.into(),
                account.into(),
                amount.nanos().into(),
            ]
        };
        rows.extend(entry.postings().iter().map(row));
    }
    let sql =
        |rows: &str| format!("INSERT INTO posting (entry_id, book, account_id, amount) {rows}");
    in_batches(tx, rows, sql).await.map(drop)
}

/// All credit created and not yet removed, in nano-dollars. It may exceed the range of an amount.
pub(crate) async fn minted(tx: &Tx) -> Result<f64, Error> {
    let sql = "SELECT COALESCE(-SUM(CAST(amount AS DOUBLE PRECISION)), 0.0) AS minted FROM posting \
        WHERE account_id IS NULL AND book = 'mint'";
    let row = tx.handle().query_one_raw(statement(tx, sql, [])).await?;
    let minted = row.map(|row| row.try_get("", "minted")).transpose()?;
    Ok(minted.unwrap_or_default())
}

/// Ids by reference. A database does not promise the order in which it returns new rows.
async fn insert_entries(
    tx: &Tx,
    at: Millis,
    entries: &[&LedgerEntry],
) -> Result<HashMap<String, i64>, Error> {
    let row = |entry: &&LedgerEntry| -> [Value; 3] {
        [
            at.0.into(),
            entry.reason.into(),
            entry.reference.as_str().into(),
        ]
    };
    let sql = |rows: &str| {
        format!("INSERT INTO ledger_entry (at, reason, reference) {rows} RETURNING id, reference")
    };
    let rows = returned_in_batches(tx, entries.iter().map(row).collect(), sql).await?;
    let pair =
        |row: &sea_orm::QueryResult| Ok((row.try_get("", "reference")?, row.try_get("", "id")?));
    rows.iter()
        .map(pair)
        .collect::<Result<_, sea_orm::DbErr>>()
        .map_err(Error::from)
}

/// The newest posting and, if there are new ones, the accounts of all of them. On a server, postings do not become
/// visible in the order of their ids, so the latest known ones are read again.
pub(crate) async fn touched_since(
    db: &impl Db,
    known: Option<i64>,
) -> Result<(i64, Vec<AccountId>), Error> {
    let newest: Option<i64> = posting::Entity::find()
        .select_only()
        .column(posting::Column::Id)
        .order_by_desc(posting::Column::Id)
        .limit(1)
        .into_tuple()
        .one(db.handle())
        .await?;
    let newest = newest.unwrap_or_default();
    let Some(known) = known.filter(|known| newest > *known) else {
        return Ok((newest, Vec::new()));
    };
    let late = if is_server(db) { POSTINGS_LATE_MAX } else { 0 };
    let ids: Vec<i64> = posting::Entity::find()
        .select_only()
        .column(posting::Column::AccountId)
        .distinct()
        .filter(posting::Column::Id.gt(known.saturating_sub(late)))
        .filter(posting::Column::AccountId.is_not_null())
        .into_tuple()
        .all(db.handle())
        .await?;
    let ids: Result<_, _> = ids.into_iter().map(AccountId::new).collect();
    Ok((newest, ids?))
}

/// Accounts of the next postings after one, and where to continue. Without a start there is nothing to catch up with.
/// Late postings are read again, as in `touched_since`, until there is nothing new.
pub(crate) async fn touched_after(
    tx: &Tx,
    known: Option<i64>,
    postings_max: u64,
) -> Result<(i64, BTreeSet<AccountId>), Error> {
    let Some(known) = known else {
        let (newest, _) = touched_since(tx, None).await?;
        return Ok((newest, BTreeSet::new()));
    };
    let newest: Vec<i64> = posting::Entity::find()
        .select_only()
        .column(posting::Column::Id)
        .filter(posting::Column::Id.gt(known))
        .order_by_asc(posting::Column::Id)
        .limit(postings_max)
        .into_tuple()
        .all(tx.handle())
        .await?;
    let Some(newest) = newest.last().copied() else {
        return Ok((known, BTreeSet::new()));
    };
    let ids: Vec<i64> = posting::Entity::find()
        .select_only()
        .column(posting::Column::AccountId)
        .distinct()
        .filter(posting::Column::Id.gt(known.saturating_sub(POSTINGS_LATE_MAX)))
        .filter(posting::Column::Id.lte(newest))
        .filter(posting::Column::AccountId.is_not_null())
        .into_tuple()
        .all(tx.handle())
        .await?;
    let ids: Result<_, _> = ids.into_iter().map(AccountId::new).collect();
    Ok((newest, ids?))
}
