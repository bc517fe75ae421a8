//! Turns what passed into the tokens of a call's bill, at the end of an answer however it comes.

use std::time::Duration;

use http::StatusCode;
use proxyxai_contract::{
    clock::Clock,
    money::Money,
    usage::{Measure, Tokens},
};

use super::{
    Call, Relay,
    bill::{Bill, elapsed},
};
use crate::{
    formats::{mask::Mask, usage::UsageReader},
    sight::Ending,
};

/// A stream is noted anew when this much text has gone out since it last was.
const NOTE_BYTES: u64 = 4096;

/// Listens to one answer.
pub(super) struct Meter {
    reader: Option<UsageReader>,
    bill: Bill,
    clock: Clock,
    noted: Noted,
}

/// What of an answer the journal knows.
#[derive(Default, PartialEq, Eq)]
struct Noted {
    finished: bool,
    /// Each of so much text.
    steps: u64,
}

impl Meter {
    pub(super) fn new(
        relay: &Relay,
        call: Box<Call>,
        tries: u32,
        status: StatusCode,
        streamed: bool,
    ) -> Self {
        let Call {
            request,
            mut bill,
            metered,
            ..
        } = *call;
        let key = bill.key().map(|key| (key.key.id, key.key.level));
        let record = &mut bill.record;
        record.key = key.map(|(id, _)| id);
        if let Some((_, level)) = key {
            record.level = level;
            record.first_byte_ms = elapsed(request.start, relay.clock.now());
        }
        (record.tries, record.status, record.streamed) = (tries, status.as_u16(), streamed);
        // A refusal costs nothing, whatever words stand in it.
        let metered = metered && status.is_success();
        if !metered {
            bill.forget_prompt();
        }
        Self {
            reader: metered.then(|| UsageReader::new(request.family)),
            bill,
            clock: relay.clock.clone(),
            noted: Noted::default(),
        }
    }

    /// Hears a chunk before it goes out. What it says for the bill outlives the process from then on,
    /// so that a client that has seen the end of an answer pays for that answer, whatever is killed.
    /// After the `last` chunk the bill is closed anyway.
    pub(super) fn listen(&mut self, chunk: &[u8], last: bool) {
        let Some(reader) = &mut self.reader else {
            return;
        };
        if last {
            reader.push_last(chunk);
            return;
        }
        reader.push(chunk);
        let noted = Noted {
            finished: reader.finished(),
            steps: reader.delivered_bytes() / NOTE_BYTES,
        };
        let news = reader.take_news() || noted != self.noted;
        if news {
            self.noted = noted;
            set_tokens(&mut self.bill, reader, reader.finished());
            self.bill.price(true);
            self.bill.note();
        }
    }

    /// A piece of the stream came so long after the one before.
    pub(super) fn gap(&self, time: Duration) {
        if let Some(story) = &self.bill.story {
            story.gap(time);
        }
    }

    /// Whether the time for open calls is over.
    pub(super) fn is_cut_off(&self) -> bool {
        self.bill.is_cut_off()
    }

    /// Finds the key that answers.
    pub(super) fn mask(&self) -> Option<&Mask> {
        self.bill.key().map(|key| &key.mask)
    }

    /// Whether the answer has said the last thing it says.
    pub(super) fn closed(&self) -> bool {
        self.reader.as_ref().is_some_and(UsageReader::closed)
    }

    /// Whether the exact usage is not known, but is about to come.
    pub(super) fn is_near_end(&self) -> bool {
        let near = |reader: &UsageReader| reader.is_near_end() && !reader.closed();
        self.reader.as_ref().is_some_and(near)
    }

    /// Records a call that no attempt answered.
    pub(super) fn finish_failed(mut self) {
        self.reader = None;
        self.finish(Ending::Complete);
    }

    /// Closes the bill.
    pub(super) fn finish(self, ending: Ending) {
        let Self {
            reader,
            mut bill,
            clock,
            noted: _,
        } = self;
        let now = clock.now();
        bill.record.duration_ms = elapsed(bill.record.start, now);
        // Some clients hang up right after the end mark; nothing is missing then.
        let finished = reader.as_ref().is_some_and(UsageReader::finished);
        let ending = match ending {
            Ending::Abandoned | Ending::Stopped if finished => Ending::Complete,
            ending => ending,
        };
        if let Some(story) = &mut bill.story {
            story.ended(ending);
        }
        if ending == Ending::Cut
            && let Some(key) = bill.key()
        {
            key.health.broke_off(bill.record.account, now);
        }
        let Some(mut reader) = reader else {
            let billable = bill.key().is_some() && (200..300).contains(&bill.record.status);
            bill.record.tokens = Tokens::default();
            bill.record.measure = Measure::Measured;
            bill.record.cost = Money::ZERO;
            bill.close(billable);
            return;
        };
        let complete = ending == Ending::Complete;
        set_tokens(&mut bill, &reader, complete);
        let reported = reported(&reader, complete);
        // What was reported before the break may lack the output that went out after it.
        let counts = bill.is_text() && (reported.is_none() || !complete);
        if counts {
            let prose = reader.take_prose();
            bill.close_counted(move || prose.tokens(), reported);
        } else {
            bill.close(true);
        }
    }
}

/// Sets what is known of the tokens, by length where no count was reported.
fn set_tokens(bill: &mut Bill, reader: &UsageReader, complete: bool) {
    let guess = || bill.guess(reader.delivered_bytes());
    (bill.record.tokens, bill.record.measure) = match (reported(reader, complete), complete) {
        (Some(tokens), true) => (tokens, Measure::Measured),
        (Some(tokens), false) => {
            let output = tokens.output.max(guess().output);
            (Tokens { output, ..tokens }, Measure::Partial)
        }
        (None, true) => (guess(), Measure::Estimated),
        (None, false) => (guess(), Measure::Partial),
    };
}

/// The provider's own count. Of an answer that ended early, none at all says nothing.
fn reported(reader: &UsageReader, complete: bool) -> Option<Tokens> {
    let tokens = reader.tokens();
    tokens.filter(|tokens| complete || *tokens != Tokens::default())
}
