-- One callback by plain INSERT: what follows is up to the trigger.
-- The lives of :window messages of this client, in scattered order: sent for all of them, then delivered, then read.
\set i :i + 1
\set step (:i / :window) % 3
\set id 1 + :client_id * :span + (:i / (3 * :window) * :window + (:i % :window) * 7919 % :window) % :span
INSERT INTO delivery_log (sid, status) VALUES (bench.sid(:id), (ARRAY['sent', 'delivered', 'read'])[:step + 1]);
