//! `/x-nodes`: data planes, what they run on, and the credit that they have on lease.

use axum::{Json, extract::State};
use proxyxai_contract::{clock::Zone, id::Revision, snapshot::Rejection};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    answer::Dollars,
    failure::Failure,
    query::{PAGE, Query, SIZE, Takes, query},
    request::{Asker, Params},
};
use crate::{
    Control, ops,
    view::{Leased, Listing, NodeFilter, NodeView},
};

pub(super) const QUERY: [Query; 3] = [
    query(
        "connected",
        Takes::Flag,
        "Those that are connected, or those that are not",
    ),
    PAGE,
    SIZE,
];

pub(super) async fn list(
    State(control): State<Control>,
    Asker(caller): Asker,
    params: Params,
) -> Result<Json<Answer>, Failure> {
    params.only(&QUERY)?;
    let page = params.page()?;
    let filter = NodeFilter {
        connected: params.flag("connected")?,
    };
    let (revision, nodes) = ops::fleet::nodes(&control, &caller, filter).await?;
    let Listing { rows, total } = page.of(nodes);
    let zone = control.zone();
    let rows = rows.into_iter().map(|node| row(node, revision, &zone));
    Ok(Json(Answer {
        revision: revision.0,
        nodes: rows.collect(),
        total,
        page: page.page,
        size: page.size,
    }))
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = Nodes)]
pub(super) struct Answer {
    revision: u64,
    nodes: Vec<Row>,
    total: u64,
    page: u64,
    size: u64,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = Node)]
struct Row {
    name: String,
    epoch: u64,
    version: String,
    connected: bool,
    applied_revision: u64,
    /// Revisions that it has yet to apply.
    lag: u64,
    rejections: Vec<RejectionRow>,
    leases: u64,
    leased: Dollars,
    #[schema(format = DateTime)]
    seen_at: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = Rejection)]
struct RejectionRow {
    kind: &'static str,
    item: String,
    problem: String,
}

fn row(node: NodeView, revision: Revision, zone: &Zone) -> Row {
    let NodeView {
        name,
        epoch,
        version,
        connected,
        applied,
        rejections,
        seen,
        leased: Leased { accounts, amount },
    } = node;
    let rejection = |rejection: Rejection| {
        let Rejection {
            kind,
            item,
            problem,
        } = rejection;
        RejectionRow {
            kind,
            item,
            problem,
        }
    };
    Row {
        name: name.as_str().to_owned(),
        epoch,
        version,
        connected,
        applied_revision: applied.0,
        lag: revision.0.saturating_sub(applied.0),
        rejections: rejections.into_iter().map(rejection).collect(),
        leases: accounts,
        leased: Dollars(amount),
        seen_at: zone.rfc3339(seen),
    }
}
