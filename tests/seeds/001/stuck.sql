-- Messages that got stuck: thresholds, reconciliation, delivery_unknown, settle.

\echo 'The thresholds of the stuck query, and its filter by direction'
INSERT INTO messages (twilio_message_sid, direction, status, created_at, sent_at) VALUES
    ('ST01', 'outbound-api', 'queued',    now() - interval '59 minutes',  NULL),
    ('ST02', 'outbound-api', 'queued',    now() - interval '61 minutes',  NULL),
    ('ST03', 'outbound',     'queued',    now() - interval '61 minutes',  NULL),
    ('ST04', 'outbound-api', 'sent',      now() - interval '61 minutes',  now() - interval '60 minutes'),
    ('ST05', 'outbound-api', 'sent',      now() - interval '119 minutes', now() - interval '118 minutes'),
    ('ST06', 'outbound',     'sent',      now() - interval '121 minutes', now() - interval '120 minutes'),
    ('ST07', 'inbound',      'queued',    now() - interval '10 hours',    NULL),
    ('ST08', 'inbound',      'received',  now() - interval '10 hours',    NULL),
    ('ST09', 'outbound-api', 'delivered', now() - interval '10 hours',    now() - interval '10 hours'),
    ('ST10', 'outbound-api', 'canceled',  now() - interval '10 hours',    NULL);
PREPARE stuck AS
SELECT twilio_message_sid, status FROM messages
 WHERE NOT final AND direction IN ('outbound', 'outbound-api') AND twilio_message_sid IS NOT NULL
   AND (status = 'queued' AND created_at < now() - interval '1 hour' OR
        status = 'sent'   AND created_at < now() - interval '2 hours')
 ORDER BY created_at LIMIT 50;
-- (It uses messages_stuck_idx.)
DO $$
DECLARE
    line text;
    plan text := '';
BEGIN
    SET LOCAL enable_seqscan = off;
    FOR line IN EXPLAIN EXECUTE stuck LOOP
        plan := plan || line;
    END LOOP;
    IF plan NOT LIKE '%messages_stuck_idx%' THEN
        RAISE 'another plan: %', plan;
    END IF;
END
$$;
EXECUTE stuck;
\echo 'A time that comes as a text is compared as a time, in whatever zone it is written'
SELECT twilio_message_sid, created_at < '2025-08-21T13:00:00+01:00' AS before_noon,
       created_at <= '2025-08-21T12:00:00Z' AS at_noon
  FROM messages WHERE twilio_message_sid = 'SM09';

\echo 'The index takes one update of a message that is not HOT, the last one'
INSERT INTO messages (twilio_message_sid, direction, status) VALUES ('ST20', 'outbound', 'accepted');
BEGIN;
SELECT handler('ST20', 'queued'), handler('ST20', 'sent');
SELECT n_tup_upd AS updates, n_tup_hot_upd AS hot FROM pg_stat_xact_user_tables WHERE relid = 'messages'::regclass;
SELECT handler('ST20', 'delivered');
SELECT n_tup_upd AS updates, n_tup_hot_upd AS hot FROM pg_stat_xact_user_tables WHERE relid = 'messages'::regclass;
COMMIT;

\echo 'Reconciliation: 120 messages whose callbacks were lost, 50 a run. Twilio''s answers go where callbacks go'
CREATE TABLE twilio_says AS
SELECT 'SR' || n AS sid,
       CASE WHEN n % 40 = 0 THEN 'undelivered' WHEN n % 40 = 1 THEN 'sent' ELSE 'delivered' END AS status,
       CASE WHEN n % 40 = 0 THEN '30003' END AS error_code
  FROM generate_series(1, 120) AS n;
INSERT INTO messages (twilio_message_sid, direction, status, created_at, sent_at)
SELECT sid, 'outbound-api', CASE WHEN n % 2 = 0 THEN 'queued' ELSE 'sent' END,
       now() - interval '20 hours' + n * interval '1 minute',
       CASE WHEN n % 2 = 1 THEN now() - interval '19 hours' + n * interval '1 minute' END
  FROM (SELECT sid, substr(sid, 3)::integer AS n FROM twilio_says) AS s;
CREATE FUNCTION reconcile() RETURNS TABLE (asked bigint, updated bigint) LANGUAGE plpgsql AS $$
BEGIN
    CREATE TEMPORARY TABLE run AS
    SELECT twilio_message_sid AS sid, id, status::text AS before FROM messages
     WHERE NOT final AND direction IN ('outbound', 'outbound-api')
       AND (status = 'queued' AND created_at < now() - interval '1 hour' OR
            status = 'sent'   AND created_at < now() - interval '2 hours')
       AND twilio_message_sid LIKE 'SR%'
     ORDER BY created_at LIMIT 50;
    INSERT INTO message_delivery_status (twilio_message_sid, message_id, status, error_code, source)
    SELECT sid, id, t.status, t.error_code, 'reconcile' FROM run JOIN twilio_says t USING (sid);
    RETURN QUERY SELECT count(*), count(*) FILTER (WHERE m.status::text <> before) FROM run JOIN messages m USING (id);
    DROP TABLE run;
END
$$;
\echo '(their alert, if more than 10 are stuck)'
SELECT count > 10 AS alert FROM (
SELECT COUNT(*) FROM messages WHERE status IN ('queued','sent') AND created_at < NOW() - INTERVAL '2 hours'
) AS stuck;
SELECT * FROM reconcile();
SELECT * FROM reconcile();
SELECT * FROM reconcile();
SELECT * FROM reconcile();
SELECT count > 10 AS alert FROM (
SELECT COUNT(*) FROM messages WHERE status IN ('queued','sent') AND created_at < NOW() - INTERVAL '2 hours'
) AS stuck;
\echo 'What these runs changed, for audit'
SELECT status, error_code, count(*), count(DISTINCT twilio_message_sid) AS messages
  FROM message_delivery_status WHERE source = 'reconcile' GROUP BY 1, 2 ORDER BY 1;
\echo 'Left are those that Twilio itself calls sent, until they are marked'
SELECT status, count(*) FROM messages WHERE twilio_message_sid LIKE 'SR%' AND NOT final GROUP BY 1;

\echo 'Sent for more than 6 hours, and no receipt: delivery_unknown'
INSERT INTO messages (twilio_message_sid, direction, status, created_at, sent_at) VALUES
    ('ST30', 'outbound-api', 'sent', now() - interval '7 hours', now() - interval '5 hours 59 minutes'),
    ('ST31', 'outbound-api', 'sent', now() - interval '7 hours', now() - interval '6 hours 1 minute');
PREPARE mark_unknown AS
INSERT INTO message_delivery_status (message_id, twilio_message_sid, status, source)
SELECT id, twilio_message_sid, 'delivery_unknown', 'reconcile' FROM messages
 WHERE NOT final AND status = 'sent' AND direction IN ('outbound', 'outbound-api')
   AND coalesce(sent_at, created_at) < now() - interval '6 hours'
RETURNING twilio_message_sid;
SELECT twilio_message_sid, status FROM messages WHERE status = 'sent' AND direction <> 'inbound'
   AND twilio_message_sid LIKE 'S%' ORDER BY 1;
\o /dev/null
EXECUTE mark_unknown;
\o
SELECT twilio_message_sid, status FROM messages WHERE status IN ('sent', 'delivery_unknown') AND direction <> 'inbound'
   AND twilio_message_sid LIKE 'S%' ORDER BY 1;
\echo 'Once is enough'
EXECUTE mark_unknown;
\echo 'It is no verdict for ever: a late receipt counts, a late "sent" does not'
SELECT handler('ST31', 'sent');
SELECT status FROM messages WHERE twilio_message_sid = 'ST31';
SELECT handler('ST31', 'delivered');
SELECT status FROM messages WHERE twilio_message_sid = 'ST31';
SELECT word, verdict, status_after, source FROM msgstatus.history('ST31');

\echo 'Migration: very old queued messages. Those with a SID by their history, the one that Twilio never had by hand'
INSERT INTO message_delivery_status (message_id, twilio_message_sid, status, source)
SELECT id, twilio_message_sid, 'delivery_unknown', 'reconcile' FROM messages
 WHERE NOT final AND status = 'queued' AND direction IN ('outbound', 'outbound-api')
   AND twilio_message_sid IS NOT NULL AND created_at < now() - interval '7 days'
RETURNING twilio_message_sid;
UPDATE messages SET status = 'delivery_unknown'
 WHERE NOT final AND status = 'queued' AND direction IN ('outbound', 'outbound-api')
   AND twilio_message_sid IS NULL AND created_at < now() - interval '7 days'
RETURNING body, status;
\echo 'And test messages are cleared out, with their history'
INSERT INTO messages (twilio_message_sid, direction, to_number) VALUES ('SM40', 'outbound', '+15005550006');
SELECT handler('SM40', 'delivered');
DELETE FROM messages WHERE to_number = '+15005550006';
SELECT count(*) AS history_rows FROM message_delivery_status WHERE twilio_message_sid = 'SM40';

\echo 'settle: callbacks that were loaded while triggers did not fire'
SET session_replication_role = replica;
SELECT handler('ST02', 'sent'), handler('ST02', 'delivered');
RESET session_replication_role;
SELECT status FROM messages WHERE twilio_message_sid = 'ST02';
SELECT message_key, "column", stored, folded FROM msgstatus.verify(since => '1 hour') WHERE "column" = 'status';
SELECT msgstatus.settle();
SELECT status, sent_at < delivered_at AS in_order FROM messages WHERE twilio_message_sid = 'ST02';
SELECT msgstatus.settle();
