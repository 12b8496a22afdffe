# shellcheck shell=bash disable=SC2154  # what tests/replication.sh sets
# Time-outs, generated columns, replica identities. Sourced by tests/replication.sh.

settings() {
  echo
  echo 'Settings'
  scene timeouts
  doing "$pub" <<<"BEGIN; INSERT INTO messages (sid) VALUES ('a'); PREPARE TRANSACTION '$name'"
  local callback="INSERT INTO delivery_log (sid, status) VALUES ('a', 'sent');"
  answer "$name: behind a prepared message, lock_timeout ends a callback's commit, and statement_timeout does not" 'ERROR:  55P03' \
    "SET statement_timeout = '50ms'; SET lock_timeout = '200ms'; $callback"
  if [ "$nn" -ge 17 ]; then
    answer "$name: transaction_timeout does" 'FATAL:  25P04' "SET transaction_timeout = '200ms'; $callback"
  else
    note "transaction_timeout is not in $nn"
  fi
  doing "$pub" <<<"ROLLBACK PREPARED '$name'"
  is "$name: neither left anything behind" 0 "$pub" "$arrived"
  doing "$pub" <<<"BEGIN; $callback PREPARE TRANSACTION '$name'"
  answer "$name: behind a prepared callback, both end an INSERT of messages" 'ERROR:  57014' \
    "SET statement_timeout = '100ms'; INSERT INTO messages (sid) VALUES ('a');"
  doing "$pub" <<<"COMMIT PREPARED '$name'; INSERT INTO messages (sid) VALUES ('a')"
  is "$name: all is right" 'a sent' "$pub" "$(statuses a)"
  over

  # The primary key is what PostgreSQL goes by, unless one says otherwise.
  scene identity
  doing "$pub" <<<"
    CREATE TABLE sms (sid text NOT NULL, status msgstatus.delivery_status DEFAULT 'queued'); CREATE UNIQUE INDEX sms_sid ON sms (sid);
    CREATE TABLE sms_log (sid text, status text); CREATE INDEX ON sms_log (sid);
    SELECT msgstatus.attach('sms', 'sms_log'); INSERT INTO sms VALUES ('a'); CREATE PUBLICATION p FOR TABLE sms, sms_log"
  answer "$name: messages that are published without a replica identity: the callback is refused" 'ERROR:  55000' "INSERT INTO sms_log VALUES ('a', 'sent');"
  local out
  out=$(query "$pub" "INSERT INTO sms_log VALUES ('a', 'sent')" | grep -E '^(ERROR|HINT)')
  result "$name: the error says what to do" yes "$([[ $out =~ 'replica identity'.*HINT:.*'REPLICA IDENTITY' ]] && echo yes || echo "$out")"
  doing "$pub" <<<"ALTER TABLE sms REPLICA IDENTITY USING INDEX sms_sid; INSERT INTO sms_log VALUES ('a', 'sent'), ('b', 'sent')"
  is "$name: with one it goes on" sent "$pub" "SELECT status FROM sms"
  over

  if [ "$nn" -lt 18 ]; then
    note "publish_generated_columns is not in $nn"
  else
    scene generated
    doing "$pub" <<<"CREATE PUBLICATION p FOR TABLE messages, delivery_log WITH (publish_generated_columns = stored)"
    doing "$sub" <<<"$by_row"
    subscribe 'copy_data = false'
    doing "$pub" <<<"INSERT INTO messages (sid) VALUES ('a'); INSERT INTO delivery_log (sid, status) VALUES ('a', 'sent')"
    comes "$name: published generated columns stop it, and the log says which" t "$sub" \
      "SELECT apply_error_count > 0 AND pg_read_file('$dir/sub.log') LIKE '%replication target relation \"public.messages\" has incompatible generated column%final%' FROM pg_stat_subscription_stats WHERE subname = '$name'"
    doing "$pub" <<<"ALTER PUBLICATION p SET (publish_generated_columns = none)"
    # What was sent already is decoded with the publication of its time.
    doing "$sub" <<<"ALTER SUBSCRIPTION $name DISABLE"
    comes "$name: it is stopped" f "$pub" "SELECT active FROM pg_replication_slots WHERE slot_name = '$name'"
    doing "$pub" <<<"SELECT pg_replication_slot_advance('$name', pg_current_wal_lsn()); UPDATE messages SET body = 'x'; INSERT INTO messages (sid) VALUES ('b'); INSERT INTO delivery_log (sid, status) VALUES ('b', 'sent')"
    doing "$sub" <<<"ALTER SUBSCRIPTION $name ENABLE"
    comes "$name: without them it goes on" 'b sent' "$sub" "$(statuses b)"
    over
  fi
}

# What one session says to statements, errors by their SQLSTATE.
answer() { # answer TEXT EXPECTED STATEMENTS
  result "$1" "$2" "$(psql -XqAt -v VERBOSITY=sqlstate -d "$pub" 2>&1 <<<"$3" | head -n 1)"
}
