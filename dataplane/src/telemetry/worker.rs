//! Threads that process what calls hand over, and end after the last call.

use std::{convert::Infallible, io, thread, time::Duration};

use tokio::sync::oneshot;

/// How long a data plane that stops waits for one thread.
const ENDED_MAX: Duration = Duration::from_secs(2);

/// Handle to wait for such a thread.
#[derive(Debug)]
pub(super) struct WorkerHandle {
    name: &'static str,
    ended: oneshot::Receiver<Infallible>,
}

impl WorkerHandle {
    /// Starts a thread.
    ///
    /// # Errors
    /// Errors if the system cannot start another thread.
    pub(super) fn thread(
        name: &'static str,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let (at_work, ended) = oneshot::channel::<Infallible>();
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                work();
                // Dropping it signals the end.
                drop(at_work);
            })?;
        Ok(Self { name, ended })
    }

    /// Waits for its end, for a short time: a response that was cut may delay it.
    pub(super) async fn wait(self) {
        if tokio::time::timeout(ENDED_MAX, self.ended).await.is_err() {
            tracing::debug!(
                thread = self.name,
                "it still worked when the data plane stopped"
            );
        }
    }
}
