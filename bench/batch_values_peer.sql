-- The next 1000 callbacks as the best peer writes them: the same INSERT, and one UPDATE from a list of VALUES, guarded
-- in SQL. It is the client that knows the statuses and their numbers, and that there is one callback a message.
\set i :i + 1
\set batch :client_id * :batches + :i
SELECT bench.run_batch(:batch, true);
