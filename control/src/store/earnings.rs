//! Totals of what calls cost their accounts and the operator, by each dimension; and monthly prices of keys.
//! Rows carry their account, which posting locks, so no row is hot. Rows of all accounts below one carry the reporting
//! data plane.

use std::{array, collections::BTreeMap};

use jiff::civil::Date;
use proxyxai_contract::{
    id::{AccountId, KeyId, Level},
    money::Money,
};
use sea_orm::{ConnectionTrait as _, QueryResult, Value};

use super::{Db, Tx, bills, in_batches, number, signed, statement, unsigned, usage::earned};
use crate::{
    Error,
    domain::flat_rate::MonthlyPrices,
    model::{DateRange, Earning, EarningDimension, EarningKey, SpentTokens},
};

/// Totals by their full key.
pub(crate) type EarningTotals = BTreeMap<EarningKey, Earning>;

pub(super) const SUMS: &str = "CAST(SUM(requests) AS BIGINT) AS requests, CAST(SUM(input) AS BIGINT) AS input, \
    CAST(SUM(cached) AS BIGINT) AS cached, CAST(SUM(output) AS BIGINT) AS output, \
    CAST(SUM(cost) AS BIGINT) AS cost, CAST(SUM(expense) AS BIGINT) AS expense";

/// Root's own totals and those of all below it: far fewer rows than those of each account.
const OF_ALL: &str = "(SELECT day, key_id, provider, model, level, requests, input, cached, output, cost, expense FROM earning \
    WHERE account_id = 1 UNION ALL \
    SELECT day, key_id, provider, model, level, requests, input, cached, output, cost, expense FROM earning_below \
    WHERE account_id = 1) of_all";

/// Which earnings are asked for.
#[derive(Debug, Clone)]
pub(crate) struct EarningQuery {
    pub(crate) days: DateRange,
    pub(crate) account: Option<AccountId>,
    pub(crate) key: Option<KeyId>,
    pub(crate) provider: Option<String>,
    pub(crate) model: Option<String>,
}

/// Adds to the totals of accounts, and to those of their ancestors in the rows of a data plane. The node's name is
/// empty if no data plane reported it. `above` returns the ancestors of an account.
pub(crate) async fn add(
    tx: &Tx,
    node: &str,
    earned: &EarningTotals,
    above: impl Fn(AccountId) -> Vec<AccountId>,
) -> Result<(), Error> {
    let is_some = |(_, earning): &(&EarningKey, &Earning)| **earning != Earning::default();
    add_to_accounts(tx, earned.iter().filter(is_some)).await?;
    // Sorted by key, so that two transactions never deadlock.
    let mut below: BTreeMap<EarningKey, Earning> = BTreeMap::new();
    for (of, earning) in earned.iter().filter(is_some) {
        for account in above(of.account) {
            let of = EarningKey {
                account,
                ..of.clone()
            };
            below.entry(of).or_default().add(earning);
        }
    }
    add_to_ancestors(tx, node, &below).await
}

async fn add_to_ancestors(tx: &Tx, node: &str, below: &EarningTotals) -> Result<(), Error> {
    let row = |(of, earning): (&EarningKey, &Earning)| -> [Value; 13] {
        let (place, node) = (place(of).into_iter(), Value::from(node));
        let mut all = place.chain([node]).chain(counters(earning));
        array::from_fn(|_| all.next().unwrap_or(Value::BigInt(None)))
    };
    let key = "account_id, day, key_id, provider, model, level, node";
    let sql = |rows: &str| upsert("earning_below", key, rows);
    let rows = below.iter().map(row).collect();
    in_batches(tx, rows, sql).await.map(drop)
}

async fn add_to_accounts(
    tx: &Tx,
    earned: impl Iterator<Item = (&EarningKey, &Earning)>,
) -> Result<(), Error> {
    let row = |(of, earning): (&EarningKey, &Earning)| -> [Value; 12] {
        let mut all = place(of).into_iter().chain(counters(earning));
        array::from_fn(|_| all.next().unwrap_or(Value::BigInt(None)))
    };
    let key = "account_id, day, key_id, provider, model, level";
    let sql = |rows: &str| upsert("earning", key, rows);
    in_batches(tx, earned.map(row).collect(), sql)
        .await
        .map(drop)
}

fn place(of: &EarningKey) -> [Value; 6] {
    let EarningKey {
        account,
        day,
        key,
        provider,
        model,
        level,
    } = of;
    [
        account.get().into(),
        day.to_string().into(),
        key.map_or(0, KeyId::get).into(),
        provider.as_str().into(),
        model.as_str().into(),
        i64::from(level.get()).into(),
    ]
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

/// Totals by one dimension, as it is stored.
pub(crate) async fn by(
    db: &impl Db,
    by: EarningDimension,
    which: &EarningQuery,
) -> Result<Vec<(String, Earning)>, Error> {
    let column = match by {
        EarningDimension::Key => "key_id",
        EarningDimension::Provider => "provider",
        EarningDimension::Model => "model",
        EarningDimension::Account => "account_id",
        EarningDimension::Day => "day",
        EarningDimension::Level => "level",
    };
    let (rows, values) = if by == EarningDimension::Account && which.is_of_all() {
        let days = bills::up_to_now(db, which.days).await?;
        (earned(days), Vec::new())
    } else {
        let (condition, values) = condition(which);
        let table = if by == EarningDimension::Account || which.account.is_some() {
            "earning"
        } else {
            OF_ALL
        };
        (format!("SELECT * FROM {table} WHERE {condition}"), values)
    };
    let sql = format!(
        "SELECT CAST({column} AS TEXT) AS named, {SUMS} FROM ({rows}) rows_asked GROUP BY {column}"
    );
    let rows = db.handle().query_all_raw(statement(db, &sql, values));
    let read = |row: &QueryResult| Ok((row.try_get("", "named")?, earning(row)?));
    let rows = rows.await?;
    let rows: Result<Vec<_>, Error> = rows.iter().map(read).collect();
    let mut rows = rows?;
    // Subtracting from a span may leave nothing.
    rows.retain(|(_, earning)| *earning != Earning::default());
    Ok(rows)
}

impl EarningQuery {
    const fn is_of_all(&self) -> bool {
        let Self {
            days: _,
            account,
            key,
            provider,
            model,
        } = self;
        account.is_none() && key.is_none() && provider.is_none() && model.is_none()
    }
}

/// The stored totals of one day.
pub(crate) async fn of_day(db: &impl Db, which: &EarningQuery) -> Result<EarningTotals, Error> {
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
        let of = EarningKey {
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

fn condition(which: &EarningQuery) -> (String, Vec<Value>) {
    let EarningQuery {
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

/// Sets a key's monthly price from a day on.
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

/// Monthly prices of all keys, each with the day it counts from.
pub(crate) async fn flats(db: &impl Db) -> Result<BTreeMap<KeyId, MonthlyPrices>, Error> {
    let sql = "SELECT key_id, day, monthly FROM key_flat ORDER BY key_id, day";
    let rows = db.handle().query_all_raw(statement(db, sql, []));
    let mut flats: BTreeMap<KeyId, MonthlyPrices> = BTreeMap::new();
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
