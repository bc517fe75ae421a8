//! Totals by account, updated with the postings: of days by model, of whole spans, and of all below an account. Reports
//! and limits read them.

use std::{array, collections::BTreeMap};

use jiff::civil::Date;
use proxyxai_contract::{id::AccountId, money::Money};
use sea_orm::{ConnectionTrait as _, QueryResult, Value};

use super::spans::{SpanCover, spans_of};
use crate::{
    Error,
    model::{DateRange, ModelTotals, UsageTotals},
    store::{
        Db, Tx, among, earnings::EarningTotals, in_batches, number, signed, statement, unsigned,
    },
};

/// The counters, added up; `PostgreSQL`'s sum of big integers is a decimal.
pub(in crate::store) const SUMS: &str = "CAST(SUM(requests) AS BIGINT) AS requests, \
    CAST(SUM(input) AS BIGINT) AS input, CAST(SUM(cached) AS BIGINT) AS cached, \
    CAST(SUM(output) AS BIGINT) AS output, CAST(SUM(cost) AS BIGINT) AS cost";

/// Totals of one account, day and model.
pub(crate) type DailyTotals = BTreeMap<(AccountId, Date, String), UsageTotals>;

/// More accounts than this need several statements.
const ACCOUNTS_PER_QUERY: usize = 500;

/// Adds to the totals of accounts and of their ancestors, in the rows of a data plane (an empty name if none reported
/// it). Spans also have what was charged and what it cost the operator. `above` returns the ancestors of an account.
pub(crate) async fn add_totals(
    tx: &Tx,
    node: &str,
    (daily, earned): (&DailyTotals, &EarningTotals),
    above: impl Fn(AccountId) -> Vec<AccountId>,
) -> Result<(), Error> {
    let mut spans: BTreeMap<(String, AccountId), SpanTotals> = BTreeMap::new();
    let mut below: BTreeMap<(AccountId, Date, &str), UsageTotals> = BTreeMap::new();
    let mut rows = Vec::with_capacity(daily.len());
    for ((account, day, model), totals) in daily {
        for span in spans_of(*day) {
            let spanned = spans.entry((span, *account)).or_default();
            spanned.used.add(totals);
        }
        for ancestor in above(*account) {
            let all = below.entry((ancestor, *day, model)).or_default();
            all.add(totals);
        }
        let key = [account.get().into(), day.to_string().into(), model.into()];
        rows.push(row(key, totals));
    }
    for (of, earning) in earned {
        if earning.cost == Money::ZERO && earning.expense == Money::ZERO {
            continue;
        }
        for span in spans_of(of.day) {
            let spanned = spans.entry((span, of.account)).or_default();
            spanned.charged = spanned.charged.saturating_add(earning.cost);
            spanned.expense = spanned.expense.saturating_add(earning.expense);
        }
    }
    upsert::<8>(tx, "usage_daily", "account_id, day, model", rows).await?;
    add_to_spans(tx, spans).await?;
    let below = below.into_iter().map(|((account, day, model), totals)| {
        let (day, model) = (day.to_string().into(), model.into());
        row([account.get().into(), day, model, node.into()], &totals)
    });
    let key = "account_id, day, model, node";
    upsert::<9>(tx, "usage_below", key, below.collect()).await
}

/// An account's usage in a span.
#[derive(Default)]
struct SpanTotals {
    used: UsageTotals,
    /// In dollars.
    charged: Money,
    expense: Money,
}

async fn add_to_spans(
    tx: &Tx,
    spans: BTreeMap<(String, AccountId), SpanTotals>,
) -> Result<(), Error> {
    let rows = spans.into_iter().map(|((span, account), spanned)| {
        let earned = [spanned.charged, spanned.expense].map(|money| Value::from(money.nanos()));
        let used: [Value; 7] = row([span.into(), account.get().into()], &spanned.used);
        let mut all = used.into_iter().chain(earned);
        array::from_fn::<_, 9, _>(|_| all.next().unwrap_or(Value::BigInt(None)))
    });
    let columns = [
        "requests", "input", "cached", "output", "cost", "charged", "expense",
    ];
    let sums = columns.map(|name| format!("{name} = usage_span.{name} + excluded.{name}"));
    let sql = |rows: &str| {
        format!(
            "INSERT INTO usage_span (span, account_id, {}) {rows} \
             ON CONFLICT (span, account_id) DO UPDATE SET {}",
            columns.join(", "),
            sums.join(", ")
        )
    };
    in_batches(tx, rows.collect(), sql).await.map(drop)
}

/// Adds to stored rows. The rows are sorted by key, so that two transactions never deadlock.
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
pub(super) fn row<const K: usize, const N: usize>(
    key: [Value; K],
    totals: &UsageTotals,
) -> [Value; N] {
    let UsageTotals {
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

/// Charges by account over some days. `None` for `accounts` selects all.
pub(crate) async fn costs(
    db: &impl Db,
    accounts: Option<&[AccountId]>,
    days: DateRange,
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

/// Totals by model over some days, most expensive first.
pub(crate) async fn by_model(
    db: &impl Db,
    account: AccountId,
    days: DateRange,
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

/// The rows that cover some days, by account. Days and spans are literals, so that the database can estimate the number
/// of rows.
pub(in crate::store) fn used(days: DateRange) -> String {
    let columns = ["requests", "input", "cached", "output", "cost"].map(|name| (name, name));
    made_of(days, &columns, "usage_daily")
}

/// Like `used`, for what was charged and what it cost the operator.
pub(in crate::store) fn earned(days: DateRange) -> String {
    let columns = [
        ("requests", "requests"),
        ("input", "input"),
        ("cached", "cached"),
        ("output", "output"),
        ("cost", "charged"),
        ("expense", "expense"),
    ];
    made_of(days, &columns, "earning")
}

/// Columns of daily sums, with their names in sums of spans.
fn made_of(days: DateRange, columns: &[(&str, &str)], daily: &str) -> String {
    let cover = SpanCover::of(days);
    let mut parts = Vec::new();
    for (sign, spans, days) in [
        ("", &cover.spans[0], &cover.days[0]),
        ("-", &cover.spans[1], &cover.days[1]),
    ] {
        let of_day = |(name, _): &(&str, &str)| format!("{sign}{name} AS {name}");
        let of_span = |(name, in_span): &(&str, &str)| format!("{sign}{in_span} AS {name}");
        let mut add = |table: &str, key: &str, columns: Vec<String>, names: Vec<String>| {
            if !names.is_empty() {
                let (columns, names) = (columns.join(", "), names.join("','"));
                parts.push(format!(
                    "SELECT account_id, {columns} FROM {table} WHERE {key} IN ('{names}')"
                ));
            }
        };
        let in_spans = columns.iter().map(of_span).collect();
        add("usage_span", "span", in_spans, spans.clone());
        let in_days = columns.iter().map(of_day).collect();
        let days = days.iter().map(Date::to_string).collect();
        add(daily, "day", in_days, days);
    }
    parts.join(" UNION ALL ")
}

/// The counters of a row whose columns have their names.
pub(in crate::store) fn totals(row: &QueryResult) -> Result<UsageTotals, Error> {
    Ok(UsageTotals {
        requests: unsigned(number(row, "requests")?),
        input: unsigned(number(row, "input")?),
        cached: unsigned(number(row, "cached")?),
        output: unsigned(number(row, "output")?),
        cost: Money::from_nanos(number(row, "cost")?),
    })
}
