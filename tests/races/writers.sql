-- pgbench: statements of 1000 callbacks in random order over the same 3000 messages. Their times go back from statement
-- to statement, so that nearly every one of them changes its message, however long this runs.
SELECT nextval('tick') AS n \gset
INSERT INTO delivery_log (sid, status, event_at)
SELECT 'm' || i, CASE WHEN i % 2 = 0 THEN 'sent' ELSE 'delivered' END,
       timestamptz '2024-01-01Z' - :n::bigint * interval '1 second'
  FROM generate_series(1, 3000) i ORDER BY random() LIMIT 1000;
