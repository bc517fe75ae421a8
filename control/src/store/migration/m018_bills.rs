//! What a record's cost is the sum of (`Sum::text`), and the tier that served. Records of before have neither.

pub(super) const SCHEMA: &str = "
ALTER TABLE usage_record ADD COLUMN tier TEXT NOT NULL DEFAULT '';
ALTER TABLE usage_record ADD COLUMN bill TEXT NOT NULL DEFAULT ''
";
