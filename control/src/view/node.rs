//! Data planes.

use proxyxai_contract::{
    clock::Millis,
    id::{NodeName, Revision},
    snapshot::Rejection,
};

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
