//! Accounts, with their windows and access lists, between the wire and the domain. Only the form is checked here:
//! whether a parent exists is checked by control.

use std::{collections::HashMap, num::NonZeroU32, sync::Arc};

use super::{
    millis_from_wire, millis_to_wire,
    settings::{routing_from_wire, routing_to_wire},
    signed, unsigned,
};
use crate::{
    Invalid,
    access::AllowList,
    client_key::KeyHash,
    id::{AccountId, ClientKeyId, Level},
    money::{Money, Multiplier},
    routing::RoutingRules,
    snapshot::{AccessLists, AccountConfig, FurtherKey},
    window::{ModelLimits, RateLimits},
    wire,
};

/// Lists and rules of the accounts of one update, each kept once: most accounts have the same ones.
#[derive(Debug, Default)]
pub(super) struct SharedParts {
    access: HashMap<wire::AccessLists, Arc<AccessLists>>,
    routing: HashMap<wire::RoutingRules, Arc<RoutingRules>>,
}

impl SharedParts {
    fn access(&mut self, lists: wire::AccessLists) -> Result<Arc<AccessLists>, Invalid> {
        if let Some(known) = self.access.get(&lists) {
            return Ok(Arc::clone(known));
        }
        let read = Arc::new(access_from_wire(&lists)?);
        self.access.insert(lists, Arc::clone(&read));
        Ok(read)
    }

    fn routing(&mut self, rules: wire::RoutingRules) -> Result<Arc<RoutingRules>, Invalid> {
        if let Some(known) = self.routing.get(&rules) {
            return Ok(Arc::clone(known));
        }
        let read = Arc::new(routing_from_wire(&rules)?);
        self.routing.insert(rules, Arc::clone(&read));
        Ok(read)
    }
}

pub(super) fn account_from_wire(
    entry: wire::AccountEntry,
    shared: &mut SharedParts,
) -> Result<AccountConfig, Invalid> {
    let wire::AccountEntry {
        id,
        parent_id,
        name,
        key_hash,
        enabled,
        level,
        gear,
        rates_micros,
        factor_micros,
        hard_limit_nanos,
        limits,
        access,
        routing,
        model_limits,
        calls_max,
        further_keys,
    } = entry;
    Ok(AccountConfig {
        id: AccountId::new(id)?,
        parent: if parent_id == 0 {
            None
        } else {
            Some(AccountId::new(parent_id).map_err(|e| e.under("parent_id"))?)
        },
        name,
        key_hash: match <[u8; 32]>::try_from(key_hash.as_slice()) {
            Ok(hash) => Some(KeyHash(hash)),
            Err(_) if key_hash.is_empty() => None,
            Err(_) => return Err(Invalid::new("key_hash", "must be 32 bytes or empty")),
        },
        enabled,
        level: Level::new(level.into())?,
        gear: u8::try_from(gear).map_err(|_| Invalid::new("gear", "is out of range"))?,
        rates: Multiplier::from_micros(rates_micros).map_err(|e| e.under("rates_micros"))?,
        factor: Multiplier::from_micros(factor_micros).map_err(|e| e.under("factor_micros"))?,
        hard_limit: (hard_limit_nanos > 0).then(|| Money::from_nanos(hard_limit_nanos)),
        limits: limits_from_wire(limits.unwrap_or_default())?,
        model_limits: ModelLimits::parse(&model_limits)?,
        calls_max: NonZeroU32::new(calls_max),
        access: shared.access(access.ok_or_else(|| Invalid::new("access", "is missing"))?)?,
        routing: shared.routing(routing.unwrap_or_default())?,
        further_keys: further_keys
            .into_iter()
            .map(further_key_from_wire)
            .collect::<Result<_, _>>()
            .map_err(|error| error.under("further_keys"))?,
    })
}

pub(super) fn account_to_wire(account: &AccountConfig) -> wire::AccountEntry {
    let AccountConfig {
        id,
        parent,
        name,
        key_hash,
        enabled,
        level,
        gear,
        rates,
        factor,
        hard_limit,
        limits,
        model_limits,
        calls_max,
        access,
        routing,
        further_keys,
    } = account;
    wire::AccountEntry {
        id: id.get(),
        parent_id: parent.map_or(0, AccountId::get),
        name: name.clone(),
        key_hash: key_hash.map(|hash| hash.0.to_vec()).unwrap_or_default(),
        enabled: *enabled,
        level: level.get().into(),
        gear: (*gear).into(),
        rates_micros: rates.micros(),
        factor_micros: factor.micros(),
        hard_limit_nanos: hard_limit.map_or(0, Money::nanos),
        limits: Some(limits_to_wire(limits)),
        access: Some(access_to_wire(access)),
        routing: Some(routing_to_wire(routing)),
        model_limits: model_limits.text(),
        calls_max: calls_max.map_or(0, NonZeroU32::get),
        further_keys: further_keys.iter().map(further_key_to_wire).collect(),
    }
}

fn further_key_from_wire(entry: wire::FurtherKeyEntry) -> Result<FurtherKey, Invalid> {
    let wire::FurtherKeyEntry {
        id,
        name,
        key_hash,
        enabled,
        expire_time,
        credit_limit_nanos,
        rpm,
        models,
    } = entry;
    let hash = <[u8; 32]>::try_from(key_hash.as_slice());
    let expires = expire_time.as_ref();
    Ok(FurtherKey {
        id: ClientKeyId::new(id)?,
        name,
        key_hash: hash
            .map(KeyHash)
            .map_err(|_| Invalid::new("key_hash", "must be 32 bytes"))?,
        enabled,
        expires: expires
            .map(|time| millis_from_wire("expire_time", Some(time)))
            .transpose()?,
        credit_limit: credit_limit_nanos.map(Money::from_nanos),
        rpm: rpm.map(|rpm| unsigned("rpm", rpm)).transpose()?,
        models: AllowList::parse(&models)?,
    })
}

fn further_key_to_wire(key: &FurtherKey) -> wire::FurtherKeyEntry {
    let FurtherKey {
        id,
        name,
        key_hash,
        enabled,
        expires,
        credit_limit,
        rpm,
        models,
    } = key;
    wire::FurtherKeyEntry {
        id: id.get(),
        name: name.clone(),
        key_hash: key_hash.0.to_vec(),
        enabled: *enabled,
        expire_time: expires.map(millis_to_wire),
        credit_limit_nanos: credit_limit.map(Money::nanos),
        rpm: rpm.map(signed),
        models: models.text(),
    }
}

/// Reads six windows.
///
/// # Errors
/// Errors if a window is missing or negative; the error names it.
pub fn limits_from_wire(limits: wire::RateLimits) -> Result<RateLimits, Invalid> {
    let wire::RateLimits {
        rpm,
        rph,
        rpd,
        tpm,
        tph,
        tpd,
    } = limits;
    Ok(RateLimits {
        rpm: unsigned("RPM", rpm)?,
        rph: unsigned("RPH", rph)?,
        rpd: unsigned("RPD", rpd)?,
        tpm: unsigned("TPM", tpm)?,
        tph: unsigned("TPH", tph)?,
        tpd: unsigned("TPD", tpd)?,
    })
}

/// Six windows for the wire.
pub fn limits_to_wire(limits: &RateLimits) -> wire::RateLimits {
    let RateLimits {
        rpm,
        rph,
        rpd,
        tpm,
        tph,
        tpd,
    } = *limits;
    wire::RateLimits {
        rpm: signed(rpm),
        rph: signed(rph),
        rpd: signed(rpd),
        tpm: signed(tpm),
        tph: signed(tph),
        tpd: signed(tpd),
    }
}

fn access_from_wire(access: &wire::AccessLists) -> Result<AccessLists, Invalid> {
    let wire::AccessLists {
        ips,
        models,
        levels,
        resources,
    } = access;
    Ok(AccessLists {
        ips: AllowList::parse(ips)?,
        models: AllowList::parse(models)?,
        levels: AllowList::parse(levels)?,
        resources: AllowList::parse(resources)?,
    })
}

/// Access lists for the wire.
pub fn access_to_wire(access: &AccessLists) -> wire::AccessLists {
    let AccessLists {
        ips,
        models,
        levels,
        resources,
    } = access;
    wire::AccessLists {
        ips: ips.text(),
        models: models.text(),
        levels: levels.text(),
        resources: resources.text(),
    }
}
