//! What the operations take and give: plain values between the fronts (gRPC, REST) and `ops`.
//! Neither wire messages nor rows nor JSON shapes.

mod account;
mod bill;
mod books;
mod key;
mod log;
mod news;
mod node;
mod price;
mod root_key;
mod route;
mod selection;
mod usage;

use std::net::IpAddr;

pub use account::{
    AccountChange, AccountFilter, AccountView, Addresses, Changed, LimitsChange, NewAccount,
    Verified, VerifiedBy,
};
pub use bill::{AccountTotals, Bill, BillOf, DayTotals};
pub use books::{BookTotal, Books, Difference, LedgerLine, Quarantined};
pub use key::{KeyChange, KeyFilter, KeyView, NewKey, Probe};
pub use log::{LogFilter, LogView};
pub use news::{NewNews, NewsBoard, NewsView, Scope};
pub use node::NodeView;
pub use price::{PriceSource, PriceVersion, Rerated, Rerating};
use proxyxai_contract::id::AccountId;
pub use root_key::RootKeyFile;
pub use route::{LevelView, RouteView, StageView, TurnView};
pub use selection::{Labels, Order, OrderBy};
pub(crate) use usage::FAILED_FROM;
pub use usage::{Days, ModelTotals, PostedUsage, Totals};

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
