//! Corrections: the cost of records after they were priced anew. The records themselves stay as they were posted.

use std::collections::BTreeMap;

use proxyxai_contract::{clock::Millis, id::AccountId, money::Money};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    sea_query::{Expr, OnConflict},
};

use super::{
    super::{
        Db, ROWS_PER_INSERT, Tx,
        entity::{usage_correction, usage_record},
        signed, unsigned,
    },
    read,
};
use crate::{Error, model::PostedUsage};

/// A time range whose end is excluded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecordSpan {
    /// First moment.
    pub(crate) from: Millis,
    /// First moment after it.
    pub(crate) to: Millis,
}

/// The new cost of a record, and the price version.
#[derive(Debug)]
pub(crate) struct CostCorrection<'a> {
    /// The record.
    pub(crate) usage: &'a PostedUsage,
    /// The new cost.
    pub(crate) cost: Money,
    /// The version it was priced with.
    pub(crate) version: &'a str,
}

/// Accounts with records in a span, by id.
pub(crate) async fn accounts(db: &impl Db, span: RecordSpan) -> Result<Vec<AccountId>, Error> {
    let ids: Vec<i64> = usage_record::Entity::find()
        .select_only()
        .column(usage_record::Column::AccountId)
        .distinct()
        .filter(usage_record::Column::StartAt.gte(span.from.0))
        .filter(usage_record::Column::StartAt.lt(span.to.0))
        .order_by_asc(usage_record::Column::AccountId)
        .into_tuple()
        .all(db.handle())
        .await?;
    ids.into_iter()
        .map(AccountId::new)
        .collect::<Result<_, _>>()
        .map_err(Error::from)
}

/// The next records of an account in a time range, oldest first, with their corrections.
pub(crate) async fn next(
    db: &impl Db,
    account: AccountId,
    span: RecordSpan,
    after: Option<&PostedUsage>,
    most: u64,
) -> Result<Vec<PostedUsage>, Error> {
    let mut query = usage_record::Entity::find()
        .filter(usage_record::Column::AccountId.eq(account.get()))
        .filter(usage_record::Column::StartAt.gte(span.from.0))
        .filter(usage_record::Column::StartAt.lt(span.to.0));
    if let Some(last) = after {
        query = query
            .filter(usage_record::Column::StartAt.gte(last.record.start.0))
            .filter(Expr::cust_with_values(
                "(start_at, node, epoch, sequence) > (?, ?, ?, ?)",
                [
                    sea_orm::Value::from(last.record.start.0),
                    last.node.as_str().into(),
                    last.epoch.cast_signed().into(),
                    signed(last.record.sequence).into(),
                ],
            ));
    }
    let rows = query
        .order_by_asc(usage_record::Column::StartAt)
        .order_by_asc(usage_record::Column::Node)
        .order_by_asc(usage_record::Column::Epoch)
        .order_by_asc(usage_record::Column::Sequence)
        .limit(most)
        .all(db.handle())
        .await?;
    let mut found = rows.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
    fill(db, &mut found).await?;
    Ok(found)
}

/// Fills in the corrections of records.
pub(in crate::store) async fn fill(db: &impl Db, rows: &mut [PostedUsage]) -> Result<(), Error> {
    let mut spools: BTreeMap<(String, u64), Vec<i64>> = BTreeMap::new();
    for row in rows.iter() {
        let spool = spools.entry((row.node.clone(), row.epoch)).or_default();
        spool.push(signed(row.record.sequence));
    }
    let mut known = BTreeMap::new();
    for ((node, epoch), sequences) in &spools {
        for chunk in sequences.chunks(ROWS_PER_INSERT) {
            let costs: Vec<(i64, i64)> = usage_correction::Entity::find()
                .select_only()
                .columns([
                    usage_correction::Column::Sequence,
                    usage_correction::Column::Cost,
                ])
                .filter(usage_correction::Column::Node.eq(node.as_str()))
                .filter(usage_correction::Column::Epoch.eq(epoch.cast_signed()))
                .filter(usage_correction::Column::Sequence.is_in(chunk.iter().copied()))
                .into_tuple()
                .all(db.handle())
                .await?;
            known.extend(costs.into_iter().map(|(sequence, cost)| {
                (
                    (node.as_str(), *epoch, unsigned(sequence)),
                    Money::from_nanos(cost),
                )
            }));
        }
    }
    for row in rows {
        let id = (row.node.as_str(), row.epoch, row.record.sequence);
        row.corrected = known.get(&id).copied();
    }
    Ok(())
}

/// Stores corrections.
pub(crate) async fn put(
    tx: &Tx,
    corrections: &[CostCorrection<'_>],
    posted: Millis,
) -> Result<(), Error> {
    let row = |correction: &CostCorrection<'_>| usage_correction::ActiveModel {
        node: Set(correction.usage.node.clone()),
        epoch: Set(correction.usage.epoch.cast_signed()),
        sequence: Set(signed(correction.usage.record.sequence)),
        cost: Set(correction.cost.nanos()),
        version: Set(correction.version.to_owned()),
        posted_at: Set(posted.0),
    };
    for chunk in corrections.chunks(ROWS_PER_INSERT) {
        let replace = OnConflict::columns([
            usage_correction::Column::Node,
            usage_correction::Column::Epoch,
            usage_correction::Column::Sequence,
        ])
        .update_columns([
            usage_correction::Column::Cost,
            usage_correction::Column::Version,
            usage_correction::Column::PostedAt,
        ])
        .to_owned();
        usage_correction::Entity::insert_many(chunk.iter().map(row))
            .on_conflict(replace)
            .exec_without_returning(tx.handle())
            .await?;
    }
    Ok(())
}
