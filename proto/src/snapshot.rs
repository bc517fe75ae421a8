//! The configuration as data planes know it: accounts, upstream keys, settings and prices, and the update that carries
//! their changes.

mod chunks;

use std::{collections::BTreeMap, fmt, num::NonZeroU32, sync::Arc};

use crate::{
    Invalid,
    access::{IpList, LevelList, ModelList, ResourceList},
    client_key::{KeyHash, KeyHasher},
    clock::{Millis, Zone},
    id::{AccountId, ClientKeyId, KeyId, Level, Revision},
    key_headers::KeyHeaders,
    key_price::KeyPrice,
    lease::{LeasedCredit, PayerId, PostedBalance},
    load_balancing::LoadBalancing,
    money::{Money, Multiplier},
    passthrough::Passthrough,
    pattern,
    price::PriceTable,
    provider::{BaseUrl, ProviderType},
    routing::RoutingRules,
    secret::Secret,
    usage::AbandonedPolicy,
    window::{ModelLimits, RateLimits},
};

const MODELS_MAX: usize = 1000;
const MODEL_BYTES_MAX: usize = 255;
const WEIGHT_MAX: u16 = 1000;
/// More than any provider accepts, and more than one data plane has open.
const CONCURRENCY_MAX: u32 = 1_000_000;

/// An account as a data plane needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountConfig {
    /// Its id.
    pub id: AccountId,
    /// `None` for root.
    pub parent: Option<AccountId>,
    /// Shown in error responses.
    pub name: String,
    /// `None` for a deleted account that still has descendants.
    pub key_hash: Option<KeyHash>,
    /// If false, its key is refused.
    pub enabled: bool,
    /// Level if no level mapper matches.
    pub level: Level,
    /// Level switches a call may make.
    pub gear: u8,
    /// Price multiplier of the account.
    pub rates: Multiplier,
    /// Price multiplier set by root.
    pub factor: Multiplier,
    /// Most charges of one month; `None` means no limit.
    pub hard_limit: Option<Money>,
    /// Windows over calls and tokens.
    pub limits: RateLimits,
    /// Its own limits by model; if it has none, its nearest ancestor's apply.
    pub model_limits: ModelLimits,
    /// Calls that it and its descendants may have open at once; `None` means the default of the settings.
    pub calls_max: Option<NonZeroU32>,
    /// What its calls may reach. Many accounts share equal lists.
    pub access: Arc<AccessLists>,
    /// Its own routing rules; empty ones fall back to an ancestor's. Many accounts share equal rules.
    pub routing: Arc<RoutingRules>,
    /// Its further client keys.
    pub further_keys: Vec<FurtherKey>,
}

/// A further client key of an account. Its calls are the account's, within the limits of the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FurtherKey {
    /// Its id.
    pub id: ClientKeyId,
    /// Shown in error responses.
    pub name: String,
    /// Hash of its secret.
    pub key_hash: KeyHash,
    /// If false, it is refused.
    pub enabled: bool,
    /// It is refused from this moment on; `None` means never.
    pub expires: Option<Millis>,
    /// The most its calls may cost in total; `None` means as much as the account may spend.
    pub credit_limit: Option<Money>,
    /// Requests per minute; `None` means as many as the account may make.
    pub rpm: Option<u64>,
    /// Models that may be asked for with it.
    pub models: ModelList,
}

impl FurtherKey {
    /// Whether it has expired.
    pub fn is_expired(&self, now: Millis) -> bool {
        self.expires.is_some_and(|end| end <= now)
    }
}

/// Access lists of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLists {
    /// Where calls may come from.
    pub ips: IpList,
    /// Models that may be asked for.
    pub models: ModelList,
    /// Levels that may be used.
    pub levels: LevelList,
    /// Paths that may be called.
    pub resources: ResourceList,
}

impl AccessLists {
    /// No restriction.
    pub const ANY: Self = Self {
        ips: IpList::Any,
        models: ModelList::Any,
        levels: LevelList::Any,
        resources: ResourceList::Any,
    };
}

/// An upstream key with its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamKey {
    /// Its id.
    pub id: KeyId,
    /// The provider's credential.
    pub secret: Secret,
    /// Base URL of its provider.
    pub provider: BaseUrl,
    /// Level it belongs to.
    pub level: Level,
    /// How requests to its provider differ.
    pub config: KeyConfig,
}

/// How requests to a provider differ from the plain `OpenAI` form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyConfig {
    /// Dialect of the provider.
    pub provider_type: ProviderType,
    /// Whether `stream_options.include_usage` may be sent.
    pub include_usage: bool,
    /// Models it serves, with `*` for any run of characters; empty for any.
    pub models: Vec<String>,
    /// Its provider's names of models, by their names here.
    pub model_names: BTreeMap<String, String>,
    /// Its share of the calls of its level if keys are weighted.
    pub weight: u16,
    /// The most in-flight calls on each data plane; `None` means any number.
    pub max_concurrency: Option<NonZeroU32>,
    /// Headers that its calls carry.
    pub headers: KeyHeaders,
    /// What its calls cost the operator. Not sent to data planes.
    pub price: KeyPrice,
}

impl AccountConfig {
    /// Reads a number of calls; 0 means no limit of its own.
    ///
    /// # Errors
    /// Errors if it is not from 0 to 1,000,000.
    pub fn calls_of(given: i64) -> Result<Option<NonZeroU32>, Invalid> {
        KeyConfig::concurrency_of(given)
            .map_err(|_| Invalid::new("calls_max", "must be from 0 to 1000000"))
    }
}

impl KeyConfig {
    /// Whether it serves a model; empty for a call that names none.
    pub fn serves(&self, model: &str) -> bool {
        self.models.is_empty()
            || model.is_empty()
            || self.model_names.contains_key(model)
            || self
                .models
                .iter()
                .any(|pattern| pattern::matches(pattern, model))
    }

    /// Its provider's name of a model.
    pub fn upstream_name<'n>(&'n self, model: &'n str) -> &'n str {
        self.model_names.get(model).map_or(model, String::as_str)
    }

    /// Checks its models and their upstream names.
    ///
    /// # Errors
    /// Errors if there are too many, or a name is invalid.
    pub fn check_models(&self) -> Result<(), Invalid> {
        let is_name = |name: &String| {
            !name.is_empty() && name.len() <= MODEL_BYTES_MAX && !name.chars().any(char::is_control)
        };
        let named =
            |field: &str, count: usize, mut names: Box<dyn Iterator<Item = &String> + '_>| {
                if count <= MODELS_MAX && names.all(is_name) {
                    return Ok(());
                }
                let problem =
                    format!("must be at most {MODELS_MAX} names of 1 to {MODEL_BYTES_MAX} bytes");
                Err(Invalid::new(field, problem))
            };
        named("models", self.models.len(), Box::new(self.models.iter()))?;
        let pairs = self
            .model_names
            .iter()
            .flat_map(|(name, other)| [name, other]);
        named("model_names", self.model_names.len(), Box::new(pairs))
    }

    /// Reads a weight; 0 means 1.
    ///
    /// # Errors
    /// Errors if it is not from 0 to 1000.
    pub fn weight_of(given: i64) -> Result<u16, Invalid> {
        match u16::try_from(given) {
            Ok(weight @ 0..=WEIGHT_MAX) => Ok(weight.max(1)),
            Ok(_) | Err(_) => Err(Invalid::new("weight", "must be from 1 to 1000")),
        }
    }

    /// Reads a limit of in-flight calls; 0 means none.
    ///
    /// # Errors
    /// Errors if it is not from 0 to 1,000,000.
    pub fn concurrency_of(given: i64) -> Result<Option<NonZeroU32>, Invalid> {
        match u32::try_from(given) {
            Ok(cap @ 0..=CONCURRENCY_MAX) => Ok(NonZeroU32::new(cap)),
            Ok(_) | Err(_) => Err(Invalid::new("max_concurrency", "must be from 0 to 1000000")),
        }
    }
}

impl Default for KeyConfig {
    fn default() -> Self {
        Self {
            provider_type: ProviderType::default(),
            include_usage: true,
            models: Vec::new(),
            model_names: BTreeMap::new(),
            weight: 1,
            max_concurrency: None,
            headers: KeyHeaders::default(),
            price: KeyPrice::default(),
        }
    }
}

/// Settings that a data plane acts on.
#[derive(Debug, Clone, PartialEq)]
pub struct ProxySettings {
    /// The system's routing rules.
    pub routing: RoutingRules,
    /// Paths that may be called at all.
    pub resources: ResourceList,
    /// How calls are spread over keys.
    pub rotation: LoadBalancing,
    /// Limits by model for accounts that neither have nor inherit any.
    pub model_limits: ModelLimits,
    /// Calls that an account and its descendants may have open at once; `None` means any number.
    pub calls_per_account_max: Option<NonZeroU32>,
    /// The minimum balance for a call.
    pub call_min_balance: Money,
    /// Endpoints that are relayed beyond the known ones.
    pub passthrough: Passthrough,
    /// Whether a model without a price is refused.
    pub refuse_unpriced: bool,
    /// What happens to calls whose clients leave.
    pub abandoned: AbandonedPolicy,
    /// Whether control keeps refused calls, so that reporting them is useful.
    pub keeps_refusals: bool,
    /// Hashes presented client keys.
    pub hasher: KeyHasher,
    /// Where days and months begin.
    pub zone: Zone,
    /// Grows with each reload of the key pool.
    pub reload_count: u64,
}

/// Health of a key, or of a key for one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyHealthReport {
    /// Which key.
    pub key: KeyId,
    /// The model; `None` means the key as a whole.
    pub model: Option<String>,
    /// Its state.
    pub state: HealthState,
    /// The reason, in a few words without secrets.
    pub reason: String,
}

/// The state of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthState {
    /// In rotation.
    Ready,
    /// Out of rotation for a while, after a 5xx, a 429 or a transport failure.
    Sleeping {
        /// When it is in rotation again.
        until: Millis,
    },
    /// Refused by its provider; checked again later.
    Quarantined {
        /// When it is checked again.
        until: Millis,
    },
    /// Refused for too long; an operator has to act.
    Disabled,
}

impl fmt::Display for HealthState {
    /// The form in logs; times are in UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let until = |until: &Millis| Zone::UTC.rfc3339(*until);
        match self {
            Self::Ready => f.write_str("ready"),
            Self::Sleeping { until: end } => write!(f, "asleep until {}", until(end)),
            Self::Quarantined { until: end } => write!(f, "quarantined until {}", until(end)),
            Self::Disabled => f.write_str("disabled"),
        }
    }
}

/// Changes of the configuration, or all of it.
#[derive(Debug, Clone, PartialEq)]
pub struct SnapshotUpdate {
    /// Revision after this update.
    pub revision: Revision,
    /// Whether this is the complete configuration.
    pub full: bool,
    /// Whether it goes on in the next update, before which nothing of it may be used.
    pub more: bool,
    /// New or changed accounts.
    pub accounts: Vec<Arc<AccountConfig>>,
    /// Removed accounts.
    pub removed_accounts: Vec<AccountId>,
    /// New or changed keys.
    pub keys: Vec<UpstreamKey>,
    /// Keys that were removed or taken out of rotation.
    pub removed_keys: Vec<KeyId>,
    /// `None` if unchanged.
    pub settings: Option<Arc<ProxySettings>>,
    /// `None` if unchanged.
    pub prices: Option<Arc<PriceTable>>,
    /// Posted balances; not tied to the revision.
    pub standings: Vec<PostedBalance>,
    /// Key health learnt by other data planes.
    pub healths: Vec<KeyHealthReport>,
    /// Leases of the data plane that receives this.
    pub leases: Vec<LeasedCredit>,
    /// Payers whose unused credit another data plane needs.
    pub recalls: Vec<PayerId>,
}

impl SnapshotUpdate {
    /// An update that changes nothing.
    pub const fn empty(revision: Revision) -> Self {
        Self {
            revision,
            full: false,
            more: false,
            accounts: Vec::new(),
            removed_accounts: Vec::new(),
            keys: Vec::new(),
            removed_keys: Vec::new(),
            settings: None,
            prices: None,
            standings: Vec::new(),
            healths: Vec::new(),
            leases: Vec::new(),
            recalls: Vec::new(),
        }
    }
}

/// An item of an update that could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedItem {
    /// `account`, `key`, `price` or `settings`.
    pub kind: &'static str,
    /// Id or name of the item.
    pub item: String,
    /// Field and problem.
    pub problem: String,
}
