//! Attempts and refused calls.

use super::{millis_from_wire, millis_to_wire, signed, unsigned};
use crate::{
    Invalid,
    attempt::{ATTEMPTS_MAX, Attempt, AttemptOutcome},
    id::{AccountId, KeyId, Level},
    refused_call::RefusedCall,
    wire,
};

/// Reads attempts. Leaves out those with an unknown outcome and those beyond the maximum.
pub(super) fn attempts_from_wire(attempts: &[wire::Attempt]) -> Result<Vec<Attempt>, Invalid> {
    let known = attempts
        .iter()
        .filter_map(|attempt| Some((attempt, outcome_from_wire(attempt.outcome)?)));
    let read = known.take(ATTEMPTS_MAX).map(|(attempt, outcome)| {
        let wire::Attempt {
            key_id,
            level,
            model,
            status,
            outcome: _,
            duration_ms,
        } = attempt;
        let status = u16::try_from(*status)
            .map_err(|_| Invalid::new("attempts.status", "is no HTTP status"))?;
        Ok(Attempt {
            key: KeyId::new(*key_id).map_err(|error| error.under("attempts.key_id"))?,
            level: Level::new((*level).into()).map_err(|error| error.under("attempts.level"))?,
            model: model.clone(),
            status: Some(status).filter(|status| *status != 0),
            outcome,
            duration_ms: unsigned("attempts.duration_ms", *duration_ms)?,
        })
    });
    read.collect()
}

/// An attempt for the wire.
pub fn attempt_to_wire(attempt: &Attempt) -> wire::Attempt {
    let Attempt {
        key,
        level,
        model,
        status,
        outcome,
        duration_ms,
    } = attempt;
    wire::Attempt {
        key_id: key.get(),
        level: level.get().into(),
        model: model.clone(),
        status: status.unwrap_or_default().into(),
        outcome: outcome_to_wire(*outcome),
        duration_ms: signed(*duration_ms),
    }
}

fn outcome_from_wire(outcome: i32) -> Option<AttemptOutcome> {
    let place = usize::try_from(outcome).ok()?.checked_sub(1)?;
    AttemptOutcome::ALL.get(place).copied()
}

const fn outcome_to_wire(outcome: AttemptOutcome) -> i32 {
    outcome as i32 + 1
}

/// Reads a refused call.
///
/// # Errors
/// Errors if a field cannot be read; the error names it.
pub fn refused_from_wire(call: wire::RefusedCall) -> Result<RefusedCall, Invalid> {
    let wire::RefusedCall {
        id,
        time,
        account_id,
        path,
        model,
        status,
        code,
        message,
        request_id,
        duration_ms,
        represents,
    } = call;
    let account = Some(account_id)
        .filter(|id| *id != 0)
        .map(AccountId::new)
        .transpose()
        .map_err(|error| error.under("account_id"))?;
    let represents = unsigned("represents", represents)?;
    if represents == 0 {
        return Err(Invalid::new("represents", "must be positive"));
    }
    let call = RefusedCall {
        id,
        at: millis_from_wire("time", time.as_ref())?,
        account,
        path,
        model,
        status: u16::try_from(status).map_err(|_| Invalid::new("status", "is no HTTP status"))?,
        code,
        message,
        request_id,
        duration_ms: unsigned("duration_ms", duration_ms)?,
        represents,
    };
    Ok(call.bounded())
}

/// A refused call for the wire.
pub fn refused_to_wire(call: &RefusedCall) -> wire::RefusedCall {
    let RefusedCall {
        id,
        at,
        account,
        path,
        model,
        status,
        code,
        message,
        request_id,
        duration_ms,
        represents,
    } = call;
    wire::RefusedCall {
        id: *id,
        time: Some(millis_to_wire(*at)),
        account_id: account.map_or(0, AccountId::get),
        path: path.clone(),
        model: model.clone(),
        status: (*status).into(),
        code: code.clone(),
        message: message.clone(),
        request_id: request_id.clone(),
        duration_ms: signed(*duration_ms),
        represents: signed(*represents),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Millis;

    #[test]
    fn outcomes_have_the_names_of_the_contract() {
        for outcome in AttemptOutcome::ALL {
            let wire = wire::AttemptOutcome::try_from(outcome_to_wire(outcome)).unwrap();
            assert_eq!(format!("{wire:?}"), format!("{outcome:?}"));
            assert_eq!(outcome_from_wire(wire.into()), Some(outcome));
            assert_eq!(AttemptOutcome::parse(outcome.as_str()), Some(outcome));
        }
        assert_eq!(outcome_from_wire(0), None);
        assert_eq!(outcome_from_wire(10), None);
    }

    #[test]
    fn attempts_that_are_too_many_or_unknown_are_left_out() {
        let wire = |outcome| wire::Attempt {
            key_id: 3,
            outcome,
            ..wire::Attempt::default()
        };
        assert_eq!(attempts_from_wire(&vec![wire(1); 40]).unwrap().len(), 16);
        assert_eq!(attempts_from_wire(&[wire(99), wire(2)]).unwrap().len(), 1);
        assert!(
            attempts_from_wire(&[wire::Attempt::default()])
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn a_refused_call_survives_the_wire() {
        let call = RefusedCall {
            id: -7,
            at: Millis(1_700_000_000_123),
            account: AccountId::new(5).ok(),
            path: "/v1/chat/completions".to_owned(),
            model: "m".to_owned(),
            status: 402,
            code: "insufficient_balance".to_owned(),
            message: "no".to_owned(),
            request_id: "r".to_owned(),
            duration_ms: 3,
            represents: 40,
        };
        assert_eq!(refused_from_wire(refused_to_wire(&call)).unwrap(), call);
        let unknown = RefusedCall {
            account: None,
            ..call
        };
        assert_eq!(refused_to_wire(&unknown).account_id, 0);
        let nobody = wire::RefusedCall {
            represents: 0,
            ..refused_to_wire(&unknown)
        };
        assert_eq!(refused_from_wire(nobody).unwrap_err().field, "represents");
    }
}
