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
    /// The epoch of its spool.
    pub epoch: u64,
    /// Its program version.
    pub version: String,
    /// Whether it watches the configuration now.
    pub connected: bool,
    /// The revision it runs on.
    pub applied: Revision,
    /// Items that it could not use.
    pub rejections: Vec<RejectedItem>,
    /// When control last heard from it.
    pub seen: Millis,
    /// Credit it may spend without asking.
    pub leased: NodeLeases,
}

/// A process of a data plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeProcess {
    /// Name of the data plane.
    pub name: NodeName,
    /// The epoch of its spool.
    pub epoch: u64,
    /// Random number that tells it from other processes of this name; 0 if it is not known.
    pub number: u64,
}

impl NodeProcess {
    /// Whether two processes have one name, as far as that is known.
    pub fn is_other_of_same_name(&self, name: &NodeName, number: u64) -> bool {
        self.name == *name && self.number != 0 && number != 0 && self.number != number
    }
}

/// The credit that a data plane has on lease.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NodeLeases {
    /// How many accounts' credit.
    pub accounts: u64,
    /// The sum, in each account's own units.
    pub amount: Money,
}

/// The data planes to list.
#[derive(Debug, Default, Clone, Copy)]
pub struct NodeFilter {
    /// Only those that watch now, or only those that do not.
    pub connected: Option<bool>,
}
