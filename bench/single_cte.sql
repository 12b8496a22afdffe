-- One callback in one statement that does without a trigger; the client knows the number of the status.
-- The lives of :window messages of this client, in scattered order: sent for all of them, then delivered, then read.
\set i :i + 1
\set step (:i / :window) % 3
\set id 1 + :client_id * :span + (:i / (3 * :window) * :window + (:i % :window) * 7919 % :window) % :span
\set bit CASE WHEN :step = 0 THEN 64 WHEN :step = 1 THEN 4096 ELSE 8192 END
WITH callback AS (
    INSERT INTO delivery_log (sid, status) VALUES (bench.sid(:id), (ARRAY['sent', 'delivered', 'read'])[:step + 1])
    RETURNING sid, delivery_status AS s, created_at AS t, error_code, error_message
)
UPDATE messages AS m
   SET status = s,
       status_at = t,
       sent_at = CASE WHEN s IN ('sent', 'delivered', 'read', 'undelivered') THEN least(m.sent_at, t) ELSE m.sent_at END,
       delivered_at = CASE WHEN s IN ('delivered', 'read') THEN least(m.delivered_at, t) ELSE m.delivered_at END,
       read_at = CASE WHEN s = 'read' THEN least(m.read_at, t) ELSE m.read_at END,
       failed_at = CASE WHEN s IN ('undelivered', 'failed') THEN least(m.failed_at, t) ELSE m.failed_at END,
       canceled_at = CASE WHEN s = 'canceled' THEN least(m.canceled_at, t) ELSE m.canceled_at END,
       statuses_seen = m.statuses_seen | :bit,
       error_code = coalesce(m.error_code, callback.error_code),
       error_message = coalesce(m.error_message, callback.error_message)
  FROM callback
 WHERE m.sid = callback.sid AND supersedes(s, m.status);
