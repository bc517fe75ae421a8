//! State of background jobs: how far each has got, and which subjects were notified of what.

use std::collections::BTreeMap;

use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _, QuerySelect as _,
    sea_query::OnConflict,
};

use super::{
    Db, ROWS_PER_INSERT, Tx,
    entity::{job, mail_mark},
};
use crate::Error;

/// A job's position; empty before its first step. Locked until the transaction ends, so that replicas take turns.
pub(crate) async fn position(tx: &Tx, name: &str) -> Result<String, Error> {
    let row = job::ActiveModel {
        name: Set(name.to_owned()),
        position: Set(String::new()),
    };
    let once = OnConflict::column(job::Column::Name)
        .do_nothing()
        .to_owned();
    job::Entity::insert(row)
        .on_conflict(once)
        .exec_without_returning(tx.handle())
        .await?;
    let mut query = job::Entity::find_by_id(name.to_owned());
    if tx.locks_rows() {
        query = query.lock_exclusive();
    }
    let row = query.one(tx.handle()).await?;
    row.map(|row| row.position)
        .ok_or_else(|| Error::internal("a job has no position"))
}

/// Stores a job's position.
pub(crate) async fn set_position(tx: &Tx, name: &str, position: &str) -> Result<(), Error> {
    let row = job::ActiveModel {
        position: Set(position.to_owned()),
        ..Default::default()
    };
    job::Entity::update_many()
        .set(row)
        .filter(job::Column::Name.eq(name))
        .exec(tx.handle())
        .await
        .map(drop)
        .map_err(Error::from)
}

/// Marks of one kind, by subject: the period of the last notification.
pub(crate) async fn marks(
    db: &impl Db,
    kind: &str,
    subjects: &[i64],
) -> Result<BTreeMap<i64, String>, Error> {
    let mut found = BTreeMap::new();
    for chunk in subjects.chunks(ROWS_PER_INSERT) {
        let rows = mail_mark::Entity::find()
            .filter(mail_mark::Column::Kind.eq(kind))
            .filter(mail_mark::Column::SubjectId.is_in(chunk.iter().copied()))
            .all(db.handle())
            .await?;
        found.extend(rows.into_iter().map(|row| (row.subject_id, row.period)));
    }
    Ok(found)
}

/// Stores that a subject was notified.
pub(crate) async fn mark(tx: &Tx, kind: &str, subject: i64, period: &str) -> Result<(), Error> {
    let row = mail_mark::ActiveModel {
        kind: Set(kind.to_owned()),
        subject_id: Set(subject),
        period: Set(period.to_owned()),
    };
    let replace = OnConflict::columns([mail_mark::Column::Kind, mail_mark::Column::SubjectId])
        .update_column(mail_mark::Column::Period)
        .to_owned();
    mail_mark::Entity::insert(row)
        .on_conflict(replace)
        .exec_without_returning(tx.handle())
        .await
        .map(drop)
        .map_err(Error::from)
}

/// Deletes a mark.
pub(crate) async fn unmark(tx: &Tx, kind: &str, subject: i64) -> Result<(), Error> {
    mail_mark::Entity::delete_many()
        .filter(mail_mark::Column::Kind.eq(kind))
        .filter(mail_mark::Column::SubjectId.eq(subject))
        .exec(tx.handle())
        .await
        .map(drop)
        .map_err(Error::from)
}
