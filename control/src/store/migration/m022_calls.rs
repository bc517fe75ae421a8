//! Lists of calls: how far each spool of a data plane is posted, and ways to the calls of everybody.
//!
//! Each index of the records is paid for with each call that is posted, so there are few: one by time; one of what was not
//! answered with 200, which is little; and one by id within a day, whose writes are to one part of it. Of keys and models it is noted in which ten minutes
//! calls of them began, once for all calls of that time, and what lies between is passed over.

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
