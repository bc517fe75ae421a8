//! Totals of what calls cost their accounts and the operator, by all that they are asked by; and since when which key
//! is paid by the month. Rows carry their account, whose lock is held by whoever posts, so no row is hot; those of all
//! accounts together carry the data plane whose report was posted.

use std::collections::BTreeMap;

use jiff::civil::Date;
use proxyxai_contract::{
    id::{AccountId, KeyId, Level},
    money::Money,
};
use sea_orm::{ConnectionTrait as _, QueryResult, Value};

use super::{Db, Tx, in_batches, number, signed, statement, unsigned};
use crate::{
    Error,
    domain::flat::Changes,
    view::{Days, EarnedBy, Earning, EarningOf, SpentTokens},
};

/// Totals by all that they are kept by.
pub(crate) type Earned = BTreeMap<EarningOf, Earning>;

pub(super) const SUMS: &str = "CAST(SUM(requests) AS BIGINT) AS requests, CAST(SUM(input) AS BIGINT) AS input, \
    CAST(SUM(cached) AS BIGINT) AS cached, CAST(SUM(output) AS BIGINT) AS output, \
    CAST(SUM(cost) AS BIGINT) AS cost, CAST(SUM(expense) AS BIGINT) AS expense";

/// Which earnings are asked for.
#[derive(Debug, Clone)]
pub(crate) struct Which {
    pub(crate) days: Days,
    pub(crate) account: Option<AccountId>,
    pub(crate) key: Option<KeyId>,
    pub(crate) provider: Option<String>,
    pub(crate) model: Option<String>,
}

/// Adds to the totals of accounts, and to those of all together in the rows of a data plane. What no data plane reported
/// is without a name.
pub(crate) async fn add(tx: &Tx, node: &str, earned: &Earned) -> Result<(), Error> {
    let is_some = |(_, earning): &(&EarningOf, &Earning)| **earning != Earning::default();
    add_to_accounts(tx, earned.iter().filter(is_some)).await?;
    // In the order of its own key, so that two transactions never wait for each other.
    let mut totals: BTreeMap<TotalOf<'_>, Earning> = BTreeMap::new();
    for (of, earning) in earned.iter().filter(is_some) {
        let EarningOf {
            account: _,
            day,
            key,
            provider,
            model,
            level,
        } = of;
        let total = (*day, *key, provider.as_str(), model.as_str(), *level);
        totals.entry(total).or_default().add(earning);
    }
    add_to_all(tx, node, &totals).await
}

/// What totals of all accounts together are kept by.
type TotalOf<'a> = (Date, Option<KeyId>, &'a str, &'a str, Level);

async fn add_to_all(
    tx: &Tx,
    node: &str,
    totals: &BTreeMap<TotalOf<'_>, Earning>,
) -> Result<(), Error> {
    let row = |(of, earning): (&TotalOf<'_>, &Earning)| -> [Value; 12] {
        let (day, key, provider, model, level) = *of;
        let [requests, input, cached, output, cost, expense] = counters(earning);
        [
            day.to_string().into(),
            key.map_or(0, KeyId::get).into(),
            provider.into(),
            model.into(),
            i64::from(level.get()).into(),
            node.into(),
            requests,
            input,
            cached,
            output,
            cost,
            expense,
        ]
    };
    let key = "day, key_id, provider, model, level, node";
    let sql = |rows: &str| upsert("earning_total", key, rows);
    let rows = totals.iter().map(row).collect();
    in_batches(tx, rows, sql).await.map(drop)
}

async fn add_to_accounts(
    tx: &Tx,
    earned: impl Iterator<Item = (&EarningOf, &Earning)>,
) -> Result<(), Error> {
    let row = |(of, earning): (&EarningOf, &Earning)| -> [Value; 12] {
        let EarningOf {
            account,
            day,
            key,
            provider,
            model,
            level,
        } = of;
        let [requests, input, cached, output, cost, expense] = counters(earning);
        [
            account.get().into(),
            day.to_string().into(),
            key.map_or(0, KeyId::get).into(),
            provider.as_str().into(),
            model.as_str().into(),
            i64::from(level.get()).into(),
            requests,
            input,
            cached,
            output,
            cost,
            expense,
        ]
    };
    let key = "account_id, day, key_id, provider, model, level";
    let sql = |rows: &str| upsert("earning", key, rows);
    in_batches(tx, earned.map(row).collect(), sql)
        .await
        .map(drop)
}

fn counters(earning: &Earning) -> [Value; 6] {
    [
        signed(earning.requests).into(),
        signed(earning.tokens.input).into(),
        signed(earning.tokens.cached).into(),
        signed(earning.tokens.output).into(),
        earning.cost.nanos().into(),
        earning.expense.nanos().into(),
    ]
}

fn upsert(table: &str, key: &str, rows: &str) -> String {
    let columns = ["requests", "input", "cached", "output", "cost", "expense"];
    let sums = columns.map(|name| format!("{name} = {table}.{name} + excluded.{name}"));
    format!(
        "INSERT INTO {table} ({key}, {}) {rows} ON CONFLICT ({key}) DO UPDATE SET {}",
        columns.join(", "),
        sums.join(", ")
    )
}

/// Totals by one thing, as it is stored.
pub(crate) async fn by(
    db: &impl Db,
    by: EarnedBy,
    which: &Which,
) -> Result<Vec<(String, Earning)>, Error> {
    let column = match by {
        EarnedBy::Key => "key_id",
        EarnedBy::Provider => "provider",
        EarnedBy::Model => "model",
        EarnedBy::Account => "account_id",
        EarnedBy::Day => "day",
        EarnedBy::Level => "level",
    };
    // Of all accounts together there are far fewer rows.
    let table = if which.account.is_none() && by != EarnedBy::Account {
        "earning_total"
    } else {
        "earning"
    };
    let (condition, values) = condition(which);
    let sql = format!(
        "SELECT CAST({column} AS TEXT) AS named, {SUMS} FROM {table} WHERE {condition} GROUP BY {column}"
    );
    let rows = db.handle().query_all_raw(statement(db, &sql, values));
    let read = |row: &QueryResult| Ok((row.try_get("", "named")?, earning(row)?));
    let rows = rows.await?;
    rows.iter().map(read).collect()
}

/// The totals as they are kept, of one day.
pub(crate) async fn of_day(db: &impl Db, which: &Which) -> Result<Earned, Error> {
    let (condition, values) = condition(which);
    let sql = format!(
        "SELECT account_id, day, key_id, provider, model, level, requests, input, cached, output, cost, expense \
         FROM earning \
         WHERE {condition}"
    );
    let rows = db.handle().query_all_raw(statement(db, &sql, values));
    let read = |row: &QueryResult| {
        let key = Some(number(row, "key_id")?).filter(|key| *key != 0);
        let day: String = row.try_get("", "day")?;
        let of = EarningOf {
            account: AccountId::new(number(row, "account_id")?)?,
            day: day.parse().map_err(Error::internal)?,
            key: key.map(KeyId::new).transpose()?,
            provider: row.try_get("", "provider")?,
            model: row.try_get("", "model")?,
            level: Level::new(number(row, "level")?)?,
        };
        Ok((of, earning(row)?))
    };
    let rows = rows.await?;
    rows.iter().map(read).collect()
}

fn condition(which: &Which) -> (String, Vec<Value>) {
    let Which {
        days,
        account,
        key,
        provider,
        model,
    } = which;
    let mut condition = "day BETWEEN ? AND ?".to_owned();
    let mut values: Vec<Value> = vec![days.start.to_string().into(), days.end.to_string().into()];
    let mut only = |column: &str, value: Option<Value>| {
        if let Some(value) = value {
            condition = format!("{condition} AND {column} = ?");
            values.push(value);
        }
    };
    only("account_id", account.map(|id| id.get().into()));
    only("key_id", key.map(|id| id.get().into()));
    only("provider", provider.clone().map(Value::from));
    only("model", model.clone().map(Value::from));
    (condition, values)
}

pub(super) fn earning(row: &QueryResult) -> Result<Earning, Error> {
    Ok(Earning {
        requests: unsigned(number(row, "requests")?),
        tokens: SpentTokens {
            input: unsigned(number(row, "input")?),
            cached: unsigned(number(row, "cached")?),
            output: unsigned(number(row, "output")?),
        },
        cost: Money::from_nanos(number(row, "cost")?),
        expense: Money::from_nanos(number(row, "expense")?),
        flat: Money::ZERO,
    })
}

/// A key costs this a month from a day on.
pub(crate) async fn put_flat(tx: &Tx, key: KeyId, from: Date, monthly: Money) -> Result<(), Error> {
    let sql = "INSERT INTO key_flat (key_id, day, monthly) VALUES (?, ?, ?) \
        ON CONFLICT (key_id, day) DO UPDATE SET monthly = excluded.monthly";
    let values = [
        key.get().into(),
        from.to_string().into(),
        monthly.nanos().into(),
    ];
    let done = tx.handle().execute_raw(statement(tx, sql, values)).await;
    done.map(drop).map_err(Error::from)
}

/// What all keys cost by the month, since when.
pub(crate) async fn flats(db: &impl Db) -> Result<BTreeMap<KeyId, Changes>, Error> {
    let sql = "SELECT key_id, day, monthly FROM key_flat ORDER BY key_id, day";
    let rows = db.handle().query_all_raw(statement(db, sql, []));
    let mut flats: BTreeMap<KeyId, Changes> = BTreeMap::new();
    for row in rows.await? {
        let day: String = row.try_get("", "day")?;
        let day = day.parse().map_err(Error::internal)?;
        let changes = flats
            .entry(KeyId::new(number(&row, "key_id")?)?)
            .or_default();
        changes.push((day, Money::from_nanos(number(&row, "monthly")?)));
    }
    Ok(flats)
}
