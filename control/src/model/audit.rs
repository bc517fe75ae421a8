//! The audit log.

use proxyxai_contract::clock::Millis;

/// The audit records to list; `None` means all.
#[derive(Debug, Default)]
pub struct AuditFilter {
    /// `add_user`, `update_key` and so on.
    pub action: Option<String>,
    /// Id of the changed object.
    pub target: Option<i64>,
    /// `success`.
    pub status: Option<String>,
}

/// An administrative change.
#[derive(Debug, Clone)]
pub struct AuditRecord {
    /// Ascending with time.
    pub id: i64,
    /// The action.
    pub action: String,
    /// The account that made the change.
    pub operator: i64,
    /// The operator's name at that time.
    pub operator_name: String,
    /// The operator's address; empty if unknown.
    pub address: String,
    /// `user`, `key`, `config` or `news`.
    pub kind: String,
    /// Id of the changed object; `None` for settings and for news to all.
    pub target: Option<i64>,
    /// Its name at that time.
    pub target_name: String,
    /// The outcome.
    pub status: String,
    /// JSON: every changed field with `before` and `after`, secrets masked.
    pub details: String,
    /// When.
    pub at: Millis,
}
