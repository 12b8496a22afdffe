-- The next 1000 callbacks in one INSERT with a list of VALUES: what follows is up to the trigger.
\set i :i + 1
\set batch :client_id * :batches + :i
SELECT bench.run_batch(:batch, false);
