//! The attempts of calls that took more than one (`attempt::text`), and calls that were refused before any attempt.

pub(super) const SCHEMA: &str = "
ALTER TABLE usage_record ADD COLUMN attempts TEXT NOT NULL DEFAULT '';
CREATE TABLE refused_call (
    at BIGINT NOT NULL,
    id BIGINT NOT NULL,
    account_id BIGINT NOT NULL,
    path TEXT NOT NULL,
    model TEXT NOT NULL,
    status BIGINT NOT NULL,
    code TEXT NOT NULL,
    message TEXT NOT NULL,
    request_id TEXT NOT NULL,
    duration_ms BIGINT NOT NULL,
    represents BIGINT NOT NULL,
    PRIMARY KEY (at, id)
) {CLUSTERED};
CREATE INDEX refused_call_account ON refused_call (account_id, at, id);
CREATE INDEX refused_call_request ON refused_call (request_id)
";
