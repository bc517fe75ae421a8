//! Stored settings.

use std::collections::BTreeMap;

use proxyxai_contract::id::Revision;
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _, sea_query::OnConflict,
};

use super::{Db, Tx, entity::setting, signed};
use crate::Error;

/// All stored settings by name.
pub(crate) async fn all(db: &impl Db) -> Result<BTreeMap<String, String>, Error> {
    let rows = setting::Entity::find().all(db.handle()).await?;
    Ok(rows.into_iter().map(|row| (row.name, row.value)).collect())
}

/// Stores values by name.
pub(crate) async fn set(
    tx: &Tx,
    values: &BTreeMap<String, String>,
    revision: Revision,
) -> Result<(), Error> {
    for (name, value) in values {
        let row = setting::ActiveModel {
            name: Set(name.clone()),
            value: Set(value.clone()),
            revision: Set(signed(revision.0)),
        };
        let replace = OnConflict::column(setting::Column::Name)
            .update_columns([setting::Column::Value, setting::Column::Revision])
            .to_owned();
        setting::Entity::insert(row)
            .on_conflict(replace)
            .exec_without_returning(tx.handle())
            .await?;
    }
    Ok(())
}

/// Deletes stored values, so that the defaults apply again.
pub(crate) async fn drop_names(tx: &Tx, names: &[String]) -> Result<(), Error> {
    let names = names.iter().map(String::as_str);
    let drop_them = setting::Entity::delete_many().filter(setting::Column::Name.is_in(names));
    drop_them
        .exec(tx.handle())
        .await
        .map(drop)
        .map_err(Error::from)
}
