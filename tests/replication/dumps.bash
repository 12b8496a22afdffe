# shellcheck shell=bash disable=SC2154  # what tests/replication.sh sets
# A dump without one of the tracked tables. Sourced by tests/replication.sh.

tracked="SELECT messages, log, policy, on_regression, level, poll, columns FROM msgstatus.tracked ORDER BY messages::text"
restored() { # restored HOW LEFT_OUT...: a dump without these tables
  local how=$1 without=() table out rc=0 copy="$at_sub dbname=dump_copy" text
  shift
  text="${*:-nothing} left out, $how"
  for table; do
    if [[ $how = *filter* ]]; then echo "exclude table $table" >>"$scratch/filter"; else without+=(-T "$table"); fi
  done
  [[ $how != *filter* ]] || without=(--filter "$scratch/filter")
  [[ $how != *inserts* ]] || without+=(--inserts)
  run "$at_sub dbname=postgres" -c 'DROP DATABASE IF EXISTS dump_copy WITH (FORCE)' -c 'CREATE DATABASE dump_copy'
  if [[ $how = psql* ]]; then pg_dump -d "$source" "${without[@]}" -f "$scratch/dump"; else pg_dump -d "$source" -Fc "${without[@]}" -f "$scratch/dump"; fi
  log_began=$(stat -c %s "$dir/sub.log")
  case $how in
    'psql -1'*) out=$(run "$copy" -1 -f "$scratch/dump" 2>&1 >/dev/null) || rc=$? ;;
    psql*) out=$(run "$copy" -f "$scratch/dump" 2>&1 >/dev/null) || rc=$? ;;
    *) out=$(pg_restore -d "$copy" ${how#pg_restore} "$scratch/dump" 2>&1 >/dev/null) || rc=$? ;;
  esac
  rm -f "$scratch/filter"
  if [ $# = 0 ]; then
    result "$text: restored" '' "$out"
  else
    result "$text: no error" '' "$([ "$rc" = 0 ] || echo "exit $rc"; grep -iE 'error|fatal' <<<"$out" | head -n 3 || true)"
    # pg_restore shows no warnings, unless with -v: there the server's log has it.
    [[ $how = psql* ]] || out=$(tail -c +$((log_began + 1)) "$dir/sub.log")
    result "$text: a warning says which" yes "$(grep -qE "WARNING.*$(IFS='|'; echo "($*)")" <<<"$out" && echo yes || { echo no; grep -m 3 -E 'WARNING|ERROR' <<<"$out" || true; })"
  fi
  result "$text: all others are tracked" "$(query "$source" "$tracked" | grep -vE "(^|\|)$(IFS='|'; echo "(${*:-none})")\|" || true)" "$(query "$copy" "$tracked")"
  is "$text: their callbacks are folded" 'read|read|sent|read|read|read|sent' "$copy" "
    SET client_min_messages = error; DO \$\$ BEGIN
      INSERT INTO app.delivery_log (sid, status) VALUES ('a', 'read'); INSERT INTO \"My \"\"Schema\"\"\".\"Log \"\"x\"\"\" (sid, status) VALUES ('a', 'read');
      INSERT INTO app.own_log (sid, status) VALUES ('a', 'read'), ('a', 'sent'); INSERT INTO app.new_log (sid, status) VALUES ('a', 'read');
      INSERT INTO \"By Month log\" (sid, status) VALUES ('a', 'read'); INSERT INTO app.calls (id, word) VALUES (2, 'read');
      PERFORM msgstatus.create_tables('app', 'fresh', 'fresh_log'); INSERT INTO app.fresh_log (sid, status) VALUES ('a', 'sent'); INSERT INTO app.fresh (sid) VALUES ('a');
    END \$\$;
    SELECT a.status, s.status, o.status, n.status, b.status, p.status, f.status
      FROM app.messages a JOIN \"My \"\"Schema\"\"\".\"Mess'ages\" s USING (sid) JOIN app.own o USING (sid) JOIN app.\"new \"\"name\"\"\" n USING (sid)
      JOIN \"By Month\" b USING (sid) JOIN app.fresh f USING (sid), app.more_people p WHERE p.id = 2"
  is "$text: messages find what waited for them" 'early sent' "$copy" \
    "INSERT INTO app.messages (sid) VALUES ('early'); SELECT sid || ' ' || status FROM app.messages WHERE sid = 'early'"
  is "$text: verify is empty" '' "$copy" 'SELECT t.messages, v.* FROM msgstatus.tracked t, msgstatus.verify(messages => t.messages) v'
  is "$text: settle finds nothing, and nothing to warn of" 0 "$copy" 'SELECT msgstatus.settle(NULL)'
}

dumps() {
  echo
  echo 'Dumps'
  local how source="$at_pub dbname=dump_source"
  run "$at_pub dbname=postgres" -c 'CREATE DATABASE dump_source'
  doing "$source" <<'SQL'
CREATE EXTENSION msgstatus;
INSERT INTO msgstatus.policy VALUES ('read_loses', 'read', 45), ('read_loses', 'sent', 55);
CREATE SCHEMA app;
SELECT msgstatus.create_tables('app');
SELECT msgstatus.create_tables('app', 'gone', 'gone_log');
SELECT msgstatus.create_tables('public', 'By Month', 'By Month log', partition_log => true);
CREATE SCHEMA "My ""Schema""";
SELECT msgstatus.create_tables('My "Schema"', 'Mess''ages', 'Log "x"');
SELECT msgstatus.create_tables('app', 'own', 'own_log');
SELECT msgstatus.detach('app.own', 'app.own_log');
SELECT msgstatus.attach('app.own', 'app.own_log', policy => 'read_loses', on_regression => 'error', level => 'row');
-- Two on one log.
CREATE TABLE app.people (id bigint PRIMARY KEY, state msgstatus.delivery_status DEFAULT 'queued');
CREATE TABLE app.more_people (id bigint PRIMARY KEY, status msgstatus.delivery_status DEFAULT 'queued');
CREATE TABLE app.calls (id bigint, word text, created_at timestamptz DEFAULT now());
CREATE INDEX ON app.calls (id);
SELECT msgstatus.attach('app.people', 'app.calls', 'id', 'id', 'state', 'word');
SELECT msgstatus.attach('app.more_people', 'app.calls', 'id', 'id', log_status => 'word');
-- Renamed since.
SELECT msgstatus.create_tables('app', 'old_name', 'old_log');
ALTER TABLE app.old_name RENAME TO "new ""name""";
ALTER TABLE app.old_log RENAME TO new_log;
DO $$ BEGIN
  INSERT INTO app.messages (sid) VALUES ('a'); INSERT INTO app.gone (sid) VALUES ('a'); INSERT INTO "By Month" (sid) VALUES ('a');
  INSERT INTO "My ""Schema"""."Mess'ages" (sid) VALUES ('a'); INSERT INTO app.own (sid) VALUES ('a'); INSERT INTO app."new ""name""" (sid) VALUES ('a');
  INSERT INTO app.people (id) VALUES (1); INSERT INTO app.more_people (id) VALUES (2);
  INSERT INTO app.delivery_log (sid, status) VALUES ('a', 'sent'), ('early', 'sent'); INSERT INTO app.gone_log (sid, status) VALUES ('a', 'sent');
  INSERT INTO app.own_log (sid, status) VALUES ('a', 'sent'); INSERT INTO app.calls (id, word) VALUES (1, 'sent'), (2, 'sent');
END $$;
SQL
  restored psql
  restored 'pg_restore -1'
  for how in psql 'psql -1' 'psql with inserts' 'pg_restore -e' 'pg_restore -1' 'pg_restore -e -j 2'; do restored "$how" 'app.gone'; done
  restored psql app.gone_log
  restored 'pg_restore -1' app.gone app.gone_log
  restored 'pg_restore -e' app.people
  if [ "$nn" -ge 17 ]; then restored 'psql, by filter' app.gone; else note "pg_dump --filter is not in $nn"; fi
  drop_database "$at_sub" dump_copy
  drop_database "$at_pub" dump_source
}
