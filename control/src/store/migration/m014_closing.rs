//! A deleted account keeps what its in-flight calls may still cost: who gets the rest, what is due of the fee, and
//! whether something may be left to settle.

pub(super) const SCHEMA: &str = "
ALTER TABLE account ADD COLUMN heir BIGINT;
ALTER TABLE account ADD COLUMN fee_due BIGINT NOT NULL DEFAULT 0;
ALTER TABLE account ADD COLUMN closing BOOLEAN NOT NULL DEFAULT FALSE;
CREATE INDEX account_closing ON account (id) WHERE closing
";
