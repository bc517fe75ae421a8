//! Data planes that ever connected.

use proxyxai_contract::{
    clock::Millis,
    id::{NodeName, Revision},
    snapshot::RejectedItem,
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    sea_query::OnConflict,
};

use super::{Db, Tx, entity::node, signed, unsigned};
use crate::{
    Error,
    model::{Node, NodeLeases},
};

/// All nodes by name, without their connection state and credit.
pub(crate) async fn all(db: &impl Db) -> Result<Vec<Node>, Error> {
    let rows = node::Entity::find()
        .order_by_asc(node::Column::Name)
        .all(db.handle())
        .await?;
    rows.into_iter().map(view).collect()
}

/// Stores that a node began to watch. What it had applied before no longer counts.
pub(crate) async fn seen(
    tx: &Tx,
    name: &NodeName,
    epoch: u64,
    version: &str,
    now: Millis,
) -> Result<(), Error> {
    let row = node::ActiveModel {
        name: Set(name.as_str().to_owned()),
        epoch: Set(epoch.cast_signed()),
        version: Set(version.to_owned()),
        applied: Set(0),
        rejections: Set("[]".to_owned()),
        seen_at: Set(now.0),
    };
    let replace = OnConflict::column(node::Column::Name)
        .update_columns([
            node::Column::Epoch,
            node::Column::Version,
            node::Column::Applied,
            node::Column::Rejections,
            node::Column::SeenAt,
        ])
        .to_owned();
    let insert = node::Entity::insert(row).on_conflict(replace);
    insert
        .exec_without_returning(tx.handle())
        .await
        .map(drop)
        .map_err(Error::from)
}

/// Stores which revision a node applied.
pub(crate) async fn applied(
    tx: &Tx,
    name: &NodeName,
    epoch: u64,
    revision: Revision,
    rejections: &[RejectedItem],
    now: Millis,
) -> Result<(), Error> {
    let list: Vec<_> = rejections
        .iter()
        .map(|item| [item.kind, item.item.as_str(), item.problem.as_str()])
        .collect();
    let text = serde_json::to_string(&list).map_err(Error::internal)?;
    let row = node::ActiveModel {
        epoch: Set(epoch.cast_signed()),
        applied: Set(signed(revision.0)),
        rejections: Set(text),
        seen_at: Set(now.0),
        ..Default::default()
    };
    let update = node::Entity::update_many()
        .set(row)
        .filter(node::Column::Name.eq(name.as_str()));
    update
        .exec(tx.handle())
        .await
        .map(drop)
        .map_err(Error::from)
}

/// Creates the node's row if needed and locks it, so that two reports of one node follow each other.
pub(crate) async fn lock(tx: &Tx, name: &NodeName, epoch: u64, now: Millis) -> Result<(), Error> {
    let row = node::ActiveModel {
        name: Set(name.as_str().to_owned()),
        epoch: Set(epoch.cast_signed()),
        version: Set(String::new()),
        applied: Set(0),
        rejections: Set("[]".to_owned()),
        seen_at: Set(now.0),
    };
    let keep = OnConflict::column(node::Column::Name)
        .update_column(node::Column::SeenAt)
        .to_owned();
    let insert = node::Entity::insert(row).on_conflict(keep);
    // Writing the row locks it until the transaction ends.
    insert
        .exec_without_returning(tx.handle())
        .await
        .map(drop)
        .map_err(Error::from)
}

fn view(row: node::Model) -> Result<Node, Error> {
    let node::Model {
        name,
        epoch,
        version,
        applied,
        rejections,
        seen_at,
    } = row;
    let stored: Vec<[String; 3]> = serde_json::from_str(&rejections).unwrap_or_default();
    let rejection = |[kind, item, problem]: [String; 3]| RejectedItem {
        kind: known_kind(&kind),
        item,
        problem,
    };
    Ok(Node {
        name: NodeName::new(&name)?,
        epoch: epoch.cast_unsigned(),
        version,
        connected: false,
        applied: Revision(unsigned(applied)),
        rejections: stored.into_iter().map(rejection).collect(),
        seen: Millis(seen_at),
        leased: NodeLeases::default(),
    })
}

fn known_kind(kind: &str) -> &'static str {
    ["account", "key", "price"]
        .into_iter()
        .find(|known| *known == kind)
        .unwrap_or("settings")
}
