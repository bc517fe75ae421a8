//! Accounts: what is asked to be done with them, and what is shown of them.

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
    /// Takes bills.
    pub billing_email: Option<String>,
    /// Life of the opening card in millionths of a day; none means 365 days.
    pub days_micros: Option<i64>,
    /// Everything that may also be changed later: rates, limits, access lists (edit grammar) and so on.
    /// Its `name`, `email`, `alias`, `billing_email` and `credit` are not looked at.
    pub change: AccountChange,
}

/// Changes of an account; none leaves a field as it is.
#[derive(Debug, Default, Clone)]
pub struct AccountChange {
    /// Equal to the identifier it is addressed by: ignored.
    pub name: Option<String>,
    /// Unique address.
    pub email: Option<String>,
    /// Display name.
    pub alias: Option<String>,
    /// Takes bills.
    pub billing_email: Option<String>,
    /// Support picture.
    pub qr_code: Option<String>,
    /// False stops the key.
    pub enabled: Option<bool>,
    /// True stops the key.
    pub suspended: Option<bool>,
    /// Grant (positive) or deduction (negative), in the child's units.
    pub credit: Option<Money>,
    /// Life of the card, in millionths of a day.
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
    /// Month's cap.
    pub hard_limit: Option<Money>,
    /// Month's mark.
    pub soft_limit: Option<Money>,
    /// Step by which the cap rises.
    pub auto_quota: Option<Money>,
    /// How many children there may be.
    pub child_limit: Option<u64>,
    /// Windows.
    pub limits: RateLimitsChange,
    /// How many calls may be open at once, 0 for as many as the setting says.
    pub calls_max: Option<i64>,
    /// Replaces the limits by model, a JSON object; empty removes them.
    pub model_limits: Option<String>,
    /// Edit of the list, as `AllowList::edited` takes it.
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

/// Changes of windows; none leaves one as it is.
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

/// Which accounts to list.
#[derive(Clone, Debug, Default)]
pub struct AccountFilter {
    /// Direct children only, or all descendants.
    pub descendants: bool,
    /// Identifier of one account: id, name, email or DNA.
    pub identifier: Option<String>,
    /// Only the account at this place and those below it.
    pub subtree: Option<String>,
    /// Only those whose name or address begins like this in any case, and the one with this id.
    pub search: Option<String>,
    /// Only these.
    pub labels: AccountLabels,
    /// Which comes first.
    pub order: SortOrder,
}

/// What calls of an account have to pass, of its own and of the accounts above it.
#[derive(Debug, Clone)]
pub struct EffectiveRestrictions {
    /// Lists of addresses; each has to let a call in.
    pub ips: Vec<String>,
    /// Lists of models.
    pub models: Vec<String>,
    /// Lists of levels.
    pub levels: Vec<String>,
    /// Lists of paths.
    pub resources: Vec<String>,
    /// The smallest of a month.
    pub hard_limit: Option<Money>,
    /// The fewest calls open at once.
    pub calls_max: Option<NonZeroU32>,
    /// Whether one of them is switched off or suspended.
    pub suspended: bool,
}

/// An account as its ancestors and itself may see it.
#[derive(Debug, Clone)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// None for root.
    pub parent: Option<AccountId>,
    /// Ids from root to itself, `.1.42.`.
    pub dna: String,
    /// Unique name.
    pub name: String,
    /// Unique address.
    pub email: String,
    /// Display name.
    pub alias: String,
    /// Takes bills.
    pub billing_email: String,
    /// Support picture.
    pub qr_code: String,
    /// Tail of the client key.
    pub partial_key: String,
    /// Names the client key without telling anything of it.
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
    /// Price multiplier of root's.
    pub factor: Multiplier,
    /// Ordered by expiry.
    pub cards: Vec<Card>,
    /// Cards less debt.
    pub balance: Money,
    /// Latest movement by hand.
    pub credit_granted: Money,
    /// All-time charges.
    pub credit_used: Money,
    /// All-time answered calls.
    pub requests: u64,
    /// Month's cap; none means no limit.
    pub hard_limit: Option<Money>,
    /// Month's mark.
    pub soft_limit: Option<Money>,
    /// Step by which the cap rises.
    pub auto_quota: Money,
    /// Windows.
    pub limits: RateLimits,
    /// Own limits by model.
    pub model_limits: ModelLimits,
    /// Calls that may be open at once; none means as many as the setting says.
    pub calls_max: Option<NonZeroU32>,
    /// Access lists.
    pub access: AccessLists,
    /// Own routing rules.
    pub routing: RoutingRules,
    /// Living direct children.
    pub children: u64,
    /// How many there may be.
    pub child_limit: u64,
    /// False when its key is stopped.
    pub enabled: bool,
    /// True when its key is stopped, too.
    pub suspended: bool,
    /// What is known of its addresses.
    pub addresses: VerifiedAddresses,
    /// When it was created.
    pub created: Millis,
    /// When it was last changed.
    pub updated: Millis,
}

/// Since when, and by whose word, an account's addresses are known to be its own; none where they are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VerifiedAddresses {
    /// Of `Email`.
    pub email: Option<AddressVerification>,
    /// Of `BillingEmail`.
    pub billing: Option<AddressVerification>,
}

/// An address is known to be its account's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressVerification {
    /// Since when.
    pub at: Millis,
    /// By whose word.
    pub by: VerifiedBy,
}

/// By whose word an address is its account's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifiedBy {
    /// Root entered it.
    Root,
    /// Somebody who reads its mail followed a link.
    Link,
}

impl VerifiedBy {
    /// In one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Link => "link",
        }
    }
}

impl Account {
    /// Whether its own key is in use, as far as its ancestors let it.
    pub const fn is_active(&self) -> bool {
        self.enabled && !self.suspended
    }
}

/// Answer to creating, changing or deleting an account.
#[derive(Debug)]
pub struct AccountChangeResult {
    /// The account after the change (before it, when deleted).
    pub account: Account,
    /// The caller after the change.
    pub operator: Account,
    /// What the caller got back, in the caller's units; zero unless deleted.
    pub refund: Money,
    /// What stays with its calls under way, in the caller's units. What they do not cost comes back later.
    pub pending: Money,
}
