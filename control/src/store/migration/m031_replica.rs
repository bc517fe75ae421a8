//! Replicas of control on one server. Data planes of one name are told apart by their process.

pub(super) const SCHEMA: &str = "
CREATE TABLE replica (
    id TEXT PRIMARY KEY,
    seen_at BIGINT NOT NULL,
    published BIGINT NOT NULL,
    nodes TEXT NOT NULL
)
";
