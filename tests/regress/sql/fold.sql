-- The fold as SQL sees it: milestones, errors, verdicts, policies, and that nothing is written without need.
\set VERBOSITY terse
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE SCHEMA fold;
SET search_path = fold;
SELECT msgstatus.create_tables('fold');
CREATE FUNCTION at(minutes integer) RETURNS timestamptz LANGUAGE sql AS $$ SELECT timestamptz '2024-01-01 10:00+00' + minutes * interval '1 minute' $$;
CREATE FUNCTION seen(bits integer) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(s::text, ' ' ORDER BY s) FROM unnest(enum_range(NULL::msgstatus.delivery_status)) WITH ORDINALITY u(s, n)
     WHERE bits & (1 << (n - 1)::integer) <> 0
$$;
-- Messages with times as minutes past ten.
CREATE FUNCTION minute(t timestamptz) RETURNS integer LANGUAGE sql AS $$ SELECT (extract(epoch FROM t - timestamptz '2024-01-01 10:00+00') / 60)::integer $$;
CREATE VIEW m AS
    SELECT sid, status, minute(status_at) AS at, minute(sent_at) AS sent, minute(delivered_at) AS delivered, minute(read_at) AS read, minute(failed_at) AS failed,
           minute(canceled_at) AS canceled, error_code AS code, error_message AS message, final, seen(statuses_seen) AS seen
      FROM messages ORDER BY sid;
-- A message that was accepted at ten.
CREATE FUNCTION new(sids text[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO fold.messages (sid, status, status_at) SELECT s, 'accepted', fold.at(0) FROM unnest(sids) s
$$;
CREATE FUNCTION say(sid text, word text, minutes integer, code text DEFAULT NULL, message text DEFAULT NULL) RETURNS msgstatus.verdict LANGUAGE sql AS $$
    SELECT msgstatus.apply_status(sid, word, fold.at(minutes), code, message, messages => 'fold.messages')
$$;

-- What each status is evidence of.
SELECT new(array_agg('m' || lpad(n::text, 2, '0'))) FROM generate_series(1, 14) n;
INSERT INTO delivery_log (sid, status, event_at)
SELECT 'm' || lpad(n::text, 2, '0'), s::text, at(5) FROM unnest(enum_range(NULL::msgstatus.delivery_status)) WITH ORDINALITY u(s, n);
SELECT sid, status, at, sent, delivered, read, failed, canceled, final, seen FROM m;
TRUNCATE messages, delivery_log;

-- One by one, in order and with verdicts: the whole life of a message.
SELECT new('{a}');
SELECT say('a', 'queued', 1), say('a', 'sent', 2), say('a', 'sent', 2), say('a', 'delivered', 3), say('a', 'sent', 2), say('a', 'read', 4), say('a', 'delivered', 3), say('a', 'queued', 1);
SELECT * FROM m;
SELECT minute(t) AS t, word, status, verdict, status_after, source FROM msgstatus.history('a');
-- The other way round: later stages vouch for earlier ones, real events correct them.
SELECT new('{b}');
SELECT say('b', 'read', 4), say('b', 'delivered', 3), say('b', 'sent', 2), say('b', 'queued', 1), say('b', 'sending', 1), say('b', 'bounced', 1);
SELECT * FROM m WHERE sid = 'b';
SELECT minute(t) AS t, word, status, verdict, status_after FROM msgstatus.history('b');
-- Without a message.
SELECT say('c', 'sent', 2), say('c', 'bounced', 2);
SELECT word, status, verdict, status_after FROM msgstatus.history('c');
SELECT * FROM msgstatus.history('nobody');
-- Conflicts: the first of the final statuses that are equals stands, the others are evidence.
SELECT new('{d,e,f,g}');
SELECT say('d', 'delivered', 3), say('d', 'failed', 5, '30003'), say('d', 'undelivered', 6, '30005'), say('d', 'canceled', 7), say('d', 'failed', 5, '30003');
SELECT say('e', 'failed', 5, '30003'), say('e', 'delivered', 6), say('e', 'delivered', 4), say('e', 'read', 7);
-- At the same time the later label.
SELECT say('f', 'undelivered', 5), say('f', 'failed', 5), say('f', 'canceled', 5), say('f', 'delivered', 5), say('f', 'failed', 5);
SELECT say('g', 'delivered', 5), say('g', 'canceled', 5), say('g', 'failed', 5), say('g', 'undelivered', 5);
SELECT * FROM m WHERE sid >= 'd';
SELECT word, verdict, status_after FROM msgstatus.history('e');
-- The same status earlier.
SELECT new('{h}');
SELECT say('h', 'delivered', 5), say('h', 'delivered', 4), say('h', 'delivered', 6), say('h', 'delivery_unknown', 3), say('h', 'partially_delivered', 2);
SELECT * FROM m WHERE sid = 'h';
SELECT * FROM msgstatus.verify();
TRUNCATE messages, delivery_log;

-- Errors. The earliest failing event that carries one counts; one beside another event only while nothing failed;
-- success erases nothing; no status comes from a code.
SELECT new('{e1,e2,e3,e4,e5,e6,e7,e8,e9}');
SELECT say('e1', 'sent', 2, '30007', 'Filtered');
SELECT say('e2', 'sent', 2, '30007', 'Filtered'), say('e2', 'undelivered', 5, '30003', 'Unreachable');
SELECT say('e3', 'undelivered', 5, '30003', 'Unreachable'), say('e3', 'sent', 2, '30007', 'Filtered');
SELECT say('e4', 'failed', 5, '30005'), say('e4', 'undelivered', 4, '30003');
SELECT say('e5', 'failed', 5, '30005'), say('e5', 'undelivered', 6, '30003'), say('e5', 'read', 7);
SELECT say('e6', 'sent', 2, '30007'), say('e6', 'failed', 5);
SELECT say('e7', 'failed', 5), say('e7', 'failed', 6, '30005'), say('e7', 'undelivered', 7, '30003');
SELECT say('e8', 'delivered', 5, '0', ''), say('e8', 'sent', 4, '30007', 'x');
SELECT say('e9', 'failed', 5, NULL, 'only a message'), say('e9', 'failed', 4, '63016', NULL);
SELECT sid, status, failed, code, message FROM m;
SELECT * FROM msgstatus.verify();
-- In any order, one by one and together: the same.
CREATE TABLE first_time AS SELECT * FROM m;
CREATE TABLE events AS SELECT sid, status, event_at, error_code, error_message FROM delivery_log;
TRUNCATE messages, delivery_log;
SELECT new('{e1,e2,e3,e4,e5,e6,e7,e8,e9}');
INSERT INTO delivery_log (sid, status, event_at, error_code, error_message) SELECT * FROM events ORDER BY event_at DESC, error_code;
TABLE first_time EXCEPT SELECT * FROM m;
TRUNCATE messages, delivery_log;
SELECT new('{e1,e2,e3,e4,e5,e6,e7,e8,e9}');
DO $$
DECLARE
    e record;
BEGIN
    FOR e IN SELECT * FROM fold.events ORDER BY error_message, event_at LOOP
        INSERT INTO fold.delivery_log (sid, status, event_at, error_code, error_message) VALUES (e.sid, e.status, e.event_at, e.error_code, e.error_message);
    END LOOP;
END
$$;
TABLE first_time EXCEPT SELECT * FROM m;
TRUNCATE messages, delivery_log;
INSERT INTO delivery_log (sid, status, event_at, error_code, error_message) SELECT * FROM events;
SELECT new('{e1,e2,e3,e4,e5,e6,e7,e8,e9}');
TABLE first_time EXCEPT SELECT * FROM m;
TRUNCATE messages, delivery_log;

-- Nothing is written without need: the row version stays, and so does the counter of updates.
SELECT new('{a,b}');
INSERT INTO delivery_log (sid, status, event_at, error_code) VALUES ('a', 'sent', at(2), NULL), ('a', 'delivered', at(3), NULL), ('b', 'failed', at(4), '30003');
CREATE TABLE tids AS SELECT ctid AS tid, xmin AS x, sid FROM messages;
BEGIN;
SELECT pg_stat_get_xact_tuples_updated('messages'::regclass) AS before \gset
INSERT INTO delivery_log (sid, status, event_at) VALUES ('a', 'delivered', at(3));
INSERT INTO delivery_log (sid, status, event_at) VALUES ('a', 'delivered', at(9));
INSERT INTO delivery_log (sid, status, event_at) VALUES ('a', 'sent', at(2)), ('a', 'sent', at(5)), ('b', 'failed', at(4)), ('nobody', 'read', at(1)), ('a', 'bounced', at(1));
INSERT INTO delivery_log (sid, status, event_at, error_code) VALUES ('b', 'failed', at(6), '30003');
INSERT INTO delivery_log (sid, status, event_at, error_code) VALUES ('b', 'failed', at(6), '30009'), ('b', 'failed', at(7), '30009');
INSERT INTO delivery_log (sid, status, event_at, error_code) VALUES ('a', 'sent', at(6), NULL), ('a', 'delivered', at(6), NULL);
SELECT say('a', 'sent', 4), say('b', 'failed', 8, '1');
SELECT msgstatus.settle(), msgstatus.rebuild();
UPDATE delivery_log SET source = 'x';
DELETE FROM delivery_log WHERE sid = 'nobody';
SELECT pg_stat_get_xact_tuples_updated('messages'::regclass) - :before AS updated;
COMMIT;
SELECT sid, m.ctid = tid AND m.xmin = x AS untouched FROM messages m JOIN tids USING (sid) ORDER BY sid;
-- A stale callback of a status that was not seen adds its bit, and that is all it ever writes.
SELECT say('a', 'queued', 1), say('a', 'queued', 1), say('a', 'sending', 1);
SELECT seen FROM m WHERE sid = 'a';
DROP TABLE tids;
TRUNCATE messages, delivery_log;

-- The default of event_at is when the row arrived, the fold's time never later than that.
INSERT INTO messages (sid) VALUES ('a'), ('b');
BEGIN;
INSERT INTO delivery_log (sid, status) VALUES ('a', 'sent');
INSERT INTO delivery_log (sid, status, event_at) VALUES ('b', 'sent', now() + interval '1 day');
SELECT m.sid, sent_at = l.created_at AS as_it_came, status_at = sent_at AS same FROM messages m JOIN delivery_log l USING (sid) ORDER BY 1;
SELECT created_at = t AS as_it_came FROM msgstatus.history('b');
COMMIT;
TRUNCATE messages, delivery_log;

-- Policies: the same events under each.
CREATE FUNCTION under(name text) RETURNS void LANGUAGE plpgsql SET client_min_messages = error AS $$
BEGIN
    PERFORM msgstatus.detach('fold.messages', 'fold.delivery_log');
    PERFORM msgstatus.attach('fold.messages', 'fold.delivery_log', policy => name);
    TRUNCATE fold.messages, fold.delivery_log;
    PERFORM fold.new('{1 delivered failed, 2 failed delivered, 3 failed read, 4 read failed, 5 canceled delivered undelivered, 6 delivered read, 7 undelivered failed}');
    INSERT INTO fold.delivery_log (sid, status, event_at)
    SELECT sid, w, fold.at(n::integer) FROM fold.messages, unnest(regexp_split_to_array(substr(sid, 3), ' ')) WITH ORDINALITY u(w, n);
END
$$;
SELECT under('first_final');
SELECT sid, status, at, sent, delivered, read, failed, canceled FROM m;
SELECT under('delivery_wins');
SELECT sid, status, at, sent, delivered, read, failed, canceled FROM m;
SELECT say('1 delivered failed', 'failed', 1), say('2 failed delivered', 'failed', 3), say('3 failed read', 'undelivered', 4);
SELECT under('failure_wins');
SELECT sid, status, at, sent, delivered, read, failed, canceled FROM m;
SELECT say('4 read failed', 'read', 1), say('4 read failed', 'canceled', 1), say('6 delivered read', 'failed', 9);
SELECT word, verdict, status_after FROM msgstatus.history('6 delivered read');
SELECT * FROM msgstatus.verify();
-- The guard goes by the policy too.
UPDATE messages SET status = 'failed' WHERE sid LIKE '4%' RETURNING status;
WITH u AS (UPDATE messages SET status = 'read' RETURNING sid, status) SELECT * FROM u ORDER BY sid;

-- The rows of the built-in ones, and that they stay.
SELECT status, max(rank) FILTER (WHERE policy = 'first_final') AS first_final, max(rank) FILTER (WHERE policy = 'delivery_wins') AS delivery_wins,
       max(rank) FILTER (WHERE policy = 'failure_wins') AS failure_wins, bool_and(policy <> 'first_final' OR rank = msgstatus.rank(status)) AS as_rank_says
  FROM msgstatus.policy GROUP BY status ORDER BY status;
\set VERBOSITY sqlstate
UPDATE msgstatus.policy SET rank = 0 WHERE policy = 'first_final' AND status = 'read';
DELETE FROM msgstatus.policy WHERE policy = 'failure_wins';
UPDATE msgstatus.policy SET policy = 'mine' WHERE policy = 'delivery_wins';
INSERT INTO msgstatus.policy VALUES ('first_final', 'read', 1);
INSERT INTO msgstatus.policy VALUES ('', 'read', 1);
INSERT INTO msgstatus.policy VALUES (NULL, 'read', 1);
TRUNCATE msgstatus.policy;
\set VERBOSITY terse
-- Of the user's own: statuses that are left out keep their rank; a change counts from then on, and rebuild goes by it.
INSERT INTO msgstatus.policy VALUES ('regress_mine', 'sent', 100), ('regress_mine', 'read', -32768);
SELECT under('regress_mine');
SELECT sid, status FROM m;
SELECT say('6 delivered read', 'sent', 5), say('6 delivered read', 'failed', 6), say('7 undelivered failed', 'read', 1);
INSERT INTO msgstatus.policy VALUES ('regress_mine', 'failed', 110);
SELECT say('6 delivered read', 'failed', 7);
SELECT say('5 canceled delivered undelivered', 'sent', 5), say('5 canceled delivered undelivered', 'failed', 5), say('5 canceled delivered undelivered', 'sent', 1);
UPDATE msgstatus.policy SET rank = 32767 WHERE policy = 'regress_mine' AND status = 'read';
SELECT sid, "column", stored, folded FROM msgstatus.verify() v JOIN messages m ON m.sid = v.message_key WHERE "column" = 'status' ORDER BY 1;
SELECT msgstatus.rebuild();
SELECT sid, status FROM m;
SELECT * FROM msgstatus.verify();
-- While a pair goes by it, it stays, under its name.
\set VERBOSITY sqlstate
DELETE FROM msgstatus.policy WHERE policy = 'regress_mine';
UPDATE msgstatus.policy SET policy = 'regress_other' WHERE policy = 'regress_mine';
\set VERBOSITY terse
SELECT say('6 delivered read', 'sent', 1);
SELECT msgstatus.detach('messages', 'delivery_log');
DELETE FROM msgstatus.policy WHERE policy = 'regress_mine';

-- A trigger of the user's on the log that writes log rows itself: the verdict is that on the row asked about.
TRUNCATE messages, delivery_log;
CREATE FUNCTION echo() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.source = 'callback' THEN
        INSERT INTO fold.delivery_log (sid, status, event_at, source) VALUES (NEW.sid, 'queued', NEW.event_at, 'echo');
    END IF;
    RETURN NEW;
END
$$;
SELECT msgstatus.attach('messages', 'delivery_log');
CREATE TRIGGER echo BEFORE INSERT ON delivery_log FOR EACH ROW EXECUTE FUNCTION echo();
SELECT new('{a}');
SELECT msgstatus.apply_status('a', 'delivered', at(1), source => 'callback'), msgstatus.apply_status('a', 'read', at(2), source => 'callback'), msgstatus.apply_status('a', 'bounced', at(2), source => 'callback');
DROP TRIGGER echo ON delivery_log;
CREATE TRIGGER echo AFTER INSERT ON delivery_log FOR EACH ROW EXECUTE FUNCTION echo();
SELECT msgstatus.apply_status('a', 'failed', at(3), source => 'callback'), msgstatus.apply_status('a', 'sent', at(1), source => 'callback');
DROP TRIGGER echo ON delivery_log;
-- And one on messages that answers an event with another.
CREATE FUNCTION answer() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO fold.delivery_log (sid, status, event_at) VALUES (NEW.sid, 'delivered', fold.at(3)); RETURN NULL; END $$;
CREATE TRIGGER answer AFTER UPDATE ON messages FOR EACH ROW WHEN (NEW.status = 'sent') EXECUTE FUNCTION answer();
SELECT new('{b,c,d}');
SELECT msgstatus.apply_status('b', 'sent', at(2));
INSERT INTO delivery_log (sid, status, event_at) VALUES ('c', 'sent', at(2)), ('d', 'sent', at(2)), ('d', 'queued', at(1));
SELECT sid, status, at, sent, delivered, seen FROM m WHERE sid > 'a';
SELECT * FROM msgstatus.verify();
DROP TRIGGER answer ON messages;

-- In every kind of transaction and statement.
TRUNCATE messages, delivery_log;
SELECT new('{a,b}');
-- What a savepoint takes back is taken back.
BEGIN;
SAVEPOINT s;
INSERT INTO delivery_log (sid, status) VALUES ('a', 'sent'), ('early', 'delivered');
ROLLBACK TO s;
INSERT INTO delivery_log (sid, status, event_at) VALUES ('early', 'sent', at(2));
COMMIT;
INSERT INTO messages (sid) VALUES ('early');
DO $$
BEGIN
    BEGIN
        INSERT INTO fold.delivery_log (sid, status) VALUES ('a', 'read');
        RAISE EXCEPTION 'no';
    EXCEPTION WHEN OTHERS THEN NULL;
    END;
    INSERT INTO fold.delivery_log (sid, status, event_at) VALUES ('a', 'sent', fold.at(2));
END
$$;
SELECT sid, status, at FROM m ORDER BY sid;
-- A message and its callbacks in one statement, either way round.
WITH m AS (INSERT INTO messages (sid) VALUES ('w1') RETURNING sid) INSERT INTO delivery_log (sid, status) SELECT sid, 'delivered' FROM m;
WITH l AS (INSERT INTO delivery_log (sid, status) VALUES ('w2', 'delivered') RETURNING sid) INSERT INTO messages (sid) SELECT sid FROM l;
WITH l AS (INSERT INTO delivery_log (sid, status) VALUES ('w1', 'read') RETURNING sid) UPDATE messages m SET status = 'queued', body = 'x' FROM l WHERE m.sid = l.sid;
SELECT sid, status FROM m WHERE sid LIKE 'w%';
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM messages;
INSERT INTO delivery_log (sid, status, event_at) VALUES ('b', 'sent', at(2)), ('rr', 'sent', at(2));
INSERT INTO messages (sid) VALUES ('rr');
SELECT sid, status FROM m WHERE sid IN ('b', 'rr');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
INSERT INTO messages (sid) VALUES ('ser');
INSERT INTO delivery_log (sid, status, event_at) VALUES ('ser', 'sent', at(2)), ('b', 'delivered', at(3));
SELECT sid, status FROM m WHERE sid IN ('b', 'ser');
COMMIT;
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM messages WHERE sid = 'b' FOR UPDATE;
MOVE c;
INSERT INTO delivery_log (sid, status, event_at) VALUES ('b', 'read', at(4));
UPDATE messages SET status = 'queued' WHERE sid = 'b' RETURNING status;
COMMIT;
-- Through a view, a function, COPY FREEZE.
CREATE VIEW callbacks AS SELECT sid, status, event_at FROM delivery_log;
INSERT INTO callbacks VALUES ('ser', 'delivered', at(3));
BEGIN;
TRUNCATE delivery_log;
COPY delivery_log (sid, status) FROM stdin WITH (FREEZE);
ser	read
ser	bogus
\.
COMMIT;
SELECT sid, status FROM m WHERE sid = 'ser';

-- Inbound messages: received outranks receiving, and stays below everything that goes out.
TRUNCATE messages, delivery_log;
INSERT INTO messages (sid, direction, status, status_at) VALUES ('in', 'inbound', 'receiving', at(0)), ('in2', 'inbound', 'received', at(0));
SELECT say('in', 'received', 1), say('in', 'receiving', 2), say('in2', 'receiving', 1);
SELECT sid, status, at, final FROM m;

DROP SCHEMA fold CASCADE;
