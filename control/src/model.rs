//! The parameters and results of operations: plain values between the fronts (gRPC, REST) and `ops`. They are neither
//! wire messages nor rows nor JSON shapes.

mod account;
mod audit;
mod bill;
mod call;
mod client_key;
mod credit_card;
mod earning;
mod ledger;
mod news;
mod node;
mod price;
mod refusal;
mod root_key;
mod route;
mod selection;
mod spend;
mod upstream_key;
mod usage;
mod window;

use std::net::IpAddr;

pub use account::{
    Account, AccountChange, AccountChangeResult, AccountFilter, AddressVerification,
    EffectiveRestrictions, NewAccount, RateLimitsChange, VerifiedAddresses, VerifiedBy,
};
pub use audit::{AuditFilter, AuditRecord};
pub use bill::{AccountTotals, Bill, BillFilter, DayTotals};
pub use call::{
    Call, CallFilter, CallPage, ClientKeyFilter, ModelFilter, PageCursor, StatusFilter,
};
pub use client_key::{ClientKeyChange, ClientKeyInfo, Expiry, NewClientKey};
pub use credit_card::Card;
pub use earning::{
    Earning, EarningDimension, EarningFilter, EarningKey, EarningRow, EarningsReport, TagTotals,
};
pub use ledger::{
    BookTotal, LedgerDifference, LedgerFilter, LedgerLine, LedgerVerification, QuarantinedRecord,
};
pub use news::{NewsBoard, NewsDraft, NewsItem, NewsScope, PostedNews};
pub use node::{Node, NodeFilter, NodeLeases, NodeProcess};
pub use price::{
    ImportedPrices, PriceSource, PriceVersion, RerateRequest, RerateResult, UnpricedModel,
};
use proxyxai_contract::id::{AccountId, ClientKeyId};
pub use refusal::{RefusalCursor, RefusalFilter, RefusalPage};
pub use root_key::RootKeyFile;
pub use route::{RouteExplanation, RouteKey, RouteLevel, RouteStage};
pub use selection::{AccountLabels, SortField, SortOrder};
pub use spend::{SeriesInterval, SpendDimension, SpendFilter, SpendReport, SpendRow, SpentTokens};
pub use upstream_key::{
    KeyState, NewUpstreamKey, ProbeResult, UpstreamKey, UpstreamKeyChange, UpstreamKeyFilter,
};
pub(crate) use usage::FAILED_FROM;
pub use usage::{DateRange, ModelTotals, PostedUsage, UsageTotals};
pub use window::WindowUsage;

/// The caller of an operation.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The account whose key was presented.
    pub account: AccountId,
    /// The further client key that it used; `None` for the account's first.
    pub client_key: Option<ClientKeyId>,
    /// The address that it called from, if known.
    pub address: Option<IpAddr>,
}

impl Caller {
    /// Whether the caller is root, with root's first key.
    pub fn is_root(&self) -> bool {
        self.account == AccountId::ROOT && self.client_key.is_none()
    }
}

/// One page of a listing: `page` from 1, `size` from 1 to 1000.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// 1-based.
    pub page: u64,
    /// Rows per page.
    pub size: u64,
}

impl Page {
    /// Takes this page out of the complete rows.
    pub(crate) fn of<T>(self, rows: Vec<T>) -> Listing<T> {
        let count = |rows: u64| usize::try_from(rows).unwrap_or(usize::MAX);
        let skipped = count(self.page.saturating_sub(1).saturating_mul(self.size));
        let total = u64::try_from(rows.len()).unwrap_or(u64::MAX);
        let rows = rows.into_iter().skip(skipped).take(count(self.size));
        Listing {
            rows: rows.collect(),
            total,
        }
    }
}

/// The rows of one page, and the number of rows on all pages.
#[derive(Debug, Clone)]
pub struct Listing<T> {
    /// The rows of this page.
    pub rows: Vec<T>,
    /// The number of rows on all pages.
    pub total: u64,
}
