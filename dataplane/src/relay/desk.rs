//! Where tokens are counted that no provider reported: a thread of its own, so that no call waits while
//! another one's text is counted.

use tokio::sync::mpsc;

/// Texts that may wait. When they are that many, they are counted where they come from, which slows
/// the calls down instead of keeping ever more texts in memory.
const JOBS_MAX: usize = 1024;

type Job = Box<dyn FnOnce() + Send>;

/// Takes work; cheap to clone. The thread ends when the last clone is gone and the work is done.
#[derive(Debug, Clone)]
pub(crate) struct Desk(mpsc::Sender<Job>);

impl Desk {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub(crate) fn start() -> std::io::Result<Self> {
        let (jobs, mut waiting) = mpsc::channel::<Job>(JOBS_MAX);
        std::thread::Builder::new()
            .name("desk".to_owned())
            .spawn(move || {
                while let Some(job) = waiting.blocking_recv() {
                    job();
                }
            })?;
        Ok(Self(jobs))
    }

    /// Has work done, here when the desk is full.
    pub(super) fn hand(&self, job: Job) {
        match self.0.try_send(job) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(job) | mpsc::error::TrySendError::Closed(job)) => {
                job();
            }
        }
    }
}
