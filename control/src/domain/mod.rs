//! The rules of accounts, credit, windows, upstream keys and settings: pure values in, values out.
//! No I/O, no clock, no async.

pub(crate) mod account;
pub(crate) mod audit;
pub(crate) mod bounds;
pub(crate) mod client_key;
pub mod credit;
pub(crate) mod cursor;
pub(crate) mod flat;
pub(crate) mod lease;
pub(crate) mod ledger;
pub(crate) mod mail;
pub(crate) mod name;
pub(crate) mod news;
pub(crate) mod notice;
pub mod price_list;
pub(crate) mod price_version;
pub(crate) mod quota;
pub(crate) mod rate;
pub(crate) mod setting;
pub(crate) mod spend;
pub(crate) mod upstream_key;
