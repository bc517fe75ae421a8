//! What happens to one call, from its head to the end of its answer.

use std::{sync::atomic::Ordering, time::Duration};

use http::HeaderMap;
use proxyxai_contract::{
    id::{KeyId, Level},
    usage::UsageRecord,
};
use tokio::time::Instant;

use super::{
    Sight,
    header::{self, Said},
};
use crate::formats::Route;

/// The status of a call whose client went away before there was an answer.
const GONE: u16 = 499;

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// All of it went through.
    Complete,
    /// The provider broke off.
    Cut,
    /// The client went away.
    Abandoned,
}

/// A call's story. Whoever drops it before it was told tells it: the client has gone away then, or was
/// refused.
#[derive(Debug)]
pub(crate) struct Story {
    sight: Sight,
    route: Route,
    came: Instant,
    /// Of the time until the answer's head, what was spent waiting for the client's body and for providers.
    waited: Duration,
    tries: u32,
    hedges: u32,
    /// The answer's status; of a call without a record, the only place that knows it.
    status: u16,
    refused: Option<&'static str>,
    head: Option<Head>,
    streamed: bool,
    streaming: bool,
    ended: Option<Duration>,
    ending: Ending,
    told: bool,
}

/// When the answer's head went out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    /// Since the call came.
    pub(super) after: Duration,
    /// The gateway's own part of that.
    pub(super) overhead: Duration,
    /// Whether it is a provider's answer.
    pub(super) is_provider_s: bool,
}

/// What there is to tell of a call that is over.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) route: Route,
    pub(super) status: u16,
    /// The code of the gateway's own refusal.
    pub(super) refused: Option<&'static str>,
    pub(super) tries: u32,
    pub(super) hedges: u32,
    /// None when there was no answer.
    pub(super) head: Option<Head>,
    pub(super) streamed: bool,
    pub(super) duration: Duration,
    pub(super) ending: Ending,
    /// None of calls that were never sent.
    pub(super) record: Option<&'a UsageRecord>,
}

impl Story {
    pub(super) fn new(sight: Sight, route: Route, came: Instant) -> Self {
        Self {
            sight,
            route,
            came,
            waited: Duration::ZERO,
            tries: 0,
            hedges: 0,
            status: GONE,
            refused: None,
            head: None,
            streamed: false,
            streaming: false,
            ended: None,
            ending: Ending::Abandoned,
            told: false,
        }
    }

    /// So much of its time was spent waiting for others.
    pub(crate) fn waited(&mut self, time: Duration) {
        self.waited += time;
    }

    /// A key was asked, and a second one beside it if `twice`; the answer, or none, came after so long.
    pub(crate) fn asked(&mut self, twice: bool, time: Duration) {
        self.hedges += u32::from(twice);
        self.tries += u32::from(twice);
        self.waited(time);
    }

    /// An attempt is made.
    pub(crate) fn tries(&mut self) {
        self.tries += 1;
    }

    /// It is refused by the gateway itself.
    pub(crate) fn refused(&mut self, code: &'static str) {
        self.refused = Some(code);
    }

    /// The head of its answer goes out, by this key if it is a provider's.
    pub(crate) fn answers(
        &mut self,
        status: u16,
        by: Option<(KeyId, Level)>,
        headers: &mut HeaderMap,
    ) {
        let after = self.came.elapsed();
        let overhead = after.saturating_sub(self.waited);
        self.status = status;
        self.ending = Ending::Complete;
        self.head = Some(Head {
            after,
            overhead,
            is_provider_s: by.is_some(),
        });
        let said = Said {
            by,
            tries: self.tries,
            overhead,
        };
        header::say(&self.sight.0.shared.config.headers, &said, headers);
    }

    /// The answer is a stream of events.
    pub(crate) fn streams(&mut self) {
        (self.streamed, self.streaming) = (true, true);
        let open = &self.sight.0.counters.open_streams;
        open.fetch_add(1, Ordering::Relaxed);
    }

    /// A piece of the stream came so long after the one before.
    pub(crate) fn gap(&self, time: Duration) {
        self.sight.0.counters.gap.see(time);
    }

    /// The answer has ended.
    pub(crate) fn ended(&mut self, ending: Ending) {
        self.ended = Some(self.came.elapsed());
        self.ending = ending;
        self.stream_is_over();
    }

    /// Tells it, with what the call was charged.
    pub(crate) fn tell(mut self, record: &UsageRecord) {
        self.tell_once(Some(record));
    }

    fn tell_once(&mut self, record: Option<&UsageRecord>) {
        if std::mem::replace(&mut self.told, true) {
            return;
        }
        self.stream_is_over();
        let facts = Facts {
            route: self.route,
            status: record.map_or(self.status, |record| record.status),
            refused: self.refused,
            tries: self.tries,
            hedges: self.hedges,
            head: self.head,
            streamed: self.streamed,
            duration: self.ended.unwrap_or_else(|| self.came.elapsed()),
            ending: self.ending,
            record,
        };
        self.sight.0.counters.call(&facts);
    }

    fn stream_is_over(&mut self) {
        if std::mem::take(&mut self.streaming) {
            let open = &self.sight.0.counters.open_streams;
            open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        self.tell_once(None);
    }
}
