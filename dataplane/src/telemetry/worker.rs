//! Threads that work off what calls have left to them, and end when the last call has gone.

use std::{convert::Infallible, io, thread, time::Duration};

use tokio::sync::oneshot;

/// How long a stopping data plane waits for one.
const ENDED_MAX: Duration = Duration::from_secs(2);

/// Whoever waits for such a thread.
#[derive(Debug)]
pub(super) struct WorkerHandle {
    name: &'static str,
    ended: oneshot::Receiver<Infallible>,
}

impl WorkerHandle {
    /// Starts a thread.
    ///
    /// # Errors
    /// When the system gives no more.
    pub(super) fn thread(
        name: &'static str,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let (at_work, ended) = oneshot::channel::<Infallible>();
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                work();
                // Dropping it is what tells the end.
                drop(at_work);
            })?;
        Ok(Self { name, ended })
    }

    /// Waits for its end, not for long: an answer that was cut may hold it up.
    pub(super) async fn wait(self) {
        if tokio::time::timeout(ENDED_MAX, self.ended).await.is_err() {
            tracing::debug!(
                thread = self.name,
                "it still worked when the data plane stopped"
            );
        }
    }
}
