//! What calls cost the operator, and the tags of callers: on each record (older records have none), in totals of
//! earnings by each dimension, and in totals by tag. Also monthly prices of keys, each from a day on.

pub(super) const SCHEMA: &str = "
ALTER TABLE usage_record ADD COLUMN tag TEXT NOT NULL DEFAULT '';
ALTER TABLE usage_record ADD COLUMN expense BIGINT;
CREATE TABLE earning (
    account_id BIGINT NOT NULL,
    day TEXT NOT NULL,
    key_id BIGINT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    level BIGINT NOT NULL,
    requests BIGINT NOT NULL,
    cost BIGINT NOT NULL,
    expense BIGINT NOT NULL,
    PRIMARY KEY (account_id, day, key_id, provider, model, level)
) {CLUSTERED};
CREATE INDEX earning_day ON earning (day);
CREATE TABLE tag_daily (
    account_id BIGINT NOT NULL,
    day TEXT NOT NULL,
    tag TEXT NOT NULL,
    requests BIGINT NOT NULL,
    input BIGINT NOT NULL,
    cached BIGINT NOT NULL,
    output BIGINT NOT NULL,
    cost BIGINT NOT NULL,
    PRIMARY KEY (account_id, day, tag)
) {CLUSTERED};
CREATE TABLE key_flat (
    key_id BIGINT NOT NULL,
    day TEXT NOT NULL,
    monthly BIGINT NOT NULL,
    PRIMARY KEY (key_id, day)
) {CLUSTERED}
";
