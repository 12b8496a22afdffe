-- The queries of the document, word for word. The first says nothing about the order of its rows, so they are sorted
-- here.
SELECT 
    message_id,
    status,
    sent_at,
    delivered_at,
    read_at,
    EXTRACT(EPOCH FROM (delivered_at - sent_at)) as delivery_time_seconds,
    EXTRACT(EPOCH FROM (read_at - delivered_at)) as read_time_seconds
FROM whatsapp_messages
WHERE direction = 'outgoing'
  AND sent_at IS NOT NULL
\g (format=unaligned tuples_only) |LC_ALL=C sort
SELECT 
    message_id,
    to_phone,
    failed_at,
    failed_reason
FROM whatsapp_messages
WHERE status = 'failed'
ORDER BY failed_at DESC;
SELECT 
    COUNT(*) as total_sent,
    COUNT(delivered_at) as delivered,
    COUNT(read_at) as read,
    COUNT(failed_at) as failed,
    ROUND(100.0 * COUNT(delivered_at) / COUNT(*), 2) as delivery_rate,
    ROUND(100.0 * COUNT(read_at) / COUNT(*), 2) as read_rate
FROM whatsapp_messages
WHERE direction = 'outgoing'
  AND sent_at IS NOT NULL;

\echo 'The rates of a campaign'
SELECT campaign_id, count(*) AS recipients, count(*) FILTER (WHERE status >= 'delivered') AS delivered,
       count(*) FILTER (WHERE status = 'read') AS read, count(*) FILTER (WHERE status = 'failed') AS failed,
       round(100.0 * count(*) FILTER (WHERE status >= 'delivered') / nullif(count(sent_at), 0), 2) AS delivery_rate
  FROM campaign_recipients GROUP BY campaign_id ORDER BY campaign_id;

\echo 'Failures by the code of Meta, each message once. Those of before the log have none'
SELECT l.error_code, count(*)
  FROM whatsapp_messages m
  LEFT JOIN LATERAL (SELECT error_code FROM whatsapp_status_log l
                 WHERE l.message_id = m.message_id AND error_code IS NOT NULL ORDER BY event_at LIMIT 1) AS l ON true
 WHERE m.status = 'failed' GROUP BY 1 ORDER BY 1;

\echo 'Where times and statuses count differently: failed after it was delivered'
SELECT message_id, status, delivered_at, failed_at FROM whatsapp_messages
 WHERE direction = 'outgoing' AND (status >= 'delivered') IS DISTINCT FROM (delivered_at IS NOT NULL)
 ORDER BY message_id;
