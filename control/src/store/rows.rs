//! Statements that write many rows at once, as SQL text: the query builder's copies of every value cost more than the
//! database does. They have few different texts, whatever the number of rows, so that each is prepared once.

use sea_orm::{
    ConnectionTrait as _, QueryResult, Statement, Value,
    sea_query::{ArrayType, Value as AnyValue},
};

use super::{Db, Tx, statement};
use crate::Error;

/// Rows of one statement on SQLite, which has one parameter for each field and allows 32,766. A few rows, as a report
/// at a low rate has, fit one statement.
const SIZES: [usize; 7] = [256, 64, 16, 4, 3, 2, 1];
/// On PostgreSQL, which has an array for each column. A report has a thousand records, and some rows for each.
const ARRAY_ROWS_MAX: usize = 8_192;
/// Stands for null in an array: the driver takes no null numbers. No amount and no counter has this value.
const NO_NUMBER: i64 = i64::MIN;

/// Runs a statement over many rows. `sql` gets the query that returns the rows in their order, for an INSERT. In
/// brackets and named `new`, its columns are `column1` and so on. Returns how many rows were written.
pub(super) async fn in_batches<const N: usize>(
    tx: &Tx,
    rows: Vec<[Value; N]>,
    sql: impl Fn(&str) -> String,
) -> Result<u64, Error> {
    let mut written = 0u64;
    for statement in statements(tx, rows, sql)? {
        let done = tx.handle().execute_raw(statement).await?;
        written = written.saturating_add(done.rows_affected());
    }
    Ok(written)
}

/// Like `in_batches`, for a statement that returns rows.
pub(super) async fn returned_in_batches<const N: usize>(
    tx: &Tx,
    rows: Vec<[Value; N]>,
    sql: impl Fn(&str) -> String,
) -> Result<Vec<QueryResult>, Error> {
    let mut returned = Vec::with_capacity(rows.len());
    for statement in statements(tx, rows, sql)? {
        returned.extend(tx.handle().query_all_raw(statement).await?);
    }
    Ok(returned)
}

fn statements<const N: usize>(
    tx: &Tx,
    rows: Vec<[Value; N]>,
    sql: impl Fn(&str) -> String,
) -> Result<Vec<Statement>, Error> {
    let (mut left, mut statements) = (rows.into_iter(), Vec::new());
    if tx.locks_rows() {
        while left.len() > 0 {
            let (source, arrays) = arrays(left.by_ref().take(ARRAY_ROWS_MAX))?;
            statements.push(statement(tx, &sql(&source), arrays));
        }
        return Ok(statements);
    }
    let row = format!("({})", ["?"; N].join(","));
    for size in SIZES {
        while left.len() >= size {
            let source = format!("VALUES {}", vec![row.as_str(); size].join(","));
            let values = left.by_ref().take(size).flatten();
            statements.push(statement(tx, &sql(&source), values));
        }
    }
    Ok(statements)
}

/// A query for rows given as one array for each column, and these arrays.
fn arrays<const N: usize>(
    rows: impl Iterator<Item = [Value; N]>,
) -> Result<(String, Vec<Value>), Error> {
    let mut columns: [Vec<Value>; N] = std::array::from_fn(|_| Vec::new());
    for row in rows {
        for (column, value) in columns.iter_mut().zip(row) {
            column.push(match value {
                Value::BigInt(None) => NO_NUMBER.into(),
                value => value,
            });
        }
    }
    // UNNEST in the select list makes rows one by one; in FROM each array would be laid out first, which takes as long
    // as writing the rows.
    let (mut picked, mut given, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for (column, number) in columns.into_iter().zip(1u32..) {
        let kind = column.first().map(AnyValue::array_type);
        let (kind, name) = match kind {
            Some(kind @ ArrayType::BigInt) => (kind, "bigint"),
            Some(kind @ ArrayType::String) => (kind, "text"),
            Some(kind @ ArrayType::Bool) => (kind, "boolean"),
            Some(kind @ ArrayType::Bytes) => (kind, "bytea"),
            other => return Err(Error::internal(format!("no column has {other:?}"))),
        };
        picked.push(match kind {
            ArrayType::BigInt => format!("NULLIF(column{number}, {NO_NUMBER}) AS column{number}"),
            _ => format!("column{number}"),
        });
        given.push(format!("UNNEST(?::{name}[]) AS column{number}"));
        values.push(Value::Array(kind, Some(Box::new(column))));
    }
    let source = format!(
        "SELECT {} FROM (SELECT {}) AS given",
        picked.join(","),
        given.join(",")
    );
    Ok((source, values))
}
