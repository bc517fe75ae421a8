//! Calls that were refused before any attempt: storing, listing and pruning them.

use proxyxai_contract::{clock::Millis, id::AccountId, refused_call::RefusedCall};
use sea_orm::{ConnectionTrait as _, QueryResult, Value};

use super::{Db, Tx, in_batches, number, signed, statement, unsigned};
use crate::{
    Error,
    model::{RefusalCursor, RefusalFilter},
};

const COLUMNS: &str =
    "at, id, account_id, path, model, status, code, message, request_id, duration_ms, represents";

/// Whose refused calls.
#[derive(Debug)]
pub(crate) enum RefusalScope {
    /// All accounts, and calls with unknown keys.
    Everybody,
    /// One account.
    One(AccountId),
    /// The accounts at or below this DNA.
    Below(String),
}

/// Stores the calls that are not stored yet.
pub(crate) async fn insert(tx: &Tx, calls: &[RefusedCall]) -> Result<(), Error> {
    let row = |call: &RefusedCall| -> [Value; 11] {
        [
            call.at.0.into(),
            call.id.into(),
            call.account.map_or(0, AccountId::get).into(),
            call.path.as_str().into(),
            call.model.as_str().into(),
            i64::from(call.status).into(),
            call.code.as_str().into(),
            call.message.as_str().into(),
            call.request_id.as_str().into(),
            signed(call.duration_ms).into(),
            signed(call.represents).into(),
        ]
    };
    let sql = |rows: &str| {
        format!("INSERT INTO refused_call ({COLUMNS}) {rows} ON CONFLICT (at, id) DO NOTHING")
    };
    let rows = calls.iter().map(row).collect();
    in_batches(tx, rows, sql).await.map(drop)
}

/// One page, newest first, from a position on.
pub(crate) async fn list(
    db: &impl Db,
    whose: &RefusalScope,
    filter: &RefusalFilter,
    (before, most): (Option<RefusalCursor>, u64),
) -> Result<Vec<RefusedCall>, Error> {
    let mut conditions = vec!["at >= ? AND at <= ?"];
    let first = filter.start.map_or(i64::MIN, |start| start.0);
    let last = filter.end.map_or(i64::MAX, |end| end.0);
    let mut values: Vec<Value> = vec![first.into(), last.into()];
    let mut and = |condition, more: Vec<Value>| {
        conditions.push(condition);
        values.extend(more);
    };
    match whose {
        RefusalScope::Everybody => {}
        RefusalScope::One(id) => and("account_id = ?", vec![id.get().into()]),
        RefusalScope::Below(dna) => and(
            "account_id IN (SELECT id FROM account WHERE dna LIKE ?)",
            vec![format!("{dna}%").into()],
        ),
    }
    if let Some(model) = &filter.model {
        match model.strip_suffix('*') {
            Some(beginning) => {
                let chars = i64::try_from(beginning.chars().count()).unwrap_or(i64::MAX);
                let begins = "SUBSTR(model, 1, CAST(? AS INTEGER)) = ?";
                and(begins, vec![chars.into(), beginning.into()]);
            }
            None => and("model = ?", vec![model.as_str().into()]),
        }
    }
    if let Some(status) = filter.status {
        let (first, last) = status.range().into_inner();
        let range = [first, last].map(|status| i64::from(status).into());
        and("status BETWEEN ? AND ?", range.into());
    }
    if let Some(id) = &filter.request_id {
        and("request_id = ?", vec![id.as_str().into()]);
    }
    if let Some(RefusalCursor { at, id }) = before {
        and("(at, id) < (?, ?)", vec![at.0.into(), id.into()]);
    }
    let sql = format!(
        "SELECT {COLUMNS} FROM refused_call WHERE {} ORDER BY at DESC, id DESC LIMIT {most}",
        conditions.join(" AND ")
    );
    let rows = db.handle().query_all_raw(statement(db, &sql, values));
    rows.await?.iter().map(read).collect()
}

/// Deletes the oldest from before a moment, at most `batch`. Returns how many.
pub(crate) async fn prune(tx: &Tx, before: Millis, batch: u64) -> Result<u64, Error> {
    let sql = format!(
        "DELETE FROM refused_call WHERE (at, id) IN \
         (SELECT at, id FROM refused_call WHERE at < ? ORDER BY at, id LIMIT {batch})"
    );
    let done = statement(tx, &sql, [Value::from(before.0)]);
    let done = tx.handle().execute_raw(done).await?;
    Ok(done.rows_affected())
}

fn read(row: &QueryResult) -> Result<RefusedCall, Error> {
    let text = |column: &str| -> Result<String, Error> { Ok(row.try_get("", column)?) };
    let account: i64 = number(row, "account_id")?;
    let account = Some(account).filter(|id| *id != 0).map(AccountId::new);
    Ok(RefusedCall {
        at: Millis(number(row, "at")?),
        id: number(row, "id")?,
        account: account.transpose()?,
        path: text("path")?,
        model: text("model")?,
        status: u16::try_from(number(row, "status")?).unwrap_or_default(),
        code: text("code")?,
        message: text("message")?,
        request_id: text("request_id")?,
        duration_ms: unsigned(number(row, "duration_ms")?),
        represents: unsigned(number(row, "represents")?),
    })
}
