//! Objects of providers that a call refers to, makes, pays for or ends.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use proxyxai_contract::{
    clock::Millis,
    id::{AccountId, KeyId},
    object::{Kind, Made, Objects, Owned, Pending, Settles},
    plan::{Hop, LevelReason, Plan},
    snapshot::Account,
};

use super::{Relay, bill::Bill, request};
use crate::{
    decide::{
        admit::Refusal,
        affinity::Conversation,
        gate::Later,
        own::{self, Named},
    },
    formats::{
        endpoint::{self, Endpoint, Found},
        references::{self, Reference},
        request::RequestFacts,
        usage::{Subject, UsageReader},
    },
    live::{Caller, FurtherKeyState, Live, Snapshot},
};

/// What a call refers to.
#[derive(Debug, Default)]
pub(super) struct Referred {
    /// The key that has it; no other will do.
    pub(super) only: Option<KeyId>,
    /// What the path is about.
    pub(super) about: Option<Arc<Owned>>,
    /// All that there is of the ids that it names.
    known: Vec<Arc<Owned>>,
}

/// What is to be made of an answer, beside its usage.
#[derive(Debug)]
pub(super) struct Follow {
    live: Arc<Live>,
    makes: Option<Kind>,
    /// Whether its work may go on after the call.
    pub(super) later: bool,
    /// The object whose work it may tell the end of.
    pub(super) work: Option<Arc<Owned>>,
    /// Whether the object is gone when the answer says so.
    deletes: Option<Arc<Owned>>,
    /// The calls in what it makes.
    pub(super) calls: Option<Pending>,
}

/// What an answer comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Come {
    /// It is paid like any other.
    Usual,
    /// Its work goes on, and what may be due stays set aside.
    GoesOn,
    /// It costs nothing, whatever it says.
    Nothing,
    /// It tells what work that was done meanwhile has used.
    Settles,
    /// The same, of work that came to nothing.
    CameToNothing,
}

impl Referred {
    /// Whether there is anything.
    pub(super) fn is_some(&self) -> bool {
        !self.known.is_empty()
    }

    /// The calls in the one file that it names.
    ///
    /// # Errors
    /// When it names none, or the gateway has not seen what is in it.
    pub(super) fn calls(&self) -> Result<Pending, Refusal> {
        let files = self.known.iter().filter(|one| one.kind == Kind::File);
        let mut files = files.filter(|one| self.only == Some(one.key));
        // Of several nobody knows which one the provider takes.
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

    /// Has a call go to the key that has what it refers to.
    pub(super) fn pin(&self, plan: &mut Plan, snapshot: &Snapshot) {
        let Some(key) = self.only.and_then(|only| snapshot.key(only)) else {
            return;
        };
        for stage in &mut plan.stages {
            stage.hops = vec![Hop {
                level: key.key.level,
                why: LevelReason::Account,
            }];
        }
    }
}

impl Relay {
    /// Finds what a call refers to; what the calls inside it do has been found.
    ///
    /// # Errors
    /// When something of it is not the caller's, or its key is gone.
    pub(super) async fn refer(
        &self,
        snapshot: &Snapshot,
        caller: &Account,
        (found, path): (Found, &str),
        (facts, body, inside): (&RequestFacts, &Bytes, Vec<Reference>),
    ) -> Result<Referred, Refusal> {
        let row = match found {
            Found::Row(row) => Some(row),
            Found::Misspelt | Found::Unknown => None,
        };
        let known = (found.route(), facts.cues);
        let find = |body: &[u8], (route, cues): &_| references::find(body, *route, *cues);
        let in_body = request::beside(body, &known, find).await?;
        let mut in_body = in_body.map_err(|unclear| Refusal::Malformed(unclear.to_string()))?;
        in_body.extend(facts.in_form.iter().cloned());
        in_body.extend(inside);
        // A list's name, say, stands where ids do.
        let own = row.is_none_or(Endpoint::names_object);
        let by_path = own.then(|| endpoint::object(path)).flatten();
        let named = named(by_path, facts, &in_body);
        if named.is_empty() {
            return Ok(Referred::default());
        }
        let ids: Vec<_> = named.iter().map(|named| named.id).collect();
        let known = self.live.objects().find(&ids).await;
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
            _ => Ok(Referred { only, about, known }),
        }
    }

    /// The work that an object can tell the end of, and that is yet to be paid.
    fn work_of(&self, about: &Arc<Owned>) -> Option<Arc<Owned>> {
        match about.kind {
            Kind::File => self.live.objects().batch_of(&about.id),
            _ => Some(about).filter(|it| it.pending.is_some()).cloned(),
        }
    }

    /// What is to be made of the answer; none when nothing is.
    pub(super) fn follow(
        &self,
        found: Found,
        facts: &RequestFacts,
        later: &Later,
        about: Option<&Arc<Owned>>,
    ) -> Option<Box<Follow>> {
        let Found::Row(row) = found else {
            return None;
        };
        let later = *later == Later::Held;
        let makes = row.makes.and_then(|kind| match kind {
            Kind::Completion if later => Some(Kind::Deferred),
            Kind::Completion => (facts.store == Some(true)).then_some(kind),
            Kind::Response => (later || facts.store != Some(false)).then_some(kind),
            _ => Some(kind),
        });
        let deletes = about.filter(|_| row.deletes()).cloned();
        let work = about.and_then(|about| self.work_of(about));
        let follow = Follow {
            live: Arc::clone(&self.live),
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

/// All that a call refers to.
fn named<'a>(
    by_path: Option<(Kind, &'a str)>,
    facts: &'a RequestFacts,
    in_body: &'a [Reference],
) -> Vec<Named<'a>> {
    let by_path = by_path.map(|(kind, id)| Named {
        kind,
        id,
        by_path: true,
    });
    let member = |kind, id: &'a Option<String>| {
        id.as_deref().map(|id| Named {
            kind,
            id,
            by_path: false,
        })
    };
    let in_body = in_body.iter().map(|(kind, id)| Named {
        kind: *kind,
        id,
        by_path: false,
    });
    let members = [
        member(Kind::Response, &facts.previous),
        member(Kind::Conversation, &facts.conversation),
    ];
    let all = by_path.into_iter().chain(members.into_iter().flatten());
    all.chain(in_body).collect()
}

/// The further client key that an object was made with, as long as it is there.
pub(super) fn key_of(snapshot: &Snapshot, object: &Owned) -> Option<Arc<FurtherKeyState>> {
    let key = snapshot.further_key(object.account, object.client_key?);
    key.map(Arc::clone)
}

/// What an account makes goes to one key as long as that can be used, so that it can be used together.
pub(super) fn of_account(account: AccountId) -> Conversation {
    Conversation::new([account.get().to_string().as_bytes()])
}

impl Follow {
    /// Whether what the answer says of objects matters.
    pub(super) const fn listens(&self) -> bool {
        self.makes.is_some() || self.later || self.work.is_some()
    }

    /// Whether it makes something.
    pub(super) const fn makes(&self) -> bool {
        self.makes.is_some()
    }

    /// Whether it makes a file.
    pub(super) fn makes_file(&self) -> bool {
        self.makes == Some(Kind::File)
    }

    /// Whoever pays for the work that it may tell the end of, whoever asks.
    pub(super) fn payer(&self, snapshot: &Snapshot) -> Option<Caller> {
        let work = self.work.as_ref()?;
        snapshot.account(work.account).map(|account| Caller {
            account: Arc::clone(account),
            key: key_of(snapshot, work),
        })
    }

    /// Of work that is over, fetched by the gateway.
    pub(super) fn of_work(live: &Arc<Live>, work: Arc<Owned>) -> Self {
        Self {
            live: Arc::clone(live),
            makes: None,
            later: false,
            work: Some(work),
            deletes: None,
            calls: None,
        }
    }

    /// Notes in a bill what an answer did, and says what it comes to. Of an answer that is not `whole` only what it
    /// made counts.
    pub(super) fn conclude(
        &self,
        bill: &mut Bill,
        reader: Option<&UsageReader>,
        whole: bool,
    ) -> Come {
        let Some(key) = bill.key().map(|key| key.key.id) else {
            return Come::Usual;
        };
        if let Some(gone) = &self.deletes {
            self.live.objects().forgotten(key, &gone.id);
            bill.objects().forgets = Some(gone.id.clone());
        }
        let Some((reader, subject)) = reader.and_then(|it| Some((it, it.subject()?))) else {
            return Come::Usual;
        };
        let goes_on = self.later && !is_over(Kind::Response, subject, reader, whole);
        let made = self.made(subject, bill.record.start);
        if let Some(work) = &self.work {
            if let (Some(file), Kind::Batch) = (subject.output(), work.kind) {
                self.live.objects().results_are_in(file, Arc::clone(work));
            }
            let come = end_of(work, subject, reader, bill.record.status, whole);
            self.keep(bill, key, made, None);
            if matches!(come, Come::Settles | Come::CameToNothing) {
                self.live.objects().settled(key, &work.id);
                bill.settles(work);
            }
            return come;
        }
        let goes_on = goes_on
            && made
                .first()
                .is_some_and(|made| Some(made.kind) == self.makes);
        let pending = goes_on.then(|| Pending {
            model: bill.record.model_used.clone(),
            held: bill.held(),
        });
        self.keep(bill, key, made, pending);
        if goes_on { Come::GoesOn } else { Come::Usual }
    }

    /// What was made.
    fn made(&self, subject: &Subject, start: Millis) -> Vec<Made> {
        let of = |kind: Kind, id: &str, status: &str| Made {
            id: id.to_owned(),
            kind,
            expires: start.plus(kind.life_ms()),
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
    fn keep(&self, bill: &mut Bill, key: KeyId, made: Vec<Made>, pending: Option<Pending>) {
        if made.is_empty() {
            return;
        }
        for (at, made) in made.iter().enumerate() {
            self.live.objects().made(Owned {
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

/// Whether an answer tells that work is over.
fn end_of(work: &Owned, subject: &Subject, reader: &UsageReader, status: u16, whole: bool) -> Come {
    let ended = matches!(
        subject.status(),
        "completed" | "failed" | "cancelled" | "expired"
    );
    if work.kind == Kind::Batch && ended && whole && subject.output().is_none() {
        // It has no results that could be paid for.
        return Come::CameToNothing;
    }
    // Accepted is not done.
    if status != StatusCode::OK.as_u16() || !is_over(work.kind, subject, reader, whole) {
        return Come::Nothing;
    }
    let failed = matches!(subject.status(), "failed" | "cancelled" | "expired");
    if failed && reader.reported().is_none() {
        Come::CameToNothing
    } else {
        Come::Settles
    }
}

/// Whether the work that an answer is about is over.
fn is_over(kind: Kind, subject: &Subject, reader: &UsageReader, whole: bool) -> bool {
    match (kind, subject.status()) {
        // The results of a batch are there when it is over, and only then.
        (Kind::MessageBatch | Kind::Batch, _) => whole && subject.calls() > 0,
        (_, "completed" | "incomplete" | "failed" | "cancelled" | "expired") => whole,
        // Of what says nothing of itself, the usage says it.
        (_, "") => whole && reader.has_last_word(),
        _ => false,
    }
}

impl Bill {
    /// What its record says of objects.
    pub(super) fn objects(&mut self) -> &mut Objects {
        self.record.objects.get_or_insert_default()
    }

    /// It pays for work that was done meanwhile.
    pub(super) fn settles(&mut self, work: &Owned) {
        if let Some(pending) = &work.pending {
            self.record.model_asked.clone_from(&pending.model);
            self.record.model_used.clone_from(&pending.model);
        }
        let settlement = format!("{:016x}", fastrand::u64(..));
        self.objects().settles = Some(Settles {
            id: work.id.clone(),
            settlement,
        });
    }
}
