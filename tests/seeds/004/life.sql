-- The life of the adopted tables.

\echo 'Every pair of statuses: what the old map says, and what becomes of both tables by callbacks and by UPDATE'
CREATE TABLE hierarchy (status text, rank integer);
INSERT INTO hierarchy VALUES ('sent', 1), ('delivered', 2), ('read', 3), ('failed', 99);
CREATE TABLE pair AS
SELECT row_number() OVER (ORDER BY a.rank, b.rank) AS n, a.status AS stands, b.status AS comes,
       CASE WHEN b.status = 'failed' OR b.rank > a.rank THEN b.status ELSE a.status END AS theirs
  FROM hierarchy a, hierarchy b;
INSERT INTO whatsapp_messages (message_id, direction, status, to_phone, content)
SELECT 'wamid.log.' || n, 'outgoing', 'sent', '+919800000000', 'pair' FROM pair UNION ALL
SELECT 'wamid.sql.' || n, 'outgoing', stands::msgstatus.delivery_status, '+919800000000', 'pair' FROM pair;
INSERT INTO campaign_recipients (campaign_id, phone, whatsapp_message_id, status)
SELECT 100, to_phone, message_id, status FROM whatsapp_messages WHERE content = 'pair';
INSERT INTO whatsapp_status_log (message_id, status, event_at)
SELECT 'wamid.log.' || n, stands, '2025-06-16 08:00:01+00' FROM pair;
INSERT INTO whatsapp_status_log (message_id, status, event_at)
SELECT 'wamid.log.' || n, comes, '2025-06-16 08:00:02+00' FROM pair;
UPDATE whatsapp_messages SET status = comes FROM pair WHERE message_id = 'wamid.sql.' || n;
UPDATE campaign_recipients SET status = comes FROM pair WHERE whatsapp_message_id = 'wamid.sql.' || n;
SELECT stands, comes, theirs, ml.status AS by_callback, rl.status AS and_recipient, ms.status AS by_update,
       rs.status AS and_recipient
  FROM pair
  JOIN whatsapp_messages ml ON ml.message_id = 'wamid.log.' || n
  JOIN whatsapp_messages ms ON ms.message_id = 'wamid.sql.' || n
  JOIN campaign_recipients rl ON rl.whatsapp_message_id = ml.message_id
  JOIN campaign_recipients rs ON rs.whatsapp_message_id = ms.message_id
 ORDER BY n;
SELECT count(*) AS not_as_the_map_says
  FROM pair, LATERAL (SELECT status FROM whatsapp_messages WHERE message_id IN ('wamid.log.' || n, 'wamid.sql.' || n)
                      UNION ALL
                      SELECT status FROM campaign_recipients
                       WHERE whatsapp_message_id IN ('wamid.log.' || n, 'wamid.sql.' || n)) AS row_of
 WHERE status::text <> theirs;
DELETE FROM whatsapp_status_log WHERE message_id LIKE 'wamid.log.%';
DELETE FROM whatsapp_messages WHERE content = 'pair';
DELETE FROM campaign_recipients WHERE campaign_id = 100;

\echo 'Storing the message (0) and its callbacks in every order, each in a statement of its own'
CREATE TABLE event (n integer, status text, event_at timestamptz, error_message text);
INSERT INTO event VALUES
    (0, NULL,        NULL, NULL),
    (1, 'sent',      '2025-06-16 09:00:01+00', NULL),
    (2, 'delivered', '2025-06-16 09:00:02+00', NULL),
    (3, 'read',      '2025-06-16 09:00:03+00', NULL),
    (4, 'failed',    '2025-06-16 09:00:04+00', 'Error 131026: Message Undeliverable'),
    (5, 'failed',    '2025-06-16 09:00:05+00', 'Error 131026: Message Undeliverable (again)');
CREATE TABLE ordering AS
WITH RECURSIVE o(seen) AS (
    SELECT ARRAY[]::integer[]
    UNION ALL
    SELECT o.seen || e.n FROM o JOIN event e ON e.n <> ALL (o.seen)
)
-- Those of 0 to 3, and of all six.
SELECT 1000 + row_number() OVER (ORDER BY cardinality(seen), seen) AS n, cardinality(seen) = 6 AS fails, seen
  FROM o WHERE cardinality(seen) = 6 OR cardinality(seen) = 4 AND seen <@ '{0,1,2,3}';
INSERT INTO campaign_recipients (campaign_id, phone) SELECT 101, '+91' || n FROM ordering;
DO $$
DECLARE
    m record;
    i integer;
BEGIN
    FOR m IN SELECT * FROM ordering ORDER BY n LOOP
        FOREACH i IN ARRAY m.seen LOOP
            IF i = 0 THEN
                -- What the outgoing processor does, which had the wamid 0.26 seconds before the first callback.
                INSERT INTO whatsapp_messages (message_id, direction, status, to_phone, content, sent_at)
                VALUES ('wamid.' || m.n, 'outgoing', 'sent', '+91' || m.n, 'in some order', '2025-06-16 09:00:00.74');
                UPDATE campaign_recipients
                   SET whatsapp_message_id = 'wamid.' || m.n, status = 'sent', sent_at = '2025-06-16 09:00:00.74'
                 WHERE campaign_id = 101 AND phone = '+91' || m.n;
            ELSE
                INSERT INTO whatsapp_status_log (message_id, status, event_at, error_message)
                SELECT 'wamid.' || m.n, status, event_at, error_message FROM event WHERE n = i;
            END IF;
        END LOOP;
    END LOOP;
END
$$;
CREATE VIEW both_tables AS
SELECT message_id, 'whatsapp_messages' AS in_table, status, sent_at, delivered_at, read_at, failed_at, failed_reason
  FROM whatsapp_messages WHERE content = 'in some order'
UNION ALL
SELECT whatsapp_message_id, 'campaign_recipients', status, sent_at, delivered_at, read_at, failed_at, failed_reason
  FROM campaign_recipients WHERE campaign_id = 101;
SELECT in_table, count(*), status, sent_at::time, delivered_at::time, read_at::time, failed_at::time, failed_reason
  FROM both_tables GROUP BY 1, 3, 4, 5, 6, 7, 8 ORDER BY status DESC, in_table DESC;

\echo 'All of them once more, in one statement: every repeated callback is kept, and no row is written'
CREATE TABLE version AS
SELECT tableoid AS in_table, ctid AS place FROM whatsapp_messages UNION ALL
SELECT tableoid, ctid FROM campaign_recipients;
INSERT INTO whatsapp_status_log (message_id, status, event_at, error_message)
SELECT 'wamid.' || o.n, e.status, e.event_at, e.error_message
  FROM ordering o JOIN event e ON e.n <> 0 AND e.n = ANY (o.seen);
SELECT count(*) AS log_rows FROM whatsapp_status_log l JOIN ordering o ON l.message_id = 'wamid.' || o.n;
SELECT (SELECT count(*) FROM version) AS rows, count(*) AS written
  FROM (SELECT tableoid, ctid FROM whatsapp_messages UNION ALL SELECT tableoid, ctid FROM campaign_recipients
        EXCEPT ALL SELECT * FROM version) AS changed;

\echo 'Both tables say the same of every message that is in both'
SELECT count(*) AS in_both,
       count(*) FILTER (WHERE (m.status, m.sent_at, m.delivered_at, m.read_at, m.failed_at, m.failed_reason)
           IS DISTINCT FROM (r.status, r.sent_at, r.delivered_at, r.read_at, r.failed_at, r.failed_reason)) AS differ
  FROM whatsapp_messages m JOIN campaign_recipients r ON r.whatsapp_message_id = m.message_id;
SELECT (SELECT count(*) FROM msgstatus.verify(messages => 'whatsapp_messages')) AS messages_differ,
       (SELECT count(*) FROM msgstatus.verify(messages => 'campaign_recipients')) AS recipients_differ;

\echo 'A status and its time go together'
SELECT count(*) AS status_without_its_time FROM both_tables
 WHERE CASE status WHEN 'sent' THEN sent_at WHEN 'delivered' THEN delivered_at WHEN 'read' THEN read_at
                   WHEN 'failed' THEN failed_at END IS NULL;
SELECT count(*) AS times_out_of_order FROM both_tables WHERE sent_at > delivered_at OR delivered_at > read_at;
DELETE FROM whatsapp_status_log l USING ordering o WHERE l.message_id = 'wamid.' || o.n;
DELETE FROM whatsapp_messages WHERE content = 'in some order';
DELETE FROM campaign_recipients WHERE campaign_id = 101;

\echo 'The four steps of a message, by the webhook of Meta. The clock of the processor is ahead: sent_at is put right'
INSERT INTO campaign_recipients (id, campaign_id, phone) VALUES (1020, 102, '+919800000020');
INSERT INTO whatsapp_messages (message_id, direction, status, to_phone, content, created_at, sent_at)
VALUES ('wamid.20', 'outgoing', 'sent', '+919800000020', 'Step by step', '2025-06-16 10:00:00',
        '2025-06-16 10:00:01.31');
UPDATE campaign_recipients SET whatsapp_message_id = 'wamid.20', status = 'sent', sent_at = '2025-06-16 10:00:01.32'
 WHERE id = 1020;
CREATE VIEW step AS
SELECT m.status, m.sent_at, m.delivered_at::time, m.read_at::time, m.failed_at::time, m.failed_reason,
       (m.status, m.delivered_at, m.read_at, m.failed_at, m.failed_reason)
           IS NOT DISTINCT FROM (r.status, r.delivered_at, r.read_at, r.failed_at, r.failed_reason) AS recipient_too
  FROM whatsapp_messages m JOIN campaign_recipients r ON r.whatsapp_message_id = m.message_id
 WHERE m.message_id = 'wamid.20';
SELECT * FROM step;
SELECT record_whatsapp_statuses('{"entry": [{"changes": [{"field": "messages", "value": {"statuses": [
    {"id": "wamid.20", "status": "delivered", "timestamp": "1750068001"}]}}]}]}');
SELECT * FROM step;
SELECT record_whatsapp_statuses('{"entry": [{"changes": [{"field": "messages", "value": {"statuses": [
    {"id": "wamid.20", "status": "read", "timestamp": "1750068009"}]}}]}]}');
SELECT record_whatsapp_statuses('{"entry": [{"changes": [{"field": "messages", "value": {"statuses": [
    {"id": "wamid.20", "status": "delivered", "timestamp": "1750068002"}]}}]}]}');
SELECT * FROM step;
SELECT record_whatsapp_statuses('{"entry": [{"changes": [{"field": "messages", "value": {"statuses": [
    {"id": "wamid.20", "status": "failed", "timestamp": "1750068012", "errors": [
        {"code": 131026, "title": "Message Undeliverable", "message": "Message Undeliverable"}]}]}}]}]}');
SELECT record_whatsapp_statuses('{"entry": [{"changes": [{"field": "messages", "value": {"statuses": [
    {"id": "wamid.20", "status": "failed", "timestamp": "1750068099", "errors": [{"code": 1}]}]}}]}]}');
SELECT * FROM step;
SELECT t::time, word, verdict, status_after, error_code FROM msgstatus.history('wamid.20', 'whatsapp_messages');

\echo 'The reason, with all of its parts, and without those that are missing'
SELECT record_whatsapp_statuses(jsonb_build_object('entry', jsonb_build_array(jsonb_build_object('changes',
           jsonb_build_array(jsonb_build_object('value', jsonb_build_object('statuses', jsonb_agg(jsonb_build_object(
               'id', 'wamid.reason.' || n, 'status', 'failed', 'timestamp', '1750068000', 'errors', errors)))))))))
  FROM (VALUES
    (1, '[{"code": 131026, "title": "Message Undeliverable",
           "message": "This message was not delivered to maintain healthy ecosystem engagement"}]'::jsonb),
    (2, '[{"code": 130429, "title": "Rate limit hit", "message": "Rate limit hit",
           "error_data": {"details": "Too many messages sent"}}]'),
    (3, '[{"code": 131047, "title": "Re-engagement message"}]'),
    (4, '[{"code": 131000, "message": "Something went wrong", "error_data": {}}]'),
    (5, '[{"title": "Unknown"}]'),
    (6, '[{"code": 1, "title": "The first"}, {"code": 2, "title": "The second"}]'),
    (7, '[]'),
    (8, NULL)) AS e(n, errors);
SELECT message_id, error_code, error_message FROM whatsapp_status_log
 WHERE message_id LIKE 'wamid.reason.%' ORDER BY message_id;
INSERT INTO whatsapp_messages (message_id, direction, status, sent_at)
SELECT 'wamid.reason.' || n, 'outgoing', 'sent', '2025-06-16 09:59:59' FROM generate_series(1, 8) AS n;
SELECT count(*) AS failed,
       count(*) FILTER (WHERE failed_reason = 'Error 131026: Message Undeliverable - '
           'This message was not delivered to maintain healthy ecosystem engagement') AS as_in_the_example,
       count(*) FILTER (WHERE failed_reason IS DISTINCT FROM error_message) AS other_reason
  FROM whatsapp_messages m JOIN whatsapp_status_log l USING (message_id)
 WHERE message_id LIKE 'wamid.reason.%' AND m.status = 'failed' AND failed_at = '2025-06-16 10:00:00';
DELETE FROM whatsapp_messages WHERE message_id LIKE 'wamid.reason.%';
DELETE FROM whatsapp_status_log WHERE message_id LIKE 'wamid.reason.%';

\echo 'A webhook without statuses (somebody wrote to us) writes nothing; one without a time counts as of its arrival'
SELECT count(*) AS log_rows FROM whatsapp_status_log \gset before_
SELECT record_whatsapp_statuses('{"entry": [{"changes": [{"field": "messages", "value": {"messages": [
    {"id": "wamid.30", "from": "919800000001", "timestamp": "1750068000", "type": "text"}]}}]}]}');
SELECT count(*) - :before_log_rows AS written FROM whatsapp_status_log;
SELECT record_whatsapp_statuses('{"entry": [{"changes": [{"value": {"statuses": [
    {"id": "wamid.08", "status": "delivered"}]}}]}]}');
SELECT m.status, m.delivered_at = l.created_at AT TIME ZONE 'UTC' AS at_arrival
  FROM whatsapp_messages m JOIN whatsapp_status_log l USING (message_id) WHERE message_id = 'wamid.08';
BEGIN;
SET LOCAL msgstatus.guard = off;
DELETE FROM whatsapp_status_log WHERE message_id = 'wamid.08';
UPDATE whatsapp_messages SET status = 'sent', sent_at = NULL, delivered_at = NULL WHERE message_id = 'wamid.08';
COMMIT;

\echo 'Times are UTC, whatever the time zone of the session'
SET timezone = 'Asia/Kolkata';
INSERT INTO whatsapp_messages (message_id, direction, status, sent_at)
VALUES ('wamid.31', 'outgoing', 'sent', '2025-06-16 11:00:00'), ('wamid.32', 'outgoing', 'sent', '2025-06-16 11:00:00'),
       ('wamid.33', 'outgoing', 'sent', '2025-06-16 11:00:00'), ('wamid.34', 'outgoing', 'sent', '2025-06-16 11:00:00');
INSERT INTO whatsapp_status_log (message_id, status, event_at) VALUES ('wamid.31', 'delivered', '2025-06-16 16:30:04');
INSERT INTO whatsapp_status_log (message_id, status) VALUES ('wamid.32', 'delivered');
UPDATE whatsapp_messages SET status = 'delivered' WHERE message_id = 'wamid.33';
UPDATE whatsapp_messages SET status = 'delivered', delivered_at = '2025-06-16 11:00:04' WHERE message_id = 'wamid.34';
SELECT message_id, status, sent_at,
       CASE WHEN delivered_at < '2025-06-17' THEN delivered_at::text
            WHEN now() AT TIME ZONE 'UTC' - delivered_at BETWEEN '-1 minute' AND '1 minute' THEN 'now, in UTC'
            ELSE 'wrong' END AS delivered_at
  FROM whatsapp_messages WHERE message_id BETWEEN 'wamid.31' AND 'wamid.34' ORDER BY message_id;
RESET timezone;
DELETE FROM whatsapp_messages WHERE message_id BETWEEN 'wamid.31' AND 'wamid.34';
DELETE FROM whatsapp_status_log WHERE message_id BETWEEN 'wamid.31' AND 'wamid.34';

\echo 'Incoming messages are stored as ever, and so are recipients that wait'
INSERT INTO whatsapp_messages (message_id, direction, status, from_phone, content, created_at)
VALUES ('wamid.30', 'incoming', 'received', '+919800000001', 'Three jars', '2025-06-16 10:00:00'),
       ('wamid.35', 'incoming', NULL, '+919800000002', 'OK', '2025-06-16 10:00:01');
SELECT message_id, status, sent_at, delivered_at FROM whatsapp_messages
 WHERE direction = 'incoming' ORDER BY message_id;

\echo 'A word that Meta does not have is kept and changes nothing'
INSERT INTO whatsapp_status_log (message_id, status) VALUES ('wamid.20', 'teleported');
SELECT status FROM whatsapp_messages WHERE message_id = 'wamid.20';
SELECT provider, word, occurrences FROM msgstatus.unrecognized('whatsapp_messages');
DELETE FROM whatsapp_status_log WHERE status = 'teleported';

\echo 'Words of Meta beside the four: a voice message was played, a message was deleted, and that stands'
INSERT INTO whatsapp_messages (message_id, direction, status, sent_at)
VALUES ('wamid.37', 'outgoing', 'sent', '2025-06-16 12:00:00'), ('wamid.38', 'outgoing', 'sent', '2025-06-16 12:00:00');
INSERT INTO whatsapp_status_log (message_id, status, event_at)
VALUES ('wamid.37', 'played', '2025-06-16 12:00:09+00'), ('wamid.38', 'deleted', '2025-06-16 12:00:09+00'),
       ('wamid.38', 'read', '2025-06-16 12:00:10+00');
SELECT message_id, status, read_at FROM whatsapp_messages WHERE message_id IN ('wamid.37', 'wamid.38') ORDER BY 1;
DELETE FROM whatsapp_messages WHERE message_id IN ('wamid.37', 'wamid.38');
DELETE FROM whatsapp_status_log WHERE message_id IN ('wamid.37', 'wamid.38');

\echo 'What a driver can do with the status: write it as varchar, read it as text, compare it after a cast'
DO $$
BEGIN
    EXECUTE 'SELECT FROM whatsapp_messages WHERE status = $1' USING 'failed'::varchar;
    RAISE 'no error';
EXCEPTION WHEN undefined_function THEN NULL;
END
$$;
DO $$
BEGIN
    EXECUTE 'UPDATE campaign_recipients SET status = $1 WHERE id = 1020' USING 'pending'::varchar;
    RAISE 'no error';
EXCEPTION WHEN invalid_text_representation THEN NULL;
END
$$;
PREPARE bound(varchar) AS UPDATE campaign_recipients SET status = $1 WHERE id = 1020 RETURNING status::text;
EXECUTE bound('failed');
PREPARE counted(varchar) AS SELECT count(*) FROM whatsapp_messages WHERE status = $1::msgstatus.delivery_status;
EXECUTE counted('failed');

\echo 'The old webhook, while it still runs: two UPDATEs, and whatever it says is folded'
INSERT INTO whatsapp_messages (message_id, direction, status, to_phone, created_at, sent_at)
VALUES ('wamid.36', 'outgoing', 'sent', '+919800000036', '2025-06-16 12:00:00', '2025-06-16 12:00:00.41');
UPDATE whatsapp_messages SET status = 'read', read_at = '2025-06-16 12:00:09' WHERE message_id = 'wamid.36';
UPDATE whatsapp_messages SET status = 'delivered', delivered_at = '2025-06-16 12:00:03' WHERE message_id = 'wamid.36';
SELECT status, sent_at, delivered_at, read_at FROM whatsapp_messages WHERE message_id = 'wamid.36';

\echo 'A second attempt begins anew, in the same row as in one of its own'
INSERT INTO campaign_recipients (campaign_id, phone, whatsapp_message_id, status, sent_at)
VALUES (103, '+919800000040', 'wamid.40', 'sent', '2025-06-16 13:00:00'),
       (103, '+919800000041', 'wamid.41', 'sent', '2025-06-16 13:00:00');
INSERT INTO whatsapp_status_log (message_id, status, event_at, error_message)
VALUES ('wamid.40', 'failed', '2025-06-16 13:00:01+00', 'Error 131026'),
       ('wamid.41', 'failed', '2025-06-16 13:00:01+00', 'Error 131026');
UPDATE campaign_recipients SET whatsapp_message_id = 'wamid.42', status = 'sent', sent_at = '2025-06-17 13:00:00',
       failed_at = NULL, failed_reason = NULL WHERE whatsapp_message_id = 'wamid.40';
INSERT INTO campaign_recipients (campaign_id, phone, whatsapp_message_id, status, sent_at)
VALUES (103, '+919800000041', 'wamid.43', 'sent', '2025-06-17 13:00:00');
INSERT INTO whatsapp_status_log (message_id, status, event_at)
VALUES ('wamid.42', 'delivered', '2025-06-17 13:00:01+00'), ('wamid.43', 'delivered', '2025-06-17 13:00:01+00');
SELECT phone, whatsapp_message_id, status, sent_at, delivered_at, failed_at FROM campaign_recipients
 WHERE campaign_id = 103 ORDER BY 1, 2;
DELETE FROM campaign_recipients WHERE campaign_id = 103;
DELETE FROM whatsapp_status_log WHERE message_id BETWEEN 'wamid.40' AND 'wamid.43';

\echo 'One log, two tables: what waits in neither, in one, in both'
INSERT INTO whatsapp_status_log (message_id, status, event_at) VALUES ('wamid.50', 'sent', '2025-06-16 14:00:00+00');
SELECT message_key, word, m.delivery_id IS NOT NULL AS not_in_messages
  FROM msgstatus.unmatched('campaign_recipients') r
  LEFT JOIN msgstatus.unmatched('whatsapp_messages') m USING (message_key, word, event_at)
 ORDER BY message_key, event_at, word;
DELETE FROM whatsapp_status_log WHERE message_id = 'wamid.50';

\echo 'A recipient who is added to a campaign later has the status of the message at once'
INSERT INTO campaign_recipients (campaign_id, phone, whatsapp_message_id) VALUES (103, '+919800000002', 'wamid.02');
SELECT whatsapp_message_id, status, sent_at, delivered_at, read_at FROM campaign_recipients WHERE campaign_id = 103;
DELETE FROM campaign_recipients WHERE campaign_id = 103;

\echo 'The webhook needs INSERT on the log and nothing else'
CREATE ROLE webhook;
GRANT INSERT ON whatsapp_status_log TO webhook;
SET ROLE webhook;
SELECT record_whatsapp_statuses('{"entry": [{"changes": [{"value": {"statuses": [
    {"id": "wamid.20", "status": "read", "timestamp": "1750068005"}]}}]}]}');
RESET ROLE;
SELECT status, read_at, recipient_too FROM step;
DROP OWNED BY webhook;
DROP ROLE webhook;

\echo 'Durations are never negative'
SELECT count(*) AS messages, count(*) FILTER (WHERE delivered_at < sent_at OR read_at < delivered_at) AS negative,
       count(*) FILTER (WHERE read_at IS NOT NULL AND delivered_at IS NULL) AS read_undelivered
  FROM whatsapp_messages WHERE direction = 'outgoing' AND sent_at IS NOT NULL;

\echo 'At the end'
SELECT (SELECT count(*) FROM msgstatus.verify(messages => 'whatsapp_messages')) AS messages_differ,
       (SELECT count(*) FROM msgstatus.verify(messages => 'campaign_recipients')) AS recipients_differ;
DELETE FROM whatsapp_status_log WHERE message_id = 'wamid.20';
DELETE FROM whatsapp_messages WHERE message_id IN ('wamid.20', 'wamid.30', 'wamid.35', 'wamid.36');
DELETE FROM campaign_recipients WHERE campaign_id = 102;
DROP TABLE hierarchy, pair, event, ordering, version;
DROP VIEW both_tables, step;
