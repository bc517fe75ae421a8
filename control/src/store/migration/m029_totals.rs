//! Earnings of all accounts together by day, so that no query adds up those of each account; one row for each data
//! plane, so that no row is hot. Also what accounts were charged and cost the operator in whole spans, beside their
//! usage.

pub(super) const SCHEMA: &str = "
CREATE TABLE earning_total (
    day TEXT NOT NULL,
    key_id BIGINT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    level BIGINT NOT NULL,
    node TEXT NOT NULL,
    requests BIGINT NOT NULL,
    input BIGINT NOT NULL,
    cached BIGINT NOT NULL,
    output BIGINT NOT NULL,
    cost BIGINT NOT NULL,
    expense BIGINT NOT NULL,
    PRIMARY KEY (day, key_id, provider, model, level, node)
) {CLUSTERED};
INSERT INTO earning_total (day, key_id, provider, model, level, node, requests, input, cached, output, cost, expense)
SELECT day, key_id, provider, model, level, '', CAST(SUM(requests) AS BIGINT), CAST(SUM(input) AS BIGINT),
    CAST(SUM(cached) AS BIGINT), CAST(SUM(output) AS BIGINT), CAST(SUM(cost) AS BIGINT), CAST(SUM(expense) AS BIGINT)
FROM earning GROUP BY day, key_id, provider, model, level;
ALTER TABLE usage_span ADD COLUMN charged BIGINT NOT NULL DEFAULT 0;
ALTER TABLE usage_span ADD COLUMN expense BIGINT NOT NULL DEFAULT 0;
INSERT INTO usage_span (span, account_id, requests, input, cached, output, cost, charged, expense)
SELECT span, account_id, 0, 0, 0, 0, 0, CAST(SUM(cost) AS BIGINT), CAST(SUM(expense) AS BIGINT)
FROM (SELECT account_id, cost, expense, SUBSTR(day, 1, 7) ||
    CASE WHEN SUBSTR(day, 9, 2) <= '10' THEN '/1' WHEN SUBSTR(day, 9, 2) <= '20' THEN '/2' ELSE '/3' END AS span
    FROM earning) third GROUP BY span, account_id
ON CONFLICT (span, account_id) DO UPDATE SET charged = excluded.charged, expense = excluded.expense;
INSERT INTO usage_span (span, account_id, requests, input, cached, output, cost, charged, expense)
SELECT SUBSTR(span, 1, 7), account_id, 0, 0, 0, 0, 0, CAST(SUM(charged) AS BIGINT), CAST(SUM(expense) AS BIGINT)
FROM usage_span WHERE LENGTH(span) = 9 GROUP BY SUBSTR(span, 1, 7), account_id
ON CONFLICT (span, account_id) DO UPDATE SET charged = excluded.charged, expense = excluded.expense;
INSERT INTO usage_span (span, account_id, requests, input, cached, output, cost, charged, expense)
SELECT SUBSTR(span, 1, 4), account_id, 0, 0, 0, 0, 0, CAST(SUM(charged) AS BIGINT), CAST(SUM(expense) AS BIGINT)
FROM usage_span WHERE LENGTH(span) = 7 GROUP BY SUBSTR(span, 1, 4), account_id
ON CONFLICT (span, account_id) DO UPDATE SET charged = excluded.charged, expense = excluded.expense
";
