//! Calls without a price, counted from this version on.

pub(super) const SCHEMA: &str = "
CREATE TABLE usage_unpriced (
    day TEXT NOT NULL,
    model TEXT NOT NULL,
    account_id BIGINT NOT NULL,
    requests BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    PRIMARY KEY (day, model, account_id)
) {CLUSTERED}
";
