//! Further client keys in the messages of service `Accounts`.

use proxyxai_contract::{
    Invalid,
    convert::{millis_from_wire, millis_to_wire},
    id::ClientKeyId,
    money::Money,
    wire,
};

use super::convert::{identifier, money};
use crate::{
    Error,
    model::{ClientKeyChange, ClientKeyInfo, Expiry, NewClientKey},
};

pub(super) fn key_to_wire(key: ClientKeyInfo) -> wire::ClientKey {
    let ClientKeyInfo {
        id,
        account,
        name,
        partial_key,
        enabled,
        expires,
        credit_limit,
        rpm,
        models,
        credit_used,
        requests,
        used,
        created,
        updated,
    } = key;
    wire::ClientKey {
        id: id.get(),
        account_id: account.get(),
        name,
        partial_key,
        enabled,
        expire_time: expires.map(millis_to_wire),
        credit_limit_nanos: credit_limit.map_or(0, Money::nanos),
        rpm: rpm.map_or(0, signed),
        allow_models: models.text(),
        credit_used_nanos: credit_used.nanos(),
        requests: signed(requests),
        use_time: used.map(millis_to_wire),
        create_time: Some(millis_to_wire(created)),
        update_time: Some(millis_to_wire(updated)),
    }
}

/// A new key and its account; `None` means the caller's.
pub(super) fn new_from_wire(
    request: wire::CreateClientKeyRequest,
) -> Result<(Option<String>, NewClientKey), Error> {
    let wire::CreateClientKeyRequest {
        account,
        name,
        expire_time,
        credit_limit_nanos,
        rpm,
        allow_models,
    } = request;
    let change = ClientKeyChange {
        name: None,
        enabled: None,
        expires: expire_time
            .map(|at| millis_from_wire("expire_time", Some(&at)).map(Expiry::At))
            .transpose()?,
        credit_limit: Some(money(credit_limit_nanos)),
        rpm: Some(unsigned(rpm)?),
        allow_models: Some(allow_models).filter(|models| !models.is_empty()),
    };
    Ok((whose(account)?, NewClientKey { name, change }))
}

/// A change, the key and its account; `None` means the caller's.
pub(super) fn change_from_wire(
    request: wire::UpdateClientKeyRequest,
) -> Result<(Option<String>, ClientKeyId, ClientKeyChange), Error> {
    let wire::UpdateClientKeyRequest {
        account,
        id,
        name,
        enabled,
        expire_time,
        never_expires,
        credit_limit_nanos,
        rpm,
        allow_models,
    } = request;
    let at = expire_time
        .map(|at| millis_from_wire("expire_time", Some(&at)).map(Expiry::At))
        .transpose()?;
    if at.is_some() && never_expires {
        return Err(Invalid::new("never_expires", "cannot be sent with expire_time").into());
    }
    let expires = at.or(never_expires.then_some(Expiry::Never));
    let change = ClientKeyChange {
        name,
        enabled,
        expires,
        credit_limit: credit_limit_nanos.map(money),
        rpm: rpm.map(unsigned).transpose()?,
        allow_models,
    };
    Ok((whose(account)?, key_id(id)?, change))
}

pub(super) fn whose(account: Option<wire::AccountRef>) -> Result<Option<String>, Error> {
    let named = account.map(|named| identifier(Some(named)));
    named.transpose()
}

pub(super) fn key_id(id: i64) -> Result<ClientKeyId, Error> {
    Ok(ClientKeyId::new(id)?)
}

fn unsigned(rpm: i64) -> Result<u64, Invalid> {
    u64::try_from(rpm).map_err(|_| Invalid::new("rpm", "must not be negative"))
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
