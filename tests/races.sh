#!/usr/bin/env bash
# usage: tests/races.sh, with libpq's variables (PGHOST, PGPORT, PGUSER) set; the user has to be a superuser
# Many clients at once: messages against their callbacks, writers of the same messages, and loads of a million
# messages beside callbacks. Nothing may be lost, fail or deadlock, without settle() and without the worker.
# It works in a database of its own, which it drops. RACE_SECONDS is how long each of its three runs of pgbench lasts:
# else the races 10 seconds each, and the writers of the same messages 30. On a durable cluster (fsync = on) commits take longer, and so do the races for them.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)/races
seconds=${RACE_SECONDS:-10}
writers_seconds=${RACE_SECONDS:-30}
if [ -n "${MSGSTATUS_PGBIN:-}" ]; then PATH=$MSGSTATUS_PGBIN:$PATH; fi
database=msgstatus_races
unset PGOPTIONS

passed=0 failed=0
check() { # check TEXT COMMAND...: passes if the command does
  local text=$1
  shift
  if "$@"; then
    passed=$((passed + 1))
    echo "ok    $text"
  else
    failed=$((failed + 1))
    echo "FAIL  $text"
  fi
}
is() { # is VALUE WANTED
  [ "$1" = "$2" ] || { echo "      it is '$1', not '$2'"; return 1; }
}
above() { # above VALUE BOUND
  [ "$1" -gt "$2" ] || { echo "      it is $1, which is not above $2"; return 1; }
}

ask() { psql -XqAt -v ON_ERROR_STOP=1 -d "$database" -c "$@"; }
# Runs one of our files in a schema, and prints its rows with blanks between the columns.
file() { PGOPTIONS="-c search_path=$2" psql -XqAt -F ' ' -v ON_ERROR_STOP=1 -v schema="$2" -d "$database" -f "$here/$1"; }

drop_database() { PGOPTIONS="-c client_min_messages=warning" psql -Xq -d postgres -c "DROP DATABASE IF EXISTS $database WITH (FORCE)"; }
trap '' PIPE   # a session that is gone is told by its answer
scratch=$(mktemp -d)
trap 'drop_database; rm -rf "$scratch"' EXIT
drop_database
psql -Xq -d postgres -c "CREATE DATABASE $database"
ask 'CREATE EXTENSION msgstatus'

# Runs pgbench in a schema; its transactions then are $transactions, of which $failures failed and $retries were
# repeated. Fails if a client gave up, and shows why.
bench() { # bench SCHEMA FILE SECONDS CLIENTS SETTINGS [OPTION...]
  local schema=$1 script=$2 duration=$3 clients=$4 settings=$5 rc=0 out
  shift 5
  out=$(PGOPTIONS="-c search_path=$schema $settings" pgbench -n -M prepared -T "$duration" -c "$clients" -j 2 \
    -f "$here/$script" "$@" "$database" 2>"$scratch/errors") || rc=$?
  transactions=$(sed -n 's/^number of transactions actually processed: \([0-9]*\).*/\1/p' <<<"$out")
  failures=$(sed -n 's/^number of failed transactions: \([0-9]*\).*/\1/p' <<<"$out")
  retries=$(sed -n 's/^number of transactions retried: \([0-9]*\).*/\1/p' <<<"$out")
  if [ "$rc" != 0 ]; then sed 's/^/      /' "$scratch/errors" | head -n 20; fi
  return "$rc"
}

# Deadlocks that the database has seen. Backends report them when they leave.
deadlocks() {
  local i
  for ((i = 0; i < 200; i++)); do
    [ "$(ask "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
      AND backend_type = 'client backend'")" != 0 ] || break
    sleep 0.05
  done
  ask 'SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()'
}

# What verify() and unmatched() have to say of a schema's messages.
sound() { # sound SCHEMA
  check "$1: verify finds nothing" \
    is "$(ask "SELECT count(*) FROM msgstatus.verify(messages => '$1.messages')")" 0
  check "$1: no callback waits whose message is there" \
    is "$(ask "SELECT count(*) FROM msgstatus.unmatched('$1.messages') u JOIN $1.messages m ON m.sid = u.message_key")" 0
}

echo "PostgreSQL $(ask 'SHOW server_version'), fsync $(ask 'SHOW fsync'), $seconds seconds a run"

# --- messages against their callbacks -----------------------------------------------------------------------------
race() { # race SCHEMA ISOLATION_LEVEL [PGBENCH_OPTION...]; in schema sids... by webhooks, and SIDs that are not the key
  local schema=$1 level=$2 before messages callbacks early behind other kind=''
  shift 2
  case $schema in sids*) kind=_sids ;; esac
  echo
  echo "Messages against their callbacks: 8 clients, $level"
  file "tables$kind.sql" "$schema" >/dev/null
  before=$(deadlocks)
  check "$schema: no client met an error" \
    bench "$schema" "race$kind.sql" "$seconds" 8 "-c default_transaction_isolation=${level/ /\\ }" "$@"
  check "$schema: every transaction was committed" is "$failures" 0
  check "$schema: no deadlock" is "$(($(deadlocks) - before))" 0
  read -r messages callbacks early behind other < <(file count.sql "$schema")
  echo "      $transactions transactions${retries:+, $retries of them tried again}: $messages messages and $callbacks callbacks," \
    "$early of them before their message, $(ask 'SELECT last_value FROM msgstatus.unmatched_commits') commits without one"
  check "$schema: it was a race" above "$early" 100
  check "$schema: every message has the status that its callbacks tell" is "$behind" 0
  check "$schema: and their times and statuses_seen" is "$other" 0
  sound "$schema"
}
race committed 'read committed'
race repeatable 'repeatable read' --max-tries=1000

# The same by webhooks that are signed, and SIDs that are not the key.
trap '"$here/../../scripts/app-secret"; drop_database; rm -rf "$scratch"' EXIT
"$here/../../scripts/app-secret" hush
race sids_committed 'read committed'
race sids_repeatable 'repeatable read' --max-tries=1000

echo
echo "The same with plain row triggers in place of msgstatus, 3 seconds"
file tables.sql sketch >/dev/null
file sketch.sql sketch >/dev/null
bench sketch race.sql 3 8 '' || true
read -r messages callbacks early behind other < <(file count.sql sketch)
echo "      $transactions transactions, $failures failed: $messages messages, $behind of them without the status that their callbacks tell"
check "sketch: the load finds what a sketch loses" above "$behind" 0

# --- no deadlock ----------------------------------------------------------------------------------------------------
echo
echo "Statements of 1000 callbacks in random order over 3000 messages: 4 writers"
file tables.sql writers >/dev/null
ask "INSERT INTO writers.messages (sid) SELECT 'm' || i FROM generate_series(1, 3000) i; ANALYZE writers.messages"
before=$(deadlocks)
updates_before=$(ask "SELECT n_tup_upd FROM pg_stat_user_tables WHERE relid = 'writers.messages'::regclass")
check "writers: no client met an error" bench writers writers.sql "$writers_seconds" 4 ''
check "writers: every transaction was committed" is "$failures" 0
check "writers: no deadlock" is "$(($(deadlocks) - before))" 0
updates=$(($(ask "SELECT n_tup_upd FROM pg_stat_user_tables WHERE relid = 'writers.messages'::regclass") - updates_before))
echo "      $transactions statements, $updates messages written"
check "writers: most callbacks were written to their message" above "$updates" "$((transactions * 500))"
read -r messages callbacks early behind other < <(file count.sql writers)
check "writers: all callbacks are there" is "$callbacks" "$((transactions * 1000))"
check "writers: every message has the status that its callbacks tell" is "$behind" 0
check "writers: and their times and statuses_seen" is "$other" 0
sound writers

# --- long loads -----------------------------------------------------------------------------------------------------
# One session inserts messages and leaves its transaction open. Meanwhile another writes callbacks: of messages that
# are there, of some that are being loaded, and of none. A callback that waited for the load would wait until it is
# committed, which happens after the last callback: the timeouts tell.

# Sessions that are fed through pipes: what is written to $NAME_in is run, and $NAME_out gives the answers.
session() { # session NAME SCHEMA SETTINGS
  local in out
  mkfifo "$scratch/$1.in" "$scratch/$1.out"
  PGOPTIONS="-c search_path=$2 $3" psql -XqAt -v ON_ERROR_STOP=1 -d "$database" \
    <"$scratch/$1.in" >"$scratch/$1.out" 2>&1 &
  exec {in}>"$scratch/$1.in" {out}<"$scratch/$1.out"
  printf -v "$1_in" %s "$in"
  printf -v "$1_out" %s "$out"
  rm "$scratch/$1.in" "$scratch/$1.out"
}

# Has a session write something, and reads that it did. $took is how many milliseconds that was.
write_in() { # write_in NAME STATEMENT
  local in=$1_in out=$1_out said began=${EPOCHREALTIME/[.,]/}
  printf '%s;\n' "$2" "SELECT 'written'" >&"${!in}"
  read -r -t 60 -u "${!out}" said || said='no answer'
  took=$(((${EPOCHREALTIME/[.,]/} - began) / 1000))
  [ "$said" = written ] || { echo "      $2: $said"; return 1; }
}

# Writes callbacks, so many rounds at least, until the loader gives this answer. $rounds counts all of them; the
# slowest of this call took $slowest_known milliseconds with a callback whose message is there, $slowest_other with
# two transactions of callbacks of which some are not.
callbacks_until() { # callbacks_until ANSWER ROUNDS
  local line='' least=$((rounds + $2)) took at
  slowest_known=0 slowest_other=0
  until [ "$rounds" -ge "$least" ] && read -r -t 0 -u "$loader_out"; do
    rounds=$((rounds + 1))
    at="timestamptz '2024-01-01Z' + $rounds * interval '1 second'"
    write_in known "INSERT INTO delivery_log (sid, status, event_at) VALUES ('there-' || 1 + $rounds % 1000, 'delivered', $at)" ||
      return 1
    [ "$took" -le "$slowest_known" ] || slowest_known=$took
    write_in other "INSERT INTO delivery_log (sid, status, event_at) VALUES ('load-' || 1 + $rounds * 7919 % $count, 'delivered', $at);
      INSERT INTO delivery_log (sid, status, event_at) VALUES ('none-$rounds', 'sent', '2024-01-01Z'),
      ('there-' || 1 + $rounds % 1000, 'sent', '2024-01-01Z'), ('load-' || 1 + $rounds * 6997 % $count, 'sent', '2024-01-01Z')" ||
      return 1
    [ "$took" -le "$slowest_other" ] || slowest_other=$took
    sleep 0.005   # the load wants to get on
  done
  read -r -t 60 -u "$loader_out" line || line='no answer'
  is "$line" "$1"
}

load() { # load SCHEMA WHAT HOW_MANY SQL
  local schema=$1 count=$3 rounds=0 began=$SECONDS before messages callbacks early behind other
  local loader_in loader_out known_in known_out other_in other_out
  echo
  echo "$2, in one transaction"
  file tables.sql "$schema" >/dev/null
  ask "INSERT INTO $schema.messages (sid) SELECT 'there-' || i FROM generate_series(1, 1000) i"

  session loader "$schema" ''
  # What finds its message never waits for a load, not even while that commits; the rest may then, shortly.
  session known "$schema" '-c statement_timeout=50s -c lock_timeout=5s'
  session other "$schema" '-c statement_timeout=50s -c lock_timeout=50s'
  printf '%s;\n' BEGIN "$4" "SELECT 'loaded'" >&"$loader_in"
  check "$schema: loaded with max_locks_per_transaction = $(ask 'SHOW max_locks_per_transaction'), and no callback waited for it" \
    callbacks_until loaded 20
  report
  printf '%s;\n' "SELECT 'still there'" >&"$loader_in"
  check "$schema: nor for its open transaction" callbacks_until 'still there' 20
  before=$rounds
  printf '%s;\n' COMMIT "SELECT 'committed'" >&"$loader_in"
  check "$schema: committed while callbacks went on" callbacks_until committed 1
  report
  exec {loader_in}>&- {loader_out}<&- {known_in}>&- {known_out}<&- {other_in}>&- {other_out}<&-
  wait

  read -r messages callbacks early behind other < <(file count.sql "$schema")
  check "$schema: all messages are there" is "$messages" "$((count + 1000))"
  check "$schema: all callbacks of messages are there" is "$callbacks" "$((rounds * 4))"
  check "$schema: every message has the status that its callbacks tell" is "$behind" 0
  check "$schema: and their times and statuses_seen" is "$other" 0
  sound "$schema"
  check "$schema: callbacks of no message wait, and only they" \
    is "$(ask "SELECT count(*), count(*) FILTER (WHERE message_key LIKE 'none-%') FROM msgstatus.unmatched('$schema.messages')")" \
    "$rounds|$rounds"
}
report() {
  echo "      after $((SECONDS - began)) s; $((rounds - ${before:-0})) rounds of callbacks meanwhile, the slowest took" \
    "$slowest_known ms with its message there, $slowest_other ms without"
}
load million '1,000,000 messages by one statement' 1000000 \
  "INSERT INTO messages (sid) SELECT 'load-' || i FROM generate_series(1, 1000000) i"
load single '200,000 messages by one statement each' 200000 \
  "DO \$\$ BEGIN FOR i IN 1 .. 200000 LOOP INSERT INTO messages (sid) VALUES ('load-' || i); END LOOP; END \$\$"

echo
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
