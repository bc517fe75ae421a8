//! Quarantine: records that could not be posted, with the reason, so that those behind them are not blocked. Also how
//! many tokens written to a provider's cache are kept for an hour.

pub(super) const SCHEMA: &str = "
CREATE TABLE usage_quarantined (
    node TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    account_id BIGINT,
    request_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    at BIGINT NOT NULL,
    record {BLOB} NOT NULL,
    PRIMARY KEY (node, epoch, sequence)
);
ALTER TABLE usage_record ADD COLUMN cache_write_hour BIGINT NOT NULL DEFAULT 0
";
