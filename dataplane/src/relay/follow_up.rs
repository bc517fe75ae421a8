//! What to do with a response beside charging its usage: the objects it makes, deletes or settles.

use std::sync::Arc;

use http::StatusCode;
use proxyxai_contract::{
    clock::Millis,
    id::KeyId,
    object::{CallObjects, CreatedObject, ObjectKind, ObjectSettlement, OwnedObject, PendingWork},
};

use super::{charge::PendingCharge, context::Relay, objects};
use crate::{
    decide::endpoint_access::DeferredWork,
    formats::{
        endpoint::EndpointMatch,
        request::RequestFacts,
        usage::{Subject, UsageReader},
    },
    state::{Caller, RuntimeState, Snapshot},
};

/// What to do with a response, beside charging its usage.
#[derive(Debug)]
pub(super) struct FollowUp {
    state: Arc<RuntimeState>,
    makes: Option<ObjectKind>,
    /// Whether its work may continue after the call.
    pub(super) later: bool,
    /// The object whose work it may report as ended.
    pub(super) work: Option<Arc<OwnedObject>>,
    /// The object that is gone if the response says so.
    deletes: Option<Arc<OwnedObject>>,
    /// The calls in the batch that it makes.
    pub(super) calls: Option<PendingWork>,
}

/// What a response means for the charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FollowUpOutcome {
    /// It is charged like any other.
    Usual,
    /// Its work continues, and its credit stays reserved.
    GoesOn,
    /// It costs nothing.
    Nothing,
    /// It reports the usage of work that was done meanwhile.
    Settles,
    /// It reports that such work came to nothing.
    CameToNothing,
}

/// What was seen of a response.
#[derive(Clone, Copy)]
pub(super) struct SeenResponse<'a> {
    /// The key that answered.
    pub(super) key: Option<KeyId>,
    /// `None` if it was not read.
    pub(super) reader: Option<&'a UsageReader>,
    /// Whether its end was seen.
    pub(super) whole: bool,
}

/// Returns what to do with the response to a call about this object, or `None` if nothing.
pub(super) fn follow_up(
    relay: &Relay,
    found: EndpointMatch,
    facts: &RequestFacts,
    deferred: &DeferredWork,
    about: Option<&Arc<OwnedObject>>,
) -> Option<Box<FollowUp>> {
    let EndpointMatch::Row(row) = found else {
        return None;
    };
    let later = *deferred == DeferredWork::Held;
    let makes = row.makes.and_then(|kind| match kind {
        ObjectKind::Completion if later => Some(ObjectKind::Deferred),
        ObjectKind::Completion => (facts.store == Some(true)).then_some(kind),
        ObjectKind::Response => (later || facts.store != Some(false)).then_some(kind),
        _ => Some(kind),
    });
    let deletes = about.filter(|_| row.deletes()).cloned();
    let work = about.and_then(|about| objects::work_of(relay, about));
    let follow = FollowUp {
        state: Arc::clone(&relay.state),
        makes,
        later,
        work,
        deletes,
        calls: None,
    };
    let follows = follow.listens() || follow.deletes.is_some();
    follows.then(|| Box::new(follow))
}

impl FollowUp {
    /// Whether to read what the response says about objects.
    pub(super) const fn listens(&self) -> bool {
        self.makes.is_some() || self.later || self.work.is_some()
    }

    /// Whether it makes something.
    pub(super) const fn makes(&self) -> bool {
        self.makes.is_some()
    }

    /// Whether it makes a file.
    pub(super) fn makes_file(&self) -> bool {
        self.makes == Some(ObjectKind::File)
    }

    /// Returns the caller that pays for the work whose end the response may report, even if another account makes the call.
    pub(super) fn billed_caller(&self, snapshot: &Snapshot) -> Option<Caller> {
        let work = self.work.as_ref()?;
        snapshot.account(work.account).map(|account| Caller {
            account: Arc::clone(account),
            key: objects::key_of(snapshot, work),
        })
    }

    /// For finished work that the gateway fetches itself.
    pub(super) fn of_work(state: &Arc<RuntimeState>, work: Arc<OwnedObject>) -> Self {
        Self {
            state: Arc::clone(state),
            makes: None,
            later: false,
            work: Some(work),
            deletes: None,
            calls: None,
        }
    }

    /// Records in a charge what a response did, and returns what it means. If the response is not whole, only the
    /// objects that it made count.
    pub(super) fn conclude(
        &self,
        charge: &mut PendingCharge,
        response: SeenResponse<'_>,
    ) -> FollowUpOutcome {
        let SeenResponse { key, reader, whole } = response;
        let Some(key) = key else {
            return FollowUpOutcome::Usual;
        };
        if let Some(gone) = &self.deletes {
            self.state.objects().forgotten(key, &gone.id);
            charge.objects().forgets = Some(gone.id.clone());
        }
        let Some((reader, subject)) = reader.and_then(|it| Some((it, it.subject()?))) else {
            return FollowUpOutcome::Usual;
        };
        let goes_on = self.later && !is_over(ObjectKind::Response, subject, reader, whole);
        let made = self.made(subject, charge.record.start);
        if let Some(work) = &self.work {
            if let (Some(file), ObjectKind::Batch) = (subject.output(), work.kind) {
                self.state.objects().results_are_in(file, Arc::clone(work));
            }
            let come = end_of(work, subject, reader, charge.record.status, whole);
            self.keep(charge, key, made, None);
            if matches!(
                come,
                FollowUpOutcome::Settles | FollowUpOutcome::CameToNothing
            ) {
                self.state.objects().settled(key, &work.id);
                charge.settles(work);
            }
            return come;
        }
        let goes_on = goes_on
            && made
                .first()
                .is_some_and(|made| Some(made.kind) == self.makes);
        let pending = goes_on.then(|| PendingWork {
            model: charge.record.model_used.clone(),
            held: charge.held(),
        });
        self.keep(charge, key, made, pending);
        if goes_on {
            FollowUpOutcome::GoesOn
        } else {
            FollowUpOutcome::Usual
        }
    }

    /// The objects that were made.
    fn made(&self, subject: &Subject, start: Millis) -> Vec<CreatedObject> {
        let of = |kind: ObjectKind, id: &str, status: &str| CreatedObject {
            id: id.to_owned(),
            kind,
            expires: start.plus(kind.retention_ms()),
            status: status.to_owned(),
            calls: self.calls.clone().filter(|_| Some(kind) == self.makes),
        };
        let status: String = subject.status().chars().take(32).collect();
        let first = self
            .makes
            .zip(subject.id())
            .map(|(kind, id)| of(kind, id, &status));
        let others = subject.made().iter().map(|(kind, id)| of(*kind, id, ""));
        first.into_iter().chain(others).collect()
    }

    /// Remembers what was made, here and in the record.
    fn keep(
        &self,
        charge: &mut PendingCharge,
        key: KeyId,
        made: Vec<CreatedObject>,
        pending: Option<PendingWork>,
    ) {
        if made.is_empty() {
            return;
        }
        for (at, made) in made.iter().enumerate() {
            self.state.objects().made(OwnedObject {
                id: made.id.clone(),
                kind: made.kind,
                account: charge.record.account,
                client_key: charge.record.client_key,
                key,
                created: charge.record.start,
                expires: made.expires,
                status: made.status.clone(),
                pending: pending.clone().filter(|_| at == 0),
                calls: made.calls.clone(),
            });
        }
        let objects = charge.objects();
        objects.made = made;
        if let Some(pending) = pending {
            objects.pending = true;
            objects.held = pending.held;
        }
    }
}

/// Whether a response reports the end of work.
fn end_of(
    work: &OwnedObject,
    subject: &Subject,
    reader: &UsageReader,
    status: u16,
    whole: bool,
) -> FollowUpOutcome {
    let ended = matches!(
        subject.status(),
        "completed" | "failed" | "cancelled" | "expired"
    );
    if work.kind == ObjectKind::Batch && ended && whole && subject.output().is_none() {
        // It has no results to charge.
        return FollowUpOutcome::CameToNothing;
    }
    // Accepted is not done.
    if status != StatusCode::OK.as_u16() || !is_over(work.kind, subject, reader, whole) {
        return FollowUpOutcome::Nothing;
    }
    let failed = matches!(subject.status(), "failed" | "cancelled" | "expired");
    if failed && reader.reported().is_none() {
        FollowUpOutcome::CameToNothing
    } else {
        FollowUpOutcome::Settles
    }
}

/// Whether the work that a response is about is over.
fn is_over(kind: ObjectKind, subject: &Subject, reader: &UsageReader, whole: bool) -> bool {
    match (kind, subject.status()) {
        // A batch has results only when it is over.
        (ObjectKind::MessageBatch | ObjectKind::Batch, _) => whole && subject.calls() > 0,
        (_, "completed" | "incomplete" | "failed" | "cancelled" | "expired") => whole,
        // If it has no status, the usage decides.
        (_, "") => whole && reader.has_last_word(),
        _ => false,
    }
}

impl PendingCharge {
    /// The objects in its record.
    pub(super) fn objects(&mut self) -> &mut CallObjects {
        self.record.objects.get_or_insert_default()
    }

    /// It pays for work that was done meanwhile.
    pub(super) fn settles(&mut self, work: &OwnedObject) {
        if let Some(pending) = &work.pending {
            self.record.model_asked.clone_from(&pending.model);
            self.record.model_used.clone_from(&pending.model);
        }
        let settlement = format!("{:016x}", fastrand::u64(..));
        self.objects().settles = Some(ObjectSettlement {
            id: work.id.clone(),
            settlement,
        });
    }
}
