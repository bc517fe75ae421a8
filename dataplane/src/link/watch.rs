//! Follows the configuration: applies each update, then reports to control what was applied and what could not be used.
//! A lost stream is reopened and begins with a full state.

use std::sync::Arc;

use proxyxai_contract::{convert::update_from_wire, snapshot::RejectedItem, wire};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use super::{ControlLink, ReconnectBackoff};
use crate::state::RuntimeState;

/// Runs until it is cancelled.
pub(crate) async fn run(link: ControlLink, state: Arc<RuntimeState>, stop: CancellationToken) {
    let mut patience = ReconnectBackoff::new();
    let following = async {
        loop {
            match follow(&link, &state, &mut patience).await {
                Ok(()) => tracing::info!("control closed the stream of updates"),
                Err(status) if status.code() == Code::Unauthenticated => {
                    tracing::error!(
                        "control refuses this data plane: NODE_TOKEN must be control's own (its NODE_TOKEN, or the file node.token in its DATA_DIR)"
                    );
                }
                Err(status) => {
                    tracing::warn!(code = ?status.code(), message = status.message(), "control is out of reach");
                }
            }
            patience.wait().await;
        }
    };
    stop.run_until_cancelled(following).await;
}

async fn follow(
    link: &ControlLink,
    state: &RuntimeState,
    patience: &mut ReconnectBackoff,
) -> Result<(), Status> {
    let request = wire::WatchRequest {
        node: link.node.to_string(),
        epoch: link.epoch,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let mut updates = link.client.clone().watch(request).await?.into_inner();
    let mut acknowledged = None;
    while let Some(update) = updates.message().await? {
        patience.reset();
        let (update, rejections) = update_from_wire(update);
        for RejectedItem {
            kind,
            item,
            problem,
        } in &rejections
        {
            tracing::error!(
                kind,
                item,
                problem,
                "an item of the configuration was left out"
            );
        }
        // Updates of balances and health have no new revision and need no acknowledgement.
        let revision = state.apply(update);
        if let Some(revision) =
            revision.filter(|_| revision != acknowledged || !rejections.is_empty())
        {
            tracing::debug!(revision = revision.0, "configuration applied");
            acknowledge(link, revision.0, rejections).await?;
            acknowledged = Some(revision);
        }
    }
    Ok(())
}

async fn acknowledge(
    link: &ControlLink,
    revision: u64,
    rejections: Vec<RejectedItem>,
) -> Result<(), Status> {
    let rejections = rejections.into_iter().map(
        |RejectedItem {
             kind,
             item,
             problem,
         }| wire::Rejection {
            kind: kind.to_owned(),
            item,
            problem,
        },
    );
    let request = wire::AcknowledgeRequest {
        node: link.node.to_string(),
        epoch: link.epoch,
        revision,
        rejections: rejections.collect(),
    };
    link.client.clone().acknowledge(request).await.map(drop)
}
