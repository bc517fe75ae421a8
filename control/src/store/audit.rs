//! Audit records: written in the transaction of the change they record, listed, and pruned by age.

use proxyxai_contract::{clock::Millis, id::AccountId};
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, Condition, EntityTrait as _, PaginatorTrait as _,
    QueryFilter as _, QueryOrder as _, QuerySelect as _,
};

use super::{Db, Tx, entity::audit};
use crate::{
    Error,
    model::{AuditFilter, AuditRecord, Listing, Page},
};

/// A record that is to be written.
#[derive(Debug)]
pub(crate) struct NewAuditRecord<'a> {
    pub(crate) at: Millis,
    pub(crate) action: &'static str,
    pub(crate) operator: AccountId,
    pub(crate) operator_name: &'a str,
    pub(crate) operator_dna: &'a str,
    /// Empty if it is not known.
    pub(crate) address: String,
    pub(crate) kind: &'static str,
    pub(crate) target: Option<i64>,
    pub(crate) target_name: &'a str,
    /// Empty unless the target is an account or a group.
    pub(crate) target_dna: &'a str,
    pub(crate) status: &'static str,
    pub(crate) details: String,
}

pub(crate) async fn insert(tx: &Tx, record: NewAuditRecord<'_>) -> Result<(), Error> {
    let row = audit::ActiveModel {
        at: Set(record.at.0),
        action: Set(record.action.to_owned()),
        operator_id: Set(record.operator.get()),
        operator_name: Set(record.operator_name.to_owned()),
        operator_dna: Set(record.operator_dna.to_owned()),
        address: Set(record.address),
        kind: Set(record.kind.to_owned()),
        target_id: Set(record.target),
        target_name: Set(record.target_name.to_owned()),
        target_dna: Set(record.target_dna.to_owned()),
        status: Set(record.status.to_owned()),
        details: Set(record.details),
        ..Default::default()
    };
    audit::Entity::insert(row)
        .exec_without_returning(tx.handle())
        .await
        .map(drop)
        .map_err(Error::from)
}

/// Records whose operator or target is at or below `dna`, newest first. `None` selects all.
pub(crate) async fn list(
    db: &impl Db,
    dna: Option<&str>,
    filter: &AuditFilter,
    page: Page,
) -> Result<Listing<AuditRecord>, Error> {
    let AuditFilter {
        action,
        target,
        status,
    } = filter;
    let mut query = audit::Entity::find();
    if let Some(dna) = dna {
        let either = Condition::any()
            .add(audit::Column::OperatorDna.starts_with(dna))
            .add(audit::Column::TargetDna.starts_with(dna));
        query = query.filter(either);
    }
    if let Some(action) = action {
        query = query.filter(audit::Column::Action.eq(action.as_str()));
    }
    if let Some(target) = target {
        query = query.filter(audit::Column::TargetId.eq(*target));
    }
    if let Some(status) = status {
        query = query.filter(audit::Column::Status.eq(status.as_str()));
    }
    let total = query.clone().count(db.handle()).await?;
    let rows = query
        .order_by_desc(audit::Column::Id)
        .limit(page.size)
        .offset(page.page.saturating_sub(1).saturating_mul(page.size))
        .all(db.handle())
        .await?;
    Ok(Listing {
        rows: rows.into_iter().map(read).collect(),
        total,
    })
}

/// Deletes the oldest records from before a moment, at most `rows_max`. Returns how many it deleted.
pub(crate) async fn prune(tx: &Tx, before: Millis, rows_max: u64) -> Result<u64, Error> {
    let old: Vec<i64> = audit::Entity::find()
        .select_only()
        .column(audit::Column::Id)
        .filter(audit::Column::At.lt(before.0))
        .order_by_asc(audit::Column::At)
        .limit(rows_max)
        .into_tuple()
        .all(tx.handle())
        .await?;
    let dropped = audit::Entity::delete_many()
        .filter(audit::Column::Id.is_in(old))
        .exec(tx.handle())
        .await?;
    Ok(dropped.rows_affected)
}

fn read(row: audit::Model) -> AuditRecord {
    let audit::Model {
        id,
        at,
        action,
        operator_id,
        operator_name,
        operator_dna: _,
        address,
        kind,
        target_id,
        target_name,
        target_dna: _,
        status,
        details,
    } = row;
    AuditRecord {
        id,
        action,
        operator: operator_id,
        operator_name,
        address,
        kind,
        target: target_id,
        target_name,
        status,
        details,
        at: Millis(at),
    }
}
