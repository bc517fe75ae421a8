//! Turns the bytes of a response into the tokens of a call's charge, however the response ends.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use proxyxai_contract::{clock::Millis, usage::UsageMeasure};

use super::{
    abandoned::client_is_gone,
    call::Call,
    charge::{ChargeSinks, ChargeState, PendingCharge},
    follow_up::{FollowUp, FollowUpOutcome, SeenResponse},
    open_call::OpenCall,
    record::elapsed,
    timeouts::FrameGap,
};
use crate::{
    decide::blame::Blamer,
    formats::{
        secret_mask::SecretMask,
        usage::{ResolvedUsage, Subject, UsageReader, UsageSchema},
    },
    state::KeyState,
    telemetry::ResponseEnd,
};

/// A stream's journal entry is updated each time this much text has passed.
const NOTE_BYTES: u64 = 4096;

/// Meters one response.
pub(super) struct ResponseMeter {
    reader: Option<Box<UsageReader>>,
    /// What else to do with the response.
    follow_up: Option<Box<FollowUp>>,
    charge: Box<PendingCharge>,
    /// After the charge, so that a dropped response is charged before its call stops to count as open.
    open: OpenCall,
    /// Whether the call is charged by this usage.
    metered: bool,
    /// Whether the request named several models.
    chooses: bool,
    /// Whether the client left before the response ended.
    left: bool,
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
    pub(super) fn new(call: Box<Call>, tries: u32, status: StatusCode, streamed: bool) -> Self {
        let Call {
            request,
            follow_up,
            mut charge,
            open,
            ..
        } = *call;
        let record = &mut charge.record;
        record.key = None;
        if let Some(KeyState { key, .. }) = open.key() {
            record.key = Some(key.id);
            record.level = key.level;
            let now = charge.basis.clock.now();
            record.first_byte_ms = elapsed(request.start, now);
            charge.add_silence_until(now);
        }
        charge.state.abandon_info.unheard = client_is_gone();
        let record = &mut charge.record;
        (record.tries, record.status, record.streamed) = (tries, status.as_u16(), streamed);
        let schema = UsageSchema::of(request.route, &record.path);
        // A refusal costs nothing, even if it reports usage.
        let metered = charge.basis.metered && status.is_success();
        if !metered {
            charge.forget_prompt();
        }
        let follows = follow_up.as_ref().is_some_and(|follow| follow.listens());
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
            follow_up,
            charge,
            open,
            metered,
            chooses,
            left: false,
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
        if let Some(recorder) = &self.charge.state.recorder {
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
        self.charge.state.abandon_info.add_silence(time);
    }

    /// The client leaves. That does not matter once the response has reported its usage or its last event. A complete
    /// choice is no sign: another may be incomplete, and reasoning is reported after it.
    pub(super) fn leave(&mut self) {
        let is_over = |reader: &UsageReader| reader.closed() || reader.has_last_word();
        self.left = !self.reader.as_ref().is_some_and(|reader| is_over(reader));
    }

    /// Whether to read the response without a client.
    pub(super) fn reads_on(&self) -> bool {
        self.metered && self.learns_cost()
    }

    /// Whether the reserved credit covers the cost of the response so far.
    pub(super) fn is_covered(&self) -> bool {
        self.charge.is_covered() || !self.learns_cost()
    }

    /// Whether its call continues without its client to learn its exact cost.
    fn learns_cost(&self) -> bool {
        !self.may_go_on() && self.charge.reads_on()
    }

    /// Whether its work may continue after the call.
    fn may_go_on(&self) -> bool {
        self.follow_up.as_ref().is_some_and(|follow| follow.later)
    }

    pub(super) fn sinks(&self) -> Arc<ChargeSinks> {
        Arc::clone(&self.charge.basis.sinks)
    }

    /// Whether the drain is over.
    pub(super) fn is_cut_off(&self) -> bool {
        self.charge.is_cut_off()
    }

    /// Masks the key that answers.
    pub(super) fn mask(&self) -> Option<&SecretMask> {
        self.open.key().map(|key| &key.mask)
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
        let nameless = self.may_go_on() && id.is_some_and(|subject| subject.id().is_none());
        nameless || reader.is_some_and(near)
    }

    /// Records a call that no attempt answered.
    pub(super) fn finish_failed(mut self) {
        self.reader = None;
        self.finish(ResponseEnd::Complete);
    }

    /// Closes the charge.
    pub(super) fn finish(self, end: ResponseEnd) {
        let Self {
            reader,
            follow_up,
            mut charge,
            open,
            metered,
            chooses,
            left,
            noted: _,
        } = self;
        let now = charge.basis.clock.now();
        charge.record.duration_ms = elapsed(charge.record.start, now);
        let finished = reader.as_ref().is_some_and(|reader| reader.finished());
        let heard = matches!(end, ResponseEnd::Complete | ResponseEnd::Cut);
        let end = seen_end(end, finished);
        record_end(&mut charge, end, left && !finished);
        if end == ResponseEnd::Cut
            && let Some(key) = open.key()
        {
            report_break(&charge, key, now);
        }
        let is_success = (200..300).contains(&charge.record.status);
        let seen = SeenResponse {
            key: open.key().map(|key| key.key.id),
            reader: reader.as_deref(),
            whole: end == ResponseEnd::Complete,
        };
        let outcome = match follow_up.filter(|_| is_success) {
            Some(follow) => follow.conclude(&mut charge, seen),
            None => FollowUpOutcome::Usual,
        };
        let pays = match outcome {
            FollowUpOutcome::Usual => metered,
            FollowUpOutcome::Settles => true,
            FollowUpOutcome::GoesOn | FollowUpOutcome::Nothing | FollowUpOutcome::CameToNothing => {
                false
            }
        };
        let Some(reader) = reader.filter(|_| pays) else {
            let answered = open.key().is_some() && is_success;
            // Work that continues, or came to nothing, is not charged with the call.
            let billable = answered && outcome == FollowUpOutcome::Usual;
            charge.costs_nothing();
            charge.record.measure = UsageMeasure::Measured;
            charge.close(billable);
            return;
        };
        if chooses && let Some(subject) = reader.subject() {
            charge.answered_by(subject.model());
        }
        let known = ResolvedUsage::of(&reader, end == ResponseEnd::Complete, || charge.bounds());
        note(&known, &mut charge, &reader);
        if known.absurd {
            report_absurd(&mut charge, open.key());
        }
        if left {
            match charge.client_left(heard) {
                Ok(()) => return,
                Err(unclosed) => charge = unclosed,
            }
        }
        close(charge, open, &known, reader);
    }
}

/// Closes the charge with what is known and what is counted.
fn close(
    mut charge: Box<PendingCharge>,
    open: OpenCall,
    known: &ResolvedUsage,
    mut reader: Box<UsageReader>,
) {
    let parts = reader.subject().map(Subject::sums).unwrap_or_default();
    if !parts.is_empty() {
        return charge.close_parts(parts);
    }
    if !charge.is_text() {
        if known.reported.is_some() {
            return charge.close(true);
        }
        // The call is over, however long the count takes.
        drop(open);
        return charge
            .close_asked()
            .unwrap_or_else(|charge| charge.close(true));
    }
    if known.is_nothing(&reader) {
        // A proxy's page, an error that the client is to see, or nothing at all.
        charge.costs_nothing();
        return charge.close(false);
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
        // The call is over, however long the count takes.
        drop(open);
        charge.close_counted(output, tokens, known.counts_input);
    } else {
        charge.close(true);
    }
}

/// How a response ended, for its reader. Some clients disconnect right after the end marker; nothing is missing then.
fn seen_end(end: ResponseEnd, finished: bool) -> ResponseEnd {
    match end {
        ResponseEnd::Abandoned | ResponseEnd::Stopped if finished => ResponseEnd::Complete,
        end => end,
    }
}

/// Records how a response ended. A client that left before the end did not hear it.
fn record_end(charge: &mut PendingCharge, end: ResponseEnd, left_before_end: bool) {
    let ChargeState {
        recorder,
        abandon_info,
        ..
    } = &mut charge.state;
    let Some(recorder) = recorder else {
        return;
    };
    let unheard = left_before_end || abandon_info.unheard;
    recorder.ended(match end {
        ResponseEnd::Cut => ResponseEnd::Cut,
        _ if unheard => ResponseEnd::Abandoned,
        end => end,
    });
}

/// A key's response to this account broke off.
fn report_break(charge: &PendingCharge, key: &KeyState, now: Millis) {
    let blamer = Blamer {
        account: charge.record.account,
        customer: charge.basis.account.customer,
    };
    key.health.broke_off(blamer, now);
}

/// Sets what is known, estimated by length where it will be counted.
fn note(known: &ResolvedUsage, charge: &mut PendingCharge, reader: &UsageReader) {
    let guess = charge.guess(reader.delivered_bytes());
    charge.record.tokens = known.tokens(&guess);
    charge.record.measure = known.measure;
    charge.state.pieces = match &known.reported {
        Some(_) => reader.pieces(),
        None => [reader.pieces(), charge.guess_pieces()].concat(),
    };
    reader.tier().clone_into(&mut charge.record.tier);
}

fn report_absurd(charge: &mut PendingCharge, key: Option<&KeyState>) {
    tracing::warn!(
        request.id = charge.record.request_id,
        key.id = key.map(|key| key.key.id.get()),
        model = charge.record.model_used,
        "a provider reported counts of tokens that can not be; they are counted here"
    );
    if let Some(recorder) = &mut charge.state.recorder {
        recorder.is_absurd();
    }
}
