//! Objects stored at providers and their owners. Work that an object does after the call that made it is paid once.

pub(super) const SCHEMA: &str = "
CREATE TABLE provider_object (
    key_id BIGINT NOT NULL,
    object_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    account_id BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    status TEXT NOT NULL,
    state TEXT NOT NULL,
    model TEXT NOT NULL,
    held BIGINT NOT NULL,
    settlement TEXT NOT NULL,
    looks BIGINT NOT NULL,
    look_at BIGINT NOT NULL,
    overdue_at BIGINT NOT NULL,
    PRIMARY KEY (key_id, object_id)
) {CLUSTERED};
CREATE INDEX provider_object_id ON provider_object (object_id);
CREATE INDEX provider_object_account ON provider_object (account_id, kind, created_at, object_id);
CREATE INDEX provider_object_expiry ON provider_object (expires_at);
CREATE INDEX provider_object_due ON provider_object (look_at) WHERE state = 'pending'
";
