//! What can be seen of calls from outside. Each serving thread has a `Sight` of its own; a call's `Story`
//! gathers what happens to it and is told once, when the call is over, however it ends.

mod counters;
mod export;
mod header;
mod id;
mod story;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use counters::Counters;
pub(crate) use counters::{Room, Try};
pub(crate) use export::Rows;
pub use header::OwnHeader;
pub use id::RequestId;
pub(crate) use id::{UPSTREAM_REQUEST_ID, X_REQUEST_ID};
pub(crate) use story::{Ending, Story};

use crate::formats::Route;

/// What of calls is to be seen.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Headers of its own that the gateway adds to answers.
    pub headers: Vec<OwnHeader>,
}

/// Where the calls of one thread are seen. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Sight(Arc<Thread>);

#[derive(Debug)]
struct Thread {
    counters: Arc<Counters>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: Config,
    /// Of all threads.
    counters: Mutex<Vec<Arc<Counters>>>,
}

/// An attempt under way; one that is dropped was cancelled.
#[derive(Debug)]
pub(crate) struct Trying<'a> {
    counters: &'a Counters,
    outcome: Try,
}

impl Sight {
    pub(crate) fn new(config: Config) -> Self {
        let counters = Mutex::default();
        Self::of(Arc::new(Shared { config, counters }))
    }

    /// The same for another thread.
    pub(crate) fn sibling(&self) -> Self {
        Self::of(Arc::clone(&self.0.shared))
    }

    fn of(shared: Arc<Shared>) -> Self {
        let counters = Arc::new(Counters::new());
        let all = shared.counters.lock();
        all.unwrap_or_else(PoisonError::into_inner)
            .push(Arc::clone(&counters));
        Self(Arc::new(Thread { counters, shared }))
    }

    /// A call has come, whose head has just been read.
    pub(crate) fn begin(&self, route: Route) -> Story {
        Story::new(self.clone(), route, Instant::now())
    }

    /// A request that is no call was answered.
    pub(crate) fn page(&self, room: Room, status: u16) {
        self.0.counters.page(room, status);
    }

    /// An attempt begins.
    pub(crate) fn trying(&self) -> Trying<'_> {
        Trying {
            counters: &self.0.counters,
            outcome: Try::Cancelled,
        }
    }

    fn threads(&self) -> Vec<Arc<Counters>> {
        let all = self.0.shared.counters.lock();
        all.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Trying<'_> {
    /// It has ended.
    pub(crate) fn ended(mut self, outcome: Try) {
        self.outcome = outcome;
    }
}

impl Drop for Trying<'_> {
    fn drop(&mut self) {
        self.counters.tries.add(self.outcome.index(), 1);
    }
}
