-- The queries of their document, word for word, on what a reader can check by eye: the rows with fixed dates.
DELETE FROM messages WHERE twilio_message_sid IS NOT NULL AND twilio_message_sid NOT LIKE 'SM%';
DELETE FROM webhook_logs WHERE processed_at >= '2025-09-01';

-- Enough failures that no two codes occur equally often.
INSERT INTO messages (twilio_message_sid, direction, created_at)
SELECT 'SM4' || n, 'outbound', '2025-08-23 09:00:00+00' FROM generate_series(1, 9) AS n;
SELECT count(handler('SM4' || n, 'undelivered', c.code, c.text)) AS failures
  FROM (SELECT n, CASE WHEN n <= 4 THEN '30003' WHEN n <= 7 THEN '30005' ELSE '21610' END AS code
          FROM generate_series(1, 9) AS n) AS f
  JOIN (SELECT DISTINCT error_code AS code, error_message AS text FROM messages) AS c USING (code);

\echo 'Key metrics'
SELECT COUNT(*) FROM webhook_logs WHERE status = 'success';
SELECT COUNT(*) FROM messages WHERE status IN ('queued','sent') AND created_at < NOW() - INTERVAL '2 hours';
\echo 'and with one message that is'
INSERT INTO messages (twilio_message_sid, direction, created_at) VALUES ('SM50', 'outbound', '2025-08-22 15:00:00+00');
SELECT COUNT(*) FROM messages WHERE status IN ('queued','sent') AND created_at < NOW() - INTERVAL '2 hours';

\echo 'Dashboard queries'
-- Daily SMS statistics
SELECT 
  DATE(created_at) as date,
  status,
  COUNT(*) as count
FROM messages
WHERE direction IN ('outbound', 'outbound-api')
GROUP BY DATE(created_at), status
ORDER BY date DESC, status;

-- Error analysis
SELECT 
  error_code,
  error_message,
  COUNT(*) as occurrences
FROM messages
WHERE error_code IS NOT NULL
GROUP BY error_code, error_message
ORDER BY occurrences DESC;

\echo 'Delivered against failed, and how long delivery takes'
SELECT count(*) FILTER (WHERE msgstatus.is_success(status)) AS delivered,
       count(*) FILTER (WHERE msgstatus.is_failure(status)) AS failed,
       round(100.0 * count(*) FILTER (WHERE msgstatus.is_success(status))
             / count(*) FILTER (WHERE msgstatus.is_success(status) OR msgstatus.is_failure(status)), 1) AS delivery_rate
  FROM messages WHERE direction IN ('outbound', 'outbound-api');
SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY delivered_at - sent_at) AS median,
       max(delivered_at - sent_at) AS slowest
  FROM messages WHERE msgstatus.is_success(status) AND created_at < '2025-08-21';
\echo 'The queue'
SELECT status, count(*) FROM messages WHERE NOT final AND direction <> 'inbound' GROUP BY status ORDER BY status;

\echo 'Retention: logs of more than 90 days go, and so may history. What it said is in the messages'
BEGIN;
DELETE FROM webhook_logs WHERE processed_at < now() - interval '90 days';
DELETE FROM message_delivery_status WHERE created_at < now() - interval '90 days' AND message_id IS NOT NULL;
SELECT twilio_message_sid, status, error_code FROM messages WHERE twilio_message_sid <= 'SM06' ORDER BY 1;
SELECT count(*) AS differences FROM msgstatus.verify();
ROLLBACK;
DROP TRIGGER regression ON messages;
