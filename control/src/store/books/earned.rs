//! Checks that sums of earnings, of all below an account by day and of each account by span, equal those of single
//! days.

use sea_orm::QueryResult;

use super::{ABOVE, difference, first, money};
use crate::{
    Error,
    model::LedgerDifference,
    store::{Tx, number},
};

const BELOW_KEYS: &str = "account_id, day, key_id, provider, model, level";
const THIRD: &str = "SUBSTR(day, 1, 7) || CASE WHEN SUBSTR(day, 9, 2) <= '10' THEN '/1' \
    WHEN SUBSTR(day, 9, 2) <= '20' THEN '/2' ELSE '/3' END";

pub(super) async fn earned(tx: &Tx) -> Result<Option<LedgerDifference>, Error> {
    if let Some(found) = below(tx).await? {
        return Ok(Some(found));
    }
    spans(tx).await
}

/// Sums of all accounts below one.
async fn below(tx: &Tx) -> Result<Option<LedgerDifference>, Error> {
    let rest = "day, key_id, provider, model, level, requests, cost, expense";
    let kept = format!("SELECT account_id, {rest} FROM earning_below");
    let days = format!(
        "SELECT * FROM ({ABOVE} SELECT above.account_id, {rest} FROM earning JOIN above ON above.id = earning.account_id) days"
    );
    let columns = ["requests", "cost", "expense"];
    let Some(row) = first(tx, &unequal(BELOW_KEYS, &columns, [&kept, &days])).await? else {
        return Ok(None);
    };
    let day: String = row.try_get("", "day")?;
    let model: String = row.try_get("", "model")?;
    let found = differing(
        &row,
        &columns,
        &format!("earning_below of {day} and {model:?}"),
    )?;
    Ok(Some(LedgerDifference {
        account: Some(number(&row, "account_id")?),
        ..found
    }))
}

/// Sums of each account by span.
async fn spans(tx: &Tx) -> Result<Option<LedgerDifference>, Error> {
    let days = format!(
        "SELECT * FROM (WITH third AS (SELECT account_id, {THIRD} AS span, CAST(SUM(cost) AS BIGINT) AS charged, \
         CAST(SUM(expense) AS BIGINT) AS expense FROM earning GROUP BY 1, 2) \
         SELECT account_id, span, charged, expense FROM third UNION ALL \
         SELECT account_id, SUBSTR(span, 1, 7), charged, expense FROM third UNION ALL \
         SELECT account_id, SUBSTR(span, 1, 4), charged, expense FROM third) days"
    );
    let kept = "SELECT account_id, span, charged, expense FROM usage_span";
    let columns = ["charged", "expense"];
    let sql = unequal("account_id, span", &columns, [kept, &days]);
    let Some(row) = first(tx, &sql).await? else {
        return Ok(None);
    };
    let span: String = row.try_get("", "span")?;
    let found = differing(&row, &columns, &format!("usage_span of {span}"))?;
    Ok(Some(LedgerDifference {
        account: Some(number(&row, "account_id")?),
        ..found
    }))
}

/// The first key for which two lists differ.
fn unequal(keys: &str, columns: &[&str], [found, expected]: [&str; 2]) -> String {
    let each = |form: &dyn Fn(&str) -> String, by: &str| {
        let all: Vec<_> = columns.iter().map(|name| form(name)).collect();
        all.join(by)
    };
    let sums = each(
        &|name| {
            format!(
                "CAST(SUM(found_{name}) AS BIGINT) AS found_{name}, CAST(SUM(expected_{name}) AS BIGINT) AS expected_{name}"
            )
        },
        ", ",
    );
    let left = each(
        &|name| format!("{name} AS found_{name}, 0 AS expected_{name}"),
        ", ",
    );
    let right = each(&|name| format!("0, {name}"), ", ");
    let differ = each(
        &|name| format!("SUM(found_{name}) <> SUM(expected_{name})"),
        " OR ",
    );
    format!(
        "SELECT {keys}, {sums} FROM (SELECT {keys}, {left} FROM ({found}) f UNION ALL \
         SELECT {keys}, {right} FROM ({expected}) e) both_sides GROUP BY {keys} HAVING {differ} ORDER BY {keys} LIMIT 1"
    )
}

/// Finds the column in which a row differs.
fn differing(row: &QueryResult, columns: &[&str], place: &str) -> Result<LedgerDifference, Error> {
    for name in columns {
        let [found, expected] = ["found", "expected"].map(|side| {
            let column = format!("{side}_{name}");
            if *name == "requests" {
                number(row, &column).map(|count| count.to_string())
            } else {
                money(row, &column).map(|money| money.to_string())
            }
        });
        let (found, expected) = (found?, expected?);
        if found != expected {
            return Ok(LedgerDifference {
                found,
                ..difference(format!("{name} in {place}"), "earning", expected)
            });
        }
    }
    Err(Error::internal("earnings differ in nothing"))
}
