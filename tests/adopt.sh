#!/usr/bin/env bash
# Tables are adopted while their application writes them: runs the steps of doc/adopting/large-tables.md, as they stand
# there, with two writers at work, and checks that none of them failed, that nothing was rewritten or looked through under
# an ACCESS EXCLUSIVE lock, and that every message is right in the end; and that the three statements of a maintenance
# window take the locks that the page says, on a copy. libpq's variables say which server.
#   ADOPT_MESSAGES=5000000   as many messages (50,000), with three times as many log rows
#   ADOPT_REPORT=1           prints how long each step took and the longest that a write took meanwhile
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

page=doc/adopting/large-tables.md
export ADOPT_MESSAGES=${ADOPT_MESSAGES:-50000}
database=msgstatus_adopt_$$
export PGDATABASE=postgres PGOPTIONS='-c client_min_messages=warning'
scratch=$(mktemp -d)
writers=
finish() {
  [ -z "$writers" ] || kill "$writers" 2>/dev/null || true
  rm -rf "$scratch"
  PGDATABASE=postgres psql -qX -c "DROP DATABASE IF EXISTS $database WITH (FORCE)" \
    -c "DROP DATABASE IF EXISTS ${database}_copy WITH (FORCE)"
}
trap finish EXIT
fail() { printf 'not ok: %s\n' "$*"; exit 1; }
sql() { psql -qXAt -v ON_ERROR_STOP=1 "$@"; }
now() { echo "${EPOCHREALTIME/./}"; }   # microseconds
seconds() { awk -v us="$1" 'BEGIN { printf "%.3f s", us / 1000000 }'; }

# Writes the SQL blocks of a section of the page to $scratch/step.N.sql.
blocks() { # blocks HEADING
  awk -v heading="## $1" -v stem="$scratch/step." '
    /^## / { inside = $0 == heading }
    inside && /^```sql$/ { file = stem sprintf("%02d", ++n) ".sql"; next }
    /^```$/ && file { close(file); file = ""; next }
    file { print > file }' "$page"
}

sql -c "CREATE DATABASE $database"
export PGDATABASE=$database
sql -f tests/adopt/before.sql
PGDATABASE=postgres sql -c "CREATE DATABASE ${database}_copy TEMPLATE $database"
sql -c 'CREATE EXTENSION msgstatus'

# --- the writers: the application as it was, until the table over is there -----------------------------------
sql <<'SQL'
CREATE FUNCTION check_running() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF to_regclass('over') IS NOT NULL THEN
        RAISE EXCEPTION 'the writers may go home';
    END IF;
END
$$;
SQL
(cd "$scratch" && exec pgbench -n -c 2 -j 2 -T 3600 -D messages="$ADOPT_MESSAGES" -l \
  -f "$OLDPWD/tests/adopt/callback.sql@2" -f "$OLDPWD/tests/adopt/message.sql@1") >"$scratch/pgbench" 2>&1 &
writers=$!
written() { sql -c "SELECT count(*) FROM message_event WHERE id > $events"; }
events=$(sql -c 'SELECT max(id) FROM message_event')
deadline=$((SECONDS + 60))
until [ "$(written)" -ge 100 ]; do
  [ "$SECONDS" -lt "$deadline" ] && kill -0 "$writers" || { cat "$scratch/pgbench"; fail 'the writers do not write'; }
done

# --- the steps ----------------------------------------------------------------------------------------------
blocks 'While they are in use'
[ -f "$scratch/step.07.sql" ] || fail "$page has fewer steps than it had"
file=$(sql -c "SELECT pg_relation_filenode('messages')")
for step in "$scratch"/step.*.sql; do
  began=$(now)
  # The steps say themselves what is to be repeated when their time-out strikes.
  for try in {1..40}; do
    if PGOPTIONS='-c client_min_messages=debug1' sql -f "$step" >>"$scratch/steps" 2>"$scratch/said"; then break; fi
    grep -q 'lock timeout' "$scratch/said" && [ "$try" -lt 40 ] || { cat "$step" "$scratch/said"; fail "a step of $page"; }
  done
  cat "$scratch/said" >>"$scratch/steps"
  echo "$began $(now) $(grep -m 1 -v '^SET\|^BEGIN' "$step")" >>"$scratch/times"
done
count=$(written)
sql -c 'CREATE TABLE over ()'
wait "$writers" || true
writers=

# --- what must hold -----------------------------------------------------------------------------------------
if grep 'aborted in command' "$scratch/pgbench" | grep -v 'the writers may go home'; then fail 'a writer failed'; fi
[ "$(grep -c 'the writers may go home' "$scratch/pgbench")" = 2 ] || { cat "$scratch/pgbench"; fail 'writers are missing'; }
grep -q '^number of failed transactions: 0 ' "$scratch/pgbench" || { cat "$scratch/pgbench"; fail 'a writer was ended'; }
[ "$count" -ge 100 ] || fail "only $count callbacks came while the table was adopted"
[ "$(sql -c "SELECT pg_relation_filenode('messages')")" = "$file" ] || fail 'the table was rewritten'
grep -q 'sufficient to prove that it does not contain nulls' "$scratch/steps" || fail 'SET NOT NULL looked through the table'
if grep 'verifying table "messages"' "$scratch/steps" | sed 1d | grep .; then fail 'a constraint was verified twice'; fi
[ "$(sql -c 'SELECT count(*) FROM msgstatus.verify()')" = 0 ] || fail 'messages differ from their log'
[ "$(sql -c 'SELECT count(*) FROM messages WHERE status IS NULL')" = 0 ] || fail 'messages have no status'
wrong=$(sql -c "SELECT count(*) FROM (
  SELECT m.status, msgstatus.fold(msgstatus.parse_status(e.event), e.created_at) AS folded
    FROM messages m JOIN message_event e USING (twilio_sid) GROUP BY m.id) AS x
 WHERE msgstatus.rank(status) < msgstatus.rank(folded)")
[ "$wrong" = 0 ] || fail "$wrong messages are behind their callbacks"

# --- a maintenance window -----------------------------------------------------------------------------------
window=()
export PGDATABASE=${database}_copy
sql -c 'CREATE EXTENSION msgstatus'
# The locks that a statement holds at its end, of those that keep anybody from writing, or show that it wrote.
locks="SELECT string_agg(relation::regclass || ' ' || mode, ', ' ORDER BY relation::regclass::text, mode)
  FROM pg_locks WHERE pid = pg_backend_pid() AND relation IN ('messages'::regclass, 'message_event'::regclass)
   AND mode NOT IN ('AccessShareLock', 'RowShareLock')"
takes() { # takes LOCKS STATEMENT
  local began held
  began=$(now)
  held=$(sql -c 'BEGIN' -c "$2" -c "$locks" -c 'COMMIT' | tail -n 1)
  window+=("$(seconds $(($(now) - began)))  $(tr -s "[:space:]" " " <<<"$2")")
  [ "$held" = "$1" ] || fail "$2 holds: $held"
}
takes 'messages AccessExclusiveLock, messages ShareLock' "SELECT msgstatus.convert_status('messages', 'status')"
takes 'message_event ShareRowExclusiveLock, messages ShareRowExclusiveLock' "SELECT msgstatus.attach('messages', 'message_event',
  message_key => 'twilio_sid', log_key => 'twilio_sid', log_status => 'event')"
takes 'messages RowExclusiveLock' 'SELECT msgstatus.rebuild()'
takes '' 'SELECT count(*) FROM msgstatus.verify()'
[ "$(sql -c 'SELECT count(*) FROM msgstatus.verify()')" = 0 ] || fail 'messages differ from their log after rebuild'

# --- the report ---------------------------------------------------------------------------------------------
[ -n "${ADOPT_REPORT:-}" ] || exit 0
printf '\n%s messages, %s log rows, %s callbacks while they were adopted\n' "$ADOPT_MESSAGES" "$events" "$count"
while read -r began ended what; do
  # A transaction's line: client, number, microseconds, script, when it ended.
  longest=$(cat "$scratch"/pgbench_log.* | awk -v a="$began" -v b="$ended" '
    { end = $5 * 1000000 + $6; if (end >= a && end - $3 <= b && $3 > most) most = $3 } END { print most + 0 }')
  printf '%12s  longest write %10s  %s\n' "$(seconds $((ended - began)))" "$(seconds "$longest")" "$what"
done <"$scratch/times"
printf '\nIn a maintenance window\n'
printf '%s\n' "${window[@]}"
