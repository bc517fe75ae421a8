//! Counts tokens that no provider reported, on a thread of its own, so that no call waits while another one's text is
//! counted.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::mpsc;

/// Texts that may wait. Beyond that they are counted on the calls' threads, which slows the calls down instead of using
/// ever more memory.
const JOBS_MAX: usize = 1024;

/// Bytes of waiting requests; one request may be tens of megabytes.
const BYTES_MAX: usize = 64 * 1024 * 1024;

type Job = Box<dyn FnOnce() + Send>;

/// Takes jobs; cheap to clone. The thread ends when the last clone is gone and the jobs are done.
#[derive(Debug, Clone)]
pub(crate) struct TokenCounter {
    jobs: mpsc::Sender<(usize, Job)>,
    /// Bytes of waiting jobs.
    waiting: Arc<AtomicUsize>,
}

impl TokenCounter {
    /// Starts the thread.
    ///
    /// # Errors
    /// Errors if the system cannot start another thread.
    pub(crate) fn start() -> std::io::Result<Self> {
        let (jobs, mut handed) = mpsc::channel::<(usize, Job)>(JOBS_MAX);
        let waiting = Arc::new(AtomicUsize::new(0));
        let left = Arc::clone(&waiting);
        std::thread::Builder::new()
            .name("token-counter".to_owned())
            .spawn(move || {
                while let Some((bytes, job)) = handed.blocking_recv() {
                    job();
                    left.fetch_sub(bytes, Ordering::Relaxed);
                }
            })?;
        Ok(Self { jobs, waiting })
    }

    /// Runs a job that keeps this many bytes of a request, on this thread if the queue is full.
    pub(super) fn submit(&self, bytes: usize, job: Job) {
        let before = self.waiting.fetch_add(bytes, Ordering::Relaxed);
        let refused = if before.saturating_add(bytes) > BYTES_MAX {
            Some(job)
        } else {
            self.jobs.try_send((bytes, job)).err().map(|error| {
                let (_, job) = error.into_inner();
                job
            })
        };
        if let Some(job) = refused {
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            job();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc::sync_channel, thread};

    use super::*;

    #[test]
    fn what_would_keep_too_much_in_memory_is_done_where_it_comes_from() {
        let counter = TokenCounter::start().unwrap();
        let here = thread::current().id();
        let (done, was_here) = sync_channel(1);
        let count = |bytes| {
            let done = done.clone();
            counter.submit(
                bytes,
                Box::new(move || done.send(thread::current().id() == here).unwrap()),
            );
            was_here.recv().unwrap()
        };
        assert!(!count(0));
        assert!(count(BYTES_MAX + 1));
        assert!(!count(0), "what was refused does not count as waiting");
    }
}
