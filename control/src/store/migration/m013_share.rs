//! How many calls an account, and all below it, may have open at once: 0 for as many as the setting says.

pub(super) const SCHEMA: &str = "
ALTER TABLE account ADD COLUMN calls_max BIGINT NOT NULL DEFAULT 0
";
