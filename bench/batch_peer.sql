-- The same as batch_values_peer.sql with the lists in arrays, parsed and planned once.
\set i :i + 1
\set batch :client_id * :batches + :i
BEGIN;
INSERT INTO delivery_log (sid, status)
SELECT c.sid, c.word FROM bench.batch AS b, unnest(b.sids, b.words) AS c(sid, word) WHERE b.batch = :batch;
UPDATE messages AS m
   SET status = s,
       status_at = now(),
       sent_at = CASE WHEN s IN ('sent', 'delivered', 'read', 'undelivered') THEN least(m.sent_at, now()) ELSE m.sent_at END,
       delivered_at = CASE WHEN s IN ('delivered', 'read') THEN least(m.delivered_at, now()) ELSE m.delivered_at END,
       read_at = CASE WHEN s = 'read' THEN least(m.read_at, now()) ELSE m.read_at END,
       failed_at = CASE WHEN s IN ('undelivered', 'failed') THEN least(m.failed_at, now()) ELSE m.failed_at END,
       canceled_at = CASE WHEN s = 'canceled' THEN least(m.canceled_at, now()) ELSE m.canceled_at END,
       statuses_seen = m.statuses_seen | c.bit
  FROM bench.batch AS b, unnest(b.sids, b.statuses, b.bits) AS c(sid, s, bit)
 WHERE b.batch = :batch AND m.sid = c.sid AND supersedes(s, m.status);
COMMIT;
