-- pgbench: messages and their callbacks, written at the same time. A number that all clients draw from one sequence
-- decides who writes what: six consecutive numbers, drawn within a millisecond or so by different clients, share a
-- key, one of them writes its message and the others its callbacks, in an order that differs from key to key.
-- Half of the clients commit at once, half after a round trip.
\set slow random(0, 1)
SELECT nextval('tick') AS n \gset
\set key :n / 6
\set role mod(:n + mod(abs(hash(:key)), 6), 6)
\set kind mod(:key, 4)
\if :slow = 1 or :role >= 4
BEGIN;
\endif
\if :role = 0
  \if :kind = 0
INSERT INTO messages (body) VALUES ('m' || :key::bigint);
UPDATE messages SET sid = 'm' || :key::bigint WHERE message_id = currval('messages_message_id_seq');
  \elif :kind = 1
INSERT INTO messages (sid) VALUES ('m' || :key::bigint) ON CONFLICT DO NOTHING;
  \else
INSERT INTO messages (sid) VALUES ('m' || :key::bigint), (NULL);
  \endif
\elif :role = 1
INSERT INTO delivery_log (sid, status, event_at)
VALUES ('m' || :key::bigint, 'delivered', timestamptz '2024-01-01Z' + :n::bigint * interval '1 second');
\elif :role < 4
-- Keys around this one, in random order: some have their message, some don't yet, some never will. Each of these
-- statements is earlier than all before it, and so changes every message that it finds.
INSERT INTO delivery_log (sid, status, event_at)
SELECT coalesce('m' || (:key::bigint + o), 'none'), CASE WHEN o % 2 = 0 THEN 'sent' ELSE 'delivered' END,
       timestamptz '2024-01-01Z' - :n::bigint * interval '1 second'
  FROM unnest(ARRAY[-6, -5, -4, -3, -2, -1, 0, 1, 2, NULL]) o ORDER BY random();
\elif :role = 4
-- This and the next insert a message each, and the callback of the other's.
INSERT INTO messages (sid) VALUES ('p' || :key::bigint);
INSERT INTO delivery_log (sid, status, event_at)
VALUES ('q' || :key::bigint, 'delivered', timestamptz '2024-01-01Z' + :n::bigint * interval '1 second');
\else
INSERT INTO delivery_log (sid, status, event_at)
VALUES ('p' || :key::bigint, 'delivered', timestamptz '2024-01-01Z' + :n::bigint * interval '1 second');
INSERT INTO messages (sid) VALUES ('q' || :key::bigint);
\endif
\if :slow = 1
SELECT 1;
\endif
\if :slow = 1 or :role >= 4
COMMIT;
\endif
