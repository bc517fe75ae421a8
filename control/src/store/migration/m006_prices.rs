//! Price tables by the moment they came into force, what a record needs to be priced anew, and what
//! re-pricing made of it.

pub(super) const SCHEMA: &str = "
ALTER TABLE usage_record ADD COLUMN images BIGINT NOT NULL DEFAULT 0;
ALTER TABLE usage_record ADD COLUMN image_size TEXT NOT NULL DEFAULT '';
ALTER TABLE usage_record ADD COLUMN rates BIGINT;
ALTER TABLE usage_record ADD COLUMN factor BIGINT;
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
) {CLUSTERED}
";
