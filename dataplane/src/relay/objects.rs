//! Objects at providers that a call refers to, makes, pays for or deletes.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use proxyxai_contract::{
    clock::Millis,
    id::{AccountId, KeyId},
    object::{CallObjects, CreatedObject, ObjectKind, ObjectSettlement, OwnedObject, PendingWork},
    plan::{LevelReason, PlanLevel, RoutePlan},
    snapshot::AccountConfig,
};

use super::{Relay, charge::PendingCharge, request};
use crate::{
    decide::{
        admit::Refusal,
        endpoint_access::DeferredWork,
        own::{self, ObjectReference},
    },
    formats::{
        conversation::ConversationHash,
        endpoint::{self, Endpoint, EndpointMatch},
        references::{self, Reference},
        request::RequestFacts,
        usage::{Subject, UsageReader},
    },
    state::{Caller, FurtherKeyState, RuntimeState, Snapshot},
};

/// The objects that a call refers to.
#[derive(Debug, Default)]
pub(super) struct ReferencedObjects {
    /// The key that has them; no other can serve the call.
    pub(super) only: Option<KeyId>,
    /// The object that the path names.
    pub(super) about: Option<Arc<OwnedObject>>,
    /// All known objects with the ids that it names.
    known: Vec<Arc<OwnedObject>>,
}

/// What to do with a response, beside charging its usage.
#[derive(Debug)]
pub(super) struct FollowUp {
    live: Arc<RuntimeState>,
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

impl ReferencedObjects {
    /// Whether there is anything.
    pub(super) fn is_some(&self) -> bool {
        !self.known.is_empty()
    }

    /// The calls in the one file that it names.
    ///
    /// # Errors
    /// Errors if it names none, or the gateway has not seen its content.
    pub(super) fn calls(&self) -> Result<PendingWork, Refusal> {
        let files = self.known.iter().filter(|one| one.kind == ObjectKind::File);
        let mut files = files.filter(|one| self.only == Some(one.key));
        // Of several, it is unknown which one the provider takes.
        let first = files
            .next()
            .filter(|first| files.all(|other| other.id == first.id));
        let calls = first.and_then(|file| file.calls.clone());
        calls.ok_or_else(|| {
            Refusal::Malformed(
                "input_file_id must name one file that was sent here at once, and in which each line is a call that this account could make by itself, of models that have a price, and that refers to no object"
                    .to_owned(),
            )
        })
    }

    /// Routes a call to the key that has what it refers to.
    pub(super) fn pin(&self, plan: &mut RoutePlan, snapshot: &Snapshot) {
        let Some(key) = self.only.and_then(|only| snapshot.key(only)) else {
            return;
        };
        for stage in &mut plan.stages {
            stage.hops = vec![PlanLevel {
                level: key.key.level,
                why: LevelReason::Account,
            }];
        }
    }
}

impl Relay {
    /// Finds the objects that a call refers to; those of the calls inside it have been found already.
    ///
    /// # Errors
    /// Errors if one is not the caller's, or its key is gone.
    pub(super) async fn find_references(
        &self,
        snapshot: &Snapshot,
        caller: &AccountConfig,
        (found, path): (EndpointMatch, &str),
        (facts, body, inside): (&RequestFacts, &Bytes, Vec<Reference>),
    ) -> Result<ReferencedObjects, Refusal> {
        let row = match found {
            EndpointMatch::Row(row) => Some(row),
            EndpointMatch::Misspelt | EndpointMatch::Unknown => None,
        };
        let known = (found.route(), facts.cues);
        let find = |body: &[u8], (route, cues): &_| references::find(body, *route, *cues);
        let in_body = request::beside(body, &known, find).await?;
        let mut in_body = in_body.map_err(|unclear| Refusal::Malformed(unclear.to_string()))?;
        in_body.extend(facts.in_form.iter().cloned());
        in_body.extend(inside);
        // On some paths another name stands in the place of an id, such as a list's.
        let own = row.is_none_or(Endpoint::names_object);
        let by_path = own.then(|| endpoint::object(path)).flatten();
        let named = named(by_path, facts, &in_body);
        if named.is_empty() {
            return Ok(ReferencedObjects::default());
        }
        let ids: Vec<_> = named.iter().map(|named| named.id).collect();
        let known = self.state.objects().find(&ids).await;
        let known = known.map_err(|_| Refusal::Unavailable)?;
        let is_above = |owner: AccountId| {
            caller.parent.is_none()
                || snapshot.account(owner).is_some_and(|owner| {
                    let chain = snapshot.chain(&owner.account);
                    chain.iter().any(|above| above.id == caller.id)
                })
        };
        let owned: Vec<_> = known.iter().map(|one| &**one).collect();
        let (only, about) = own::objects(caller.id, &named, &owned, is_above)?;
        if let Some(only) = only
            && snapshot.key(only).is_none()
        {
            let first = named.first().map_or("", |named| named.id);
            return Err(Refusal::KeyGone {
                id: first.to_owned(),
            });
        }
        let about = about.and_then(|about| known.iter().find(|one| &***one == about));
        let about = about.cloned();
        let deletes = row.is_some_and(Endpoint::deletes);
        match &about {
            Some(about) if deletes && self.work_of(about).is_some() => Err(Refusal::UnderWay {
                id: about.id.clone(),
            }),
            _ => Ok(ReferencedObjects { only, about, known }),
        }
    }

    /// The work that an object can report as ended, and that is not charged yet.
    fn work_of(&self, about: &Arc<OwnedObject>) -> Option<Arc<OwnedObject>> {
        match about.kind {
            ObjectKind::File => self.state.objects().batch_of(&about.id),
            _ => Some(about).filter(|it| it.pending.is_some()).cloned(),
        }
    }

    /// Returns what to do with the response, or `None` if nothing.
    pub(super) fn follow(
        &self,
        found: EndpointMatch,
        facts: &RequestFacts,
        later: &DeferredWork,
        about: Option<&Arc<OwnedObject>>,
    ) -> Option<Box<FollowUp>> {
        let EndpointMatch::Row(row) = found else {
            return None;
        };
        let later = *later == DeferredWork::Held;
        let makes = row.makes.and_then(|kind| match kind {
            ObjectKind::Completion if later => Some(ObjectKind::Deferred),
            ObjectKind::Completion => (facts.store == Some(true)).then_some(kind),
            ObjectKind::Response => (later || facts.store != Some(false)).then_some(kind),
            _ => Some(kind),
        });
        let deletes = about.filter(|_| row.deletes()).cloned();
        let work = about.and_then(|about| self.work_of(about));
        let follow = FollowUp {
            live: Arc::clone(&self.state),
            makes,
            later,
            work,
            deletes,
            calls: None,
        };
        let follows = follow.listens() || follow.deletes.is_some();
        follows.then(|| Box::new(follow))
    }
}

/// All objects that a call refers to.
fn named<'a>(
    by_path: Option<(ObjectKind, &'a str)>,
    facts: &'a RequestFacts,
    in_body: &'a [Reference],
) -> Vec<ObjectReference<'a>> {
    let by_path = by_path.map(|(kind, id)| ObjectReference {
        kind,
        id,
        by_path: true,
    });
    let member = |kind, id: &'a Option<String>| {
        id.as_deref().map(|id| ObjectReference {
            kind,
            id,
            by_path: false,
        })
    };
    let in_body = in_body.iter().map(|(kind, id)| ObjectReference {
        kind: *kind,
        id,
        by_path: false,
    });
    let members = [
        member(ObjectKind::Response, &facts.previous),
        member(ObjectKind::Conversation, &facts.conversation),
    ];
    let all = by_path.into_iter().chain(members.into_iter().flatten());
    all.chain(in_body).collect()
}

/// The further client key with which an object was made, if it still exists.
pub(super) fn key_of(snapshot: &Snapshot, object: &OwnedObject) -> Option<Arc<FurtherKeyState>> {
    let key = snapshot.further_key(object.account, object.client_key?);
    key.map(Arc::clone)
}

/// An account's objects go to one key while it is usable, so that they can be used together.
pub(super) fn of_account(account: AccountId) -> ConversationHash {
    ConversationHash::new([account.get().to_string().as_bytes()])
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
    pub(super) fn payer(&self, snapshot: &Snapshot) -> Option<Caller> {
        let work = self.work.as_ref()?;
        snapshot.account(work.account).map(|account| Caller {
            account: Arc::clone(account),
            key: key_of(snapshot, work),
        })
    }

    /// For finished work that the gateway fetches itself.
    pub(super) fn of_work(live: &Arc<RuntimeState>, work: Arc<OwnedObject>) -> Self {
        Self {
            live: Arc::clone(live),
            makes: None,
            later: false,
            work: Some(work),
            deletes: None,
            calls: None,
        }
    }

    /// Records in a charge what a response did, and returns what it means. If the response is not `whole`, only the
    /// objects that it made count.
    pub(super) fn conclude(
        &self,
        bill: &mut PendingCharge,
        reader: Option<&UsageReader>,
        whole: bool,
    ) -> FollowUpOutcome {
        let Some(key) = bill.key().map(|key| key.key.id) else {
            return FollowUpOutcome::Usual;
        };
        if let Some(gone) = &self.deletes {
            self.live.objects().forgotten(key, &gone.id);
            bill.objects().forgets = Some(gone.id.clone());
        }
        let Some((reader, subject)) = reader.and_then(|it| Some((it, it.subject()?))) else {
            return FollowUpOutcome::Usual;
        };
        let goes_on = self.later && !is_over(ObjectKind::Response, subject, reader, whole);
        let made = self.made(subject, bill.record.start);
        if let Some(work) = &self.work {
            if let (Some(file), ObjectKind::Batch) = (subject.output(), work.kind) {
                self.live.objects().results_are_in(file, Arc::clone(work));
            }
            let come = end_of(work, subject, reader, bill.record.status, whole);
            self.keep(bill, key, made, None);
            if matches!(
                come,
                FollowUpOutcome::Settles | FollowUpOutcome::CameToNothing
            ) {
                self.live.objects().settled(key, &work.id);
                bill.settles(work);
            }
            return come;
        }
        let goes_on = goes_on
            && made
                .first()
                .is_some_and(|made| Some(made.kind) == self.makes);
        let pending = goes_on.then(|| PendingWork {
            model: bill.record.model_used.clone(),
            held: bill.held(),
        });
        self.keep(bill, key, made, pending);
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
        let first = self.makes.zip(subject.id());
        let first = first.map(|(kind, id)| of(kind, id, &status));
        let others = subject.made().iter().map(|(kind, id)| of(*kind, id, ""));
        first.into_iter().chain(others).collect()
    }

    /// Remembers what was made, here and in the record.
    fn keep(
        &self,
        bill: &mut PendingCharge,
        key: KeyId,
        made: Vec<CreatedObject>,
        pending: Option<PendingWork>,
    ) {
        if made.is_empty() {
            return;
        }
        for (at, made) in made.iter().enumerate() {
            self.live.objects().made(OwnedObject {
                id: made.id.clone(),
                kind: made.kind,
                account: bill.record.account,
                client_key: bill.record.client_key,
                key,
                created: bill.record.start,
                expires: made.expires,
                status: made.status.clone(),
                pending: pending.clone().filter(|_| at == 0),
                calls: made.calls.clone(),
            });
        }
        let objects = bill.objects();
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
