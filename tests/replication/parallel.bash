# shellcheck shell=bash disable=SC2154  # what tests/replication.sh sets
# Transactions that are streamed while they are in progress, applied by parallel workers (16 on). Sourced by tests/replication.sh.

# The subscriber has 300 messages of its own. A transaction that is streamed has callbacks for all of them, while single
# callbacks come for some.
in_progress() { # in_progress STREAMING [SUBSCRIBER'S SETTING]
  log_replicated "copy_data = false, streaming = $1" ''
  doing "$sub" <<<"INSERT INTO messages (sid) SELECT 'm' || g FROM generate_series(1, 300) g"
  stream
  local many="INSERT INTO delivery_log (sid, status, payload) SELECT 'm' || g, 'delivered', jsonb_build_object('p', repeat('x', 300)) FROM generate_series"
  # The walsender has to see the setting.
  doing "$sub" <<<"ALTER SUBSCRIPTION $name DISABLE"
  comes "$name: the slot is free" f "$pub" "SELECT active FROM pg_replication_slots WHERE slot_name = '$name'"
  doing "$sub" <<<"ALTER SUBSCRIPTION $name ENABLE"
  open big "$pub"
  tell big "BEGIN; $many(300, 1, -1) g; INSERT INTO delivery_log (sid, status) VALUES ('early', 'sent');"
  if [ "$1" = parallel ] && [ -z "${2:-}" ]; then
    comes "$name: a parallel worker applies a transaction in progress" t "$sub" \
      "SELECT count(*) > 0 FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE a.backend_type LIKE '%parallel%' AND a.datname = current_database()
          AND l.relation = 'delivery_log'::regclass AND l.mode = 'RowExclusiveLock'"
    no_locks 'it is in progress'
  else
    streamed
  fi
  doing "$pub" <<<"INSERT INTO delivery_log (sid, status) VALUES ('m7', 'sent'); INSERT INTO delivery_log (sid, status) VALUES ('m300', 'read')"
  comes "$name: single callbacks are folded meanwhile" 'm300 read, m7 sent' "$sub" "$(statuses 'm7|m300')"
  doing "$sub" <<<"SET lock_timeout = '2s'; INSERT INTO messages (sid) VALUES ('early')"
  # Savepoints: what is rolled back is the only thing that is ever said of s1 and s2, and the best that is of s3.
  doing "$sub" <<<"INSERT INTO messages (sid) VALUES ('s1'), ('s2'), ('s3'), ('s4')"
  tell big "
    SAVEPOINT a; INSERT INTO delivery_log (sid, status) VALUES ('s1', 'read'), ('s3', 'read'); $many(1, 300) g;
      SAVEPOINT b; INSERT INTO delivery_log (sid, status) VALUES ('s2', 'read'); RELEASE b; ROLLBACK TO a;
    INSERT INTO delivery_log (sid, status) VALUES ('s3', 'sent');
    SAVEPOINT c; INSERT INTO delivery_log (sid, status) VALUES ('s4', 'sent'); RELEASE c;"
  doing "$pub" <<<"
    INSERT INTO delivery_log (sid, status) VALUES ('m300', 'sent'), ('m8', 'read'), ('m1', 'failed');
    BEGIN; INSERT INTO delivery_log (sid, status) VALUES ('m9', 'sent'); SAVEPOINT a; INSERT INTO delivery_log (sid, status) VALUES ('m9', 'read'); ROLLBACK TO a; COMMIT"
  comes "$name: and once more" 'm1 failed, m300 read, m8 read, m9 sent' "$sub" "$(statuses 'm1|m300|m8|m9')"
  # A second one, the other way round, and one that is rolled back.
  open other "$pub"
  open gone "$pub"
  tell other "BEGIN; $many(1, 300) g;"
  tell gone "BEGIN; INSERT INTO delivery_log (sid, status) VALUES ('s1', 'read'); $many(1, 300) g; INSERT INTO delivery_log (sid, status) VALUES ('s2', 'read');"
  tell big "$many(300, 1, -1) g;"
  doing "$pub" <<<"INSERT INTO delivery_log (sid, status) VALUES ('m10', 'read')"
  comes "$name: and with three of them" 'm10 read' "$sub" "$(statuses 'm10')"
  tell gone 'ROLLBACK;'
  tell other 'COMMIT;'
  tell big 'COMMIT;'
  comes "$name: all has come" "$(query "$pub" "$arrived")" "$sub" "$arrived"
  comes "$name: what was rolled back is not folded, what was committed is" 'early sent, m1 delivered, m10 read, m11 delivered, m300 read, m7 delivered, m9 delivered, s1 queued, s2 queued, s3 sent, s4 sent' \
    "$sub" "$(statuses 'early|m1|m7|m9|m10|m11|m300|s.')"
  comes "$name: all is right" '0|0' "$sub" "$sound"
  streamed
  healthy
  close big
  close other
  close gone
  over
}

parallel() {
  echo
  echo 'Transactions in progress'
  scene progress_on
  in_progress on
  if [ "$nn" -lt 16 ]; then
    note "parallel workers are not in $nn"
  else
    scene progress_parallel
    in_progress parallel
    # The leader writes the changes down, and a parallel worker reads them when the transaction ends.
    scene progress_serialized
    run "$at_sub dbname=postgres" -c "ALTER DATABASE $name SET $streaming_setting = immediate"
    in_progress parallel serialized

    # Messages are replicated too, and the parallel worker has changed one that the leader has a callback for.
    scene message_in_progress
    doing "$pub" <<<"$untracked CREATE PUBLICATION p FOR TABLE delivery_log, messages"
    doing "$sub" <<<"$by_row"
    subscribe 'copy_data = false, streaming = parallel'
    stream
    doing "$sub" <<<"ALTER SUBSCRIPTION $name DISABLE"
    comes "$name: the slot is free" f "$pub" "SELECT active FROM pg_replication_slots WHERE slot_name = '$name'"
    doing "$sub" <<<"ALTER SUBSCRIPTION $name ENABLE"
    doing "$pub" <<<"INSERT INTO messages (sid) VALUES ('X1'), ('X2')"
    comes "$name: the messages have come" 'X1 queued, X2 queued' "$sub" "$(statuses '.*')"
    open big "$pub"
    tell big "BEGIN; UPDATE messages SET body = repeat('x', 2000) WHERE sid = 'X1';
      INSERT INTO delivery_log (sid, status, payload) SELECT 'none' || g, 'sent', jsonb_build_object('p', repeat('x', 300)) FROM generate_series(1, 300) g;"
    comes "$name: the message is held" t "$sub" \
      "SELECT count(*) = 0 FROM (SELECT FROM messages WHERE sid = 'X1' FOR UPDATE SKIP LOCKED) m"
    doing "$pub" <<<"INSERT INTO delivery_log (sid, status) VALUES ('X1', 'delivered'), ('X2', 'sent')"
    comes "$name: it goes on" 'X1 queued, X2 sent' "$sub" "$(statuses 'X.*')"
    tell big 'COMMIT;'
    close big
    doing "$pub" <<<"INSERT INTO delivery_log (sid, status) VALUES ('X2', 'queued')"
    comes "$name: what had to be left is folded" 'X1 delivered, X2 sent' "$sub" "$(statuses 'X.*')"
    comes "$name: all is right" '0|0' "$sub" "$sound"
    healthy
    over

    # Twelve callers in a load, with transactions of 1 to 100 callbacks in any order, the larger ones streamed.
    scene progress_load
    log_replicated 'copy_data = false, streaming = parallel' ''
    doing "$sub" <<<"INSERT INTO messages (sid) SELECT 'm' || g FROM generate_series(1, 100) g"
    cat >"$scratch/load" <<'SQL'
\set n random_exponential(1, 100, 5)
\set a random(1, 100)
\set b random(1, 100)
BEGIN;
INSERT INTO delivery_log (sid, status, payload) SELECT 'm' || 1 + (:a + g * 37) % 100, (ARRAY['sent', 'delivered', 'read', 'failed', 'queued'])[1 + (:b + g) % 5], jsonb_build_object('p', repeat('x', 1500)) FROM generate_series(1, :n) g;
SAVEPOINT s;
INSERT INTO delivery_log (sid, status) VALUES ('m' || :b, 'read');
ROLLBACK TO s;
INSERT INTO delivery_log (sid, status) VALUES ('m' || :b, 'sent');
COMMIT;
SQL
    result "$name: the publisher took the load" '' "$(pgbench -n -c 12 -j 2 -t 15 -f "$scratch/load" "$pub" 2>&1 >/dev/null | grep -v '^pgbench (' || true)"
    comes "$name: all has come" "$(query "$pub" "$arrived")" "$sub" "$arrived"
    comes "$name: all is right" '0|0' "$sub" "$sound"
    streamed
    healthy
    over
  fi

  # Who owns the subscription has no rights of his own: tables are written with those of their owners, and folded so.
  if [ "$nn" -lt 16 ]; then
    note "on $nn only superusers own subscriptions"
  else
    scene owners
    stream
    doing "$sub" <<<"
      CREATE ROLE app; CREATE ROLE log_owner; CREATE ROLE subscriber LOGIN; GRANT app, log_owner TO subscriber WITH INHERIT FALSE, SET TRUE;
      GRANT CREATE ON DATABASE $name TO subscriber; ALTER TABLE messages OWNER TO app; ALTER TABLE delivery_log OWNER TO log_owner; GRANT SELECT ON delivery_log TO app;
      CREATE FUNCTION who() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.body := current_user; RETURN NEW; END';
      CREATE TRIGGER who BEFORE UPDATE ON messages FOR EACH ROW EXECUTE FUNCTION who(); ALTER TABLE messages ENABLE ALWAYS TRIGGER who"
    log_replicated "two_phase = true, copy_data = false, streaming = parallel, password_required = false" 'a b c d'
    doing "$sub" <<<"ALTER SUBSCRIPTION $name OWNER TO subscriber"
    doing "$pub" <<<"
      INSERT INTO delivery_log (sid, status) VALUES ('a', 'sent');
      BEGIN; $(filler a) INSERT INTO delivery_log (sid, status) VALUES ('b', 'sent'), ('early', 'sent'); COMMIT;
      BEGIN; INSERT INTO delivery_log (sid, status) VALUES ('c', 'sent'); PREPARE TRANSACTION '$name 1'; COMMIT PREPARED '$name 1';
      BEGIN; $(filler b) INSERT INTO delivery_log (sid, status) VALUES ('d', 'sent'); PREPARE TRANSACTION '$name 2'; COMMIT PREPARED '$name 2'"
    comes "$name: callbacks are folded with the rights of the messages' owner" 'a sent app, b sent app, c sent app, d sent app' "$sub" \
      "SELECT string_agg(sid || ' ' || status || ' ' || coalesce(body, 'nobody'), ', ' ORDER BY sid) FROM messages"
    comes "$name: all is right" '0|0' "$sub" "$sound"
    healthy
    over
  fi

  # Two publishers of one log: whatever the order of their callbacks, their workers take the messages in that of the keys.
  scene two_publishers
  doing "$sub" <<<"$by_row INSERT INTO messages (sid) SELECT 'm' || g FROM generate_series(1, 400) g"
  run "$at_pub dbname=postgres" -c "CREATE DATABASE second TEMPLATE base"
  local second="$at_pub dbname=second"
  doing "$pub" <<<"$untracked CREATE PUBLICATION p FOR TABLE delivery_log"
  doing "$second" <<<"$untracked ALTER TABLE delivery_log ALTER delivery_id RESTART 1000000; CREATE PUBLICATION p FOR TABLE delivery_log"
  subscribe 'copy_data = false'
  doing "$sub" <<<"CREATE SUBSCRIPTION ${name}_second CONNECTION '$second' PUBLICATION p WITH (copy_data = false)"
  local statement="INSERT INTO delivery_log (sid, status, event_at) SELECT 'm' || g, 'sent', timestamptz '2024-01-01Z' - n * interval '1 second' FROM generate_series"
  # They begin together.
  doing "$sub" <<<"ALTER SUBSCRIPTION $name DISABLE; ALTER SUBSCRIPTION ${name}_second DISABLE"
  doing "$pub" <<<"DO \$\$ BEGIN FOR n IN 1 .. 20 LOOP $statement(1, 400) g; COMMIT; END LOOP; END \$\$"
  doing "$second" <<<"DO \$\$ BEGIN FOR n IN 1 .. 20 LOOP $statement(400, 1, -1) g; COMMIT; END LOOP; END \$\$"
  comes "$name: both have stopped" 2 "$pub" "SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE '$name%' AND NOT active"
  doing "$sub" <<<"ALTER SUBSCRIPTION $name ENABLE; ALTER SUBSCRIPTION ${name}_second ENABLE"
  comes "$name: all has come" 16000 "$sub" "$arrived"
  comes "$name: all is right" '0|0' "$sub" "$sound"
  healthy
  over
  drop_database "$at_pub" second
}
