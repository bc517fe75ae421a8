//! Accounts: requests to create or change them, and what is shown of them.

use std::num::NonZeroU32;

use proxyxai_contract::{
    clock::Millis,
    id::{AccountId, Level},
    money::{Money, Multiplier},
    routing::RoutingRules,
    snapshot::AccessLists,
    window::{ModelLimits, RateLimits},
};

use super::Card;
use super::{AccountLabels, SortOrder};

/// An account to be created below the caller.
#[derive(Debug, Default)]
pub struct NewAccount {
    /// 4 to 63 characters with a letter.
    pub name: String,
    /// Unique address.
    pub email: String,
    /// Opening credit in the child's units.
    pub credit: Money,
    /// Defaults to the name.
    pub alias: Option<String>,
    /// Receives bills.
    pub billing_email: Option<String>,
    /// Lifetime of the opening card in millionths of a day; `None` means 365 days.
    pub days_micros: Option<i64>,
    /// Everything that may be changed later too: rates, limits, access lists (edit grammar) and so on. Its `name`,
    /// `email`, `alias`, `billing_email` and `credit` are ignored.
    pub change: AccountChange,
}

/// Changes of an account. `None` leaves a field as it is.
#[derive(Debug, Default, Clone)]
pub struct AccountChange {
    /// Ignored if equal to the identifier in the request.
    pub name: Option<String>,
    /// Unique address.
    pub email: Option<String>,
    /// Display name.
    pub alias: Option<String>,
    /// Receives bills.
    pub billing_email: Option<String>,
    /// Support picture.
    pub qr_code: Option<String>,
    /// False disables the account's client keys.
    pub enabled: Option<bool>,
    /// True disables the account's client keys.
    pub suspended: Option<bool>,
    /// Grant (positive) or deduction (negative), in the child's units.
    pub credit: Option<Money>,
    /// Lifetime of the card, in millionths of a day.
    pub days_micros: Option<i64>,
    /// Note on the card.
    pub reference: Option<String>,
    /// Pool.
    pub level: Option<Level>,
    /// Level switches a request may make, 0 to 10.
    pub gear: Option<u8>,
    /// Label.
    pub role: Option<i32>,
    /// Label.
    pub tier: Option<i32>,
    /// At least the parent's.
    pub rates: Option<Multiplier>,
    /// Root only.
    pub factor: Option<Multiplier>,
    /// The month's limit.
    pub hard_limit: Option<Money>,
    /// The month's use above which the account gets a mail.
    pub soft_limit: Option<Money>,
    /// The step by which the month's limit rises.
    pub auto_quota: Option<Money>,
    /// Maximum number of children.
    pub child_limit: Option<u64>,
    /// Windows.
    pub limits: RateLimitsChange,
    /// Maximum number of open calls; 0 means as many as the setting allows.
    pub calls_max: Option<i64>,
    /// Replaces the limits by model. A JSON object; an empty text removes them.
    pub model_limits: Option<String>,
    /// Edit of the list, as `AllowList::edited` accepts it.
    pub allow_ips: Option<String>,
    /// Edit of the list.
    pub allow_models: Option<String>,
    /// Edit of the list.
    pub allow_levels: Option<String>,
    /// Edit of the list.
    pub resources: Option<String>,
    /// Replaces the rule; empty removes it.
    pub model_mapper: Option<String>,
    /// Replaces the rule; empty removes it.
    pub level_mapper: Option<String>,
    /// Replaces the rule; empty removes it.
    pub switch_over: Option<String>,
    /// Replaces the rule; empty removes it.
    pub model_failover: Option<String>,
}

/// Changes of rate limits. `None` leaves one as it is.
#[derive(Debug, Default, Clone, Copy)]
pub struct RateLimitsChange {
    /// Requests per minute.
    pub rpm: Option<u64>,
    /// Requests per hour.
    pub rph: Option<u64>,
    /// Requests per day.
    pub rpd: Option<u64>,
    /// Tokens per minute.
    pub tpm: Option<u64>,
    /// Tokens per hour.
    pub tph: Option<u64>,
    /// Tokens per day.
    pub tpd: Option<u64>,
}

/// The accounts to list.
#[derive(Clone, Debug, Default)]
pub struct AccountFilter {
    /// All descendants, or direct children only.
    pub descendants: bool,
    /// Identifier of one account: id, name, email or DNA.
    pub identifier: Option<String>,
    /// Only this account and its descendants.
    pub subtree: Option<String>,
    /// Only accounts whose name or address begins like this in any case, and the one with this id.
    pub search: Option<String>,
    /// Only accounts with these labels.
    pub labels: AccountLabels,
    /// Their order.
    pub order: SortOrder,
}

/// The restrictions on an account's calls: its own and those of the accounts above it.
#[derive(Debug, Clone)]
pub struct EffectiveRestrictions {
    /// Address lists; each has to allow the call.
    pub ips: Vec<String>,
    /// Lists of models.
    pub models: Vec<String>,
    /// Lists of levels.
    pub levels: Vec<String>,
    /// Lists of paths.
    pub resources: Vec<String>,
    /// The smallest month's limit.
    pub hard_limit: Option<Money>,
    /// The smallest limit on open calls.
    pub calls_max: Option<NonZeroU32>,
    /// Whether the account or one above it is disabled or suspended.
    pub suspended: bool,
}

/// An account as it and its ancestors may see it.
#[derive(Debug, Clone)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// `None` for root.
    pub parent: Option<AccountId>,
    /// Ids from root to itself, `.1.42.`.
    pub dna: String,
    /// Unique name.
    pub name: String,
    /// Unique address.
    pub email: String,
    /// Display name.
    pub alias: String,
    /// Receives bills.
    pub billing_email: String,
    /// Support picture.
    pub qr_code: String,
    /// The last characters of the client key.
    pub partial_key: String,
    /// Identifies the client key without revealing any of it.
    pub public_key: String,
    /// Pool.
    pub level: Level,
    /// Level switches a request may make.
    pub gear: u8,
    /// Label.
    pub role: i32,
    /// Label.
    pub tier: i32,
    /// Price multiplier.
    pub rates: Multiplier,
    /// Price multiplier that only root sets.
    pub factor: Multiplier,
    /// Ordered by expiry.
    pub cards: Vec<Card>,
    /// The sum of the cards less debt.
    pub balance: Money,
    /// The latest grant or deduction.
    pub credit_granted: Money,
    /// All-time charges.
    pub credit_used: Money,
    /// All-time answered calls.
    pub requests: u64,
    /// The month's limit; `None` means no limit.
    pub hard_limit: Option<Money>,
    /// The month's use above which the account gets a mail.
    pub soft_limit: Option<Money>,
    /// The step by which the month's limit rises.
    pub auto_quota: Money,
    /// Windows.
    pub limits: RateLimits,
    /// The account's own limits by model.
    pub model_limits: ModelLimits,
    /// Maximum number of open calls; `None` means as many as the setting allows.
    pub calls_max: Option<NonZeroU32>,
    /// Access lists.
    pub access: AccessLists,
    /// The account's own routing rules.
    pub routing: RoutingRules,
    /// Direct children that are not deleted.
    pub children: u64,
    /// Maximum number of children.
    pub child_limit: u64,
    /// False disables its client keys.
    pub enabled: bool,
    /// True disables its client keys as well.
    pub suspended: bool,
    /// Which of its addresses are verified.
    pub addresses: VerifiedAddresses,
    /// When it was created.
    pub created: Millis,
    /// When it was last changed.
    pub updated: Millis,
}

/// When and by whom the addresses of an account were verified; `None` if they were not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VerifiedAddresses {
    /// Of `Email`.
    pub email: Option<AddressVerification>,
    /// Of `BillingEmail`.
    pub billing: Option<AddressVerification>,
}

/// The verification of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressVerification {
    /// When it was verified.
    pub at: Millis,
    /// Who verified it.
    pub by: VerifiedBy,
}

/// Who verified an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifiedBy {
    /// Root entered it.
    Root,
    /// A reader of its mail followed a link.
    Link,
}

impl VerifiedBy {
    /// The stored and shown form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Link => "link",
        }
    }
}

impl Account {
    /// Whether its own key is enabled, regardless of its ancestors.
    pub const fn is_active(&self) -> bool {
        self.enabled && !self.suspended
    }
}

/// The result of creating, changing or deleting an account.
#[derive(Debug)]
pub struct AccountChangeResult {
    /// The account after the change (before it, when deleted).
    pub account: Account,
    /// The caller after the change.
    pub operator: Account,
    /// The credit returned to the caller, in the caller's units; zero unless deleted.
    pub refund: Money,
    /// Credit still held by in-flight calls, in the caller's units. The part that they do not cost is returned later.
    pub pending: Money,
}
