//! Further client keys of accounts, each with limits and a spend of its own.
//! Their leases and windows share the tables of the accounts', with key 0 for the account itself. A column of a primary
//! key cannot be null, so both tables are rebuilt.

pub(super) const SCHEMA: &str = "
CREATE TABLE client_key (
    id {ID},
    account_id BIGINT NOT NULL REFERENCES account (id),
    name TEXT NOT NULL,
    name_folded TEXT NOT NULL,
    key_hash {BLOB} NOT NULL,
    partial_key TEXT NOT NULL,
    enabled BOOLEAN NOT NULL,
    expires_at BIGINT,
    credit_limit BIGINT,
    rpm BIGINT,
    allow_models TEXT NOT NULL,
    credit_used BIGINT NOT NULL DEFAULT 0,
    leased BIGINT NOT NULL DEFAULT 0,
    requests BIGINT NOT NULL DEFAULT 0,
    used_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    deleted_at BIGINT
);
CREATE UNIQUE INDEX client_key_hash ON client_key (key_hash) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX client_key_name ON client_key (account_id, name_folded) WHERE deleted_at IS NULL;

CREATE TABLE lease_of_payer (
    account_id BIGINT NOT NULL REFERENCES account (id),
    client_key_id BIGINT NOT NULL DEFAULT 0,
    node TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    amount BIGINT NOT NULL,
    version BIGINT NOT NULL,
    touched_at BIGINT NOT NULL,
    recalled_at BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (account_id, client_key_id, node)
);
INSERT INTO lease_of_payer (account_id, node, epoch, amount, version, touched_at, recalled_at)
SELECT account_id, node, epoch, amount, version, touched_at, recalled_at FROM lease;
DROP TABLE lease;
ALTER TABLE lease_of_payer RENAME TO lease;
CREATE INDEX lease_node ON lease (node);
CREATE INDEX lease_recalled ON lease (recalled_at);

CREATE TABLE window_of_payer (
    account_id BIGINT NOT NULL,
    client_key_id BIGINT NOT NULL DEFAULT 0,
    \"window\" TEXT NOT NULL,
    model TEXT NOT NULL,
    start_at BIGINT NOT NULL,
    granted BIGINT NOT NULL,
    overspent BIGINT NOT NULL,
    PRIMARY KEY (account_id, client_key_id, \"window\", model, start_at)
) {CLUSTERED};
INSERT INTO window_of_payer (account_id, \"window\", model, start_at, granted, overspent)
SELECT account_id, \"window\", model, start_at, granted, overspent FROM window_grant;
DROP TABLE window_grant;
ALTER TABLE window_of_payer RENAME TO window_grant;
CREATE INDEX window_grant_start ON window_grant (start_at);

ALTER TABLE usage_record ADD COLUMN client_key_id BIGINT;
CREATE INDEX usage_record_client_key ON usage_record (client_key_id, start_at) WHERE client_key_id IS NOT NULL;
ALTER TABLE provider_object ADD COLUMN client_key_id BIGINT
";
