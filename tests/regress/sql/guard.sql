-- The guard: the rule of the fold against every direct write of a messages table.
\set VERBOSITY terse
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE SCHEMA guard;
SET search_path = guard;
SELECT msgstatus.create_tables('guard');

-- The statement's error, with all that VERBOSITY terse leaves out.
CREATE FUNCTION error_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    code text; message text; detail text; hint text;
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL,
        hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(E'\n', code || ' ' || message, nullif(detail, ''), nullif('HINT: ' || hint, 'HINT: '));
END
$$;
-- A message without its times.
CREATE FUNCTION seen(bits integer) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(s::text, ' ' ORDER BY s) FROM unnest(enum_range(NULL::msgstatus.delivery_status)) WITH ORDINALITY u(s, n)
     WHERE bits & (1 << (n - 1)::integer) <> 0
$$;
CREATE VIEW stages AS
    SELECT sid, status, final, seen(statuses_seen) AS seen,
           concat_ws(' ', CASE WHEN sent_at IS NOT NULL THEN 'sent' END, CASE WHEN delivered_at IS NOT NULL THEN 'delivered' END,
                     CASE WHEN read_at IS NOT NULL THEN 'read' END, CASE WHEN failed_at IS NOT NULL THEN 'failed' END,
                     CASE WHEN canceled_at IS NOT NULL THEN 'canceled' END) AS milestones
      FROM messages ORDER BY sid;

-- An INSERT is folded like an event of its own time, for each status.
BEGIN;
INSERT INTO messages (sid, status)
SELECT 'i' || lpad(n::text, 2, '0'), s FROM unnest(enum_range(NULL::msgstatus.delivery_status)) WITH ORDINALITY u(s, n);
SELECT * FROM stages;
SELECT count(*) AS at_now FROM messages
 WHERE status_at = now() AND now() = ALL (array_remove(ARRAY[sent_at, delivered_at, read_at, failed_at, canceled_at], NULL));
COMMIT;
DELETE FROM messages;
INSERT INTO messages (sid) VALUES ('default');
SELECT * FROM stages;
DELETE FROM messages;

-- A time that the INSERT gives is the time of its status.
INSERT INTO messages (sid, status, status_at) VALUES ('a', 'delivered', '2024-01-01 10:00+00');
INSERT INTO messages (sid, status, delivered_at, sent_at) VALUES ('b', 'delivered', '2024-01-01 10:00+00', '2024-01-01 09:00+00');
INSERT INTO messages (sid, status, read_at) VALUES ('c', 'read', '2024-01-01 10:00+00');
SELECT sid, status, status_at, sent_at, delivered_at, read_at FROM messages ORDER BY sid;
DELETE FROM messages;

-- An UPDATE of the status forward fills what belongs to it, and only that.
INSERT INTO messages (sid, body) VALUES ('a', 'hello');
BEGIN;
UPDATE messages SET status = 'delivered' RETURNING sid, status, sent_at = now() AS sent_now, delivered_at = now() AS delivered_now, status_at = now() AS status_now, final;
COMMIT;
SELECT * FROM stages;
-- Backward: the status stays, the rest gets through.
UPDATE messages SET status = 'sending', body = 'changed' RETURNING sid, status, body;
UPDATE messages SET status = DEFAULT, body = 'again' RETURNING sid, status, body;
SELECT * FROM stages;
-- Another final status of equal rank does not replace the first, but it is evidence.
UPDATE messages SET status = 'failed' RETURNING sid, status, failed_at IS NOT NULL AS failed;
SELECT * FROM stages;
UPDATE messages SET status = 'read' RETURNING sid, status;
SELECT * FROM stages;
DELETE FROM messages;

-- What an ORM writes back from a copy that is out of date: every column.
INSERT INTO messages (sid) VALUES ('a');
CREATE TEMP TABLE copy_of_a AS SELECT * FROM messages;
INSERT INTO delivery_log (sid, status, event_at, error_code) VALUES
    ('a', 'sent', '2024-01-01 10:00+00', '30007'), ('a', 'delivered', '2024-01-01 10:01+00', NULL), ('a', 'read', '2024-01-01 10:02+00', NULL);
UPDATE messages m SET body = 'edited', status = c.status, status_at = c.status_at, scheduled_for = c.scheduled_for, sent_at = c.sent_at,
       delivered_at = c.delivered_at, read_at = c.read_at, failed_at = c.failed_at, canceled_at = c.canceled_at, error_code = c.error_code,
       error_message = c.error_message, statuses_seen = c.statuses_seen, created_at = c.created_at, direction = c.direction
  FROM copy_of_a c WHERE c.sid = m.sid;
SELECT sid, status, status_at, sent_at, delivered_at, read_at, error_code, body FROM messages;
SELECT * FROM stages;
SELECT * FROM msgstatus.verify();
DROP TABLE copy_of_a;

-- Milestones: a direct write may make one earlier, never later, and erases none.
UPDATE messages SET sent_at = '2024-01-01 09:59+00', delivered_at = '2024-01-01 11:00+00', read_at = NULL;
SELECT sid, status_at, sent_at, delivered_at, read_at FROM messages;
UPDATE messages SET statuses_seen = 0;
SELECT * FROM stages;
-- An error that is set stands, one that is cleared is kept.
UPDATE messages SET error_code = '30008', error_message = 'by hand' RETURNING error_code, error_message;
UPDATE messages SET error_code = NULL, error_message = NULL RETURNING error_code, error_message;
UPDATE messages SET error_code = '', error_message = NULL RETURNING error_code, error_message;
TRUNCATE messages, delivery_log;

-- COPY.
COPY messages (sid, status, delivered_at) FROM stdin;
a	delivered	2024-01-01 10:00:00+00
b	queued	\N
c	canceled	\N
\.
SELECT * FROM stages;
COPY messages (sid, status) FROM stdin;
d	gone
\.
TRUNCATE messages;

-- INSERT … ON CONFLICT.
INSERT INTO messages (sid, status, body) VALUES ('a', 'delivered', 'first');
INSERT INTO messages (sid, status, body) VALUES ('a', 'queued', 'second'), ('b', 'sent', 'new')
    ON CONFLICT (sid) DO UPDATE SET status = EXCLUDED.status, body = EXCLUDED.body, sent_at = EXCLUDED.sent_at,
        delivered_at = EXCLUDED.delivered_at, statuses_seen = EXCLUDED.statuses_seen
    RETURNING sid, status, body;
INSERT INTO messages (sid, status) VALUES ('a', 'read'), ('b', 'accepted')
    ON CONFLICT (sid) DO UPDATE SET status = EXCLUDED.status RETURNING sid, status;
INSERT INTO messages (sid, status) VALUES ('a', 'queued') ON CONFLICT DO NOTHING RETURNING sid;
SELECT * FROM stages;
-- A callback that waits finds the message that an upsert makes.
INSERT INTO delivery_log (sid, status) VALUES ('c', 'delivered');
INSERT INTO messages (sid, status) VALUES ('c', 'queued') ON CONFLICT (sid) DO UPDATE SET status = EXCLUDED.status;
SELECT * FROM stages WHERE sid = 'c';

-- MERGE.
MERGE INTO messages m USING (VALUES ('a', 'sent'::msgstatus.delivery_status), ('b', 'delivered'), ('d', 'failed')) AS v(sid, status) ON v.sid = m.sid
 WHEN MATCHED THEN UPDATE SET status = v.status, body = 'merged'
 WHEN NOT MATCHED THEN INSERT (sid, status, body) VALUES (v.sid, v.status, 'inserted');
SELECT * FROM stages;
SELECT sid, body FROM messages ORDER BY sid;
INSERT INTO delivery_log (sid, status) VALUES ('e', 'delivered');
MERGE INTO messages m USING (VALUES ('e')) AS v(sid) ON v.sid = m.sid
 WHEN MATCHED THEN DO NOTHING WHEN NOT MATCHED THEN INSERT (sid) VALUES (v.sid);
SELECT * FROM stages WHERE sid = 'e';
TRUNCATE messages, delivery_log;

-- Drivers that bind text.
INSERT INTO messages (sid) VALUES ('a');
PREPARE by_text(text, varchar) AS UPDATE messages SET status = $1, error_code = $2 WHERE sid = 'a' RETURNING status, error_code;
EXECUTE by_text('delivered', '0');
EXECUTE by_text('queued', NULL);
EXECUTE by_text('bounced', NULL);
DEALLOCATE by_text;

-- Many rows at once, some forward and some back.
TRUNCATE messages;
INSERT INTO messages (sid, status) SELECT g::text, CASE WHEN g % 2 = 0 THEN 'queued' ELSE 'read' END::msgstatus.delivery_status FROM generate_series(1, 1000) g;
UPDATE messages SET status = 'delivered';
SELECT status, count(*), count(delivered_at) AS delivered FROM messages GROUP BY 1 ORDER BY 1;

-- A trigger of the user on messages that moves the status back is guarded like anybody else: in the statement it
-- runs itself, and in the row that it is handed.
TRUNCATE messages, delivery_log;
INSERT INTO messages (sid) VALUES ('a');
CREATE FUNCTION back() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE guard.messages SET status = 'accepted', body = coalesce(body, '') || '+' WHERE sid = NEW.sid;
    RETURN NULL;
END
$$;
CREATE TRIGGER user_back AFTER UPDATE OF status ON messages FOR EACH ROW WHEN (pg_trigger_depth() < 2) EXECUTE FUNCTION back();
CREATE TRIGGER user_back_deep AFTER UPDATE OF status ON messages FOR EACH ROW WHEN (pg_trigger_depth() = 2) EXECUTE FUNCTION back();
INSERT INTO delivery_log (sid, status) VALUES ('a', 'sent');
SELECT sid, status, body FROM messages;
INSERT INTO delivery_log (sid, status) VALUES ('a', 'delivered'), ('a', 'delivered');
SELECT sid, status, body FROM messages;
UPDATE messages SET status = 'read';
SELECT sid, status, body FROM messages;
DROP TRIGGER user_back ON messages;
DROP TRIGGER user_back_deep ON messages;
TRUNCATE messages, delivery_log;
INSERT INTO messages (sid) VALUES ('a');
CREATE FUNCTION rewrite() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.status := 'accepted';
    NEW.delivered_at := NULL;
    RETURN NEW;
END
$$;
CREATE TRIGGER user_rewrite BEFORE UPDATE ON messages FOR EACH ROW EXECUTE FUNCTION rewrite();
INSERT INTO delivery_log (sid, status) VALUES ('a', 'sent');
SELECT status >= 'queued' AS not_back FROM messages;
INSERT INTO delivery_log (sid, status) VALUES ('a', 'delivered'), ('a', 'sent');
SELECT status >= 'queued' AS not_back FROM messages;
UPDATE messages SET body = 'x';
SELECT status >= 'queued' AS not_back FROM messages;
DROP TRIGGER user_rewrite ON messages;

-- A trigger that keeps a row back: nothing is written, and nobody is told otherwise.
TRUNCATE messages, delivery_log;
INSERT INTO messages (sid) VALUES ('a');
CREATE FUNCTION keep_back() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER user_keeps BEFORE UPDATE ON messages FOR EACH ROW EXECUTE FUNCTION keep_back();
INSERT INTO delivery_log (sid, status) VALUES ('a', 'delivered');
SELECT * FROM stages;
DROP TRIGGER user_keeps ON messages;
SELECT "column", folded FROM msgstatus.verify() WHERE "column" = 'status';
SELECT msgstatus.settle();
SELECT * FROM stages;

-- msgstatus.guard = off: for superusers and roles that were granted it.
SET msgstatus.guard = off;
UPDATE messages SET status = 'queued', status_at = NULL, sent_at = NULL, delivered_at = NULL, statuses_seen = 16;
SELECT * FROM stages;
RESET msgstatus.guard;
SHOW msgstatus.guard;
CREATE ROLE regress_guard_user;
GRANT USAGE ON SCHEMA guard TO regress_guard_user;
GRANT SELECT, UPDATE ON messages TO regress_guard_user;
SET ROLE regress_guard_user;
SELECT error_of('SET msgstatus.guard = off');
SELECT error_of($$SELECT set_config('msgstatus.guard', 'off', true)$$);
RESET ROLE;
GRANT SET ON PARAMETER msgstatus.guard TO regress_guard_user;
SET ROLE regress_guard_user;
BEGIN;
SET LOCAL msgstatus.guard = off;
UPDATE messages SET status = 'accepted';
COMMIT;
SHOW msgstatus.guard;
UPDATE messages SET status = 'receiving';
SELECT status FROM messages;
RESET ROLE;
REVOKE SET ON PARAMETER msgstatus.guard FROM regress_guard_user;
-- Before the library is loaded the setting is a mere placeholder, which anybody can set (unless it is preloaded).
UPDATE messages SET status = 'sent';
\c -
SET client_min_messages = error;
SET SESSION AUTHORIZATION regress_guard_user;
DO $$ BEGIN PERFORM set_config('msgstatus.guard', 'off', false); EXCEPTION WHEN insufficient_privilege THEN NULL; END $$;
UPDATE guard.messages SET status = 'accepted';
SELECT status FROM guard.messages;
SHOW msgstatus.guard;
RESET SESSION AUTHORIZATION;
RESET client_min_messages;
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET search_path = guard;

-- on_regression => 'error': MS001 for a direct write, never for the log.
SELECT msgstatus.detach('messages', 'delivery_log');
SELECT msgstatus.attach('messages', 'delivery_log', on_regression => 'error');
TRUNCATE messages, delivery_log;
INSERT INTO messages (sid, status, body) VALUES ('a', 'delivered', 'x');
SELECT error_of($$UPDATE messages SET status = 'sent', body = 'y'$$);
SELECT error_of($$UPDATE messages SET status = 'failed'$$);
SELECT error_of($$UPDATE messages SET status = 'delivered', body = 'z'$$);
SELECT error_of($$INSERT INTO messages (sid, status) VALUES ('a', 'queued') ON CONFLICT (sid) DO UPDATE SET status = EXCLUDED.status$$);
SELECT error_of($$MERGE INTO messages m USING (VALUES ('a')) AS v(sid) ON v.sid = m.sid WHEN MATCHED THEN UPDATE SET status = 'queued'$$);
INSERT INTO delivery_log (sid, status) VALUES ('a', 'sent'), ('a', 'failed');
INSERT INTO delivery_log (sid, status) VALUES ('a', 'queued');
SELECT sid, status, body FROM messages;
UPDATE messages SET status = 'read' RETURNING sid, status;
SELECT msgstatus.detach('messages', 'delivery_log');
-- Once detached, anything goes.
UPDATE messages SET status = 'accepted' RETURNING sid, status;
DROP TABLE messages, delivery_log CASCADE;

-- A messages table that is partitioned by its key: a new key may be another partition.
CREATE TABLE parted (sid text, status msgstatus.delivery_status DEFAULT 'queued', status_at timestamptz, sent_at timestamptz,
    delivered_at timestamptz, statuses_seen integer NOT NULL DEFAULT 0, body text, PRIMARY KEY (sid)) PARTITION BY RANGE (sid);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (MINVALUE) TO ('m');
-- A partition with its columns in another order.
CREATE TABLE parted_2 (body text, delivered_at timestamptz, statuses_seen integer NOT NULL DEFAULT 0, sent_at timestamptz,
    gone text, status msgstatus.delivery_status DEFAULT 'queued', sid text NOT NULL, status_at timestamptz);
ALTER TABLE parted_2 DROP COLUMN gone;
ALTER TABLE parted ATTACH PARTITION parted_2 FOR VALUES FROM ('m') TO (MAXVALUE);
CREATE TABLE parted_log (sid text, status text, event_at timestamptz, created_at timestamptz DEFAULT now());
CREATE INDEX ON parted_log (sid);
SELECT msgstatus.attach('parted', 'parted_log');
INSERT INTO parted (sid, body) VALUES ('a', '1'), ('b', '2'), ('z', '3');
INSERT INTO parted_log (sid, status, event_at) VALUES ('a', 'delivered', '2024-01-01 10:00+00'), ('z', 'delivered', '2024-01-01 10:00+00');
INSERT INTO parted_log (sid, status, event_at) VALUES ('z', 'sent', '2024-01-01 09:00+00');
SELECT tableoid::regclass, * FROM parted WHERE delivered_at IS NOT NULL ORDER BY sid;
-- Moved to another key, with a status of its own: another message. What waited for the new key is folded in.
INSERT INTO parted_log (sid, status, event_at) VALUES ('y', 'sent', '2024-01-01 08:00+00'), ('x', 'delivered', '2024-01-01 08:00+00');
UPDATE parted SET sid = 'y', status = 'queued' WHERE sid = 'a' RETURNING sid, status;
UPDATE parted SET sid = 'x' WHERE sid = 'b';
UPDATE parted SET sid = 'c', status = 'accepted', sent_at = NULL WHERE sid = 'z';
SELECT tableoid::regclass, sid, status, CASE WHEN status_at < '2025-01-01' THEN status_at END AS status_at, sent_at, delivered_at,
       seen(statuses_seen), body FROM parted ORDER BY sid;
-- Straight into the partition.
INSERT INTO parted_2 (sid, status) VALUES ('q', 'delivered');
UPDATE parted_2 SET status = 'sending' WHERE sid = 'q' RETURNING sid, status, sent_at IS NOT NULL AS sent;
INSERT INTO parted_log (sid, status) VALUES ('r', 'delivered');
INSERT INTO parted_2 (sid) VALUES ('r');
SELECT sid, status FROM parted WHERE sid = 'r';
COPY parted (sid, status) FROM stdin;
d	delivered
s	sent
\.
SELECT tableoid::regclass, sid, status, delivered_at IS NOT NULL AS delivered FROM parted WHERE sid IN ('d', 's') ORDER BY sid;
-- A partition that comes later is guarded too.
ALTER TABLE parted DETACH PARTITION parted_1;
UPDATE parted_1 SET status = 'accepted' WHERE sid = 'd' RETURNING status;
ALTER TABLE parted ATTACH PARTITION parted_1 FOR VALUES FROM (MINVALUE) TO ('m');
UPDATE parted SET status = 'sent' WHERE sid = 'd';
UPDATE parted SET status = 'accepted' WHERE sid = 'd' RETURNING status;

-- Partitioned by the status itself: the engine's own write moves the row.
CREATE TABLE by_status (sid text, status msgstatus.delivery_status DEFAULT 'queued', status_at timestamptz, delivered_at timestamptz,
    statuses_seen integer NOT NULL DEFAULT 0, UNIQUE (sid, status)) PARTITION BY LIST (status);
CREATE TABLE by_status_done PARTITION OF by_status FOR VALUES IN ('delivered', 'read', 'failed', 'undelivered');
CREATE TABLE by_status_rest PARTITION OF by_status DEFAULT;
CREATE TABLE by_status_log (sid text, status text, event_at timestamptz, created_at timestamptz DEFAULT now());
CREATE INDEX ON by_status_log (sid);
SELECT msgstatus.attach('by_status', 'by_status_log');
INSERT INTO by_status (sid) VALUES ('a'), ('b');
INSERT INTO by_status_log (sid, status, event_at) VALUES ('a', 'delivered', '2024-01-01 10:00+00');
INSERT INTO by_status_log (sid, status, event_at) VALUES ('a', 'sent', '2024-01-01 09:00+00'), ('b', 'read', '2024-01-01 10:00+00');
UPDATE by_status SET status = 'queued' WHERE sid = 'a';
SELECT tableoid::regclass, sid, status, status_at, delivered_at, seen(statuses_seen) FROM by_status ORDER BY sid;
SELECT * FROM msgstatus.verify(messages => 'by_status');

-- Another outcome of equal rank is absorbed, also where the transaction began before the one that stands came.
CREATE TABLE rivals (sid text PRIMARY KEY, status msgstatus.delivery_status, status_at timestamptz, delivered_at timestamptz, failed_at timestamptz);
CREATE TABLE rivals_log (sid text, status text, created_at timestamptz DEFAULT clock_timestamp());
CREATE INDEX ON rivals_log (sid);
SELECT msgstatus.attach('rivals', 'rivals_log');
INSERT INTO rivals VALUES ('a', 'sent'), ('b', 'sent'), ('c', 'sent');
BEGIN;
INSERT INTO rivals_log (sid, status) VALUES ('a', 'delivered');
UPDATE rivals SET status = 'failed' WHERE sid = 'a' RETURNING status, failed_at > delivered_at AS later;
UPDATE rivals SET status = 'failed' WHERE sid = 'b' RETURNING status;
UPDATE rivals SET status = 'delivered' WHERE sid = 'b' RETURNING status, delivered_at > failed_at AS later;
COMMIT;
-- An outcome that says when it was counts from then.
UPDATE rivals SET status = 'failed', failed_at = '2024-01-01 10:00+00' WHERE sid = 'a' RETURNING status, failed_at;

-- Another key is another message, a second attempt for instance: what the UPDATE sets counts as with an INSERT, and what it
-- leaves alone was of the message before and goes. Without a status of its own, all stays.
CREATE TABLE attempts (id integer PRIMARY KEY, sid text UNIQUE, status msgstatus.delivery_status, status_at timestamptz, sent_at timestamptz,
    delivered_at timestamptz, failed_at timestamptz, error_code text, error_message text NOT NULL DEFAULT '', statuses_seen integer, map jsonb, done boolean);
SELECT msgstatus.attach('attempts', 'rivals_log', columns => '{"status_map": "map", "final": "done"}', on_regression => 'error');
INSERT INTO attempts (id, sid, status, map) SELECT g, 'first' || g, 'queued', '{"campaign": 7}' FROM generate_series(1, 5) g;
INSERT INTO rivals_log (sid, status, created_at) SELECT 'first' || g, s, '2024-01-01 10:00+00' FROM generate_series(1, 5) g, unnest('{sent,failed}'::text[]) s;
UPDATE attempts SET error_code = '30008', error_message = 'unknown';
UPDATE attempts SET sid = 'second1', status = 'sent', sent_at = '2024-01-02 10:00+00' WHERE id = 1;
UPDATE attempts SET sid = NULL, status = 'queued' WHERE id = 2;
UPDATE attempts SET sid = 'second3' WHERE id = 3;
UPDATE attempts SET sid = 'second4', status = 'queued', error_code = '1', failed_at = '2024-01-02 11:00+00' WHERE id = 4;
INSERT INTO rivals_log (sid, status, created_at) VALUES ('second1', 'delivered', '2024-01-02 10:00:05+00');
SELECT id, sid, status, sent_at, delivered_at, failed_at, error_code, error_message, seen(statuses_seen), map, done FROM attempts ORDER BY id;
SELECT error_of($$UPDATE attempts SET sid = sid, status = 'queued' WHERE id = 5$$);
SELECT count(*) FROM msgstatus.verify(messages => 'attempts');

DROP SCHEMA guard CASCADE;
DROP ROLE regress_guard_user;
