//! Postings are written in one transaction with their entries, for accounts that are locked, and neither is ever removed:
//! `PostgreSQL` looked each of them up again for every row, which took longer than the row. What is missing is found by `verify`.

pub(super) const SCHEMA: &str = "{UNCHECKED_POSTING}";

pub(super) const UNCHECKED_POSTING_POSTGRES: &str = "\
ALTER TABLE posting DROP CONSTRAINT IF EXISTS posting_entry_id_fkey, DROP CONSTRAINT IF EXISTS posting_account_id_fkey";
