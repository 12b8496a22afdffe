-- The life of the adopted tables, keyed by message_id.

\echo 'Callbacks in every order, each in a statement of its own: every message ends up the same'
CREATE TABLE event (n integer, status text, error_code text, error_message text, created_at timestamptz);
INSERT INTO event VALUES
    (1, 'queued',    NULL, NULL, '2025-12-15 09:00:01+00'),
    (2, 'sent',      NULL, NULL, '2025-12-15 09:00:02+00'),
    (3, 'delivered', NULL, NULL, '2025-12-15 09:00:03+00'),
    (4, 'read',      NULL, NULL, '2025-12-15 09:00:04+00'),
    (5, 'failed', '63016', 'Outside the allowed window', '2025-12-15 09:00:05+00');
CREATE TABLE ordering AS
WITH RECURSIVE o(seen) AS (
    SELECT ARRAY[]::integer[]
    UNION ALL
    SELECT o.seen || e.n FROM o JOIN event e ON e.n <> ALL (o.seen)
)
SELECT 1000 + row_number() OVER (ORDER BY seen) AS message_id, seen FROM o WHERE cardinality(seen) = 5;
INSERT INTO messages (message_id, org_id, whatsapp_msg_sid, direction, body)
SELECT message_id, 1, 'SM' || message_id, 'outgoing', 'in some order' FROM ordering;
DO $$
DECLARE
    m record;
    i integer;
BEGIN
    FOR m IN SELECT * FROM ordering ORDER BY message_id LOOP
        FOREACH i IN ARRAY m.seen LOOP
            INSERT INTO message_delivery_log (org_id, message_id, status, error_code, error_message, created_at)
            SELECT 1, m.message_id, status, error_code, error_message, created_at FROM event WHERE n = i;
        END LOOP;
    END LOOP;
END
$$;
SELECT count(*) AS messages, delivery_status, delivery_status_at::time AS at, sent_at::time, delivered_at::time,
       read_at::time, failed_at::time, error_code
  FROM messages WHERE body = 'in some order' GROUP BY 2, 3, 4, 5, 6, 7, 8;

\echo 'All of them once more, in one statement: every repeated status is kept, and nothing moves'
INSERT INTO message_delivery_log (org_id, message_id, status, created_at)
SELECT 1, o.message_id, e.status, e.created_at + interval '1 minute' FROM ordering o, event e;
SELECT count(*) AS log_rows FROM message_delivery_log WHERE message_id IN (SELECT message_id FROM ordering);
SELECT count(DISTINCT (delivery_status, delivery_status_at, sent_at, delivered_at, read_at, failed_at, error_code)) AS outcomes
  FROM messages WHERE body = 'in some order';
SELECT count(*) AS differences FROM msgstatus.verify();
DELETE FROM message_delivery_log WHERE message_id IN (SELECT message_id FROM ordering);
DELETE FROM messages WHERE body = 'in some order';

\echo 'A message that is not there yet: no error, and nothing is lost'
INSERT INTO message_delivery_log (org_id, message_id, status, created_at)
VALUES (2, 50, 'delivered', '2025-12-15 10:00:03+00'), (2, 50, 'sent', '2025-12-15 10:00:02+00');
SELECT message_key, word FROM msgstatus.unmatched() ORDER BY word;
INSERT INTO messages (message_id, org_id, whatsapp_msg_sid, direction, body, sent_at)
VALUES (50, 2, 'SM0050', 'outgoing', 'Tickets attached', '2025-12-15 10:00:00+00');
SELECT delivery_status, sent_at::time, delivered_at::time FROM messages WHERE message_id = 50;
SELECT count(*) AS waiting FROM msgstatus.unmatched();

\echo 'Failed rows keep code, message and payload'
INSERT INTO messages (message_id, org_id, whatsapp_msg_sid, direction, body, sent_at)
VALUES (51, 2, 'SM0051', 'outgoing', 'To +1234567890', '2025-12-15 11:00:00+00');
INSERT INTO message_delivery_log (org_id, message_id, status, error_code, error_message, provider_payload, created_at)
VALUES (2, 51, 'failed', '21211', 'Invalid To number', '{"ErrorCode": "21211", "To": "+1234567890"}', '2025-12-15 11:00:01+00');
SELECT delivery_status, failed_at::time, error_code, error_message FROM messages WHERE message_id = 51;

\echo 'A word that Twilio does not have is kept and changes nothing'
INSERT INTO message_delivery_log (org_id, message_id, status) VALUES (2, 51, 'teleported');
SELECT delivery_status FROM messages WHERE message_id = 51;
SELECT provider, word, occurrences FROM msgstatus.unrecognized();
DELETE FROM message_delivery_log WHERE status = 'teleported';

\echo 'Rows that msgstatus writes itself belong to the same organisation'
SELECT msgstatus.apply_status('50', 'read', event_at => '2025-12-15 10:05:00+00', payload => '{"MessageStatus": "read"}');
SELECT org_id, message_id, status, provider_payload FROM message_delivery_log WHERE message_id = 50 AND status = 'read';

-- These callbacks arrived now. What follows shows times, so they get fixed ones.
BEGIN;
SET LOCAL msgstatus.guard = off;
UPDATE message_delivery_log SET created_at = '2025-12-15 10:05:00+00' WHERE message_id = 50 AND status = 'read';
UPDATE message_delivery_log SET created_at = '2025-12-15 08:00:00+00' WHERE message_id = 4;
UPDATE messages SET delivery_status = NULL, delivery_status_at = NULL, read_at = NULL WHERE message_id = 50;
UPDATE messages SET delivery_status = NULL, delivery_status_at = NULL, sent_at = NULL WHERE message_id = 4;
COMMIT;
SELECT msgstatus.rebuild() AS healed;

\echo 'The queries of the old document, as they were'
SELECT 
  mdl.delivery_id,
  mdl.message_id,
  mdl.status,
  mdl.error_code,
  mdl.error_message,
  mdl.created_at,
  m.whatsapp_msg_sid,
  m.body
FROM message_delivery_log mdl
JOIN messages m ON mdl.message_id = m.message_id
ORDER BY mdl.created_at DESC
LIMIT 10
\g (format=unaligned) |cut -d '|' -f 2-5,7
\set message_id 3
SELECT *
FROM message_delivery_log
WHERE message_id = :message_id
ORDER BY created_at DESC
LIMIT 1;
WITH latest_status AS (
  SELECT DISTINCT ON (message_id) 
    message_id, status, created_at
  FROM message_delivery_log
  ORDER BY message_id, created_at DESC
)
SELECT 
  m.message_id,
  m.body,
  m.whatsapp_msg_sid,
  m.sent_at,
  ls.status as delivery_status,
  ls.created_at as status_updated_at
FROM messages m
LEFT JOIN latest_status ls ON m.message_id = ls.message_id
WHERE m.direction = 'outgoing'
ORDER BY m.sent_at DESC;
SELECT 
  m.message_id,
  m.body,
  m.sent_at,
  mdl.error_code,
  mdl.error_message,
  mdl.provider_payload
FROM messages m
JOIN message_delivery_log mdl ON m.message_id = mdl.message_id
WHERE mdl.status = 'failed'
ORDER BY mdl.created_at DESC;

\echo 'What they become. Message 3 is right here, and was not above'
SELECT message_id, body, delivery_status, delivery_status_at FROM messages WHERE direction = 'outgoing' ORDER BY sent_at DESC;
SELECT message_id, body, error_code, error_message FROM messages WHERE msgstatus.is_failure(delivery_status) ORDER BY failed_at DESC;
SELECT word, verdict, status_after FROM msgstatus.history('3');
