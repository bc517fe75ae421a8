//! Usage for a time series: sums of days, and records of the last hours.

use std::collections::BTreeMap;

use jiff::civil::Date;
use proxyxai_contract::{
    clock::Millis,
    id::AccountId,
    money::{Money, Multiplier},
};
use sea_orm::{ConnectionTrait as _, QueryResult, Value};

use super::{
    Db, among, bills,
    earnings::{SUMS, earning},
    is_server, number, statement, unsigned,
    usage::{earned, used},
};
use crate::{
    Error,
    domain::spend::HOUR_MS,
    model::{DateRange, Earning, FAILED_FROM, SpendDimension},
};

/// At most this many records are added up by hour, which takes a second or two. A file is slower for each record than a
/// server.
const RECORDS_MAX: u64 = 1_000_000;
const RECORDS_OF_FILE_MAX: u64 = 250_000;
/// At most this many accounts are scanned by an index of their own.
const LANES_MAX: u64 = 32;

/// Whose usage.
#[derive(Debug, Clone)]
pub(crate) enum SpendScope {
    /// All accounts that ever existed.
    Everybody,
    /// One account.
    One(AccountId),
    /// An account and all below it.
    Below { account: AccountId, dna: String },
}

/// Which usage, and the dimension to split it by.
#[derive(Debug, Clone)]
pub(crate) struct SpendSource {
    pub(crate) whose: SpendScope,
    pub(crate) by: SpendDimension,
    /// In dollars, with what calls cost the operator; otherwise in the units of each account.
    pub(crate) is_earned: bool,
}

/// A query with its values.
struct SqlQuery {
    sql: String,
    values: Vec<Value>,
}

/// The values of the dimension, most expensive first, and how many there are.
pub(crate) async fn dearest(
    db: &impl Db,
    source: &SpendSource,
    days: DateRange,
    most: u64,
) -> Result<(Vec<String>, u64), Error> {
    let SqlQuery { sql, values } = source.ranked(db, days).await?;
    // Floating point is only for the order, and half the work of PostgreSQL's decimals (`store::bills`).
    let sql = format!(
        "SELECT CAST(named AS TEXT) AS named, COUNT(*) OVER () AS counted FROM \
         (SELECT named, SUM(CAST(cost AS DOUBLE PRECISION)) AS cost, SUM(CAST(expense AS DOUBLE PRECISION)) AS expense, \
         SUM(CAST(requests AS DOUBLE PRECISION)) AS requests FROM ({sql}) used GROUP BY named) sums \
         WHERE cost <> 0 OR expense <> 0 OR requests <> 0 \
         ORDER BY cost DESC, expense DESC, requests DESC, named LIMIT {most}"
    );
    let rows = db.handle().query_all_raw(statement(db, &sql, values));
    let rows = rows.await?;
    let counted = rows.first().map_or(Ok(0), |row| number(row, "counted"))?;
    let name = |row: &QueryResult| row.try_get("", "named").map_err(Error::from);
    let names = rows.iter().map(name).collect::<Result<_, _>>()?;
    Ok((names, unsigned(counted)))
}

/// Usage of each day.
pub(crate) async fn by_day(
    db: &impl Db,
    source: &SpendSource,
    days: DateRange,
) -> Result<BTreeMap<Date, Earning>, Error> {
    let SqlQuery { sql, values } = source.summed(db, days, "model");
    let sql = format!("SELECT day, {SUMS} FROM ({sql}) used GROUP BY day");
    let rows = db.handle().query_all_raw(statement(db, &sql, values));
    let rows = rows.await?;
    let read = |row: &QueryResult| Ok((day(row)?, earning(row)?));
    rows.iter().map(read).collect()
}

/// Usage of some values on each day.
pub(crate) async fn by_day_of(
    db: &impl Db,
    source: &SpendSource,
    days: DateRange,
    names: &[String],
) -> Result<BTreeMap<(String, Date), Earning>, Error> {
    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    let SqlQuery { sql, mut values } = source.of_chosen(db, days);
    let (these, chosen) = source.these(db, names);
    values.extend(chosen);
    let sql = format!(
        "SELECT CAST(named AS TEXT) AS named, day, {SUMS} FROM ({sql}) used WHERE named {these} GROUP BY named, day"
    );
    let rows = db.handle().query_all_raw(statement(db, &sql, values));
    let rows = rows.await?;
    let read = |row: &QueryResult| Ok(((row.try_get("", "named")?, day(row)?), earning(row)?));
    rows.iter().map(read).collect()
}

fn day(row: &QueryResult) -> Result<Date, Error> {
    let day: String = row.try_get("", "day")?;
    day.parse().map_err(Error::internal)
}

// === impl SpendSource ===

impl SpendSource {
    /// What the values are ranked by, with a column `named`. Accounts are many: they are ranked by sums of whole spans.
    async fn ranked(&self, db: &impl Db, days: DateRange) -> Result<SqlQuery, Error> {
        if self.by != SpendDimension::Account || matches!(self.whose, SpendScope::One(_)) {
            return Ok(self.split(db, days));
        }
        let days = bills::up_to_now(db, days).await?;
        let (used, expense) = if self.is_earned {
            (earned(days), "expense")
        } else {
            (used(days), "0")
        };
        let condition = self.whose.condition(db, "account_id");
        Ok(SqlQuery {
            sql: format!(
                "SELECT account_id AS named, requests, cost, {expense} AS expense FROM ({used}) spans WHERE {}",
                condition.sql
            ),
            values: condition.values,
        })
    }

    /// Sums of days of the chosen values. Chosen accounts are looked up directly.
    fn of_chosen(&self, db: &impl Db, days: DateRange) -> SqlQuery {
        if self.by != SpendDimension::Account {
            return self.split(db, days);
        }
        let (own, _, expense) = self.tables();
        Self {
            whose: SpendScope::Everybody,
            ..self.clone()
        }
        .of_table(db, days, (own, "account_id", expense))
    }

    /// Sums of days by the dimension, with a column `named`.
    fn split(&self, db: &impl Db, days: DateRange) -> SqlQuery {
        match self.by {
            SpendDimension::Model => self.summed(db, days, "model"),
            SpendDimension::Key => self.summed(db, days, "key_id"),
            SpendDimension::Provider => self.summed(db, days, "provider"),
            SpendDimension::Account => {
                let (own, _, expense) = self.tables();
                self.of_table(db, days, (own, "account_id", expense))
            }
        }
    }

    /// Sums of days by any dimension but accounts. Usage of all accounts below one has sums of its own.
    fn summed(&self, db: &impl Db, days: DateRange, column: &str) -> SqlQuery {
        let (own, below, expense) = self.tables();
        let account = match self.whose {
            SpendScope::One(_) => return self.of_table(db, days, (own, column, expense)),
            SpendScope::Everybody => AccountId::ROOT,
            SpendScope::Below { account, .. } => account,
        };
        let one = Self {
            whose: SpendScope::One(account),
            ..self.clone()
        };
        let [own, below] =
            [own, below].map(|table| one.of_table(db, days, (table, column, expense)));
        SqlQuery {
            sql: format!("{} UNION ALL {}", own.sql, below.sql),
            values: own.values.into_iter().chain(below.values).collect(),
        }
    }

    /// The tables with sums of single accounts and of all below one, and the column with what was spent.
    const fn tables(&self) -> (&'static str, &'static str, &'static str) {
        if self.is_earned {
            ("earning", "earning_below", "expense")
        } else {
            ("usage_daily", "usage_below", "0")
        }
    }

    fn of_table(
        &self,
        db: &impl Db,
        days: DateRange,
        (table, column, expense): (&str, &str, &str),
    ) -> SqlQuery {
        let condition = self.whose.condition(db, "account_id");
        let mut values: Vec<Value> =
            vec![days.start.to_string().into(), days.end.to_string().into()];
        values.extend(condition.values);
        SqlQuery {
            sql: format!(
                "SELECT day, {column} AS named, requests, input, cached, output, cost, {expense} AS expense \
                 FROM {table} WHERE day BETWEEN ? AND ? AND {}",
                condition.sql
            ),
            values,
        }
    }

    /// The end of a condition: one of some values, as they are stored.
    fn these(&self, db: &impl Db, names: &[String]) -> (String, Vec<Value>) {
        match self.by {
            SpendDimension::Account | SpendDimension::Key => among(
                db,
                names
                    .iter()
                    .filter_map(|id| id.parse::<i64>().ok())
                    .collect(),
            ),
            SpendDimension::Model | SpendDimension::Provider => among(db, names.to_vec()),
        }
    }
}

impl SpendScope {
    fn condition(&self, db: &impl Db, column: &str) -> SqlQuery {
        match self {
            Self::Everybody => SqlQuery {
                sql: "TRUE".to_owned(),
                values: Vec::new(),
            },
            Self::One(id) => SqlQuery {
                sql: format!("{column} = ?"),
                values: vec![id.get().into()],
            },
            Self::Below { dna, .. } => {
                let (range, values) = bills::below(db, dna, true);
                SqlQuery {
                    sql: format!("{column} IN (SELECT id FROM account WHERE {range})"),
                    values,
                }
            }
        }
    }
}

// === hours ===

/// How many records are added up by hour at most.
pub(crate) fn records_max(db: &impl Db) -> u64 {
    if is_server(db) {
        RECORDS_MAX
    } else {
        RECORDS_OF_FILE_MAX
    }
}

/// Usage by hour, of each of some values and in total.
#[derive(Debug, Default)]
pub(crate) struct HourlySpend {
    /// How many of the first hours are left out, because they have too many records.
    pub(crate) skipped: usize,
    /// By hour and value. Values that are not asked for share an entry without a name.
    pub(crate) used: BTreeMap<(usize, Option<String>), Earning>,
}

/// Adds up records of the latest hours that together have at most `most` records. For providers it splits by key: a
/// record does not store its provider.
pub(crate) async fn by_hour(
    db: &impl Db,
    source: &SpendSource,
    hours: &[Millis],
    names: &[String],
    most: u64,
) -> Result<HourlySpend, Error> {
    let (Some(first), Some(last)) = (hours.first(), hours.last()) else {
        return Ok(HourlySpend::default());
    };
    let span = (*first, last.plus(HOUR_MS));
    let lanes = lanes(db, &source.whose).await?;
    let oldest = oldest(db, &lanes, span, most).await?;
    let skipped = hours.iter().take_while(|at| Some(**at) <= oldest).count();
    let mut found = HourlySpend {
        skipped,
        ..HourlySpend::default()
    };
    let Some(start) = hours.get(skipped) else {
        return Ok(found);
    };
    let SqlQuery { sql, values } = sums_of_hours(db, source, (names, &lanes), (*start, span.1));
    let rows = db.handle().query_all_raw(statement(db, &sql, values));
    for row in rows.await? {
        let hour = usize::try_from(number(&row, "hour")?).unwrap_or_default();
        let mut used = earning(&row)?;
        if source.is_earned {
            used.cost = in_dollars(&row, used.cost)?;
        }
        let place = (hour.saturating_add(skipped), row.try_get("", "named")?);
        found.used.entry(place).or_default().add(&used);
    }
    Ok(found)
}

/// A cost in dollars from an account's units, as posting computes it for each record (`ops::earned`). Here it is
/// computed from sums, which may differ by parts of a nano-dollar for each call.
fn in_dollars(row: &QueryResult, cost: Money) -> Result<Money, Error> {
    if row.try_get::<bool>("", "is_root")? {
        return Ok(Money::ZERO);
    }
    let rates: Option<i64> = row.try_get("", "rates")?;
    let rates = rates.map(Multiplier::from_micros).transpose()?;
    let rates = rates.unwrap_or(Multiplier::ONE);
    Ok(cost.scale(Multiplier::ONE, rates).unwrap_or(cost))
}

/// The accounts, if they are few enough to be scanned one by one.
async fn lanes(db: &impl Db, whose: &SpendScope) -> Result<Vec<i64>, Error> {
    let dna = match whose {
        SpendScope::Everybody => return Ok(Vec::new()),
        SpendScope::One(id) => return Ok(vec![id.get()]),
        SpendScope::Below { dna, .. } => dna,
    };
    let (range, values) = bills::below(db, dna, true);
    let sql = format!(
        "SELECT id FROM account WHERE {range} LIMIT {}",
        LANES_MAX + 1
    );
    let rows = db.handle().query_all_raw(statement(db, &sql, values));
    let rows = rows.await?;
    let ids: Vec<i64> = rows
        .iter()
        .map(|row| number(row, "id"))
        .collect::<Result<_, _>>()?;
    let few = u64::try_from(ids.len()).unwrap_or(u64::MAX) <= LANES_MAX;
    Ok(if few { ids } else { Vec::new() })
}

/// The moment up to which records are left out, because there are more than `most`. Returns `None` if there are not.
async fn oldest(
    db: &impl Db,
    lanes: &[i64],
    (start, end): (Millis, Millis),
    most: u64,
) -> Result<Option<Millis>, Error> {
    let each = most / u64::try_from(lanes.len()).unwrap_or(1).max(1);
    let ask = async |lane: Option<i64>| -> Result<Option<Millis>, Error> {
        let (only, value) = match lane {
            None => ("", None),
            Some(id) => ("account_id = ? AND ", Some(Value::from(id))),
        };
        let sql = format!(
            "SELECT start_at FROM usage_record WHERE {only}start_at >= ? AND start_at < ? \
             ORDER BY start_at DESC LIMIT 1 OFFSET {each}"
        );
        let values = value.into_iter().chain([start.0.into(), end.0.into()]);
        let row = db
            .handle()
            .query_one_raw(statement(db, &sql, values))
            .await?;
        row.map(|row| number(&row, "start_at").map(Millis))
            .transpose()
    };
    if lanes.is_empty() {
        return ask(None).await;
    }
    let mut oldest = None;
    for lane in lanes {
        oldest = oldest.max(ask(Some(*lane)).await?);
    }
    Ok(oldest)
}

fn sums_of_hours(
    db: &impl Db,
    source: &SpendSource,
    (names, lanes): (&[String], &[i64]),
    (start, end): (Millis, Millis),
) -> SqlQuery {
    let mut values: Vec<Value> = vec![start.0.into()];
    let value = match source.by {
        // All keys; those of a provider are selected afterwards.
        SpendDimension::Provider => "CAST(COALESCE(r.key_id, 0) AS TEXT)".to_owned(),
        _ if names.is_empty() => "NULL".to_owned(),
        SpendDimension::Model | SpendDimension::Account | SpendDimension::Key => {
            let column = match source.by {
                SpendDimension::Model => "r.model_used",
                SpendDimension::Account => "r.account_id",
                SpendDimension::Key | SpendDimension::Provider => "COALESCE(r.key_id, 0)",
            };
            let (these, mut chosen) = source.these(db, names);
            values.append(&mut chosen);
            format!("CASE WHEN {column} {these} THEN CAST({column} AS TEXT) END")
        }
    };
    // Only the operator may know what calls cost the operator.
    let (rates, is_root, expense) = if source.is_earned {
        ("r.rates", "r.account_id = 1", "COALESCE(r.expense, 0)")
    } else {
        ("CAST(NULL AS BIGINT)", "FALSE", "0")
    };
    values.extend([start.0.into(), end.0.into()]);
    // For few accounts, the records of each are scanned. For many, the records of the time range are checked one by
    // one, in a form that no other index serves.
    let whose = if lanes.is_empty() {
        source.whose.condition(db, "+r.account_id")
    } else {
        let (these, values) = among(db, lanes.to_vec());
        SqlQuery {
            sql: format!("r.account_id {these}"),
            values,
        }
    };
    values.extend(whose.values);
    let sql = format!(
        "SELECT hour, named, rates, is_root, {SUMS} FROM (SELECT (r.start_at - ?) / {HOUR_MS} AS hour, {value} AS named, \
         {rates} AS rates, {is_root} AS is_root, CASE WHEN r.status < {FAILED_FROM} THEN 1 ELSE 0 END AS requests, \
         r.input, r.cached, r.output, COALESCE(c.cost, r.cost) AS cost, {expense} AS expense \
         FROM usage_record r LEFT JOIN usage_correction c \
         ON c.node = r.node AND c.epoch = r.epoch AND c.sequence = r.sequence \
         WHERE r.start_at >= ? AND r.start_at < ? AND {}) used GROUP BY hour, named, rates, is_root",
        whose.sql
    );
    SqlQuery { sql, values }
}
