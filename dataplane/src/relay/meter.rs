//! Turns what passed into one usage record, at the end of an answer however it comes.

use std::sync::Arc;

use http::StatusCode;
use proxyxai_contract::{
    clock::{Clock, Millis},
    money::Money,
    price,
    usage::{Measure, Tokens, UsageRecord},
};

use super::{Call, OpenCall, Relay};
use crate::{
    formats::{
        Family,
        usage::{UsageReader, estimate},
    },
    live::{AccountState, Hold, KeyState, Snapshot},
    spool::Spool,
};

const PATH_BYTES_MAX: usize = 255;
/// Names go into keys of tables, whose length databases limit.
const NAME_BYTES_MAX: usize = 255;

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// All of it went through.
    Complete,
    /// The provider broke off.
    Cut,
    /// The client went away.
    Abandoned,
}

/// Listens to one answer.
pub(super) struct Meter {
    reader: Option<UsageReader>,
    snapshot: Arc<Snapshot>,
    account: Arc<AccountState>,
    hold: Option<Hold>,
    /// Bytes of the request; the body itself is not kept while the answer goes on.
    body_len: usize,
    /// Whether tokens can be guessed from bytes; those of a picture or a recording cannot.
    is_text: bool,
    key: Option<Arc<crate::live::KeyHealth>>,
    record: UsageRecord,
    spool: Spool,
    clock: Clock,
    /// Keeps the call counted as open until its answer has ended.
    _open: OpenCall,
}

impl Meter {
    pub(super) fn new(
        relay: &Relay,
        call: Call,
        key: Option<&KeyState>,
        tries: u32,
        status: StatusCode,
        streamed: bool,
    ) -> Self {
        let Call {
            snapshot,
            account,
            request,
            plan,
            route,
            metered,
            hold,
            open,
        } = call;
        let level = key
            .map(|key| key.key.level)
            .or(plan.levels.first().copied());
        let record = UsageRecord {
            sequence: 0,
            request_id: request.request_id.clone(),
            account: account.account.id,
            path: short(request.path(), PATH_BYTES_MAX),
            model_asked: short(
                request.facts.model.as_deref().unwrap_or_default(),
                NAME_BYTES_MAX,
            ),
            model_used: short(&plan.model, NAME_BYTES_MAX),
            key: key.map(|key| key.key.id),
            level: level.unwrap_or(account.account.level),
            tries,
            status: status.as_u16(),
            tokens: Tokens::default(),
            measure: Measure::Measured,
            cost: Money::ZERO,
            priced: false,
            price_version: String::new(),
            start: request.start,
            duration_ms: 0,
            first_byte_ms: key.map_or(0, |_| elapsed(request.start, relay.clock.now())),
            streamed,
        };
        // A refusal costs nothing, whatever words stand in it.
        let metered = metered && status.is_success();
        Self {
            reader: metered.then(|| UsageReader::new(Family::of(request.path()))),
            snapshot,
            account,
            hold,
            is_text: route.is_metered(),
            body_len: request.body_len,
            key: key.map(|key| Arc::clone(&key.health)),
            record,
            spool: relay.spool.clone(),
            clock: relay.clock.clone(),
            _open: open,
        }
    }

    /// Hears a chunk as it passes.
    pub(super) fn listen(&mut self, chunk: &[u8]) {
        if let Some(reader) = &mut self.reader {
            reader.push(chunk);
        }
    }

    /// Records a call that no attempt answered.
    pub(super) fn finish_failed(mut self) {
        self.reader = None;
        self.finish(Ending::Complete);
    }

    /// Settles the call: tokens, cost, record.
    pub(super) fn finish(mut self, ending: Ending) {
        let now = self.clock.now();
        self.record.duration_ms = elapsed(self.record.start, now);
        if ending == Ending::Cut
            && let Some(health) = &self.key
        {
            health.broke_off(now);
        }
        if let Some(reader) = self.reader.take() {
            self.measure(&reader, ending);
        }
        self.price();
        match self.hold.take() {
            Some(hold) => hold.settle(self.record.cost),
            None => self.account.purse.charge(self.record.cost),
        }
        self.spool.push(self.record);
    }

    fn measure(&mut self, reader: &UsageReader, ending: Ending) {
        // Some clients hang up right after the end mark; nothing is missing then.
        let complete =
            ending == Ending::Complete || (ending == Ending::Abandoned && reader.finished());
        let guess = || {
            if self.is_text {
                estimate(self.body_len, reader.delivered_bytes())
            } else {
                Tokens::default()
            }
        };
        (self.record.tokens, self.record.measure) = match (reader.tokens(), complete) {
            (Some(tokens), true) => (tokens, Measure::Measured),
            // What was reported before the break may lack the output that went out after it.
            (Some(tokens), false) => {
                let output = tokens.output.max(guess().output);
                (Tokens { output, ..tokens }, Measure::Partial)
            }
            (None, true) => (guess(), Measure::Estimated),
            (None, false) => (guess(), Measure::Partial),
        };
    }

    fn price(&mut self) {
        let account = &self.account.account;
        let Some(price) = self.snapshot.prices.find(&self.record.model_used) else {
            return;
        };
        self.record
            .price_version
            .clone_from(&self.snapshot.prices.version);
        self.record.priced = true;
        let answered = self.key.is_some() && (200..300).contains(&self.record.status);
        if answered {
            let cost = price::cost(price, &self.record.tokens, account.rates, account.factor);
            if let Some(cost) = cost {
                self.record.cost = cost;
            } else {
                // Token counts beyond any model's reach are a fault of the provider's, which must
                // not ruin the account.
                tracing::error!(request.id = self.record.request_id, tokens = ?self.record.tokens, "usage cannot be priced");
                self.record.priced = false;
            }
        }
    }
}

fn elapsed(start: Millis, now: Millis) -> u64 {
    u64::try_from(now.since(start)).unwrap_or_default()
}

fn short(text: &str, bytes_max: usize) -> String {
    let end = (0..=bytes_max.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or_default())
        .unwrap_or_default()
        .to_owned()
}
