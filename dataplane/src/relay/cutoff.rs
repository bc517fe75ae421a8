//! The end of the drain: what is still open then ends itself and tells its client. For calls that have a client it is a
//! flag without a wake-up: the code that sets it polls all connections once more.

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

/// Whether the drain is over; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Cutoff(Arc<CutoffState>);

#[derive(Debug, Default)]
struct CutoffState {
    is_over: AtomicBool,
    /// Wakes work that continues without a client.
    come: Notify,
}

impl Cutoff {
    /// Ends the drain.
    pub(super) fn come(&self) {
        self.0.is_over.store(true, Ordering::Relaxed);
        self.0.come.notify_waiters();
    }

    pub(super) fn has_come(&self) -> bool {
        self.0.is_over.load(Ordering::Relaxed)
    }

    /// Waits until the drain is over.
    pub(super) async fn comes(&self) {
        let mut notified = pin!(self.0.come.notified());
        // Enabled before the flag is checked, so that no wake-up is lost.
        notified.as_mut().enable();
        if !self.has_come() {
            notified.await;
        }
    }

    /// Returns the result of the work, or `None` if the drain is over first.
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
