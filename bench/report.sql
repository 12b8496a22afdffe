-- The results: a table of ratios, then what they were made from. Also as files in :out.
\set ON_ERROR_STOP on
CREATE TEMP VIEW median AS
SELECT bench, side, percentile_cont(0.5) WITHIN GROUP (ORDER BY value) AS median, min(value), max(value),
       percentile_cont(0.5) WITHIN GROUP (ORDER BY cpu_seconds) AS cpu_seconds, count(*) AS runs
  FROM bench.run GROUP BY bench, side;

-- A comparison is of rates (ours to theirs, at least), of times (ours to theirs, at most), of speeds (their time to
-- ours, at least), a cost (how many microseconds more one of ours takes, at most), or a share in per cent (at least). Those without a target are for information. The column "by CPU"
-- has the same comparison by processor time of the backends, which other work on the machine disturbs less.
CREATE TEMP TABLE comparison (
    place serial, bench text, what text, against text, ours text, theirs text, kind text, target numeric);
INSERT INTO comparison (bench, what, against, ours, theirs, kind, target) VALUES
    ('single', 'single-row INSERT into the log, 2 clients, commit without waiting', 'INSERT and UPDATE in one CTE, no trigger', 'ours', 'cte', 'rate', 0.95),
    ('single', '', 'PL/pgSQL row trigger', 'ours', 'plpgsql', 'rate', 1.15),
    ('single', '', 'application: SELECT FOR UPDATE, INSERT, UPDATE', 'ours', 'app', 'rate', 3),
    ('single_durable', 'the same, each commit waits for the disk', 'INSERT and UPDATE in one CTE, no trigger', 'ours', 'cte', 'rate', NULL),
    ('single_durable', '', 'PL/pgSQL row trigger', 'ours', 'plpgsql', 'rate', NULL),
    ('single_durable', '', 'application: SELECT FOR UPDATE, INSERT, UPDATE', 'ours', 'app', 'rate', NULL),
    ('copy', 'COPY of callbacks, four a message', 'no trigger', 'ours', 'none', 'time', 1.5),
    ('copy', '', 'PL/pgSQL row trigger', 'ours', 'plpgsql', 'speed', 3),
    ('batch1', 'statements of 1000 callbacks, 1 writer', 'INSERT and UPDATE FROM VALUES', 'ours', 'peer', 'rate', 1.5),
    ('batch1', '', 'the same, with random_page_cost = 1.1', 'ours', 'peer_by_index', 'rate', 1.5),
    ('batch4', 'statements of 1000 callbacks, 4 writers', 'INSERT and UPDATE FROM VALUES', 'ours', 'peer', 'rate', 1.5),
    ('batch4', '', 'the same, with random_page_cost = 1.1', 'ours', 'peer_by_index', 'rate', 1.5),
    ('batch1_arrays', 'the same from arrays, prepared, 1 writer', 'INSERT and UPDATE FROM unnest', 'ours', 'peer', 'rate', NULL),
    ('batch4_arrays', 'the same from arrays, prepared, 4 writers', 'INSERT and UPDATE FROM unnest', 'ours', 'peer', 'rate', NULL),
    ('big1', '1 writer, the latest of 10 million messages', '100,000 messages', 'ours_latest', 'ours', 'rate', 0.7),
    ('big4', '4 writers, the latest of 10 million messages', '100,000 messages', 'ours_latest', 'ours', 'rate', 0.7),
    ('big1', '1 writer, any of 10 million messages', '100,000 messages', 'ours_anywhere', 'ours', 'rate', 0.7),
    ('big4', '4 writers, any of 10 million messages', '100,000 messages', 'ours_anywhere', 'ours', 'rate', 0.7),
    ('big4', 'INSERT and UPDATE FROM unnest, 4 writers, the latest', '100,000 messages', 'peer_latest', 'peer', 'rate', NULL),
    ('big4', 'INSERT and UPDATE FROM unnest, 4 writers, any', '100,000 messages', 'peer_anywhere', 'peer', 'rate', NULL),
    ('update_other', 'UPDATE of all messages that leaves status alone', 'no trigger', 'ours', 'none', 'time', 1.03),
    ('update_other', '', 'the same, in a session that has not loaded the library', 'not_loaded', 'none', 'time', NULL),
    ('update_status', 'UPDATE of all messages that changes status', 'no trigger', 'ours', 'none', 'time', 1.3),
    ('scan', 'scan, is_final(status)', 'an integer > 50', 'final', 'integer_later', 'time', 1.5),
    ('scan', 'scan, status >> ''sent''', 'an integer > 50', 'later', 'integer_later', 'time', 1.5),
    ('scan', 'scan, rank(status) > 50', 'an integer > 50', 'rank', 'integer_later', 'time', 1.5),
    ('scan', 'scan, fold(status, status_at)', 'max(integer)', 'fold', 'integer_max', 'time', 2),
    ('scan_parallel', 'scan with 2 workers, is_final(status)', 'an integer > 50', 'final', 'integer_later', 'time', NULL),
    ('scan_parallel', 'scan with 2 workers, status >> ''sent''', 'an integer > 50', 'later', 'integer_later', 'time', NULL),
    ('scan_parallel', 'scan with 2 workers, rank(status) > 50', 'an integer > 50', 'rank', 'integer_later', 'time', NULL),
    ('scan_parallel', 'scan with 2 workers, fold(status, status_at)', 'max(integer)', 'fold', 'integer_max', 'time', NULL),
    ('hot_single', 'HOT updates in whole lives, single callbacks, %', '', 'ours', NULL, 'share', 90),
    ('hot_batch', 'HOT updates in whole lives, statements of 1000, %', '', 'ours', NULL, 'share', 90),
    ('copy_hot', 'HOT updates of one COPY that updates every message once, %', '', 'ours', NULL, 'share', NULL),
    ('hot_single', 'with an index WHERE NOT final: HOT, single callbacks, %', '', 'in_flight_index', NULL, 'share', NULL),
    ('hot_batch', 'with an index WHERE NOT final: HOT, statements of 1000, %', '', 'in_flight_index', NULL, 'share', NULL),
    ('hot_single_rate', 'with an index WHERE NOT final: single callbacks', 'without it', 'in_flight_index', 'ours', 'rate', NULL),
    ('hot_batch_rate', 'with an index WHERE NOT final: statements of 1000', 'without it', 'in_flight_index', 'ours', 'rate', NULL),
    ('hot_single', 'with a table beside: HOT, single callbacks, %', '', 'in_flight_table', NULL, 'share', NULL),
    ('hot_batch', 'with a table beside: HOT, statements of 1000, %', '', 'in_flight_table', NULL, 'share', NULL),
    ('hot_single_rate', 'with a table beside: single callbacks', 'without it', 'in_flight_table', 'ours', 'rate', NULL),
    ('hot_batch_rate', 'with a table beside: statements of 1000', 'without it', 'in_flight_table', 'ours', 'rate', NULL),
    ('insert', 'INSERT of messages, log empty', 'no trigger', 'log_empty', 'none', 'time', 1.5),
    ('insert', 'INSERT of messages, log full of others', 'no trigger', 'log_of_others', 'none', 'time', 1.5),
    ('insert', 'INSERT of messages, a callback waits for each', 'INSERT and UPDATE FROM the log, no trigger', 'log_of_each', 'by_hand', 'time', NULL),
    ('insert', '', 'no trigger', 'log_of_each', 'none', 'time', NULL),
    ('webhook_twilio', 'a callback of Twilio''s verified, parsed and inserted: microseconds more', 'INSERT of what was parsed already', 'callback', 'insert', 'cost', 60),
    ('webhook_whatsapp', 'the same of Meta''s', '', 'callback', 'insert', 'cost', 60),
    ('jsonb_read', 'messages that were read, by columns', 'by a jsonb map with a GIN index', 'native', 'jsonb', 'time', NULL),
    ('jsonb_undelivered', 'undelivered for 5 minutes, by columns', 'by a jsonb map', 'native', 'jsonb', 'time', NULL),
    ('jsonb_delivery_rate', 'delivery rate of a day, by columns', 'by a jsonb map', 'native', 'jsonb', 'time', NULL),
    ('jsonb_read_rate', 'read rate of a day, by columns', 'by a jsonb map', 'native', 'jsonb', 'time', NULL),
    ('jsonb_delivery_time', 'average delivery time of a day, by columns', 'by a jsonb map', 'native', 'jsonb', 'time', NULL),
    ('jsonb_engaged', 'most engaged users of a week, by columns', 'by a jsonb map', 'native', 'jsonb', 'time', NULL),
    ('jsonb_update', 'UPDATE of a jsonb map', 'with a GIN index on it', 'no_gin', 'gin', 'time', NULL);

CREATE TEMP VIEW ratio AS
SELECT c.place, c.what, c.against, c.kind, c.target,
       CASE c.kind WHEN 'share' THEN a.median WHEN 'speed' THEN b.median / a.median
                   WHEN 'cost' THEN 1e6 / a.median - 1e6 / b.median ELSE a.median / b.median END AS ratio,
       CASE WHEN c.kind NOT IN ('share', 'cost') THEN CASE c.kind WHEN 'time' THEN a.cpu_seconds / nullif(b.cpu_seconds, 0)
                                                    ELSE b.cpu_seconds / nullif(a.cpu_seconds, 0) END END AS cpu_ratio
  FROM comparison AS c
  JOIN median AS a ON a.bench = c.bench AND a.side = c.ours
  LEFT JOIN median AS b ON b.bench = c.bench AND b.side = c.theirs
 WHERE c.theirs IS NULL OR b.side IS NOT NULL;

CREATE TEMP VIEW ratios AS
SELECT what, against, round(ratio::numeric, 2) AS ratio, coalesce(round(cpu_ratio::numeric, 2)::text, '') AS "by CPU",
       coalesce(CASE WHEN kind IN ('time', 'cost') THEN '<= ' ELSE '>= ' END || target, '') AS target,
       CASE WHEN target IS NULL THEN '' WHEN CASE WHEN kind IN ('time', 'cost') THEN ratio <= target ELSE ratio >= target END THEN 'yes'
            ELSE 'no' END AS met
  FROM ratio ORDER BY place;

CREATE TEMP VIEW medians AS
SELECT bench, side,
       CASE WHEN bench ~ '^hot_(single|batch)$|^copy_hot$' THEN '%' WHEN bench ~ '^(single|batch|big|hot|webhook)' THEN 'rows/s' ELSE 'ms' END AS unit,
       round(median::numeric, 1) AS median, round(min::numeric, 1) AS min, round(max::numeric, 1) AS max,
       round(cpu_seconds::numeric, 2) AS "CPU s", runs
  FROM median ORDER BY bench, side;

\pset footer off
\echo
SELECT * FROM ratios;
\echo Medians, and the processor time of the backends
SELECT * FROM medians;

\pset format csv
\pset csv_fieldsep '\t'
\set file :out /ratios.tsv
\o :file
SELECT * FROM ratios;
\set file :out /medians.tsv
\o :file
SELECT * FROM medians;
\o
