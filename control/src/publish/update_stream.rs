//! The stream of one data plane: the full configuration first, then every update.

use std::sync::Arc;

use futures_util::{Stream, stream};
use proxyxai_contract::{
    clock::Millis,
    id::Revision,
    lease::{LeasedCredit, PostedBalance},
    snapshot::SnapshotUpdate,
};
use tokio::sync::watch;

use super::Publisher;
use crate::model::NodeProcess;

/// The next step of a stream.
enum StreamStep {
    /// Send this update.
    Tell(Box<SnapshotUpdate>),
    /// Wait for an update.
    Wait,
    /// End the stream.
    Over,
}

/// One stream. The drop removes it from the subscribers.
struct UpdateStream {
    publisher: Arc<Publisher>,
    id: u64,
    sent: Option<Revision>,
    news: watch::Receiver<u64>,
}

/// Begins a stream for a node; its balances are sent with the first update.
pub(super) fn begin(
    publisher: &Arc<Publisher>,
    process: NodeProcess,
    standings: Vec<PostedBalance>,
    leases: Vec<LeasedCredit>,
    now: Millis,
) -> impl Stream<Item = SnapshotUpdate> + Send + 'static + use<> {
    let watcher = UpdateStream {
        publisher: Arc::clone(publisher),
        id: publisher
            .state()
            .subscribers
            .join(process, standings, leases, now),
        sent: None,
        news: publisher.news.subscribe(),
    };
    stream::unfold(watcher, UpdateStream::next)
}

// === impl UpdateStream ===

impl UpdateStream {
    async fn next(mut self) -> Option<(SnapshotUpdate, Self)> {
        loop {
            self.news.borrow_and_update();
            match self.turn() {
                StreamStep::Tell(update) => {
                    self.sent = Some(update.revision);
                    return Some((*update, self));
                }
                StreamStep::Wait => self.news.changed().await.ok()?,
                StreamStep::Over => return None,
            }
        }
    }

    fn turn(&self) -> StreamStep {
        let mut state = self.publisher.state();
        let Some(pending) = state.subscribers.take(self.id) else {
            return StreamStep::Over;
        };
        if self
            .sent
            .is_some_and(|sent| state.catalogue.has_forgotten(sent))
        {
            // The node connects again and gets everything, balances included.
            return StreamStep::Over;
        }
        let current = self.sent == Some(state.catalogue.revision());
        if current && pending.is_empty() {
            return StreamStep::Wait;
        }
        let mut update = state.catalogue.update(self.sent);
        (update.standings, update.healths) = (pending.standings(), pending.healths());
        (update.leases, update.recalls) = (pending.leases, pending.recalls.into_iter().collect());
        StreamStep::Tell(Box::new(update))
    }
}

impl Drop for UpdateStream {
    fn drop(&mut self) {
        self.publisher.state().subscribers.leave(self.id);
        self.publisher
            .acknowledged
            .send_modify(|count| *count = count.wrapping_add(1));
    }
}
