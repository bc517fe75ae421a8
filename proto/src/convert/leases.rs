//! Leases of credit, requests for them and their replies, and posted balances.

use crate::{
    Invalid,
    id::{AccountId, ClientKeyId},
    lease::{LeaseAnswer, LeaseAsk, LeaseShortage, LeasedCredit, PayerId, PostedBalance},
    money::Money,
    wire,
};

/// Reads a payer; a client key of 0 means none.
///
/// # Errors
/// Errors if an id is invalid.
pub(super) fn payer_from_wire(account: i64, client_key: i64) -> Result<PayerId, Invalid> {
    Ok(PayerId {
        account: AccountId::new(account).map_err(|error| error.under("account_id"))?,
        client_key: client_key_from_wire(client_key)?,
    })
}

/// Reads a client key; 0 means none.
///
/// # Errors
/// Errors if it is negative.
pub(super) fn client_key_from_wire(id: i64) -> Result<Option<ClientKeyId>, Invalid> {
    let given = Some(id).filter(|id| *id != 0).map(ClientKeyId::new);
    given
        .transpose()
        .map_err(|error| error.under("client_key_id"))
}

/// A client key for the wire; 0 for none.
pub(super) fn client_key_to_wire(id: Option<ClientKeyId>) -> i64 {
    id.map_or(0, ClientKeyId::get)
}

/// Reads a lease.
///
/// # Errors
/// Errors if its account's id is invalid, or its amount is negative.
pub fn lease_from_wire(lease: wire::Lease) -> Result<LeasedCredit, Invalid> {
    let wire::Lease {
        account_id,
        version,
        amount_nanos,
        client_key_id,
    } = lease;
    if amount_nanos < 0 {
        return Err(Invalid::new("amount_nanos", "must not be negative"));
    }
    Ok(LeasedCredit {
        payer: payer_from_wire(account_id, client_key_id)?,
        version,
        amount: Money::from_nanos(amount_nanos),
    })
}

/// A lease for the wire.
pub fn lease_to_wire(lease: &LeasedCredit) -> wire::Lease {
    let LeasedCredit {
        payer,
        version,
        amount,
    } = *lease;
    wire::Lease {
        account_id: payer.account.get(),
        version,
        amount_nanos: amount.nanos(),
        client_key_id: client_key_to_wire(payer.client_key),
    }
}

/// Reads a lease request.
///
/// # Errors
/// Errors if its account's id is invalid, or it needs more than it asks for.
pub fn ask_from_wire(ask: wire::LeaseAsk) -> Result<LeaseAsk, Invalid> {
    let wire::LeaseAsk {
        account_id,
        version,
        change_nanos,
        need_nanos,
        client_key_id,
    } = ask;
    if need_nanos < 0 || need_nanos > change_nanos.max(0) {
        return Err(Invalid::new(
            "asks.need_nanos",
            "must be from 0 to change_nanos",
        ));
    }
    Ok(LeaseAsk {
        payer: payer_from_wire(account_id, client_key_id)?,
        version,
        change: Money::from_nanos(change_nanos),
        need: Money::from_nanos(need_nanos),
    })
}

/// A lease request for the wire.
pub fn ask_to_wire(ask: &LeaseAsk) -> wire::LeaseAsk {
    let LeaseAsk {
        payer,
        version,
        change,
        need,
    } = *ask;
    wire::LeaseAsk {
        account_id: payer.account.get(),
        version,
        change_nanos: change.nanos(),
        need_nanos: need.nanos(),
        client_key_id: client_key_to_wire(payer.client_key),
    }
}

/// Reads the reply to a lease request.
///
/// # Errors
/// Errors if the lease or the balance is missing or cannot be read.
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
            wire::LeaseShortage::Balance => Some(LeaseShortage::Balance),
            wire::LeaseShortage::Month => Some(LeaseShortage::Month),
        },
        elsewhere: Money::from_nanos(elsewhere_nanos),
    })
}

/// The reply to a lease request for the wire.
pub fn answer_to_wire(answer: &LeaseAnswer) -> wire::LeaseAnswer {
    let LeaseAnswer {
        lease,
        standing,
        shortage,
        elsewhere,
    } = answer;
    let shortage = match shortage {
        None => wire::LeaseShortage::Unspecified,
        Some(LeaseShortage::Balance) => wire::LeaseShortage::Balance,
        Some(LeaseShortage::Month) => wire::LeaseShortage::Month,
    };
    wire::LeaseAnswer {
        lease: Some(lease_to_wire(lease)),
        standing: Some(standing_to_wire(standing)),
        shortage: shortage.into(),
        elsewhere_nanos: elsewhere.nanos(),
    }
}

/// Reads a posted balance.
///
/// # Errors
/// Errors if the account id is invalid.
pub fn standing_from_wire(standing: &wire::Standing) -> Result<PostedBalance, Invalid> {
    let wire::Standing {
        account_id,
        balance_nanos,
        month_used_nanos,
    } = *standing;
    Ok(PostedBalance {
        account: AccountId::new(account_id).map_err(|error| error.under("account_id"))?,
        balance: Money::from_nanos(balance_nanos),
        month_used: Money::from_nanos(month_used_nanos),
    })
}

/// A posted balance for the wire.
pub fn standing_to_wire(standing: &PostedBalance) -> wire::Standing {
    let PostedBalance {
        account,
        balance,
        month_used,
    } = *standing;
    wire::Standing {
        account_id: account.get(),
        balance_nanos: balance.nanos(),
        month_used_nanos: month_used.nanos(),
    }
}
