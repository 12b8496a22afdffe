#!/usr/bin/env bash
# The life of tracked tables beyond one session: dumped and restored, replicated, prepared and committed later,
# changed under another session's feet. libpq's variables say which server; a second one is started from scripts/cluster.
# Prints "N passed, N failed".
# shellcheck source=../scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../scripts/lib.sh"

export PGOPTIONS='-c client_min_messages=warning -c timezone=UTC' PSQLRC=/dev/null
bin=${MSGSTATUS_PGBIN:-$("${PG_CONFIG:-pg_config}" --bindir)}
export PATH=$bin:$PATH
nn=$(psql -XAtc "SELECT current_setting('server_version_num')::integer / 10000")
here="host=$PGHOST port=${PGPORT:-5432} user=${PGUSER:-postgres}"
# In a subshell: scripts/cluster must not see this server's variables, nor we that one's.
"$clone/scripts/cluster" start life "$nn" --fresh wal_level=logical max_prepared_transactions=10 2>/dev/null
there=$(eval "$("$clone/scripts/cluster" env life "$nn")" && echo "host=$PGHOST port=$PGPORT user=$PGUSER")
scratch=$(mktemp -d)

passed=0 failed=0
finish() {
  rm -rf "$scratch"
  "$clone/scripts/cluster" drop life "$nn" 2>/dev/null || true
  psql -Xqd "$here dbname=postgres" -c 'DROP DATABASE IF EXISTS msgstatus_life' || true
}
trap finish EXIT

run() { psql -XqAt -v ON_ERROR_STOP=1 -d "$1" "${@:2}"; } # run CONNECTION psql's arguments: prints rows, stops at an error
is() { # is WHAT EXPECTED ACTUAL
  if [ "$2" = "$3" ]; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    printf 'not ok: %s (- expected, + got)\n' "$1"
    diff -U2 <(echo "$2") <(echo "$3") | sed '1,3d; s/^/  /' || true
  fi
}
sql() { # sql WHAT EXPECTED CONNECTION STATEMENTS: what they print, or the error, is as expected
  is "$1" "$2" "$(run "$3" 2>&1 <<<"$4" | sed 's/^psql:<stdin>:[0-9]*: //')"
}
# Waits for a query to print t, for a minute at most.
until_true() { # until_true WHAT CONNECTION QUERY
  local deadline=$((SECONDS + 60))
  until [ "$(run "$2" -c "$3" 2>&1)" = t ]; do
    if [ "$SECONDS" -ge "$deadline" ]; then
      is "$1" t "$(run "$2" -c "$3" 2>&1)"
      return
    fi
    read -rt 0.1 <> <(:) || true
  done
  is "$1" t t
}
fresh() { # fresh CONNECTION NAME: an empty database, whose connection string it prints
  run "$1 dbname=postgres" -c "DROP DATABASE IF EXISTS $2" -c "CREATE DATABASE $2" >&2
  echo "$1 dbname=$2"
}

# --- dump and restore ---------------------------------------------------------------------------------------
source=$(fresh "$here" msgstatus_life)
run "$source" >/dev/null <<'SQL'
CREATE EXTENSION msgstatus;
INSERT INTO msgstatus.policy VALUES ('read_loses', 'read', 45), ('read_loses', 'sent', 55);
INSERT INTO msgstatus.poll_schedule VALUES ('hourly', 'sent', '0', '1 hour'), ('hourly', 'sent', '1 day', NULL);
UPDATE msgstatus.error_code SET advice = 'Call them.' WHERE code = '30003' AND provider = 'twilio';
INSERT INTO msgstatus.error_code (code, title) VALUES ('4711', 'A code of our own');
CREATE SCHEMA app;
SELECT msgstatus.create_tables('app');
SELECT msgstatus.create_tables('public', 'By Month', 'By Month log', partition_log => true);
-- With a policy of its own, an error on regression, and row triggers.
SELECT msgstatus.create_tables('app', 'own', 'own_log');
SELECT msgstatus.detach('app.own', 'app.own_log');
SELECT msgstatus.attach('app.own', 'app.own_log', policy => 'read_loses', on_regression => 'error', level => 'row', poll => 'hourly');
-- Other columns, and two messages tables on one log.
CREATE TABLE app.people (id bigint PRIMARY KEY, state msgstatus.delivery_status DEFAULT 'queued', sent_on timestamp, note varchar(8), call text UNIQUE);
CREATE TABLE app.more_people (id bigint PRIMARY KEY, status msgstatus.delivery_status DEFAULT 'queued');
CREATE TABLE app.calls (id bigint, word text, at timestamptz DEFAULT '2024-01-01 10:00+00', code text);
CREATE INDEX ON app.calls (id);
SELECT msgstatus.attach('app.people', 'app.calls', 'id', 'id', 'state', 'word', '{"sid": "call", "sent_at": "sent_on", "error_code": "note", "log.error_code": "code", "log.created_at": "at"}');
SELECT msgstatus.attach('app.more_people', 'app.calls', 'id', 'id', log_status => 'word', columns => '{"log.created_at": "at"}', policy => 'failure_wins');
-- Renamed since.
SELECT msgstatus.create_tables('app', 'old_name', 'old_log');
ALTER TABLE app.old_name RENAME TO "new ""name""";
ALTER TABLE app.old_log RENAME TO new_log;
CREATE SCHEMA old_schema;
SELECT msgstatus.create_tables('old_schema');
ALTER SCHEMA old_schema RENAME TO new_schema;
-- Detached again: its number in tracked is free.
SELECT msgstatus.create_tables('app', 'gone', 'gone_log');
SELECT msgstatus.detach('app.gone', 'app.gone_log');

INSERT INTO app.messages (sid, body) SELECT 's' || g, 'body ' || g FROM generate_series(1, 300) g;
INSERT INTO app.delivery_log (sid, status, event_at, error_code)
SELECT 's' || g, w, timestamptz '2024-01-01 10:00+00' + n * interval '1 minute', CASE WHEN w = 'failed' THEN '3000' || g % 10 END
  FROM generate_series(1, 320) g, unnest(ARRAY['sent', CASE g % 3 WHEN 0 THEN 'failed' WHEN 1 THEN 'delivered' ELSE 'bounced' END, 'read']) WITH ORDINALITY u(w, n)
 WHERE n < 3 OR g % 2 = 0;
INSERT INTO "By Month" (sid) VALUES ('a'), ('b');
INSERT INTO "By Month log" (sid, status, created_at) VALUES ('a', 'sent', '2024-01-01'), ('a', 'delivered', now()), ('early', 'sent', now());
INSERT INTO app.own (sid) VALUES ('a'), ('b');
INSERT INTO app.own_log (sid, status) VALUES ('a', 'read'), ('a', 'sent'), ('b', 'read');
INSERT INTO app.people (id) VALUES (1), (2);
INSERT INTO app.more_people (id) VALUES (2), (3);
INSERT INTO app.calls (id, word, code) VALUES (1, 'sent', 'longer than it'), (2, 'read', NULL), (2, 'failed', '1'), (3, 'sent', NULL);
-- As the webhook functions keep what has no message yet.
INSERT INTO msgstatus.waiting_callback (messages, sid, provider, status, payload, received_at)
VALUES ('app.people', 'CA4', 'twilio', 'delivered', '{"CallSid": "CA4"}', '2024-01-01 10:07+00'), ('app.people', 'CA5', 'twilio', 'sent', NULL, DEFAULT);
INSERT INTO app."new ""name""" (sid) VALUES ('a');
INSERT INTO app.new_log (sid, status) VALUES ('a', 'sent');
INSERT INTO new_schema.messages (sid) VALUES ('a');
INSERT INTO new_schema.delivery_log (sid, status) VALUES ('a', 'sent');
SQL

tracked="SELECT messages, log, policy, on_regression, level, poll, columns FROM msgstatus.tracked ORDER BY messages::text"
verify="SELECT t.messages, v.* FROM msgstatus.tracked t, msgstatus.verify(messages => t.messages) v"
policies="SELECT policy, status, rank FROM msgstatus.policy WHERE policy = 'read_loses'
          UNION ALL SELECT schedule, status, extract(epoch FROM min_age) FROM msgstatus.poll_schedule WHERE schedule = 'hourly' ORDER BY rank"
data='
TABLE app.messages ORDER BY sid; TABLE app.delivery_log ORDER BY delivery_id; TABLE "By Month" ORDER BY sid;
TABLE "By Month log" ORDER BY delivery_id; TABLE app.own ORDER BY sid; TABLE app.people ORDER BY id; TABLE app.more_people ORDER BY id;
TABLE app."new ""name""" ORDER BY sid; TABLE new_schema.messages ORDER BY sid;'
triggers="SELECT tgrelid::regclass, tgname, tgenabled, obj_description(t.oid, 'pg_trigger') FROM pg_trigger t JOIN pg_proc p ON p.oid = tgfoid
           WHERE pronamespace = 'msgstatus'::regnamespace AND tgparentid = 0 ORDER BY tgrelid::regclass::text, 2"

sql 'the source is right to begin with' '' "$source" "$verify"
sql 'the source has data' 'sent|50
failed|50
delivered|50
read|150' "$source" 'SELECT status, count(*) FROM app.messages GROUP BY 1 ORDER BY 1'

# Everything that the triggers do, on tables that were restored.
works() { # works HOW CONNECTION
  sql "$1: callbacks are folded, one and many" 's2|failed
s298|delivered
s299|delivered' "$2" "
    INSERT INTO app.delivery_log (sid, status) VALUES ('s2', 'failed');
    INSERT INTO app.delivery_log (sid, status) VALUES ('s298', 'queued'), ('s299', 'delivered'), ('restored', 'delivered');
    SELECT sid, CASE WHEN sid = 's2' AND status IN ('failed', 'read') THEN 'failed' ELSE status::text END FROM app.messages WHERE sid IN ('s2', 's299')
    UNION ALL SELECT 's298', 'delivered' WHERE (SELECT status FROM app.messages WHERE sid = 's298') >= 'delivered' ORDER BY 1"
  sql "$1: a callback that came before the dump finds its message" 'early|sent' "$2" \
    "INSERT INTO \"By Month\" (sid) VALUES ('early'); SELECT sid, status FROM \"By Month\" WHERE sid = 'early'"
  sql "$1: a callback that came after it does too" 'restored|delivered' "$2" \
    "INSERT INTO app.messages (sid) VALUES ('restored'); SELECT sid, status FROM app.messages WHERE sid = 'restored'"
  sql "$1: a callback that waited beside the log finds its message" '4|delivered|2024-01-01 10:07:00
CA5
1' "$2" \
    "INSERT INTO app.people (id, call) VALUES (4, 'CA4'); SELECT id, state, sent_on FROM app.people WHERE id = 4;
     SELECT sid FROM msgstatus.waiting_callback;
     INSERT INTO msgstatus.waiting_callback (messages, sid, provider, status) VALUES ('app.people', 'CA6', 'twilio', 'sent');
     DELETE FROM msgstatus.waiting_callback WHERE sid = 'CA6';
     SELECT count(*) FROM app.calls WHERE id = 4"
  sql "$1: the guard stands" 'delivered' "$2" \
    "UPDATE app.messages SET status = 'queued' WHERE sid = 'restored' RETURNING status"
  sql "$1: on_regression is kept" 'MS001' "$2" \
    "DO \$\$ BEGIN UPDATE app.own SET status = 'queued' WHERE sid = 'a'; EXCEPTION WHEN OTHERS THEN PERFORM set_config('life.state', SQLSTATE, false); END \$\$;
     SELECT current_setting('life.state')"
  sql "$1: a policy of the user's is kept" 'b|sent' "$2" \
    "INSERT INTO app.own_log (sid, status) VALUES ('b', 'sent'); SELECT sid, status FROM app.own WHERE sid = 'b'"
  sql "$1: what was edited in the catalogue of errors is kept, once" '30003|Call them.
4711|
890' "$2" \
    "SELECT code, advice FROM msgstatus.error_code WHERE edited UNION ALL SELECT 'x', NULL WHERE false ORDER BY 1;
     SELECT count(*) FROM msgstatus.error_code WHERE code <> '4711'"
  sql "$1: a renamed table is tracked" 'a|delivered' "$2" \
    "INSERT INTO app.new_log (sid, status) VALUES ('a', 'delivered'); SELECT sid, status FROM app.\"new \"\"name\"\"\""
  sql "$1: a table in a renamed schema is tracked" 'a|delivered' "$2" \
    "INSERT INTO new_schema.delivery_log (sid, status) VALUES ('a', 'delivered'); SELECT sid, status FROM new_schema.messages"
  sql "$1: two messages tables on a log" '2|read|failed' "$2" \
    "INSERT INTO app.calls (id, word) VALUES (2, 'sent'); SELECT id, p.state, m.status FROM app.people p JOIN app.more_people m USING (id)"
  sql "$1: apply_status" 'applied' "$2" \
    "SELECT msgstatus.apply_status('restored', 'read', messages => 'app.messages')"
  sql "$1: verify is empty" '' "$2" "$verify"
  sql "$1: attach gives a number that is free, detach and DROP forget" "0
$(run "$2" -c 'SELECT count(*) FROM msgstatus.tracked')" "$2" "
    DO 'BEGIN PERFORM msgstatus.create_tables(''app'', ''fresh'', ''fresh_log''); PERFORM msgstatus.detach(''app.fresh'', ''app.fresh_log'');
        PERFORM msgstatus.attach(''app.gone'', ''app.gone_log''); DROP TABLE app.gone, app.gone_log, app.fresh, app.fresh_log; END';
    SELECT count(*) FROM pg_trigger WHERE tgname ~ 'msgstatus_' AND tgrelid NOT IN (SELECT messages FROM msgstatus.tracked UNION ALL SELECT log FROM msgstatus.tracked)
       AND tgparentid = 0 AND tgrelid <> 'msgstatus.policy'::regclass;
    SELECT count(*) FROM msgstatus.tracked"
}
# A dump without the lines that differ every time, whatever order the rows of a table are stored in.
dump() { pg_dump -d "$1" | grep -v '^.\(un\)\?restrict ' | sort; }

pg_dump -d "$source" -Fp -f "$scratch/whole.sql"
pg_dump -d "$source" -Fc -f "$scratch/whole.custom"
pg_dump -d "$source" -Fd -j2 -f "$scratch/whole.directory"
pg_dump -d "$source" -Fp --clean --if-exists --inserts -f "$scratch/clean.sql"
restore() { # restore HOW CONNECTION
  case $1 in
    text) run "$2" -f "$scratch/whole.sql" ;;
    'text in one transaction') run "$2" -1 -f "$scratch/whole.sql" ;;
    'text over what is there')
      run "$2" -f "$scratch/whole.sql" &&
        # pg_dump --clean stumbles over the primary key of a partitioned table that is there.
        run "$2" -c "INSERT INTO app.messages (sid) VALUES ('later')" -c 'DROP TABLE "By Month log"' && run "$2" -f "$scratch/clean.sql" ;;
    custom) pg_restore -d "$2" -e "$scratch/whole.custom" ;;
    'directory, in parallel') pg_restore -d "$2" -e -j2 "$scratch/whole.directory" ;;
    'schema and data apart')
      pg_restore -d "$2" -e --section=pre-data "$scratch/whole.custom" && pg_restore -d "$2" -e --section=data "$scratch/whole.custom" &&
        pg_restore -d "$2" -e --section=post-data "$scratch/whole.custom" ;;
  esac
}
for how in text 'text in one transaction' 'text over what is there' custom 'directory, in parallel' 'schema and data apart'; do
  copy=$(fresh "$there" life_copy)
  is "$how: restores" '' "$(restore "$how" "$copy" 2>&1 >/dev/null)"
  is "$how: tracked" "$(run "$source" -c "$tracked")" "$(run "$copy" -c "$tracked")"
  is "$how: policies" "$(run "$source" -c "$policies")" "$(run "$copy" -c "$policies")"
  is "$how: data" "$(run "$source" -c "$data" | cksum)" "$(run "$copy" -c "$data" | cksum)"
  is "$how: triggers" "$(run "$source" -c "$triggers")" "$(run "$copy" -c "$triggers")"
  sql "$how: verify is empty at once" '' "$copy" "$verify"
  is "$how: dumped once more it is the same" '' "$(diff <(dump "$source") <(dump "$copy"))"
  works "$how" "$copy"
done

# A schema alone has the triggers but neither tracked nor policies: what needs neither works at once, and attach
# brings the rest back.
schema_only() {
  case $1 in
    text) pg_dump -d "$source" -s | run "$2" ;;
    custom) pg_dump -d "$source" -s -Fc -f "$scratch/schema.custom" && pg_restore -d "$2" -e "$scratch/schema.custom" ;;
  esac
}
for how in text custom; do
  copy=$(fresh "$there" life_copy)
  is "schema only, $how: restores" '' "$(schema_only "$how" "$copy" 2>&1 >/dev/null)"
  sql "schema only, $how: callbacks are folded" 'a|delivered' "$copy" "
    INSERT INTO app.messages (sid) VALUES ('a'); INSERT INTO app.delivery_log (sid, status) VALUES ('a', 'sent');
    INSERT INTO app.delivery_log (sid, status) VALUES ('a', 'delivered'), ('a', 'sent');
    SELECT sid, status FROM app.messages"
  sql "schema only, $how: attach brings tracked back" "$(run "$source" -c "$tracked")" "$copy" "
    INSERT INTO msgstatus.policy VALUES ('read_loses', 'read', 45), ('read_loses', 'sent', 55);
    INSERT INTO msgstatus.poll_schedule VALUES ('hourly', 'sent', '0', '1 hour'), ('hourly', 'sent', '1 day', NULL);
    DO \$\$ BEGIN
        PERFORM msgstatus.attach('app.messages', 'app.delivery_log');
        PERFORM msgstatus.attach('\"By Month\"', '\"By Month log\"');
        PERFORM msgstatus.attach('app.own', 'app.own_log', policy => 'read_loses', on_regression => 'error', level => 'row', poll => 'hourly');
        PERFORM msgstatus.attach('app.people', 'app.calls', 'id', 'id', 'state', 'word', '{\"sid\": \"call\", \"sent_at\": \"sent_on\", \"error_code\": \"note\", \"log.error_code\": \"code\", \"log.created_at\": \"at\"}');
        PERFORM msgstatus.attach('app.more_people', 'app.calls', 'id', 'id', log_status => 'word', columns => '{\"log.created_at\": \"at\"}', policy => 'failure_wins');
        PERFORM msgstatus.attach('app.\"new \"\"name\"\"\"', 'app.new_log');
        PERFORM msgstatus.attach('new_schema.messages', 'new_schema.delivery_log');
    END \$\$;
    $tracked"
  is "schema only, $how: every trigger once" "$(run "$source" -c "$triggers" | sed 's/msgstatus_fold_[0-9]*/msgstatus_fold/' | sort)" \
    "$(run "$copy" -c "$triggers" | sed 's/msgstatus_fold_[0-9]*/msgstatus_fold/' | sort)"
  sql "schema only, $how: then all of it works" 'a|read|sent|sent|sent|sent|read|failed' "$copy" "
    DO \$\$ BEGIN
        INSERT INTO app.delivery_log (sid, status) VALUES ('a', 'read');
        INSERT INTO \"By Month log\" (sid, status) VALUES ('a', 'sent'); INSERT INTO \"By Month\" (sid) VALUES ('a');
        INSERT INTO app.own (sid) VALUES ('a'); INSERT INTO app.own_log (sid, status) VALUES ('a', 'read'), ('a', 'sent');
        INSERT INTO app.\"new \"\"name\"\"\" (sid) VALUES ('a'); INSERT INTO app.new_log (sid, status) VALUES ('a', 'sent');
        INSERT INTO new_schema.messages (sid) VALUES ('a'); INSERT INTO new_schema.delivery_log (sid, status) VALUES ('a', 'sent');
        INSERT INTO app.people (id) VALUES (1); INSERT INTO app.more_people (id) VALUES (1); INSERT INTO app.calls (id, word) VALUES (1, 'read'), (1, 'failed');
    END \$\$;
    SELECT sid, m.status, b.status, o.status, n.status, s.status, p.state, q.status
      FROM app.messages m JOIN \"By Month\" b USING (sid) JOIN app.own o USING (sid) JOIN app.\"new \"\"name\"\"\" n USING (sid)
      JOIN new_schema.messages s USING (sid), app.people p JOIN app.more_people q USING (id)"
  sql "schema only, $how: verify is empty" '' "$copy" "$verify"
done

# --- logical replication ------------------------------------------------------------------------------------
# The publisher has the log, the subscriber its own messages. Both are databases of one cluster, hence the slot is
# made beforehand.
pub=$(fresh "$there" life_pub)
sub=$(fresh "$there" life_sub)
statements=$(fresh "$there" life_statements)
run "$pub" >/dev/null <<'SQL'
CREATE EXTENSION msgstatus;
SELECT msgstatus.create_tables('public');
INSERT INTO messages (sid) VALUES ('a');
INSERT INTO delivery_log (sid, status, event_at) VALUES ('a', 'sent', '2024-01-01 10:00+00'), ('b', 'delivered', '2024-01-01 10:00+00'), ('early', 'read', '2024-01-01 10:00+00');
CREATE PUBLICATION receipts FOR TABLE delivery_log;
SQL
for level in row statement; do
  to=$sub
  [ $level = row ] || to=$statements
  run "$to" >/dev/null <<SQL
CREATE EXTENSION msgstatus;
SELECT msgstatus.create_tables('public');
SELECT msgstatus.detach('messages', 'delivery_log');
SELECT msgstatus.attach('messages', 'delivery_log', level => '$level');
INSERT INTO messages (sid) VALUES ('a'), ('b'), ('c'), ('d');
SQL
  run "$pub" -c "SELECT pg_create_logical_replication_slot('life_$level', 'pgoutput')" >/dev/null
  run "$to" -c "CREATE SUBSCRIPTION life_$level CONNECTION '$pub' PUBLICATION receipts WITH (create_slot = false, slot_name = 'life_$level')"
done
until_true 'replication, row: the first copy of the log is folded' "$sub" \
  "SELECT array_agg(status::text ORDER BY sid) = '{sent,delivered,queued,queued}' FROM messages"
run "$pub" >/dev/null <<'SQL'
INSERT INTO delivery_log (sid, status, event_at) VALUES ('c', 'delivered', '2024-01-01 11:00+00');
INSERT INTO delivery_log (sid, status, event_at, error_code) VALUES ('a', 'delivered', '2024-01-01 11:00+00', NULL), ('d', 'failed', '2024-01-01 11:00+00', '30003'), ('a', 'sent', '2024-01-01 09:00+00', NULL), ('d', 'bounced', NULL, NULL);
BEGIN;
INSERT INTO delivery_log (sid, status) SELECT 'many' || g, 'delivered' FROM generate_series(1, 1000) g;
INSERT INTO delivery_log (sid, status) VALUES ('late', 'sent');
COMMIT;
SQL
until_true 'replication, row: callbacks are folded as they come' "$sub" \
  "SELECT array_agg(status || ' ' || coalesce(error_code, '-') ORDER BY sid) = '{delivered -,delivered -,delivered -,failed 30003}'
      AND min(sent_at) = '2024-01-01 09:00+00' FROM messages"
until_true 'replication, row: all of the log is there' "$sub" "SELECT count(*) = 1009 FROM delivery_log"
sql 'replication, row: callbacks that came before their message wait for it' 'early|read
late|sent
many1|delivered
many1000|delivered' "$sub" "
  INSERT INTO messages (sid) VALUES ('early'), ('late'), ('many1'), ('many1000');
  SELECT sid, status FROM messages WHERE sid > 'e' ORDER BY 1"
sql 'replication, row: the guard stands' 'delivered' "$sub" "UPDATE messages SET status = 'queued' WHERE sid = 'a' RETURNING status"
sql 'replication, row: nothing to mend' '0' "$sub" "SELECT msgstatus.settle(NULL); $verify"
run "$pub" -c "UPDATE delivery_log SET source = 'corrected' WHERE sid = 'a'; DELETE FROM delivery_log WHERE sid = 'late'; INSERT INTO delivery_log (sid, status) VALUES ('a', 'read')"
until_true 'replication, row: it goes on after an UPDATE and a DELETE in the log' "$sub" "SELECT status = 'read' FROM messages WHERE sid = 'a'"
# Statement triggers do not see what replication applies; settle does.
until_true 'replication, statement: the log has arrived' "$statements" "SELECT count(*) >= 1009 FROM delivery_log WHERE sid <> 'late'"
sql 'replication, statement: settle folds it' 'a|queued
b|queued
c|queued
d|queued
4
a|read
b|delivered
c|delivered
d|failed' "$statements" "SELECT sid, status FROM messages ORDER BY 1; SELECT msgstatus.settle(NULL); SELECT sid, status FROM messages ORDER BY 1; $verify"
for level in row statement; do
  to=$sub
  [ $level = row ] || to=$statements
  run "$to" -c "ALTER SUBSCRIPTION life_$level DISABLE" -c "ALTER SUBSCRIPTION life_$level SET (slot_name = NONE)" -c "DROP SUBSCRIPTION life_$level"
  until_true "replication, $level: the slot is free" "$pub" "SELECT NOT active FROM pg_replication_slots WHERE slot_name = 'life_$level'"
  run "$pub" -c "SELECT pg_drop_replication_slot('life_$level')" >/dev/null
done

# --- two-phase commit ---------------------------------------------------------------------------------------
# The callback is prepared, its message committed meanwhile, or the other way round: nothing is lost, and what is
# prepared outlives a crash.
prepared=$(fresh "$there" life_prepared)
run "$prepared" >/dev/null <<'SQL'
CREATE EXTENSION msgstatus;
SELECT msgstatus.create_tables('public');
SQL
for first in callback message; do
  callback="INSERT INTO delivery_log (sid, status) VALUES ('$first', 'delivered')"
  message="INSERT INTO messages (sid) VALUES ('$first')"
  if [ $first = callback ]; then one=$callback two=$message; else one=$message two=$callback; fi
  run "$prepared" -c 'BEGIN' -c "$one" -c "PREPARE TRANSACTION '$first'"
  # It may have to wait for the prepared one, so it runs beside.
  run "$prepared" -c "SET application_name = 'life_second'; SET statement_timeout = '60s'; $two" &
  second=$!
  until_true "prepared $first: the other transaction waits or is done" "$there dbname=postgres" \
    "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'life_second' AND state = 'active' AND wait_event_type IS DISTINCT FROM 'Lock')"
  run "$prepared" -c "COMMIT PREPARED '$first'"
  wait $second || true
  sql "prepared $first: the message has its status" "$first|delivered" "$prepared" "SELECT sid, status FROM messages WHERE sid = '$first'"
done
run "$prepared" -c "INSERT INTO messages (sid) VALUES ('crash')"
run "$prepared" -c 'BEGIN' -c "INSERT INTO delivery_log (sid, status) VALUES ('crash', 'sent'), ('crash early', 'sent')" -c "PREPARE TRANSACTION 'crash'"
(
  eval "$("$clone/scripts/cluster" env life "$nn")"
  as_server pg_ctl -D "$(run "$prepared" -c 'SHOW data_directory')" -m immediate -w restart -l "$MSGSTATUS_SERVER_LOG" >/dev/null
)
run "$prepared" -c "COMMIT PREPARED 'crash'"
run "$prepared" -c "INSERT INTO messages (sid) VALUES ('crash early')"
sql 'prepared, then a crash: folded all the same' 'crash|sent
crash early|sent' "$prepared" "SELECT sid, status FROM messages WHERE sid LIKE 'crash%' ORDER BY 1; $verify"

# --- encodings ----------------------------------------------------------------------------------------------
# Databases that are not UTF8: names, keys, words and errors in their letters, written and read as such.
for encoding in LATIN1 EUC_JP SQL_ASCII; do
  run "$there dbname=postgres" -c 'DROP DATABASE IF EXISTS life_encoding' \
    -c "CREATE DATABASE life_encoding ENCODING '$encoding' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
  in="$there dbname=life_encoding client_encoding=$([ $encoding = SQL_ASCII ] && echo SQL_ASCII || echo UTF8)"
  if [ $encoding = EUC_JP ]; then word=送信 name=状態; else word=délivré name=größe; fi
  is "$encoding: the extension and tables are created" '' "$(run "$in" 2>&1 <<SQL
CREATE EXTENSION msgstatus;
CREATE SCHEMA "$name";
DO 'BEGIN PERFORM msgstatus.create_tables(''$name''); PERFORM msgstatus.create_tables(''$name'', ''m $name'', ''l $name'', partition_log => true); END';
SQL
)"
  sql "$encoding: keys, words and errors" "$name|failed|$word
$name 2|sent|
$word|1
$name|failed|applied
$name 3|sent" "$in" "
    INSERT INTO \"$name\".messages (sid) VALUES ('$name'), ('$name 2');
    INSERT INTO \"$name\".delivery_log (sid, status, error_message) VALUES ('$name', 'failed', '$word');
    INSERT INTO \"$name\".delivery_log (sid, status) VALUES ('$name 2', 'sent'), ('$name 3', 'sent'), ('$name', '$word');
    SELECT sid, status, error_message FROM \"$name\".messages ORDER BY length(sid);
    SELECT word, occurrences FROM msgstatus.unrecognized('\"$name\".messages');
    SELECT '$name', word, verdict FROM msgstatus.history('$name', '\"$name\".messages') LIMIT 1;
    SELECT message_key, word FROM msgstatus.unmatched('\"$name\".messages');
    SELECT * FROM msgstatus.verify(messages => '\"$name\".messages')"
  sql "$encoding: columns" "$name|sent|t" "$in" "
    CREATE TABLE \"m $name 2\" (\"$name\" text PRIMARY KEY, s msgstatus.delivery_status DEFAULT 'queued', \"$word\" timestamptz, map jsonb);
    CREATE TABLE \"l $name 2\" (\"$name\" text, w text, created_at timestamptz DEFAULT now());
    CREATE INDEX ON \"l $name 2\" (\"$name\");
    DO 'BEGIN PERFORM msgstatus.attach(''\"m $name 2\"'', ''\"l $name 2\"'', ''$name'', ''$name'', ''s'', ''w'', ''{\"sent_at\": \"$word\", \"status_map\": \"map\"}''); END';
    INSERT INTO \"m $name 2\" (\"$name\", map) VALUES ('$name', '{\"$name\": \"$word\"}');
    INSERT INTO \"l $name 2\" VALUES ('$name', 'sent');
    SELECT \"$name\", s, map ->> '$name' = '$word' AND \"$word\" IS NOT NULL FROM \"m $name 2\""
  sql "$encoding: errors name what they are about" "ERROR:  column \"$word\" of table public.\"m $name 2\" does not exist" "$in" "
\\set VERBOSITY terse
    ALTER TABLE \"m $name 2\" RENAME \"$word\" TO other;
    INSERT INTO \"l $name 2\" VALUES ('$name', 'read')"
  is "$encoding: it can be dumped and restored" '' "$(
    pg_dump -d "$in" -f "$scratch/encoding.sql" 2>&1 &&
      run "$there dbname=postgres" -c 'DROP DATABASE life_encoding' -c "CREATE DATABASE life_encoding ENCODING '$encoding' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'" 2>&1 &&
      run "$there dbname=life_encoding" -f "$scratch/encoding.sql" 2>&1 >/dev/null)"
  sql "$encoding: and works on" "$name|delivered" "$in" "
    INSERT INTO \"$name\".delivery_log (sid, status) VALUES ('$name 3', 'delivered');
    INSERT INTO \"$name\".messages (sid) VALUES ('$name 3');
    SELECT '$name', status FROM \"$name\".messages WHERE sid = '$name 3'"
done

# --- two sessions -------------------------------------------------------------------------------------------
# A session that has used a pair notices what another one changes about it.
pair=$(fresh "$there" life_pair)
run "$pair" >/dev/null <<'SQL'
CREATE EXTENSION msgstatus;
INSERT INTO msgstatus.policy VALUES ('mine', 'sent', 50);
SELECT msgstatus.create_tables('public');
SELECT msgstatus.detach('messages', 'delivery_log');
SELECT msgstatus.attach('messages', 'delivery_log', policy => 'mine');
INSERT INTO messages (sid, status) VALUES ('a', 'sent'), ('b', 'sent'), ('c', 'sent'), ('d', 'queued'), ('e', 'queued');
SQL
coproc session { psql -XqAt -d "$pair" 2>&1; }
# shellcheck disable=SC2154  # coproc sets it
open_session=$session_PID
other() { # other WHAT EXPECTED STATEMENTS: in the session that stays open
  local line got=()
  printf '%s\n\\echo end of it\n' "$3" >&"${session[1]}"
  while IFS= read -rt 60 line <&"${session[0]}" && [ "$line" != 'end of it' ]; do got+=("$line"); done
  is "$1" "$2" "$(IFS=$'\n'; echo "${got[*]-}")"
}
other 'another session: uses the pair' 'delivered' "INSERT INTO delivery_log (sid, status) VALUES ('a', 'delivered'); SELECT status FROM messages WHERE sid = 'a';"
run "$pair" -c "UPDATE msgstatus.policy SET rank = 95" -c "INSERT INTO msgstatus.policy VALUES ('mine', 'delivered', 96)" 2>/dev/null ||
  run "$pair" -c "UPDATE msgstatus.policy SET rank = 95 WHERE policy = 'mine'"
other 'another session: a policy that changed counts from then on' 'sent' "INSERT INTO delivery_log (sid, status) VALUES ('b', 'delivered'); SELECT status FROM messages WHERE sid = 'b';"
run "$pair" -c "ALTER TABLE messages RENAME TO m" -c "ALTER TABLE delivery_log RENAME TO l"
other 'another session: renamed tables' 'sent' "INSERT INTO l (sid, status) VALUES ('d', 'sent'); SELECT status FROM m WHERE sid = 'd';"
run "$pair" -c "CREATE SCHEMA moved" -c "ALTER TABLE m SET SCHEMA moved" -c "ALTER SCHEMA moved RENAME TO home"
other 'another session: a renamed schema' 'sent' "INSERT INTO l (sid, status) VALUES ('e', 'sent'); SELECT status FROM home.m WHERE sid = 'e';"
run "$pair" -c "SELECT msgstatus.detach('home.m', 'l')" -c "SELECT msgstatus.attach('home.m', 'l', on_regression => 'error')" >/dev/null
other 'another session: attached anew, with other arguments' 'read
ERROR:  MS001' "INSERT INTO l (sid, status) VALUES ('e', 'read'); SELECT status FROM home.m WHERE sid = 'e';
\\set VERBOSITY sqlstate
UPDATE home.m SET status = 'queued' WHERE sid = 'e';"
run "$pair" -c "ALTER TABLE home.m RENAME sent_at TO sent_on"
other 'another session: a renamed column' 'ERROR:  42703' "INSERT INTO l (sid, status) VALUES ('e', 'read');"
run "$pair" -c "ALTER TABLE home.m RENAME sent_on TO sent_at"
other 'another session: the column is back' 'applied' "SELECT msgstatus.apply_status('c', 'read');"
run "$pair" -c "DROP TABLE home.m"
other 'another session: a table that was dropped' '1' "INSERT INTO l (sid, status) VALUES ('z', 'read'); SELECT count(*) FROM l WHERE sid = 'z';"
# The extension itself, dropped and created again: all OIDs are others then.
run "$pair" -c "DROP EXTENSION msgstatus CASCADE" -c "DROP TABLE l"
other 'another session: the extension is gone' '0' "SELECT count(*) FROM pg_extension WHERE extname = 'msgstatus';"
run "$pair" -c "CREATE EXTENSION msgstatus" -c "SELECT msgstatus.create_tables('public')" >/dev/null
other 'another session: the extension is back' 'delivered
delivered
9' "INSERT INTO messages (sid) VALUES ('a'); INSERT INTO delivery_log (sid, status) VALUES ('a', 'delivered'); SELECT status FROM messages;
SELECT msgstatus.parse_status('DELIVERED'); SELECT count(*) FROM unnest(enum_range('sent'::msgstatus.delivery_status, 'read')) s, unnest(ARRAY['accepted'::msgstatus.delivery_status, 'delivered']) o WHERE msgstatus.rank(s) > msgstatus.rank(o);"
echo '\q' >&"${session[1]}"
wait "$open_session" || true

echo
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
