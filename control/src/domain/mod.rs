//! The rules of accounts, credit, windows, upstream keys and settings: pure values in, values out.
//! No I/O, no clock, no async.

pub(crate) mod account;
pub(crate) mod admin_rate_limit;
pub(crate) mod audit;
pub(crate) mod bounds;
pub(crate) mod client_key;
pub mod credit;
pub(crate) mod cursor;
pub(crate) mod flat_rate;
pub(crate) mod lease;
pub(crate) mod ledger;
pub(crate) mod limit_alert;
pub(crate) mod mail;
pub(crate) mod name;
pub(crate) mod news;
pub mod price_list;
pub(crate) mod price_version;
pub(crate) mod rate_limits;
pub mod setting;
pub(crate) mod spend;
pub(crate) mod upstream_key;
