//! The first schema: accounts, cards, upstream keys, settings, the ledger, usage and its totals, leases, windows, audit
//! records, news, mail, prices and data planes.
//!
//! It joins what were nine steps; `adopt` renames them in a database that went through them one by one. Columns with a
//! default came later than their tables. `window` is a word of PostgreSQL's, hence the quotes.

use sea_orm_migration::sea_orm::{ConnectionTrait, DbErr};

pub(super) const NAME: &str = "m001_schema";

/// Lets a database that went through the nine steps count as one that went through this.
pub(super) async fn adopt(connection: &impl ConnectionTrait) -> Result<(), DbErr> {
    for statement in [
        "UPDATE seaql_migrations SET version = 'm001_schema' WHERE version = 'm009_spans'",
        "DELETE FROM seaql_migrations WHERE version IN ('m001_first', 'm002_lease', 'm003_windows', 'm004_account', \
         'm005_audit', 'm006_prices', 'm007_reports', 'm008_speed') \
         AND EXISTS (SELECT 1 FROM seaql_migrations WHERE version = 'm001_schema')",
    ] {
        connection.execute_unprepared(statement).await?;
    }
    Ok(())
}

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
    revision BIGINT NOT NULL,
    leased BIGINT NOT NULL DEFAULT 0,
    model_limits TEXT NOT NULL DEFAULT '',
    suspended BOOLEAN NOT NULL DEFAULT FALSE,
    model_failover TEXT NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX account_name ON account (name) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX account_email ON account (email) WHERE deleted_at IS NULL;
CREATE INDEX account_children ON account (parent_id, id) WHERE deleted_at IS NULL;
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
    images BIGINT NOT NULL DEFAULT 0,
    image_size TEXT NOT NULL DEFAULT '',
    rates BIGINT,
    factor BIGINT,
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
);
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
CREATE INDEX lease_recalled ON lease (recalled_at);
CREATE TABLE window_grant (
    account_id BIGINT NOT NULL,
    \"window\" TEXT NOT NULL,
    model TEXT NOT NULL,
    start_at BIGINT NOT NULL,
    granted BIGINT NOT NULL,
    overspent BIGINT NOT NULL,
    PRIMARY KEY (account_id, \"window\", model, start_at)
) {CLUSTERED};
CREATE INDEX window_grant_start ON window_grant (start_at);
CREATE TABLE audit (
    id {ID},
    at BIGINT NOT NULL,
    action TEXT NOT NULL,
    operator_id BIGINT NOT NULL,
    operator_name TEXT NOT NULL,
    operator_dna TEXT NOT NULL,
    address TEXT NOT NULL,
    kind TEXT NOT NULL,
    target_id BIGINT,
    target_name TEXT NOT NULL,
    target_dna TEXT NOT NULL,
    status TEXT NOT NULL,
    details TEXT NOT NULL
);
CREATE INDEX audit_at ON audit (at);
CREATE INDEX audit_operator ON audit (operator_dna {STARTS});
CREATE INDEX audit_target ON audit (target_dna {STARTS});
CREATE TABLE news (
    id {ID},
    scope TEXT NOT NULL,
    target_dna TEXT NOT NULL,
    author_id BIGINT NOT NULL,
    author_dna TEXT NOT NULL,
    title TEXT NOT NULL,
    content TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    mailed_to BIGINT
);
CREATE INDEX news_target ON news (scope, target_dna);
CREATE INDEX news_expiry ON news (expires_at);
CREATE TABLE mail (
    id {ID},
    kind TEXT NOT NULL,
    account_id BIGINT,
    recipient TEXT NOT NULL,
    subject TEXT NOT NULL,
    text_body TEXT NOT NULL,
    html_body TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    tries BIGINT NOT NULL,
    state TEXT NOT NULL,
    last_error TEXT NOT NULL
);
CREATE INDEX mail_due ON mail (state, due_at);
CREATE INDEX mail_age ON mail (created_at);
CREATE TABLE mail_mark (
    kind TEXT NOT NULL,
    subject_id BIGINT NOT NULL,
    period TEXT NOT NULL,
    PRIMARY KEY (kind, subject_id)
);
CREATE TABLE job (
    name TEXT PRIMARY KEY,
    position TEXT NOT NULL
);
CREATE TABLE price_version (
    id {ID},
    version TEXT NOT NULL UNIQUE,
    valid_from BIGINT NOT NULL,
    source TEXT NOT NULL,
    note TEXT NOT NULL,
    text TEXT NOT NULL,
    overrides TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by BIGINT
);
CREATE INDEX price_version_time ON price_version (valid_from, id);
CREATE TABLE usage_correction (
    node TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    cost BIGINT NOT NULL,
    version TEXT NOT NULL,
    posted_at BIGINT NOT NULL,
    PRIMARY KEY (node, epoch, sequence)
) {CLUSTERED};
CREATE TABLE usage_carried (
    account_id BIGINT NOT NULL,
    model TEXT NOT NULL,
    requests BIGINT NOT NULL,
    input BIGINT NOT NULL,
    cached BIGINT NOT NULL,
    output BIGINT NOT NULL,
    cost BIGINT NOT NULL,
    PRIMARY KEY (account_id, model)
) {CLUSTERED};
CREATE TABLE usage_pruned (
    node TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    through BIGINT NOT NULL,
    PRIMARY KEY (node, epoch)
) {CLUSTERED};
CREATE TABLE usage_span (
    span TEXT NOT NULL,
    account_id BIGINT NOT NULL,
    requests BIGINT NOT NULL,
    input BIGINT NOT NULL,
    cached BIGINT NOT NULL,
    output BIGINT NOT NULL,
    cost BIGINT NOT NULL,
    PRIMARY KEY (span, account_id)
) {CLUSTERED};
CREATE TABLE usage_below (
    account_id BIGINT NOT NULL,
    day TEXT NOT NULL,
    model TEXT NOT NULL,
    node TEXT NOT NULL,
    requests BIGINT NOT NULL,
    input BIGINT NOT NULL,
    cached BIGINT NOT NULL,
    output BIGINT NOT NULL,
    cost BIGINT NOT NULL,
    PRIMARY KEY (account_id, day, model, node)
) {CLUSTERED};
{WRITTEN_ONCE}
";

/// Forbids every change of the ledger, also by SQL from outside; `PostgreSQL`'s syntax.
pub(super) const WRITTEN_ONCE_POSTGRES: &str = "\
CREATE FUNCTION ledger_is_written_once() RETURNS trigger LANGUAGE plpgsql
    AS 'BEGIN RAISE EXCEPTION ''the ledger is written once''; END';
CREATE TRIGGER posting_is_written_once BEFORE UPDATE OR DELETE OR TRUNCATE ON posting
    EXECUTE FUNCTION ledger_is_written_once();
CREATE TRIGGER entry_is_written_once BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_entry
    EXECUTE FUNCTION ledger_is_written_once()";

/// SQLite's syntax, with a trigger for each kind of statement.
pub(super) const WRITTEN_ONCE_SQLITE: &str = "\
CREATE TRIGGER posting_is_not_changed BEFORE UPDATE ON posting
    BEGIN SELECT RAISE(ABORT, 'the ledger is written once'); END;
CREATE TRIGGER posting_is_not_deleted BEFORE DELETE ON posting
    BEGIN SELECT RAISE(ABORT, 'the ledger is written once'); END;
CREATE TRIGGER entry_is_not_changed BEFORE UPDATE ON ledger_entry
    BEGIN SELECT RAISE(ABORT, 'the ledger is written once'); END;
CREATE TRIGGER entry_is_not_deleted BEFORE DELETE ON ledger_entry
    BEGIN SELECT RAISE(ABORT, 'the ledger is written once'); END";
