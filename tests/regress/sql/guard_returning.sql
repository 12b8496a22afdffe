-- The guard seen through RETURNING where only newer servers have it: MERGE since 17, OLD and NEW since 18. Older
-- servers get the same rows by other means, so that one expected output serves all.
\set VERBOSITY terse
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE SCHEMA guard_returning;
SET search_path = guard_returning;
SELECT msgstatus.create_tables('guard_returning');
SELECT current_setting('server_version_num')::integer >= 170000 AS merge_returns,
       current_setting('server_version_num')::integer >= 180000 AS old_and_new \gset

INSERT INTO messages (sid, status) VALUES ('a', 'delivered'), ('b', 'queued');
CREATE TABLE news (sid text, status msgstatus.delivery_status);
INSERT INTO news VALUES ('a', 'sent'), ('b', 'delivered'), ('c', 'failed');

-- What comes back is the row as the guard leaves it.
BEGIN;
\if :merge_returns
WITH merged AS (
    MERGE INTO messages m USING news n ON n.sid = m.sid
     WHEN MATCHED THEN UPDATE SET status = n.status, body = 'merged'
     WHEN NOT MATCHED THEN INSERT (sid, status, body) VALUES (n.sid, n.status, 'inserted')
    RETURNING merge_action() AS action, m.sid, m.status, m.body, m.final,
        m.sent_at IS NOT NULL AS sent, m.delivered_at IS NOT NULL AS delivered, m.failed_at = now() AS failed_now
)
SELECT * FROM merged ORDER BY sid;
\else
MERGE INTO messages m USING news n ON n.sid = m.sid
 WHEN MATCHED THEN UPDATE SET status = n.status, body = 'merged'
 WHEN NOT MATCHED THEN INSERT (sid, status, body) VALUES (n.sid, n.status, 'inserted');
SELECT CASE sid WHEN 'c' THEN 'INSERT' ELSE 'UPDATE' END AS action, sid, status, body, final,
       sent_at IS NOT NULL AS sent, delivered_at IS NOT NULL AS delivered, failed_at = now() AS failed_now
  FROM messages ORDER BY sid;
\endif
COMMIT;
SELECT sid, status, body FROM messages ORDER BY sid;

-- A regression within MERGE … RETURNING is refused as anywhere.
SELECT msgstatus.detach('messages', 'delivery_log');
SELECT msgstatus.attach('messages', 'delivery_log', on_regression => 'error');
\set VERBOSITY sqlstate
\if :merge_returns
MERGE INTO messages m USING news n ON n.sid = m.sid WHEN MATCHED THEN UPDATE SET status = 'accepted' RETURNING m.sid;
\else
MERGE INTO messages m USING news n ON n.sid = m.sid WHEN MATCHED THEN UPDATE SET status = 'accepted';
\endif
\set VERBOSITY terse
SELECT msgstatus.detach('messages', 'delivery_log');
SELECT msgstatus.attach('messages', 'delivery_log');

-- OLD is the row as it was, NEW as the guard leaves it.
\if :old_and_new
UPDATE messages SET status = 'queued', body = 'u' WHERE sid = 'b' RETURNING old.status AS before, new.status AS after, old.body AS body_before, new.body AS body_after;
UPDATE messages SET status = 'read' WHERE sid = 'b' RETURNING old.status AS before, new.status AS after, old.final AS final_before, new.final AS final_after;
\else
WITH was AS (SELECT * FROM messages WHERE sid = 'b')
UPDATE messages m SET status = 'queued', body = 'u' FROM was WHERE m.sid = was.sid RETURNING was.status AS before, m.status AS after, was.body AS body_before, m.body AS body_after;
WITH was AS (SELECT * FROM messages WHERE sid = 'b')
UPDATE messages m SET status = 'read' FROM was WHERE m.sid = was.sid RETURNING was.status AS before, m.status AS after, was.final AS final_before, m.final AS final_after;
\endif

DROP SCHEMA guard_returning CASCADE;
