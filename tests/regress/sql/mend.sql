-- verify, rebuild, settle, unmatched, unrecognized: what damage is found, and mended.
\set VERBOSITY terse
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE SCHEMA mend;
SET search_path = mend;
CREATE FUNCTION error_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    code text; message text; hint text;
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(E'\n', code || ' ' || message, nullif('HINT: ' || hint, 'HINT: '));
END
$$;
-- Nothing tracked, and not tracked.
SELECT error_of('SELECT * FROM msgstatus.verify()');
SELECT error_of('SELECT msgstatus.rebuild()');
SELECT error_of($$SELECT msgstatus.apply_status('a', 'sent')$$);
SELECT error_of('SELECT * FROM msgstatus.unmatched()');
SELECT msgstatus.settle();
CREATE TABLE plain (sid text);
SELECT error_of($$SELECT * FROM msgstatus.verify(messages => 'mend.plain')$$);
SELECT error_of($$SELECT * FROM msgstatus.history('a', 'mend.plain')$$);
SELECT error_of($$SELECT msgstatus.detach('mend.plain', 'mend.plain')$$);

SELECT msgstatus.create_tables('mend');
-- A function that reads the whole pair in one line, for comparing.
CREATE FUNCTION state() RETURNS text LANGUAGE sql AS $$
    SELECT md5(string_agg(concat_ws('|', sid, status, status_at, sent_at, delivered_at, read_at, failed_at, canceled_at, error_code, error_message, statuses_seen, final), E'\n' ORDER BY sid))
      FROM mend.messages
$$;
INSERT INTO messages (sid, status, status_at) SELECT 's' || lpad(g::text, 2, '0'), 'accepted', '2024-01-01 09:00+00' FROM generate_series(1, 12) g;
INSERT INTO delivery_log (sid, status, event_at, error_code, error_message, created_at)
SELECT 's' || lpad(g::text, 2, '0'), w, timestamptz '2024-01-01 10:00+00' + n * interval '1 minute', CASE WHEN w = 'failed' THEN '30003' END, CASE WHEN w = 'failed' THEN 'Unreachable' END,
       now() - g * interval '1 day'
  FROM generate_series(1, 12) g, unnest(CASE g % 3 WHEN 0 THEN '{sent,delivered}'::text[] WHEN 1 THEN '{sent,failed}' ELSE '{sent,delivered,read}' END) WITH ORDINALITY u(w, n);
SELECT state() AS right \gset
SELECT * FROM msgstatus.verify();

-- Damage by hand, each column.
BEGIN;
SET LOCAL msgstatus.guard = off;
UPDATE messages SET status = 'queued' WHERE sid = 's01';
UPDATE messages SET status_at = '2024-01-02 00:00+00' WHERE sid = 's02';
UPDATE messages SET sent_at = NULL, delivered_at = '2024-01-03 00:00+00' WHERE sid = 's03';
UPDATE messages SET failed_at = NULL, error_code = NULL, error_message = NULL WHERE sid = 's04';
UPDATE messages SET read_at = NULL WHERE sid = 's05';
UPDATE messages SET statuses_seen = 0 WHERE sid = 's06';
UPDATE messages SET error_message = 'Unreachable ' WHERE sid = 's07';   -- an error that no log row carries was written directly, and stands
DELETE FROM messages WHERE sid = 's12';
UPDATE messages SET status = NULL WHERE false;
COMMIT;
-- A direct write that the log does not explain is no damage: nothing is moved below what it has reached.
UPDATE messages SET status = 'read', read_at = '2024-01-01 12:00+00' WHERE sid = 's09';
UPDATE messages SET delivered_at = '2024-01-01 08:00+00' WHERE sid = 's08';
SELECT * FROM msgstatus.verify() ORDER BY 1, 2;
SELECT message_key, count(*) FROM msgstatus.verify('3 days 1 hour') GROUP BY 1 ORDER BY 1;
SELECT message_key, word FROM msgstatus.unmatched() ORDER BY 1, 2;
SELECT msgstatus.rebuild('3 days 1 hour');
SELECT DISTINCT message_key FROM msgstatus.verify() ORDER BY 1;
SELECT msgstatus.settle('5 days 1 hour');
SELECT DISTINCT message_key FROM msgstatus.verify() ORDER BY 1;
SELECT msgstatus.rebuild();
SELECT * FROM msgstatus.verify();
SELECT msgstatus.rebuild(), msgstatus.settle(NULL);
SELECT sid, status, read_at, delivered_at FROM messages WHERE sid IN ('s08', 's09') ORDER BY 1;
INSERT INTO messages (sid, status, status_at) VALUES ('s12', 'accepted', '2024-01-01 09:00+00');
SELECT msgstatus.verify();
-- An error that was written directly is no damage either.
UPDATE messages SET error_code = 'by hand' WHERE sid = 's03';
SELECT * FROM msgstatus.verify();
-- Back to where it was.
SET msgstatus.guard = off;
UPDATE messages SET status = 'accepted', status_at = '2024-01-01 09:00+00', sent_at = NULL, delivered_at = NULL, read_at = NULL, failed_at = NULL, error_code = NULL,
       error_message = NULL, statuses_seen = 4;
RESET msgstatus.guard;
SELECT count(DISTINCT message_key) FROM msgstatus.verify();
SELECT msgstatus.rebuild();
SELECT state() = :'right' AS as_before;

-- Triggers that were off: disabled, or the session a replica.
ALTER TABLE delivery_log DISABLE TRIGGER USER;
INSERT INTO delivery_log (sid, status, event_at) VALUES ('s01', 'delivered', '2024-01-01 09:30+00'), ('s02', 'undelivered', '2024-01-01 09:30+00'), ('new', 'sent', '2024-01-01 09:30+00');
ALTER TABLE delivery_log ENABLE TRIGGER USER;
SELECT error_of($$ALTER TABLE delivery_log DISABLE TRIGGER USER; SELECT msgstatus.apply_status('s01', 'read')$$);
SELECT tgenabled FROM pg_trigger WHERE tgrelid = 'delivery_log'::regclass;
SET session_replication_role = replica;
INSERT INTO messages (sid) VALUES ('new');
INSERT INTO delivery_log (sid, status, event_at) VALUES ('s03', 'read', '2024-01-01 11:30+00'), ('new 2', 'read', '2024-01-01 11:30+00');
INSERT INTO messages (sid, status_at) VALUES ('new 2', now());
UPDATE messages SET status = 'queued' WHERE sid = 's05';
RESET session_replication_role;
SELECT message_key, stored, folded FROM msgstatus.verify() WHERE "column" = 'status' ORDER BY 1;
SELECT msgstatus.settle('0') >= 0 AS ran;
SELECT msgstatus.settle();
SELECT sid, status, status_at, sent_at FROM messages WHERE sid IN ('s01', 's02', 's03', 'new', 'new 2') ORDER BY 1;
-- What is older than an hour is not settle's default to look at.
SELECT message_key, stored, folded FROM msgstatus.verify() WHERE "column" = 'status' ORDER BY 1;
SELECT msgstatus.settle('30 days');
SELECT * FROM msgstatus.verify();
-- Within a transaction that is rolled back nothing is mended.
SET session_replication_role = replica;
INSERT INTO delivery_log (sid, status) VALUES ('s06', 'read');
RESET session_replication_role;
BEGIN;
SELECT msgstatus.settle();
ROLLBACK;
SELECT status FROM messages WHERE sid = 's06';
BEGIN READ ONLY;
SELECT count(*) > 0 AS damaged FROM msgstatus.verify();
SELECT count(*) FROM msgstatus.history('s06');
\set VERBOSITY sqlstate
SELECT msgstatus.settle();
\set VERBOSITY terse
ROLLBACK;
SELECT msgstatus.settle();
SELECT status FROM messages WHERE sid = 's06';

-- unmatched and unrecognized.
INSERT INTO delivery_log (sid, provider, status, event_at, error_code, error_message, source, created_at) VALUES
    ('nobody', 'twilio', 'sent', '2024-02-01 10:00+00', NULL, NULL, 'callback', '2024-02-01 10:00:01+00'),
    ('nobody', 'aws', 'TEXT_BLOCKED', '2024-02-01 10:01+00', '1', 'blocked', 'poll', '2024-02-01 10:01:01+00'),
    ('nobody', 'aws', 'sent', '2024-02-01 10:02+00', NULL, NULL, 'callback', '2024-02-01 10:02:01+00'),
    ('s01', 'twilio', 'bounced', NULL, NULL, NULL, 'callback', '2024-02-01 10:03:01+00'),
    ('s02', NULL, 'Bounced ', NULL, NULL, NULL, 'callback', '2024-02-01 10:04:01+00'),
    ('s02', 'twilio', 'bounced', NULL, NULL, NULL, 'callback', '2024-02-01 10:05:01+00'),
    ('nobody else', 'smpp', 'DELIVRD', NULL, NULL, NULL, 'manual', '2024-02-01 10:06:01+00');
SELECT created_at, message_key, provider, word, event_at, error_code, error_message, source FROM msgstatus.unmatched();
SELECT * FROM msgstatus.unrecognized() ORDER BY provider, word COLLATE "C";
SELECT count(*) FROM msgstatus.verify() WHERE message_key LIKE 'nobody%';
INSERT INTO messages (sid, provider) VALUES ('nobody', 'aws');
SELECT message_key, word FROM msgstatus.unmatched();
SELECT status, error_code FROM messages WHERE sid = 'nobody';

-- Many: more than a batch, with progress.
TRUNCATE messages, delivery_log;
SET session_replication_role = replica;
INSERT INTO messages (sid) SELECT 'b' || g FROM generate_series(1, 110000) g;
INSERT INTO delivery_log (sid, status) SELECT 'b' || g, 'delivered' FROM generate_series(1, 110000) g;
RESET session_replication_role;
SET client_min_messages = notice;
SELECT msgstatus.rebuild();
SET client_min_messages = warning;
SELECT status, count(*) FROM messages GROUP BY 1;
SELECT count(*) FROM msgstatus.verify();

-- One pair that is broken does not keep the others from being settled, whoever made it.
TRUNCATE messages, delivery_log;
CREATE ROLE regress_mend_user;
GRANT USAGE, CREATE ON SCHEMA mend TO regress_mend_user;
SET ROLE regress_mend_user;
SELECT msgstatus.create_tables('mend', 'broken', 'broken_log');
INSERT INTO broken (sid) VALUES ('a');
ALTER TABLE broken_log DROP COLUMN error_code;
SELECT msgstatus.create_tables('mend', 'trapped', 'trapped_log');
INSERT INTO trapped (sid) VALUES ('a');
ALTER TABLE trapped_log DISABLE TRIGGER USER;
INSERT INTO trapped_log (sid, status) VALUES ('a', 'sent');
CREATE FUNCTION trap() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped as %', current_user; END $$;
CREATE TRIGGER trap BEFORE UPDATE ON trapped FOR EACH ROW EXECUTE FUNCTION trap();
RESET ROLE;
SELECT msgstatus.create_tables('mend', 'after', 'after_log');
SET session_replication_role = replica;
INSERT INTO messages (sid) VALUES ('a');
INSERT INTO delivery_log (sid, status) VALUES ('a', 'sent');
INSERT INTO after (sid) VALUES ('a');
INSERT INTO after_log (sid, status) VALUES ('a', 'sent');
-- As a restore does, whose DROP nobody is told of.
SELECT msgstatus.create_tables('mend', 'dropped', 'dropped_log');
DROP TABLE dropped;
RESET session_replication_role;
SET client_min_messages = error;
SELECT msgstatus.settle();
SELECT m.status, a.status FROM messages m, after a;
SET client_min_messages = warning;
SELECT error_of($$INSERT INTO dropped_log (sid, status) VALUES ('a', 'sent')$$) ~ '^(no error|42P01)' AS as_documented;
DROP TABLE dropped_log;
SELECT messages FROM msgstatus.tracked ORDER BY messages::text;

SET client_min_messages = error;
-- A status map beside columns: each milestone is the earliest of its places, and all of them say so.
CREATE TABLE both_places (sid text PRIMARY KEY, status msgstatus.delivery_status, sent_at timestamptz, read_at timestamp(0), map jsonb);
CREATE TABLE both_log (sid text, status text, event_at timestamptz, created_at timestamptz DEFAULT '2025-06-16 12:00:00+00');
CREATE INDEX ON both_log (sid);
INSERT INTO both_places (sid, sent_at, map) VALUES
    ('column empty', NULL, '{"sent": "2025-06-16T10:00:00Z", "delivered": "2025-06-16T10:00:05Z", "read": "2025-06-16T10:01:00Z", "campaign": 7}'),
    ('map empty', '2025-06-16 10:00:00+00', NULL), ('map is no object', '2025-06-16 10:00:00+00', '[]'),
    ('column earlier', '2025-06-16 09:00:00+00', '{"sent": "2025-06-16T10:00:00Z"}'),
    ('map earlier', '2025-06-16 11:00:00+00', '{"sent": "2025-06-16T10:00:00Z"}');
INSERT INTO both_log SELECT sid, w, '2025-06-16 10:00:00+00' FROM both_places, unnest('{sent,delivered,read}'::text[]) w WHERE sid = 'column empty' OR w = 'sent';
SELECT msgstatus.attach('both_places', 'both_log', columns => '{"status_map": "map"}');
SELECT message_key, "column", stored, folded FROM msgstatus.verify(messages => 'both_places') WHERE "column" <> 'status' ORDER BY 1, 2;
SELECT msgstatus.rebuild(messages => 'both_places');
SELECT * FROM both_places ORDER BY sid;
SELECT count(*) FROM msgstatus.verify(messages => 'both_places');
-- By one callback as well, and by a direct write of either place. What a column can't hold, the map does not tell.
UPDATE both_places SET map = '{"sent": "2025-06-16T08:00:00Z"}' WHERE sid = 'map earlier' RETURNING sent_at, map;
UPDATE both_places SET sent_at = '2025-06-16 07:00:00+00' WHERE sid = 'map earlier' RETURNING sent_at, map;
SET msgstatus.guard = off;
UPDATE both_places SET sent_at = NULL WHERE sid = 'column earlier';
RESET msgstatus.guard;
INSERT INTO both_log VALUES ('column earlier', 'sent', '2025-06-16 11:00:00+00'), ('map earlier', 'read', '2025-06-16 11:00:00.7+00');
INSERT INTO both_log VALUES ('column earlier', 'sent', '2025-06-16 11:00:00+00');
SELECT * FROM both_places WHERE sid LIKE '%earlier' ORDER BY sid;
SELECT count(*) FROM msgstatus.verify(messages => 'both_places');
-- A plain "final" column that says something else is found and put right; where there is no status yet, it is left alone.
CREATE TABLE finals (sid text PRIMARY KEY, status msgstatus.delivery_status, done boolean NOT NULL DEFAULT false);
INSERT INTO finals VALUES ('a', 'delivered', false), ('b', 'sent', true), ('c', NULL, false), ('d', 'delivered', false);
INSERT INTO both_log VALUES ('a', 'delivered'), ('b', 'sent'), ('d', 'sent');
SELECT msgstatus.attach('finals', 'both_log', columns => '{"final": "done"}');
SELECT * FROM msgstatus.verify(messages => 'finals');
INSERT INTO both_log VALUES ('d', 'delivered');
SELECT * FROM finals ORDER BY sid;
SELECT msgstatus.rebuild(messages => 'finals');
INSERT INTO finals (sid) VALUES ('e');
UPDATE finals SET done = true WHERE sid IN ('b', 'e');
SELECT * FROM finals ORDER BY sid;

-- history tells what became of each event as the engine did, also where a policy ranks queued high: then queued need not be what
-- a message was inserted with. (a and c were inserted with a status, b and d without; d's times are in no order.)
INSERT INTO msgstatus.policy VALUES ('queued_high', 'queued', 90), ('queued_high', 'read', 95);
CREATE TABLE high (sid text UNIQUE, status msgstatus.delivery_status, status_at timestamptz, statuses_seen integer DEFAULT 0, delivered_at timestamptz);
CREATE TABLE high_log (sid text, status text, event_at timestamptz, created_at timestamptz DEFAULT clock_timestamp());
CREATE INDEX ON high_log (sid);
SELECT msgstatus.attach('high', 'high_log', policy => 'queued_high');
INSERT INTO high VALUES ('a', 'accepted', '2026-01-01 09:00Z'), ('b', NULL, NULL), ('c', 'queued', '2026-01-01 09:00Z'), ('d', NULL, NULL);
CREATE TABLE said (n serial, sid text, word text, at timestamptz, verdict msgstatus.verdict, status_after msgstatus.delivery_status);
DO $$
DECLARE
    e record;
    v msgstatus.verdict;
BEGIN
    FOR e IN SELECT * FROM (VALUES (1, 'a', 'sent', 0), (2, 'a', 'queued', 1), (3, 'a', 'delivered', 2), (4, 'b', 'sent', 0), (5, 'b', 'queued', 1),
                                   (6, 'b', 'read', 2), (7, 'c', 'sent', 0), (8, 'c', 'queued', 1), (9, 'c', 'delivered', 2),
                                   (10, 'd', 'queued', 3), (11, 'd', 'delivered', 2), (12, 'd', 'queued', 1)) v (n, sid, word, minute) ORDER BY n LOOP
        v := msgstatus.apply_status(e.sid, e.word, timestamptz '2026-01-01 10:00Z' + e.minute * interval '1 minute', messages => 'high');
        INSERT INTO said (sid, word, verdict, status_after) SELECT e.sid, e.word, v, h.status FROM high h WHERE h.sid = e.sid;
    END LOOP;
END $$;
SELECT sid, word, verdict, status_after FROM said ORDER BY n;
SELECT s.sid, s.word, s.verdict, h.verdict AS by_history, s.status_after, h.status_after AS after_by_history
  FROM (SELECT *, row_number() OVER (PARTITION BY sid ORDER BY n) AS i FROM said) s
  JOIN (SELECT m.sid, h.*, row_number() OVER (PARTITION BY m.sid ORDER BY h.created_at) AS i FROM high m, msgstatus.history(m.sid, 'high') h) h USING (sid, i)
 WHERE (s.verdict, s.status_after) IS DISTINCT FROM (h.verdict, h.status_after);
SELECT msgstatus.detach('high', 'high_log');
DELETE FROM msgstatus.policy WHERE policy = 'queued_high';

DROP SCHEMA mend CASCADE;
DROP ROLE regress_mend_user;
SELECT count(*) FROM msgstatus.tracked;
