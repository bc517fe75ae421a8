//! Drops the foreign keys of postings: `PostgreSQL` looked each of them up for every row, which took longer than the
//! row. Postings are written in one transaction with their entries, for locked accounts, and neither is ever removed.
//! `verify` finds missing rows.

pub(super) const SCHEMA: &str = "{UNCHECKED_POSTING}";

pub(super) const UNCHECKED_POSTING_POSTGRES: &str = "\
ALTER TABLE posting DROP CONSTRAINT IF EXISTS posting_entry_id_fkey, DROP CONSTRAINT IF EXISTS posting_account_id_fkey";
