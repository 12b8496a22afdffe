-- Asking the provider: what of it the engine keeps, and which messages it is time to ask about.
\set VERBOSITY terse
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET intervalstyle = 'postgres';
CREATE SCHEMA poll;
SET search_path = poll;
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

-- Schedules: two are built in, others are rows.
SELECT schedule, status, min_age, "interval" FROM msgstatus.poll_schedule WHERE status IN ('queued', 'sent') ORDER BY 1, 2, 3;
SELECT schedule, array_agg(DISTINCT status) FROM msgstatus.poll_schedule GROUP BY 1 ORDER BY 1;
SELECT msgstatus.create_tables();
CREATE VIEW kept AS SELECT sid, status, check_count AS n, last_checked_at AS last FROM messages ORDER BY sid;
SELECT msgstatus.detach('messages', 'delivery_log');
SELECT error_of($$SELECT msgstatus.attach('messages', 'delivery_log', poll => 'hourly')$$);
SELECT error_of($$SELECT msgstatus.attach('messages', 'delivery_log', poll => NULL)$$);
SELECT error_of($$INSERT INTO msgstatus.poll_schedule VALUES ('off', 'sent', '0', '1 hour')$$);
SELECT error_of($$INSERT INTO msgstatus.poll_schedule VALUES ('hourly', 'sent', '-1 hour', '1 hour')$$);
SELECT error_of($$INSERT INTO msgstatus.poll_schedule VALUES ('stuck', 'sent', '1 minute', '1 minute')$$);
SELECT error_of($$UPDATE msgstatus.poll_schedule SET "interval" = '1 minute' WHERE schedule = 'eager'$$);
SELECT error_of($$DELETE FROM msgstatus.poll_schedule$$);
SELECT error_of($$TRUNCATE msgstatus.poll_schedule$$);
INSERT INTO msgstatus.poll_schedule VALUES ('hourly', 'sent', '0', '1 hour'), ('hourly', 'sent', '1 day', NULL);
SELECT msgstatus.attach('messages', 'delivery_log', poll => 'hourly');
SELECT poll FROM msgstatus.tracked WHERE messages = 'messages'::regclass;
SELECT error_of($$DELETE FROM msgstatus.poll_schedule WHERE schedule = 'hourly'$$);
SELECT error_of($$UPDATE msgstatus.poll_schedule SET schedule = 'daily' WHERE schedule = 'hourly'$$);
UPDATE msgstatus.poll_schedule SET "interval" = '2 hours' WHERE schedule = 'hourly' AND min_age = '0';
SELECT count(*) FROM msgstatus.due();

-- An answer is a log row with source 'poll'. Each counts, also one that is no news; callbacks and words of nobody don't.
INSERT INTO messages (sid) VALUES ('a'), ('b'), ('c');
INSERT INTO delivery_log (sid, status, source, created_at) VALUES ('a', 'queued', 'poll', '2025-06-16 10:00:00+00');
INSERT INTO delivery_log (sid, status, source, created_at) VALUES ('a', 'sent', 'callback', '2025-06-16 10:00:01+00');
INSERT INTO delivery_log (sid, status, source, created_at) VALUES ('a', 'no such word', 'poll', '2025-06-16 10:00:02+00');
TABLE kept;
-- Many in one statement, several of one message among them, one older than what is known.
INSERT INTO delivery_log (sid, status, source, created_at) VALUES
    ('a', 'sent', 'poll', '2025-06-16 09:00:00+00'), ('b', 'sent', 'poll', '2025-06-16 10:00:03+00'),
    ('b', 'delivered', 'poll', '2025-06-16 10:00:04+00'), ('c', 'sent', 'callback', '2025-06-16 10:00:05+00'),
    ('d', 'sent', 'poll', '2025-06-16 10:00:06+00');
TABLE kept;
SELECT msgstatus.apply_status('c', 'sent', source => 'poll') AS no_news;
SELECT check_count, last_checked_at > created_at AS now FROM messages WHERE sid = 'c';
-- A message that comes behind an answer was not asked about, and what is folded again is not counted again.
INSERT INTO messages (sid) VALUES ('d');
SELECT status, check_count FROM messages WHERE sid = 'd';
SELECT count(*) FROM msgstatus.verify();
SELECT msgstatus.rebuild();
SELECT msgstatus.settle(NULL);
SELECT sid, check_count FROM messages ORDER BY sid;
-- Where the row can't tell and the log is asked, and where somebody's trigger looks over the engine's shoulder.
INSERT INTO delivery_log (sid, status, error_code, source) VALUES ('b', 'failed', '30008', 'callback');
INSERT INTO delivery_log (sid, status, error_code, source, created_at) VALUES ('b', 'failed', '30003', 'poll', '2025-06-16 10:00:01+00');
SELECT status, error_code, check_count FROM messages WHERE sid = 'b';
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.body := 'seen'; RETURN NEW; END $$;
CREATE TRIGGER meddle BEFORE UPDATE ON messages FOR EACH ROW EXECUTE FUNCTION meddle();
INSERT INTO delivery_log (sid, status, source) VALUES ('a', 'sent', 'poll');
INSERT INTO delivery_log (sid, status, source) VALUES ('a', 'delivered', 'poll'), ('b', 'sent', 'poll'), ('b', 'sent', 'poll'), ('c', 'sent', 'callback');
SELECT sid, status, check_count, body FROM messages ORDER BY sid;
DROP TRIGGER meddle ON messages;

-- Other types, other names, row level, partitions; a count of its own that was there before; one role of the two.
CREATE TABLE m (id bigint PRIMARY KEY, twilio text, state msgstatus.delivery_status, asked timestamp(0), times bigint) PARTITION BY RANGE (id);
CREATE TABLE m_1 PARTITION OF m FOR VALUES FROM (0) TO (100);
CREATE TABLE l (id bigint, word text, source text, at timestamp DEFAULT '2025-06-16 12:00:00.4');
CREATE INDEX ON l (id);
SELECT msgstatus.attach('m', 'l', message_key => 'id', log_key => 'id', status => 'state', log_status => 'word', level => 'row', poll => 'eager',
    columns => '{"sid": "twilio", "last_checked_at": "asked", "check_count": "times", "log.created_at": "at"}');
INSERT INTO m VALUES (1, 'SM1', 'sent', NULL, 7), (2, 'SM2', 'sent', NULL, NULL), (3, NULL, 'sent', NULL, 0);
INSERT INTO l (id, word, source) VALUES (1, 'sent', 'poll'), (1, 'sent', 'poll'), (2, 'delivered', 'poll');
SELECT * FROM m ORDER BY id;
-- Due by the provider's id, not by the key; a message that does not say how old it is counts as old.
SELECT messages, message_key, sid, status, age, check_count, last_checked_at, schedule FROM msgstatus.due() WHERE messages = 'm'::regclass;
UPDATE m SET asked = NULL;
SELECT messages, message_key, sid, age, check_count, schedule, reason FROM msgstatus.due() WHERE messages = 'm'::regclass;
SELECT msgstatus.detach('m', 'l');
SELECT msgstatus.attach('m', 'l', message_key => 'id', log_key => 'id', status => 'state', log_status => 'word',
    columns => '{"sid": "twilio", "check_count": "times", "log.created_at": "at"}');
INSERT INTO l (id, word, source) VALUES (2, 'sent', 'poll');
SELECT id, asked, times FROM m WHERE id = 2;
SELECT msgstatus.detach('m', 'l');
SELECT split_part(error_of($$SELECT msgstatus.attach('m', 'l', message_key => 'id', log_key => 'id', status => 'state', log_status => 'word', columns => '{"check_count": "twilio"}')$$), E'\n', 1);

-- Which messages are due. The table of each: what it takes to be on the list.
SELECT msgstatus.detach('messages', 'delivery_log');
TRUNCATE messages, delivery_log;
SELECT msgstatus.attach('messages', 'delivery_log', poll => 'stuck');
CREATE FUNCTION ago(i interval) RETURNS timestamptz LANGUAGE sql STABLE AS $$ SELECT now() - i $$;
INSERT INTO messages (sid, status, created_at, last_checked_at, check_count) VALUES
    ('q 59 min', 'queued', ago('59 min'), NULL, 0), ('q 61 min', 'queued', ago('61 min'), NULL, 0),
    ('s 119 min', 'sent', ago('119 min'), NULL, 0), ('s 121 min', 'sent', ago('121 min'), NULL, 0),
    ('s 3 h, 59 min ago', 'sent', ago('3 h'), ago('59 min'), 1), ('s 3 h, 61 min ago', 'sent', ago('3 h'), ago('61 min'), 1),
    ('s 7 h, 179 min ago', 'sent', ago('7 h'), ago('179 min'), 1), ('s 7 h, 181 min ago', 'sent', ago('7 h'), ago('181 min'), 1),
    ('s 30 h, 11 h ago', 'sent', ago('30 h'), ago('11 h'), 1), ('u 30 h, 13 h ago', 'delivery_unknown', ago('30 h'), ago('13 h'), 1),
    ('s 73 h', 'sent', ago('73 h'), NULL, 0), ('s 70 h, 20 checks', 'sent', ago('70 h'), ago('20 h'), 20),
    ('s 70 h, 19 checks', 'sent', ago('70 h'), ago('20 h'), 19), ('delivered', 'delivered', ago('9 h'), NULL, 0),
    ('canceled', 'canceled', ago('9 h'), NULL, 0), ('sending', 'sending', ago('9 h'), NULL, 0), ('accepted', 'accepted', ago('9 h'), NULL, 0);
INSERT INTO messages (sid, status, created_at, scheduled_for, next_check_at, provider, direction) VALUES
    ('scheduled for tomorrow', 'scheduled', ago('9 h'), ago('-1 day'), NULL, 'twilio', 'outbound'),
    ('scheduled for 30 min ago', 'scheduled', ago('9 h'), ago('30 min'), NULL, 'twilio', 'outbound'),
    ('scheduled for 2 h ago', 'scheduled', ago('9 h'), ago('2 h'), NULL, 'twilio', 'outbound'),
    ('taken until later', 'sent', ago('9 h'), NULL, ago('-1 min'), 'twilio', 'outbound'),
    ('taken until a minute ago', 'sent', ago('9 h'), NULL, ago('1 min'), 'Twilio', NULL),
    ('of another provider', 'sent', ago('9 h'), NULL, NULL, 'vonage', 'outbound'),
    ('inbound', 'sent', ago('9 h'), NULL, NULL, 'twilio', 'inbound'), ('incoming', 'sent', ago('9 h'), NULL, NULL, 'twilio', 'Incoming'),
    ('reply', 'sent', ago('9 h'), NULL, NULL, NULL, 'outbound-reply');
SELECT sid, check_count, reason FROM msgstatus.due();
SELECT count(*) FROM msgstatus.due(3);
SELECT count(*) FROM msgstatus.due(0);
SELECT sid FROM msgstatus.due(max_checks => 21) EXCEPT SELECT sid FROM msgstatus.due();
SELECT sid FROM msgstatus.due(max_checks => 1) EXCEPT SELECT sid FROM msgstatus.due(max_checks => 1) WHERE check_count = 0;
SELECT error_of('SELECT * FROM msgstatus.due(-1)');
SELECT error_of('SELECT * FROM msgstatus.due(max_checks => NULL)');
-- A column that only this list goes by is missed by nothing else.
ALTER TABLE messages RENAME direction TO way;
INSERT INTO delivery_log (sid, status) VALUES ('reply', 'delivered');
SELECT status FROM messages WHERE sid = 'reply';
SELECT error_of('SELECT * FROM msgstatus.due()');
ALTER TABLE messages RENAME way TO direction;
SELECT count(*) FROM msgstatus.due();
-- Of tables that the caller may read.
CREATE ROLE regress_poll_user;
GRANT USAGE ON SCHEMA poll TO regress_poll_user;
SET ROLE regress_poll_user;
SELECT count(*) FROM msgstatus.due();
SELECT count(*) > 0 AS readable FROM msgstatus.poll_schedule;
SELECT error_of($$INSERT INTO msgstatus.poll_schedule VALUES ('mine', 'sent', '0', '1 hour')$$);
RESET ROLE;

-- In parts: the same as rebuild, in the order of the keys.
SELECT msgstatus.detach('messages', 'delivery_log');
TRUNCATE messages, delivery_log;
INSERT INTO messages (sid) SELECT 'p' || g FROM generate_series(100, 129) g;
INSERT INTO messages (sid) VALUES (NULL);
INSERT INTO delivery_log (sid, status) SELECT 'p' || g, 'delivered' FROM generate_series(100, 148, 2) g;
SELECT msgstatus.attach('messages', 'delivery_log');
SELECT * FROM msgstatus.rebuild_part('messages', NULL, 7);
SELECT * FROM msgstatus.rebuild_part('messages', 'p106', 7);
SELECT * FROM msgstatus.rebuild_part('messages', 'p129', 7);
CALL msgstatus.rebuild_in_parts('messages', 4);
SELECT count(*) FROM msgstatus.verify(messages => 'messages');
CALL msgstatus.rebuild_in_parts('messages');
SELECT error_of($$SELECT msgstatus.rebuild_part('messages', NULL, 0)$$);
SELECT error_of($$SELECT msgstatus.rebuild_part('messages', NULL, NULL)$$);
SELECT error_of($$CALL msgstatus.rebuild_in_parts('messages')$$);
SET ROLE regress_poll_user;
SELECT error_of($$SELECT msgstatus.rebuild_part('poll.messages', NULL, 1)$$);
RESET ROLE;
BEGIN;
CALL msgstatus.rebuild_in_parts('messages');
ROLLBACK;

-- A table that can't keep when it was asked about: each round would ask about all of it.
CREATE TABLE few (sid text PRIMARY KEY, status msgstatus.delivery_status);
CREATE TABLE few_log (sid text, status text);
CREATE INDEX ON few_log (sid);
SELECT msgstatus.attach('few', 'few_log', poll => 'stuck');

-- A column that may be NULL says not of every message whether it is final: the status does.
CREATE TABLE maybe (sid text PRIMARY KEY, status msgstatus.delivery_status, done boolean, account_sid text, check_count integer);
CREATE TABLE maybe_log (sid text, status text);
CREATE INDEX ON maybe_log (sid);
SELECT msgstatus.attach('maybe', 'maybe_log', poll => 'eager', columns => '{"final": "done"}');
SET msgstatus.guard = off;
INSERT INTO maybe VALUES ('N1', 'queued', NULL, 'AC1', 0), ('N2', 'delivered', NULL, 'AC1', 0), ('N3', 'queued', false, 'AC1', 0);
RESET msgstatus.guard;
SELECT sid, status FROM msgstatus.due() WHERE messages = 'maybe'::regclass ORDER BY sid;

DELETE FROM msgstatus.poll_schedule WHERE schedule = 'hourly';
DROP SCHEMA poll CASCADE;
DROP ROLE regress_poll_user;
