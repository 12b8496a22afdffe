-- What an index on the timestamps costs: seven tables like whatsapp_messages, of 1000 messages each, fed by one log.
-- Everything is in one transaction, so the counters are exact. Nothing is pruned in it: the fillfactor leaves each page
-- room for all versions of its rows.
CREATE TABLE hot_log (LIKE whatsapp_status_log INCLUDING ALL);
CREATE TABLE variant (name text, created text, expected_15 integer, expected integer);
INSERT INTO variant VALUES
    ('four B-trees', 'CREATE INDEX ON %1$I (sent_at); CREATE INDEX ON %1$I (delivered_at);
                      CREATE INDEX ON %1$I (read_at); CREATE INDEX ON %1$I (failed_at)', 0, 0),
    ('four BRIN',    'CREATE INDEX ON %1$I USING brin (sent_at); CREATE INDEX ON %1$I USING brin (delivered_at);
                      CREATE INDEX ON %1$I USING brin (read_at); CREATE INDEX ON %1$I USING brin (failed_at)', 0, 100),
    ('no index',     '', 100, 100),
    ('B-tree on created_at',        'CREATE INDEX ON %1$I (created_at)', 100, 100),
    ('BRIN on created_at',          'CREATE INDEX ON %1$I USING brin (created_at)', 100, 100),
    ('B-tree on failed_at alone',   'CREATE INDEX ON %1$I (failed_at)', 100, 100),
    ('B-tree on sent_at, partial by status', 'CREATE INDEX ON %1$I (sent_at) WHERE status = ''sent''', 0, 0);
CREATE TABLE measured (name text, updates bigint, hot bigint);
DO $$
DECLARE
    v record;
BEGIN
    FOR v IN SELECT * FROM variant LOOP
        EXECUTE format('CREATE TABLE %I (LIKE whatsapp_messages INCLUDING DEFAULTS)
                        WITH (fillfactor = 20, autovacuum_enabled = off)', v.name);
        EXECUTE format('CREATE UNIQUE INDEX ON %I (message_id)', v.name);
        EXECUTE format(v.created, v.name);
        PERFORM msgstatus.attach(quote_ident(v.name)::regclass, 'hot_log',
            message_key => 'message_id', log_key => 'message_id', provider => 'whatsapp', policy => 'failure_wins',
            columns => '{"error_message": "failed_reason", "log.delivery_id": "id"}');
    END LOOP;
END
$$;
BEGIN;
DO $$
DECLARE
    v record;
BEGIN
    FOR v IN SELECT * FROM variant LOOP
        EXECUTE format($sql$INSERT INTO %I (message_id, direction, status, to_phone, content, created_at, sent_at)
            SELECT 'wamid.' || n, 'outgoing', 'sent', '+91' || n, 'Hello', '2025-06-16 09:00:00',
                   '2025-06-16 09:00:01.41'
              FROM generate_series(1, 1000) AS n$sql$, v.name);
    END LOOP;
END
$$;
-- The clock of Meta says 09:00:00 of what the application says 09:00:01.41, so each callback changes a timestamp.
INSERT INTO hot_log (message_id, status, event_at)
SELECT 'wamid.' || n, 'sent', '2025-06-16 09:00:00+00' FROM generate_series(1, 1000) AS n;
INSERT INTO hot_log (message_id, status, event_at)
SELECT 'wamid.' || n, 'delivered', '2025-06-16 09:00:04+00' FROM generate_series(1, 1000) AS n;
INSERT INTO hot_log (message_id, status, event_at)
SELECT 'wamid.' || n, 'read', '2025-06-16 09:09:00+00' FROM generate_series(1, 1000) AS n;
INSERT INTO measured
SELECT name, pg_stat_get_xact_tuples_updated(quote_ident(name)::regclass),
       pg_stat_get_xact_tuples_hot_updated(quote_ident(name)::regclass)
  FROM variant;
COMMIT;
-- On 15 an update that changes a column of a BRIN index is not HOT; from 16 on it is.
SELECT name, updates, CASE WHEN hot * 100 = updates * CASE WHEN current_setting('server_version_num')::int < 160000
                                                           THEN expected_15 ELSE expected END
                           THEN 'as expected' ELSE hot || ' HOT' END AS hot
  FROM variant JOIN measured USING (name) ORDER BY name;
DO $$
DECLARE
    v record;
BEGIN
    FOR v IN SELECT * FROM variant LOOP
        EXECUTE format('DROP TABLE %I', v.name);
    END LOOP;
END
$$;
DROP TABLE hot_log, variant, measured;

\echo 'A range of dates goes by created_at'
SET enable_seqscan = off;
EXPLAIN (COSTS OFF)
SELECT count(*) FROM whatsapp_messages
 WHERE created_at >= '2025-11-02' AND created_at < '2025-11-05' AND sent_at >= '2025-11-03' AND sent_at < '2025-11-04';
