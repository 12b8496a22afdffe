-- One callback by application code: lock, look, write. It is the client that decides and knows which columns to fill.
-- The lives of :window messages of this client, in scattered order: sent for all of them, then delivered, then read.
\set i :i + 1
\set step (:i / :window) % 3
\set id 1 + :client_id * :span + (:i / (3 * :window) * :window + (:i % :window) * 7919 % :window) % :span
\set bit CASE WHEN :step = 0 THEN 64 WHEN :step = 1 THEN 4096 ELSE 8192 END
\set new_rank CASE WHEN :step = 0 THEN 50 WHEN :step = 1 THEN 80 ELSE 90 END
BEGIN;
SELECT message_id, CASE WHEN status < 'sent' THEN 0 WHEN status < 'undelivered' THEN 50 WHEN status < 'read' THEN 80 ELSE 90 END AS old_rank
  FROM messages WHERE sid = bench.sid(:id) FOR UPDATE \gset
INSERT INTO delivery_log (sid, status) VALUES (bench.sid(:id), (ARRAY['sent', 'delivered', 'read'])[:step + 1]);
\if :new_rank > :old_rank
\if :step = 0
UPDATE messages SET status = 'sent', status_at = now(), sent_at = now(), statuses_seen = statuses_seen | :bit
 WHERE message_id = :message_id;
\elif :step = 1
UPDATE messages SET status = 'delivered', status_at = now(), sent_at = coalesce(sent_at, now()), delivered_at = now(),
       statuses_seen = statuses_seen | :bit
 WHERE message_id = :message_id;
\else
UPDATE messages SET status = 'read', status_at = now(), sent_at = coalesce(sent_at, now()),
       delivered_at = coalesce(delivered_at, now()), read_at = now(), statuses_seen = statuses_seen | :bit
 WHERE message_id = :message_id;
\endif
\endif
COMMIT;
