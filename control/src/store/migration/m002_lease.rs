//! Leases: credit that a data plane may spend without asking.

pub(super) const SCHEMA: &str = "
ALTER TABLE account ADD COLUMN leased BIGINT NOT NULL DEFAULT 0;
CREATE TABLE lease (
    account_id BIGINT NOT NULL REFERENCES account (id),
    node TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    amount BIGINT NOT NULL,
    version BIGINT NOT NULL,
    touched_at BIGINT NOT NULL,
    recalled_at BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (account_id, node)
);
CREATE INDEX lease_node ON lease (node);
CREATE INDEX lease_recalled ON lease (recalled_at)
";
