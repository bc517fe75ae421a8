//! Objects kept by providers, and the accounts that own them.

use std::mem::take;

use super::{
    leases::{client_key_from_wire, client_key_to_wire},
    millis_from_wire, millis_to_wire,
};
use crate::{
    Invalid,
    clock::Millis,
    id::{AccountId, KeyId},
    money::Money,
    object::{
        CallObjects, CreatedObject, DueWork, ObjectKind, ObjectSettlement, OwnedObject, PendingWork,
    },
    wire,
};

/// Reads an object with its owner.
///
/// # Errors
/// Errors if a field cannot be read; the error names it.
pub fn owned_from_wire(entry: wire::ObjectEntry) -> Result<OwnedObject, Invalid> {
    let wire::ObjectEntry {
        id,
        kind,
        account_id,
        key_id,
        create_time,
        expire_time,
        status,
        pending,
        model,
        held_nanos,
        client_key_id,
    } = entry;
    Ok(OwnedObject {
        id,
        kind: self::kind(&kind)?,
        account: AccountId::new(account_id).map_err(|error| error.under("account_id"))?,
        client_key: client_key_from_wire(client_key_id)?,
        key: KeyId::new(key_id).map_err(|error| error.under("key_id"))?,
        created: millis_from_wire("create_time", create_time.as_ref())?,
        expires: millis_from_wire("expire_time", expire_time.as_ref())?,
        status,
        pending: pending.then(|| work(&model, held_nanos)),
        calls: (!pending && !model.is_empty()).then(|| work(&model, held_nanos)),
    })
}

/// An object with its owner for the wire.
pub fn owned_to_wire(owned: &OwnedObject) -> wire::ObjectEntry {
    let OwnedObject {
        id,
        kind,
        account,
        client_key,
        key,
        created,
        expires,
        status,
        pending,
        calls,
    } = owned;
    let work = pending.as_ref().or(calls.as_ref());
    wire::ObjectEntry {
        id: id.clone(),
        kind: kind.as_str().to_owned(),
        account_id: account.get(),
        key_id: key.get(),
        create_time: Some(millis_to_wire(*created)),
        expire_time: Some(millis_to_wire(*expires)),
        status: status.clone(),
        pending: pending.is_some(),
        model: work.map_or_else(String::new, |work| work.model.clone()),
        held_nanos: work.map_or(0, |work| work.held.nanos()),
        client_key_id: client_key_to_wire(*client_key),
    }
}

/// Reads due work.
///
/// # Errors
/// Errors if a field cannot be read; the error names it.
pub fn due_from_wire(work: wire::DueWork) -> Result<DueWork, Invalid> {
    let object = work.object.ok_or(Invalid::new("object", "is missing"))?;
    Ok(DueWork {
        object: owned_from_wire(object).map_err(|error| error.under("object"))?,
        overdue: work.overdue,
    })
}

/// Due work for the wire.
pub fn due_to_wire(due: &DueWork) -> wire::DueWork {
    wire::DueWork {
        object: Some(owned_to_wire(&due.object)),
        overdue: due.overdue,
    }
}

/// Takes the objects out of a record. Returns `None` if it has none. Fields that cannot be read stay as they were.
pub(super) fn objects_from_wire(
    made: &mut [wire::MadeObject],
    (pending, held_nanos): (bool, i64),
    (settles, settlement): (&mut String, &mut String),
    forgets: &mut String,
) -> Result<Option<Box<CallObjects>>, Invalid> {
    if held_nanos < 0 {
        return Err(Invalid::new("held_nanos", "must not be negative"));
    }
    let facts: Result<Vec<_>, Invalid> = made.iter().map(facts_of_made).collect();
    let made = made.iter_mut().zip(facts?).map(made_from_wire).collect();
    let objects = CallObjects {
        made,
        pending,
        held: Money::from_nanos(held_nanos),
        settles: (!settles.is_empty()).then(|| ObjectSettlement {
            id: take(settles),
            settlement: take(settlement),
        }),
        forgets: (!forgets.is_empty()).then(|| take(forgets)),
    };
    Ok((objects != CallObjects::default()).then(|| Box::new(objects)))
}

/// Writes the objects into a record.
pub(super) fn objects_into_wire(objects: Option<&CallObjects>, record: &mut wire::UsageRecord) {
    let Some(objects) = objects else {
        return;
    };
    let CallObjects {
        made,
        pending,
        held,
        settles,
        forgets,
    } = objects;
    record.made = made.iter().map(made_to_wire).collect();
    (record.pending, record.held_nanos) = (*pending, held.nanos());
    if let Some(ObjectSettlement { id, settlement }) = settles {
        record.settles.clone_from(id);
        record.settlement.clone_from(settlement);
    }
    record.forgets = forgets.clone().unwrap_or_default();
}

/// The fields of a created object that may be invalid.
fn facts_of_made(made: &wire::MadeObject) -> Result<(ObjectKind, Millis), Invalid> {
    let expires = millis_from_wire("expire_time", made.expire_time.as_ref());
    Ok((kind(&made.kind)?, expires?))
}

fn made_from_wire(
    (made, (kind, expires)): (&mut wire::MadeObject, (ObjectKind, Millis)),
) -> CreatedObject {
    let wire::MadeObject {
        id,
        kind: _,
        expire_time: _,
        status,
        model,
        worth_nanos,
    } = made;
    CreatedObject {
        calls: (!model.is_empty()).then(|| PendingWork {
            model: take(model),
            held: Money::from_nanos(*worth_nanos),
        }),
        id: take(id),
        kind,
        expires,
        status: take(status),
    }
}

fn made_to_wire(made: &CreatedObject) -> wire::MadeObject {
    let CreatedObject {
        id,
        kind,
        expires,
        status,
        calls,
    } = made;
    let (model, worth) = calls.as_ref().map_or(Default::default(), |calls| {
        (calls.model.clone(), calls.held.nanos())
    });
    wire::MadeObject {
        id: id.clone(),
        kind: kind.as_str().to_owned(),
        expire_time: Some(millis_to_wire(*expires)),
        status: status.clone(),
        model,
        worth_nanos: worth,
    }
}

fn work(model: &str, nanos: i64) -> PendingWork {
    PendingWork {
        model: model.to_owned(),
        held: Money::from_nanos(nanos),
    }
}

/// Reads a kind.
///
/// # Errors
/// Errors if there is no such kind.
pub fn kind(text: &str) -> Result<ObjectKind, Invalid> {
    ObjectKind::parse(text).ok_or_else(|| Invalid::new("kind", "is not known"))
}
