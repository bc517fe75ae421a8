//! The objects at providers that a call refers to.

use std::sync::Arc;

use bytes::Bytes;
use proxyxai_contract::{
    id::{AccountId, KeyId},
    object::{ObjectKind, OwnedObject, PendingWork},
    plan::{LevelReason, PlanLevel, RoutePlan},
};

use super::{admission::CallerContext, context::Relay, request};
use crate::{
    decide::{
        admit::Refusal,
        endpoint_access::EndpointRequest,
        own::{self, ObjectReference},
    },
    formats::{
        conversation::ConversationHash,
        endpoint::{self, Endpoint, EndpointMatch},
        references::{self, Reference},
        request::RequestFacts,
    },
    state::{FurtherKeyState, Snapshot},
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
        let mut files = self
            .known
            .iter()
            .filter(|one| one.kind == ObjectKind::File && self.only == Some(one.key));
        // Of several, it is unknown which one the provider takes.
        let the_one = files
            .next()
            .filter(|first| files.all(|other| other.id == first.id));
        let calls = the_one.and_then(|file| file.calls.clone());
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

/// The objects that a body refers to, with those of the calls inside it, which have been found already.
///
/// # Errors
/// Errors if a reference is unclear.
pub(super) async fn named_in_body(
    found: EndpointMatch,
    facts: &RequestFacts,
    body: &Bytes,
    inside: Vec<Reference>,
) -> Result<Vec<Reference>, Refusal> {
    let known = (found.route(), facts.cues);
    let find = |body: &[u8], (route, cues): &_| references::find(body, *route, *cues);
    let mut named = request::beside(body, &known, find)
        .await?
        .map_err(|unclear| Refusal::Malformed(unclear.to_string()))?;
    named.extend(facts.in_form.iter().cloned());
    named.extend(inside);
    Ok(named)
}

/// Finds the objects that a call refers to.
///
/// # Errors
/// Errors if one is not the caller's, or its key is gone.
pub(super) async fn find_references(
    relay: &Relay,
    context: CallerContext<'_>,
    asked: EndpointRequest<'_>,
    facts: &RequestFacts,
    in_body: &[Reference],
) -> Result<ReferencedObjects, Refusal> {
    let CallerContext {
        snapshot, caller, ..
    } = context;
    let caller = &caller.account.account;
    let row = match asked.found {
        EndpointMatch::Row(row) => Some(row),
        EndpointMatch::Misspelt | EndpointMatch::Unknown => None,
    };
    // On some paths another name stands in the place of an id, such as a list's.
    let names_object = row.is_none_or(Endpoint::names_object);
    let by_path = names_object.then(|| endpoint::object(asked.path)).flatten();
    let named = named(by_path, facts, in_body);
    if named.is_empty() {
        return Ok(ReferencedObjects::default());
    }
    let ids: Vec<_> = named.iter().map(|named| named.id).collect();
    let objects = relay.state.objects();
    let known = objects.find(&ids).await.map_err(|_| Refusal::Unavailable)?;
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
    let about = about
        .and_then(|about| known.iter().find(|one| &***one == about))
        .cloned();
    let deletes = row.is_some_and(Endpoint::deletes);
    match &about {
        Some(about) if deletes && work_of(relay, about).is_some() => Err(Refusal::UnderWay {
            id: about.id.clone(),
        }),
        _ => Ok(ReferencedObjects { only, about, known }),
    }
}

/// The work that an object can report as ended, and that is not charged yet.
pub(super) fn work_of(relay: &Relay, about: &Arc<OwnedObject>) -> Option<Arc<OwnedObject>> {
    match about.kind {
        ObjectKind::File => relay.state.objects().batch_of(&about.id),
        _ => Some(about).filter(|it| it.pending.is_some()).cloned(),
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
