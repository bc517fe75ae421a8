//! Indexes that find accounts by the beginning of their name or address, ignoring case.

pub(super) const SCHEMA: &str = "
CREATE INDEX account_search_name ON account ((LOWER(name)) {BYTES}) WHERE deleted_at IS NULL;
CREATE INDEX account_search_email ON account ((LOWER(email)) {BYTES}) WHERE deleted_at IS NULL
";
