//! `/x-nodes`: data planes, what they run on, and the credit that they have on lease.

use axum::{Json, extract::State};
use proxyxai_contract::{clock::Zone, id::Revision, snapshot::Rejection};
use serde::Serialize;

use super::{
    answer::Dollars,
    failure::Failure,
    request::{Asker, Params},
};
use crate::{
    Control, ops,
    view::{Leased, Listing, NodeFilter, NodeView},
};

pub(super) async fn list(
    State(control): State<Control>,
    Asker(caller): Asker,
    params: Params,
) -> Result<Json<Answer>, Failure> {
    params.only(&["connected", "page", "size"])?;
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

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Answer {
    revision: u64,
    nodes: Vec<Row>,
    total: u64,
    page: u64,
    size: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
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
    seen_at: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
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
