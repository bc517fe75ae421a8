//! Follows the configuration: applies each update, then reports to control what was applied and what could not be used.
//! A lost stream is reopened, at another replica if there is one, and begins with a full state.

use std::{sync::Arc, time::Duration};

use proxyxai_contract::{convert::update_from_wire, snapshot::RejectedItem, wire};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use super::{ControlLink, ReconnectBackoff};
use crate::state::RuntimeState;

/// Control needs a write to the database for it.
const ACKNOWLEDGE_MAX: Duration = Duration::from_secs(10);
/// Control sends a heartbeat every half second. After this much silence it counts as frozen.
const SILENCE_MAX: Duration = Duration::from_secs(2);
/// How long a replica may take to begin, if there are others.
const BEGIN_MAX: Duration = Duration::from_secs(3);
/// The same for the only one. An older version sends no heartbeats while it gathers its first update.
const BEGIN_ALONE_MAX: Duration = Duration::from_mins(1);

/// Runs until it is cancelled.
pub(crate) async fn run(link: ControlLink, state: Arc<RuntimeState>, stop: CancellationToken) {
    let mut backoff = ReconnectBackoff::new();
    // Replicas that failed since one last answered.
    let mut failed = 0;
    let following = async {
        loop {
            let replica = link.channel.to_string();
            let mut answered = false;
            let begin_max = if link.channel.has_others() {
                BEGIN_MAX
            } else {
                BEGIN_ALONE_MAX
            };
            match follow(&link, &state, begin_max, &mut answered).await {
                Ok(()) => tracing::info!(replica, "control closed the stream of updates"),
                Err(status) if status.code() == Code::Unauthenticated => {
                    tracing::error!(
                        replica,
                        "control refuses this data plane: NODE_TOKEN must be control's own (its NODE_TOKEN, or the file node.token in its DATA_DIR)"
                    );
                }
                Err(status) if status.code() == Code::AlreadyExists => {
                    state.reach().set_refused(true);
                    tracing::error!(
                        replica,
                        node = link.node.as_str(),
                        "another data plane with this NODE_NAME is connected: give each a NODE_NAME and a DATA_DIR of its own"
                    );
                }
                Err(status) => {
                    tracing::warn!(replica, code = ?status.code(), message = status.message(), "control is out of reach");
                }
            }
            if answered {
                failed = 0;
                backoff.reset();
            }
            failed += 1;
            link.channel.leave().await;
            // Another one is tried at once.
            if failed > 1 || !link.channel.has_others() {
                backoff.wait().await;
            }
        }
    };
    stop.run_until_cancelled(following).await;
}

/// Follows the replica in use until its stream ends, and notes whether it answered at all.
async fn follow(
    link: &ControlLink,
    state: &RuntimeState,
    begin_max: Duration,
    answered: &mut bool,
) -> Result<(), Status> {
    let request = wire::WatchRequest {
        node: link.node.to_string(),
        epoch: link.epoch,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        heartbeats: link.channel.is_remote(),
        process: link.process,
    };
    let mut client = link.client.clone();
    let mut updates = within(begin_max, client.watch(request)).await?.into_inner();
    let mut silence_max = begin_max;
    let mut acknowledged = None;
    while let Some(update) = within(silence_max, updates.message()).await? {
        *answered = true;
        if update.heartbeat {
            silence_max = SILENCE_MAX;
            continue;
        }
        if silence_max > SILENCE_MAX {
            // It sends no heartbeats, so silence says nothing.
            silence_max = Duration::MAX;
        }
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
        state.reach().set_refused(false);
        if let Some(revision) =
            revision.filter(|_| revision != acknowledged || !rejections.is_empty())
        {
            tracing::debug!(revision = revision.0, "configuration applied");
            within(ACKNOWLEDGE_MAX, acknowledge(link, revision.0, rejections)).await?;
            acknowledged = Some(revision);
        }
    }
    Ok(())
}

/// Waits for control no longer than this.
async fn within<T>(
    most: Duration,
    answer: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    let answered = tokio::time::timeout(most, answer).await;
    answered.unwrap_or_else(|_| Err(Status::deadline_exceeded("control fell silent")))
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
