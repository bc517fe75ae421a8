//! Quarantine: records that could not be posted, kept as they were written, with the reason. They count as known
//! sequences.

use proxyxai_contract::{clock::Millis, convert::UnpostableRecord, id::NodeName};
use sea_orm::{ConnectionTrait as _, QueryResult, Value};

use crate::{
    Error,
    model::QuarantinedRecord,
    store::{Db as _, Tx, in_batches, number, signed, statement, unsigned},
};

/// A reason is cut to this many characters.
const REASON_CHARS_MAX: usize = 500;

/// Quarantines records.
pub(crate) async fn put(
    tx: &Tx,
    node: &NodeName,
    epoch: u64,
    records: &[UnpostableRecord],
    now: Millis,
) -> Result<(), Error> {
    let row = |unfit: &UnpostableRecord| -> [Value; 8] {
        [
            node.as_str().into(),
            epoch.cast_signed().into(),
            signed(unfit.sequence).into(),
            unfit.account.into(),
            plain(&unfit.request_id).into(),
            plain(&unfit.reason).into(),
            now.0.into(),
            unfit.record.clone().into(),
        ]
    };
    let rows = records.iter().map(row).collect();
    let sql = |rows: &str| {
        format!(
            "INSERT INTO usage_quarantined (node, epoch, sequence, account_id, request_id, reason, at, record) {rows}"
        )
    };
    in_batches(tx, rows, sql).await.map(drop)
}

/// How many are quarantined.
pub(in crate::store) async fn count(tx: &Tx) -> Result<u64, Error> {
    let sql = "SELECT COUNT(*) AS number FROM usage_quarantined";
    let row = tx.handle().query_one_raw(statement(tx, sql, [])).await?;
    row.map_or(Ok(0), |row| number(&row, "number").map(unsigned))
}

/// The latest of them.
pub(in crate::store) async fn latest(
    tx: &Tx,
    rows_max: u32,
) -> Result<Vec<QuarantinedRecord>, Error> {
    let sql = format!(
        "SELECT node, epoch, sequence, account_id, request_id, reason, at FROM usage_quarantined \
         ORDER BY at DESC, sequence DESC LIMIT {rows_max}"
    );
    let rows = tx.handle().query_all_raw(statement(tx, &sql, [])).await?;
    let read = |row: &QueryResult| {
        Ok(QuarantinedRecord {
            node: row.try_get("", "node")?,
            epoch: number(row, "epoch")?.cast_unsigned(),
            sequence: unsigned(number(row, "sequence")?),
            account: row.try_get("", "account_id")?,
            request_id: row.try_get("", "request_id")?,
            reason: row.try_get("", "reason")?,
            at: Millis(number(row, "at")?),
        })
    };
    rows.iter().map(read).collect()
}

/// Text without NUL, which PostgreSQL does not store.
fn plain(text: &str) -> String {
    let plain = text.chars().filter(|character| *character != '\0');
    plain.take(REASON_CHARS_MAX).collect()
}
