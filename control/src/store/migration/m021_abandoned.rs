//! What was done after a client disconnected before the end of the response. Empty if it stayed, and on older records.

pub(super) const SCHEMA: &str = "
ALTER TABLE usage_record ADD COLUMN abandoned TEXT NOT NULL DEFAULT ''
";
