//! The end of the drain: what is still open then ends itself, with a word for its client. For calls that have one it is a
//! flag and no wake-up: whoever sets it polls all connections once more.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
};

use tokio::sync::Notify;

/// Whether the time is over; clones are one.
#[derive(Debug, Clone, Default)]
pub(super) struct Cutoff(Arc<CutoffState>);

#[derive(Debug, Default)]
struct CutoffState {
    is_over: AtomicBool,
    /// For what goes on without a client.
    come: Notify,
}

impl Cutoff {
    /// From now on the time is over.
    pub(super) fn come(&self) {
        self.0.is_over.store(true, Ordering::Relaxed);
        self.0.come.notify_waiters();
    }

    pub(super) fn has_come(&self) -> bool {
        self.0.is_over.load(Ordering::Relaxed)
    }

    /// Waits until the time is over.
    pub(super) async fn comes(&self) {
        let mut told = pin!(self.0.come.notified());
        // Whoever is told from here on is told.
        told.as_mut().enable();
        if !self.has_come() {
            told.await;
        }
    }

    /// What the work comes to; none when the time is over before it has come to anything.
    pub(super) async fn unless_over<T>(
        &self,
        mut work: impl Future<Output = T> + Unpin,
    ) -> Option<T> {
        poll_fn(|cx| match Pin::new(&mut work).poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if self.has_come() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }
}
