//! Columns for the pages of spend, windows and news: tokens of earnings, so that usage can be split by key and provider
//! (older calls have none there); the limit of a window beside what was taken of it; the author of news.

pub(super) const SCHEMA: &str = "
ALTER TABLE earning ADD COLUMN input BIGINT NOT NULL DEFAULT 0;
ALTER TABLE earning ADD COLUMN cached BIGINT NOT NULL DEFAULT 0;
ALTER TABLE earning ADD COLUMN output BIGINT NOT NULL DEFAULT 0;
ALTER TABLE window_grant ADD COLUMN most BIGINT NOT NULL DEFAULT 0;
CREATE INDEX news_author ON news (author_dna {STARTS})
";
