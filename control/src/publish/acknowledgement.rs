//! When a change is in use everywhere: at the data planes here, which acknowledge it, and at those of the other replicas.

use std::time::Duration;

use proxyxai_contract::{
    clock::Millis,
    id::{NodeName, Revision},
};
use tokio::sync::watch;

use super::Publisher;
use crate::{
    Error,
    model::NodeProcess,
    store::{self, Store},
    vault::Vault,
};

/// How often to look whether replicas that do not publish a change are gone.
const REPLICA_LOOK: Duration = Duration::from_millis(250);

impl Publisher {
    /// Called after a committed change. Catches up, then waits until all connected data planes use the change, or for
    /// `publish_wait_ms`.
    pub(crate) async fn changed(
        &self,
        store: &Store,
        vault: &Vault,
        now: Millis,
    ) -> Result<(), Error> {
        self.refresh(store, vault, now).await?;
        let revision = self.revision();
        let mut acknowledged = self.acknowledged.subscribe();
        let all_have = async {
            loop {
                acknowledged.borrow_and_update();
                if self.state().subscribers.all_have(revision)
                    || acknowledged.changed().await.is_err()
                {
                    return;
                }
            }
        };
        let wait = Duration::from_millis(self.config.publish_wait_ms);
        let everywhere =
            async { tokio::join!(all_have, self.published_elsewhere(store, revision)).1 };
        if let Ok(published) = tokio::time::timeout(wait, everywhere).await {
            return published;
        }
        tracing::debug!(
            revision = revision.0,
            "a data plane has not yet acknowledged a change"
        );
        Ok(())
    }

    /// Waits until the data planes of the other replicas use a revision.
    async fn published_elsewhere(&self, store: &Store, revision: Revision) -> Result<(), Error> {
        if !store.is_shared() {
            return Ok(());
        }
        let mut published = self.elsewhere.subscribe();
        while store::replicas::are_behind(store, &self.replica, revision).await? {
            // Time alone makes a replica count as gone.
            let _news = tokio::time::timeout(REPLICA_LOOK, published.changed()).await;
        }
        Ok(())
    }

    /// Another replica has published more.
    pub(crate) fn others_published(&self) {
        self.elsewhere
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Changes with each acknowledgement, and with each data plane that comes or goes.
    pub(crate) fn acknowledgements(&self) -> watch::Receiver<u64> {
        self.acknowledged.subscribe()
    }

    /// The revision that all data planes here use, and their processes.
    pub(crate) fn published(&self) -> (Revision, Vec<NodeProcess>) {
        let state = self.state();
        let published = state.subscribers.acknowledged_by_all();
        let revision = published.unwrap_or_else(|| state.catalogue.revision());
        (revision, state.subscribers.processes())
    }

    /// Whether another process of the same name watches here.
    pub(crate) fn is_name_taken(&self, process: &NodeProcess) -> bool {
        self.state().subscribers.is_name_taken(process)
    }

    /// Ends all streams, so that data planes go to another replica.
    pub(crate) fn close(&self) {
        self.state().subscribers.close();
        self.tell();
    }

    /// Records that a data plane runs on this revision.
    pub(crate) fn acknowledge(&self, node: &NodeName, revision: Revision) {
        self.state().subscribers.acknowledge(node, revision);
        self.acknowledged
            .send_modify(|count| *count = count.wrapping_add(1));
    }
}
