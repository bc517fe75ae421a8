//! The stream of one data plane: everything first, then whatever there is to tell.

use std::sync::Arc;

use futures_util::{Stream, stream};
use proxyxai_contract::{
    clock::Millis,
    id::{NodeName, Revision},
    lease::Lease,
    snapshot::{Standing, Update},
};
use tokio::sync::watch;

use super::Publisher;

/// What a stream has to do next.
enum Turn {
    /// Tell this.
    Tell(Box<Update>),
    /// Wait for news.
    Wait,
    /// End.
    Over,
}

/// One stream. Gone from the books when it is dropped.
struct Watcher {
    publisher: Arc<Publisher>,
    id: u64,
    sent: Option<Revision>,
    news: watch::Receiver<u64>,
}

/// Begins a stream for a node, whose money is told with the first update.
pub(super) fn begin(
    publisher: &Arc<Publisher>,
    node: NodeName,
    standings: Vec<Standing>,
    leases: Vec<Lease>,
    now: Millis,
) -> impl Stream<Item = Update> + Send + 'static + use<> {
    let watcher = Watcher {
        publisher: Arc::clone(publisher),
        id: publisher
            .state()
            .subscribers
            .join(node, standings, leases, now),
        sent: None,
        news: publisher.news.subscribe(),
    };
    stream::unfold(watcher, Watcher::next)
}

// === impl Watcher ===

impl Watcher {
    async fn next(mut self) -> Option<(Update, Self)> {
        loop {
            self.news.borrow_and_update();
            match self.turn() {
                Turn::Tell(update) => {
                    self.sent = Some(update.revision);
                    return Some((*update, self));
                }
                Turn::Wait => self.news.changed().await.ok()?,
                Turn::Over => return None,
            }
        }
    }

    fn turn(&self) -> Turn {
        let mut state = self.publisher.state();
        let Some(pending) = state.subscribers.take(self.id) else {
            return Turn::Over;
        };
        if self
            .sent
            .is_some_and(|sent| state.catalogue.has_forgotten(sent))
        {
            // It watches again and gets everything, money included.
            return Turn::Over;
        }
        let current = self.sent == Some(state.catalogue.revision());
        if current && pending.is_empty() {
            return Turn::Wait;
        }
        let mut update = state.catalogue.update(self.sent);
        (update.standings, update.healths) = (pending.standings(), pending.healths());
        (update.leases, update.recalls) = (pending.leases, pending.recalls.into_iter().collect());
        Turn::Tell(Box::new(update))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.publisher.state().subscribers.leave(self.id);
        self.publisher
            .acknowledged
            .send_modify(|count| *count = count.wrapping_add(1));
    }
}
