//! Totals of an account over whole spans without models (a year, a month, a third of one), for bills of many accounts
//! and limits, instead of months by model. Totals of all accounts below one, by day and model.

pub(super) const SCHEMA: &str = "
CREATE TABLE usage_span (
    span TEXT NOT NULL,
    account_id BIGINT NOT NULL,
    requests BIGINT NOT NULL,
    input BIGINT NOT NULL,
    cached BIGINT NOT NULL,
    output BIGINT NOT NULL,
    cost BIGINT NOT NULL,
    PRIMARY KEY (span, account_id)
) {CLUSTERED};
INSERT INTO usage_span (span, account_id, requests, input, cached, output, cost)
SELECT SUBSTR(month, 1, 4), account_id, CAST(SUM(requests) AS BIGINT), CAST(SUM(input) AS BIGINT),
    CAST(SUM(cached) AS BIGINT), CAST(SUM(output) AS BIGINT), CAST(SUM(cost) AS BIGINT)
FROM usage_monthly GROUP BY SUBSTR(month, 1, 4), account_id;
INSERT INTO usage_span (span, account_id, requests, input, cached, output, cost)
SELECT month, account_id, CAST(SUM(requests) AS BIGINT), CAST(SUM(input) AS BIGINT),
    CAST(SUM(cached) AS BIGINT), CAST(SUM(output) AS BIGINT), CAST(SUM(cost) AS BIGINT)
FROM usage_monthly GROUP BY month, account_id;
INSERT INTO usage_span (span, account_id, requests, input, cached, output, cost)
SELECT span, account_id, CAST(SUM(requests) AS BIGINT), CAST(SUM(input) AS BIGINT),
    CAST(SUM(cached) AS BIGINT), CAST(SUM(output) AS BIGINT), CAST(SUM(cost) AS BIGINT)
FROM (SELECT account_id, requests, input, cached, output, cost, SUBSTR(day, 1, 7) ||
    CASE WHEN SUBSTR(day, 9, 2) <= '10' THEN '/1' WHEN SUBSTR(day, 9, 2) <= '20' THEN '/2' ELSE '/3' END AS span
    FROM usage_daily) third GROUP BY span, account_id;
DROP TABLE usage_monthly;
CREATE TABLE usage_below (
    account_id BIGINT NOT NULL,
    day TEXT NOT NULL,
    model TEXT NOT NULL,
    node TEXT NOT NULL,
    requests BIGINT NOT NULL,
    input BIGINT NOT NULL,
    cached BIGINT NOT NULL,
    output BIGINT NOT NULL,
    cost BIGINT NOT NULL,
    PRIMARY KEY (account_id, day, model, node)
) {CLUSTERED};
INSERT INTO usage_below (account_id, day, model, node, requests, input, cached, output, cost)
WITH RECURSIVE above (id, account_id) AS (
    SELECT id, parent_id FROM account WHERE parent_id IS NOT NULL
    UNION ALL SELECT above.id, account.parent_id FROM above JOIN account ON account.id = above.account_id
    WHERE account.parent_id IS NOT NULL)
SELECT above.account_id, day, model, '', CAST(SUM(requests) AS BIGINT), CAST(SUM(input) AS BIGINT),
    CAST(SUM(cached) AS BIGINT), CAST(SUM(output) AS BIGINT), CAST(SUM(cost) AS BIGINT)
FROM usage_daily JOIN above ON above.id = usage_daily.account_id GROUP BY above.account_id, day, model;
DROP TABLE usage_total
";
