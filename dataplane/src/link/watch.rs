//! Follows the configuration: applies each update, then reports to control what was applied and what could not be used.
//! A lost stream is reopened, at another replica if there is one, and begins with a full state.

use std::{sync::Arc, time::Duration};

use proxyxai_contract::{
    convert::update_from_wire,
    snapshot::{RejectedItem, SnapshotUpdate},
    wire,
};
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
    // Replicas that failed since one last sent an update. A heartbeat may come before a refusal.
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
        chunks: true,
    };
    let mut client = link.client.clone();
    let mut updates = within(begin_max, client.watch(request)).await?.into_inner();
    let mut silence_max = begin_max;
    let mut acknowledged = None;
    let mut chunks = Chunks::default();
    while let Some(update) = within(silence_max, updates.message()).await? {
        if update.heartbeat {
            silence_max = SILENCE_MAX;
            continue;
        }
        *answered = true;
        if silence_max > SILENCE_MAX {
            // It sends no heartbeats, so silence says nothing.
            silence_max = Duration::MAX;
        }
        let (mut update, rejected) = update_from_wire(update);
        state.share_known(&mut update);
        let Some((update, rejections)) = chunks.joined(update, rejected) else {
            continue;
        };
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

/// The chunks of an update that has not come to its end.
#[derive(Debug, Default)]
struct Chunks {
    begun: Option<SnapshotUpdate>,
    rejections: Vec<RejectedItem>,
}

impl Chunks {
    /// Adds a chunk. Returns the whole update with the last one.
    fn joined(
        &mut self,
        chunk: SnapshotUpdate,
        rejections: Vec<RejectedItem>,
    ) -> Option<(SnapshotUpdate, Vec<RejectedItem>)> {
        self.rejections.extend(rejections);
        let whole = match self.begun.take() {
            None => chunk,
            Some(mut begun) => {
                begun.append(chunk);
                begun
            }
        };
        if whole.more {
            self.begun = Some(whole);
            return None;
        }
        Some((whole, std::mem::take(&mut self.rejections)))
    }
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

#[cfg(test)]
mod tests {
    use std::iter;

    use proxyxai_contract::{
        clock::Clock,
        id::{AccountId, Revision},
    };

    use super::*;
    use crate::{decide::samples, state::ObjectIndex};

    #[test]
    fn a_full_state_in_chunks_is_applied_as_a_whole() {
        let (state, _lease_asks) = RuntimeState::new(Clock::system(), &[], ObjectIndex::new().0);
        let state_of = |count: i64| SnapshotUpdate {
            full: true,
            accounts: (1..=count).map(|id| samples::account(id).into()).collect(),
            settings: Some(samples::settings().into()),
            ..SnapshotUpdate::empty(Revision(3))
        };
        let rejected = RejectedItem {
            kind: "account",
            item: "7".to_owned(),
            problem: "level: is bad".to_owned(),
        };
        let mut begun = Chunks::default();
        let mut chunks = state_of(50).into_chunks(20);
        for chunk in chunks.by_ref().take(2) {
            assert!(chunk.more);
            assert_eq!(begun.joined(chunk, vec![rejected.clone()]), None);
            assert!(state.snapshot().is_none());
        }
        let last = chunks.next().unwrap();
        let (whole, rejections) = begun.joined(last, Vec::new()).unwrap();
        assert_eq!(rejections, [rejected.clone(), rejected]);
        assert_eq!(whole, state_of(50));
        assert_eq!(state.apply(whole), Some(Revision(3)));
        let has = |id| {
            state
                .snapshot()
                .unwrap()
                .account(AccountId::new(id).unwrap())
                .is_some()
        };
        assert!(
            iter::successors(Some(1), |id| Some(id + 1))
                .take(50)
                .all(has)
        );
        // One that comes in one piece is used at once.
        let (update, rejections) = begun.joined(state_of(2), Vec::new()).unwrap();
        assert!(rejections.is_empty());
        state.apply(update);
        assert!(has(2) && !has(3));
    }
}
