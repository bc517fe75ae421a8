//! Makes names of accounts unique whatever their case. `name_key` is the case-folded name, unique among living
//! accounts.
//! If older versions allowed names that differ in case alone, only the oldest account gets that key. The others get
//! their own until they are renamed.

use std::collections::HashSet;

use sea_orm_migration::sea_orm::{ConnectionTrait, DbErr, Statement, Value};

use crate::domain::name;

/// Folds what both databases fold alike, which is most names; `fill` does the rest.
pub(super) const SCHEMA: &str = "
ALTER TABLE account ADD COLUMN name_key TEXT {BYTES} NOT NULL DEFAULT '';
UPDATE account SET name_key = LOWER(name)
";

const INDEX: &str =
    "CREATE UNIQUE INDEX account_name_key ON account (name_key) WHERE deleted_at IS NULL";
const PAGE: i64 = 1000;

/// Folds the names that SQL could not, and gives namesakes keys of their own.
pub(super) async fn fill(db: &impl ConnectionTrait) -> Result<(), DbErr> {
    let (mut seen, mut after) = (HashSet::new(), 0);
    loop {
        let page = statement(
            db,
            "SELECT id, name, name_key, deleted_at FROM account WHERE id > $1 ORDER BY id LIMIT $2",
            [after.into(), PAGE.into()],
        );
        let rows = db.query_all_raw(page).await?;
        if rows.is_empty() {
            break;
        }
        for row in rows {
            let (id, name): (i64, String) = (row.try_get("", "id")?, row.try_get("", "name")?);
            let stored: String = row.try_get("", "name_key")?;
            let deleted: Option<i64> = row.try_get("", "deleted_at")?;
            after = id;
            let mut key = name::folded(&name);
            if deleted.is_none() && !seen.insert(key.clone()) {
                key = name::namesake(&key, id);
            }
            if key != stored {
                let write = "UPDATE account SET name_key = $1 WHERE id = $2";
                db.execute_raw(statement(db, write, [key.into(), id.into()]))
                    .await?;
            }
        }
    }
    db.execute_unprepared(INDEX).await.map(drop)
}

fn statement<const N: usize>(
    db: &impl ConnectionTrait,
    sql: &str,
    values: [Value; N],
) -> Statement {
    Statement::from_sql_and_values(db.get_database_backend(), sql, values)
}
