//! What the operations take and give: plain values between the fronts (gRPC, REST) and `ops`.
//! Neither wire messages nor rows nor JSON shapes.

mod account;
mod bill;
mod books;
mod call;
mod client_key;
mod earning;
mod key;
mod log;
mod news;
mod node;
mod price;
mod refusal;
mod root_key;
mod route;
mod selection;
mod spend;
mod usage;
mod window;

use std::net::IpAddr;

pub use account::{
    AccountChange, AccountFilter, AccountView, Addresses, Binding, Changed, LimitsChange,
    NewAccount, Verified, VerifiedBy,
};
pub use bill::{AccountTotals, Bill, BillOf, DayTotals};
pub use books::{BookTotal, Books, Difference, LedgerFilter, LedgerLine, Quarantined};
pub use call::{Call, CallFilter, Calls, CallsFrom, MadeWith, ModelOf, StatusOf};
pub use client_key::{ClientKeyChange, ClientKeyView, Expiry, NewClientKey};
pub use earning::{EarnedBy, Earning, EarningFilter, EarningOf, EarningRow, Earnings, TagTotals};
pub use key::{KeyChange, KeyFilter, KeyState, KeyView, NewKey, Probe};
pub use log::{LogFilter, LogView};
pub use news::{NewNews, NewsBoard, NewsView, PostedNews, Scope};
pub use node::{Leased, NodeFilter, NodeView};
pub use price::{ImportedPrices, PriceSource, PriceVersion, Rerated, Rerating, UnpricedModel};
use proxyxai_contract::id::{AccountId, ClientKeyId};
pub use refusal::{RefusalFilter, RefusalPlace, Refusals};
pub use root_key::RootKeyFile;
pub use route::{LevelView, RouteView, StageView, TurnView};
pub use selection::{Labels, Order, OrderBy};
pub use spend::{Per, Spend, SpendFilter, SpendRow, SpentBy, SpentTokens};
pub(crate) use usage::FAILED_FROM;
pub use usage::{Days, ModelTotals, PostedUsage, Totals};
pub use window::WindowUse;

/// Who asks.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The account whose key was presented.
    pub account: AccountId,
    /// The further client key that it was; none for the account's first.
    pub client_key: Option<ClientKeyId>,
    /// Where it asks from, when that is known.
    pub address: Option<IpAddr>,
}

impl Caller {
    /// Whether it is root, with its first key.
    pub fn is_root(&self) -> bool {
        self.account == AccountId::ROOT && self.client_key.is_none()
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

impl Page {
    /// This page of rows that are all there.
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

/// Rows of one page, and how many there are over all pages.
#[derive(Debug, Clone)]
pub struct Listing<T> {
    /// This page.
    pub rows: Vec<T>,
    /// All pages.
    pub total: u64,
}
