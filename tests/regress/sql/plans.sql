-- The answer does not depend on the plan: the fold is asked about the row with the key, whatever PostgreSQL scans. And the
-- plan is the index's, whatever the session's settings; where there is none to go by, the session is told once.
SET client_min_messages = warning;
\set VERBOSITY terse
CREATE SCHEMA plans;
SET search_path = plans;

-- A callback without a message is unmatched and waits, one by one and in a statement of many; one with a message finds it;
-- and the message that comes later is told. "wrong" is what is not as it has to be.
CREATE FUNCTION try(what text) RETURNS TABLE (tried text, nobody msgstatus.verdict, known msgstatus.verdict, wrong text) LANGUAGE plpgsql AS $$
BEGIN
    tried := what;
    DELETE FROM l;
    nobody := msgstatus.apply_status('nobody', 'sent', messages => 'm');
    known := msgstatus.apply_status('A2', 'read', messages => 'm');
    INSERT INTO l VALUES ('many1', 'sent', '2026-01-01 10:00+00'), ('A3', 'sent', '2026-01-01 10:00+00'), ('many2', 'delivered', '2026-01-01 10:00+00');
    SELECT string_agg(u.message_key || ' ' || u.word, ', ' ORDER BY u.message_key) INTO wrong
      FROM msgstatus.unmatched('m') u WHERE u.message_key NOT IN ('nobody', 'many1', 'many2');
    IF (SELECT count(*) FROM msgstatus.unmatched('m')) <> 3 THEN
        wrong := concat_ws(', ', wrong, 'unmatched: ' || (SELECT count(*) FROM msgstatus.unmatched('m')));
    END IF;
    INSERT INTO m VALUES ('nobody', 'queued'), ('many1', 'queued'), ('many2', 'queued');
    SELECT concat_ws(', ', wrong, string_agg(m.sid || ' is ' || m.status, ', ' ORDER BY m.sid)) INTO wrong
      FROM m WHERE (m.sid, m.status::text) NOT IN (('nobody', 'sent'), ('many1', 'sent'), ('many2', 'delivered'), ('A1', 'read'), ('A2', 'read'), ('A3', 'read'));
    DELETE FROM m WHERE sid IN ('nobody', 'many1', 'many2');
    RETURN NEXT;
END $$;

CREATE TABLE m (sid text COLLATE "POSIX", status msgstatus.delivery_status, status_at timestamptz);
CREATE UNIQUE INDEX m_key ON m (sid);
CREATE TABLE l (sid text COLLATE "POSIX", status text, event_at timestamptz);
CREATE INDEX l_key ON l (sid);
SELECT msgstatus.attach('m', 'l');
INSERT INTO m SELECT 'A' || g, 'read', '2026-01-01' FROM generate_series(1, 3) g;
SELECT * FROM try('as it should be');

-- Whatever the session's settings: no table is read from one end to the other.
CREATE FUNCTION scans(OUT of_messages bigint, OUT of_log bigint) LANGUAGE sql AS
    $$ SELECT pg_stat_get_xact_numscans('m'::regclass), pg_stat_get_xact_numscans('l'::regclass) $$;
CREATE PROCEDURE by_index(settings text) LANGUAGE plpgsql AS $$
DECLARE
    setting text;
    before record;
    after record;
BEGIN
    FOREACH setting IN ARRAY string_to_array(settings, ' ') LOOP
        PERFORM set_config(split_part(setting, '=', 1), split_part(setting, '=', 2), false);
    END LOOP;
    before := scans();
    INSERT INTO l VALUES ('A1', 'sent', '2026-01-01 10:00+00');
    INSERT INTO l VALUES ('A1', 'sent', '2026-01-01 10:00+00'), ('A2', 'sent', '2026-01-01 10:00+00'), ('none', 'sent', '2026-01-01 10:00+00');
    after := scans();
    RAISE WARNING '%: % and % scans', settings, after.of_messages - before.of_messages, after.of_log - before.of_log;
    FOREACH setting IN ARRAY string_to_array(settings, ' ') LOOP
        IF current_setting(split_part(setting, '=', 1)) <> split_part(setting, '=', 2) THEN
            RAISE WARNING 'the session has another %', setting;
        END IF;
    END LOOP;
END $$;
ANALYZE m, l;
CALL by_index('enable_indexscan=off enable_bitmapscan=off enable_indexonlyscan=off');
ANALYZE m, l;
CALL by_index('plan_cache_mode=force_custom_plan');
ANALYZE m, l;
CALL by_index('enable_nestloop=off enable_tidscan=off plan_cache_mode=force_generic_plan');
RESET ALL;
SET client_min_messages = warning;
SET search_path = plans;

-- An index that cannot serve. The session is told of each table once.
CREATE UNIQUE INDEX m_other ON m (sid COLLATE "C");
DROP INDEX m_key;
SELECT * FROM try('another collation than the column''s');
SELECT * FROM try('the same again');
DROP INDEX m_other;
CREATE UNIQUE INDEX m_other ON m (sid) WHERE sid > 'A2';
SELECT * FROM try('partial');
DROP INDEX m_other;
SELECT * FROM try('none at all');
CREATE UNIQUE INDEX m_key ON m (sid);
SET allow_system_table_mods = on;
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'm_key'::regclass;
RESET allow_system_table_mods;
ALTER TABLE m SET (fillfactor = 90);
SELECT * FROM try('invalid');
DROP INDEX m_key;
-- An index that was made beside rows that were updated before serves only transactions that begin later.
CREATE INDEX m_status ON m (status);
BEGIN;
UPDATE m SET status_at = status_at + interval '1 s';
CREATE UNIQUE INDEX m_key ON m (sid);
SELECT * FROM try('made in this transaction');
ROLLBACK;
DROP INDEX m_status;
CREATE UNIQUE INDEX m_key ON m (sid);

-- The log's: a message that comes behind its callbacks finds them without, and is right.
DROP INDEX l_key;
SELECT * FROM try('no index of the log');
SELECT * FROM try('the same again');
CREATE INDEX l_key ON l (sid);
SELECT * FROM try('as it should be');

-- In partitions, one of which lacks its index: an index of the whole that is not valid.
CREATE TABLE p (sid text, status msgstatus.delivery_status, status_at timestamptz) PARTITION BY LIST (sid);
CREATE TABLE p_a PARTITION OF p FOR VALUES IN ('A1', 'A2', 'A3');
CREATE TABLE p_other PARTITION OF p DEFAULT;
CREATE UNIQUE INDEX p_key ON p (sid);
SELECT msgstatus.detach('m', 'l');
ALTER TABLE m RENAME TO old;
ALTER TABLE p RENAME TO m;
SELECT msgstatus.attach('m', 'l');
INSERT INTO m SELECT 'A' || g, 'read', '2026-01-01' FROM generate_series(1, 3) g;
SELECT * FROM try('partitions');
DROP INDEX p_key;
SELECT * FROM try('partitions without an index');
DROP SCHEMA plans CASCADE;
