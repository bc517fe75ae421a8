//! Service `Fleet`: the link to data planes. It needs the node token, except for `ListNodes`.

use std::{pin::Pin, time::Duration};

use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use proxyxai_contract::{
    Invalid,
    convert::{
        answer_to_wire, ask_from_wire, batch_from_wire, due_to_wire, health_from_wire,
        lease_to_wire, millis_to_wire, owned_to_wire, refused_from_wire, standing_to_wire,
        update_to_wire, window_ask_from_wire, window_grant_to_wire,
    },
    id::{AccountId, NodeName, Revision},
    snapshot::RejectedItem,
    wire::{self, fleet_server::Fleet},
};
use tokio::time::MissedTickBehavior;
use tonic::{Request, Response, Status};

use super::auth;
use crate::{
    Control, Error,
    model::{Node, NodeFilter, NodeLeases, NodeProcess},
    ops::{self, fleet::objects::ObjectQuery},
};

/// Upper bound on the items of one acknowledgement or health report. A data plane sends changes only.
const ITEMS_MAX: usize = 100_000;
/// Accounts, balances and leases of one chunk: about a megabyte, next to which the rest of either plane is large.
const CHUNK_ITEMS_MAX: usize = 2000;
/// Upper bound on the refused calls of one report.
const REFUSALS_MAX: usize = 1000;
/// Upper bound on the windows of one request: each is locked until the response.
const WINDOW_ASKS_MAX: usize = 1000;
/// Upper bound on the accounts of one lease request: each is locked until the response.
const ASKS_MAX: usize = 1000;

/// Pause between two heartbeats.
const HEARTBEAT: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct FleetService(pub(super) Control);

#[tonic::async_trait]
impl Fleet for FleetService {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<wire::Update, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<wire::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        auth::node(&self.0, &request).await?;
        let wire::WatchRequest {
            node,
            epoch,
            version,
            heartbeats,
            process,
            chunks,
        } = request.into_inner();
        let process = NodeProcess {
            name: node_name(&node)?,
            epoch,
            number: process,
        };
        let control = self.0.clone();
        // Heartbeats do not wait for the first update, which may take seconds.
        let opened = async move { ops::fleet::watch(&control, process, version).await };
        let updates = stream::once(opened)
            .map_ok(move |updates| {
                let items_max = if chunks { CHUNK_ITEMS_MAX } else { usize::MAX };
                // Each chunk is made when the one before it is sent.
                updates.flat_map(move |update| stream::iter(update.into_chunks(items_max).map(Ok)))
            })
            .try_flatten()
            .map(|update: Result<_, Error>| Ok(update_to_wire(&update?)));
        Ok(Response::new(if heartbeats {
            Box::pin(with_heartbeats(updates))
        } else {
            Box::pin(updates)
        }))
    }

    async fn acknowledge(
        &self,
        request: Request<wire::AcknowledgeRequest>,
    ) -> Result<Response<wire::AcknowledgeResponse>, Status> {
        auth::node(&self.0, &request).await?;
        let wire::AcknowledgeRequest {
            node,
            epoch,
            revision,
            rejections,
        } = request.into_inner();
        let node = node_name(&node)?;
        let rejections = rejections_from_wire(rejections)?;
        ops::fleet::acknowledge(&self.0, &node, epoch, Revision(revision), rejections).await?;
        Ok(Response::new(wire::AcknowledgeResponse {}))
    }

    async fn report_usage(
        &self,
        request: Request<wire::ReportUsageRequest>,
    ) -> Result<Response<wire::ReportUsageResponse>, Status> {
        auth::node(&self.0, &request).await?;
        let wire::ReportUsageRequest {
            node,
            epoch,
            records,
        } = request.into_inner();
        let node = node_name(&node)?;
        let (records, unfit) = batch_from_wire(records).map_err(Error::from)?;
        let report = ops::fleet::UsageReport { records, unfit };
        let ops::fleet::ReportReceipt {
            through,
            standings,
            leases,
        } = ops::fleet::report_usage(&self.0, &node, epoch, report).await?;
        Ok(Response::new(wire::ReportUsageResponse {
            through_sequence: through,
            standings: standings.iter().map(standing_to_wire).collect(),
            leases: leases.iter().map(lease_to_wire).collect(),
        }))
    }

    async fn lease_credit(
        &self,
        request: Request<wire::LeaseCreditRequest>,
    ) -> Result<Response<wire::LeaseCreditResponse>, Status> {
        auth::node(&self.0, &request).await?;
        let wire::LeaseCreditRequest { node, epoch, asks } = request.into_inner();
        let node = node_name(&node)?;
        if asks.len() > ASKS_MAX {
            return Err(
                Error::from(Invalid::new("asks", format!("are more than {ASKS_MAX}"))).into(),
            );
        }
        let asks: Result<Vec<_>, Invalid> = asks.into_iter().map(ask_from_wire).collect();
        let asks = asks.map_err(Error::from)?;
        let answers = ops::fleet::lease_credit(&self.0, &node, epoch, asks).await?;
        Ok(Response::new(wire::LeaseCreditResponse {
            answers: answers.iter().map(answer_to_wire).collect(),
            lease_ms: self.0.lease_ms(),
        }))
    }

    async fn lease_windows(
        &self,
        request: Request<wire::LeaseWindowsRequest>,
    ) -> Result<Response<wire::LeaseWindowsResponse>, Status> {
        auth::node(&self.0, &request).await?;
        let wire::LeaseWindowsRequest { node, asks } = request.into_inner();
        node_name(&node)?;
        if asks.len() > WINDOW_ASKS_MAX {
            let problem = format!("are more than {WINDOW_ASKS_MAX}");
            return Err(Error::from(Invalid::new("asks", problem)).into());
        }
        let asks: Result<Vec<_>, Invalid> = asks.into_iter().map(window_ask_from_wire).collect();
        let grants = ops::fleet::lease_windows(&self.0, asks.map_err(Error::from)?).await?;
        Ok(Response::new(wire::LeaseWindowsResponse {
            grants: grants.iter().map(window_grant_to_wire).collect(),
        }))
    }

    async fn find_objects(
        &self,
        request: Request<wire::FindObjectsRequest>,
    ) -> Result<Response<wire::FindObjectsResponse>, Status> {
        auth::node(&self.0, &request).await?;
        let wire::FindObjectsRequest { node, ids } = request.into_inner();
        node_name(&node)?;
        let objects = ops::fleet::objects::find(&self.0, &ids).await?;
        Ok(Response::new(wire::FindObjectsResponse {
            objects: objects.iter().map(owned_to_wire).collect(),
        }))
    }

    async fn list_objects(
        &self,
        request: Request<wire::ListObjectsRequest>,
    ) -> Result<Response<wire::ListObjectsResponse>, Status> {
        auth::node(&self.0, &request).await?;
        let wanted = wanted_from_wire(request.into_inner())?;
        let (objects, has_more) = ops::fleet::objects::list(&self.0, wanted).await?;
        Ok(Response::new(wire::ListObjectsResponse {
            objects: objects.iter().map(owned_to_wire).collect(),
            has_more,
        }))
    }

    async fn claim_work(
        &self,
        request: Request<wire::ClaimWorkRequest>,
    ) -> Result<Response<wire::ClaimWorkResponse>, Status> {
        auth::node(&self.0, &request).await?;
        let wire::ClaimWorkRequest { node, limit } = request.into_inner();
        node_name(&node)?;
        let limit = u32::try_from(limit).unwrap_or_default();
        let works = ops::fleet::objects::claim(&self.0, limit).await?;
        Ok(Response::new(wire::ClaimWorkResponse {
            works: works.iter().map(due_to_wire).collect(),
        }))
    }

    async fn report_health(
        &self,
        request: Request<wire::ReportHealthRequest>,
    ) -> Result<Response<wire::ReportHealthResponse>, Status> {
        auth::node(&self.0, &request).await?;
        let wire::ReportHealthRequest { node, healths } = request.into_inner();
        let node = node_name(&node)?;
        bounded("healths", healths.len())?;
        let healths: Result<Vec<_>, Invalid> = healths.into_iter().map(health_from_wire).collect();
        ops::fleet::report_health(&self.0, &node, healths.map_err(Error::from)?).await?;
        Ok(Response::new(wire::ReportHealthResponse {}))
    }

    async fn report_refusals(
        &self,
        request: Request<wire::ReportRefusalsRequest>,
    ) -> Result<Response<wire::ReportRefusalsResponse>, Status> {
        auth::node(&self.0, &request).await?;
        let wire::ReportRefusalsRequest { node, refusals } = request.into_inner();
        node_name(&node)?;
        if refusals.len() > REFUSALS_MAX {
            let problem = format!("are more than {REFUSALS_MAX}");
            return Err(Error::from(Invalid::new("refusals", problem)).into());
        }
        let calls: Result<Vec<_>, Invalid> = refusals.into_iter().map(refused_from_wire).collect();
        ops::refusals::report(&self.0, &calls.map_err(Error::from)?).await?;
        Ok(Response::new(wire::ReportRefusalsResponse {}))
    }

    async fn list_nodes(
        &self,
        request: Request<wire::ListNodesRequest>,
    ) -> Result<Response<wire::ListNodesResponse>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let (revision, nodes) = ops::fleet::nodes(&self.0, &caller, NodeFilter::default()).await?;
        Ok(Response::new(wire::ListNodesResponse {
            revision: revision.0,
            nodes: nodes.into_iter().map(node_to_wire).collect(),
        }))
    }
}

/// Adds heartbeats to updates, until these end.
fn with_heartbeats(
    updates: impl Stream<Item = Result<wire::Update, Status>> + Send + 'static,
) -> impl Stream<Item = Result<wire::Update, Status>> + Send + 'static {
    let mut beats = tokio::time::interval(HEARTBEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let state = (Box::pin(updates), beats);
    stream::unfold(state, async |(mut updates, mut beats)| {
        let next = tokio::select! {
            biased;
            update = updates.next() => update?,
            _ = beats.tick() => Ok(wire::Update {
                heartbeat: true,
                ..wire::Update::default()
            }),
        };
        Some((next, (updates, beats)))
    })
}

fn node_name(name: &str) -> Result<NodeName, Error> {
    Ok(NodeName::new(name)?)
}

fn bounded(field: &str, items: usize) -> Result<(), Error> {
    if items > ITEMS_MAX {
        return Err(Invalid::new(field, format!("are more than {ITEMS_MAX}")).into());
    }
    Ok(())
}

fn wanted_from_wire(request: wire::ListObjectsRequest) -> Result<ObjectQuery, Error> {
    let wire::ListObjectsRequest {
        node,
        account_id,
        kind,
        limit,
        after,
        before,
        ascending,
    } = request;
    node_name(&node)?;
    let given = |id: String| Some(id).filter(|id| !id.is_empty());
    Ok(ObjectQuery {
        account: AccountId::new(account_id)?,
        kind: proxyxai_contract::convert::kind(&kind)?,
        limit: u32::try_from(limit).unwrap_or_default(),
        after: given(after),
        before: given(before),
        ascending,
    })
}

fn rejections_from_wire(rejections: Vec<wire::Rejection>) -> Result<Vec<RejectedItem>, Error> {
    bounded("rejections", rejections.len())?;
    let read = |rejection| {
        let wire::Rejection {
            kind,
            item,
            problem,
        } = rejection;
        let kind = ["account", "key", "price", "settings"]
            .into_iter()
            .find(|known| *known == kind)
            .ok_or_else(|| {
                Invalid::new("rejections.kind", "must be account, key, price or settings")
            })?;
        Ok(RejectedItem {
            kind,
            item,
            problem,
        })
    };
    rejections.into_iter().map(read).collect()
}

fn rejection_to_wire(rejection: RejectedItem) -> wire::Rejection {
    let RejectedItem {
        kind,
        item,
        problem,
    } = rejection;
    wire::Rejection {
        kind: kind.to_owned(),
        item,
        problem,
    }
}

fn node_to_wire(node: Node) -> wire::Node {
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
    wire::Node {
        name: name.as_str().to_owned(),
        epoch,
        version,
        connected,
        applied_revision: applied.0,
        rejections: rejections.into_iter().map(rejection_to_wire).collect(),
        seen_time: Some(millis_to_wire(seen)),
        leases: super::count(accounts),
        leased_nanos: amount.nanos(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejection_of_an_unknown_kind_is_refused() {
        let rejection = |kind: &str| wire::Rejection {
            kind: kind.to_owned(),
            item: "7".to_owned(),
            problem: "level: is bad".to_owned(),
        };
        let read = rejections_from_wire(vec![rejection("key")]).unwrap();
        assert_eq!(rejection_to_wire(read[0].clone()), rejection("key"));
        assert!(rejections_from_wire(vec![rejection("kay")]).is_err());
    }
}
