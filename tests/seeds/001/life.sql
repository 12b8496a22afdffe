-- The life of the adopted tables.

-- The new handler: one INSERT, and the line in webhook_logs that the application has always written.
CREATE FUNCTION handler(sid text, status text, code text DEFAULT NULL, text_of_code text DEFAULT NULL)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO message_delivery_status
        (twilio_message_sid, message_id, status, error_code, error_message, raw_webhook_data)
    VALUES (sid, (SELECT id FROM messages WHERE twilio_message_sid = sid), status, code, text_of_code,
            jsonb_build_object('MessageSid', sid, 'MessageStatus', status));
    INSERT INTO webhook_logs (status, message_sid) VALUES ('success', sid);
END
$$;

-- An alarm for all of this life: nobody's write may move a status back or change an outcome. (No "read" in it.)
CREATE FUNCTION regression() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'regression of %: from % to %', OLD.twilio_message_sid, OLD.status, NEW.status;
END
$$;
CREATE TRIGGER regression AFTER UPDATE ON messages FOR EACH ROW
    WHEN (msgstatus.rank(NEW.status) < msgstatus.rank(OLD.status) OR OLD.final AND NEW.status <> OLD.status)
    EXECUTE FUNCTION regression();
DO $$
BEGIN
    SET LOCAL msgstatus.guard = off;
    UPDATE messages SET status = 'sent' WHERE twilio_message_sid = 'SM01';
    RAISE 'the alarm is deaf';
EXCEPTION WHEN raise_exception THEN
    IF SQLERRM NOT LIKE 'regression of SM01%' THEN RAISE; END IF;
END
$$;

\echo 'The old handler, until the new one is deployed'
INSERT INTO messages (twilio_message_sid, direction, body, created_at)
VALUES ('SM11', 'outbound-api', 'Menu attached', '2025-08-22 09:00:00+00');
SELECT their_handler('SM11', 'sent');
SELECT their_handler('SM11', 'delivered');
SELECT their_handler('SM11', 'sent');
\echo 'And code that has no guard at all'
UPDATE messages SET status = 'queued', error_message = 'from a stale copy' WHERE twilio_message_sid = 'SM11'
RETURNING status, error_message;
UPDATE messages SET error_message = '' WHERE twilio_message_sid = 'SM11';
\echo 'Its history rows have no SID: give them one, as when adopting'
UPDATE message_delivery_status s SET twilio_message_sid = m.twilio_message_sid
  FROM messages m WHERE m.id = s.message_id AND s.twilio_message_sid IS NULL;
SELECT msgstatus.rebuild() >= 0 AS rebuilt;
SELECT count(*) AS differences FROM msgstatus.verify();
SELECT word, verdict, status_after FROM msgstatus.history('SM11');

\echo 'isStatusUpgrade, for every pair of their statuses, written in three ways'
CREATE TABLE status_order (status text PRIMARY KEY, n integer NOT NULL);
INSERT INTO status_order VALUES
    ('accepted', 0),
    ('queued', 1),
    ('sending', 2),
    ('sent', 3),
    ('delivered', 4),
    ('failed', 4),
    ('undelivered', 4),
    ('canceled', 4);
CREATE TABLE pair AS
SELECT old.status AS current, new.status AS new, new.n > old.n AS is_upgrade,
       CASE WHEN new.n > old.n THEN new.status ELSE old.status END AS expected,
       CASE WHEN new.status IN ('failed', 'undelivered') THEN '30008' END AS code,
       CASE WHEN old.status IN ('failed', 'undelivered') THEN '30003' END AS code_before
  FROM status_order old, status_order new;
DO $$
DECLARE
    p record;
BEGIN
    FOR p IN SELECT * FROM pair LOOP
        -- A message that the application stored with one status, and one callback.
        INSERT INTO messages (twilio_message_sid, direction, status, error_code)
        VALUES ('P1 ' || p.current || ' ' || p.new, 'outbound', p.current, p.code_before);
        PERFORM handler('P1 ' || p.current || ' ' || p.new, p.new, p.code);
        COMMIT;
        -- Two callbacks, in any case.
        INSERT INTO messages (twilio_message_sid, direction, status)
        VALUES ('P2 ' || p.current || ' ' || p.new, 'outbound', 'accepted');
        PERFORM handler('P2 ' || p.current || ' ' || p.new, upper(p.current), p.code_before);
        PERFORM handler('P2 ' || p.current || ' ' || p.new, initcap(p.new), p.code);
        COMMIT;
        -- A direct UPDATE.
        INSERT INTO messages (twilio_message_sid, direction, status, error_code)
        VALUES ('P3 ' || p.current || ' ' || p.new, 'outbound', p.current, p.code_before);
        COMMIT;
        UPDATE messages SET status = p.new, error_code = coalesce(p.code, error_code)
         WHERE twilio_message_sid = 'P3 ' || p.current || ' ' || p.new;
        COMMIT;
    END LOOP;
END
$$;
SELECT way, count(*) AS pairs, count(*) FILTER (WHERE is_upgrade) AS upgrades,
       count(*) FILTER (WHERE m.status::text IS DISTINCT FROM expected) AS wrong
  FROM (VALUES ('P1', 'stored, then a callback'), ('P2', 'two callbacks'),
               ('P3', 'stored, then an UPDATE')) AS w(prefix, way)
       CROSS JOIN pair p LEFT JOIN messages m ON m.twilio_message_sid = prefix || ' ' || p.current || ' ' || p.new
 GROUP BY way ORDER BY way;
\echo 'Every callback is in the history, whether it moved its message or not'
SELECT count(*) FROM message_delivery_status WHERE twilio_message_sid LIKE 'P_ %';

\echo 'Callbacks in every order, each in a statement of its own, without times: the first outcome stands'
CREATE TABLE event (n integer, status text, error_code text, error_message text);
INSERT INTO event VALUES
    (1, 'queued',      NULL,    NULL),
    (2, 'sending',     NULL,    NULL),
    (3, 'sent',        NULL,    NULL),
    (4, 'delivered',   NULL,    NULL),
    (5, 'undelivered', '30005', 'Unknown destination handset');
CREATE TABLE ordering AS
WITH RECURSIVE o(seen) AS (
    SELECT ARRAY[]::integer[]
    UNION ALL
    SELECT o.seen || e.n FROM o JOIN event e ON e.n <> ALL (o.seen)
)
SELECT 'O' || row_number() OVER (ORDER BY seen) AS sid, seen,
       CASE WHEN array_position(seen, 4) < array_position(seen, 5) THEN 'delivered' ELSE 'undelivered' END AS expected
  FROM o WHERE cardinality(seen) = 5;
INSERT INTO messages (twilio_message_sid, direction) SELECT sid, 'outbound-api' FROM ordering;
DO $$
DECLARE
    o record;
BEGIN
    FOR o IN SELECT sid, e.* FROM ordering, unnest(seen) WITH ORDINALITY AS s(n, i) JOIN event e USING (n)
              ORDER BY sid, i LOOP
        PERFORM handler(o.sid, o.status, o.error_code, o.error_message);
        COMMIT;
    END LOOP;
END
$$;
SELECT o.expected, count(*), count(*) FILTER (WHERE m.status::text = o.expected) AS as_expected,
       count(*) FILTER (WHERE sent_at <= delivered_at AND sent_at <= failed_at AND error_code = '30005') AS complete
  FROM ordering o JOIN messages m ON m.twilio_message_sid = o.sid GROUP BY 1 ORDER BY 1;
\echo 'All of them again, in the opposite order: not one row is written'
CREATE TABLE version AS SELECT id, m.ctid AS place, m.xmin AS writer FROM messages m WHERE twilio_message_sid LIKE 'O%';
DO $$
DECLARE
    o record;
BEGIN
    FOR o IN SELECT sid, e.* FROM ordering, unnest(seen) WITH ORDINALITY AS s(n, i) JOIN event e USING (n)
              ORDER BY sid, i DESC LOOP
        PERFORM handler(o.sid, o.status, o.error_code, o.error_message);
        COMMIT;
    END LOOP;
END
$$;
SELECT count(*) AS messages, count(*) FILTER (WHERE m.ctid = place AND m.xmin = writer) AS untouched
  FROM version JOIN messages m USING (id);
\echo 'The same with the times of the events: one outcome for all orders, even in one statement'
INSERT INTO messages (twilio_message_sid, direction) SELECT 'T' || sid, 'outbound-api' FROM ordering;
INSERT INTO message_delivery_status (twilio_message_sid, status, error_code, error_message, created_at)
SELECT 'T' || sid, e.status, e.error_code, e.error_message,
       '2025-08-22 10:00:00+00'::timestamptz + e.n * interval '1 second'
  FROM ordering, unnest(seen) WITH ORDINALITY AS s(n, i) JOIN event e USING (n) ORDER BY i, sid;
SELECT count(*), status, sent_at::time, delivered_at::time, failed_at::time, error_code, error_message
  FROM messages WHERE twilio_message_sid LIKE 'TO%' GROUP BY 2, 3, 4, 5, 6, 7;

\echo '2000 callbacks at random, many of them duplicates: the status is always what their guard would have made of it'
CREATE TABLE replay AS SELECT 'R' || n AS sid, 'queued' AS expected FROM generate_series(1, 100) AS n;
INSERT INTO messages (twilio_message_sid, direction) SELECT sid, 'outbound-api' FROM replay;
DO $$
DECLARE
    the_sid text;
    word text;
    should text;
    was msgstatus.delivery_status;
    became msgstatus.delivery_status;
    duplicates integer := 0;
    regressions_prevented integer := 0;
BEGIN
    PERFORM setseed(0.821);
    FOR i IN 1 .. 2000 LOOP
        the_sid := 'R' || 1 + floor(random() * 100);
        -- The later statuses are rarer, so that messages live for a while.
        SELECT status INTO word FROM status_order ORDER BY random() * (n + 1) LIMIT 1;
        SELECT status INTO was FROM messages WHERE twilio_message_sid = the_sid;
        duplicates := duplicates + (SELECT count(*) FROM (SELECT FROM message_delivery_status
                                     WHERE twilio_message_sid = the_sid AND lower(status) = word LIMIT 1) AS seen);
        PERFORM handler(the_sid, CASE WHEN random() < 0.2 THEN upper(word) ELSE word END,
                        CASE WHEN word IN ('failed', 'undelivered') THEN '30006' END,
                        CASE WHEN word IN ('failed', 'undelivered') THEN 'Landline or unreachable carrier' END);
        UPDATE replay SET expected = word
         WHERE sid = the_sid
           AND (SELECT n FROM status_order WHERE status = word) > (SELECT n FROM status_order WHERE status = expected)
        RETURNING expected INTO should;
        IF should IS NULL THEN
            regressions_prevented := regressions_prevented + 1;
            SELECT expected INTO should FROM replay WHERE sid = the_sid;
        END IF;
        SELECT status INTO became FROM messages WHERE twilio_message_sid = the_sid;
        IF became::text <> should OR msgstatus.rank(became) < msgstatus.rank(was) THEN
            RAISE 'callback %: % was %, got %, became % and should be %', i, the_sid, was, word, became, should;
        END IF;
        COMMIT;
    END LOOP;
    IF duplicates < 500 OR regressions_prevented < 1000 THEN
        RAISE 'too easy: % duplicates, % that changed nothing', duplicates, regressions_prevented;
    END IF;
END
$$;
SELECT count(*) AS callbacks FROM message_delivery_status WHERE twilio_message_sid LIKE 'R%';
SELECT count(*) AS wrong FROM replay JOIN messages ON twilio_message_sid = sid WHERE status::text <> expected;

\echo 'Words in any case count; a word that Twilio does not have is kept and changes nothing'
INSERT INTO messages (twilio_message_sid, direction, created_at)
VALUES ('SM12', 'outbound-api', '2025-08-22 12:00:00+00');
SELECT handler('SM12', 'Sent'), handler('SM12', ' DELIVERED ');
SELECT handler('SM12', 'teleported');
SELECT status FROM messages WHERE twilio_message_sid = 'SM12';
SELECT provider, word, occurrences FROM msgstatus.unrecognized();
\echo 'What their mapping maps, and what the column takes: labels, and nothing else'
SELECT s AS word, msgstatus.parse_status(upper(s)) AS status
  FROM unnest('{accepted,scheduled,queued,sending,sent,delivered,undelivered,failed,canceled,
                receiving,received,read,bounced}'::text[]) AS s;
DO $$
BEGIN
    INSERT INTO messages (direction, status) VALUES ('outbound', 'bounced');
    RAISE 'a word that is no status was stored';
EXCEPTION WHEN invalid_text_representation THEN
END
$$;

\echo 'Errors: a code and its text, a code that nobody knows, neither, and empty parameters'
INSERT INTO messages (twilio_message_sid, direction, created_at)
SELECT 'SM2' || n, 'outbound-api', '2025-08-22 13:00:00+00' FROM generate_series(1, 4) AS n;
SELECT handler('SM21', 'undelivered', '30003', 'Phone is off or out of reach');
SELECT handler('SM22', 'failed', '99999');
SELECT handler('SM23', 'failed');
SELECT handler('SM24', 'delivered', '', '');
SELECT twilio_message_sid AS sid, status, error_code, error_message, failed_at IS NOT NULL AS has_failed_at
  FROM messages WHERE twilio_message_sid LIKE 'SM2_' ORDER BY 1;
\echo 'Failed without a code: the query that finds it, and the callback that brings the code later'
SELECT twilio_message_sid, status FROM messages WHERE msgstatus.is_failure(status) AND error_code IS NULL;
SELECT handler('SM23', 'failed', '21610', 'Recipient has opted out');
SELECT twilio_message_sid, error_code, error_message FROM messages WHERE twilio_message_sid = 'SM23';

\echo 'A callback without a message: nothing is raised and nothing lost. The curl of the troubleshooting guide is one'
SELECT handler('test', 'delivered');
SELECT handler('SM31', 'delivered'), handler('SM31', 'sent');
SELECT message_key, word FROM msgstatus.unmatched() ORDER BY message_key, word;
DELETE FROM message_delivery_status WHERE twilio_message_sid = 'test';
INSERT INTO messages (twilio_message_sid, direction, status, created_at)
VALUES ('SM31', 'outbound-api', 'queued', '2025-08-22 14:00:00+00');
\echo 'A message that is stored first, and gets its SID from the answer of the API'
SELECT handler('SM32', 'undelivered', '30008', 'Unknown error');
INSERT INTO messages (direction, body, created_at) VALUES ('outbound', 'Stored first', '2025-08-22 14:05:00+00');
UPDATE messages SET twilio_message_sid = 'SM32', status = 'queued' WHERE body = 'Stored first';
SELECT twilio_message_sid, status, error_code FROM messages WHERE twilio_message_sid IN ('SM31', 'SM32') ORDER BY 1;
SELECT count(*) AS waiting FROM msgstatus.unmatched();
\echo 'The job that gives such history rows their message_id; it changes no message'
SELECT twilio_message_sid, status FROM message_delivery_status
 WHERE message_id IS NULL AND twilio_message_sid LIKE 'SM%' ORDER BY id;
CREATE TABLE before_job AS SELECT id, m.ctid AS place, m.xmin AS writer FROM messages m;
UPDATE message_delivery_status s SET message_id = m.id
  FROM messages m WHERE s.message_id IS NULL AND m.twilio_message_sid = s.twilio_message_sid;
SELECT count(*) AS without FROM message_delivery_status WHERE message_id IS NULL;
SELECT count(*) AS changed FROM before_job JOIN messages m USING (id)
 WHERE (m.ctid, m.xmin) IS DISTINCT FROM (place, writer);

\echo 'One SID, one message'
DO $$
BEGIN
    INSERT INTO messages (twilio_message_sid, direction) VALUES ('SM31', 'outbound');
    RAISE 'two messages have one SID';
EXCEPTION WHEN unique_violation THEN
END
$$;
SELECT count(*) AS differences FROM msgstatus.verify();
