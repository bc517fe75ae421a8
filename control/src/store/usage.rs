//! Usage records: storing, listing and pruning them, and their totals.

mod prune;
pub(crate) mod quarantine;
pub(crate) mod seen;
mod spans;
mod spools;
pub(crate) mod tags;
mod totals;
pub(crate) mod unpriced;

use std::collections::BTreeSet;

use proxyxai_contract::{
    Invalid, attempt,
    bill::CallBill,
    clock::Millis,
    id::{AccountId, ClientKeyId, KeyId, Level, NodeName},
    money::{Money, Multiplier},
    part::BillPart,
    tokens::{ImageUsage, TokenUsage},
    usage::{AbandonedPolicy, UsageMeasure, UsageRecord},
};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, EntityTrait as _, PaginatorTrait as _,
    QueryFilter as _, QueryOrder as _, QuerySelect as _, Value,
};

pub(super) use self::totals::{SUMS, earned, totals as read_totals, used};
pub(crate) use self::{
    prune::{next_span, prune},
    totals::{DailyTotals, add_totals, by_model, costs},
};
use super::{Db, Tx, corrupt, entity::usage_record, in_batches, signed, statement, unsigned};
use crate::{
    Error,
    model::{Listing, Page, PostedUsage},
};

pub(crate) mod corrections;

/// Which records of a range of sequences are posted already.
#[derive(Debug)]
pub(crate) struct PostedSequences {
    /// Everything up to here was posted and has been pruned.
    through: Option<u64>,
    stored: BTreeSet<u64>,
}

impl PostedSequences {
    /// Whether the record with this sequence was posted before.
    pub(crate) fn contains(&self, sequence: u64) -> bool {
        self.through.is_some_and(|through| sequence <= through) || self.stored.contains(&sequence)
    }
}

/// Which records between two sequences, both included, were posted before.
pub(crate) async fn known(
    tx: &Tx,
    node: &NodeName,
    epoch: u64,
    first: u64,
    last: u64,
) -> Result<PostedSequences, Error> {
    // One query for both, since every report waits for it.
    let sql = "SELECT sequence, FALSE AS pruned FROM usage_record \
         WHERE node = ? AND epoch = ? AND sequence BETWEEN ? AND ? \
         UNION ALL SELECT sequence, FALSE FROM usage_quarantined \
         WHERE node = ? AND epoch = ? AND sequence BETWEEN ? AND ? \
         UNION ALL SELECT through, TRUE FROM usage_pruned WHERE node = ? AND epoch = ?";
    let spool = || [Value::from(node.as_str()), epoch.cast_signed().into()];
    let range = || [Value::from(signed(first)), signed(last).into()];
    let stored = || spool().into_iter().chain(range());
    let values = stored().chain(stored()).chain(spool());
    let rows = tx.handle().query_all_raw(statement(tx, sql, values));
    let mut known = PostedSequences {
        through: None,
        stored: BTreeSet::new(),
    };
    for row in rows.await? {
        let sequence = unsigned(row.try_get("", "sequence")?);
        if row.try_get("", "pruned")? {
            known.through = Some(sequence);
        } else {
            known.stored.insert(sequence);
        }
    }
    Ok(known)
}

/// Columns of a record, in the order in which `values` gives them.
const COLUMNS: [&str; 42] = [
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
    "cache_write_hour",
    "tier",
    "bill",
    "tag",
    "expense",
    "abandoned",
    "attempts",
    "client_key_id",
];

/// Stores new records.
pub(crate) async fn insert(
    tx: &Tx,
    node: &NodeName,
    epoch: u64,
    records: &[UsageRecord],
    posted: Millis,
) -> Result<(), Error> {
    let rows = records
        .iter()
        .map(|record| values(node, epoch, record, posted));
    let columns = COLUMNS.join(",");
    let sql = |rows: &str| format!("INSERT INTO usage_record ({columns}) {rows}");
    in_batches(tx, rows.collect(), sql).await?;
    seen::note(tx, node, records).await?;
    match records.iter().map(|record| record.sequence).max() {
        Some(through) => spools::advance(tx, node, epoch, through, posted).await,
        None => Ok(()),
    }
}

/// Single records of an account, or those of one call, newest first.
pub(crate) async fn list(
    db: &impl Db,
    account: AccountId,
    request_id: Option<&str>,
    page: Page,
) -> Result<Listing<PostedUsage>, Error> {
    let mut query =
        usage_record::Entity::find().filter(usage_record::Column::AccountId.eq(account.get()));
    if let Some(id) = request_id {
        query = query.filter(usage_record::Column::RequestId.eq(id));
    }
    let total = query.clone().count(db.handle()).await?;
    let rows = query
        .order_by_desc(usage_record::Column::StartAt)
        .order_by_desc(usage_record::Column::Sequence)
        .limit(page.size)
        .offset(page.page.saturating_sub(1).saturating_mul(page.size))
        .all(db.handle())
        .await?;
    let mut rows = rows.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
    corrections::fill(db, &mut rows).await?;
    Ok(Listing { rows, total })
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
        signed(tokens.cache_write_hour).into(),
        record.tier.as_str().into(),
        record.sum.text().into(),
        record.tag.as_str().into(),
        record.expense.map(Money::nanos).into(),
        record.abandoned.map_or("", AbandonedPolicy::as_str).into(),
        attempt::text(&record.attempts).into(),
        record.client_key.map(ClientKeyId::get).into(),
    ]
}

pub(super) fn read(row: usage_record::Model) -> Result<PostedUsage, Error> {
    let sequence = row.sequence;
    read_record(row).map_err(|error| corrupt("usage record", sequence, error))
}

fn read_record(row: usage_record::Model) -> Result<PostedUsage, Invalid> {
    let out_of_range = |field: &str| Invalid::new(field, "is out of range");
    let sum = CallBill::parse(&row.bill)?;
    let record = UsageRecord {
        sequence: unsigned(row.sequence),
        request_id: row.request_id,
        account: AccountId::new(row.account_id)?,
        path: row.path,
        model_asked: row.model_asked,
        model_used: row.model_used,
        client_key: row.client_key_id.map(ClientKeyId::new).transpose()?,
        key: row.key_id.map(KeyId::new).transpose()?,
        level: Level::new(row.level)?,
        tries: u32::try_from(row.tries).map_err(|_| out_of_range("tries"))?,
        status: u16::try_from(row.status).map_err(|_| out_of_range("status"))?,
        tokens: TokenUsage {
            input: unsigned(row.input),
            cached: unsigned(row.cached),
            cache_write: unsigned(row.cache_write),
            cache_write_hour: unsigned(row.cache_write_hour),
            output: unsigned(row.output),
            reasoning: unsigned(row.reasoning),
            input_audio: unsigned(row.input_audio),
            output_audio: unsigned(row.output_audio),
            input_image: unsigned(row.input_image),
            output_image: unsigned(row.output_image),
            input_video: sum.quantity(BillPart::InputVideo),
            cached_audio: sum.quantity(BillPart::CachedAudio),
            cached_image: sum.quantity(BillPart::CachedImage),
        },
        tier: row.tier,
        sum,
        images: ImageUsage {
            count: unsigned(row.images),
            size: row.image_size,
        },
        measure: UsageMeasure::parse(&row.measure).ok_or_else(|| out_of_range("measure"))?,
        cost: Money::from_nanos(row.cost),
        priced: row.priced,
        price_version: row.price_version,
        rates: row.rates.map(Multiplier::from_micros).transpose()?,
        factor: row.factor.map(Multiplier::from_micros).transpose()?,
        start: Millis(row.start_at),
        duration_ms: unsigned(row.duration_ms),
        first_byte_ms: unsigned(row.first_byte_ms),
        streamed: row.streamed,
        objects: None,
        tag: row.tag,
        abandoned: AbandonedPolicy::parse(&row.abandoned),
        attempts: attempt::parse(&row.attempts)?,
        expense: row.expense.map(Money::from_nanos),
    };
    Ok(PostedUsage {
        node: row.node,
        epoch: row.epoch.cast_unsigned(),
        record,
        posted: Millis(row.posted_at),
        corrected: None,
    })
}
