//! Calls without a price, by day, model and account: there are too many records to scan for them. The posting
//! transaction holds the lock of the account, so no row is hot.

use std::collections::BTreeMap;

use jiff::civil::Date;
use proxyxai_contract::{clock::Millis, id::AccountId};
use sea_orm::{ConnectionTrait as _, QueryResult, Value};

use crate::{
    Error,
    model::{DateRange, Listing, Page, UnpricedModel},
    store::{Db as _, Tx, in_batches, number, signed, statement, unsigned},
};

/// How many calls, and when the last one began.
pub(crate) type UnpricedUsage = BTreeMap<(Date, String, AccountId), (u64, Millis)>;

/// Adds to the totals.
pub(crate) async fn add(tx: &Tx, unpriced: &UnpricedUsage) -> Result<(), Error> {
    let row = |((day, model, account), (requests, last)): (
        &(Date, String, AccountId),
        &(u64, Millis),
    )|
     -> [Value; 5] {
        [
            day.to_string().into(),
            model.as_str().into(),
            account.get().into(),
            signed(*requests).into(),
            last.0.into(),
        ]
    };
    let sql = |rows: &str| {
        format!(
            "INSERT INTO usage_unpriced (day, model, account_id, requests, last_at) {rows} \
             ON CONFLICT (day, model, account_id) DO UPDATE SET \
             requests = usage_unpriced.requests + excluded.requests, \
             last_at = CASE WHEN excluded.last_at > usage_unpriced.last_at \
             THEN excluded.last_at ELSE usage_unpriced.last_at END"
        )
    };
    in_batches(tx, unpriced.iter().map(row).collect(), sql)
        .await
        .map(drop)
}

/// Models over some days, by number of calls; a model may have a price by now.
pub(crate) async fn list(
    tx: &Tx,
    days: DateRange,
    page: Page,
) -> Result<Listing<UnpricedModel>, Error> {
    let values = || -> [Value; 2] { [days.start.to_string().into(), days.end.to_string().into()] };
    let sql =
        "SELECT COUNT(DISTINCT model) AS models FROM usage_unpriced WHERE day BETWEEN ? AND ?";
    let total = tx.handle().query_one_raw(statement(tx, sql, values()));
    let total = total.await?;
    let total = total.map_or(Ok(0), |row| number(&row, "models"))?;
    let skip = page.page.saturating_sub(1).saturating_mul(page.size);
    let sql = format!(
        "SELECT model, CAST(SUM(requests) AS BIGINT) AS requests, COUNT(DISTINCT account_id) AS accounts, \
         MAX(last_at) AS last_at FROM usage_unpriced WHERE day BETWEEN ? AND ? \
         GROUP BY model ORDER BY requests DESC, model LIMIT {} OFFSET {skip}",
        page.size
    );
    let rows = tx.handle().query_all_raw(statement(tx, &sql, values()));
    let read = |row: &QueryResult| {
        Ok(UnpricedModel {
            model: row.try_get("", "model")?,
            requests: number(row, "requests").map(unsigned)?,
            accounts: number(row, "accounts").map(unsigned)?,
            last: Millis(number(row, "last_at")?),
            has_price: false,
        })
    };
    let rows = rows.await?;
    Ok(Listing {
        rows: rows.iter().map(read).collect::<Result<_, Error>>()?,
        total: unsigned(total),
    })
}

/// Deletes the rows of days before one.
pub(crate) async fn prune(tx: &Tx, before: Date) -> Result<(), Error> {
    let sql = "DELETE FROM usage_unpriced WHERE day < ?";
    let values: [Value; 1] = [before.to_string().into()];
    let done = tx.handle().execute_raw(statement(tx, sql, values));
    done.await.map(drop).map_err(Error::from)
}
