//! Pruning of old raw records. Their sums are carried, and a mark keeps the last sequence, so that a record which is
//! sent again is still recognised.

use proxyxai_contract::clock::Millis;
use sea_orm::{ConnectionTrait as _, Value};

use crate::{
    Error,
    model::FAILED_FROM,
    store::{Db, Tx, statement},
};

/// The records of one spool of a data plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SpoolKey {
    node: String,
    epoch: i64,
}

/// The next spool with records, in the order of their key.
pub(crate) async fn next_span(
    db: &impl Db,
    after: Option<&SpoolKey>,
) -> Result<Option<SpoolKey>, Error> {
    let (filter, values): (_, Vec<Value>) = match after {
        Some(SpoolKey { node, epoch }) => (
            "WHERE (node, epoch) > (?, ?)",
            vec![node.as_str().into(), (*epoch).into()],
        ),
        None => ("", Vec::new()),
    };
    let sql = format!("SELECT node, epoch FROM usage_record {filter} ORDER BY node, epoch LIMIT 1");
    let row = db.handle().query_one_raw(statement(db, &sql, values));
    let row = row.await?;
    row.map(|row| {
        Ok(SpoolKey {
            node: row.try_get("", "node")?,
            epoch: row.try_get("", "epoch")?,
        })
    })
    .transpose()
    .map_err(|error: sea_orm::DbErr| Error::internal(error))
}

/// Deletes at most `batch` records of a spool that were posted before a moment, oldest first. Returns how many. It
/// stops at the first younger record, so that all up to the mark are gone.
pub(crate) async fn prune(
    tx: &Tx,
    span: &SpoolKey,
    before: Millis,
    batch: u64,
) -> Result<u64, Error> {
    lock(tx, span).await?;
    let Some((through, count)) = oldest(tx, span, before, batch).await? else {
        return Ok(0);
    };
    let run = async |sql: &str, values: Vec<Value>| {
        let done = tx.handle().execute_raw(statement(tx, sql, values)).await;
        done.map(drop).map_err(Error::from)
    };
    let these =
        || -> Vec<Value> { vec![span.node.as_str().into(), span.epoch.into(), through.into()] };
    run(&carry_sql(), these()).await?;
    run(
        "DELETE FROM usage_correction WHERE node = ? AND epoch = ? AND sequence <= ?",
        these(),
    )
    .await?;
    run(
        "DELETE FROM usage_record WHERE node = ? AND epoch = ? AND sequence <= ?",
        these(),
    )
    .await?;
    run(
        "INSERT INTO usage_pruned (node, epoch, through) VALUES (?, ?, ?) \
         ON CONFLICT (node, epoch) DO UPDATE SET through = excluded.through",
        these(),
    )
    .await?;
    Ok(count)
}

/// Makes a report of the same data plane wait: it could otherwise find neither a deleted record nor its mark.
async fn lock(tx: &Tx, span: &SpoolKey) -> Result<(), Error> {
    if !tx.locks_rows() {
        return Ok(());
    }
    let sql = "SELECT name FROM node WHERE name = ? FOR UPDATE";
    let locked = statement(tx, sql, [Value::from(span.node.as_str())]);
    let locked = tx.handle().query_all_raw(locked).await;
    locked.map(drop).map_err(Error::from)
}

/// The last sequence to delete, and how many records go with it.
async fn oldest(
    tx: &Tx,
    span: &SpoolKey,
    before: Millis,
    batch: u64,
) -> Result<Option<(i64, u64)>, Error> {
    let sql = format!(
        "SELECT sequence, posted_at FROM usage_record WHERE node = ? AND epoch = ? ORDER BY sequence LIMIT {batch}"
    );
    let values = [Value::from(span.node.as_str()), span.epoch.into()];
    let rows = tx.handle().query_all_raw(statement(tx, &sql, values));
    let (mut through, mut count) = (None, 0u64);
    for row in rows.await? {
        let posted: i64 = row.try_get("", "posted_at")?;
        if posted >= before.0 {
            break;
        }
        through = Some(row.try_get("", "sequence")?);
        count = count.saturating_add(1);
    }
    Ok(through.map(|through| (through, count)))
}

/// Adds the records up to a sequence, at their corrected cost, to the carried sums.
fn carry_sql() -> String {
    let add = |column: &str| format!("{column} = usage_carried.{column} + excluded.{column}");
    let columns = ["requests", "input", "cached", "output", "cost"];
    format!(
        "INSERT INTO usage_carried (account_id, model, requests, input, cached, output, cost) \
         SELECT r.account_id, r.model_used, SUM(CASE WHEN r.status < {FAILED_FROM} THEN 1 ELSE 0 END), SUM(r.input), \
         SUM(r.cached), SUM(r.output), SUM(COALESCE(c.cost, r.cost)) FROM usage_record r LEFT JOIN usage_correction c \
         ON c.node = r.node AND c.epoch = r.epoch AND c.sequence = r.sequence \
         WHERE r.node = ? AND r.epoch = ? AND r.sequence <= ? GROUP BY r.account_id, r.model_used \
         ON CONFLICT (account_id, model) DO UPDATE SET {}",
        columns.map(add).join(", ")
    )
}
