//! Data planes.

use proxyxai_contract::{
    clock::Millis,
    id::{NodeName, Revision},
    money::Money,
    snapshot::RejectedItem,
};

/// A data plane as control knows it.
#[derive(Debug, Clone)]
pub struct Node {
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
    pub rejections: Vec<RejectedItem>,
    /// When it was last heard.
    pub seen: Millis,
    /// Credit that it may spend without asking.
    pub leased: NodeLeases,
}

/// What a data plane has on lease.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NodeLeases {
    /// How many accounts' credit.
    pub accounts: u64,
    /// All of it, in the accounts' own units.
    pub amount: Money,
}

/// Which data planes to list.
#[derive(Debug, Default, Clone, Copy)]
pub struct NodeFilter {
    /// Only those that watch now, or only those that do not.
    pub connected: Option<bool>,
}
