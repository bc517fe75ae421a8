//! Totals of what calls cost their accounts and the operator, by all that they are asked by; and since when which key
//! is paid by the month. Rows carry their account, whose lock is held by whoever posts, so no row is hot.

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

/// Adds to the totals.
pub(crate) async fn add(tx: &Tx, earned: &Earned) -> Result<(), Error> {
    let row = |(of, earning): (&EarningOf, &Earning)| -> [Value; 12] {
        let EarningOf {
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
            signed(earning.requests).into(),
            signed(earning.tokens.input).into(),
            signed(earning.tokens.cached).into(),
            signed(earning.tokens.output).into(),
            earning.cost.nanos().into(),
            earning.expense.nanos().into(),
        ]
    };
    let sql = |rows: &str| {
        format!(
            "INSERT INTO earning (account_id, day, key_id, provider, model, level, requests, input, cached, output, cost, expense) \
             {rows} ON CONFLICT (account_id, day, key_id, provider, model, level) DO UPDATE SET \
             requests = earning.requests + excluded.requests, input = earning.input + excluded.input, \
             cached = earning.cached + excluded.cached, output = earning.output + excluded.output, cost = earning.cost + excluded.cost, \
             expense = earning.expense + excluded.expense"
        )
    };
    let some = earned
        .iter()
        .filter(|(_, earning)| **earning != Earning::default());
    in_batches(tx, some.map(row).collect(), sql).await.map(drop)
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
    let (condition, values) = condition(which);
    let sql = format!(
        "SELECT CAST({column} AS TEXT) AS named, {SUMS} FROM earning WHERE {condition} GROUP BY {column}"
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
