-- The next 1000 callbacks in one prepared INSERT from arrays: what follows is up to the trigger.
\set i :i + 1
\set batch :client_id * :batches + :i
INSERT INTO delivery_log (sid, status)
SELECT c.sid, c.word FROM bench.batch AS b, unnest(b.sids, b.words) AS c(sid, word) WHERE b.batch = :batch;
