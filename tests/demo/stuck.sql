-- Messages that got stuck, the worker that finds out, and the rows becoming right. Run by scripts/demo, which has a Twilio
-- of its own (tests/twilio) and a worker for this database.
\set QUIET on
\set ON_ERROR_STOP on
SET client_min_messages = warning;
\pset null '-'
\pset footer off

\echo 'Callbacks get lost. Four messages got stuck hours ago; Twilio knows better of three of them:'
\echo
CREATE SCHEMA reconciled;
SET search_path = reconciled, public;
SELECT msgstatus.create_tables('reconciled') \g /dev/null
SELECT msgstatus.detach('messages', 'delivery_log') \g /dev/null
SELECT msgstatus.attach('messages', 'delivery_log', poll => 'stuck') \g /dev/null
BEGIN;
INSERT INTO messages (sid, account_sid, status, created_at, sent_at, body)
SELECT sid, 'AC00000000000000000000000000000001', status::msgstatus.delivery_status, ago,
       CASE WHEN status <> 'queued' THEN ago + interval '2 seconds' END, body
  FROM (VALUES ('SM00000000000000000000000000000001', 'sent', '3 hours'::interval, 'Your code: 234291'),
               ('SM00000000000000000000000000000002', 'queued', '3 hours', 'Your taxi is here'),
               ('SM00000000000000000000000000000003', 'sent', '3 hours', 'Table for two, 8 pm'),
               ('SM00000000000000000000000000000004', 'sent', '7 hours', 'See you on Monday')) AS v(sid, status, old, body),
       LATERAL (SELECT now() - old) AS t(ago);
SELECT body AS message, d.status, d.reason FROM msgstatus.due() d JOIN messages USING (sid) ORDER BY sid;
SELECT msgstatus.request_check('SM00000000000000000000000000000001') \g /dev/null
COMMIT;

\echo 'The worker asks, with no transaction open, and writes the answers into the log:'
\echo
DO $$
BEGIN
    FOR i IN 1 .. 600 LOOP
        EXIT WHEN NOT EXISTS (SELECT FROM messages WHERE check_count = 0)
              AND NOT EXISTS (SELECT FROM messages WHERE sid LIKE '%4' AND status = 'sent');
        PERFORM pg_sleep(0.05);
    END LOOP;
END
$$;
SELECT body AS message, status, error_code AS error, price, check_count AS checks
  FROM messages ORDER BY sid;
SELECT body AS message, word, verdict, source FROM messages, msgstatus.history(sid, 'messages') ORDER BY sid, delivery_id;
\echo 'The last one is sent for over six hours, and Twilio has no receipt either. One may still come.'
\echo
