-- detach takes the triggers away, and nothing else.
\set VERBOSITY terse
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE SCHEMA detach;
SET search_path = detach;
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
SELECT msgstatus.create_tables('detach');
CREATE TABLE other (sid text);
INSERT INTO messages (sid) VALUES ('a');
INSERT INTO delivery_log (sid, status, event_at) VALUES ('a', 'delivered', '2024-01-01 10:00+00');
-- A trigger and an index of the user's own, which stay.
CREATE FUNCTION noop() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER own AFTER INSERT ON delivery_log FOR EACH ROW EXECUTE FUNCTION noop();
CREATE TRIGGER msgstatus_own AFTER INSERT ON messages FOR EACH ROW EXECUTE FUNCTION noop();
CREATE INDEX own_index ON messages (batch);

SELECT error_of($$SELECT msgstatus.detach('messages', 'other')$$);
SELECT error_of($$SELECT msgstatus.detach('other', 'delivery_log')$$);
SELECT error_of($$SELECT msgstatus.detach('delivery_log', 'messages')$$);
SELECT error_of($$SELECT msgstatus.detach('nowhere', 'delivery_log')$$);
SELECT msgstatus.detach(NULL, 'delivery_log') IS NULL;
SELECT count(*) FROM msgstatus.tracked;
-- None of that took a trigger away.
UPDATE messages SET status = 'queued' RETURNING status;

SELECT msgstatus.detach('messages', 'delivery_log');
SELECT error_of($$SELECT msgstatus.detach('messages', 'delivery_log')$$);
SELECT count(*) FROM msgstatus.tracked;
SELECT tgrelid::regclass, tgname FROM pg_trigger WHERE tgrelid IN ('messages'::regclass, 'delivery_log'::regclass) AND NOT tgisinternal ORDER BY tgrelid::regclass::text, 2;
SELECT indexrelid::regclass FROM pg_index WHERE indrelid = 'messages'::regclass ORDER BY indexrelid::regclass::text;
-- Data, types, defaults and generated columns are as they were.
SELECT sid, status, status_at, sent_at, delivered_at, statuses_seen, final FROM messages;
SELECT sid, status, delivery_status FROM delivery_log;
-- Plain tables from now on: no fold, no replay, no guard.
INSERT INTO delivery_log (sid, status) VALUES ('a', 'read'), ('early', 'sent');
INSERT INTO messages (sid, status) VALUES ('early', 'delivered');
UPDATE messages SET status = 'queued' WHERE sid = 'a';
SELECT sid, status, delivered_at, read_at, final FROM messages ORDER BY sid;
SELECT error_of($$SELECT msgstatus.apply_status('a', 'read', messages => 'messages')$$);
SELECT error_of($$SELECT * FROM msgstatus.verify(messages => 'messages')$$);
-- Attached again, with what has happened meanwhile left to rebuild.
SELECT msgstatus.attach('messages', 'delivery_log');
SELECT message_key, stored, folded FROM msgstatus.verify() WHERE "column" = 'status' ORDER BY 1;
SELECT msgstatus.rebuild();
SELECT sid, status FROM messages ORDER BY sid;
-- Undone.
BEGIN;
SELECT msgstatus.detach('messages', 'delivery_log');
UPDATE messages SET status = 'queued' WHERE sid = 'a' RETURNING status;
ROLLBACK;
UPDATE messages SET status = 'queued' WHERE sid = 'a' RETURNING status;
-- A trigger that is missing is no reason to refuse.
DROP TRIGGER msgstatus_replay_key ON messages;
SELECT msgstatus.detach('messages', 'delivery_log');
SELECT count(*) FROM pg_trigger WHERE tgrelid IN ('messages'::regclass, 'delivery_log'::regclass) AND NOT tgisinternal;
-- One of two messages tables on a log.
CREATE TABLE second (sid text UNIQUE, status msgstatus.delivery_status DEFAULT 'queued');
SELECT msgstatus.attach('messages', 'delivery_log');
SELECT msgstatus.attach('second', 'delivery_log');
SELECT msgstatus.detach('messages', 'delivery_log');
INSERT INTO second VALUES ('b');
INSERT INTO delivery_log (sid, status) VALUES ('b', 'sent');
SELECT * FROM second;
SELECT messages, log FROM msgstatus.tracked;
-- Partitioned tables.
SELECT msgstatus.create_tables('detach', 'third', 'third_log', partition_log => true);
SELECT msgstatus.detach('third', 'third_log');
SELECT count(*) FROM pg_trigger WHERE tgname ~ '^(zzz_)?msgstatus' AND tgrelid::regclass::text LIKE 'third%';

DROP SCHEMA detach CASCADE;
