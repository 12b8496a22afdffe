-- What becomes of a tracked pair when its tables, columns and schemas are renamed, dropped, emptied.
\set VERBOSITY terse
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE SCHEMA rename;
SET search_path = rename;
CREATE FUNCTION public.rename_error_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
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

-- Tables.
SELECT msgstatus.create_tables('rename');
INSERT INTO messages (sid) VALUES ('a');
INSERT INTO delivery_log (sid, status) VALUES ('a', 'sent'), ('early', 'sent');
ALTER TABLE messages RENAME TO texts;
INSERT INTO delivery_log (sid, status) VALUES ('a', 'delivered');
ALTER TABLE delivery_log RENAME TO receipts;
INSERT INTO receipts (sid, status) VALUES ('a', 'read'), ('b', 'sent');
INSERT INTO texts (sid) VALUES ('b'), ('early');
UPDATE texts SET status = 'queued';
SELECT sid, status FROM texts ORDER BY sid;
SELECT messages, log FROM msgstatus.tracked;
SELECT msgstatus.apply_status('b', 'delivered');
SELECT * FROM msgstatus.verify();
SELECT count(*) FROM msgstatus.history('a');
-- The names change places with those of other tables.
CREATE TABLE messages (sid text UNIQUE, status text);
CREATE TABLE delivery_log (sid text, status text);
INSERT INTO receipts (sid, status) VALUES ('b', 'read');
INSERT INTO delivery_log (sid, status) VALUES ('b', 'failed');
SELECT sid, status FROM texts WHERE sid = 'b';
SELECT count(*) FROM messages;
DROP TABLE messages, delivery_log;
SELECT messages, log FROM msgstatus.tracked;
-- Schemas: of one table, of both, under a session that has used them.
CREATE SCHEMA rename_2;
ALTER TABLE texts SET SCHEMA rename_2;
INSERT INTO receipts (sid, status) VALUES ('early', 'delivered');
SELECT status FROM rename_2.texts WHERE sid = 'early';
ALTER SCHEMA rename_2 RENAME TO rename_3;
INSERT INTO receipts (sid, status) VALUES ('early', 'read');
INSERT INTO rename_3.texts (sid) VALUES ('c');
UPDATE rename_3.texts SET status = 'accepted' WHERE sid = 'c' RETURNING status;
ALTER SCHEMA rename RENAME TO rename_4;
INSERT INTO rename_4.receipts (sid, status) VALUES ('c', 'sent');
SELECT msgstatus.apply_status('c', 'delivered');
SELECT sid, status FROM rename_3.texts ORDER BY sid;
SELECT messages, log FROM msgstatus.tracked;
SELECT * FROM msgstatus.verify();
ALTER SCHEMA rename_4 RENAME TO rename;
ALTER TABLE rename_3.texts SET SCHEMA rename;
DROP SCHEMA rename_3;
-- Within the transaction that has written.
BEGIN;
INSERT INTO receipts (sid, status) VALUES ('d', 'sent');
ALTER TABLE texts RENAME TO messages;
COMMIT;
BEGIN;
INSERT INTO messages (sid) VALUES ('e');
INSERT INTO receipts (sid, status) VALUES ('e', 'sent'), ('f', 'sent');
ALTER TABLE receipts RENAME TO delivery_log;
ALTER SCHEMA rename RENAME TO rename_2;
COMMIT;
ALTER SCHEMA rename_2 RENAME TO rename;
BEGIN;
INSERT INTO delivery_log (sid, status) VALUES ('g', 'sent');
SELECT msgstatus.detach('messages', 'delivery_log');
ALTER TABLE messages RENAME sid TO id;
COMMIT;
ALTER TABLE messages RENAME id TO sid;
SELECT msgstatus.attach('messages', 'delivery_log');
INSERT INTO messages (sid) VALUES ('d'), ('f'), ('g');
SELECT sid, status FROM messages WHERE sid IN ('d', 'e', 'f', 'g') ORDER BY sid;
-- Undone.
BEGIN;
ALTER TABLE messages RENAME TO gone;
INSERT INTO delivery_log (sid, status) VALUES ('d', 'delivered');
ROLLBACK;
INSERT INTO delivery_log (sid, status) VALUES ('d', 'delivered');
SELECT status FROM messages WHERE sid = 'd';
-- Another owner.
CREATE ROLE regress_rename_owner;
GRANT USAGE ON SCHEMA rename TO regress_rename_owner;
ALTER TABLE messages OWNER TO regress_rename_owner;
INSERT INTO delivery_log (sid, status) VALUES ('d', 'read');
ALTER TABLE delivery_log OWNER TO regress_rename_owner;
SET ROLE regress_rename_owner;
INSERT INTO delivery_log (sid, status) VALUES ('e', 'read');
SELECT msgstatus.detach('messages', 'delivery_log');
SELECT msgstatus.attach('messages', 'delivery_log');
INSERT INTO delivery_log (sid, status) VALUES ('f', 'read');
RESET ROLE;
SELECT sid, status FROM messages WHERE sid IN ('d', 'e', 'f') ORDER BY sid;

-- Columns: a clear error that names the column, on the log and on messages; attached anew it works again.
ALTER TABLE messages RENAME sent_at TO sent_on;
SELECT public.rename_error_of($$INSERT INTO delivery_log (sid, status) VALUES ('d', 'read')$$);
SELECT split_part(public.rename_error_of($$INSERT INTO delivery_log (sid, status) VALUES ('d', 'read'), ('e', 'read')$$), E'\n', 1);
SELECT split_part(public.rename_error_of($$INSERT INTO messages (sid) VALUES ('h')$$), E'\n', 1);
SELECT split_part(public.rename_error_of($$UPDATE messages SET status = 'delivered' WHERE sid = 'g'$$), E'\n', 1);
SELECT split_part(public.rename_error_of($$SELECT msgstatus.apply_status('d', 'read')$$), E'\n', 1);
SELECT split_part(public.rename_error_of($$SELECT * FROM msgstatus.verify()$$), E'\n', 1);
SELECT split_part(public.rename_error_of($$SELECT * FROM msgstatus.history('d')$$), E'\n', 1);
UPDATE messages SET body = 'other columns are none of its business' WHERE sid = 'g';
SELECT msgstatus.detach('messages', 'delivery_log');
SELECT msgstatus.attach('messages', 'delivery_log', columns => '{"sent_at": "sent_on"}');
INSERT INTO delivery_log (sid, status) VALUES ('g', 'delivered');
SELECT status, sent_on IS NOT NULL AS sent FROM messages WHERE sid = 'g';
ALTER TABLE messages RENAME sid TO id;
SELECT split_part(public.rename_error_of($$INSERT INTO delivery_log (sid, status) VALUES ('d', 'read')$$), E'\n', 1);
ALTER TABLE messages RENAME id TO sid;
INSERT INTO delivery_log (sid, status) VALUES ('g', 'read');
ALTER TABLE delivery_log RENAME status TO word;
SELECT split_part(public.rename_error_of($$INSERT INTO delivery_log (sid, word) VALUES ('d', 'read')$$), E'\n', 1);
ALTER TABLE delivery_log RENAME word TO status;
ALTER TABLE delivery_log DROP COLUMN error_message;
SELECT split_part(public.rename_error_of($$INSERT INTO delivery_log (sid, status) VALUES ('d', 'read')$$), E'\n', 1);
ALTER TABLE delivery_log ADD COLUMN error_message text;
INSERT INTO delivery_log (sid, status) VALUES ('g', 'read');
-- A column that the triggers look at can't be dropped by accident.
SELECT public.rename_error_of($$ALTER TABLE messages DROP COLUMN read_at$$) LIKE '2BP01%' AS refused;
ALTER TABLE messages DROP COLUMN read_at CASCADE;
SELECT split_part(public.rename_error_of($$INSERT INTO delivery_log (sid, status) VALUES ('d', 'read')$$), E'\n', 1);
SELECT msgstatus.detach('messages', 'delivery_log');
SELECT msgstatus.attach('messages', 'delivery_log', columns => '{"sent_at": "sent_on"}');
INSERT INTO messages (sid) VALUES ('i');
INSERT INTO delivery_log (sid, status) VALUES ('i', 'read');
SELECT status, delivered_at IS NOT NULL AS delivered FROM messages WHERE sid = 'i';
-- A type that does not fit any more says so too, and a longer one is no matter.
ALTER TABLE delivery_log ALTER error_code TYPE varchar(50);
INSERT INTO delivery_log (sid, status, error_code) VALUES ('i', 'failed', '1');
SELECT error_code FROM messages WHERE sid = 'i';
ALTER TABLE delivery_log ALTER event_at TYPE text;
SELECT public.rename_error_of($$INSERT INTO delivery_log (sid, status) VALUES ('i', 'sent')$$) LIKE '42804 column "event_at" of table rename.delivery_log is %' AS refused;
ALTER TABLE delivery_log ALTER event_at TYPE timestamptz USING event_at::timestamptz;
INSERT INTO delivery_log (sid, status) VALUES ('i', 'sent');
SELECT public.rename_error_of($$ALTER TABLE messages ALTER status TYPE text$$) LIKE '0A000%' AS refused;
DROP TABLE messages, delivery_log;

-- DROP of one table: the pair is forgotten, and what is left is a plain table.
SELECT msgstatus.create_tables('rename');
INSERT INTO delivery_log (sid, status) VALUES ('a', 'sent');
DROP TABLE messages;
SELECT count(*) FROM msgstatus.tracked;
INSERT INTO delivery_log (sid, status) VALUES ('a', 'delivered'), ('b', 'sent');
SELECT count(*) FROM delivery_log;
SELECT tgname FROM pg_trigger WHERE tgrelid = 'delivery_log'::regclass;
DROP TABLE delivery_log;
SELECT msgstatus.create_tables('rename');
INSERT INTO messages (sid, status) VALUES ('a', 'delivered');
DROP TABLE delivery_log;
SELECT count(*) FROM msgstatus.tracked;
UPDATE messages SET status = 'queued' RETURNING status;
INSERT INTO messages (sid, status) VALUES ('b', 'read') RETURNING read_at;
SELECT tgname FROM pg_trigger WHERE tgrelid = 'messages'::regclass;
DROP TABLE messages;
-- Undone, the pair is as it was.
SELECT msgstatus.create_tables('rename');
INSERT INTO messages (sid) VALUES ('a');
BEGIN;
DROP TABLE messages;
INSERT INTO delivery_log (sid, status) VALUES ('a', 'sent');
ROLLBACK;
INSERT INTO delivery_log (sid, status) VALUES ('a', 'delivered');
SELECT sid, status FROM messages;
-- In the transaction that has written.
BEGIN;
INSERT INTO delivery_log (sid, status) VALUES ('b', 'delivered');
INSERT INTO messages (sid) VALUES ('c');
DROP TABLE messages;
COMMIT;
SELECT count(*) FROM delivery_log;
DROP TABLE delivery_log;
SELECT msgstatus.create_tables('rename');
BEGIN;
INSERT INTO messages (sid) VALUES ('c');
DROP TABLE delivery_log;
COMMIT;
DROP TABLE messages;
-- By way of its schema, of its owner.
CREATE SCHEMA rename_2;
SELECT msgstatus.create_tables('rename_2');
SELECT msgstatus.create_tables('rename');
DROP SCHEMA rename_2 CASCADE;
SELECT messages, log FROM msgstatus.tracked;
ALTER TABLE messages OWNER TO regress_rename_owner;
DROP OWNED BY regress_rename_owner;
SELECT messages, log FROM msgstatus.tracked;
INSERT INTO delivery_log (sid, status) VALUES ('b', 'delivered');
DROP TABLE delivery_log;
-- One of two messages tables on a log.
SELECT msgstatus.create_tables('rename', 'one', 'shared');
CREATE TABLE two (LIKE one INCLUDING DEFAULTS INCLUDING INDEXES);
SELECT msgstatus.attach('two', 'shared');
INSERT INTO two (message_id, sid) VALUES (1, 'a');
DROP TABLE one;
INSERT INTO shared (sid, status) VALUES ('a', 'delivered');
SELECT sid, status FROM two;
SELECT messages, log FROM msgstatus.tracked;
DROP TABLE shared;
SELECT count(*) FROM msgstatus.tracked;
UPDATE two SET status = 'queued' RETURNING status;
DROP TABLE two;

-- DROP EXTENSION is refused while tables use it.
SELECT msgstatus.create_tables('rename');
SELECT public.rename_error_of('DROP EXTENSION msgstatus') LIKE '2BP01 cannot drop extension msgstatus%' AS refused;
SELECT msgstatus.detach('messages', 'delivery_log');
SELECT public.rename_error_of('DROP EXTENSION msgstatus') LIKE '2BP01 cannot drop extension msgstatus%' AS refused;

-- Detached, and attached again.
INSERT INTO messages (sid, status) VALUES ('a', 'delivered');
INSERT INTO delivery_log (sid, status, event_at) VALUES ('b', 'sent', '2024-01-01 10:00+00');
UPDATE messages SET status = 'queued';
SELECT msgstatus.attach('messages', 'delivery_log');
INSERT INTO messages (sid) VALUES ('b');
INSERT INTO delivery_log (sid, status) VALUES ('a', 'sent');
SELECT sid, status FROM messages ORDER BY sid;
-- TRUNCATE leaves the pair alone; what the log still holds counts for messages that come again.
TRUNCATE messages;
INSERT INTO messages (sid) VALUES ('a');
SELECT sid, status FROM messages ORDER BY sid;
TRUNCATE delivery_log;
INSERT INTO delivery_log (sid, status) VALUES ('a', 'delivered');
SELECT sid, status FROM messages ORDER BY sid;
SELECT * FROM msgstatus.verify();
-- Deleted and inserted again, in one transaction and in one statement.
DELETE FROM messages;
INSERT INTO messages (sid) VALUES ('a') RETURNING status;
SELECT sid, status FROM messages;
BEGIN;
DELETE FROM messages;
INSERT INTO delivery_log (sid, status) VALUES ('a', 'read');
INSERT INTO messages (sid) VALUES ('a');
SELECT sid, status FROM messages;
COMMIT;
WITH gone AS (DELETE FROM messages WHERE sid = 'a' RETURNING sid)
INSERT INTO messages (sid) SELECT sid || '2' FROM gone;
INSERT INTO delivery_log (sid, status) VALUES ('a2', 'sent');
SELECT sid, status FROM messages;
TRUNCATE messages, delivery_log;
INSERT INTO messages (sid) VALUES ('a');
INSERT INTO delivery_log (sid, status) VALUES ('a', 'read');
SELECT sid, status FROM messages;

DROP SCHEMA rename CASCADE;
DROP FUNCTION public.rename_error_of(text);
DROP ROLE regress_rename_owner;
SELECT count(*) FROM msgstatus.tracked;
