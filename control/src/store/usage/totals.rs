//! Totals of days and months by account and model, kept with the postings: what reports and limits read.

use std::collections::BTreeMap;

use jiff::civil::Date;
use proxyxai_contract::{id::AccountId, money::Money};
use sea_orm::{ConnectionTrait as _, QueryResult, Value};

use crate::{
    Error,
    store::{Db, Tx, in_batches, signed, statement, unsigned},
    view::{Days, ModelTotals, Totals},
};

/// Totals of one account, day and model.
pub(crate) type Daily = BTreeMap<(AccountId, Date, String), Totals>;

/// More accounts than this are asked for in several statements.
const ACCOUNTS_PER_QUERY: usize = 500;

/// Adds to the totals of days and months, and to those of everybody, in the rows of a data plane. What no
/// data plane reported is without a name.
pub(crate) async fn add_totals(tx: &Tx, node: &str, daily: &Daily) -> Result<(), Error> {
    let mut monthly: BTreeMap<(AccountId, String, &str), Totals> = BTreeMap::new();
    let mut everybody: BTreeMap<(String, &str), Totals> = BTreeMap::new();
    let mut rows = Vec::with_capacity(daily.len());
    for ((account, day, model), totals) in daily {
        let month = (*account, month_of(*day), model.as_str());
        monthly.entry(month).or_default().add(totals);
        let day = day.to_string();
        let all = everybody.entry((day.clone(), model)).or_default();
        all.add(totals);
        rows.push(row(
            [account.get().into(), day.into(), model.into()],
            totals,
        ));
    }
    upsert(tx, "usage_daily", "account_id, day, model", rows).await?;
    let months = monthly
        .into_iter()
        .map(|((account, month, model), totals)| {
            row([account.get().into(), month.into(), model.into()], &totals)
        });
    upsert(
        tx,
        "usage_monthly",
        "account_id, month, model",
        months.collect(),
    )
    .await?;
    let days = everybody
        .into_iter()
        .map(|((day, model), totals)| row([day.into(), model.into(), node.into()], &totals));
    upsert(tx, "usage_total", "day, model, node", days.collect()).await
}

/// Adds rows to what is there. They come in the order of their key, so that two transactions never wait
/// for each other.
async fn upsert(tx: &Tx, table: &str, key: &str, rows: Vec<[Value; 8]>) -> Result<(), Error> {
    let sql = |rows: &str| {
        format!(
            "INSERT INTO {table} ({key}, requests, input, cached, output, cost) \
             VALUES {rows} ON CONFLICT ({key}) DO UPDATE SET \
             requests = {table}.requests + excluded.requests, input = {table}.input + excluded.input, \
             cached = {table}.cached + excluded.cached, output = {table}.output + excluded.output, \
             cost = {table}.cost + excluded.cost"
        )
    };
    in_batches(tx, rows, sql).await.map(drop)
}

fn row(key: [Value; 3], totals: &Totals) -> [Value; 8] {
    let Totals {
        requests,
        input,
        cached,
        output,
        cost,
    } = *totals;
    let [first, second, third] = key;
    [
        first,
        second,
        third,
        signed(requests).into(),
        signed(input).into(),
        signed(cached).into(),
        signed(output).into(),
        cost.nanos().into(),
    ]
}

/// Charges by account over some days; none of `accounts` means all.
pub(crate) async fn costs(
    db: &impl Db,
    accounts: Option<&[AccountId]>,
    days: Days,
) -> Result<BTreeMap<AccountId, Money>, Error> {
    let mut costs = BTreeMap::new();
    for part in parts(days) {
        let chunks: Vec<Option<&[AccountId]>> = match accounts {
            Some(ids) => ids.chunks(ACCOUNTS_PER_QUERY).map(Some).collect(),
            None => vec![None],
        };
        for chunk in chunks {
            add_costs(db, chunk, &part, &mut costs).await?;
        }
    }
    Ok(costs)
}

async fn add_costs(
    db: &impl Db,
    accounts: Option<&[AccountId]>,
    part: &Part,
    costs: &mut BTreeMap<AccountId, Money>,
) -> Result<(), Error> {
    let (filter, mut values) = part.filter();
    let these = accounts.map_or(String::new(), |ids| {
        values.extend(ids.iter().map(|id| Value::from(id.get())));
        format!(" AND account_id IN ({})", vec!["?"; ids.len()].join(","))
    });
    let sql = format!(
        "SELECT account_id, CAST(SUM(cost) AS BIGINT) AS cost FROM {filter}{these} GROUP BY account_id"
    );
    let rows = db.handle().query_all_raw(statement(db, &sql, values));
    for row in rows.await.map_err(Error::internal)? {
        let (id, nanos) = (number(&row, "account_id")?, number(&row, "cost")?);
        let id = AccountId::new(id).map_err(Error::internal)?;
        let cost: &mut Money = costs.entry(id).or_default();
        *cost = cost.saturating_add(Money::from_nanos(nanos));
    }
    Ok(())
}

/// Totals by model over some days, dearest first.
pub(crate) async fn by_model(
    db: &impl Db,
    account: AccountId,
    days: Days,
) -> Result<Vec<ModelTotals>, Error> {
    let mut models: BTreeMap<String, Totals> = BTreeMap::new();
    for part in parts(days) {
        let (filter, mut values) = part.filter();
        values.push(account.get().into());
        // PostgreSQL's sum of big integers is a decimal.
        let sql = format!(
            "SELECT model, CAST(SUM(requests) AS BIGINT) AS requests, CAST(SUM(input) AS BIGINT) AS input, \
             CAST(SUM(cached) AS BIGINT) AS cached, CAST(SUM(output) AS BIGINT) AS output, \
             CAST(SUM(cost) AS BIGINT) AS cost FROM {filter} AND account_id = ? GROUP BY model"
        );
        let rows = db.handle().query_all_raw(statement(db, &sql, values));
        for row in rows.await.map_err(Error::internal)? {
            let model = row.try_get("", "model").map_err(Error::internal)?;
            models.entry(model).or_default().add(&totals(&row)?);
        }
    }
    let mut models: Vec<_> = models
        .into_iter()
        .map(|(model, totals)| ModelTotals { model, totals })
        .collect();
    // Sorting is stable: equally dear ones stay in the order of their names.
    models.sort_by_key(|model| std::cmp::Reverse(model.totals.cost));
    Ok(models)
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

fn number(row: &QueryResult, column: &str) -> Result<i64, Error> {
    row.try_get("", column).map_err(Error::internal)
}

/// A part of a span that one table answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Part {
    /// Whole months, by their first and last day.
    Months(Date, Date),
    /// Days, both included.
    Days(Date, Date),
}

impl Part {
    /// Table and condition, with the condition's values. Days and months sort as text.
    pub(in crate::store) fn filter(self) -> (&'static str, Vec<Value>) {
        match self {
            Self::Months(first, last) => (
                "usage_monthly WHERE month BETWEEN ? AND ?",
                vec![month_of(first).into(), month_of(last).into()],
            ),
            Self::Days(first, last) => (
                "usage_daily WHERE day BETWEEN ? AND ?",
                vec![first.to_string().into(), last.to_string().into()],
            ),
        }
    }
}

/// Whole months are read as such: they have thirty times fewer rows.
pub(in crate::store) fn parts(days: Days) -> Vec<Part> {
    let Days { start, end } = days;
    let first = if start.day() == 1 {
        Some(start)
    } else {
        start.last_of_month().tomorrow().ok()
    };
    let last = if end == end.last_of_month() {
        Some(end)
    } else {
        end.first_of_month().yesterday().ok()
    };
    let (Some(first), Some(last)) = (first, last) else {
        return vec![Part::Days(start, end)];
    };
    if first > last {
        return vec![Part::Days(start, end)];
    }
    let before = first.yesterday().ok().filter(|day| *day >= start);
    let after = last.tomorrow().ok().filter(|day| *day <= end);
    before
        .map(|day| Part::Days(start, day))
        .into_iter()
        .chain([Part::Months(first, last)])
        .chain(after.map(|day| Part::Days(day, end)))
        .collect()
}

fn month_of(day: Date) -> String {
    format!("{:04}-{:02}", day.year(), day.month())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    fn of(start: &str, end: &str) -> Vec<Part> {
        parts(Days {
            start: day(start),
            end: day(end),
        })
    }

    #[test]
    fn whole_months_are_read_as_months() {
        let months = |first, last| Part::Months(day(first), day(last));
        let days = |first, last| Part::Days(day(first), day(last));
        assert_eq!(
            of("2028-02-01", "2028-02-29"),
            [months("2028-02-01", "2028-02-29")]
        );
        assert_eq!(
            of("2026-11-01", "2026-11-22"),
            [days("2026-11-01", "2026-11-22")]
        );
        assert_eq!(
            of("2025-12-31", "2026-03-01"),
            [
                days("2025-12-31", "2025-12-31"),
                months("2026-01-01", "2026-02-28"),
                days("2026-03-01", "2026-03-01")
            ]
        );
    }

    proptest! {
        #[test]
        fn the_parts_are_the_span(start in 0i64..2000, length in 0i64..800) {
            let at = |days: i64| day("2024-01-01").checked_add(jiff::Span::new().days(days)).unwrap();
            let (start, end) = (at(start), at(start + length));
            let mut next = start;
            for part in parts(Days { start, end }) {
                let (first, last) = match part {
                    Part::Days(first, last) => (first, last),
                    Part::Months(first, last) => {
                        prop_assert_eq!((first.day(), last.last_of_month()), (1, last));
                        (first, last)
                    }
                };
                prop_assert_eq!(first, next);
                prop_assert!(first <= last);
                next = last.tomorrow().unwrap();
            }
            prop_assert_eq!(next, end.tomorrow().unwrap());
        }
    }
}
