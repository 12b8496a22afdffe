#!/usr/bin/env bash
# usage: tests/replication.sh [PART...]
# Logical replication of tracked tables with real subscriptions, and dumps that leave tables out:
#   twophase   transactions that are prepared, and committed or rolled back later
#   parallel   transactions that are streamed while they are in progress, applied by parallel workers (16 on)
#   alltables  publications FOR ALL TABLES; pg_createsubscriber (17 on)
#   dumps      a dump without one of the tracked tables
#   settings   time-outs, generated columns, replica identities
# On the server whose programs are in MSGSTATUS_PGBIN, else those of PG_CONFIG, in two clusters of its own, publisher
# and subscriber, which it drops. The subscriber has the library preloaded, as the manual wants of one with two_phase; with
# an empty REPLICATION_PRELOAD it has not. REPLICATION_DEADLINE is how many seconds to wait for what has to come (20),
# REPLICATION_KEEP a directory for the servers' logs. The parts are in tests/replication. Prints "N passed, N failed".
# shellcheck source=../scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../scripts/lib.sh"

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)/replication
bin=${MSGSTATUS_PGBIN:-$("${PG_CONFIG:-pg_config}" --bindir)}
no_pg_environment
export PATH=$bin:$PATH PGOPTIONS='-c client_min_messages=warning -c timezone=UTC -c statement_timeout=30s' PSQLRC=/dev/null
nn=$(postgres --version | sed 's/^[^0-9]*\([0-9]*\).*/\1/')
patience=${REPLICATION_DEADLINE:-20}
parts=" ${*:-twophase parallel alltables dumps settings} "
dir=$(as_server mktemp -d /tmp/msgstatus-replication.XXXXXX)   # its path is short enough for a socket
scratch=$(mktemp -d)
passed=0 failed=0
at_pub="host=$dir port=5431 user=postgres" at_sub="host=$dir port=5432 user=postgres"

finish() {
  local cluster
  for cluster in "$dir"/*/; do
    as_server pg_ctl -D "$cluster" -m immediate stop >/dev/null 2>&1 || true
  done
  [ -z "${REPLICATION_KEEP:-}" ] || cp "$dir"/*.log "$REPLICATION_KEEP"
  rm -rf "$dir" "$scratch"
}
trap finish EXIT
trap 'exit 130' INT TERM
trap '' PIPE   # a session that is gone is told by its answer

# --- checks -------------------------------------------------------------------------------------------------------
result() { # result TEXT EXPECTED GOT
  if [ "$2" = "$3" ]; then
    passed=$((passed + 1))
    echo "ok    $1"
  else
    failed=$((failed + 1))
    echo "FAIL  $1 (- expected, + got)"
    diff -U2 <(echo "$2") <(echo "$3") | sed '1,3d; s/^/      /' || true
  fi
}
note() { echo "      $*"; }

run() { psql -XqAt -v ON_ERROR_STOP=1 -d "$1" "${@:2}"; }   # run CONNECTION psql's arguments: stops at an error
# Statements that have to work, from standard input: one that does not is a failure, and the script goes on.
doing() { # doing CONNECTION
  local out
  if ! out=$(run "$1" 2>&1 >/dev/null); then result "a statement of the test's own, in ${1##*=}" '' "$out"; fi
}
query() { run "$1" -c "$2" 2>&1 || true; }
is() { result "$1" "$2" "$(query "$3" "$4")"; }   # is TEXT EXPECTED CONNECTION QUERY: at once

# Waits until a query prints what is expected. Where that did not come within the time, no more is spent on the same scene.
comes() { # comes TEXT EXPECTED CONNECTION QUERY
  local got end=$((${EPOCHREALTIME/[.,]/} + patience_left * 1000000))
  while got=$(query "$3" "$4"); [ "$got" != "$2" ] && [ "${EPOCHREALTIME/[.,]/}" -lt "$end" ]; do sleep 0.05; done
  [ "$got" = "$2" ] || patience_left=1
  result "$1" "$2" "$got"
}

# Sessions that stay open.
declare -A session_in session_out session_pid
open() { # open NAME CONNECTION
  local in out
  mkfifo "$scratch/$1.in" "$scratch/$1.out"
  psql -XqAt -d "$2" <"$scratch/$1.in" >"$scratch/$1.out" 2>&1 &
  session_pid[$1]=$!
  exec {in}>"$scratch/$1.in" {out}<"$scratch/$1.out"
  rm "$scratch/$1.in" "$scratch/$1.out"
  session_in[$1]=$in session_out[$1]=$out
}
tell() { # tell NAME STATEMENTS: $said is what they print
  local line
  said=''
  printf '%s\n\\echo end of it\n' "$2" >&"${session_in[$1]}" || true
  while IFS= read -rt "$patience" line <&"${session_out[$1]}" && [ "$line" != 'end of it' ]; do said+=${said:+$'\n'}$line; done
}
close() { # close NAME
  local in=${session_in[$1]} out=${session_out[$1]}
  echo '\q' >&"$in" 2>/dev/null || true
  exec {in}>&- {out}<&-
  wait "${session_pid[$1]}" || true
}

# --- clusters -----------------------------------------------------------------------------------------------------
start() { as_server pg_ctl -D "$dir/$1" -l "$dir/$1.log" -w start >/dev/null </dev/null; }
restart() { as_server pg_ctl -D "$dir/$1" -l "$dir/$1.log" -m "$2" -w restart >/dev/null </dev/null; }
config() { # config CLUSTER SETTING=VALUE...
  local setting
  for setting in "${@:2}"; do printf "%s = '%s'\n" "${setting%%=*}" "${setting#*=}"; done |
    as_server tee -a "$dir/$1/postgresql.conf" >/dev/null
}
as_server initdb -D "$dir/pub" -U postgres --no-locale -E UTF8 --no-sync -A trust >/dev/null
config pub "unix_socket_directories=$dir" listen_addresses= port=5431 fsync=off shared_buffers=64MB autovacuum=off \
  timezone=UTC log_timezone=UTC 'log_line_prefix=%m [%p] %b %q%d ' wal_level=logical max_prepared_transactions=10 \
  max_wal_senders=8 max_replication_slots=10 max_worker_processes=20 max_logical_replication_workers=12 \
  max_sync_workers_per_subscription=2 wal_retrieve_retry_interval=50ms deadlock_timeout=100ms logical_decoding_work_mem=64kB
as_server cp -a "$dir/pub" "$dir/sub"
preload=${REPLICATION_PRELOAD-msgstatus}
config sub port=5432 "shared_preload_libraries=$preload"
start pub
start sub
echo "$(postgres --version), msgstatus $(run "$at_pub dbname=template1" -c "SELECT default_version FROM pg_available_extensions WHERE name = 'msgstatus'")"
# Every scene has a copy of this one, on both sides.
for at in "$at_pub" "$at_sub"; do
  run "$at dbname=postgres" -c 'CREATE DATABASE base'
  run "$at dbname=base" -c 'CREATE EXTENSION msgstatus' -c "SELECT msgstatus.create_tables('public')" >/dev/null
done
streaming_setting=$(run "$at_pub dbname=postgres" \
  -c "SELECT name FROM pg_settings WHERE name IN ('debug_logical_replication_streaming', 'logical_replication_mode')")

# --- scenes -------------------------------------------------------------------------------------------------------
# Their databases $pub and $sub are of their own, so a subscription that stands still is no other scene's trouble.
scene() { # scene NAME
  name=$1 patience_left=$patience
  pub="$at_pub dbname=$name" sub="$at_sub dbname=$name"
  run "$at_pub dbname=postgres" -c "CREATE DATABASE $name TEMPLATE base"
  run "$at_sub dbname=postgres" -c "CREATE DATABASE $name TEMPLATE base"
  log_began=$(stat -c %s "$dir/sub.log")
}
untracked="SELECT msgstatus.detach('messages', 'delivery_log');"
by_row="$untracked SELECT msgstatus.attach('messages', 'delivery_log', level => 'row');"
subscribe() { # subscribe OPTIONS: to publication p
  doing "$sub" <<<"CREATE SUBSCRIPTION $name CONNECTION '$pub' PUBLICATION p WITH ($1)"
}
# Transactions are streamed from their first change on, or, on 15, when they have more than 64 kB: $filler has as much.
stream() {
  if [ -n "$streaming_setting" ]; then
    run "$at_pub dbname=postgres" -c "ALTER DATABASE $name SET $streaming_setting = immediate"
  fi
}
filler() { # filler WHAT: an INSERT of callbacks without a message
  echo "INSERT INTO delivery_log (sid, status, payload)
        SELECT '$1 ' || g, 'sent', jsonb_build_object('p', repeat('x', 300)) FROM generate_series(1, $([ -n "$streaming_setting" ] && echo 20 || echo 400)) g;"
}
streamed() {
  comes "$name: transactions were streamed" t "$pub" \
    "SELECT coalesce(sum(stream_txns), 0) > 0 FROM pg_stat_replication_slots WHERE slot_name = '$name'"
}
# What every message has to have, worked out without the engine's row: how many do not, and what verify lists.
sound="SELECT count(*) AS wrong, (SELECT count(*) FROM msgstatus.verify(messages => 'public.messages')) AS verify
         FROM messages m JOIN (SELECT sid, msgstatus.fold(delivery_status, least(coalesce(event_at, created_at), created_at)) AS folded
                                 FROM delivery_log GROUP BY sid) l USING (sid)
        WHERE folded IS NOT NULL AND m.status IS DISTINCT FROM folded"
statuses() { echo "SELECT string_agg(sid || ' ' || status, ', ' ORDER BY sid) FROM messages WHERE sid ~ '^($1)$'"; }
# Where there is more than messages: every row of the log has come, too.
arrived="SELECT count(*) FROM delivery_log"
apply_errors() { # what went wrong in processes of the subscriber's, less what a restart does by itself
  tail -c +$((log_began + 1)) "$dir/sub.log" |
    grep -E '\] (logical replication|background worker)?.*(ERROR|FATAL|PANIC|TRAP|deadlock detected|terminated by signal [0-9]+)' |
    grep -vE 'client backend|walsender|active for PID|could not receive data from WAL stream|terminat(ed by signal 9|ing)|shutting down|starting up' |
    sed -E 's/^.*(ERROR|FATAL|PANIC|TRAP)/\1/' | sort | uniq -c | head -n 5 || true
}
healthy() {
  is "$name: no error in applying" 0 "$sub" \
    "SELECT coalesce(sum(apply_error_count + sync_error_count), 0) FROM pg_stat_subscription_stats WHERE subname LIKE '$name%'"
  result "$name: nor in the subscriber's log" '' "$(apply_errors)"
}
unsubscribe() { # also from what stands still
  local subscription at
  for subscription in $(query "$sub" "SELECT subname FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())"); do
    doing "$sub" <<<"ALTER SUBSCRIPTION $subscription DISABLE; DROP SUBSCRIPTION $subscription"
  done
  for at in "$sub" "$pub"; do
    doing "$at" <<<"SELECT format('ROLLBACK PREPARED %L', gid) FROM pg_prepared_xacts WHERE database = current_database() \gexec"
  done
}
drop_database() { doing "$1 dbname=postgres" <<<"DROP DATABASE IF EXISTS $2 WITH (FORCE)"; } # drop_database CLUSTER NAME
over() {
  unsubscribe
  drop_database "$at_sub" "$name"
  drop_database "$at_pub" "$name"
}

# Are transactions prepared on the subscriber?
prepared() { # prepared HOW_MANY
  comes "$name: $1 prepared on the subscriber" "$1" "$sub" 'SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()'
}
no_locks() { # no_locks WHILE [CONDITION]: of messages of which the condition is true
  is "$name: no lock of ours is held while $1" 0 "$sub" \
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 19795 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
  is "$name: and no message's row" "$(query "$sub" "SELECT count(*) FROM messages ${2:-}")" "$sub" \
    "BEGIN; SELECT count(*) FROM (SELECT FROM messages ${2:-} FOR UPDATE NOWAIT) x; COMMIT"
}

for part in twophase parallel alltables dumps settings; do
  [[ $parts == *" $part "* ]] || continue
  # shellcheck source=/dev/null
  . "$here/$part.bash"
  "$part"
done
echo
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
