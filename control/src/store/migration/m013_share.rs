//! How many calls an account, and all below it, may have in flight at once. 0 means the default of the settings.

pub(super) const SCHEMA: &str = "
ALTER TABLE account ADD COLUMN calls_max BIGINT NOT NULL DEFAULT 0
";
