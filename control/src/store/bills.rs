//! Totals for bills: by day and model, and by account, of one account or of many.

use std::collections::BTreeMap;

use proxyxai_contract::id::AccountId;
use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, EntityTrait as _, IdenStatic as _, QueryFilter as _,
    QueryResult, QuerySelect as _, Value,
};

use super::{
    Db, ROWS_PER_INSERT,
    accounts::label_values,
    entity::account,
    statement, unsigned,
    usage::{parts, read_totals},
};
use crate::{
    Error,
    view::{AccountTotals, DayTotals, Days, Labels, Listing, Page},
};

/// The counters, added up; `PostgreSQL`'s sum of big integers is a decimal.
const SUMS: &str = "CAST(SUM(requests) AS BIGINT) AS requests, CAST(SUM(input) AS BIGINT) AS input, \
    CAST(SUM(cached) AS BIGINT) AS cached, CAST(SUM(output) AS BIGINT) AS output, CAST(SUM(cost) AS BIGINT) AS cost";

/// Whose use is asked for.
#[derive(Debug, Clone)]
pub(crate) enum Whose {
    /// One account's.
    Account(AccountId),
    /// Everybody's below an account, deleted ones included.
    Below { dna: String, labels: Labels },
    /// Everybody's but one's.
    AllBut(AccountId),
}

impl Whose {
    /// A condition with its values.
    fn condition(&self) -> (String, Vec<Value>) {
        match self {
            Self::Account(account) => ("account_id = ?".to_owned(), vec![account.get().into()]),
            Self::AllBut(account) => ("account_id <> ?".to_owned(), vec![account.get().into()]),
            Self::Below { dna, labels } => {
                let labels = label_values(*labels)
                    .map(|(column, value)| format!(" AND {} = {value}", column.as_str()));
                let labels: String = labels.collect();
                let below = "SELECT id FROM account WHERE dna LIKE ? AND dna <> ?";
                (
                    format!("account_id IN ({below}{labels})"),
                    vec![format!("{dna}%").into(), dna.as_str().into()],
                )
            }
        }
    }
}

/// Totals by day and model, in this order.
pub(crate) async fn by_day(
    db: &impl Db,
    whose: &Whose,
    days: Days,
) -> Result<Vec<DayTotals>, Error> {
    // Days are stored as YYYY-MM-DD, which sorts as text.
    let span = || [days.start.to_string().into(), days.end.to_string().into()];
    let (sql, values) = match whose {
        // Totals of everybody are kept, so only the one's are taken from them.
        Whose::AllBut(account) => (
            format!(
                "SELECT day, model, {SUMS} FROM (\
                 SELECT day, model, requests, input, cached, output, cost FROM usage_total \
                 WHERE day BETWEEN ? AND ? UNION ALL \
                 SELECT day, model, -requests, -input, -cached, -output, -cost FROM usage_daily \
                 WHERE day BETWEEN ? AND ? AND account_id = ?) used GROUP BY day, model \
                 HAVING SUM(requests) <> 0 OR SUM(input) <> 0 OR SUM(cached) <> 0 OR SUM(output) <> 0 \
                 OR SUM(cost) <> 0 ORDER BY day, model"
            ),
            [span(), span()]
                .into_iter()
                .flatten()
                .chain([Value::from(account.get())])
                .collect::<Vec<_>>(),
        ),
        Whose::Account(_) | Whose::Below { .. } => {
            let (condition, values) = whose.condition();
            (
                format!(
                    "SELECT day, model, {SUMS} FROM usage_daily WHERE day BETWEEN ? AND ? AND {condition} \
                     GROUP BY day, model ORDER BY day, model"
                ),
                span().into_iter().chain(values).collect(),
            )
        }
    };
    let rows = db.handle().query_all_raw(statement(db, &sql, values));
    let read = |row: &QueryResult| {
        let day: String = row.try_get("", "day").map_err(Error::internal)?;
        Ok(DayTotals {
            day: day.parse().map_err(Error::internal)?,
            model: row.try_get("", "model").map_err(Error::internal)?,
            totals: read_totals(row)?,
        })
    };
    let rows = rows.await.map_err(Error::internal)?;
    rows.iter().map(read).collect()
}

/// One page of totals by account, dearest first.
pub(crate) async fn by_account(
    db: &impl Db,
    whose: &Whose,
    days: Days,
    page: Page,
) -> Result<Listing<AccountTotals>, Error> {
    let (used, values) = used(db, whose, days).await?;
    let (size, skip) = (
        page.size,
        page.page.saturating_sub(1).saturating_mul(page.size),
    );
    // Many accounts are only compared; what a page shows of its own is added up afterwards.
    let sql = format!(
        "WITH top AS (SELECT account_id AS id, COUNT(*) OVER () AS accounts FROM ({used}) used \
         GROUP BY account_id ORDER BY SUM(cost) DESC, account_id LIMIT {size} OFFSET {skip}) \
         SELECT account_id, {SUMS}, MAX(accounts) AS accounts FROM ({used}) used JOIN top ON account_id = id \
         GROUP BY account_id ORDER BY cost DESC, account_id"
    );
    let twice = values.iter().chain(&values).cloned();
    let rows = db.handle().query_all_raw(statement(db, &sql, twice));
    let rows = rows.await.map_err(Error::internal)?;
    let total = if let Some(row) = rows.first() {
        number(row, "accounts")?
    } else {
        // A page beyond the last one.
        let sql = format!("SELECT COUNT(DISTINCT account_id) AS accounts FROM ({used}) used");
        let row = db.handle().query_one_raw(statement(db, &sql, values));
        let row = row.await.map_err(Error::internal)?;
        row.map_or(Ok(0), |row| number(&row, "accounts"))?
    };
    let ids: Vec<_> = rows
        .iter()
        .map(|row| number(row, "account_id"))
        .collect::<Result<_, _>>()?;
    let mut names = names(db, &ids).await?;
    let read = |(row, id): (&QueryResult, i64)| {
        let (name, email) = names.remove(&id).unwrap_or_default();
        Ok(AccountTotals {
            id: AccountId::new(id).map_err(Error::internal)?,
            name,
            email,
            totals: read_totals(row)?,
        })
    };
    Ok(Listing {
        rows: rows
            .iter()
            .zip(ids)
            .map(read)
            .collect::<Result<_, Error>>()?,
        total: unsigned(total),
    })
}

/// The rows that some days are made of, with the values of their conditions. The days of a month are all
/// of it when nothing was used after them.
async fn used(db: &impl Db, whose: &Whose, days: Days) -> Result<(String, Vec<Value>), Error> {
    let newest = statement(db, "SELECT MAX(day) AS day FROM usage_total", []);
    let newest = db.handle().query_one_raw(newest).await;
    let newest: Option<String> = newest
        .and_then(|row| row.map_or(Ok(None), |row| row.try_get("", "day")))
        .map_err(Error::internal)?;
    let last = newest.is_none_or(|newest| newest <= days.end.to_string());
    let days = Days {
        end: if last {
            days.end.last_of_month()
        } else {
            days.end
        },
        ..days
    };
    let (condition, theirs) = whose.condition();
    let (mut sql, mut values) = (Vec::new(), Vec::new());
    for part in parts(days) {
        let (filter, span) = part.filter();
        sql.push(format!(
            "SELECT account_id, requests, input, cached, output, cost FROM {filter} AND {condition}"
        ));
        values.extend(span.into_iter().chain(theirs.iter().cloned()));
    }
    Ok((sql.join(" UNION ALL "), values))
}

fn number(row: &QueryResult, column: &str) -> Result<i64, Error> {
    row.try_get("", column).map_err(Error::internal)
}

/// Name and address by id, of deleted accounts too.
async fn names(db: &impl Db, ids: &[i64]) -> Result<BTreeMap<i64, (String, String)>, Error> {
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
            .await
            .map_err(Error::internal)?;
        found.extend(
            rows.into_iter()
                .map(|(id, name, email)| (id, (name, email))),
        );
    }
    Ok(found)
}
