//! The parts of a record's cost (`Sum::text`), and the tier that served. Older records have neither.

pub(super) const SCHEMA: &str = "
ALTER TABLE usage_record ADD COLUMN tier TEXT NOT NULL DEFAULT '';
ALTER TABLE usage_record ADD COLUMN bill TEXT NOT NULL DEFAULT ''
";
