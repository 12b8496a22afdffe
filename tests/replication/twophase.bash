# shellcheck shell=bash disable=SC2154  # what tests/replication.sh sets
# Transactions that are prepared, and committed or rolled back later. Sourced by tests/replication.sh.

two_phase='two_phase = true, copy_data = false, streaming = off'
both_replicated() { # both_replicated OPTIONS: neither tracked by the publisher
  doing "$pub" <<<"$untracked CREATE PUBLICATION p FOR TABLE delivery_log, messages"
  doing "$sub" <<<"$by_row"
  subscribe "$1"
}
log_replicated() { # log_replicated OPTIONS MESSAGES: which the subscriber has of its own
  doing "$pub" <<<"$untracked CREATE PUBLICATION p FOR TABLE delivery_log"
  doing "$sub" <<<"$by_row INSERT INTO messages (sid) SELECT unnest(string_to_array('$2', ' '))"
  subscribe "$1"
}

twophase() {
  echo
  echo 'Two-phase commit'

  scene callback_prepared
  both_replicated "$two_phase"
  doing "$pub" <<<"BEGIN; INSERT INTO delivery_log (sid, status) VALUES ('X1', 'delivered'), ('X2', 'sent'); PREPARE TRANSACTION '$name'"
  prepared 1
  no_locks 'a callback without a message is prepared'
  doing "$pub" <<<"INSERT INTO messages (sid) VALUES ('X1'), ('N')"
  comes "$name: a message that comes next is there" 'N queued, X1 queued' "$sub" "$(statuses '.*')"
  doing "$pub" <<<"COMMIT PREPARED '$name'"
  comes "$name: COMMIT PREPARED folds it" 'N queued, X1 delivered' "$sub" "$(statuses '.*')"
  doing "$pub" <<<"INSERT INTO messages (sid) VALUES ('X2')"
  comes "$name: a message that comes later finds its callback" 'X2 sent' "$sub" "$(statuses X2)"
  comes "$name: all is right" '0|0' "$sub" "$sound"
  healthy
  over

  scene message_prepared
  both_replicated "$two_phase"
  doing "$pub" <<<"
    INSERT INTO messages (body) VALUES ('of no key yet');
    BEGIN; INSERT INTO messages (sid) VALUES ('X1'), ('X2'); UPDATE messages SET sid = 'K' WHERE sid IS NULL; PREPARE TRANSACTION '$name'"
  prepared 1
  no_locks 'messages and a key are prepared' "WHERE false"
  doing "$pub" <<<"INSERT INTO delivery_log (sid, status) VALUES ('N', 'sent'); INSERT INTO delivery_log (sid, status) VALUES ('X1', 'delivered'), ('K', 'sent')"
  comes "$name: callbacks without a message that come next are there" 3 "$sub" "$arrived"
  doing "$pub" <<<"COMMIT PREPARED '$name'"
  comes "$name: COMMIT PREPARED folds what came for it meanwhile" 'K sent, X1 delivered, X2 queued' "$sub" "$(statuses '.*')"
  doing "$pub" <<<"INSERT INTO delivery_log (sid, status) VALUES ('X2', 'sent')"
  comes "$name: and what comes later" 'K sent, X1 delivered, X2 sent' "$sub" "$(statuses '.*')"
  comes "$name: all is right" '0|0' "$sub" "$sound"
  healthy
  over

  scene same_message
  log_replicated "$two_phase" 'M1 M2 M3'
  doing "$pub" <<<"BEGIN; INSERT INTO delivery_log (sid, status, source) VALUES ('M2', 'delivered', 'poll'), ('M1', 'sent', 'callback'); PREPARE TRANSACTION '$name'"
  prepared 1
  no_locks 'callbacks of messages are prepared'
  is "$name: what is prepared is not folded" 'M1 queued, M2 queued, M3 queued' "$sub" "$(statuses '.*')"
  doing "$pub" <<<"INSERT INTO delivery_log (sid, status) VALUES ('M2', 'sent'); INSERT INTO delivery_log (sid, status) VALUES ('M1', 'read'), ('M3', 'sent')"
  comes "$name: other callbacks of the same messages are folded" 'M1 read, M2 sent, M3 sent' "$sub" "$(statuses '.*')"
  is "$name: sessions of the subscriber's own go on" 'M1 read, M2 sent, M3 sent, M4 queued' "$sub" \
    "SET lock_timeout = '2s'; INSERT INTO messages (sid) VALUES ('M4'); $(statuses '.*')"
  doing "$pub" <<<"COMMIT PREPARED '$name'"
  comes "$name: COMMIT PREPARED folds them" 'M1 read, M2 delivered, M3 sent, M4 queued' "$sub" "$(statuses '.*')"
  comes "$name: and counts an answer once" 'M1 0, M2 1, M3 0, M4 0' "$sub" "SELECT string_agg(sid || ' ' || check_count, ', ' ORDER BY sid) FROM messages"
  comes "$name: all is right" '0|0' "$sub" "$sound"
  is "$name: a session of the subscriber's own folds at once" 'M4 sent' "$sub" \
    "BEGIN; INSERT INTO delivery_log (delivery_id, sid, status) VALUES (1000, 'M4', 'sent'); $(statuses M4); COMMIT"
  healthy
  over

  scene rolled_back
  both_replicated "$two_phase"
  doing "$pub" <<<"INSERT INTO messages (sid) VALUES ('M')"
  doing "$pub" <<<"BEGIN; INSERT INTO delivery_log (sid, status) VALUES ('M', 'delivered'), ('Z', 'read'); INSERT INTO messages (sid) VALUES ('R'); PREPARE TRANSACTION '$name'"
  doing "$pub" <<<"INSERT INTO messages (sid) VALUES ('Z'); INSERT INTO delivery_log (sid, status) VALUES ('M', 'sent')"
  comes "$name: it goes on" 'M sent, Z queued' "$sub" "$(statuses '.*')"
  doing "$pub" <<<"ROLLBACK PREPARED '$name'; INSERT INTO delivery_log (sid, status) VALUES ('Z', 'sent'), ('R', 'sent'); INSERT INTO messages (sid) VALUES ('R')"
  comes "$name: what was rolled back is not folded" 'M sent, R sent, Z sent' "$sub" "$(statuses '.*')"
  comes "$name: all is right" '0|0' "$sub" "$sound"
  prepared 0
  healthy
  over

  scene savepoints_prepared
  log_replicated "$two_phase" 'M1 M2 M3 M4'
  doing "$pub" <<<"
    BEGIN; INSERT INTO delivery_log (sid, status) VALUES ('M1', 'sent');
    SAVEPOINT a; INSERT INTO delivery_log (sid, status) VALUES ('M1', 'read'), ('M2', 'read');
      SAVEPOINT b; INSERT INTO delivery_log (sid, status) VALUES ('M3', 'read'); RELEASE b; ROLLBACK TO a;
    INSERT INTO delivery_log (sid, status) VALUES ('M3', 'sent');
    SAVEPOINT c; INSERT INTO delivery_log (sid, status) VALUES ('M4', 'sent'); RELEASE c;
    PREPARE TRANSACTION '$name'; COMMIT PREPARED '$name'"
  comes "$name: savepoints that were rolled back took their callbacks with them" 'M1 sent, M2 queued, M3 sent, M4 sent' "$sub" "$(statuses '.*')"
  comes "$name: all is right" '0|0' "$sub" "$sound"
  healthy
  over

  # The publisher finds the message and holds nothing, the subscriber does not have it.
  scene row_filter
  doing "$pub" <<<"CREATE PUBLICATION p FOR TABLE messages WHERE (message_id >= 100), delivery_log; INSERT INTO messages (sid, message_id) VALUES ('F1', 1), ('F2', 2)"
  doing "$sub" <<<"$by_row"
  subscribe "$two_phase"
  doing "$pub" <<<"
    BEGIN; INSERT INTO delivery_log (sid, status) VALUES ('F1', 'delivered'); PREPARE TRANSACTION '$name 1';
    INSERT INTO messages (message_id, sid) VALUES (100, 'N1');
    BEGIN; INSERT INTO messages (message_id, sid) VALUES (101, 'N2'); PREPARE TRANSACTION '$name 2';
    INSERT INTO delivery_log (sid, status) VALUES ('F2', 'sent'), ('N1', 'sent')"
  comes "$name: it goes on" 'N1 sent' "$sub" "$(statuses '.*')"
  doing "$pub" <<<"COMMIT PREPARED '$name 1'; COMMIT PREPARED '$name 2'; INSERT INTO delivery_log (sid, status, source) VALUES ('N1', 'delivered', 'poll'), ('N2', 'read', 'poll')"
  comes "$name: messages have what the publisher's have" 'N1 delivered 1, N2 read 1' "$sub" \
    "SELECT string_agg(sid || ' ' || status || ' ' || check_count, ', ' ORDER BY sid) FROM messages"
  comes "$name: all is right" '0|0' "$sub" "$sound"
  is "$name: on the publisher, too" '0|0' "$pub" "$sound"
  is "$name: every time, bit and error is the publisher's" \
    "$(query "$pub" 'SELECT m FROM messages m WHERE message_id >= 100 ORDER BY sid')" "$sub" 'SELECT m FROM messages m ORDER BY sid'
  healthy
  over

  # A transaction that it prepared itself holds the message of a callback that comes next in the stream.
  scene message_held
  both_replicated "$two_phase"
  doing "$pub" <<<"
    INSERT INTO messages (sid) VALUES ('X1'), ('X2')"
  comes "$name: the messages have come" 'X1 queued, X2 queued' "$sub" "$(statuses '.*')"
  doing "$pub" <<<"
    BEGIN; UPDATE messages SET body = 'x' WHERE sid = 'X1'; PREPARE TRANSACTION '$name';
    INSERT INTO delivery_log (sid, status) VALUES ('X1', 'delivered'), ('X2', 'sent')"
  comes "$name: it goes on" 'X1 queued, X2 sent' "$sub" "$(statuses '.*')"
  doing "$pub" <<<"COMMIT PREPARED '$name'"
  comes "$name: COMMIT PREPARED folds what had to be left" 'X1 delivered, X2 sent' "$sub" "$(statuses '.*')"
  comes "$name: all is right" '0|0' "$sub" "$sound"
  healthy
  over

  # A constraint of the subscriber's refuses what a prepared callback makes of its message. It stops nothing else.
  scene refused
  log_replicated "$two_phase" 'A B'
  doing "$sub" <<<"ALTER TABLE messages ADD CONSTRAINT never CHECK (status <> 'failed')"
  doing "$pub" <<<"BEGIN; INSERT INTO delivery_log (sid, status) VALUES ('A', 'failed'); PREPARE TRANSACTION '$name'"
  prepared 1
  doing "$pub" <<<"COMMIT PREPARED '$name'; INSERT INTO delivery_log (sid, status) VALUES ('B', 'sent')"
  comes "$name: it goes on" 'A queued, B sent' "$sub" "$(statuses '.*')"
  is "$name: the server's log says why" t "$sub" "SELECT pg_read_file('$dir/sub.log') LIKE '%what msgstatus.prepared_key has of table public.messages cannot be folded: %never%'"
  doing "$sub" <<<"ALTER TABLE messages DROP CONSTRAINT never"
  doing "$pub" <<<"INSERT INTO delivery_log (sid, status) VALUES ('B', 'delivered')"
  comes "$name: what was refused is folded when it can be" 'A failed, B delivered' "$sub" "$(statuses '.*')"
  comes "$name: all is right" '0|0' "$sub" "$sound"
  over

  # What a trigger on messages writes into the log while the worker folds.
  scene log_written_by_trigger
  log_replicated "$two_phase" 'A B C'
  doing "$sub" <<<"
    CREATE FUNCTION fan() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN
      INSERT INTO public.delivery_log (delivery_id, sid, status) VALUES (1000 + NEW.message_id, CASE NEW.sid WHEN 'A' THEN 'B' ELSE 'C' END, 'delivered'); RETURN NULL; END \$\$;
    CREATE TRIGGER fan AFTER UPDATE ON messages FOR EACH ROW WHEN (NEW.sid = 'A') EXECUTE FUNCTION fan();
    CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON messages DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.sid = 'B') EXECUTE FUNCTION fan();
    ALTER TABLE messages ENABLE ALWAYS TRIGGER fan, ENABLE ALWAYS TRIGGER late"
  doing "$pub" <<<"INSERT INTO delivery_log (sid, status) VALUES ('A', 'sent')"
  comes "$name: is folded, too" 'A sent, B delivered, C delivered' "$sub" "$(statuses '.*')"
  comes "$name: all is right" '0|0' "$sub" "$sound"
  healthy
  over

  # What one worker prepared, another one commits, which knows nothing of it.
  local how
  for how in fast immediate; do
    scene restarted_$how
    both_replicated "$two_phase"
    doing "$pub" <<<"
      INSERT INTO messages (sid) VALUES ('M');
      BEGIN; INSERT INTO delivery_log (sid, status) VALUES ('X', 'delivered'), ('never', 'sent'); PREPARE TRANSACTION '$name 1';
      BEGIN; INSERT INTO messages (sid) VALUES ('P'); PREPARE TRANSACTION '$name 2';
      BEGIN; INSERT INTO delivery_log (sid, status) VALUES ('M', 'sent'); PREPARE TRANSACTION '$name 3'"
    prepared 3
    # Once without: then settle folds what nobody knew of, if nothing did before.
    if [ $how = fast ]; then config sub shared_preload_libraries=; else config sub shared_preload_libraries=msgstatus; fi
    restart sub $how
    no_locks 'they are prepared'
    doing "$pub" <<<"
      INSERT INTO messages (sid) VALUES ('X'); INSERT INTO delivery_log (sid, status) VALUES ('P', 'delivered'), ('M', 'queued')"
    comes "$name: it goes on" 'M queued, X queued' "$sub" "$(statuses '.*')"
    doing "$pub" <<<"COMMIT PREPARED '$name 1'; COMMIT PREPARED '$name 2'; COMMIT PREPARED '$name 3'"
    comes "$name: COMMIT PREPARED folds them" 'M sent, P delivered, X delivered' "$sub" "$(statuses '.*')"
    comes "$name: all is right" '0|0' "$sub" "$sound"
    healthy
    over

    # The same, and COMMIT PREPARED is all that the new worker ever does.
    scene restarted_${how}_and_still
    log_replicated "$two_phase" 'M'
    doing "$pub" <<<"BEGIN; INSERT INTO delivery_log (sid, status) VALUES ('M', 'sent'), ('E', 'sent'); PREPARE TRANSACTION '$name'"
    prepared 1
    restart sub $how
    doing "$pub" <<<"COMMIT PREPARED '$name'"
    comes "$name: the callbacks have come" 2 "$sub" "$arrived"
    if [ $how = fast ]; then
      is "$name: settle runs" t "$sub" 'SELECT msgstatus.settle() >= 0'
    fi
    comes "$name: COMMIT PREPARED folds them, $([ $how = fast ] && echo 'or settle where nothing loads the library' || echo preloaded)" 'M sent' "$sub" "$(statuses '.*')"
    doing "$sub" <<<"INSERT INTO messages (sid) VALUES ('E')"
    is "$name: all is right" '0|0' "$sub" "$sound"
    healthy
    over
  done
  config sub "shared_preload_libraries=$preload"
  restart sub fast

  # Workers are ended at any moment, so that another one has to go on. Of 12 messages there are 400 callbacks in 200 transactions.
  scene killed
  both_replicated "$two_phase"
  local client clients=()
  for client in 1 2 3; do
    for ((i = 1; i <= 70; i++)); do
      echo "BEGIN; INSERT INTO delivery_log (sid, status) VALUES ('m' || $client || '-' || $i % 24, (ARRAY['sent', 'delivered', 'read', 'queued'])[1 + $i % 4]), ('m2-' || $i % 20, 'sent');"
      [ $((i % 3)) != 0 ] || echo "INSERT INTO messages (sid) VALUES ('m$client-' || $i / 3);"
      echo "PREPARE TRANSACTION '$name $client $i'; INSERT INTO delivery_log (sid, status) VALUES ('m$client-' || $i % 7, 'sent');"
      echo "$([ $((i % 10)) = 0 ] && echo ROLLBACK || echo COMMIT) PREPARED '$name $client $i';"
    done >"$scratch/client.$client"
    run "$pub" -f "$scratch/client.$client" >"$scratch/client.$client.out" 2>&1 &
    clients+=($!)
  done
  for ((i = 0; i < 12; i++)); do
    query "$sub" "SELECT pg_terminate_backend(pid) FROM pg_stat_subscription WHERE subname = '$name' AND pid IS NOT NULL" >/dev/null
    sleep 0.1   # not to wait for anything: the worker is to get somewhere
  done
  wait "${clients[@]}" || true
  result "$name: the publisher went on" '' "$(cat "$scratch"/client.*.out)"
  comes "$name: all has come" "$(query "$pub" "$arrived")" "$sub" "$arrived"
  comes "$name: so have the messages" "$(query "$pub" 'SELECT count(*) FROM messages')" "$sub" 'SELECT count(*) FROM messages'
  prepared 0
  comes "$name: all is right" '0|0' "$sub" "$sound"
  result "$name: no error in the subscriber's log" '' "$(apply_errors)"
  over

  local mode modes=(on)
  if [ "$nn" -ge 16 ]; then modes+=(parallel); else note "streaming = parallel is not in $nn"; fi
  for mode in "${modes[@]}"; do
    scene streamed_$mode
    stream
    both_replicated "two_phase = true, copy_data = false, streaming = $mode"
    doing "$pub" <<<"
      INSERT INTO messages (sid) VALUES ('M');
      BEGIN; $(filler a) INSERT INTO delivery_log (sid, status) VALUES ('X', 'delivered'), ('M', 'sent');
      SAVEPOINT s; INSERT INTO delivery_log (sid, status) VALUES ('X', 'read'), ('M', 'read'); ROLLBACK TO s; PREPARE TRANSACTION '$name 1';
      BEGIN; $(filler b) INSERT INTO messages (sid) VALUES ('P'); PREPARE TRANSACTION '$name 2';
      BEGIN; $(filler c) INSERT INTO delivery_log (sid, status) VALUES ('M', 'delivered'), ('R', 'read'); PREPARE TRANSACTION '$name 3'"
    prepared 3
    no_locks 'they are prepared'
    doing "$pub" <<<"
      INSERT INTO messages (sid) VALUES ('X'); INSERT INTO delivery_log (sid, status) VALUES ('P', 'delivered');
      INSERT INTO messages (sid) VALUES ('R'); INSERT INTO delivery_log (sid, status) VALUES ('M', 'queued');
      BEGIN; $(filler d) INSERT INTO delivery_log (sid, status) VALUES ('R', 'sent'); INSERT INTO messages (sid) VALUES ('Q'); COMMIT"
    comes "$name: it goes on" 'M queued, Q queued, R sent, X queued' "$sub" "$(statuses '.*')"
    doing "$pub" <<<"COMMIT PREPARED '$name 2'; ROLLBACK PREPARED '$name 3'; COMMIT PREPARED '$name 1'"
    comes "$name: COMMIT PREPARED folds them" 'M sent, P delivered, Q queued, R sent, X delivered' "$sub" "$(statuses '.*')"
    comes "$name: all is right" '0|0' "$sub" "$sound"
    streamed
    healthy
    over

    # Nothing but this: the process that commits it may never have had to do with a log.
    scene streamed_${mode}_alone
    stream
    log_replicated "two_phase = true, copy_data = false, streaming = $mode" 'M'
    doing "$pub" <<<"BEGIN; $(filler a) INSERT INTO delivery_log (sid, status) VALUES ('M', 'delivered'); PREPARE TRANSACTION '$name'; COMMIT PREPARED '$name'"
    comes "$name: COMMIT PREPARED folds it" 'M delivered' "$sub" "$(statuses '.*')"
    comes "$name: all is right" '0|0' "$sub" "$sound"
    healthy
    over
  done
}
