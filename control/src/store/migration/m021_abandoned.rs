//! What was done about a client that left before its answer's end; empty where it stayed, and on records of before.

pub(super) const SCHEMA: &str = "
ALTER TABLE usage_record ADD COLUMN abandoned TEXT NOT NULL DEFAULT ''
";
