//! Windows over calls and tokens: limits by model, and what of a window was granted to data planes.
//! `window` is a word of PostgreSQL's, hence the quotes.

pub(super) const SCHEMA: &str = "
ALTER TABLE account ADD COLUMN model_limits TEXT NOT NULL DEFAULT '';
CREATE TABLE window_grant (
    account_id BIGINT NOT NULL,
    \"window\" TEXT NOT NULL,
    model TEXT NOT NULL,
    start_at BIGINT NOT NULL,
    granted BIGINT NOT NULL,
    overspent BIGINT NOT NULL,
    PRIMARY KEY (account_id, \"window\", model, start_at)
) {CLUSTERED};
CREATE INDEX window_grant_start ON window_grant (start_at)
";
