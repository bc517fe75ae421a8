//! The details of an audit record: the fields that differ, before and after, with secrets masked. They are computed
//! from two views of one object, so no operation lists its own fields.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
};

use proxyxai_contract::{
    clock::Zone,
    id::AccountId,
    money::{Money, Multiplier},
    routing::RoutingRules,
    snapshot::{AccessLists, KeyConfig},
    window::RateLimits,
};
use serde_json::{Map, Value, json};

use crate::model::{Account, AddressVerification, ClientKeyInfo, NewsItem, UpstreamKey};

/// Shown instead of a secret.
pub(crate) const MASK: &str = "***";
/// Longer texts, such as a price table, are cut: the record shows what changed and is no backup.
const VALUE_CHARS_MAX: usize = 1000;

/// The fields of an object at one moment, under their `/x-*` names.
pub(crate) type AuditFields = BTreeMap<String, AuditField>;

/// One field.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum AuditField {
    /// May be shown.
    Open(Value),
    /// Compared and never shown: a fingerprint, or the secret itself.
    Secret(Vec<u8>),
}

/// The action of an audit record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AuditAction {
    /// An account was created.
    AddUser,
    /// An account was changed, possibly its credit.
    UpdateUser,
    /// An account was deleted.
    DeleteUser,
    /// An account took a new client key for itself.
    RotateSelf,
    /// Root took a new client key.
    RotateRoot,
    /// A descendant was given a new client key.
    RotateKey,
    /// An upstream key was added.
    AddKey,
    /// An upstream key was changed.
    UpdateKey,
    /// An upstream key was deleted.
    DeleteKey,
    /// A further client key was created.
    AddClientKey,
    /// A further client key was changed.
    UpdateClientKey,
    /// A further client key was deleted.
    DeleteClientKey,
    /// The pool was reloaded.
    LoadKeys,
    /// Settings were stored.
    UpdateConfig,
    /// Settings were reset to their defaults.
    DeleteConfig,
    /// News were posted.
    AddNews,
    /// News were deleted.
    DeleteNews,
    /// A price table was loaded.
    LoadPrices,
    /// Stored usage was priced anew.
    Rerate,
}

/// The kind of object that the target's id identifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AuditTargetKind {
    /// An account.
    User,
    /// An upstream key.
    Key,
    /// A further client key of an account.
    ClientKey,
    /// Settings; there is no id.
    Config,
    /// News; the id is the target account's.
    News,
    /// Prices; the name is the version.
    Prices,
}

// === impl AuditAction ===

impl AuditAction {
    /// As it is stored and shown.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::AddUser => "add_user",
            Self::UpdateUser => "update_user",
            Self::DeleteUser => "delete_user",
            Self::RotateSelf => "rotate_self",
            Self::RotateRoot => "rotate_root",
            Self::RotateKey => "rotate_key",
            Self::AddKey => "add_key",
            Self::UpdateKey => "update_key",
            Self::DeleteKey => "delete_key",
            Self::AddClientKey => "add_client_key",
            Self::UpdateClientKey => "update_client_key",
            Self::DeleteClientKey => "delete_client_key",
            Self::LoadKeys => "load_keys",
            Self::UpdateConfig => "update_config",
            Self::DeleteConfig => "delete_config",
            Self::AddNews => "add_news",
            Self::DeleteNews => "delete_news",
            Self::LoadPrices => "load_prices",
            Self::Rerate => "rerate",
        }
    }
}

// === impl AuditTargetKind ===

impl AuditTargetKind {
    /// As it is stored and shown.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Key => "key",
            Self::ClientKey => "client_key",
            Self::Config => "config",
            Self::News => "news",
            Self::Prices => "prices",
        }
    }
}

/// The fields that differ, each as `{"before":…,"after":…}`. A side is left out if the object did not exist then.
pub(crate) fn changes(before: &AuditFields, after: &AuditFields) -> Value {
    let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let mut found = Map::new();
    for name in names {
        let (old, new) = (before.get(name), after.get(name));
        if old == new {
            continue;
        }
        let sides = [("before", old), ("after", new)];
        let sides = sides
            .into_iter()
            .filter_map(|(side, value)| value.map(|value| (side.to_owned(), shown(value))));
        found.insert(name.clone(), Value::Object(sides.collect()));
    }
    Value::Object(found)
}

/// The fields of a further client key, without those that calls change.
pub(crate) fn client_key(view: &ClientKeyInfo, user: &str) -> AuditFields {
    let ClientKeyInfo {
        id: _,
        account: _,
        partial_key: _,
        credit_used: _,
        requests: _,
        used: _,
        created: _,
        updated: _,
        name,
        enabled,
        expires,
        credit_limit,
        rpm,
        models,
    } = view;
    let open = [
        ("User", json!(user)),
        ("Name", json!(name)),
        ("Status", json!(enabled)),
        ("ExpiresAt", json!(expires.map(|at| Zone::UTC.rfc3339(at)))),
        ("CreditLimit", json!(credit_limit.map(Money::dollars))),
        ("RPM", json!(rpm)),
        ("AllowModels", json!(models.text())),
    ];
    open.map(|(name, value)| (name.to_owned(), AuditField::Open(value)))
        .into()
}

/// The fields of an account, without those that calls change, except credit.
pub(crate) fn account(view: &Account) -> AuditFields {
    let Account {
        // Ids and names are columns of the record; the ledger covers counters and cards.
        id: _,
        dna: _,
        cards: _,
        credit_used: _,
        // The latest movement; every other change resets it to zero. `Balance` covers it.
        credit_granted: _,
        requests: _,
        children: _,
        created: _,
        updated: _,
        // Last characters and name of the client key. Replacing the key is an action of its own.
        partial_key: _,
        public_key: _,
        parent,
        name,
        email,
        alias,
        billing_email,
        qr_code,
        level,
        gear,
        role,
        tier,
        rates,
        factor,
        balance,
        hard_limit,
        soft_limit,
        auto_quota,
        limits,
        access,
        routing,
        model_limits,
        calls_max,
        child_limit,
        enabled,
        suspended,
        addresses,
    } = view;
    let limit = |limit: &Option<Money>| limit.map(dollars);
    let by = |verified: Option<AddressVerification>| verified.map_or("", |it| it.by.as_str());
    let mut fields = named([
        ("Parent", json!(parent.map(AccountId::get))),
        ("Name", json!(name)),
        ("Email", json!(email)),
        ("Alias", json!(alias)),
        ("BillingEmail", json!(billing_email)),
        ("EmailVerifiedBy", json!(by(addresses.email))),
        ("BillingEmailVerifiedBy", json!(by(addresses.billing))),
        ("QRCode", json!(qr_code)),
        ("Level", json!(level.get())),
        ("Gear", json!(gear)),
        ("Role", json!(role)),
        ("Tier", json!(tier)),
        ("Rates", ratio(*rates)),
        ("Factor", ratio(*factor)),
        ("Balance", dollars(*balance)),
        ("HardLimit", json!(limit(hard_limit))),
        ("SoftLimit", json!(limit(soft_limit))),
        ("AutoQuota", dollars(*auto_quota)),
        ("ModelLimits", json!(model_limits.text())),
        ("CallsMax", json!(calls_max.map_or(0, NonZeroU32::get))),
        ("ChildLimit", json!(child_limit)),
        ("Status", json!(enabled)),
        ("Suspended", json!(suspended)),
    ]);
    fields.extend(windows(*limits));
    fields.extend(lists(access));
    fields.extend(rules(routing));
    fields
}

/// The fields of an upstream key. `secret` distinguishes two secrets without revealing either.
pub(crate) fn key(view: &UpstreamKey, secret: &[u8]) -> AuditFields {
    let UpstreamKey {
        id: _,
        created: _,
        updated: _,
        // Not changed by an operator.
        health: _,
        health_reason: _,
        // Four characters of the secret.
        secret_hint: _,
        name,
        provider,
        level,
        enabled,
        config,
    } = view;
    let KeyConfig {
        provider_type,
        include_usage,
        models,
        model_names,
        weight,
        max_concurrency,
        headers,
        price,
    } = config;
    let mut fields = named([
        ("Name", json!(name)),
        ("Provider", json!(provider)),
        ("Level", json!(level.get())),
        ("Status", json!(enabled)),
        ("ProviderType", json!(provider_type.as_str())),
        ("IncludeUsage", json!(include_usage)),
        ("ModelNames", json!(model_names)),
        ("Models", json!(models.join(","))),
        ("Weight", json!(weight)),
        ("MaxConcurrency", json!(max_concurrency)),
        ("Headers", json!(headers.texts())),
        ("Price", price.value()),
    ]);
    fields.insert("SecretKey".to_owned(), AuditField::Secret(secret.to_vec()));
    fields
}

/// The fields of a news item.
pub(crate) fn news(view: &NewsItem) -> AuditFields {
    named([
        ("Title", json!(view.title)),
        ("Content", json!(view.content)),
        ("ExpiresAt", json!(view.expires.timestamp().to_string())),
    ])
}

/// The given fields by name.
pub(crate) fn named<const N: usize>(fields: [(&str, Value); N]) -> AuditFields {
    let owned = |(name, value): (&str, Value)| (name.to_owned(), AuditField::Open(value));
    fields.into_iter().map(owned).collect()
}

fn windows(limits: RateLimits) -> AuditFields {
    let RateLimits {
        rpm,
        rph,
        rpd,
        tpm,
        tph,
        tpd,
    } = limits;
    named([
        ("RPM", json!(rpm)),
        ("RPH", json!(rph)),
        ("RPD", json!(rpd)),
        ("TPM", json!(tpm)),
        ("TPH", json!(tph)),
        ("TPD", json!(tpd)),
    ])
}

fn lists(access: &AccessLists) -> AuditFields {
    let AccessLists {
        ips,
        models,
        levels,
        resources,
    } = access;
    named([
        ("AllowIPs", json!(ips.text())),
        ("AllowModels", json!(models.text())),
        ("AllowLevels", json!(levels.text())),
        ("Resources", json!(resources.text())),
    ])
}

fn rules(routing: &RoutingRules) -> AuditFields {
    let RoutingRules {
        model_mapper,
        level_mapper,
        switch_over,
        model_failover,
    } = routing;
    named([
        ("ModelMapper", json!(model_mapper.text())),
        ("LevelMapper", json!(level_mapper.text())),
        ("SwitchOver", json!(switch_over.text())),
        ("ModelFailover", json!(model_failover.text())),
    ])
}

/// Exact, as text: a JSON number would be read as floating point.
fn dollars(money: Money) -> Value {
    json!(money.to_string())
}

fn ratio(multiplier: Multiplier) -> Value {
    json!(multiplier.number())
}

/// A value as it may be shown and stored.
fn shown(field: &AuditField) -> Value {
    match field {
        AuditField::Secret(_) => json!(MASK),
        AuditField::Open(Value::String(text)) if text.chars().count() > VALUE_CHARS_MAX => {
            let start: String = text.chars().take(VALUE_CHARS_MAX).collect();
            json!(format!("{start}… ({} bytes)", text.len()))
        }
        AuditField::Open(value) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_told() {
        let before = named([
            ("Name", json!("a")),
            ("Level", json!(1)),
            ("Gone", json!(1)),
        ]);
        let after = named([("Name", json!("a")), ("Level", json!(2)), ("New", json!(3))]);
        assert_eq!(
            changes(&before, &after),
            json!({ "Level": { "before": 1, "after": 2 }, "Gone": { "before": 1 }, "New": { "after": 3 } })
        );
        assert_eq!(changes(&before, &before), json!({}));
    }

    #[test]
    fn a_secret_is_told_to_differ_and_not_shown() {
        let secret = |text: &str| {
            AuditFields::from([("SecretKey".to_owned(), AuditField::Secret(text.into()))])
        };
        let told = changes(&secret("one"), &secret("two")).to_string();
        assert_eq!(told, r#"{"SecretKey":{"after":"***","before":"***"}}"#);
        assert_eq!(changes(&secret("one"), &secret("one")), json!({}));
    }

    #[test]
    fn a_long_value_is_cut() {
        let long = "ä".repeat(VALUE_CHARS_MAX + 1);
        let told = changes(&AuditFields::new(), &named([("PRICING", json!(long))]));
        let after = told["PRICING"]["after"].as_str().unwrap();
        assert!(after.ends_with("… (2002 bytes)"), "{after}");
        assert!(after.chars().count() < VALUE_CHARS_MAX + 30);
    }
}
