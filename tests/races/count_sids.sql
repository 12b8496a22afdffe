-- psql: as count.sql, of tables whose log goes by another key than the provider's id.
WITH told AS (
    SELECT m.status, m.sent_at, m.delivered_at, m.statuses_seen,
           count(*) AS callbacks,
           count(*) FILTER (WHERE l.created_at < m.created_at) AS early,
           max(l.status) FILTER (WHERE l.status = 'delivered') AS delivered,
           min(l.event_at) AS first_sent,
           min(l.event_at) FILTER (WHERE l.status = 'delivered') AS first_delivered,
           -- The bits of sent and delivered; every message has been queued.
           16 + bit_or(CASE l.status WHEN 'sent' THEN 64 ELSE 4096 END) AS seen
      FROM messages m JOIN delivery_log l ON l.message = m.id
     GROUP BY m.id
)
SELECT (SELECT count(*) FROM messages WHERE sid IS NOT NULL), coalesce(sum(callbacks), 0), coalesce(sum(early), 0),
       count(*) FILTER (WHERE status <> coalesce(delivered, 'sent')::msgstatus.delivery_status),
       count(*) FILTER (WHERE sent_at IS DISTINCT FROM first_sent OR delivered_at IS DISTINCT FROM first_delivered
                           OR statuses_seen <> seen)
  FROM told;
