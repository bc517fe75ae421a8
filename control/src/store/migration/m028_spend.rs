//! What pages ask for: tokens of what is earned, so that use can be told by key and provider too (calls of before have none
//! there); the limit of a window beside what was taken of it; news by who posted them.

pub(super) const SCHEMA: &str = "
ALTER TABLE earning ADD COLUMN input BIGINT NOT NULL DEFAULT 0;
ALTER TABLE earning ADD COLUMN cached BIGINT NOT NULL DEFAULT 0;
ALTER TABLE earning ADD COLUMN output BIGINT NOT NULL DEFAULT 0;
ALTER TABLE window_grant ADD COLUMN most BIGINT NOT NULL DEFAULT 0;
CREATE INDEX news_author ON news (author_dna {STARTS})
";
