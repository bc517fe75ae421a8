//! Turns the bytes of a response into the tokens of a call's charge, however the response ends.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use proxyxai_contract::{
    clock::{Clock, Millis},
    usage::UsageMeasure,
};

use super::{
    Call, Relay,
    abandoned::client_is_gone,
    charge::{ChargeSinks, PendingCharge},
    objects::FollowUpOutcome,
    record::elapsed,
    timeouts::FrameGap,
};
use crate::{
    formats::{
        secret_mask::SecretMask,
        usage::{ResolvedUsage, Subject, UsageReader, UsageSchema},
    },
    telemetry::ResponseEnd,
};

/// A stream's journal entry is updated each time this much text has passed.
const NOTE_BYTES: u64 = 4096;

/// Meters one response.
pub(super) struct ResponseMeter {
    reader: Option<Box<UsageReader>>,
    charge: Box<PendingCharge>,
    /// Whether the call is charged by this usage.
    metered: bool,
    /// Whether the request named several models.
    chooses: bool,
    /// Whether the client left before the response ended.
    left: bool,
    clock: Clock,
    noted: JournaledState,
}

/// What the journal knows of a response.
#[derive(Default, PartialEq, Eq)]
struct JournaledState {
    finished: bool,
    /// Counted in steps of `NOTE_BYTES`.
    steps: u64,
}

impl ResponseMeter {
    pub(super) fn new(
        relay: &Relay,
        call: Box<Call>,
        tries: u32,
        status: StatusCode,
        streamed: bool,
    ) -> Self {
        let Call {
            request,
            charge: mut bill,
            metered,
            ..
        } = *call;
        let key = bill.key().map(|key| (key.key.id, key.key.level));
        let record = &mut bill.record;
        record.key = key.map(|(id, _)| id);
        if let Some((_, level)) = key {
            record.level = level;
            let now = relay.clock.now();
            record.first_byte_ms = elapsed(request.start, now);
            bill.add_silence_until(now);
        }
        bill.abandon_info.unheard = client_is_gone();
        let record = &mut bill.record;
        (record.tries, record.status, record.streamed) = (tries, status.as_u16(), streamed);
        let schema = UsageSchema::of(request.route, &record.path);
        // A refusal costs nothing, even if it reports usage.
        let metered = metered && status.is_success();
        if !metered {
            bill.forget_prompt();
        }
        let follows = bill.follow_up.as_ref().is_some_and(|it| it.listens());
        // If the provider had a choice of models, its response says which one is charged.
        let chooses = metered && !request.facts.named.is_empty();
        let listens = follows || chooses;
        let reader = match (metered, listens && status.is_success()) {
            (_, true) => Some(Box::new(UsageReader::with_subject(schema))),
            (true, false) => Some(Box::new(UsageReader::new(schema))),
            (false, false) => None,
        };
        Self {
            reader,
            charge: bill,
            metered,
            chooses,
            left: false,
            clock: relay.clock.clone(),
            noted: JournaledState::default(),
        }
    }

    /// Reads a chunk before it is forwarded, and journals what it says about usage. So a client that has seen the end
    /// of a response pays for it, even if the process is killed. After the `last` chunk the charge is closed anyway.
    pub(super) fn observe(&mut self, chunk: &[u8], last: bool) {
        let Some(reader) = &mut self.reader else {
            return;
        };
        if last {
            reader.push_last(chunk);
            return;
        }
        reader.push(chunk);
        let noted = JournaledState {
            finished: reader.finished(),
            steps: reader.delivered_bytes() / NOTE_BYTES,
        };
        let news = reader.take_news() || noted != self.noted;
        if news && self.metered {
            self.noted = noted;
            let known = ResolvedUsage::of(reader, reader.finished(), || self.charge.bounds());
            note(&known, &mut self.charge, reader);
            self.charge.price(true);
            self.charge.note();
        }
    }

    /// A chunk of the stream arrived this long after the one before.
    pub(super) fn gap(&mut self, gap: FrameGap) {
        self.whole_gap(gap);
        if let Some(recorder) = &self.charge.recorder {
            recorder.gap(gap.time);
        }
    }

    /// The same for a response that comes as a whole, whose pace is not measured.
    pub(super) fn whole_gap(&mut self, gap: FrameGap) {
        if gap.of_provider {
            self.add_silence(gap.time);
        }
    }

    /// Nothing arrived for this long.
    pub(super) fn add_silence(&mut self, time: Duration) {
        self.charge.abandon_info.add_silence(time);
    }

    /// The client leaves. That does not matter once the response has reported its usage or its last event. A complete
    /// choice is no sign: another may be incomplete, and reasoning is reported after it.
    pub(super) fn leave(&mut self) {
        let told = |reader: &UsageReader| reader.closed() || reader.has_last_word();
        self.left = !self.reader.as_ref().is_some_and(|reader| told(reader));
    }

    /// Whether to read the response without a client.
    pub(super) fn reads_on(&self) -> bool {
        self.metered && self.charge.reads_on()
    }

    /// Whether the reserved credit covers the cost of the response so far.
    pub(super) fn is_covered(&self) -> bool {
        self.charge.is_covered() || !self.charge.reads_on()
    }

    pub(super) fn office(&self) -> Arc<ChargeSinks> {
        Arc::clone(&self.charge.sinks)
    }

    /// Whether the drain is over.
    pub(super) fn is_cut_off(&self) -> bool {
        self.charge.is_cut_off()
    }

    /// Masks the key that answers.
    pub(super) fn mask(&self) -> Option<&SecretMask> {
        self.charge.key().map(|key| &key.mask)
    }

    /// Whether the response has sent its last event.
    pub(super) fn closed(&self) -> bool {
        self.reader.as_ref().is_some_and(|reader| reader.closed())
    }

    /// Whether the exact usage is unknown but about to arrive, or the name of work that continues after the call is.
    pub(super) fn is_near_end(&self) -> bool {
        let near = |reader: &UsageReader| reader.is_near_end() && !reader.closed();
        let reader = self.reader.as_deref();
        let id = reader.and_then(UsageReader::subject);
        let nameless = self.charge.may_go_on() && id.is_some_and(|subject| subject.id().is_none());
        nameless || reader.is_some_and(near)
    }

    /// Records a call that no attempt answered.
    pub(super) fn finish_failed(mut self) {
        self.reader = None;
        self.finish(ResponseEnd::Complete);
    }

    /// Closes the charge.
    pub(super) fn finish(self, ending: ResponseEnd) {
        let Self {
            reader,
            charge: mut bill,
            metered,
            chooses,
            left,
            clock,
            noted: _,
        } = self;
        let now = clock.now();
        bill.record.duration_ms = elapsed(bill.record.start, now);
        let finished = reader.as_ref().is_some_and(|reader| reader.finished());
        let heard = matches!(ending, ResponseEnd::Complete | ResponseEnd::Cut);
        let ending = tell_ending(&mut bill, (ending, left), finished, now);
        let come = conclude(
            &mut bill,
            reader.as_deref(),
            ending == ResponseEnd::Complete,
        );
        let pays = match come {
            FollowUpOutcome::Usual => metered,
            FollowUpOutcome::Settles => true,
            FollowUpOutcome::GoesOn | FollowUpOutcome::Nothing | FollowUpOutcome::CameToNothing => {
                false
            }
        };
        let Some(reader) = reader.filter(|_| pays) else {
            let answered = bill.key().is_some() && (200..300).contains(&bill.record.status);
            // Work that continues, or came to nothing, is not charged with the call.
            let billable = answered && come == FollowUpOutcome::Usual;
            bill.costs_nothing();
            bill.record.measure = UsageMeasure::Measured;
            bill.close(billable);
            return;
        };
        if chooses && let Some(subject) = reader.subject() {
            bill.answered_by(subject.model());
        }
        let known = ResolvedUsage::of(&reader, ending == ResponseEnd::Complete, || bill.bounds());
        note(&known, &mut bill, &reader);
        if known.absurd {
            tell_absurd(&mut bill);
        }
        if left {
            match bill.client_left(heard) {
                Ok(()) => return,
                Err(open) => bill = open,
            }
        }
        close(bill, &known, reader);
    }
}

/// Closes the charge with what is known and what is counted.
fn close(mut bill: Box<PendingCharge>, known: &ResolvedUsage, mut reader: Box<UsageReader>) {
    let parts = reader.subject().map(Subject::sums).unwrap_or_default();
    if !parts.is_empty() {
        return bill.close_parts(parts);
    }
    if !bill.is_text() {
        if known.reported.is_some() {
            return bill.close(true);
        }
        return bill.close_asked().unwrap_or_else(|bill| bill.close(true));
    }
    if known.is_nothing(&reader) {
        // A proxy's page, an error that the client is to see, or nothing at all.
        bill.costs_nothing();
        return bill.close(false);
    }
    if known.counts_input || known.counts_output {
        let prose = reader.take_output_text();
        let unread = reader.unread_tokens();
        let counts_output = known.counts_output;
        let output = move || {
            if counts_output {
                prose.tokens().max(unread)
            } else {
                0
            }
        };
        let tokens = known.reported.map(|reported| reported.tokens);
        bill.close_counted(output, tokens, known.counts_input);
    } else {
        bill.close(true);
    }
}

/// Reports to the recorder and the key how a response ended.
fn tell_ending(
    bill: &mut PendingCharge,
    (ending, left): (ResponseEnd, bool),
    finished: bool,
    now: Millis,
) -> ResponseEnd {
    // Some clients disconnect right after the end marker; nothing is missing then.
    let ending = match ending {
        ResponseEnd::Abandoned | ResponseEnd::Stopped if finished => ResponseEnd::Complete,
        ending => ending,
    };
    if let Some(recorder) = &mut bill.recorder {
        let unheard = left && !finished || bill.abandon_info.unheard;
        let unheard = unheard && ending != ResponseEnd::Cut;
        recorder.ended(if unheard {
            ResponseEnd::Abandoned
        } else {
            ending
        });
    }
    if ending == ResponseEnd::Cut
        && let Some(key) = bill.key()
    {
        let whose = (bill.record.account, bill.account.customer);
        key.health.broke_off(whose, now);
    }
    ending
}

/// Sets what is known, estimated by length where it will be counted.
fn note(known: &ResolvedUsage, bill: &mut PendingCharge, reader: &UsageReader) {
    let guess = bill.guess(reader.delivered_bytes());
    bill.record.tokens = known.tokens(&guess);
    bill.record.measure = known.measure;
    bill.pieces = match &known.reported {
        Some(_) => reader.pieces(),
        None => [reader.pieces(), bill.guess_pieces()].concat(),
    };
    reader.tier().clone_into(&mut bill.record.tier);
}

/// What a response means beside its usage.
fn conclude(
    bill: &mut PendingCharge,
    reader: Option<&UsageReader>,
    whole: bool,
) -> FollowUpOutcome {
    let answered = (200..300).contains(&bill.record.status);
    match bill.follow_up.take().filter(|_| answered) {
        Some(follow) => follow.conclude(bill, reader, whole),
        None => FollowUpOutcome::Usual,
    }
}

fn tell_absurd(bill: &mut PendingCharge) {
    tracing::warn!(
        request.id = bill.record.request_id,
        key.id = bill.key().map(|key| key.key.id.get()),
        model = bill.record.model_used,
        "a provider reported counts of tokens that can not be; they are counted here"
    );
    if let Some(recorder) = &mut bill.recorder {
        recorder.is_absurd();
    }
}
