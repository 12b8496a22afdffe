-- pgbench: as race.sql, where the log goes by another key than the provider's id: a callback finds its message by the SID, or
-- waits beside the log.
\set slow random(0, 1)
SELECT nextval('tick') AS n \gset
\set key :n / 6
\set role mod(:n + mod(abs(hash(:key)), 6), 6)
\set kind mod(:key, 3)
\if :slow = 1 or :role >= 4
BEGIN;
\endif
\if :role = 0
  \if :kind = 0
INSERT INTO messages (body) VALUES ('m' || :key::bigint);
UPDATE messages SET sid = body WHERE body = 'm' || :key::bigint AND id = lastval();
  \elif :kind = 1
INSERT INTO messages (sid) VALUES ('m' || :key::bigint) ON CONFLICT DO NOTHING;
  \else
INSERT INTO messages (sid) VALUES ('m' || :key::bigint), (NULL);
  \endif
\elif :role = 1
SELECT callbacks(ARRAY['m' || :key::bigint], ARRAY['delivered'], :n);
\elif :role < 4
-- Keys around this one: some have their message, some don't yet, some never will.
SELECT callbacks(array_agg('m' || (:key::bigint + o) ORDER BY random()), array_agg('sent'::text), 0 - :n)
  FROM unnest(ARRAY[-3, -2, -1, 0, 1]) o;
\elif :role = 4
-- This and the next insert a message each, and the callback of the other's.
INSERT INTO messages (sid) VALUES ('p' || :key::bigint);
SELECT callbacks(ARRAY['q' || :key::bigint], ARRAY['delivered'], :n);
\else
SELECT callbacks(ARRAY['p' || :key::bigint], ARRAY['delivered'], :n);
INSERT INTO messages (sid) VALUES ('q' || :key::bigint);
\endif
\if :slow = 1
SELECT 1;
\endif
\if :slow = 1 or :role >= 4
COMMIT;
\endif
