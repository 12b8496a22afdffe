-- psql: what became of the messages of the current schema, by plain SQL and without the extension's help. Gives
-- messages, callbacks with a message, callbacks that came first, messages with a status behind their log's, messages
-- that differ from their log in any other column.
WITH message AS (
    SELECT stands, sent_at, delivered_at, statuses_seen,
           count(*) AS callbacks,
           count(*) FILTER (WHERE created_at < stored_at) AS early,
           max(status) FILTER (WHERE status = 'delivered') AS delivered,
           min(event_at) AS first_sent,
           min(event_at) FILTER (WHERE status = 'delivered') AS first_delivered,
           -- The bits of sent and delivered; every message has been queued.
           16 + bit_or(CASE status WHEN 'sent' THEN 64 ELSE 4096 END) AS seen
      FROM told
     GROUP BY id, stands, sent_at, delivered_at, statuses_seen
)
SELECT (SELECT count(*) FROM messages WHERE sid IS NOT NULL), coalesce(sum(callbacks), 0), coalesce(sum(early), 0),
       count(*) FILTER (WHERE stands <> coalesce(delivered, 'sent')::msgstatus.delivery_status),
       count(*) FILTER (WHERE sent_at IS DISTINCT FROM first_sent OR delivered_at IS DISTINCT FROM first_delivered
                           OR statuses_seen <> seen)
  FROM message;
