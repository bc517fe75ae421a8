//! What can be seen of calls from outside. Each serving thread has a `Sight` of its own; a call's `Story`
//! gathers what happens to it and is told once, when the call is over, however it ends.

mod conventions;
mod counters;
mod export;
mod header;
mod id;
mod log;
mod patient;
mod refused;
mod story;
mod trace;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use counters::Counters;
pub(crate) use counters::{Room, Try};
pub(crate) use export::Rows;
pub use header::OwnHeader;
use http::Request;
pub use id::RequestId;
pub(crate) use id::{UPSTREAM_REQUEST_ID, X_REQUEST_ID};
use log::Log;
pub use log::{AccessLog, LogTo};
use patient::Patient;
use proxyxai_contract::{clock::Clock, id::NodeName, refused::RefusedCall};
use refused::Sample;
pub(crate) use refused::{Refusals, Wanted};
use story::Asked;
pub(crate) use story::{Ending, Story};
pub use trace::Tracing;
pub(crate) use trace::{Asks, TrySpan};
use trace::{Flush, Tracer};

use crate::{Error, decide::sample::Sampled, formats::Route};

/// What of calls is to be seen.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Headers of its own that the gateway adds to answers.
    pub headers: Vec<OwnHeader>,
    /// The access log; none is written by default.
    pub log: Option<AccessLog>,
    /// Where traces go; none are made by default.
    pub traces: Option<Tracing>,
}

/// Where the calls of one thread are seen. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Sight(Arc<Thread>);

#[derive(Debug)]
struct Thread {
    counters: Arc<Counters>,
    refused: Sample,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    headers: Vec<OwnHeader>,
    log: Option<Log>,
    tracer: Option<Tracer>,
    clock: Clock,
    /// Of all threads.
    counters: Mutex<Vec<Arc<Counters>>>,
    /// The same.
    refused: Mutex<Vec<Sample>>,
}

/// What has to be waited for when no call is left.
#[derive(Debug)]
pub(crate) struct Closing {
    writer: Option<Patient>,
    flush: Option<Flush>,
}

/// An attempt under way; one that is dropped was cancelled.
#[derive(Debug)]
pub(crate) struct Trying<'a> {
    counters: &'a Counters,
    outcome: Try,
}

impl Sight {
    /// Opens what calls are told to. What has to be waited for at the end comes with it.
    ///
    /// # Errors
    /// When the access log cannot be opened, or the collector's address is none.
    pub(crate) fn open(
        config: &Config,
        node: &NodeName,
        clock: &Clock,
    ) -> Result<(Self, Closing), Error> {
        let log = config.log.as_ref().map(Log::open).transpose();
        let (log, writer) = log.map_err(Error::AccessLog)?.unzip();
        let tracer = config.traces.as_ref();
        let tracer = tracer.map(|to| Tracer::open(to, node)).transpose()?;
        let (tracer, flush) = tracer.unzip();
        let shared = Shared {
            headers: config.headers.clone(),
            log,
            tracer,
            clock: clock.clone(),
            counters: Mutex::default(),
            refused: Mutex::default(),
        };
        Ok((Self::of(Arc::new(shared)), Closing { writer, flush }))
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
        let refused = Sample::default();
        let all = shared.refused.lock();
        all.unwrap_or_else(PoisonError::into_inner)
            .push(refused.clone());
        Self(Arc::new(Thread {
            counters,
            refused,
            shared,
        }))
    }

    /// Refused calls of all threads.
    pub(crate) fn refusals(&self) -> Refusals {
        Refusals::new(self.clone())
    }

    /// Those since this was asked last, of each thread.
    fn refused(&self) -> Vec<Sampled<RefusedCall>> {
        let all = self.0.shared.refused.lock();
        let all = all.unwrap_or_else(PoisonError::into_inner);
        all.iter().map(Sample::collect).collect()
    }

    /// A call has come, whose head has just been read.
    pub(crate) fn begin<B>(&self, route: Route, request: &Request<B>) -> Story {
        let shared = &self.0.shared;
        let watched = shared.log.is_some() || shared.tracer.is_some();
        let asked = watched.then(|| Box::new(Asked::of(request, shared.clock.now())));
        let tracer = shared.tracer.as_ref();
        let trace = tracer.map(|tracer| Box::new(tracer.begin(route, request)));
        Story::new(self.clone(), (route, Instant::now()), asked, trace)
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

impl Closing {
    /// Lets what was told last reach its end, for a few seconds at most.
    pub(crate) async fn close(self) {
        if let Some(writer) = self.writer {
            writer.wait().await;
        }
        if let Some(flush) = self.flush {
            flush.run().await;
        }
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
