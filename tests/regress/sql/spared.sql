-- What an UPDATE of messages is spared: the triggers of ours that it can't concern. A generated column tells when it is
-- computed: PostgreSQL does so wherever a BEFORE trigger might have changed the row.
\set VERBOSITY terse
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE SCHEMA spared;
SET search_path = spared;
-- Loads the library, where it is not preloaded.
SELECT msgstatus.parse_status('sent');

CREATE FUNCTION computed(status msgstatus.delivery_status) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RAISE NOTICE 'computed from %', status;
    RETURN upper(status::text);
END
$$;
CREATE TABLE messages (
    id integer PRIMARY KEY, sid text UNIQUE, status msgstatus.delivery_status NOT NULL DEFAULT 'queued',
    sent_at timestamptz, delivered_at timestamptz, note text, shown text GENERATED ALWAYS AS (computed(status)) STORED);
CREATE TABLE log (sid text, status text, at timestamptz DEFAULT now());
CREATE INDEX ON log (sid);
SELECT msgstatus.attach('messages', 'log', message_key => 'sid', log_key => 'sid', log_status => 'status',
                        columns => '{"log.event_at": "at"}');
CREATE VIEW seen AS SELECT sid, status, sent_at, delivered_at, note, shown FROM messages ORDER BY id;
INSERT INTO messages (id, sid) VALUES (1, 'a');
SET client_min_messages = notice;

-- Other columns alone: no trigger of ours, and nothing to compute.
UPDATE messages SET note = 'one';
-- The engine's own UPDATE computes the column once, and that of a callback that changes nothing not at all.
INSERT INTO log VALUES ('a', 'sent', '2024-01-01 10:00+00');
INSERT INTO log VALUES ('a', 'sent', '2024-01-01 10:00+00');
SELECT * FROM seen;
-- The status, or a milestone: guarded.
UPDATE messages SET status = 'queued';
UPDATE messages SET note = 'two', status = status;
UPDATE messages SET sent_at = NULL;
SELECT * FROM seen;

-- Somebody's BEFORE trigger may change what the statement does not name: nothing is spared, and the guard puts it right.
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.status := 'queued';
    RETURN NEW;
END
$$;
CREATE TRIGGER meddle BEFORE UPDATE OF note ON messages FOR EACH ROW EXECUTE FUNCTION meddle();
UPDATE messages SET note = 'three';
SELECT * FROM seen;
-- Unless it does not fire either.
UPDATE messages SET id = id;
ALTER TABLE messages DISABLE TRIGGER meddle;
UPDATE messages SET note = 'four';
ALTER TABLE messages ENABLE TRIGGER meddle;
-- It may change the key, for which callbacks wait.
CREATE OR REPLACE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.sid := 'b';
    RETURN NEW;
END
$$;
INSERT INTO log VALUES ('b', 'delivered', '2024-01-01 11:00+00');
UPDATE messages SET note = 'five';
SELECT * FROM seen;
DROP TRIGGER meddle ON messages;

-- A key that the statement sets, or that follows from what it sets.
INSERT INTO log VALUES ('d', 'delivered', '2024-01-01 12:00+00'), ('e', 'delivered', '2024-01-01 13:00+00');
INSERT INTO messages (id, sid) VALUES (2, 'c');
UPDATE messages SET sid = 'd' WHERE id = 2;
SELECT * FROM seen;
CREATE TABLE cased (
    id integer PRIMARY KEY, raw text, sid text UNIQUE GENERATED ALWAYS AS (lower(raw)) STORED,
    status msgstatus.delivery_status NOT NULL DEFAULT 'queued', delivered_at timestamptz);
SELECT msgstatus.attach('cased', 'log', message_key => 'sid', log_key => 'sid', log_status => 'status',
                        columns => '{"log.event_at": "at"}');
INSERT INTO cased (id, raw) VALUES (1, 'D?');
UPDATE cased SET raw = 'E';
SELECT sid, status, delivered_at FROM cased;

-- Somebody's AFTER trigger fires as ever, for users and for the engine.
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE '% told: % % %', TG_NAME, NEW.sid, NEW.status, NEW.note;
    RETURN NULL;
END
$$;
CREATE TRIGGER tell AFTER UPDATE ON messages FOR EACH ROW EXECUTE FUNCTION tell();
UPDATE messages SET note = 'six' WHERE id = 2;
INSERT INTO log VALUES ('d', 'read', '2024-01-01 14:00+00');

-- So does one for statements, with its transition tables.
CREATE FUNCTION count_rows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE '% counted: %', TG_NAME, (SELECT string_agg(o.note || ' to ' || n.note, ', ') FROM before o JOIN after n USING (id));
    RETURN NULL;
END
$$;
DROP TRIGGER tell ON messages;
CREATE TRIGGER count_rows AFTER UPDATE ON messages REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION count_rows();
UPDATE messages SET note = 'seven' WHERE id = 2;

-- Partitions whose columns have other numbers.
CREATE TABLE parted (LIKE messages INCLUDING GENERATED INCLUDING DEFAULTS) PARTITION BY RANGE (id);
CREATE TABLE parted_1 (
    note text, gone integer, shown text GENERATED ALWAYS AS (computed(status)) STORED, delivered_at timestamptz,
    sent_at timestamptz, status msgstatus.delivery_status NOT NULL DEFAULT 'queued', sid text, id integer NOT NULL);
ALTER TABLE parted_1 DROP COLUMN gone;
ALTER TABLE parted ATTACH PARTITION parted_1 FOR VALUES FROM (0) TO (10);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (10) TO (20);
CREATE UNIQUE INDEX ON parted (sid, id);
CREATE TABLE parted_log (LIKE log INCLUDING ALL);
SELECT msgstatus.attach('parted', 'parted_log', message_key => 'sid', log_key => 'sid', log_status => 'status',
                        columns => '{"log.event_at": "at"}');
SET client_min_messages = warning;
INSERT INTO parted (id, sid, status) VALUES (1, 'p', 'sent'), (11, 'q', 'sent');
SET client_min_messages = notice;
UPDATE parted SET note = 'one';
UPDATE parted SET status = 'queued';
INSERT INTO parted_log VALUES ('p', 'delivered', '2024-01-01 10:00+00'), ('q', 'delivered', '2024-01-01 10:00+00');
UPDATE parted SET id = 12, note = 'moved' WHERE id = 1;
SELECT tableoid::regclass, sid, status, note, shown FROM parted ORDER BY id;

SET client_min_messages = warning;
DROP SCHEMA spared CASCADE;
