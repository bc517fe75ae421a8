//! The first schema: accounts, cards, upstream keys, settings, the ledger, usage, data planes.

pub(super) const SCHEMA: &str = "
CREATE TABLE account (
    id {ID},
    parent_id BIGINT REFERENCES account (id),
    dna TEXT NOT NULL,
    name TEXT NOT NULL,
    email TEXT NOT NULL,
    alias TEXT NOT NULL,
    billing_email TEXT NOT NULL,
    qr_code TEXT NOT NULL,
    key_hash {BLOB} UNIQUE,
    partial_key TEXT NOT NULL,
    level BIGINT NOT NULL,
    gear BIGINT NOT NULL,
    role BIGINT NOT NULL,
    tier BIGINT NOT NULL,
    rates BIGINT NOT NULL,
    factor BIGINT NOT NULL,
    debt BIGINT NOT NULL,
    credit_granted BIGINT NOT NULL,
    credit_used BIGINT NOT NULL,
    requests BIGINT NOT NULL,
    hard_limit BIGINT,
    soft_limit BIGINT,
    auto_quota BIGINT NOT NULL,
    rpm BIGINT NOT NULL,
    rph BIGINT NOT NULL,
    rpd BIGINT NOT NULL,
    tpm BIGINT NOT NULL,
    tph BIGINT NOT NULL,
    tpd BIGINT NOT NULL,
    allow_ips TEXT NOT NULL,
    allow_models TEXT NOT NULL,
    allow_levels TEXT NOT NULL,
    resources TEXT NOT NULL,
    model_mapper TEXT NOT NULL,
    level_mapper TEXT NOT NULL,
    switch_over TEXT NOT NULL,
    child_limit BIGINT NOT NULL,
    enabled BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    deleted_at BIGINT,
    gone BOOLEAN NOT NULL,
    revision BIGINT NOT NULL
);
CREATE UNIQUE INDEX account_name ON account (name) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX account_email ON account (email) WHERE deleted_at IS NULL;
CREATE INDEX account_parent ON account (parent_id);
CREATE INDEX account_dna ON account ({PREFIX});
CREATE INDEX account_revision ON account (revision);
{ROOT};
CREATE TABLE credit_card (
    account_id BIGINT NOT NULL REFERENCES account (id),
    position BIGINT NOT NULL,
    amount BIGINT NOT NULL,
    balance BIGINT NOT NULL,
    reference TEXT NOT NULL,
    granted_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (account_id, position)
);
CREATE INDEX credit_card_expiry ON credit_card (expires_at);
CREATE TABLE upstream_key (
    id {ID},
    name TEXT NOT NULL,
    sealed {BLOB} NOT NULL,
    fingerprint {BLOB} NOT NULL,
    hint TEXT NOT NULL,
    provider TEXT NOT NULL,
    level BIGINT NOT NULL,
    enabled BOOLEAN NOT NULL,
    config TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    deleted_at BIGINT,
    revision BIGINT NOT NULL
);
CREATE UNIQUE INDEX upstream_key_secret ON upstream_key (fingerprint, provider) WHERE deleted_at IS NULL;
CREATE INDEX upstream_key_revision ON upstream_key (revision);
CREATE TABLE setting (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL,
    revision BIGINT NOT NULL
);
CREATE TABLE revision (
    id BIGINT PRIMARY KEY,
    current BIGINT NOT NULL,
    reload_count BIGINT NOT NULL,
    sentinel {BLOB}
);
INSERT INTO revision (id, current, reload_count) VALUES (1, 1, 0);
CREATE TABLE ledger_entry (
    id {ID},
    at BIGINT NOT NULL,
    reason TEXT NOT NULL,
    reference TEXT NOT NULL
);
CREATE TABLE posting (
    id {ID},
    entry_id BIGINT NOT NULL REFERENCES ledger_entry (id),
    book TEXT NOT NULL,
    account_id BIGINT REFERENCES account (id),
    amount BIGINT NOT NULL
);
CREATE INDEX posting_entry ON posting (entry_id);
CREATE INDEX posting_account ON posting (account_id);
CREATE TABLE usage_record (
    node TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    request_id TEXT NOT NULL,
    account_id BIGINT NOT NULL,
    path TEXT NOT NULL,
    model_asked TEXT NOT NULL,
    model_used TEXT NOT NULL,
    key_id BIGINT,
    level BIGINT NOT NULL,
    tries BIGINT NOT NULL,
    status BIGINT NOT NULL,
    input BIGINT NOT NULL,
    cached BIGINT NOT NULL,
    cache_write BIGINT NOT NULL,
    output BIGINT NOT NULL,
    reasoning BIGINT NOT NULL,
    input_audio BIGINT NOT NULL,
    output_audio BIGINT NOT NULL,
    input_image BIGINT NOT NULL,
    output_image BIGINT NOT NULL,
    measure TEXT NOT NULL,
    cost BIGINT NOT NULL,
    priced BOOLEAN NOT NULL,
    price_version TEXT NOT NULL,
    start_at BIGINT NOT NULL,
    duration_ms BIGINT NOT NULL,
    first_byte_ms BIGINT NOT NULL,
    streamed BOOLEAN NOT NULL,
    posted_at BIGINT NOT NULL,
    PRIMARY KEY (node, epoch, sequence)
) {CLUSTERED};
CREATE INDEX usage_record_account ON usage_record (account_id, start_at);
CREATE TABLE usage_daily (
    account_id BIGINT NOT NULL,
    day TEXT NOT NULL,
    model TEXT NOT NULL,
    requests BIGINT NOT NULL,
    input BIGINT NOT NULL,
    cached BIGINT NOT NULL,
    output BIGINT NOT NULL,
    cost BIGINT NOT NULL,
    PRIMARY KEY (account_id, day, model)
) {CLUSTERED};
CREATE INDEX usage_daily_day ON usage_daily (day);
CREATE TABLE node (
    name TEXT PRIMARY KEY,
    epoch BIGINT NOT NULL,
    version TEXT NOT NULL,
    applied BIGINT NOT NULL,
    rejections TEXT NOT NULL,
    seen_at BIGINT NOT NULL
)
";
