//! Versions of the price table, written once and never changed.

use proxyxai_contract::{Invalid, clock::Millis, id::AccountId};
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _,
};

use super::{Db, Tx, corrupt, entity::price_version};
use crate::{
    Error,
    model::{PriceSource, PriceVersion},
};

/// The last version that begins by a moment. If several begin at one moment, the newest.
pub(crate) async fn at(db: &impl Db, moment: Millis) -> Result<Option<PriceVersion>, Error> {
    let row = price_version::Entity::find()
        .filter(price_version::Column::ValidFrom.lte(moment.0))
        .order_by_desc(price_version::Column::ValidFrom)
        .order_by_desc(price_version::Column::Id)
        .one(db.handle())
        .await?;
    row.map(read).transpose()
}

/// The name of that version, without its long text.
pub(crate) async fn version_at(db: &impl Db, moment: Millis) -> Result<Option<String>, Error> {
    price_version::Entity::find()
        .select_only()
        .column(price_version::Column::Version)
        .filter(price_version::Column::ValidFrom.lte(moment.0))
        .order_by_desc(price_version::Column::ValidFrom)
        .order_by_desc(price_version::Column::Id)
        .limit(1)
        .into_tuple()
        .one(db.handle())
        .await
        .map_err(Error::from)
}

/// When the next version begins.
pub(crate) async fn next_after(db: &impl Db, moment: Millis) -> Result<Option<Millis>, Error> {
    let next: Option<i64> = price_version::Entity::find()
        .select_only()
        .column(price_version::Column::ValidFrom)
        .filter(price_version::Column::ValidFrom.gt(moment.0))
        .order_by_asc(price_version::Column::ValidFrom)
        .limit(1)
        .into_tuple()
        .one(db.handle())
        .await?;
    Ok(next.map(Millis))
}

/// Names of the versions in force over a time range, each with its start; the first may have begun before.
pub(crate) async fn timeline(
    db: &impl Db,
    from: Millis,
    to: Millis,
) -> Result<Vec<(Millis, String)>, Error> {
    let mut names: Vec<(i64, String)> = price_version::Entity::find()
        .select_only()
        .columns([
            price_version::Column::ValidFrom,
            price_version::Column::Version,
        ])
        .filter(price_version::Column::ValidFrom.gt(from.0))
        .filter(price_version::Column::ValidFrom.lt(to.0))
        .order_by_asc(price_version::Column::ValidFrom)
        .order_by_desc(price_version::Column::Id)
        .into_tuple()
        .all(db.handle())
        .await?;
    names.dedup_by_key(|(valid_from, _)| *valid_from);
    let first = version_at(db, from).await?.map(|version| (from, version));
    let names = names.into_iter().map(|(at, version)| (Millis(at), version));
    Ok(first.into_iter().chain(names).collect())
}

/// Versions that begin later, sorted by start; replaced ones are left out.
pub(crate) async fn after(db: &impl Db, moment: Millis) -> Result<Vec<PriceVersion>, Error> {
    let rows = price_version::Entity::find()
        .filter(price_version::Column::ValidFrom.gt(moment.0))
        .order_by_asc(price_version::Column::ValidFrom)
        .order_by_desc(price_version::Column::Id)
        .all(db.handle())
        .await?;
    let mut versions = rows.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
    versions.dedup_by_key(|version| version.valid_from);
    Ok(versions)
}

pub(crate) async fn get(db: &impl Db, version: &str) -> Result<Option<PriceVersion>, Error> {
    let row = price_version::Entity::find()
        .filter(price_version::Column::Version.eq(version))
        .one(db.handle())
        .await?;
    row.map(read).transpose()
}

/// The newest versions without their texts, the latest first.
pub(crate) async fn newest(db: &impl Db, most: u64) -> Result<Vec<PriceVersion>, Error> {
    type Row = (String, i64, String, String, i64, Option<i64>);
    let rows: Vec<Row> = price_version::Entity::find()
        .select_only()
        .columns([
            price_version::Column::Version,
            price_version::Column::ValidFrom,
            price_version::Column::Source,
            price_version::Column::Note,
            price_version::Column::CreatedAt,
            price_version::Column::CreatedBy,
        ])
        .order_by_desc(price_version::Column::Id)
        .limit(most)
        .into_tuple()
        .all(db.handle())
        .await?;
    rows.into_iter()
        .map(
            |(version, valid_from, source, note, created_at, created_by)| {
                read(price_version::Model {
                    id: 0,
                    version,
                    valid_from,
                    source,
                    note,
                    text: String::new(),
                    overrides: String::new(),
                    created_at,
                    created_by,
                })
            },
        )
        .collect()
}

/// Stores new versions, in their order.
pub(crate) async fn insert(tx: &Tx, versions: &[PriceVersion]) -> Result<(), Error> {
    for version in versions {
        let PriceVersion {
            version,
            valid_from,
            source,
            note,
            text,
            overrides,
            created,
            created_by,
        } = version;
        let row = price_version::ActiveModel {
            version: Set(version.clone()),
            valid_from: Set(valid_from.0),
            source: Set(source.as_str().to_owned()),
            note: Set(note.clone()),
            text: Set(text.clone()),
            overrides: Set(overrides.clone()),
            created_at: Set(created.0),
            created_by: Set(created_by.map(AccountId::get)),
            ..Default::default()
        };
        price_version::Entity::insert(row)
            .exec_without_returning(tx.handle())
            .await?;
    }
    Ok(())
}

fn read(row: price_version::Model) -> Result<PriceVersion, Error> {
    let id = row.id;
    let source = PriceSource::parse(&row.source)
        .ok_or_else(|| Invalid::new("source", "is not known"))
        .map_err(|error| corrupt("price version", id, error))?;
    let created_by = row.created_by.map(AccountId::new).transpose();
    Ok(PriceVersion {
        version: row.version,
        valid_from: Millis(row.valid_from),
        source,
        note: row.note,
        text: row.text,
        overrides: row.overrides,
        created: Millis(row.created_at),
        created_by: created_by.map_err(|error| corrupt("price version", id, error))?,
    })
}
