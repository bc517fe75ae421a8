//! Calls posted since a watermark.

use proxyxai_contract::clock::Millis;
use sea_orm::{ConnectionTrait as _, Value};

use super::{CallQuery, SqlClause, records};
use crate::{
    Error,
    domain::cursor::{PostedWatermark, QUIET_MS},
    model::PostedUsage,
    store::{Db, among, number, signed, statement},
};

/// At most this many records are scanned for one response. Tests have few.
const LOOKED_MAX: i64 = if cfg!(test) { 20 } else { 20_000 };

/// What was posted since a watermark.
#[derive(Debug)]
pub(crate) struct NewerCalls {
    /// Sorted by spool.
    pub(crate) rows: Vec<PostedUsage>,
    /// The watermark at which these rows end.
    pub(crate) mark: PostedWatermark,
    /// Whether more is posted already.
    pub(crate) more: bool,
}

/// A spool with records since the watermark.
struct SpoolBacklog {
    id: i64,
    node: String,
    epoch: i64,
    /// The last sequence within the watermark, and the last one posted.
    from: i64,
    through: i64,
}

/// Records posted since a watermark, up to a limit.
pub(crate) async fn newer(
    db: &impl Db,
    search: &CallQuery,
    mark: &PostedWatermark,
    (size, now): (usize, Millis),
) -> Result<NewerCalls, Error> {
    let (mut spools, behind) = spools(db, mark, now).await?;
    let mut rows = Vec::new();
    let (mut looks, mut more) = (LOOKED_MAX, false);
    let mut left = behind.len();
    let rest = search.rest(None);
    for spool in behind {
        // Each spool gets an even part of what is left, so that a busy one does not starve the others.
        let share = looks
            .div_euclid(i64::try_from(left).unwrap_or(i64::MAX))
            .max(1);
        let room = size.saturating_sub(rows.len()).div_ceil(left);
        left = left.saturating_sub(1);
        let to = spool.through.min(spool.from.saturating_add(share));
        let mut found = match room {
            0 => Vec::new(),
            room => since(db, (search, &rest), (&spool, to), room.saturating_add(1)).await?,
        };
        let reached = if room == 0 {
            spool.from
        } else if found.len() > room {
            found.truncate(room);
            found.last().map_or(to, |row| signed(row.record.sequence))
        } else {
            to
        };
        looks = looks
            .saturating_sub(reached.saturating_sub(spool.from))
            .max(0);
        more |= reached < spool.through;
        spools.push((spool.id, reached));
        rows.extend(found);
    }
    spools.sort_unstable();
    Ok(NewerCalls {
        rows,
        mark: PostedWatermark::new(now, spools),
        more,
    })
}

/// The spools of a current watermark without new records, and those with some.
async fn spools(
    db: &impl Db,
    mark: &PostedWatermark,
    now: Millis,
) -> Result<(Vec<(i64, i64)>, Vec<SpoolBacklog>), Error> {
    let (are, mut values) = among(db, mark.spools().collect::<Vec<_>>());
    values.insert(0, mark.quiet().0.into());
    let sql = format!(
        "SELECT id, node, epoch, through, posted_at FROM usage_spool WHERE posted_at > ? OR id {are} ORDER BY id"
    );
    let rows = db
        .handle()
        .query_all_raw(statement(db, &sql, values))
        .await?;
    let (mut done, mut behind) = (Vec::new(), Vec::new());
    for row in rows {
        let (id, through) = (number(&row, "id")?, number(&row, "through")?);
        let (node, epoch): (String, _) = (row.try_get("", "node")?, number(&row, "epoch")?);
        let from = match mark.through(id) {
            Some(through) => through,
            None => before(db, (&node, epoch), mark.quiet()).await?,
        };
        if from < through {
            behind.push(SpoolBacklog {
                id,
                node,
                epoch,
                from,
                through,
            });
        } else if number(&row, "posted_at")? > now.0.saturating_sub(QUIET_MS) {
            done.push((id, through));
        }
    }
    Ok((done, behind))
}

/// The last sequence of a spool that was posted by a moment, searched from the spool's end.
async fn before(db: &impl Db, (node, epoch): (&str, i64), at: Millis) -> Result<i64, Error> {
    let sql = "SELECT sequence FROM usage_record WHERE node = ? AND epoch = ? AND posted_at <= ? \
         ORDER BY sequence DESC LIMIT 1";
    let values = [Value::from(node), epoch.into(), at.0.into()];
    let row = db
        .handle()
        .query_one_raw(statement(db, sql, values))
        .await?;
    row.map_or(Ok(-1), |row| number(&row, "sequence"))
}

/// Records of a spool up to a sequence, in their order.
async fn since(
    db: &impl Db,
    (search, rest): (&CallQuery, &SqlClause),
    (spool, to): (&SpoolBacklog, i64),
    most: usize,
) -> Result<Vec<PostedUsage>, Error> {
    let sql = format!(
        "SELECT * FROM usage_record r WHERE r.node = ? AND r.epoch = ? AND r.sequence > ? AND r.sequence <= ? \
         AND r.start_at + 0 >= ? AND r.start_at + 0 <= ? AND {} ORDER BY r.sequence LIMIT {most}",
        rest.sql
    );
    let first = search.start.map_or(i64::MIN, |start| start.0);
    let last = search.end.map_or(i64::MAX, |end| end.0);
    let mut values: Vec<Value> = vec![
        spool.node.as_str().into(),
        spool.epoch.into(),
        spool.from.into(),
        to.into(),
        first.into(),
        last.into(),
    ];
    values.extend(rest.values.iter().cloned());
    records(db, &sql, values).await
}
