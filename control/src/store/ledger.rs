//! The ledger: entries and their postings, written once and never changed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use proxyxai_contract::{clock::Millis, id::AccountId, money::Money};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait as _, ConnectionTrait as _, EntityTrait as _, PaginatorTrait as _,
    QueryFilter as _, QueryOrder as _, QuerySelect as _,
    sea_query::{Expr, Query},
};

use super::{
    Db, ROWS_PER_INSERT, Tx,
    entity::{account, ledger_entry, posting},
};
use crate::{Error, domain::ledger::Entry};

/// How many postings may have been written between the beginning of a transaction and its end.
const POSTINGS_LATE_MAX: i64 = 2_000;

/// Writes entries. References of one call have to differ from each other.
pub(crate) async fn post(tx: &Tx, at: Millis, entries: &[Entry]) -> Result<(), Error> {
    let entries: Vec<_> = entries.iter().filter(|entry| !entry.is_empty()).collect();
    for chunk in entries.chunks(ROWS_PER_INSERT) {
        let ids = insert_entries(tx, at, chunk).await?;
        let mut rows = Vec::with_capacity(chunk.len() * 2);
        for entry in chunk {
            let id = ids
                .get(entry.reference.as_str())
                .ok_or_else(|| Error::internal("an entry got no id"))?;
            rows.extend(
                entry
                    .postings()
                    .iter()
                    .map(|(book, amount)| posting::ActiveModel {
                        entry_id: Set(*id),
                        book: Set(book.as_str().to_owned()),
                        account_id: Set(book.account().map(AccountId::get)),
                        amount: Set(amount.nanos()),
                        ..Default::default()
                    }),
            );
        }
        posting::Entity::insert_many(rows)
            .exec_without_returning(tx.handle())
            .await
            .map_err(Error::internal)?;
    }
    Ok(())
}

/// Ids by reference. The order in which a database returns new rows is not promised.
async fn insert_entries(
    tx: &Tx,
    at: Millis,
    entries: &[&Entry],
) -> Result<HashMap<String, i64>, Error> {
    let mut insert = Query::insert();
    insert.into_table(ledger_entry::Entity).columns([
        ledger_entry::Column::At,
        ledger_entry::Column::Reason,
        ledger_entry::Column::Reference,
    ]);
    for entry in entries {
        let row: [Expr; 3] = [
            at.0.into(),
            entry.reason.into(),
            entry.reference.as_str().into(),
        ];
        insert.values(row).map_err(Error::internal)?;
    }
    insert.returning(
        Query::returning().columns([ledger_entry::Column::Id, ledger_entry::Column::Reference]),
    );
    let rows = tx
        .handle()
        .query_all(&insert)
        .await
        .map_err(Error::internal)?;
    let pair =
        |row: &sea_orm::QueryResult| Ok((row.try_get("", "reference")?, row.try_get("", "id")?));
    rows.iter()
        .map(pair)
        .collect::<Result<_, sea_orm::DbErr>>()
        .map_err(Error::internal)
}

/// Sums over the whole ledger.
#[derive(Debug)]
pub(crate) struct Sums {
    /// Number of postings.
    pub(crate) postings: u64,
    /// Sum of all of them.
    pub(crate) total: Money,
    /// An entry that does not add up to zero.
    pub(crate) uneven: Option<i64>,
    /// Sum of the books of accounts.
    pub(crate) accounts: BTreeMap<AccountId, Money>,
    /// Debt and life of every account.
    pub(crate) debts: BTreeMap<AccountId, Money>,
}

/// The newest posting, and, when there is a newer one than was known, the accounts of all since
/// then. Postings do not become visible in the order of their ids, so some are looked at again.
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
        .await
        .map_err(Error::internal)?;
    let newest = newest.unwrap_or_default();
    let Some(known) = known.filter(|known| newest > *known) else {
        return Ok((newest, Vec::new()));
    };
    let ids: Vec<i64> = posting::Entity::find()
        .select_only()
        .column(posting::Column::AccountId)
        .distinct()
        .filter(posting::Column::Id.gt(known.saturating_sub(POSTINGS_LATE_MAX)))
        .filter(posting::Column::AccountId.is_not_null())
        .into_tuple()
        .all(db.handle())
        .await
        .map_err(Error::internal)?;
    let ids: Result<_, _> = ids.into_iter().map(AccountId::new).collect();
    Ok((newest, ids.map_err(Error::internal)?))
}

/// Accounts of the next postings after one, and where to go on. Without a start there is nothing to
/// catch up with. Late ones are looked at again, as above, until nothing is new.
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
        .await
        .map_err(Error::internal)?;
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
        .await
        .map_err(Error::internal)?;
    let ids: Result<_, _> = ids.into_iter().map(AccountId::new).collect();
    Ok((newest, ids.map_err(Error::internal)?))
}

/// Recomputes everything from the postings.
pub(crate) async fn sums(db: &impl Db) -> Result<Sums, Error> {
    // PostgreSQL's sum of big integers is a decimal.
    let sum = || Expr::cust("CAST(COALESCE(SUM(amount), 0) AS BIGINT)");
    let db = db.handle();
    let postings = posting::Entity::find()
        .count(db)
        .await
        .map_err(Error::internal)?;
    let total: Option<i64> = posting::Entity::find()
        .select_only()
        .column_as(sum(), "total")
        .into_tuple()
        .one(db)
        .await
        .map_err(Error::internal)?;
    let uneven: Option<i64> = posting::Entity::find()
        .select_only()
        .column(posting::Column::EntryId)
        .group_by(posting::Column::EntryId)
        .having(Expr::cust("SUM(amount) <> 0"))
        .limit(1)
        .into_tuple()
        .one(db)
        .await
        .map_err(Error::internal)?;
    let accounts: Vec<(i64, i64)> = posting::Entity::find()
        .select_only()
        .column(posting::Column::AccountId)
        .column_as(sum(), "total")
        .filter(posting::Column::AccountId.is_not_null())
        .group_by(posting::Column::AccountId)
        .into_tuple()
        .all(db)
        .await
        .map_err(Error::internal)?;
    let debts: Vec<(i64, i64)> = account::Entity::find()
        .select_only()
        .columns([account::Column::Id, account::Column::Debt])
        .into_tuple()
        .all(db)
        .await
        .map_err(Error::internal)?;
    Ok(Sums {
        postings,
        total: Money::from_nanos(total.unwrap_or_default()),
        uneven,
        accounts: by_account(accounts)?,
        debts: by_account(debts)?,
    })
}

fn by_account(rows: Vec<(i64, i64)>) -> Result<BTreeMap<AccountId, Money>, Error> {
    let pair =
        |(id, nanos): (i64, i64)| AccountId::new(id).map(|id| (id, Money::from_nanos(nanos)));
    rows.into_iter()
        .map(pair)
        .collect::<Result<_, _>>()
        .map_err(Error::internal)
}
