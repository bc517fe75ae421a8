//! Lists of calls over any number of records. A filter becomes conditions. Those with an index are scan paths
//! (`ScanPath`); the others are checked row by row.

mod newer;
mod older;

use std::collections::BTreeMap;

use proxyxai_contract::{clock::Millis, id::AccountId};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, EntityTrait as _, QueryFilter as _, QuerySelect as _,
    Value,
};

pub(crate) use self::{
    newer::{NewerCalls, newer},
    older::{OlderCalls, older},
};
use super::{
    Db, among,
    entity::{account, upstream_key, usage_record},
    is_among, is_server, number, statement,
    usage::{
        corrections, read,
        seen::{KEY, MODEL},
    },
};
use crate::{
    Error,
    domain::cursor::PostedWatermark,
    model::{CallFilter, ClientKeyFilter, ModelFilter, PostedUsage, StatusFilter},
};

/// At most this many scan paths are merged: each costs an index look-up.
const WAYS_MAX: u64 = 32;
/// At most this many accounts are each asked for their latest call, to skip a time without calls.
const ASKED_MAX: u64 = 5_000;
/// At most this many calls with one id are found by that id.
const SAME_MAX: usize = 500;
const DAY_MS: i64 = 86_400_000;
/// How many days back a call id is searched for.
const DAYS_MAX: i64 = 3_660;
/// Most calls have this status, so the index of statuses leaves it out.
const USUAL: u16 = 200;

/// Whose calls.
#[derive(Debug, Clone)]
pub(crate) enum CallScope {
    /// All accounts that ever existed.
    Everybody,
    /// One account.
    One(AccountId),
    /// The accounts at or below this DNA.
    Below(String),
}

/// A condition on a record `r`, with its values.
#[derive(Debug, Clone)]
struct SqlClause {
    sql: String,
    values: Vec<Value>,
}

/// What a condition filters by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ConditionKind {
    Whose,
    Model,
    Key,
    ClientKey,
    Status,
    RequestId,
}

/// A scan of the records by descending time, through indexes that hold only the rows which meet one condition.
#[derive(Debug)]
struct ScanPath {
    /// `None` scans all records.
    part: Option<ConditionKind>,
    /// Every row of the path meets one of these conditions. Each has an index sorted by time.
    lanes: Vec<SqlClause>,
}

/// A filter of calls, as SQL.
#[derive(Debug)]
pub(crate) struct CallQuery {
    /// Checked row by row, in a form that no index serves: the database could otherwise pick an index that scans
    /// millions of rows.
    conditions: Vec<(ConditionKind, SqlClause)>,
    ways: Vec<ScanPath>,
    /// First and last moment.
    start: Option<Millis>,
    end: Option<Millis>,
    skips: Vec<SkipHint>,
}

/// How to find out that a time has no matching calls.
#[derive(Debug)]
enum SkipHint {
    /// The accounts at or below a DNA, few enough to ask each for its latest call.
    Accounts { dna: String, accounts: u64 },
    /// Spans in which any of these values was seen.
    Spans {
        kind: &'static str,
        values: Vec<String>,
    },
}

fn clause<const N: usize>(sql: impl Into<String>, values: [Value; N]) -> SqlClause {
    SqlClause {
        sql: sql.into(),
        values: values.into(),
    }
}

/// The watermark of what is posted, as this transaction sees it.
pub(crate) async fn mark(db: &impl Db, now: Millis) -> Result<PostedWatermark, Error> {
    let quiet = PostedWatermark::new(now, Vec::new()).quiet();
    let sql = "SELECT id, through FROM usage_spool WHERE posted_at > ? ORDER BY id";
    let rows = db
        .handle()
        .query_all_raw(statement(db, sql, [quiet.0.into()]));
    let rows = rows.await?;
    let spool = |row| Ok((number(row, "id")?, number(row, "through")?));
    let spools = rows.iter().map(spool).collect::<Result<_, Error>>()?;
    Ok(PostedWatermark::new(now, spools))
}

/// Plans a search: conditions, scan paths and skip hints.
pub(crate) async fn search(
    db: &impl Db,
    whose: &CallScope,
    filter: &CallFilter,
) -> Result<CallQuery, Error> {
    if is_server(db) {
        // The queries return few rows. Compiling one takes longer than running it.
        db.handle()
            .execute_unprepared("SET LOCAL jit = off")
            .await?;
    }
    let mut search = CallQuery {
        conditions: Vec::new(),
        ways: Vec::new(),
        start: filter.start,
        end: filter.end,
        skips: Vec::new(),
    };
    search.whose(db, whose).await?;
    if let Some(id) = &filter.request_id {
        let condition = clause("r.request_id || '' = ?", [id.as_str().into()]);
        search.add(
            ConditionKind::RequestId,
            condition,
            of_request(db, id).await?,
        );
    }
    if let Some(key) = filter.key {
        let condition = clause("+r.key_id = ?", [key.get().into()]);
        search.add(ConditionKind::Key, condition, Vec::new());
        search.skips.push(SkipHint::Spans {
            kind: KEY,
            values: vec![key.to_string()],
        });
    }
    if let Some(with) = filter.client_key {
        let (condition, lanes) = made_with(with);
        search.add(ConditionKind::ClientKey, condition, lanes);
    }
    if let Some(status) = filter.status {
        let (first, last) = status.range().into_inner();
        let values = [i64::from(first).into(), i64::from(last).into()];
        let condition = clause("+r.status BETWEEN ? AND ?", values);
        search.add(
            ConditionKind::Status,
            condition,
            statuses(db, status).await?,
        );
    }
    if let Some(model) = &filter.model {
        let condition = either_model(model);
        search.add(ConditionKind::Model, condition, Vec::new());
        let values = models(db, model).await?;
        if values.len() as u64 <= WAYS_MAX {
            search.skips.push(SkipHint::Spans {
                kind: MODEL,
                values,
            });
        }
    }
    search.ways.push(ScanPath {
        part: None,
        lanes: vec![clause("TRUE", [])],
    });
    Ok(search)
}

// === impl CallQuery ===

impl CallQuery {
    fn add(&mut self, part: ConditionKind, condition: SqlClause, lanes: Vec<SqlClause>) {
        self.conditions.push((part, condition));
        if !lanes.is_empty() {
            let part = Some(part);
            self.ways.push(ScanPath { part, lanes });
        }
    }

    async fn whose(&mut self, db: &impl Db, whose: &CallScope) -> Result<(), Error> {
        let lane = |id: i64| clause("r.account_id = ?", [id.into()]);
        match whose {
            CallScope::Everybody => {}
            CallScope::One(id) => {
                let condition = clause("+r.account_id = ?", [id.get().into()]);
                self.add(ConditionKind::Whose, condition, vec![lane(id.get())]);
            }
            CallScope::Below(dna) => {
                let ids = at_or_below(db, dna).await?;
                let accounts = u64::try_from(ids.len()).unwrap_or(u64::MAX);
                let few = if accounts <= WAYS_MAX {
                    ids
                } else {
                    Vec::new()
                };
                let chars = i64::try_from(dna.chars().count()).unwrap_or(i64::MAX);
                let condition = clause(
                    "(SELECT SUBSTR(a.dna, 1, CAST(? AS INTEGER)) FROM account a WHERE a.id = r.account_id) = ?",
                    [chars.into(), dna.as_str().into()],
                );
                if (WAYS_MAX + 1..=ASKED_MAX).contains(&accounts) {
                    let dna = dna.clone();
                    self.skips.push(SkipHint::Accounts { dna, accounts });
                }
                self.add(
                    ConditionKind::Whose,
                    condition,
                    few.into_iter().map(lane).collect(),
                );
            }
        }
        Ok(())
    }

    /// All conditions but the one that the scan path already meets.
    fn rest(&self, kept: Option<ConditionKind>) -> SqlClause {
        let rest = self
            .conditions
            .iter()
            .filter(|(part, _)| Some(*part) != kept);
        let mut all = clause("TRUE", []);
        for (_, condition) in rest {
            all.sql.push_str(" AND ");
            all.sql.push_str(&condition.sql);
            all.values.extend(condition.values.iter().cloned());
        }
        all
    }
}

/// Accounts at or below a DNA, also deleted ones. Returns at most one more than `ASKED_MAX`, which means too many.
async fn at_or_below(db: &impl Db, dna: &str) -> Result<Vec<i64>, Error> {
    let ids = account::Entity::find()
        .select_only()
        .column(account::Column::Id)
        .filter(account::Column::Dna.starts_with(dna))
        .limit(ASKED_MAX + 1)
        .into_tuple()
        .all(db.handle());
    ids.await.map_err(Error::from)
}

/// One lane for each status: the index is not sorted by time across a class of statuses.
async fn statuses(db: &impl Db, status: StatusFilter) -> Result<Vec<SqlClause>, Error> {
    let (first, last) = status.range().into_inner();
    if (first..=last).contains(&USUAL) {
        return Ok(Vec::new());
    }
    let lane = |status: i64| {
        let sql = format!("r.status = ? AND r.status <> {USUAL}");
        clause(sql, [status.into()])
    };
    let sql = format!(
        "SELECT MIN(r.status) AS number FROM usage_record r WHERE r.status <> {USUAL} AND r.status > ? AND r.status <= ?"
    );
    let (mut lanes, mut after) = (Vec::new(), i64::from(first) - 1);
    loop {
        let found = statement(db, &sql, [after.into(), i64::from(last).into()]);
        let row = db.handle().query_one_raw(found).await?;
        let row = row.ok_or_else(|| Error::internal("a query for a number has no row"))?;
        let Some(status) = row.try_get("", "number")? else {
            break;
        };
        lanes.push(lane(status));
        after = status;
    }
    if lanes.is_empty() {
        // No call has such a status, and this lane is empty at once.
        lanes.push(lane(first.into()));
    }
    Ok(lanes)
}

/// Most calls use an account's first key; those of other keys have an index.
fn made_with(with: ClientKeyFilter) -> (SqlClause, Vec<SqlClause>) {
    match with {
        ClientKeyFilter::First => (clause("r.client_key_id IS NULL", []), Vec::new()),
        ClientKeyFilter::Further(id) => {
            let id = id.get();
            let lane = clause("r.client_key_id = ?", [id.into()]);
            (clause("+r.client_key_id = ?", [id.into()]), vec![lane])
        }
    }
}

fn one_model(column: &str, model: &ModelFilter) -> SqlClause {
    let text = Value::from(model.text());
    match model {
        ModelFilter::Named(_) => clause(format!("{column} || '' = ?"), [text]),
        ModelFilter::Beginning(beginning) => {
            let chars = i64::try_from(beginning.chars().count()).unwrap_or(i64::MAX);
            let sql = format!("SUBSTR({column}, 1, CAST(? AS INTEGER)) = ?");
            clause(sql, [chars.into(), text])
        }
    }
}

fn either_model(model: &ModelFilter) -> SqlClause {
    let (used, asked) = (
        one_model("r.model_used", model),
        one_model("r.model_asked", model),
    );
    SqlClause {
        sql: format!("({} OR {})", used.sql, asked.sql),
        values: used.values.into_iter().chain(asked.values).collect(),
    }
}

/// The models seen that match, each found by a step in the index. Returns at most one more than `WAYS_MAX`, which means
/// too many.
async fn models(db: &impl Db, model: &ModelFilter) -> Result<Vec<String>, Error> {
    let beginning = match model {
        ModelFilter::Named(name) => return Ok(vec![name.clone()]),
        ModelFilter::Beginning(beginning) => beginning,
    };
    let mut found: Vec<String> = Vec::new();
    while found.len() as u64 <= WAYS_MAX {
        let (than, after) = match found.last() {
            None => (">=", beginning),
            Some(last) => (">", last),
        };
        let sql = format!(
            "SELECT value FROM usage_seen WHERE kind = ? AND value {than} ? ORDER BY kind, value LIMIT 1"
        );
        let next = statement(db, &sql, [MODEL.into(), after.as_str().into()]);
        let Some(row) = db.handle().query_one_raw(next).await? else {
            break;
        };
        let name: String = row.try_get("", "value")?;
        if !name.starts_with(beginning) {
            break;
        }
        found.push(name);
    }
    Ok(found)
}

/// The lane of calls with an id, day by day. Empty if they are too many: a client may give all its calls the same id.
async fn of_request(db: &impl Db, id: &str) -> Result<Vec<SqlClause>, Error> {
    let sql = "SELECT MIN(start_at) AS first, MAX(start_at) AS last FROM usage_record";
    let row = db.handle().query_one_raw(statement(db, sql, [])).await?;
    let row = row.ok_or_else(|| Error::internal("a query for numbers has no row"))?;
    let (first, last): (Option<i64>, Option<i64>) =
        (row.try_get("", "first")?, row.try_get("", "last")?);
    let (Some(first), Some(last)) = (first, last) else {
        return Ok(Vec::new());
    };
    let (first, last) = (
        (first / DAY_MS).max(last / DAY_MS - DAYS_MAX),
        last / DAY_MS,
    );
    let (are, mut values) = among(db, (first..=last).collect::<Vec<i64>>());
    values.push(id.into());
    let sql = format!("(r.start_at / {DAY_MS}) {are} AND r.request_id = ?");
    let most = format!(
        "SELECT 1 AS one FROM usage_record r WHERE {sql} LIMIT {}",
        SAME_MAX + 1
    );
    let found = db
        .handle()
        .query_all_raw(statement(db, &most, values.clone()));
    if found.await?.len() > SAME_MAX {
        return Ok(Vec::new());
    }
    Ok(vec![SqlClause { sql, values }])
}

/// Names of accounts, also of deleted ones.
pub(crate) async fn account_names(
    db: &impl Db,
    ids: Vec<i64>,
) -> Result<BTreeMap<i64, String>, Error> {
    let names: Vec<(i64, String)> = account::Entity::find()
        .select_only()
        .columns([account::Column::Id, account::Column::Name])
        .filter(is_among(db, account::Column::Id, ids))
        .into_tuple()
        .all(db.handle())
        .await?;
    Ok(names.into_iter().collect())
}

/// Names of the upstream keys that exist.
pub(crate) async fn key_names(db: &impl Db, ids: Vec<i64>) -> Result<BTreeMap<i64, String>, Error> {
    let names: Vec<(i64, String)> = upstream_key::Entity::find()
        .select_only()
        .columns([upstream_key::Column::Id, upstream_key::Column::Name])
        .filter(is_among(db, upstream_key::Column::Id, ids))
        .filter(upstream_key::Column::DeletedAt.is_null())
        .into_tuple()
        .all(db.handle())
        .await?;
    Ok(names.into_iter().collect())
}

/// The records that a statement returns.
async fn records(db: &impl Db, sql: &str, values: Vec<Value>) -> Result<Vec<PostedUsage>, Error> {
    let rows = usage_record::Entity::find().from_raw_sql(statement(db, sql, values));
    let rows = rows.all(db.handle()).await?;
    let mut rows = rows.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
    corrections::fill(db, &mut rows).await?;
    Ok(rows)
}
