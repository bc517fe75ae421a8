//! Reports: totals of months, and what the totals of days and months hold beyond the raw records.

pub(super) const SCHEMA: &str = "
CREATE TABLE usage_monthly (
    account_id BIGINT NOT NULL,
    month TEXT NOT NULL,
    model TEXT NOT NULL,
    requests BIGINT NOT NULL,
    input BIGINT NOT NULL,
    cached BIGINT NOT NULL,
    output BIGINT NOT NULL,
    cost BIGINT NOT NULL,
    PRIMARY KEY (account_id, month, model)
) {CLUSTERED};
INSERT INTO usage_monthly (account_id, month, model, requests, input, cached, output, cost)
SELECT account_id, SUBSTR(day, 1, 7), model, CAST(SUM(requests) AS BIGINT), CAST(SUM(input) AS BIGINT),
    CAST(SUM(cached) AS BIGINT), CAST(SUM(output) AS BIGINT), CAST(SUM(cost) AS BIGINT)
FROM usage_daily GROUP BY account_id, SUBSTR(day, 1, 7), model;
CREATE INDEX usage_monthly_month ON usage_monthly (month);
CREATE TABLE usage_carried (
    account_id BIGINT NOT NULL,
    model TEXT NOT NULL,
    requests BIGINT NOT NULL,
    input BIGINT NOT NULL,
    cached BIGINT NOT NULL,
    output BIGINT NOT NULL,
    cost BIGINT NOT NULL,
    PRIMARY KEY (account_id, model)
) {CLUSTERED};
CREATE TABLE usage_pruned (
    node TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    through BIGINT NOT NULL,
    PRIMARY KEY (node, epoch)
) {CLUSTERED};
DROP INDEX account_parent;
CREATE INDEX account_children ON account (parent_id, id) WHERE deleted_at IS NULL;
{WRITTEN_ONCE}
";

/// Forbids every change of the ledger, also by SQL from outside; `PostgreSQL`'s syntax.
pub(super) const WRITTEN_ONCE_POSTGRES: &str = "\
CREATE FUNCTION ledger_is_written_once() RETURNS trigger LANGUAGE plpgsql
    AS 'BEGIN RAISE EXCEPTION ''the ledger is written once''; END';
CREATE TRIGGER posting_is_written_once BEFORE UPDATE OR DELETE OR TRUNCATE ON posting
    EXECUTE FUNCTION ledger_is_written_once();
CREATE TRIGGER entry_is_written_once BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_entry
    EXECUTE FUNCTION ledger_is_written_once()";

/// SQLite's syntax, with a trigger for each kind of statement.
pub(super) const WRITTEN_ONCE_SQLITE: &str = "\
CREATE TRIGGER posting_is_not_changed BEFORE UPDATE ON posting
    BEGIN SELECT RAISE(ABORT, 'the ledger is written once'); END;
CREATE TRIGGER posting_is_not_deleted BEFORE DELETE ON posting
    BEGIN SELECT RAISE(ABORT, 'the ledger is written once'); END;
CREATE TRIGGER entry_is_not_changed BEFORE UPDATE ON ledger_entry
    BEGIN SELECT RAISE(ABORT, 'the ledger is written once'); END;
CREATE TRIGGER entry_is_not_deleted BEFORE DELETE ON ledger_entry
    BEGIN SELECT RAISE(ABORT, 'the ledger is written once'); END";
