# shellcheck shell=bash disable=SC2154  # what tests/replication.sh sets
# Publications FOR ALL TABLES; pg_createsubscriber (17 on). Sourced by tests/replication.sh.

# Rows of the extension's own tables; which table is meant stands in front.
own_rows="SELECT 'policy', p::text FROM msgstatus.policy p UNION ALL SELECT 'poll_schedule', p::text FROM msgstatus.poll_schedule p
    UNION ALL SELECT 'error_code', e::text FROM msgstatus.error_code e UNION ALL SELECT 'waiting_callback', w::text FROM msgstatus.waiting_callback w
    UNION ALL SELECT 'poll_run', r::text FROM msgstatus.poll_run r UNION ALL SELECT 'tracked', t::text FROM msgstatus.tracked t ORDER BY 1, 2"
# A user's rows in all of these tables, other ones on each side. (What waits is added behind attach, which would place it.)
of_the_users() { # of_the_users WHOSE
  cat <<SQL
INSERT INTO msgstatus.policy VALUES ('common', 'canceled', $((${#1} + 80))), ('$1', 'canceled', 95);
INSERT INTO msgstatus.poll_schedule VALUES ('common', 'sent', '0', '${#1} hours'), ('$1', 'sent', '0', '1 hour');
UPDATE msgstatus.error_code SET advice = '$1' WHERE code = '30003' AND provider = 'twilio';
INSERT INTO msgstatus.error_code (code, title) VALUES ('4711', '$1'), ('$1', 'own');
DELETE FROM msgstatus.error_code WHERE code = CASE '$1' WHEN 'publisher' THEN '30004' ELSE '30005' END;
INSERT INTO msgstatus.poll_run (started_at, trigger, message) VALUES (now(), 'check', '$1');
SQL
}
waits() { echo "INSERT INTO msgstatus.waiting_callback (messages, sid, provider, status) VALUES ('public.messages', 'nobody $1', 'twilio', 'sent');"; }
more_of_the_users() {
  cat <<'SQL'
INSERT INTO msgstatus.policy VALUES ('later', 'canceled', 95);
UPDATE msgstatus.policy SET rank = 96 WHERE policy IN ('common', 'later');
INSERT INTO msgstatus.poll_schedule VALUES ('later', 'sent', '0', '1 hour');
UPDATE msgstatus.poll_schedule SET "interval" = '5 hours' WHERE schedule = 'common';
DELETE FROM msgstatus.poll_schedule WHERE schedule = 'later';
UPDATE msgstatus.error_code SET advice = 'later' WHERE code IN ('30003', '30006', '4711');
INSERT INTO msgstatus.error_code (code, title) VALUES ('later', 'own');
DELETE FROM msgstatus.error_code WHERE code = '30006';
INSERT INTO msgstatus.waiting_callback (messages, sid, provider, status) VALUES ('public.messages', 'nobody later', 'twilio', 'sent');
DELETE FROM msgstatus.waiting_callback WHERE sid = 'nobody publisher';
INSERT INTO msgstatus.poll_run (started_at, trigger, message) VALUES (now(), 'check', 'later');
UPDATE msgstatus.poll_run SET finished_at = now();
DELETE FROM msgstatus.poll_run WHERE message = 'publisher';
SQL
}
checked() { echo "SELECT string_agg(sid || ' ' || status || ' ' || check_count, ', ' ORDER BY sid) FROM $1"; }
in_step() { # in_step TEXT: a message, an answer and callbacks before and after it go from the publisher to the subscriber
  local n=$((${steps:=0} + 1))
  steps=$n
  doing "$pub" <<<"
    INSERT INTO delivery_log (sid, status, source) VALUES ('step $n', 'sent', 'callback');
    INSERT INTO messages (sid) VALUES ('step $n');
    INSERT INTO delivery_log (sid, status, source) VALUES ('step $n', 'delivered', 'poll'), ('nobody', 'sent', 'callback');
    BEGIN; INSERT INTO delivery_log (sid, status, source) VALUES ('step $n', 'sent', 'poll'); INSERT INTO delivery_log (sid, status) VALUES ('step $n', 'sent'); COMMIT"
  comes "$name: $1" "step $n delivered 2" "$sub" "$(checked messages) WHERE sid = 'step $n'"
}

# What holds of a copy with all tables in its publication, whoever made it.
lives_with_all_tables() {
  local before
  comes "$name: the first message is there" 'old delivered 1' "$sub" "$(checked messages)"
  before=$(query "$sub" "$own_rows")
  in_step 'callbacks go on'
  doing "$pub" <<<"$(more_of_the_users)"
  in_step 'they do after policies, schedules, codes and rounds of the publisher'
  doing "$pub" <<<"SELECT msgstatus.create_tables('public', 'theirs', 'theirs_log')"
  in_step 'after an attach on the publisher'
  doing "$pub" <<<"SELECT msgstatus.detach('theirs', 'theirs_log'); DROP TABLE theirs, theirs_log"
  in_step 'after a detach there'
  result "$name: the subscriber's own rows of all of these are as they were" '' "$(diff <(echo "$before") <(query "$sub" "$own_rows") | head -n 6)"
  doing "$pub" <<<"SELECT msgstatus.create_tables('public', 'extra', 'extra_log')"
  doing "$sub" <<<"SELECT msgstatus.create_tables('public', 'extra', 'extra_log')"
  in_step 'after an attach on both sides'
  doing "$sub" <<<"SELECT format('ALTER SUBSCRIPTION %I REFRESH PUBLICATION WITH (copy_data = false)', subname) FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database()) \gexec"
  doing "$pub" <<<"INSERT INTO extra (sid) VALUES ('x'); INSERT INTO extra_log (sid, status, source) VALUES ('x', 'sent', 'poll')"
  comes "$name: and there, too" 'x sent 1' "$sub" "$(checked extra)"
  # attach would place what waits in the log.
  doing "$sub" <<<"DELETE FROM msgstatus.waiting_callback; SELECT msgstatus.detach('messages', 'delivery_log'); SELECT msgstatus.attach('messages', 'delivery_log')"
  doing "$pub" <<<"DELETE FROM msgstatus.waiting_callback; SELECT msgstatus.detach('extra', 'extra_log'); SELECT msgstatus.detach('messages', 'delivery_log'); SELECT msgstatus.attach('messages', 'delivery_log', level => 'row')"
  in_step 'attached anew on both sides'
  is "$name: the subscriber's pairs are its own" 'extra extra_log, messages delivery_log' "$sub" \
    "SELECT string_agg(messages::regclass || ' ' || log::regclass, ', ' ORDER BY messages::regclass::text) FROM msgstatus.tracked"
  is "$name: every message is the publisher's" "$(query "$pub" 'SELECT m FROM messages m ORDER BY sid')" "$sub" 'SELECT m FROM messages m ORDER BY sid'
  is "$name: all is right" '0|0' "$sub" "$sound"
}

alltables() {
  echo
  echo 'All tables'
  local level copy before old="INSERT INTO messages (sid) VALUES ('old'); INSERT INTO delivery_log (sid, status, source) VALUES ('old', 'delivered', 'poll'), ('waits', 'sent', 'callback');"
  for copy in 'true statement' 'true row' 'false row'; do
    level=${copy#* } copy=${copy% *}
    scene all_${level}_$([ "$copy" = true ] && echo copied || echo uncopied)
    doing "$pub" <<<"$(of_the_users publisher)
      SELECT msgstatus.detach('messages', 'delivery_log'); SELECT msgstatus.attach('messages', 'delivery_log', policy => 'common', level => '$level');
      $(waits publisher) $([ "$copy" = false ] || echo "$old") CREATE PUBLICATION p FOR ALL TABLES"
    doing "$sub" <<<"$(of_the_users subscriber)
      SELECT msgstatus.detach('messages', 'delivery_log'); SELECT msgstatus.attach('messages', 'delivery_log', policy => 'common', level => '$level', poll => 'subscriber');
      $(waits subscriber)"
    before=$(query "$sub" "$own_rows")
    subscribe "copy_data = $copy"
    [ "$copy" = true ] || doing "$pub" <<<"$old"
    comes "$name: copied, or nothing to copy" 0 "$sub" "SELECT count(*) FROM pg_subscription_rel WHERE srsubstate <> 'r'"
    result "$name: the subscriber's own rows are left alone" '' "$(diff <(echo "$before") <(query "$sub" "$own_rows") | head -n 6)"
    lives_with_all_tables
    healthy
    over
  done

  # The subscriber is a publisher in turn, of all that it has.
  scene cascade
  local third="$at_pub dbname=third"
  run "$at_pub dbname=postgres" -c 'CREATE DATABASE third TEMPLATE base'
  doing "$pub" <<<"$untracked CREATE PUBLICATION p FOR TABLE delivery_log"
  doing "$sub" <<<"$by_row INSERT INTO messages (sid) VALUES ('M1'), ('M2'), ('M3'); CREATE PUBLICATION p FOR ALL TABLES"
  doing "$third" <<<"$by_row CREATE SUBSCRIPTION third CONNECTION '$sub' PUBLICATION p WITH (two_phase = true)"
  comes "$name: the third has a copy" '0 e' "$third" \
    "SELECT count(*) FILTER (WHERE srsubstate <> 'r') || ' ' || min(subtwophasestate) FROM pg_subscription_rel JOIN pg_subscription s ON s.oid = srsubid WHERE subname = 'third'"
  subscribe "$two_phase"
  doing "$pub" <<<"
    INSERT INTO delivery_log (sid, status, source) VALUES ('M1', 'sent', 'poll');
    BEGIN; INSERT INTO delivery_log (sid, status) VALUES ('M2', 'delivered'), ('M4', 'sent'); PREPARE TRANSACTION '$name'"
  prepared 1
  doing "$pub" <<<"INSERT INTO delivery_log (sid, status, source) VALUES ('M2', 'sent', 'poll'), ('M3', 'sent', 'callback')"
  comes "$name: it goes on" 'M1 sent 1, M2 sent 1, M3 sent 0' "$third" "$(checked messages)"
  doing "$pub" <<<"COMMIT PREPARED '$name'"
  comes "$name: COMMIT PREPARED folds them" 'M1 sent 1, M2 delivered 1, M3 sent 0' "$sub" "$(checked messages)"
  comes "$name: so it is at the third" 'M1 sent 1, M2 delivered 1, M3 sent 0' "$third" "$(checked messages)"
  doing "$sub" <<<"INSERT INTO messages (sid) VALUES ('M4')"
  comes "$name: a message of the subscriber's own" 'M4 sent' "$third" "$(statuses M4)"
  comes "$name: all is right" '0|0' "$sub" "$sound"
  comes "$name: at the third, too" '0|0' "$third" "$sound"
  is "$name: which had no error" 0 "$third" "SELECT coalesce(sum(apply_error_count + sync_error_count), 0) FROM pg_stat_subscription_stats WHERE subname = 'third'"
  healthy
  unsubscribe
  doing "$third" <<<"ALTER SUBSCRIPTION third DISABLE; DROP SUBSCRIPTION third"
  doing "$third" <<<"SELECT format('ROLLBACK PREPARED %L', gid) FROM pg_prepared_xacts WHERE database = current_database() \gexec"
  over
  drop_database "$at_pub" third

  if [ "$nn" -lt 17 ]; then
    note "pg_createsubscriber is not in $nn"
    return 0
  fi
  local at_standby="host=$dir port=5433 user=postgres" flags=() out rc=0
  for level in statement row; do
    run "$at_pub dbname=postgres" -c "CREATE DATABASE create_$level TEMPLATE base"
    doing "$at_pub dbname=create_$level" <<<"$(of_the_users publisher)
      SELECT msgstatus.detach('messages', 'delivery_log'); SELECT msgstatus.attach('messages', 'delivery_log', policy => 'common', level => '$level');
      $(waits publisher) $old"
    flags+=(-d "create_$level")
  done
  [ "$nn" -lt 18 ] || flags+=(--enable-two-phase)
  as_server pg_basebackup -d "$at_pub" -D "$dir/standby" -R -c fast --no-sync
  config standby port=5433
  out=$(as_server pg_createsubscriber -D "$dir/standby" -P "$at_pub" -s "$dir" -p 5433 -U postgres "${flags[@]}" 2>&1) || rc=$?
  result "pg_createsubscriber ${flags[*]}" '' "$([ "$rc" = 0 ] || tail -n 5 <<<"$out")"
  if [ "$rc" != 0 ] || ! start standby; then return 0; fi
  for level in statement row; do
    name=create_$level patience_left=$patience
    pub="$at_pub dbname=$name" sub="$at_standby dbname=$name"
    lives_with_all_tables
    if [ "$nn" -ge 18 ]; then
      doing "$pub" <<<"$untracked"
      doing "$sub" <<<"$by_row"
      doing "$pub" <<<"BEGIN; INSERT INTO delivery_log (sid, status) VALUES ('X1', 'delivered'); PREPARE TRANSACTION '$name'; INSERT INTO messages (sid) VALUES ('X1')"
      comes "$name: a message that comes behind a callback that is prepared is there" 'X1 queued' "$sub" "$(statuses X1)"
      doing "$pub" <<<"COMMIT PREPARED '$name'"
      comes "$name: COMMIT PREPARED folds it" 'X1 delivered' "$sub" "$(statuses X1)"
    fi
    is "$name: no error in applying" 0 "$sub" "SELECT coalesce(sum(apply_error_count + sync_error_count), 0) FROM pg_stat_subscription_stats"
    doing "$sub" <<<"SELECT format('ALTER SUBSCRIPTION %I DISABLE', subname), format('DROP SUBSCRIPTION %I', subname)
        FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database()) \gexec"
    doing "$pub" <<<"SELECT format('ROLLBACK PREPARED %L', gid) FROM pg_prepared_xacts WHERE database = current_database() \gexec"
    drop_database "$at_pub" "$name"
  done
  as_server pg_ctl -D "$dir/standby" -m immediate -w stop >/dev/null
  as_server rm -rf "$dir/standby"
}
