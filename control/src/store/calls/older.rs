//! Pages of a list, along the scan path that reaches furthest back for the same effort.
//!
//! After a number of index entries a page is returned even if it is not full, with the position to continue from.
//!
//! The path does not depend on statistics: the one whose next entries reach back furthest has the fewest of them.

use std::collections::BTreeMap;

use sea_orm::{ConnectionTrait as _, Statement, Value};

use super::{CallQuery, ScanPath, SkipHint, SqlClause, records};
use crate::{
    Error,
    domain::cursor::{CallPosition, PostedWatermark},
    model::PostedUsage,
    store::{Db, among, number, signed, statement, usage::seen::SPAN_MS},
};

/// How many index entries are scanned first, and at most for one page. Tests have few.
const LOOK_FIRST: u64 = if cfg!(test) { 4 } else { 500 };
const LOOKED_MAX: u64 = if cfg!(test) { 20 } else { 20_000 };

/// A page of older records.
#[derive(Debug)]
pub(crate) struct OlderCalls {
    pub(crate) rows: Vec<PostedUsage>,
    /// Where the next page begins. `None` at the end.
    pub(crate) next: Option<CallPosition>,
}

/// At most `size` records before a position, within a watermark. Without one, every record before the position counts.
pub(crate) async fn older(
    db: &impl Db,
    search: &CallQuery,
    (mut place, mark): (CallPosition, Option<&PostedWatermark>),
    size: usize,
) -> Result<OlderCalls, Error> {
    let posted = match mark {
        Some(mark) => Some(PostedSpools::new(db, mark).await?),
        None => None,
    };
    let way = best(db, search, &place).await?;
    let rest = search.rest(way.part);
    let is_exact = search.conditions.len() == usize::from(way.part.is_some());
    let (mut rows, mut look, mut looked) = (Vec::new(), LOOK_FIRST, 0u64);
    let end = |rows| Ok(OlderCalls { rows, next: None });
    loop {
        let Some(passed) = past_spans(db, search, place.clone()).await? else {
            return end(rows);
        };
        if passed != place {
            (place, look) = (passed, LOOK_FIRST);
        }
        let floor = if is_exact {
            None
        } else {
            floor(db, (search, way), &place, look).await?
        };
        // One row more shows whether there is a next page.
        let most = size.saturating_sub(rows.len()).saturating_add(1);
        let lowest = (search.start.map(|start| start.0)).max(floor);
        let found = window(db, (way, &rest), (&place, lowest), most).await?;
        let (is_all, is_empty) = (found.len() < most, found.is_empty());
        if let Some(last) = found.last() {
            place = place_of(last);
        }
        let has = |row: &PostedUsage| posted.as_ref().is_none_or(|posted| posted.has(row));
        rows.extend(found.into_iter().filter(has));
        if rows.len() > size {
            rows.truncate(size);
            let next = rows.last().map(place_of);
            return Ok(OlderCalls { rows, next });
        }
        if !is_all {
            continue;
        }
        let Some(floor) = floor else {
            return end(rows);
        };
        place = CallPosition::below(floor);
        looked = looked.saturating_add(look);
        look = look.saturating_mul(2);
        if is_empty {
            let Some((passed, cost)) = past_accounts(db, search, place).await? else {
                return end(rows);
            };
            place = passed;
            looked = looked.saturating_add(cost);
            look = if cost == 0 { look } else { LOOK_FIRST };
        }
        if looked >= LOOKED_MAX {
            let next = Some(place);
            return Ok(OlderCalls { rows, next });
        }
    }
}

/// The scan path whose next entries reach back furthest.
async fn best<'a>(
    db: &impl Db,
    search: &'a CallQuery,
    place: &CallPosition,
) -> Result<&'a ScanPath, Error> {
    let mut best: Option<(Option<i64>, &ScanPath)> = None;
    let [ways @ .., everything] = search.ways.as_slice() else {
        return Err(Error::internal("a search has no way to go"));
    };
    if ways.is_empty() {
        return Ok(everything);
    }
    for way in &search.ways {
        let floor = floor(db, (search, way), place, LOOK_FIRST).await?;
        // A path without a floor has fewer entries than were asked for.
        if best.is_none_or(|(least, _)| floor < least) {
            best = Some((floor, way));
        }
        if floor.is_none() {
            break;
        }
    }
    Ok(best.map_or(everything, |(_, way)| way))
}

/// The moment of the entry that is `entries` entries before a position. Returns `None` if there are fewer.
async fn floor(
    db: &impl Db,
    (search, way): (&CallQuery, &ScanPath),
    place: &CallPosition,
    entries: u64,
) -> Result<Option<i64>, Error> {
    let start = search.start.map_or(i64::MIN, |start| start.0);
    let lane = |lane: &SqlClause| SqlClause {
        sql: format!(
            "SELECT * FROM (SELECT r.start_at FROM usage_record r WHERE {} AND r.start_at <= ? AND r.start_at >= ? \
             ORDER BY r.start_at DESC LIMIT {}) AS lane",
            lane.sql,
            entries.saturating_add(1)
        ),
        values: [&lane.values[..], &[place.latest().into(), start.into()]].concat(),
    };
    let together = together(way, lane);
    let sql = format!(
        "SELECT start_at FROM ({}) AS lanes ORDER BY start_at DESC LIMIT 1 OFFSET {entries}",
        together.sql
    );
    let row = statement(db, &sql, together.values);
    let row = db.handle().query_one_raw(row).await?;
    row.map(|row| number(&row, "start_at")).transpose()
}

/// The first records between a position and a moment that meet the remaining conditions.
async fn window(
    db: &impl Db,
    (way, rest): (&ScanPath, &SqlClause),
    (place, floor): (&CallPosition, Option<i64>),
    most: usize,
) -> Result<Vec<PostedUsage>, Error> {
    let bounds: [Value; 6] = [
        place.latest().into(),
        floor.unwrap_or(i64::MIN).into(),
        place.start.into(),
        place.node.as_str().into(),
        place.epoch.into(),
        place.sequence.into(),
    ];
    let order = "start_at DESC, node DESC, epoch DESC, sequence DESC";
    let lane = |lane: &SqlClause| SqlClause {
        sql: format!(
            "SELECT * FROM (SELECT * FROM usage_record r WHERE {} AND r.start_at <= ? AND r.start_at >= ? \
             AND (r.start_at, r.node, r.epoch, r.sequence) < (?, ?, ?, ?) AND {} ORDER BY {order} LIMIT {most}) AS lane",
            lane.sql, rest.sql
        ),
        values: [&lane.values[..], &bounds, &rest.values].concat(),
    };
    let together = together(way, lane);
    let sql = format!(
        "SELECT * FROM ({}) AS lanes ORDER BY {order} LIMIT {most}",
        together.sql
    );
    records(db, &sql, together.values).await
}

/// The queries for all lanes of a scan path, as one query.
fn together(way: &ScanPath, lane: impl Fn(&SqlClause) -> SqlClause) -> SqlClause {
    let lanes: Vec<SqlClause> = way.lanes.iter().map(lane).collect();
    let texts: Vec<&str> = lanes.iter().map(|lane| lane.sql.as_str()).collect();
    SqlClause {
        sql: texts.join(" UNION ALL "),
        values: lanes.iter().flat_map(|lane| lane.values.clone()).collect(),
    }
}

/// The position before which some of the accounts have a call, and what finding it cost in index entries. Returns
/// `None` if they have no call.
async fn past_accounts(
    db: &impl Db,
    search: &CallQuery,
    place: CallPosition,
) -> Result<Option<(CallPosition, u64)>, Error> {
    let asked = search.skips.iter().find_map(|skip| match skip {
        SkipHint::Accounts { dna, accounts } => Some((dna, *accounts)),
        SkipHint::Spans { .. } => None,
    });
    let Some((dna, accounts)) = asked else {
        return Ok(Some((place, 0)));
    };
    let sql = "SELECT MAX(latest) AS number FROM (SELECT (SELECT MAX(r.start_at) FROM usage_record r \
         WHERE r.account_id = a.id AND r.start_at <= ?) AS latest FROM account a WHERE a.dna LIKE ?) AS accounts";
    let values = [Value::from(place.latest()), format!("{dna}%").into()];
    let latest = at_most(db, statement(db, sql, values)).await?;
    // Each account costs an index descent, which takes as long as a few entries in a row.
    let cost = accounts.saturating_mul(2);
    Ok(latest.map(|latest| (CallPosition::below(latest.saturating_add(1)), cost)))
}

/// The position before which one span has each of the values searched for. Returns `None` if there is no such span.
async fn past_spans(
    db: &impl Db,
    search: &CallQuery,
    mut place: CallPosition,
) -> Result<Option<CallPosition>, Error> {
    loop {
        let before = place.clone();
        for skip in &search.skips {
            let SkipHint::Spans { kind, values } = skip else {
                continue;
            };
            let span = place.latest().div_euclid(SPAN_MS);
            let one = "SELECT (SELECT MAX(span) FROM usage_seen WHERE kind = ? AND value = ? AND span <= ?) AS span";
            let each = vec![one; values.len()].join(" UNION ALL ");
            let sql = format!("SELECT MAX(span) AS number FROM ({each}) AS spans");
            let value = |value: &String| [Value::from(*kind), value.as_str().into(), span.into()];
            let given = values.iter().flat_map(value);
            let found = if values.is_empty() {
                None
            } else {
                at_most(db, statement(db, &sql, given)).await?
            };
            match found {
                None => return Ok(None),
                Some(found) if found < span => {
                    place = CallPosition::below(found.saturating_add(1).saturating_mul(SPAN_MS));
                }
                Some(_) => {}
            }
        }
        // Skipping by one hint may reach past a span of another, so repeat until none skips.
        if place == before {
            return Ok(Some(place));
        }
    }
}

async fn at_most(db: &impl Db, greatest: Statement) -> Result<Option<i64>, Error> {
    let row = db.handle().query_one_raw(greatest).await?;
    let row = row.ok_or_else(|| Error::internal("a query for a number has no row"))?;
    row.try_get("", "number").map_err(Error::from)
}

fn place_of(row: &PostedUsage) -> CallPosition {
    CallPosition {
        start: row.record.start.0,
        node: row.node.clone(),
        epoch: row.epoch.cast_signed(),
        sequence: signed(row.record.sequence),
    }
}

/// The watermark's sequences by node and epoch.
struct PostedSpools<'a> {
    mark: &'a PostedWatermark,
    spools: BTreeMap<(String, i64), i64>,
}

impl<'a> PostedSpools<'a> {
    async fn new(db: &impl Db, mark: &'a PostedWatermark) -> Result<Self, Error> {
        let (are, values) = among(db, mark.spools().collect::<Vec<_>>());
        let sql = format!("SELECT id, node, epoch FROM usage_spool WHERE id {are}");
        let rows = db
            .handle()
            .query_all_raw(statement(db, &sql, values))
            .await?;
        let spool = |row| {
            let name = (
                sea_orm::QueryResult::try_get(row, "", "node")?,
                number(row, "epoch")?,
            );
            Ok((name, number(row, "id")?))
        };
        let spools = rows.iter().map(spool).collect::<Result<_, Error>>()?;
        Ok(Self { mark, spools })
    }

    fn has(&self, row: &PostedUsage) -> bool {
        let name = (row.node.clone(), row.epoch.cast_signed());
        let spool = self.spools.get(&name).copied();
        self.mark
            .has(spool, signed(row.record.sequence), row.posted)
    }
}
