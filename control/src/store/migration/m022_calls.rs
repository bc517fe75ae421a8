//! Lists of calls: how far each spool of a data plane is posted, and indexes for the calls of all accounts.
//!
//! Every posted call pays for each index, so there are few: by time; by statuses other than 200, which are rare; and by
//! id within a day, which keeps the writes together.
//!
//! For keys and models only the ten-minute spans in which their calls began are stored, and other spans are skipped.

pub(super) const SCHEMA: &str = "
CREATE TABLE usage_spool (
    id {ID},
    node TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    through BIGINT NOT NULL,
    posted_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX usage_spool_name ON usage_spool (node, epoch);
INSERT INTO usage_spool (node, epoch, through, posted_at)
SELECT node, epoch, MAX(sequence), MAX(posted_at) FROM usage_record GROUP BY node, epoch;
CREATE TABLE usage_seen (
    kind TEXT NOT NULL,
    value TEXT {BYTES} NOT NULL,
    span BIGINT NOT NULL,
    node TEXT NOT NULL,
    PRIMARY KEY (kind, value, span, node)
) {CLUSTERED};
INSERT INTO usage_seen (kind, value, span, node)
SELECT DISTINCT 'key', CAST(key_id AS TEXT), start_at / 600000, '' FROM usage_record WHERE key_id IS NOT NULL;
INSERT INTO usage_seen (kind, value, span, node)
SELECT DISTINCT 'model', model_used, start_at / 600000, '' FROM usage_record;
INSERT INTO usage_seen (kind, value, span, node)
SELECT DISTINCT 'model', model_asked, start_at / 600000, '' FROM usage_record WHERE model_asked <> model_used
ON CONFLICT DO NOTHING;
CREATE INDEX usage_record_time ON usage_record (start_at);
CREATE INDEX usage_record_status ON usage_record (status, start_at) WHERE status <> 200;
CREATE INDEX usage_record_request ON usage_record ((start_at / 86400000), request_id)
";
