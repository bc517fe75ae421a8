//! Accounts and upstream keys, converted between rows and the values that operations use.

use std::{collections::BTreeMap, num::NonZeroU32};

use proxyxai_contract::{
    Invalid,
    access::AllowList,
    client_key::KeyHash,
    clock::Millis,
    id::{AccountId, KeyId, Level},
    key_headers::KeyHeaders,
    key_price::KeyPrice,
    money::{Money, Multiplier},
    provider::ProviderType,
    routing::{LevelMapper, ModelFailover, ModelMapper, RoutingRules, SwitchOver},
    snapshot::{AccessLists, AccountConfig, HealthState, KeyConfig},
    window::{ModelLimits, RateLimits},
};
use sea_orm::{ActiveValue::Set, QueryResult};
use serde::{Deserialize, Serialize};

use super::{
    corrupt,
    entity::{account, upstream_key},
    signed, unsigned,
};
use crate::{
    Error,
    domain::{account::Dna, name},
    model::{Account, AddressVerification, Card, UpstreamKey, VerifiedAddresses, VerifiedBy},
};

/// An integer column of a query's result.
pub(super) fn number(row: &QueryResult, column: &str) -> Result<i64, Error> {
    row.try_get("", column).map_err(Error::from)
}

/// An account, with the fields that are not shown.
#[derive(Debug, Clone)]
pub(crate) struct AccountRecord {
    /// The fields that may be shown. `children` and `public_key` are filled on request.
    pub(crate) account: Account,
    /// By how much charges exceeded the cards.
    pub(crate) debt: Money,
    /// The part of the balance that data planes have on lease.
    pub(crate) leased: Money,
    /// `None` once deleted.
    pub(crate) key_hash: Option<KeyHash>,
    /// When it was deleted.
    pub(crate) deleted: Option<Millis>,
    /// Deleted, and no living descendant inherits from it.
    pub(crate) gone: bool,
    /// The account that gets the remaining credit after deletion, and pays the debt.
    pub(crate) heir: Option<AccountId>,
    /// What is due of the fee for deleting it, in the heir's units.
    pub(crate) fee_due: Money,
    /// Deleted, and in-flight calls may still cost something.
    pub(crate) closing: bool,
    /// The revision of the last change.
    pub(crate) revision: u64,
    /// The stored unique key of the name; empty before the account is stored.
    pub(crate) stored_name_key: String,
    /// The cards as stored.
    pub(crate) stored_cards: Vec<Card>,
}

/// An upstream key with its sealed secret.
#[derive(Debug, Clone)]
pub(crate) struct KeyRecord {
    /// The fields that may be shown; the health is always ready here.
    pub(crate) key: UpstreamKey,
    /// The sealed secret. The vault opens it with the provider as context.
    pub(crate) sealed: Vec<u8>,
    /// Equal for equal secrets.
    pub(crate) fingerprint: Vec<u8>,
    /// When it was deleted.
    pub(crate) deleted: Option<Millis>,
    /// The revision of the last change.
    pub(crate) revision: u64,
}

#[derive(Serialize, Deserialize)]
struct StoredConfig {
    provider_type: String,
    include_usage: bool,
    models: Vec<String>,
    /// Rows of older versions have none of these.
    #[serde(default)]
    weight: i64,
    #[serde(default)]
    max_concurrency: u32,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    price: String,
    #[serde(default)]
    model_names: BTreeMap<String, String>,
}

// === impl AccountRecord ===

impl AccountRecord {
    /// Reads a row. The caller fills in cards, balance and children.
    pub(super) fn from_row(row: account::Model) -> Result<Self, Error> {
        let id = row.id;
        read_account(row).map_err(|error| corrupt("account", id, error))
    }

    /// All columns, for inserting or updating.
    pub(super) fn to_row(&self) -> account::ActiveModel {
        let view = &self.account;
        let limits = &view.limits;
        account::ActiveModel {
            id: Set(view.id.get()),
            parent_id: Set(view.parent.map(AccountId::get)),
            dna: Set(view.dna.clone()),
            name: Set(view.name.clone()),
            name_key: Set(self.name_key()),
            email: Set(view.email.clone()),
            alias: Set(view.alias.clone()),
            billing_email: Set(view.billing_email.clone()),
            qr_code: Set(view.qr_code.clone()),
            key_hash: Set(self.key_hash.map(|hash| hash.0.to_vec())),
            partial_key: Set(view.partial_key.clone()),
            level: Set(view.level.get().into()),
            gear: Set(view.gear.into()),
            role: Set(view.role.into()),
            tier: Set(view.tier.into()),
            rates: Set(view.rates.micros()),
            factor: Set(view.factor.micros()),
            debt: Set(self.debt.nanos()),
            leased: Set(self.leased.nanos()),
            credit_granted: Set(view.credit_granted.nanos()),
            credit_used: Set(view.credit_used.nanos()),
            requests: Set(signed(view.requests)),
            hard_limit: Set(view.hard_limit.map(Money::nanos)),
            soft_limit: Set(view.soft_limit.map(Money::nanos)),
            auto_quota: Set(view.auto_quota.nanos()),
            rpm: Set(signed(limits.rpm)),
            rph: Set(signed(limits.rph)),
            rpd: Set(signed(limits.rpd)),
            tpm: Set(signed(limits.tpm)),
            tph: Set(signed(limits.tph)),
            tpd: Set(signed(limits.tpd)),
            allow_ips: Set(view.access.ips.text()),
            allow_models: Set(view.access.models.text()),
            allow_levels: Set(view.access.levels.text()),
            resources: Set(view.access.resources.text()),
            model_mapper: Set(view.routing.model_mapper.text()),
            level_mapper: Set(view.routing.level_mapper.text()),
            switch_over: Set(view.routing.switch_over.text()),
            model_failover: Set(view.routing.model_failover.text()),
            child_limit: Set(signed(view.child_limit)),
            enabled: Set(view.enabled),
            suspended: Set(view.suspended),
            created_at: Set(view.created.0),
            updated_at: Set(view.updated.0),
            deleted_at: Set(self.deleted.map(|at| at.0)),
            gone: Set(self.gone),
            revision: Set(signed(self.revision)),
            model_limits: Set(view.model_limits.text()),
            calls_max: Set(view.calls_max.map_or(0, |most| most.get().into())),
            heir: Set(self.heir.map(AccountId::get)),
            fee_due: Set(self.fee_due.nanos()),
            closing: Set(self.closing),
            email_verified_at: Set(view.addresses.email.map(|it| it.at.0)),
            email_verified_by: Set(verified_by(view.addresses.email)),
            billing_verified_at: Set(view.addresses.billing.map(|it| it.at.0)),
            billing_verified_by: Set(verified_by(view.addresses.billing)),
        }
    }

    /// The unique key of the name. An older account whose name differs from another in case alone keeps its own key as
    /// long as it keeps its name.
    pub(super) fn name_key(&self) -> String {
        let folded = name::folded(&self.account.name);
        if name::is_key_of(&self.stored_name_key, &folded) {
            return self.stored_name_key.clone();
        }
        folded
    }

    /// Ids of the ancestors, root first.
    pub(crate) fn ancestors(&self) -> Vec<AccountId> {
        let mut ids = Dna::parse(&self.account.dna).map_or_else(|_| Vec::new(), |dna| dna.ids());
        ids.pop();
        ids
    }

    /// Recomputes the balance: what live cards hold, less debt.
    pub(crate) fn refresh_balance(&mut self, now: Millis) {
        let live: Money = self
            .account
            .cards
            .iter()
            .filter(|card| card.is_live(now))
            .map(|card| card.balance)
            .sum();
        self.account.balance = live.saturating_sub(self.debt);
    }
}

fn read_account(row: account::Model) -> Result<AccountRecord, Invalid> {
    let hash = |bytes: Vec<u8>| {
        <[u8; 32]>::try_from(bytes)
            .map(KeyHash)
            .map_err(|_| Invalid::new("key_hash", "must be 32 bytes"))
    };
    let (access, routing, limits) = (read_access(&row)?, read_routing(&row)?, read_limits(&row));
    Ok(AccountRecord {
        debt: Money::from_nanos(row.debt),
        leased: Money::from_nanos(row.leased),
        key_hash: row.key_hash.map(hash).transpose()?,
        deleted: row.deleted_at.map(Millis),
        gone: row.gone,
        heir: row.heir.map(AccountId::new).transpose()?,
        fee_due: Money::from_nanos(row.fee_due),
        closing: row.closing,
        revision: unsigned(row.revision),
        stored_name_key: row.name_key,
        stored_cards: Vec::new(),
        account: Account {
            id: AccountId::new(row.id)?,
            parent: row.parent_id.map(AccountId::new).transpose()?,
            dna: row.dna,
            name: row.name,
            email: row.email,
            alias: row.alias,
            billing_email: row.billing_email,
            qr_code: row.qr_code,
            partial_key: row.partial_key,
            public_key: String::new(),
            level: Level::new(row.level)?,
            gear: u8::try_from(row.gear).map_err(|_| Invalid::new("gear", "is out of range"))?,
            role: i32::try_from(row.role).map_err(|_| Invalid::new("role", "is out of range"))?,
            tier: i32::try_from(row.tier).map_err(|_| Invalid::new("tier", "is out of range"))?,
            rates: Multiplier::from_micros(row.rates)?,
            factor: Multiplier::from_micros(row.factor)?,
            cards: Vec::new(),
            balance: Money::from_nanos(row.debt).negated(),
            credit_granted: Money::from_nanos(row.credit_granted),
            credit_used: Money::from_nanos(row.credit_used),
            requests: unsigned(row.requests),
            hard_limit: row.hard_limit.map(Money::from_nanos),
            soft_limit: row.soft_limit.map(Money::from_nanos),
            auto_quota: Money::from_nanos(row.auto_quota),
            limits,
            model_limits: ModelLimits::parse(&row.model_limits)?,
            calls_max: AccountConfig::calls_of(row.calls_max)?,
            access,
            routing,
            children: 0,
            child_limit: unsigned(row.child_limit),
            enabled: row.enabled,
            suspended: row.suspended,
            addresses: VerifiedAddresses {
                email: verified(row.email_verified_at, &row.email_verified_by),
                billing: verified(row.billing_verified_at, &row.billing_verified_by),
            },
            created: Millis(row.created_at),
            updated: Millis(row.updated_at),
        },
    })
}

fn verified(at: Option<i64>, by: &str) -> Option<AddressVerification> {
    let by = if by == VerifiedBy::Root.as_str() {
        VerifiedBy::Root
    } else {
        VerifiedBy::Link
    };
    at.map(|at| AddressVerification { at: Millis(at), by })
}

fn verified_by(verified: Option<AddressVerification>) -> String {
    verified.map_or_else(String::new, |it| it.by.as_str().to_owned())
}

const fn read_limits(row: &account::Model) -> RateLimits {
    const fn window(count: i64) -> u64 {
        if count < 0 { 0 } else { count.unsigned_abs() }
    }
    RateLimits {
        rpm: window(row.rpm),
        rph: window(row.rph),
        rpd: window(row.rpd),
        tpm: window(row.tpm),
        tph: window(row.tph),
        tpd: window(row.tpd),
    }
}

fn read_access(row: &account::Model) -> Result<AccessLists, Invalid> {
    Ok(AccessLists {
        ips: AllowList::parse(&row.allow_ips)?,
        models: AllowList::parse(&row.allow_models)?,
        levels: AllowList::parse(&row.allow_levels)?,
        resources: AllowList::parse(&row.resources)?,
    })
}

fn read_routing(row: &account::Model) -> Result<RoutingRules, Invalid> {
    Ok(RoutingRules {
        model_mapper: ModelMapper::parse(&row.model_mapper)?,
        level_mapper: LevelMapper::parse(&row.level_mapper)?,
        switch_over: SwitchOver::parse(&row.switch_over)?,
        model_failover: ModelFailover::parse(&row.model_failover)?,
    })
}

// === impl KeyRecord ===

impl KeyRecord {
    pub(super) fn from_row(row: upstream_key::Model) -> Result<Self, Error> {
        let id = row.id;
        let config = serde_json::from_str(&row.config)
            .map_err(|error| corrupt("upstream key", id, error))?;
        read_key(row, config).map_err(|error| corrupt("upstream key", id, error))
    }

    /// All columns but the id.
    pub(super) fn to_row(&self) -> Result<upstream_key::ActiveModel, Error> {
        let KeyConfig {
            provider_type,
            include_usage,
            models,
            model_names,
            weight,
            max_concurrency,
            headers,
            price,
        } = &self.key.config;
        let config = StoredConfig {
            provider_type: provider_type.as_str().to_owned(),
            include_usage: *include_usage,
            models: models.clone(),
            model_names: model_names.clone(),
            weight: (*weight).into(),
            max_concurrency: max_concurrency.map_or(0, NonZeroU32::get),
            headers: headers.texts(),
            price: price.text(),
        };
        Ok(upstream_key::ActiveModel {
            name: Set(self.key.name.clone()),
            sealed: Set(self.sealed.clone()),
            fingerprint: Set(self.fingerprint.clone()),
            hint: Set(self.key.secret_hint.clone()),
            provider: Set(self.key.provider.clone()),
            level: Set(self.key.level.get().into()),
            enabled: Set(self.key.enabled),
            config: Set(serde_json::to_string(&config).map_err(Error::internal)?),
            created_at: Set(self.key.created.0),
            updated_at: Set(self.key.updated.0),
            deleted_at: Set(self.deleted.map(|at| at.0)),
            revision: Set(signed(self.revision)),
            ..Default::default()
        })
    }
}

fn read_key(row: upstream_key::Model, config: StoredConfig) -> Result<KeyRecord, Invalid> {
    let StoredConfig {
        provider_type,
        include_usage,
        models,
        weight,
        max_concurrency,
        headers,
        price,
        model_names,
    } = config;
    let config = KeyConfig {
        provider_type: ProviderType::parse(&provider_type)?,
        include_usage,
        models,
        model_names,
        weight: KeyConfig::weight_of(weight)?,
        max_concurrency: KeyConfig::concurrency_of(max_concurrency.into())?,
        headers: KeyHeaders::parse(
            headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        )?,
        price: KeyPrice::parse(&price)?,
    };
    Ok(KeyRecord {
        sealed: row.sealed,
        fingerprint: row.fingerprint,
        deleted: row.deleted_at.map(Millis),
        revision: unsigned(row.revision),
        key: UpstreamKey {
            id: KeyId::new(row.id)?,
            name: row.name,
            provider: row.provider,
            level: Level::new(row.level)?,
            enabled: row.enabled,
            config,
            secret_hint: row.hint,
            health: HealthState::Ready,
            health_reason: String::new(),
            created: Millis(row.created_at),
            updated: Millis(row.updated_at),
        },
    })
}
