//! Leases of credit and what is asked and answered about them.

use super::{standing_from_wire, standing_to_wire};
use crate::{
    Invalid,
    id::AccountId,
    lease::{Lease, LeaseAnswer, LeaseAsk, Shortage},
    money::Money,
    wire,
};

/// Reads a lease.
///
/// # Errors
/// When its account's id cannot be one, or its amount is negative.
pub fn lease_from_wire(lease: wire::Lease) -> Result<Lease, Invalid> {
    let wire::Lease {
        account_id,
        version,
        amount_nanos,
    } = lease;
    if amount_nanos < 0 {
        return Err(Invalid::new("amount_nanos", "must not be negative"));
    }
    Ok(Lease {
        account: AccountId::new(account_id)?,
        version,
        amount: Money::from_nanos(amount_nanos),
    })
}

/// A lease for the wire.
pub fn lease_to_wire(lease: &Lease) -> wire::Lease {
    let Lease {
        account,
        version,
        amount,
    } = *lease;
    wire::Lease {
        account_id: account.get(),
        version,
        amount_nanos: amount.nanos(),
    }
}

/// Reads an ask.
///
/// # Errors
/// When its account's id cannot be one, or it needs more than it asks for.
pub fn ask_from_wire(ask: wire::LeaseAsk) -> Result<LeaseAsk, Invalid> {
    let wire::LeaseAsk {
        account_id,
        version,
        change_nanos,
        need_nanos,
    } = ask;
    if need_nanos < 0 || need_nanos > change_nanos.max(0) {
        return Err(Invalid::new(
            "asks.need_nanos",
            "must be from 0 to change_nanos",
        ));
    }
    Ok(LeaseAsk {
        account: AccountId::new(account_id)?,
        version,
        change: Money::from_nanos(change_nanos),
        need: Money::from_nanos(need_nanos),
    })
}

/// An ask for the wire.
pub fn ask_to_wire(ask: &LeaseAsk) -> wire::LeaseAsk {
    let LeaseAsk {
        account,
        version,
        change,
        need,
    } = *ask;
    wire::LeaseAsk {
        account_id: account.get(),
        version,
        change_nanos: change.nanos(),
        need_nanos: need.nanos(),
    }
}

/// Reads an answer.
///
/// # Errors
/// When the lease or the standing is missing or cannot be read.
pub fn answer_from_wire(answer: wire::LeaseAnswer) -> Result<LeaseAnswer, Invalid> {
    let shortage = answer.shortage();
    let wire::LeaseAnswer {
        lease,
        standing,
        shortage: _,
        elsewhere_nanos,
    } = answer;
    let standing = standing.ok_or_else(|| Invalid::new("standing", "is missing"))?;
    Ok(LeaseAnswer {
        lease: lease_from_wire(lease.ok_or_else(|| Invalid::new("lease", "is missing"))?)?,
        standing: standing_from_wire(&standing)?,
        shortage: match shortage {
            wire::LeaseShortage::Unspecified => None,
            wire::LeaseShortage::Balance => Some(Shortage::Balance),
            wire::LeaseShortage::Month => Some(Shortage::Month),
        },
        elsewhere: Money::from_nanos(elsewhere_nanos),
    })
}

/// An answer for the wire.
pub fn answer_to_wire(answer: &LeaseAnswer) -> wire::LeaseAnswer {
    let LeaseAnswer {
        lease,
        standing,
        shortage,
        elsewhere,
    } = answer;
    let shortage = match shortage {
        None => wire::LeaseShortage::Unspecified,
        Some(Shortage::Balance) => wire::LeaseShortage::Balance,
        Some(Shortage::Month) => wire::LeaseShortage::Month,
    };
    wire::LeaseAnswer {
        lease: Some(lease_to_wire(lease)),
        standing: Some(standing_to_wire(standing)),
        shortage: shortage.into(),
        elsewhere_nanos: elsewhere.nanos(),
    }
}
