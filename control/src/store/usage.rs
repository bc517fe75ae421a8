//! Usage records and the daily totals made of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
};

use jiff::civil::Date;
use proxyxai_contract::{
    Invalid,
    clock::Millis,
    id::{AccountId, KeyId, Level, NodeName},
    money::{Money, Multiplier},
    usage::{Images, Measure, Tokens, UsageRecord},
};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait as _, ConnectionTrait as _, EntityTrait as _, PaginatorTrait as _,
    QueryFilter as _, QueryOrder as _, QuerySelect as _, Select, Statement, Value,
    sea_query::{Expr, OnConflict, SimpleExpr},
};

use super::{
    Db, ROWS_PER_INSERT, Tx, corrupt,
    entity::{usage_daily, usage_record},
    signed, unsigned,
};
use crate::{
    Error,
    view::{Days, Listing, ModelTotals, Page, PostedUsage, Totals},
};

pub(crate) mod corrections;

/// Totals of one account, day and model.
pub(crate) type Daily = BTreeMap<(AccountId, Date, String), Totals>;

/// Sequences between two, both included, that are stored already.
pub(crate) async fn known(
    tx: &Tx,
    node: &NodeName,
    epoch: u64,
    first: u64,
    last: u64,
) -> Result<BTreeSet<u64>, Error> {
    let sequences: Vec<i64> = usage_record::Entity::find()
        .select_only()
        .column(usage_record::Column::Sequence)
        .filter(usage_record::Column::Node.eq(node.as_str()))
        .filter(usage_record::Column::Epoch.eq(epoch.cast_signed()))
        .filter(usage_record::Column::Sequence.between(signed(first), signed(last)))
        .into_tuple()
        .all(tx.handle())
        .await
        .map_err(Error::internal)?;
    Ok(sequences.into_iter().map(unsigned).collect())
}

/// Columns of a record, in the order in which `values` gives them.
const COLUMNS: [&str; 34] = [
    "node",
    "epoch",
    "sequence",
    "request_id",
    "account_id",
    "path",
    "model_asked",
    "model_used",
    "key_id",
    "level",
    "tries",
    "status",
    "input",
    "cached",
    "cache_write",
    "output",
    "reasoning",
    "input_audio",
    "output_audio",
    "input_image",
    "output_image",
    "measure",
    "cost",
    "priced",
    "price_version",
    "start_at",
    "duration_ms",
    "first_byte_ms",
    "streamed",
    "posted_at",
    "images",
    "image_size",
    "rates",
    "factor",
];

/// Stores new records.
///
/// This is the busiest statement of the program, so it is written out: the query builder's copies of
/// every value cost more than the database does. A few fixed numbers of rows keep the number of
/// different statements small, so that each is prepared once.
pub(crate) async fn insert(
    tx: &Tx,
    node: &NodeName,
    epoch: u64,
    records: &[UsageRecord],
    posted: Millis,
) -> Result<(), Error> {
    let backend = tx.handle().get_database_backend();
    let mut left = records;
    for rows in [256, 64, 16, 4, 1] {
        while let Some((chunk, rest)) = left.split_at_checked(rows) {
            let parameters = chunk
                .iter()
                .flat_map(|record| values(node, epoch, record, posted));
            let sql = insert_sql(rows, tx.locks_rows());
            let statement = Statement::from_sql_and_values(backend, sql, parameters);
            let stored = tx.handle().execute_raw(statement).await;
            stored.map_err(Error::internal)?;
            left = rest;
        }
    }
    Ok(())
}

/// PostgreSQL numbers its parameters, SQLite need not.
fn insert_sql(rows: usize, numbered: bool) -> String {
    let parameter = |number: usize| {
        if numbered {
            format!("${number}")
        } else {
            "?".to_owned()
        }
    };
    let row = |row: usize| {
        let first = row * COLUMNS.len() + 1;
        let parameters: Vec<_> = (first..first + COLUMNS.len()).map(parameter).collect();
        format!("({})", parameters.join(","))
    };
    let rows: Vec<_> = (0..rows).map(row).collect();
    let columns = COLUMNS.join(",");
    format!(
        "INSERT INTO usage_record ({columns}) VALUES {}",
        rows.join(",")
    )
}

/// Adds to the daily totals.
pub(crate) async fn add_daily(tx: &Tx, daily: &Daily) -> Result<(), Error> {
    let rows: Vec<_> = daily
        .iter()
        .map(|((account, day, model), totals)| daily_row(*account, *day, model, totals))
        .collect();
    for chunk in rows.chunks(ROWS_PER_INSERT) {
        let sum = |column: &str| Expr::cust(format!("usage_daily.{column} + excluded.{column}"));
        let add = OnConflict::columns([
            usage_daily::Column::AccountId,
            usage_daily::Column::Day,
            usage_daily::Column::Model,
        ])
        .value(usage_daily::Column::Requests, sum("requests"))
        .value(usage_daily::Column::Input, sum("input"))
        .value(usage_daily::Column::Cached, sum("cached"))
        .value(usage_daily::Column::Output, sum("output"))
        .value(usage_daily::Column::Cost, sum("cost"))
        .to_owned();
        let insert = usage_daily::Entity::insert_many(chunk.to_vec()).on_conflict(add);
        insert
            .exec_without_returning(tx.handle())
            .await
            .map_err(Error::internal)?;
    }
    Ok(())
}

/// Charges by account over some days; none of `accounts` means all.
pub(crate) async fn costs(
    db: &impl Db,
    accounts: Option<&[AccountId]>,
    days: Days,
) -> Result<BTreeMap<AccountId, Money>, Error> {
    let mut query = usage_daily::Entity::find()
        .select_only()
        .column(usage_daily::Column::AccountId)
        .column_as(sum("cost"), "total")
        .filter(within(days))
        .group_by(usage_daily::Column::AccountId);
    if let Some(accounts) = accounts {
        query =
            query.filter(usage_daily::Column::AccountId.is_in(accounts.iter().map(|id| id.get())));
    }
    let rows: Vec<(i64, i64)> = query
        .into_tuple()
        .all(db.handle())
        .await
        .map_err(Error::internal)?;
    let pair =
        |(id, nanos): (i64, i64)| AccountId::new(id).map(|id| (id, Money::from_nanos(nanos)));
    rows.into_iter()
        .map(pair)
        .collect::<Result<_, _>>()
        .map_err(Error::internal)
}

/// Totals by model over some days, dearest first.
pub(crate) async fn by_model(
    db: &impl Db,
    account: AccountId,
    days: Days,
) -> Result<Vec<ModelTotals>, Error> {
    let models = usage_daily::Entity::find()
        .select_only()
        .column(usage_daily::Column::Model);
    let rows: Vec<(String, i64, i64, i64, i64, i64)> = sums(models)
        .filter(usage_daily::Column::AccountId.eq(account.get()))
        .filter(within(days))
        .group_by(usage_daily::Column::Model)
        .into_tuple()
        .all(db.handle())
        .await
        .map_err(Error::internal)?;
    let mut models: Vec<_> = rows
        .into_iter()
        .map(
            |(model, requests, input, cached, output, cost)| ModelTotals {
                model,
                totals: totals([requests, input, cached, output, cost]),
            },
        )
        .collect();
    models.sort_by(|one, other| {
        other
            .totals
            .cost
            .cmp(&one.totals.cost)
            .then_with(|| one.model.cmp(&other.model))
    });
    Ok(models)
}

/// Adds the sums of all counters to a query.
pub(super) fn sums(query: Select<usage_daily::Entity>) -> Select<usage_daily::Entity> {
    query
        .column_as(sum("requests"), "requests_sum")
        .column_as(sum("input"), "input_sum")
        .column_as(sum("cached"), "cached_sum")
        .column_as(sum("output"), "output_sum")
        .column_as(sum("cost"), "cost_sum")
}

/// What `sums` gives.
pub(super) fn totals([requests, input, cached, output, cost]: [i64; 5]) -> Totals {
    Totals {
        requests: unsigned(requests),
        input: unsigned(input),
        cached: unsigned(cached),
        output: unsigned(output),
        cost: Money::from_nanos(cost),
    }
}

/// Single records of an account, newest first.
pub(crate) async fn list(
    db: &impl Db,
    account: AccountId,
    page: Page,
) -> Result<Listing<PostedUsage>, Error> {
    let query =
        usage_record::Entity::find().filter(usage_record::Column::AccountId.eq(account.get()));
    let total = query
        .clone()
        .count(db.handle())
        .await
        .map_err(Error::internal)?;
    let rows = query
        .order_by_desc(usage_record::Column::StartAt)
        .order_by_desc(usage_record::Column::Sequence)
        .limit(page.size)
        .offset(page.page.saturating_sub(1).saturating_mul(page.size))
        .all(db.handle())
        .await
        .map_err(Error::internal)?;
    let mut rows = rows.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
    corrections::fill(db, &mut rows).await?;
    Ok(Listing { rows, total })
}

pub(super) fn sum(column: impl Display) -> Expr {
    // PostgreSQL's sum of big integers is a decimal.
    Expr::cust(format!("CAST(COALESCE(SUM({column}), 0) AS BIGINT)"))
}

pub(super) fn within(days: Days) -> SimpleExpr {
    // Days are stored as YYYY-MM-DD, which sorts as text.
    usage_daily::Column::Day.between(days.start.to_string(), days.end.to_string())
}

fn daily_row(
    account: AccountId,
    day: Date,
    model: &str,
    totals: &Totals,
) -> usage_daily::ActiveModel {
    let Totals {
        requests,
        input,
        cached,
        output,
        cost,
    } = *totals;
    usage_daily::ActiveModel {
        account_id: Set(account.get()),
        day: Set(day.to_string()),
        model: Set(model.to_owned()),
        requests: Set(signed(requests)),
        input: Set(signed(input)),
        cached: Set(signed(cached)),
        output: Set(signed(output)),
        cost: Set(cost.nanos()),
    }
}

fn values(
    node: &NodeName,
    epoch: u64,
    record: &UsageRecord,
    posted: Millis,
) -> [Value; COLUMNS.len()] {
    let tokens = &record.tokens;
    [
        node.as_str().into(),
        epoch.cast_signed().into(),
        signed(record.sequence).into(),
        record.request_id.as_str().into(),
        record.account.get().into(),
        record.path.as_str().into(),
        record.model_asked.as_str().into(),
        record.model_used.as_str().into(),
        record.key.map(KeyId::get).into(),
        i64::from(record.level.get()).into(),
        i64::from(record.tries).into(),
        i64::from(record.status).into(),
        signed(tokens.input).into(),
        signed(tokens.cached).into(),
        signed(tokens.cache_write).into(),
        signed(tokens.output).into(),
        signed(tokens.reasoning).into(),
        signed(tokens.input_audio).into(),
        signed(tokens.output_audio).into(),
        signed(tokens.input_image).into(),
        signed(tokens.output_image).into(),
        record.measure.as_str().into(),
        record.cost.nanos().into(),
        record.priced.into(),
        record.price_version.as_str().into(),
        record.start.0.into(),
        signed(record.duration_ms).into(),
        signed(record.first_byte_ms).into(),
        record.streamed.into(),
        posted.0.into(),
        signed(record.images.count).into(),
        record.images.size.as_str().into(),
        record.rates.map(Multiplier::micros).into(),
        record.factor.map(Multiplier::micros).into(),
    ]
}

fn read(row: usage_record::Model) -> Result<PostedUsage, Error> {
    let sequence = row.sequence;
    read_record(row).map_err(|error| corrupt("usage record", sequence, error))
}

fn read_record(row: usage_record::Model) -> Result<PostedUsage, Invalid> {
    let out_of_range = |field: &str| Invalid::new(field, "is out of range");
    let record = UsageRecord {
        sequence: unsigned(row.sequence),
        request_id: row.request_id,
        account: AccountId::new(row.account_id)?,
        path: row.path,
        model_asked: row.model_asked,
        model_used: row.model_used,
        key: row.key_id.map(KeyId::new).transpose()?,
        level: Level::new(row.level)?,
        tries: u32::try_from(row.tries).map_err(|_| out_of_range("tries"))?,
        status: u16::try_from(row.status).map_err(|_| out_of_range("status"))?,
        tokens: Tokens {
            input: unsigned(row.input),
            cached: unsigned(row.cached),
            cache_write: unsigned(row.cache_write),
            output: unsigned(row.output),
            reasoning: unsigned(row.reasoning),
            input_audio: unsigned(row.input_audio),
            output_audio: unsigned(row.output_audio),
            input_image: unsigned(row.input_image),
            output_image: unsigned(row.output_image),
        },
        images: Images {
            count: unsigned(row.images),
            size: row.image_size,
        },
        measure: Measure::parse(&row.measure).ok_or_else(|| out_of_range("measure"))?,
        cost: Money::from_nanos(row.cost),
        priced: row.priced,
        price_version: row.price_version,
        rates: row.rates.map(Multiplier::from_micros).transpose()?,
        factor: row.factor.map(Multiplier::from_micros).transpose()?,
        start: Millis(row.start_at),
        duration_ms: unsigned(row.duration_ms),
        first_byte_ms: unsigned(row.first_byte_ms),
        streamed: row.streamed,
    };
    Ok(PostedUsage {
        node: row.node,
        epoch: row.epoch.cast_unsigned(),
        record,
        posted: Millis(row.posted_at),
        corrected: None,
    })
}
