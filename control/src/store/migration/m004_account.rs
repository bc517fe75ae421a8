//! Fields of accounts that came later.

pub(super) const SCHEMA: &str = "
ALTER TABLE account ADD COLUMN suspended BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE account ADD COLUMN model_failover TEXT NOT NULL DEFAULT ''
";
