//! The end of the drain: what is still open then ends itself, with a word for its client. It is a flag and no wake-up:
//! whoever sets it polls all connections once more.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
};

/// Whether the time is over; clones are one.
#[derive(Debug, Clone, Default)]
pub(super) struct Cutoff(Arc<AtomicBool>);

impl Cutoff {
    /// From now on the time is over.
    pub(super) fn come(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_come(&self) -> bool {
        self.0.load(Ordering::Relaxed)
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
