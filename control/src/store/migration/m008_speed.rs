//! Totals of all accounts, so that root's bill does not read each account's. Every data plane has rows of its own, or
//! their reports would wait for each other.

pub(super) const SCHEMA: &str = "
CREATE TABLE usage_total (
    day TEXT NOT NULL,
    model TEXT NOT NULL,
    node TEXT NOT NULL,
    requests BIGINT NOT NULL,
    input BIGINT NOT NULL,
    cached BIGINT NOT NULL,
    output BIGINT NOT NULL,
    cost BIGINT NOT NULL,
    PRIMARY KEY (day, model, node)
) {CLUSTERED};
INSERT INTO usage_total (day, model, node, requests, input, cached, output, cost)
SELECT day, model, '', CAST(SUM(requests) AS BIGINT), CAST(SUM(input) AS BIGINT),
    CAST(SUM(cached) AS BIGINT), CAST(SUM(output) AS BIGINT), CAST(SUM(cost) AS BIGINT)
FROM usage_daily GROUP BY day, model
";
