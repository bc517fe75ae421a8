//! The audit log.

use proxyxai_contract::clock::Millis;

/// Which audit records to list; none means all.
#[derive(Debug, Default)]
pub struct AuditFilter {
    /// `add_user`, `update_key` and so on.
    pub action: Option<String>,
    /// Id of what was changed.
    pub target: Option<i64>,
    /// `success`.
    pub status: Option<String>,
}

/// An administrative change.
#[derive(Debug, Clone)]
pub struct AuditRecord {
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
