//! What the operations take and give: plain values between the fronts (gRPC, REST) and `ops`.
//! Neither wire messages nor rows nor JSON shapes.

mod bill;
mod books;
mod route;
mod selection;

use std::collections::BTreeMap;
use std::net::IpAddr;

pub use bill::{AccountTotals, Bill, BillOf, DayTotals};
pub use books::{BookTotal, Books, Difference, LedgerLine};
use jiff::civil::Date;
use proxyxai_contract::{
    clock::Millis,
    id::{AccountId, KeyId, Level, NodeName, Revision},
    money::{Money, Multiplier},
    routing::RoutingRules,
    secret::Secret,
    snapshot::{Access, HealthState, KeyConfig, RateLimits, Rejection},
    usage::UsageRecord,
    window::ModelLimits,
};
pub use route::{LevelView, RouteView, StageView, TurnView};
pub use selection::{Labels, Order, OrderBy};

use crate::domain::credit::Card;

/// Who asks.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The account whose key was presented.
    pub account: AccountId,
    /// Where it asks from, when that is known.
    pub address: Option<IpAddr>,
}

impl Caller {
    /// Whether it is root.
    pub fn is_root(&self) -> bool {
        self.account == AccountId::ROOT
    }
}

/// One page of a listing: `page` from 1, `size` from 1 to 1000.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// 1-based.
    pub page: u64,
    /// Rows.
    pub size: u64,
}

/// Rows of one page, and how many there are over all pages.
#[derive(Debug, Clone)]
pub struct Listing<T> {
    /// This page.
    pub rows: Vec<T>,
    /// All pages.
    pub total: u64,
}

// === upstream keys ===

/// An upstream key to be added.
#[derive(Debug)]
pub struct NewKey {
    /// At least 20 characters.
    pub secret: Secret,
    /// Free text.
    pub name: String,
    /// Base URL; none means the setting `XAI_BASE`.
    pub provider: Option<String>,
    /// Pool.
    pub level: Level,
    /// False keeps it out of rotation.
    pub enabled: bool,
    /// Dialect.
    pub config: KeyConfig,
}

/// Changes of an upstream key; none leaves a field as it is.
#[derive(Debug, Default)]
pub struct KeyChange {
    /// A new secret wakes the key.
    pub secret: Option<Secret>,
    /// New name.
    pub name: Option<String>,
    /// New base URL.
    pub provider: Option<String>,
    /// New pool.
    pub level: Option<Level>,
    /// In or out of rotation.
    pub enabled: Option<bool>,
    /// New dialect.
    pub config: Option<KeyConfig>,
}

/// Which keys to list.
#[derive(Debug, Default)]
pub struct KeyFilter {
    /// Only this id.
    pub id: Option<KeyId>,
    /// Only this level.
    pub level: Option<Level>,
    /// Only this provider: a base URL or a host name.
    pub provider: Option<String>,
}

/// An upstream key as it may be shown.
#[derive(Debug, Clone)]
pub struct KeyView {
    /// Its id.
    pub id: KeyId,
    /// Free text.
    pub name: String,
    /// Base URL.
    pub provider: String,
    /// Pool.
    pub level: Level,
    /// In rotation unless its health says otherwise.
    pub enabled: bool,
    /// Dialect.
    pub config: KeyConfig,
    /// Last four characters of the secret.
    pub secret_hint: String,
    /// The worst of what data planes reported for the key as a whole.
    pub health: HealthState,
    /// Why it is not ready.
    pub health_reason: String,
    /// When it was added.
    pub created: Millis,
    /// When it was last changed.
    pub updated: Millis,
}

/// What a provider said to a key just now.
#[derive(Debug)]
pub struct Probe {
    /// Whether it took the key.
    pub accepted: bool,
    /// HTTP status; 0 when it could not be reached.
    pub status: u16,
    /// In a few words, without secrets.
    pub detail: String,
}

// === accounts ===

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
    pub limits: LimitsChange,
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
pub struct LimitsChange {
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
#[derive(Debug, Default)]
pub struct AccountFilter {
    /// Direct children only, or all descendants.
    pub descendants: bool,
    /// Identifier of one account: id, name, email or DNA.
    pub identifier: Option<String>,
    /// Only these.
    pub labels: Labels,
    /// Which comes first.
    pub order: Order,
}

/// An account as its ancestors and itself may see it.
#[derive(Debug, Clone)]
pub struct AccountView {
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
    /// Access lists.
    pub access: Access,
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
    /// When it was created.
    pub created: Millis,
    /// When it was last changed.
    pub updated: Millis,
}

impl AccountView {
    /// Whether its own key is in use, as far as its ancestors let it.
    pub const fn is_active(&self) -> bool {
        self.enabled && !self.suspended
    }
}

/// Answer to creating, changing or deleting an account.
#[derive(Debug)]
pub struct Changed {
    /// The account after the change (before it, when deleted).
    pub account: AccountView,
    /// The caller after the change.
    pub operator: AccountView,
    /// What the caller got back, in the caller's units; zero unless deleted.
    pub refund: Money,
}

// === reports ===

/// Statuses from here on are refusals and failures, which do not count as answered calls.
pub(crate) const FAILED_FROM: u16 = 400;

/// Use of one account over one span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Answered calls.
    pub requests: u64,
    /// Prompt tokens.
    pub input: u64,
    /// Prompt tokens from the cache.
    pub cached: u64,
    /// Generated tokens.
    pub output: u64,
    /// Charges.
    pub cost: Money,
}

impl Totals {
    /// Both together.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.add(&other);
        self
    }

    /// Takes in others.
    pub(crate) fn add(&mut self, other: &Self) {
        let Self {
            requests,
            input,
            cached,
            output,
            cost,
        } = *other;
        self.requests = self.requests.saturating_add(requests);
        self.input = self.input.saturating_add(input);
        self.cached = self.cached.saturating_add(cached);
        self.output = self.output.saturating_add(output);
        self.cost = self.cost.saturating_add(cost);
    }
}

/// Totals of one model.
#[derive(Debug, Clone)]
pub struct ModelTotals {
    /// Billed model.
    pub model: String,
    /// Its totals.
    pub totals: Totals,
}

/// A span of days, both ends included.
#[derive(Debug, Clone, Copy)]
pub struct Days {
    /// First day.
    pub start: Date,
    /// Last day.
    pub end: Date,
}

/// A posted record.
#[derive(Debug, Clone)]
pub struct PostedUsage {
    /// Data plane that wrote it.
    pub node: String,
    /// Its epoch.
    pub epoch: u64,
    /// The record.
    pub record: UsageRecord,
    /// When it was posted.
    pub posted: Millis,
    /// What it costs since it was priced anew; none when it never was.
    pub corrected: Option<Money>,
}

// === prices ===

/// A price table and the moment from which it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceVersion {
    /// Unique name; usage records carry it.
    pub version: String,
    /// When it comes into force, unless a later one of the same moment replaces it.
    pub valid_from: Millis,
    /// Whether its table is the one that ships.
    pub source: PriceSource,
    /// Why it was made.
    pub note: String,
    /// The whole table, as JSON.
    pub text: String,
    /// What `PRICING` lays over it; may be empty.
    pub overrides: String,
    /// When it was made.
    pub created: Millis,
    /// By whom; none for the program itself.
    pub created_by: Option<AccountId>,
}

/// What to price anew.
#[derive(Debug, Clone)]
pub struct Rerating {
    /// Days on which the calls began.
    pub days: Days,
    /// Identifier of one account; none means all.
    pub account: Option<String>,
    /// Version to price with; none means, for each call, the one in force when it began.
    pub version: Option<String>,
    /// Whether nothing is posted.
    pub dry_run: bool,
}

/// What pricing anew found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rerated {
    /// Records looked at.
    pub records: u64,
    /// Records left alone, since no version or no price was there for them.
    pub unpriced: u64,
    /// Records that changed, and by how much in the account's units, by account.
    pub corrections: BTreeMap<AccountId, (u64, Money)>,
}

/// Where the table of a version comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PriceSource {
    /// It ships with the program and changes with its releases.
    BuiltIn,
    /// An operator loaded it.
    Loaded,
}

impl PriceSource {
    /// As stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BuiltIn => "built-in",
            Self::Loaded => "loaded",
        }
    }

    /// Reads what `as_str` wrote.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::BuiltIn, Self::Loaded]
            .into_iter()
            .find(|source| source.as_str() == text)
    }
}

// === fleet ===

/// A data plane as control knows it.
#[derive(Debug, Clone)]
pub struct NodeView {
    /// Its name.
    pub name: NodeName,
    /// Its spool.
    pub epoch: u64,
    /// Its program version.
    pub version: String,
    /// Whether it watches now.
    pub connected: bool,
    /// What it runs on.
    pub applied: Revision,
    /// What it could not use.
    pub rejections: Vec<Rejection>,
    /// When it was last heard.
    pub seen: Millis,
}

// === audit ===

/// Which audit records to list; none means all.
#[derive(Debug, Default)]
pub struct LogFilter {
    /// `add_user`, `update_key` and so on.
    pub action: Option<String>,
    /// Id of what was changed.
    pub target: Option<i64>,
    /// `success`.
    pub status: Option<String>,
}

/// An administrative change.
#[derive(Debug, Clone)]
pub struct LogView {
    /// Ascending with time.
    pub id: i64,
    /// What was done.
    pub action: String,
    /// Who did it.
    pub operator: i64,
    /// The operator's name at that time.
    pub operator_name: String,
    /// Where the operator asked from; empty when not known.
    pub address: String,
    /// `user`, `key`, `config` or `news`.
    pub kind: String,
    /// Id of what was changed; none for settings and what is meant for all.
    pub target: Option<i64>,
    /// Its name at that time.
    pub target_name: String,
    /// How it ended.
    pub status: String,
    /// JSON: every changed field with `before` and `after`, secrets masked.
    pub details: String,
    /// When.
    pub at: Millis,
}

// === news ===

/// For whom news are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everybody.
    System,
    /// One account.
    Account,
    /// An account and all below it.
    Group,
}

/// News to be posted.
#[derive(Debug, Default)]
pub struct NewNews {
    /// One line.
    pub title: String,
    /// May have several lines.
    pub content: String,
    /// How long it is shown; none means 7 days for everybody, 32 for a target.
    pub days: Option<i64>,
}

/// News.
#[derive(Debug, Clone)]
pub struct NewsView {
    /// Ascending with time.
    pub id: i64,
    /// For whom.
    pub scope: Scope,
    /// One line.
    pub title: String,
    /// May have several lines.
    pub content: String,
    /// When it was posted.
    pub created: Millis,
    /// From when on it is hidden.
    pub expires: Millis,
}

/// What an account has to read, newest first.
#[derive(Debug, Default)]
pub struct NewsBoard {
    /// For everybody.
    pub system: Vec<NewsView>,
    /// For this account.
    pub user: Vec<NewsView>,
    /// For the groups it belongs to.
    pub group: Vec<NewsView>,
}
