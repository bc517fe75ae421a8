//! Totals by account, kept with the postings: of days by model, of whole spans, and of all below an account.
//! Reports and limits read them.

use std::{array, collections::BTreeMap};

use jiff::civil::Date;
use proxyxai_contract::{id::AccountId, money::Money};
use sea_orm::{ConnectionTrait as _, QueryResult, Value};

use super::spans::{Cover, spans_of};
use crate::{
    Error,
    store::{Db, Tx, among, in_batches, number, signed, statement, unsigned},
    view::{Days, ModelTotals, Totals},
};

/// The counters, added up; `PostgreSQL`'s sum of big integers is a decimal.
pub(in crate::store) const SUMS: &str = "CAST(SUM(requests) AS BIGINT) AS requests, \
    CAST(SUM(input) AS BIGINT) AS input, CAST(SUM(cached) AS BIGINT) AS cached, \
    CAST(SUM(output) AS BIGINT) AS output, CAST(SUM(cost) AS BIGINT) AS cost";

/// Totals of one account, day and model.
pub(crate) type Daily = BTreeMap<(AccountId, Date, String), Totals>;

/// More accounts than this are asked for in several statements.
const ACCOUNTS_PER_QUERY: usize = 500;

/// Adds to the totals of accounts and to those of their ancestors, in the rows of a data plane. What no
/// data plane reported is without a name. `above` says the ancestors of an account.
pub(crate) async fn add_totals(
    tx: &Tx,
    node: &str,
    daily: &Daily,
    above: impl Fn(AccountId) -> Vec<AccountId>,
) -> Result<(), Error> {
    let mut spans: BTreeMap<(String, AccountId), Totals> = BTreeMap::new();
    let mut below: BTreeMap<(AccountId, Date, &str), Totals> = BTreeMap::new();
    let mut rows = Vec::with_capacity(daily.len());
    for ((account, day, model), totals) in daily {
        for span in spans_of(*day) {
            spans.entry((span, *account)).or_default().add(totals);
        }
        for ancestor in above(*account) {
            let all = below.entry((ancestor, *day, model)).or_default();
            all.add(totals);
        }
        let key = [account.get().into(), day.to_string().into(), model.into()];
        rows.push(row(key, totals));
    }
    upsert::<8>(tx, "usage_daily", "account_id, day, model", rows).await?;
    let spans = spans
        .into_iter()
        .map(|((span, account), totals)| row([span.into(), account.get().into()], &totals));
    upsert::<7>(tx, "usage_span", "span, account_id", spans.collect()).await?;
    let below = below.into_iter().map(|((account, day, model), totals)| {
        let (day, model) = (day.to_string().into(), model.into());
        row([account.get().into(), day, model, node.into()], &totals)
    });
    let key = "account_id, day, model, node";
    upsert::<9>(tx, "usage_below", key, below.collect()).await
}

/// Adds rows to what is there. They come in the order of their key, so that two transactions never wait
/// for each other.
pub(super) async fn upsert<const N: usize>(
    tx: &Tx,
    table: &str,
    key: &str,
    rows: Vec<[Value; N]>,
) -> Result<(), Error> {
    let sql = |rows: &str| {
        format!(
            "INSERT INTO {table} ({key}, requests, input, cached, output, cost) \
             {rows} ON CONFLICT ({key}) DO UPDATE SET \
             requests = {table}.requests + excluded.requests, input = {table}.input + excluded.input, \
             cached = {table}.cached + excluded.cached, output = {table}.output + excluded.output, \
             cost = {table}.cost + excluded.cost"
        )
    };
    in_batches(tx, rows, sql).await.map(drop)
}

/// A row of its key and the five counters.
pub(super) fn row<const K: usize, const N: usize>(key: [Value; K], totals: &Totals) -> [Value; N] {
    let Totals {
        requests,
        input,
        cached,
        output,
        cost,
    } = *totals;
    let counters = [requests, input, cached, output].map(|count| Value::from(signed(count)));
    let mut all = key.into_iter().chain(counters).chain([cost.nanos().into()]);
    array::from_fn(|_| all.next().unwrap_or(Value::BigInt(None)))
}

/// Charges by account over some days; none of `accounts` means all.
pub(crate) async fn costs(
    db: &impl Db,
    accounts: Option<&[AccountId]>,
    days: Days,
) -> Result<BTreeMap<AccountId, Money>, Error> {
    let used = used(days);
    let chunks: Vec<Option<&[AccountId]>> = match accounts {
        Some(ids) => ids.chunks(ACCOUNTS_PER_QUERY).map(Some).collect(),
        None => vec![None],
    };
    let mut costs = BTreeMap::new();
    for chunk in chunks {
        let (these, values) = match chunk {
            None => (String::new(), Vec::new()),
            Some(ids) => {
                let (these, values) = among(db, ids.iter().map(|id| id.get()).collect());
                (format!(" WHERE account_id {these}"), values)
            }
        };
        let sql = format!(
            "SELECT account_id, CAST(SUM(cost) AS BIGINT) AS cost FROM ({used}) used{these} GROUP BY account_id"
        );
        let rows = db.handle().query_all_raw(statement(db, &sql, values));
        for row in rows.await? {
            let id = AccountId::new(number(&row, "account_id")?)?;
            costs.insert(id, Money::from_nanos(number(&row, "cost")?));
        }
    }
    Ok(costs)
}

/// Totals by model over some days, dearest first.
pub(crate) async fn by_model(
    db: &impl Db,
    account: AccountId,
    days: Days,
) -> Result<Vec<ModelTotals>, Error> {
    let sql = format!(
        "SELECT model, {SUMS} FROM usage_daily WHERE account_id = ? AND day BETWEEN ? AND ? \
         GROUP BY model ORDER BY cost DESC, model"
    );
    let (start, end) = (days.start.to_string().into(), days.end.to_string().into());
    let values = [account.get().into(), start, end];
    let rows = db.handle().query_all_raw(statement(db, &sql, values));
    let read = |row: &QueryResult| {
        Ok(ModelTotals {
            model: row.try_get("", "model")?,
            totals: totals(row)?,
        })
    };
    let rows = rows.await?;
    rows.iter().map(read).collect()
}

/// The rows that some days are made of, by account. Days and spans are written out, so that the database
/// knows how much it is asked for.
pub(in crate::store) fn used(days: Days) -> String {
    let cover = Cover::of(days);
    let mut parts = Vec::new();
    for (sign, spans, days) in [
        ("", &cover.spans[0], &cover.days[0]),
        ("-", &cover.spans[1], &cover.days[1]),
    ] {
        let columns = format!(
            "account_id, {sign}requests AS requests, {sign}input AS input, {sign}cached AS cached, \
             {sign}output AS output, {sign}cost AS cost"
        );
        let mut add = |table: &str, key: &str, names: Vec<String>| {
            if !names.is_empty() {
                let names = names.join("','");
                parts.push(format!(
                    "SELECT {columns} FROM {table} WHERE {key} IN ('{names}')"
                ));
            }
        };
        add("usage_span", "span", spans.clone());
        let days = days.iter().map(Date::to_string).collect();
        add("usage_daily", "day", days);
    }
    parts.join(" UNION ALL ")
}

/// The counters of a row that is named as they are.
pub(in crate::store) fn totals(row: &QueryResult) -> Result<Totals, Error> {
    Ok(Totals {
        requests: unsigned(number(row, "requests")?),
        input: unsigned(number(row, "input")?),
        cached: unsigned(number(row, "cached")?),
        output: unsigned(number(row, "output")?),
        cost: Money::from_nanos(number(row, "cost")?),
    })
}
