-- Logs that do not take everything: what they refuse costs nothing else its place, and waits beside them. The server has the
-- app secret 'hush' (scripts/installcheck sets it).
CREATE SCHEMA webhook_log;
SET search_path = webhook_log, public;
\getenv here PG_ABS_SRCDIR
\set signed :here '/include/signed.sql'
\i :signed
CREATE VIEW waits AS SELECT sid, status, error_code FROM msgstatus.waiting_callback ORDER BY id;

-- A log that goes by the provider's id, and has a column of the message's that may not be empty.
CREATE TABLE messages (sid text PRIMARY KEY, org integer NOT NULL, status msgstatus.delivery_status NOT NULL DEFAULT 'queued');
CREATE TABLE log (id bigserial, sid text NOT NULL, org integer NOT NULL, status text NOT NULL, provider text NOT NULL,
    error_code text NOT NULL DEFAULT 'none', created_at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE INDEX ON log (sid);
SELECT msgstatus.attach('messages', 'log', columns => '{"copy": ["org"]}');
INSERT INTO messages VALUES ('a', 7);
SELECT called_back(said('a', 'sent') || ',' || said('b', 'delivered'));
SELECT sid, org, status FROM log ORDER BY id;
SELECT message_key, word FROM msgstatus.unmatched();
INSERT INTO messages VALUES ('b', 8), ('c', 9);
SELECT * FROM messages ORDER BY sid;
SELECT sid, org, status, created_at < now() AS came_before FROM log ORDER BY id;
TABLE waits;
-- In one transaction, in this order.
BEGIN;
SELECT called_back(said('d', 'sent'));
INSERT INTO messages VALUES ('d', 1);
COMMIT;
SELECT status FROM messages WHERE sid = 'd';
-- With the triggers off, until settle.
SELECT called_back(said('e', 'read'));
ALTER TABLE messages DISABLE TRIGGER USER;
INSERT INTO messages VALUES ('e', 2);
ALTER TABLE messages ENABLE TRIGGER USER;
SELECT msgstatus.settle('0');
SELECT msgstatus.settle();
SELECT status FROM messages WHERE sid = 'e';

-- What has an error and what has none go in with one INSERT, in the order of their keys: a NOT NULL column has its default.
TRUNCATE log, messages;
INSERT INTO messages SELECT sid, 1 FROM unnest(ARRAY['a', 'b', 'c']) AS sid;
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE '% rows in one INSERT', (SELECT count(*) FROM new_rows);
    RETURN NULL;
END $$;
CREATE TRIGGER tell AFTER INSERT ON log REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION tell();
SELECT called_back(said('c', 'sent') || ',{"id": "a", "status": "failed", "errors": [{"code": 131026}]},' || said('b', 'sent'));
SELECT sid, error_code FROM log ORDER BY sid;
DROP TRIGGER tell ON log;

-- A log that has a status of a message once, and is told it twice.
CREATE UNIQUE INDEX once ON log (sid, status);
SELECT called_back(said('b', 'sent') || ',' || said('b', 'delivered') || ',' || said('c', 'sent'));
SELECT called_back(said('b', 'sent'));
SELECT sid, status FROM log ORDER BY id;
TABLE waits;
DROP INDEX once;
-- One that has a message once says nothing of the status: it refuses.
CREATE UNIQUE INDEX never ON log (sid) WHERE sid = 'a';
SELECT called_back(said('a', 'read'));
SELECT called_back(said('a', 'read') || ',' || said('b', 'accepted'));
TABLE waits;
DROP INDEX never;
SELECT msgstatus.settle();

-- A log that is choosy: of many the others are there, of one the error is.
ALTER TABLE log ADD CONSTRAINT short CHECK (length(status) < 9) NOT VALID, ADD CONSTRAINT no_c CHECK (sid <> 'c') NOT VALID;
SELECT called_back(said('a', 'read') || ',' || said('b', 'delivered') || ',' || said('c', 'read'));
SELECT called_back(said('b', 'delivered'));
SELECT called_back(said('b', 'delivered') || ',' || said('c', 'read'));
SELECT called_back(said('b', 'delivered') || ',' || said('nobody', 'sent'));
TABLE waits;
SELECT msgstatus.settle();
ALTER TABLE log DROP CONSTRAINT short, DROP CONSTRAINT no_c;
SELECT msgstatus.settle();
SELECT * FROM messages ORDER BY sid;
TABLE waits;
SELECT * FROM msgstatus.verify();
DROP TABLE log, messages CASCADE;

-- A log that holds labels keeps words that are none beside it, for the day on which they are, or it is a text.
CREATE TABLE messages (sid text PRIMARY KEY, status msgstatus.delivery_status NOT NULL DEFAULT 'queued');
CREATE TABLE log (id bigserial, sid text NOT NULL, status msgstatus.delivery_status NOT NULL, at timestamptz DEFAULT now());
CREATE INDEX ON log (sid);
SELECT msgstatus.attach('messages', 'log', columns => '{"log.created_at": "at"}', provider => 'whatsapp');
INSERT INTO messages VALUES ('a');
SELECT called_back(said('a', 'warning') || ',' || said('a', 'sent') || ',' || said('b', 'warning'));
SELECT called_back(said('a', 'warning'));
TABLE waits;
SELECT * FROM msgstatus.unmatched();
SELECT provider, word, occurrences, first_seen <= last_seen AS in_order FROM msgstatus.unrecognized();
INSERT INTO messages VALUES ('b');
SELECT msgstatus.settle();
TABLE waits;
SELECT msgstatus.detach('messages', 'log');
ALTER TABLE log ALTER status TYPE text;
SELECT msgstatus.attach('messages', 'log', columns => '{"log.created_at": "at"}', provider => 'whatsapp');
TABLE waits;
SELECT provider, word, occurrences FROM msgstatus.unrecognized();
DROP TABLE log, messages CASCADE;

-- A log by another key: an unknown word without a message is an unknown word too.
CREATE TABLE messages (id integer PRIMARY KEY, wamid text UNIQUE, status msgstatus.delivery_status NOT NULL DEFAULT 'queued');
CREATE TABLE log (id bigserial, message integer NOT NULL, status text NOT NULL,
    CONSTRAINT of_message FOREIGN KEY (message) REFERENCES messages DEFERRABLE INITIALLY DEFERRED);
CREATE INDEX ON log (message);
SELECT msgstatus.attach('messages', 'log', 'id', 'message', columns => '{"sid": "wamid"}', provider => 'whatsapp');
SELECT called_back(said('nobody', 'warning'));
SELECT message_key FROM msgstatus.unmatched();
SELECT provider, word, occurrences FROM msgstatus.unrecognized();

-- PostgreSQL fires nothing that is deferred while a function works with the rights of another: what the log defers is looked
-- at with the callback. It is deferred again behind it.
CREATE ROLE regress_msgstatus_log;
GRANT USAGE ON SCHEMA webhook_log TO regress_msgstatus_log;
GRANT EXECUTE ON FUNCTION msgstatus.whatsapp_callback(bytea, text, regclass) TO regress_msgstatus_log;
GRANT INSERT, SELECT ON messages, log TO regress_msgstatus_log;
GRANT USAGE ON SEQUENCE log_id_seq TO regress_msgstatus_log;
INSERT INTO messages VALUES (1, 'one');
SET ROLE regress_msgstatus_log;
SELECT called_back(said('one', 'sent') || ',' || said('two', 'read'));
BEGIN;
SELECT called_back(said('one', 'delivered'));
INSERT INTO log (message, status) VALUES (3, 'sent');
INSERT INTO messages VALUES (2, 'two'), (3, 'three');
COMMIT;
SELECT * FROM messages ORDER BY id;
-- What the transaction left open before is looked at then.
BEGIN;
INSERT INTO log (message, status) VALUES (4, 'sent');
SELECT called_back(said('one', 'read'));
ROLLBACK;
RESET ROLE;
DROP TABLE log, messages CASCADE;

-- A log by the provider's id that takes no row without its message.
CREATE TABLE messages (sid text PRIMARY KEY, status msgstatus.delivery_status NOT NULL DEFAULT 'queued');
CREATE TABLE log (id bigserial, sid text NOT NULL REFERENCES messages, status text NOT NULL);
CREATE INDEX ON log (sid);
SELECT msgstatus.attach('messages', 'log', provider => 'whatsapp');
SELECT called_back(said('a', 'sent'));
INSERT INTO messages VALUES ('a');
SELECT * FROM messages;
-- A foreign key that goes, and comes.
ALTER TABLE log DROP CONSTRAINT log_sid_fkey;
SELECT called_back(said('b', 'sent'));
SELECT sid, status FROM log ORDER BY id;
INSERT INTO messages VALUES ('b');
ALTER TABLE log ADD FOREIGN KEY (sid) REFERENCES messages;
SELECT called_back(said('c', 'sent'));
INSERT INTO messages VALUES ('c');
SELECT * FROM messages ORDER BY sid;
SELECT count(*) FROM msgstatus.waiting_callback;
-- What PostgreSQL quotes of a row that a constraint refuses is for those who may read the log.
ALTER TABLE log ADD CHECK (status <> 'warning');
\set VERBOSITY default
\set SHOW_CONTEXT never
SET ROLE regress_msgstatus_log;
SELECT called_back(said('c', 'warning'));
RESET ROLE;
GRANT SELECT ON log TO regress_msgstatus_log;
SET ROLE regress_msgstatus_log;
SELECT called_back(said('c', 'warning'));
RESET ROLE;
-- Or the messages.
ALTER TABLE messages ADD CHECK (status <> 'failed');
SET ROLE regress_msgstatus_log;
SELECT called_back(said('c', 'failed'));
RESET ROLE;
GRANT SELECT ON messages TO regress_msgstatus_log;
SET ROLE regress_msgstatus_log;
SELECT called_back(said('c', 'failed'));
SELECT called_back(said('c', 'warning'));
RESET ROLE;
ALTER TABLE log ENABLE ROW LEVEL SECURITY;
SET ROLE regress_msgstatus_log;
SELECT called_back(said('c', 'warning'));
RESET ROLE;

SET client_min_messages = warning;
DROP SCHEMA webhook_log CASCADE;
DROP OWNED BY regress_msgstatus_log;
DROP ROLE regress_msgstatus_log;
