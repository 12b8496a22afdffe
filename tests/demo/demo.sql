-- The demo: loads tests/data into a fresh database and shows what msgstatus made of it. Run by scripts/demo and by
-- tests/demo.sh, in the directory tests/data. All times are fixed, so that the output is always the same.
\set QUIET on
\set ON_ERROR_STOP on
\pset footer off
\pset pager off
SET client_min_messages = warning;
SET timezone = 'UTC';

CREATE EXTENSION msgstatus;
SELECT msgstatus.create_tables() \g /dev/null

-- What the application wrote when it sent, and the callbacks in the order in which they arrived.
\copy messages (sid, provider, status, status_at, created_at, scheduled_for, from_address, to_address, body) FROM 'messages.csv' CSV HEADER
\copy delivery_log (sid, provider, status, error_code, error_message, event_at, payload, created_at) FROM 'twilio.csv' CSV HEADER
\copy delivery_log (sid, provider, status, error_code, error_message, event_at, payload, created_at) FROM 'whatsapp.csv' CSV HEADER

SELECT (SELECT count(*) FROM messages) AS messages,
       (SELECT count(*) FROM delivery_log WHERE provider = 'twilio') AS twilio,
       (SELECT count(*) FROM delivery_log WHERE provider = 'whatsapp') AS whatsapp \gset
\echo
\echo :messages 'messages were sent. COPY put' :twilio 'Twilio and' :whatsapp 'WhatsApp callbacks into the delivery log:'
\echo 'out of order, repeated, contradictory, too early. A trigger folded them. The messages now say:'
\echo
SELECT m.body AS message, m.status,
       to_char(m.sent_at, 'HH24:MI:SS') AS sent,
       to_char(m.delivered_at, 'HH24:MI:SS') AS delivered,
       to_char(m.read_at, 'HH24:MI:SS') AS read,
       to_char(m.failed_at, 'HH24:MI:SS') AS failed,
       to_char(m.canceled_at, 'HH24:MI:SS') AS canceled,
       m.error_code AS error
  FROM messages m ORDER BY m.provider, m.message_id;

\echo 'How one of them got there: a long SMS, with a receipt for each of its segments. The first outcome'
\echo 'stands; delivered_at beside failed_at shows that another one was reported.'
\echo
SELECT to_char(h.created_at, 'HH24:MI:SS.MS') AS arrived, h.word, h.verdict, h.status_after, h.error_code AS error
  FROM messages m, msgstatus.history(m.sid) h
 WHERE m.body = 'Terms, 3 segments' ORDER BY h.delivery_id;

\echo 'WhatsApp says when things happened, so what arrives late still fills in the right time:'
\echo
SELECT to_char(h.created_at, 'HH24:MI:SS') AS arrived, to_char(h.t, 'HH24:MI:SS') AS happened, h.word, h.verdict,
       h.status_after
  FROM messages m, msgstatus.history(m.sid) h
 WHERE m.body = 'How did we do?' ORDER BY h.delivery_id;

\echo 'All callbacks of all messages, by what became of them:'
\echo
SELECT v.verdict, count(h.verdict) AS events, v.meaning
  FROM (VALUES ('applied'::msgstatus.verdict, 'moved its message forward'),
               ('backfilled', 'filled in a time or an error; the status stood'),
               ('duplicate', 'said again what was known: nothing written'),
               ('stale', 'would have moved a status back: prevented'),
               ('conflict', 'another final outcome: prevented, but its time is kept'),
               ('unrecognized', 'a word that its provider does not document: kept, changes nothing')) AS v(verdict, meaning)
  LEFT JOIN (messages m CROSS JOIN msgstatus.history(m.sid) h) ON h.verdict = v.verdict
 GROUP BY v.verdict, v.meaning ORDER BY v.verdict;

\echo 'The words that meant nothing, for whoever maintains the list:'
\echo
SELECT provider, word, occurrences, to_char(first_seen, 'HH24:MI:SS') AS first_seen FROM msgstatus.unrecognized();

\echo 'Callbacks that came before their message wait in the log:'
\echo
SELECT to_char(created_at, 'HH24:MI:SS') AS arrived, left(message_key, 12) || '...' AS sid, word, error_code AS error
  FROM msgstatus.unmatched();

\echo 'The application commits one of these messages, and its callbacks are folded in at once:'
\echo '   INSERT INTO messages (sid, to_address, body) VALUES (''SM0e2f...'', ''+12...'', ''Your taxi is here'');'
\echo
INSERT INTO messages (sid, to_address, body)
VALUES ('SM0e2fa3fc38aaddb14fafca77610b3606', '+12025550111', 'Your taxi is here');
SELECT body AS message, status, to_char(sent_at, 'HH24:MI:SS') AS sent, to_char(delivered_at, 'HH24:MI:SS') AS delivered,
       (SELECT count(*) FROM msgstatus.unmatched()) AS still_unmatched
  FROM messages WHERE body = 'Your taxi is here';

-- The same messages and callbacks again, in another pair of tables: callbacks shuffled, in one statement or one by one,
-- before or after the messages.
CREATE SCHEMA again;
SELECT msgstatus.create_tables('again') \g /dev/null
CREATE TEMP TABLE sent AS SELECT * FROM again.messages;
CREATE TEMP TABLE differs (round integer);
\copy sent (sid, provider, status, status_at, created_at, scheduled_for, from_address, to_address, body) FROM 'messages.csv' CSV HEADER
DO $$
DECLARE
    event record;
BEGIN
    FOR round IN 1 .. 40 LOOP
        TRUNCATE again.messages, again.delivery_log;
        IF round % 4 IN (0, 1) THEN
            INSERT INTO again.messages (sid, provider, status, status_at, created_at)
            SELECT sid, provider, status, status_at, created_at FROM sent;
        END IF;
        IF round % 2 = 0 THEN
            INSERT INTO again.delivery_log (sid, provider, status, error_code, error_message, event_at, created_at)
            SELECT sid, provider, status, error_code, error_message, event_at, created_at
              FROM delivery_log ORDER BY random();
        ELSE
            FOR event IN SELECT * FROM delivery_log ORDER BY random() LOOP
                INSERT INTO again.delivery_log (sid, provider, status, error_code, error_message, event_at, created_at)
                VALUES (event.sid, event.provider, event.status, event.error_code, event.error_message,
                        event.event_at, event.created_at);
            END LOOP;
        END IF;
        IF round % 4 IN (2, 3) THEN
            INSERT INTO again.messages (sid, provider, status, status_at, created_at)
            SELECT sid, provider, status, status_at, created_at FROM sent;
        END IF;
        INSERT INTO differs
        SELECT round FROM sent JOIN messages m USING (sid) JOIN again.messages a USING (sid)
         WHERE (m.status, m.status_at, m.sent_at, m.delivered_at, m.read_at, m.failed_at, m.canceled_at, m.error_code,
                m.error_message, m.statuses_seen)
               IS DISTINCT FROM
               (a.status, a.status_at, a.sent_at, a.delivered_at, a.read_at, a.failed_at, a.canceled_at, a.error_code,
                a.error_message, a.statuses_seen);
    END LOOP;
END
$$;
\echo 'The order does not matter. The same callbacks 40 times over, shuffled, in one statement or one by'
\echo 'one, before or after their messages:'
\echo
SELECT 40 AS rounds, 40 * (SELECT count(*) FROM sent) AS messages_compared, count(*) AS rows_that_differ FROM differs;
DROP SCHEMA again CASCADE;
DROP TABLE sent, differs;

\echo 'The rule also holds against the application. An UPDATE from a stale copy of the row:'
\echo '   UPDATE messages SET status = ''queued'', delivered_at = NULL, read_at = NULL, to_address = ...'
\echo 'changes the address; status and times stand:'
\echo
UPDATE messages SET status = 'queued', delivered_at = NULL, read_at = NULL, to_address = '+12025550199'
 WHERE body = 'Order 1042 shipped'
RETURNING body AS message, status, to_char(delivered_at, 'HH24:MI:SS') AS delivered,
          to_char(read_at, 'HH24:MI:SS') AS read, to_address;

\echo 'And verify() lists every difference between the messages and a fold of their log. There is none:'
\echo
\pset footer on
SELECT * FROM msgstatus.verify();
