-- Every query of the old document, word for word, as a view old_…, and its twin on the native columns as new_….
CREATE VIEW old_latest AS
SELECT bsp_msg_id, to_phone, whatsapp_status FROM message_logs 
   WHERE bsp_msg_id IS NOT NULL 
   ORDER BY created_at DESC LIMIT 5;
CREATE VIEW new_latest AS
SELECT bsp_msg_id, to_phone, status, sent_at, delivered_at, read_at FROM message_logs
 WHERE bsp_msg_id IS NOT NULL ORDER BY created_at DESC LIMIT 5;

CREATE VIEW old_phone AS
-- Get all messages for a phone number
SELECT bsp_msg_id, to_phone, whatsapp_status, created_at 
FROM message_logs
WHERE to_phone = '+919876543210' AND bsp_msg_id IS NOT NULL
ORDER BY created_at DESC;
CREATE VIEW new_phone AS
SELECT bsp_msg_id, to_phone, status, sent_at, delivered_at, read_at, created_at FROM message_logs
 WHERE to_phone = '+919876543210' AND bsp_msg_id IS NOT NULL ORDER BY created_at DESC;

CREATE VIEW old_read AS
-- Get messages that were read
SELECT bsp_msg_id, to_phone, whatsapp_status->>'read' as read_at
FROM message_logs
WHERE whatsapp_status ? 'read'
ORDER BY (whatsapp_status->>'read')::timestamptz DESC;
CREATE VIEW new_read AS
SELECT bsp_msg_id, to_phone, read_at FROM message_logs WHERE read_at IS NOT NULL ORDER BY read_at DESC;

CREATE VIEW old_undelivered AS
-- Get undelivered messages (>5 mins)
SELECT bsp_msg_id, to_phone, whatsapp_status, created_at
FROM message_logs
WHERE whatsapp_status->>'sent' IS NOT NULL
  AND whatsapp_status->>'delivered' IS NULL
  AND created_at < NOW() - INTERVAL '5 minutes';
CREATE VIEW new_undelivered AS
SELECT bsp_msg_id, to_phone, status, sent_at, created_at FROM message_logs
 WHERE sent_at IS NOT NULL AND delivered_at IS NULL AND created_at < now() - interval '5 minutes';

CREATE VIEW old_delivery_rate AS
-- Delivery rate (last 24 hours)
SELECT 
  COUNT(*) FILTER (WHERE whatsapp_status ? 'delivered') * 100.0 / 
  COUNT(*) as delivery_rate_percent
FROM message_logs
WHERE created_at > NOW() - INTERVAL '24 hours'
  AND bsp_msg_id IS NOT NULL;
CREATE VIEW new_delivery_rate AS
SELECT count(delivered_at) * 100.0 / count(*) AS delivery_rate_percent FROM message_logs
 WHERE created_at > now() - interval '24 hours' AND bsp_msg_id IS NOT NULL;

CREATE VIEW old_read_rate AS
-- Read rate (last 24 hours)
SELECT 
  COUNT(*) FILTER (WHERE whatsapp_status ? 'read') * 100.0 / 
  COUNT(*) FILTER (WHERE whatsapp_status ? 'delivered') as read_rate_percent
FROM message_logs
WHERE created_at > NOW() - INTERVAL '24 hours'
  AND bsp_msg_id IS NOT NULL;
CREATE VIEW new_read_rate AS
SELECT count(read_at) * 100.0 / count(delivered_at) AS read_rate_percent FROM message_logs
 WHERE created_at > now() - interval '24 hours' AND bsp_msg_id IS NOT NULL;

CREATE VIEW old_delivery_time AS
-- Average delivery time
SELECT 
  AVG(
    EXTRACT(EPOCH FROM (whatsapp_status->>'delivered')::timestamptz) - 
    EXTRACT(EPOCH FROM (whatsapp_status->>'sent')::timestamptz)
  ) as avg_delivery_seconds
FROM message_logs
WHERE whatsapp_status ? 'sent' AND whatsapp_status ? 'delivered'
  AND created_at > NOW() - INTERVAL '24 hours';
CREATE VIEW new_delivery_time AS
SELECT avg(extract(epoch FROM delivered_at - sent_at)) AS avg_delivery_seconds FROM message_logs
 WHERE created_at > now() - interval '24 hours';

CREATE VIEW old_engaged AS
-- Most engaged users (by read rate)
SELECT 
  to_phone,
  COUNT(*) as total_messages,
  COUNT(*) FILTER (WHERE whatsapp_status ? 'read') as read_messages,
  COUNT(*) FILTER (WHERE whatsapp_status ? 'read') * 100.0 / COUNT(*) as read_rate
FROM message_logs
WHERE created_at > NOW() - INTERVAL '7 days'
  AND bsp_msg_id IS NOT NULL
GROUP BY to_phone
HAVING COUNT(*) > 5
ORDER BY read_rate DESC
LIMIT 10;
CREATE VIEW new_engaged AS
SELECT to_phone, count(*) AS total_messages, count(read_at) AS read_messages, count(read_at) * 100.0 / count(*) AS read_rate
  FROM message_logs
 WHERE created_at > now() - interval '7 days' AND bsp_msg_id IS NOT NULL
 GROUP BY to_phone HAVING count(*) > 5 ORDER BY read_rate DESC LIMIT 10;

-- How many rows only one of the two has.
CREATE FUNCTION differences(query text, columns text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    n bigint;
BEGIN
    EXECUTE format('SELECT count(*) FROM ((SELECT %2$s FROM old_%1$s EXCEPT ALL SELECT %2$s FROM new_%1$s)
                                UNION ALL (SELECT %2$s FROM new_%1$s EXCEPT ALL SELECT %2$s FROM old_%1$s)) AS d', query, columns) INTO n;
    RETURN n;
END
$$;
CREATE VIEW compared AS
SELECT query, differences(query, columns) FROM (VALUES
    ('latest',        'row_number() OVER (), bsp_msg_id, to_phone'),
    ('phone',         'row_number() OVER (), bsp_msg_id, to_phone, created_at'),
    ('read',          'row_number() OVER (), bsp_msg_id, to_phone, read_at::timestamptz'),
    ('undelivered',   'bsp_msg_id, to_phone, created_at'),
    ('delivery_rate', 'delivery_rate_percent'),
    ('read_rate',     'read_rate_percent'),
    ('delivery_time', 'avg_delivery_seconds'),
    ('engaged',       'row_number() OVER (), to_phone, total_messages, read_messages, read_rate')) AS v(query, columns);

\echo 'One message by its id, and "is the table there?"'
SELECT * FROM broadcasts_messages WHERE message_id = 'test_message_001';
SELECT * FROM broadcasts_messages LIMIT 1 \gset one_
\echo :ROW_COUNT row

-- A transaction has one now(), and takes back at its end what it needs for its figures.
\echo 'Basic queries, of the old messages'
BEGIN;
DELETE FROM message_logs WHERE created_at > '2024-11-01';
SELECT * FROM old_latest;
SELECT * FROM new_latest;
SELECT * FROM old_phone;
SELECT * FROM new_phone;
SELECT * FROM old_read;
SELECT * FROM new_read;
SELECT * FROM old_undelivered;
SELECT * FROM new_undelivered;

\echo 'Analytics, of today: to 01 eight messages, seven delivered, six of them read; to 02 seven, five, four; to 03 five, all read, which are too few to be ranked'
INSERT INTO message_logs (bsp_msg_id, to_phone)
SELECT format('today.%s.%s', phone, n), '+9190000000' || phone FROM (VALUES ('01', 8), ('02', 7), ('03', 5)) v(phone, total), generate_series(1, total) n;
INSERT INTO message_status_log (bsp_msg_id, status, event_at)
SELECT format('today.%s.%s', phone, n), word, now() - interval '2 minutes' + after
  FROM (VALUES ('01', 'sent', 8, interval '0'), ('01', 'delivered', 7, '3 s'), ('01', 'read', 6, '1 min'),
               ('02', 'sent', 7, '0'), ('02', 'delivered', 5, '6 s'), ('02', 'read', 4, '1 min'),
               ('03', 'sent', 5, '0'), ('03', 'delivered', 5, '9 s'), ('03', 'read', 5, '1 min')) v(phone, word, total, after),
       generate_series(1, total) n;
SELECT count(*), count(delivered_at) AS delivered, count(read_at) AS read FROM message_logs WHERE bsp_msg_id LIKE 'today.%';
SELECT * FROM old_delivery_rate;
SELECT * FROM new_delivery_rate;
SELECT * FROM old_read_rate;
SELECT * FROM new_read_rate;
SELECT * FROM old_delivery_time;
SELECT * FROM new_delivery_time;
SELECT * FROM old_engaged;
SELECT * FROM new_engaged;

\echo 'Old and new give the same, and one wrong row would show'
SELECT * FROM compared;
SET LOCAL msgstatus.guard = off;
UPDATE message_logs SET whatsapp_status = whatsapp_status - 'read' WHERE bsp_msg_id = 'today.01.1';
SELECT query FROM compared WHERE differences > 0;
UPDATE message_logs SET whatsapp_status = whatsapp_status - 'delivered' WHERE bsp_msg_id = 'today.01.1';
SELECT query FROM compared WHERE differences > 0;
ROLLBACK;

\echo 'The same with all messages that there are'
SELECT count(*) AS queries, sum(differences) AS differences FROM compared;
DROP VIEW compared, old_latest, new_latest, old_phone, new_phone, old_read, new_read, old_undelivered, new_undelivered,
    old_delivery_rate, new_delivery_rate, old_read_rate, new_read_rate, old_delivery_time, new_delivery_time, old_engaged, new_engaged;
DROP FUNCTION differences(text, text);
