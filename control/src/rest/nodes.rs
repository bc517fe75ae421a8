//! `/x-nodes`: data planes, the revision each runs on, and the credit each has on lease.

use axum::{Json, extract::State};
use proxyxai_contract::{clock::Zone, id::Revision, snapshot::RejectedItem};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    error::RestError,
    query::{PAGE, ParamType, QueryParam, SIZE, query},
    request::{AccountCaller, QueryParams},
    response::Dollars,
};
use crate::{
    Control,
    model::{Listing, Node, NodeFilter, NodeLeases},
    ops,
};

pub(super) const QUERY: [QueryParam; 3] = [
    query(
        "connected",
        ParamType::Flag,
        "Those that are connected, or those that are not",
    ),
    PAGE,
    SIZE,
];

pub(super) async fn list(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    params: QueryParams,
) -> Result<Json<NodesResponse>, RestError> {
    params.reject_unknown(&QUERY)?;
    let page = params.page()?;
    let filter = NodeFilter {
        connected: params.flag("connected")?,
    };
    let (revision, nodes) = ops::fleet::nodes(&control, &caller, filter).await?;
    let Listing { rows, total } = page.of(nodes);
    let zone = control.zone();
    let rows = rows.into_iter().map(|node| row(node, revision, &zone));
    Ok(Json(NodesResponse {
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
pub(super) struct NodesResponse {
    revision: u64,
    nodes: Vec<NodeRow>,
    total: u64,
    page: u64,
    size: u64,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = Node)]
struct NodeRow {
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

fn row(node: Node, revision: Revision, zone: &Zone) -> NodeRow {
    let Node {
        name,
        epoch,
        version,
        connected,
        applied,
        rejections,
        seen,
        leased: NodeLeases { accounts, amount },
    } = node;
    let rejection = |rejection: RejectedItem| {
        let RejectedItem {
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
    NodeRow {
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
