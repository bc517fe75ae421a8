-- A database to look at lists of calls with: `accounts_per` accounts below each of 100 resellers, and `records`
-- calls of the last 90 days. Run it on a PostgreSQL in which a gateway has started once and root has made two
-- accounts: the busy reseller (id 2) and the one that rests since the fifth day (id 3), and then stopped:
--   psql URL -v accounts_per=1000 -v records=10000000 -v now_ms=$(date +%s000) -f tests/calls/seed.sql
-- Books do not balance afterwards: there is no money in it. What is rare says so in its name or its CASE.
\set ON_ERROR_STOP on

CREATE TEMP TABLE reseller AS
    SELECT j, CASE WHEN j < 2 THEN j + 2 ELSE j + 8 END AS id FROM generate_series(0, 99) AS s(j);

CREATE TEMP TABLE likeness AS SELECT * FROM account WHERE id = 2;
UPDATE likeness SET key_hash = NULL, credit_granted = 0;

CREATE FUNCTION pg_temp.put_accounts(source TEXT) RETURNS VOID AS $$
DECLARE columns TEXT;
BEGIN
    SELECT string_agg(quote_ident(column_name), ',') INTO columns FROM information_schema.columns
        WHERE table_schema = 'public' AND table_name = 'account'
        AND column_name NOT IN ('id', 'parent_id', 'dna', 'name', 'email');
    EXECUTE format('INSERT INTO account (id, parent_id, dna, name, email, %1$s) SELECT n.id, n.parent_id, n.dna, n.name, '
        'n.name || ''@example.com'', %1$s FROM likeness, (%2$s) AS n (id, parent_id, dna, name)', columns, source);
END $$ LANGUAGE plpgsql;

SELECT pg_temp.put_accounts('SELECT id, 1, ''.1.'' || id || ''.'', ''reseller-'' || id FROM reseller WHERE j >= 2');
SELECT pg_temp.put_accounts(format(
    'SELECT 1000 + j * %1$s + i, id, ''.1.'' || id || ''.'' || 1000 + j * %1$s + i || ''.'', ''leaf-'' || 1000 + j * %1$s + i '
    'FROM reseller, generate_series(0, %1$s - 1) AS s(i)', :accounts_per));

-- Scattered and yet the same each time; squares make the first of a set the most frequent.
CREATE FUNCTION pg_temp.part(n BIGINT, salt BIGINT) RETURNS DOUBLE PRECISION AS
    'SELECT ((hashint8extended(n, salt) >> 11) & 1048575) / 1048576.0' LANGUAGE sql IMMUTABLE;

INSERT INTO usage_record (node, epoch, sequence, request_id, account_id, path, model_asked, model_used, key_id, level,
    tries, status, input, cached, cache_write, output, reasoning, input_audio, output_audio, input_image, output_image,
    measure, cost, priced, price_version, start_at, duration_ms, first_byte_ms, streamed, posted_at, rates, factor, bill,
    expense)
SELECT 'node-' || n % 3, 7, n / 3, 'req_' || md5(n::TEXT),
    -- The second reseller rests.
    1000 + CASE WHEN j = 1 AND early THEN 1 WHEN j = 1 THEN 5 ELSE j END * :accounts_per + leaf,
    '/v1/chat/completions',
    CASE WHEN rare THEN 'rare-alias' WHEN n % 20 = 0 THEN 'fast' ELSE model END, CASE WHEN rare THEN 'rare-model' ELSE model END,
    -- The last key served the first days alone.
    CASE WHEN key = 19 AND NOT early THEN 1 ELSE key + 1 END, 0, 1 + (failed < 0.1)::INT,
    CASE WHEN n % 100000 = 7 THEN 503 WHEN failed < 0.03 THEN 429 WHEN failed < 0.05 THEN 400 ELSE 200 END,
    1000 + n % 900, n % 200, 0, 300 + n % 70, 0, 0, 0, 0, 0, 'measured', 3000000 + n % 7919, TRUE, 'seed',
    start, duration, duration / 3, TRUE, start + duration + 700 + CASE WHEN n % 5000 = 0 THEN 3600000 ELSE 0 END,
    1000000, 1000000, '', 2000000
FROM (
    SELECT n, (100 * part * part)::INT % 100 AS j, (:accounts_per * pg_temp.part(n, 2))::BIGINT % :accounts_per AS leaf,
        (20 * pg_temp.part(n, 3) * pg_temp.part(n, 3))::INT % 20 AS key, pg_temp.part(n, 4) AS failed,
        n < :records / 18 AS early, n % 500000 = 11 AS rare,
        (ARRAY['gpt-5-mini', 'claude-sonnet-4-5', 'gpt-4o', 'gemini-2.5-pro', 'deepseek-chat', 'gpt-5', 'grok-4',
            'mistral-large', 'claude-haiku-4-5', 'text-embedding-3-large'])[1 + (10 * pg_temp.part(n, 5) * pg_temp.part(n, 6))::INT % 10]
            AS model,
        :now_ms - 90 * 86400000::BIGINT + (n * (90 * 86400000::BIGINT / :records)) - (60000 * pg_temp.part(n, 7))::BIGINT AS start,
        (300 + 60000 * pg_temp.part(n, 8) * pg_temp.part(n, 9))::BIGINT AS duration
    FROM (SELECT n, pg_temp.part(n, 1) AS part FROM generate_series(1, :records::BIGINT) AS s(n)) AS numbers
) AS calls;

SELECT setval(pg_get_serial_sequence('account', 'id'), (SELECT MAX(id) FROM account));
ANALYZE;

-- What the gateway keeps beside its records: which keys and models are in them, credit, and sums.
INSERT INTO usage_seen (kind, value, span, node)
    SELECT DISTINCT 'key', key_id::TEXT, start_at / 600000, '' FROM usage_record;
INSERT INTO usage_seen (kind, value, span, node)
    SELECT DISTINCT 'model', unnest(ARRAY[model_used, model_asked]), start_at / 600000, '' FROM usage_record;

INSERT INTO credit_card (account_id, position, amount, balance, reference, granted_at, expires_at)
    SELECT id, 0, 100000000000, 100000000000 - (id * 7919 % 100) * 1000000000, 'Init', :now_ms, :now_ms + 365 * 86400000::BIGINT
    FROM account WHERE id > 3;

INSERT INTO usage_daily (account_id, day, model, requests, input, cached, output, cost)
    SELECT account_id, to_char(to_timestamp(start_at / 1000) AT TIME ZONE 'UTC', 'YYYY-MM-DD'), model_used,
        COUNT(*), SUM(input), SUM(cached), SUM(output), SUM(cost) FROM usage_record GROUP BY 1, 2, 3
    ORDER BY 2, 1;
INSERT INTO usage_span (span, account_id, requests, input, cached, output, cost)
    SELECT span, account_id, SUM(requests), SUM(input), SUM(cached), SUM(output), SUM(cost) FROM usage_daily, unnest(ARRAY[
        SUBSTR(day, 1, 4), SUBSTR(day, 1, 7), SUBSTR(day, 1, 7) || CASE WHEN SUBSTR(day, 9, 2) <= '10' THEN '/1'
            WHEN SUBSTR(day, 9, 2) <= '20' THEN '/2' ELSE '/3' END]) AS s(span)
    GROUP BY 1, 2;
-- Of those below each account that has some.
INSERT INTO usage_below (account_id, day, model, node, requests, input, cached, output, cost)
    SELECT above.id, day, model, 'node-0', SUM(d.requests), SUM(input), SUM(cached), SUM(output), SUM(cost)
    FROM usage_daily d JOIN account below ON below.id = d.account_id
    JOIN account above ON above.id = below.parent_id OR above.id = 1
    GROUP BY 1, 2, 3;
INSERT INTO earning (account_id, day, key_id, provider, model, level, requests, cost, expense)
    SELECT account_id, to_char(to_timestamp(start_at / 1000) AT TIME ZONE 'UTC', 'YYYY-MM-DD'), key_id,
        'provider-' || key_id % 3, model_used, level, COUNT(*), SUM(cost), SUM(expense) FROM usage_record GROUP BY 1, 2, 3, 5, 6
    -- As days pass.
    ORDER BY 2, 1;
INSERT INTO earning_below (account_id, day, key_id, provider, model, level, node, requests, input, cached, output, cost,
        expense)
    SELECT above.id, day, key_id, provider, model, e.level, 'node-0', SUM(e.requests), SUM(input), SUM(cached), SUM(output),
        SUM(cost), SUM(expense)
    FROM earning e JOIN account below ON below.id = e.account_id
    JOIN account above ON above.id = below.parent_id OR above.id = 1
    GROUP BY 1, 2, 3, 4, 5, 6;
-- The units of these accounts are dollars, and each call costs the operator as much.
UPDATE usage_span SET charged = cost, expense = requests * 2000000;
UPDATE account SET credit_used = used.cost, requests = used.calls FROM
    (SELECT account_id, SUM(cost)::BIGINT AS cost, SUM(requests)::BIGINT AS calls FROM usage_daily GROUP BY 1) AS used
    WHERE id = account_id;
ANALYZE;
