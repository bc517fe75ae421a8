//! Totals for bills: by day and model, and by account, of one account or of many.

use std::collections::BTreeMap;

use proxyxai_contract::id::AccountId;
use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, EntityTrait as _, IdenStatic as _, QueryFilter as _,
    QueryResult, QuerySelect as _, Value,
};

use super::{
    Db, ROWS_PER_INSERT, Tx,
    accounts::label_values,
    entity::account,
    number, statement, unsigned,
    usage::{SUMS, read_totals, used},
};
use crate::{
    Error,
    model::{AccountLabels, AccountTotals, DateRange, DayTotals, Listing, Page, UsageTotals},
};

/// Bills of many accounts add up hundreds of thousands of rows. That belongs in memory, in a plan that is not worth
/// compiling, and in one process: handing sums between workers takes longer than adding them up.
const ROOM: &str = "SET LOCAL work_mem = '64MB'; SET LOCAL jit = off; \
    SET LOCAL max_parallel_workers_per_gather = 0";

/// Whose usage a bill covers.
#[derive(Debug, Clone)]
pub(crate) enum BillScope {
    /// One account.
    Account(AccountId),
    /// All accounts below this one, deleted ones included.
    Below {
        account: AccountId,
        dna: String,
        labels: AccountLabels,
    },
}

impl BillScope {
    /// The SQL condition, with its values.
    fn condition(&self, db: &impl Db) -> (String, Vec<Value>) {
        match self {
            Self::Account(account) => ("account_id = ?".to_owned(), vec![account.get().into()]),
            // All accounts are below root, so no account needs to be looked up.
            Self::Below {
                account, labels, ..
            } if *account == AccountId::ROOT && labels.is_empty() => {
                ("account_id <> ?".to_owned(), vec![account.get().into()])
            }
            Self::Below { dna, labels, .. } => {
                let labels = label_values(*labels)
                    .map(|(column, value)| format!(" AND {} = {value}", column.as_str()));
                let labels: String = labels.collect();
                let (range, values) = below(db, dna, false);
                let ids = format!("SELECT id FROM account WHERE {range}{labels}");
                (format!("account_id IN ({ids})"), values)
            }
        }
    }
}

/// A condition on accounts below a DNA, or at or below it. It is a range, so that the index serves it even if the
/// values are not known when the query is planned.
pub(super) fn below(db: &impl Db, dna: &str, or_at: bool) -> (String, Vec<Value>) {
    let range = match (db.locks_rows(), or_at) {
        (true, true) => "dna ~>=~ ? AND dna ~<~ ?",
        (true, false) => "dna ~>~ ? AND dna ~<~ ?",
        (false, true) => "dna >= ? COLLATE NOCASE AND dna < ? COLLATE NOCASE",
        (false, false) => "dna > ? COLLATE NOCASE AND dna < ? COLLATE NOCASE",
    };
    // Ids end in dots; the next character ends the range.
    let end = format!("{}/", dna.trim_end_matches('.'));
    (range.to_owned(), vec![dna.into(), end.into()])
}

/// Sets the memory and plan options for a transaction that reads a bill.
pub(crate) async fn prepare(tx: &Tx) -> Result<(), Error> {
    if tx.locks_rows() {
        let done = tx.handle().execute_unprepared(ROOM).await;
        done?;
    }
    Ok(())
}

/// Totals by day and model, sorted by both.
pub(crate) async fn by_day(
    db: &impl Db,
    whose: &BillScope,
    days: DateRange,
) -> Result<Vec<DayTotals>, Error> {
    let (table, condition, values) = match whose {
        // Totals of all accounts below one are stored as such.
        BillScope::Below {
            account, labels, ..
        } if labels.is_empty() => (
            "usage_below",
            "account_id = ?".to_owned(),
            vec![account.get().into()],
        ),
        BillScope::Account(_) | BillScope::Below { .. } => {
            let (condition, values) = whose.condition(db);
            ("usage_daily", condition, values)
        }
    };
    // Days are stored as YYYY-MM-DD, which sorts as text.
    let sql = format!(
        "SELECT day, model, {SUMS} FROM {table} WHERE day BETWEEN ? AND ? AND {condition} \
         GROUP BY day, model ORDER BY day, model"
    );
    let span = [days.start.to_string().into(), days.end.to_string().into()];
    let values = span.into_iter().chain(values);
    let rows = db.handle().query_all_raw(statement(db, &sql, values));
    let read = |row: &QueryResult| {
        let day: String = row.try_get("", "day")?;
        Ok(DayTotals {
            day: day.parse().map_err(Error::internal)?,
            model: row.try_get("", "model")?,
            totals: read_totals(row)?,
        })
    };
    let rows = rows.await?;
    rows.iter().map(read).collect()
}

/// One page of totals by account, most expensive first.
pub(crate) async fn by_account(
    db: &impl Db,
    whose: &BillScope,
    days: DateRange,
    page: Page,
) -> Result<Listing<AccountTotals>, Error> {
    let used = used(up_to_now(db, days).await?);
    let (condition, values) = whose.condition(db);
    let (size, skip) = (
        page.size,
        page.page.saturating_sub(1).saturating_mul(page.size),
    );
    // Many accounts are only compared; the other sums are made for one page. What corrections subtract was used on
    // other days.
    // PostgreSQL adds integers as decimals, at twice the time of floating point, which is exact up to 9 million dollars
    // for an account. Only the order depends on it.
    let all = format!(
        "(SELECT account_id, SUM(CAST(cost AS DOUBLE PRECISION)) AS cost, \
         SUM(CAST(requests AS DOUBLE PRECISION)) AS counted FROM ({used}) used \
         WHERE {condition} GROUP BY account_id) everyone WHERE cost <> 0 OR counted <> 0"
    );
    let sql = format!(
        "SELECT account_id, COUNT(*) OVER () AS accounts FROM {all} \
         ORDER BY cost DESC, account_id LIMIT {size} OFFSET {skip}"
    );
    let rows = db
        .handle()
        .query_all_raw(statement(db, &sql, values.iter().cloned()));
    let rows = rows.await?;
    let total = if let Some(row) = rows.first() {
        number(row, "accounts")?
    } else {
        // The page is beyond the last one.
        let sql = format!("SELECT COUNT(*) AS accounts FROM {all}");
        let row = db.handle().query_one_raw(statement(db, &sql, values));
        let row = row.await?;
        row.map_or(Ok(0), |row| number(&row, "accounts"))?
    };
    let ids: Vec<_> = rows
        .iter()
        .map(|row| number(row, "account_id"))
        .collect::<Result<_, _>>()?;
    let (mut names, mut totals) = (names(db, &ids).await?, totals_of(db, &ids, &used).await?);
    let read = |id: i64| {
        let (name, email) = names.remove(&id).unwrap_or_default();
        Ok(AccountTotals {
            id: AccountId::new(id)?,
            name,
            email,
            totals: totals.remove(&id).unwrap_or_default(),
        })
    };
    Ok(Listing {
        rows: ids.into_iter().map(read).collect::<Result<_, Error>>()?,
        total: unsigned(total),
    })
}

/// Totals of the accounts on a page.
async fn totals_of(
    db: &impl Db,
    ids: &[i64],
    used: &str,
) -> Result<BTreeMap<i64, UsageTotals>, Error> {
    let mut found = BTreeMap::new();
    for chunk in ids.chunks(ROWS_PER_INSERT) {
        let marks = vec!["?"; chunk.len()].join(",");
        let sql = format!(
            "SELECT account_id, {SUMS} FROM ({used}) used WHERE account_id IN ({marks}) GROUP BY account_id"
        );
        let values = chunk.iter().map(|id| Value::from(*id));
        let rows = db.handle().query_all_raw(statement(db, &sql, values));
        for row in rows.await? {
            found.insert(number(&row, "account_id")?, read_totals(&row)?);
        }
    }
    Ok(found)
}

/// Extends a range to the end of its year if there is no usage after it, so that sums of whole spans serve it.
pub(super) async fn up_to_now(db: &impl Db, days: DateRange) -> Result<DateRange, Error> {
    let newest = statement(db, "SELECT MAX(day) AS day FROM usage_daily", []);
    let newest = db.handle().query_one_raw(newest).await;
    let newest: Option<String> =
        newest.and_then(|row| row.map_or(Ok(None), |row| row.try_get("", "day")))?;
    let last = newest.is_none_or(|newest| newest <= days.end.to_string());
    Ok(DateRange {
        end: if last {
            days.end.last_of_year()
        } else {
            days.end
        },
        ..days
    })
}

/// Name and address by id, also of deleted accounts.
pub(crate) async fn names(
    db: &impl Db,
    ids: &[i64],
) -> Result<BTreeMap<i64, (String, String)>, Error> {
    let mut found = BTreeMap::new();
    for chunk in ids.chunks(ROWS_PER_INSERT) {
        let rows: Vec<(i64, String, String)> = account::Entity::find()
            .select_only()
            .columns([
                account::Column::Id,
                account::Column::Name,
                account::Column::Email,
            ])
            .filter(account::Column::Id.is_in(chunk.iter().copied()))
            .into_tuple()
            .all(db.handle())
            .await?;
        found.extend(
            rows.into_iter()
                .map(|(id, name, email)| (id, (name, email))),
        );
    }
    Ok(found)
}
