#!/usr/bin/env bash
# The demo's other scenes: raw requests through the webhook functions (tests/demo/webhook.sql), and a worker, a simulated
# Twilio and messages that got stuck (tests/demo/stuck.sql). Runs them as scripts/demo does, on a cluster of its own, and
# compares what they print with tests/demo/*.out. Written anew with: tests/scenes.sh --write. PG_CONFIG says which server.
set -euo pipefail
clone=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$clone"
nn=$("${PG_CONFIG:?}" --version | sed 's/^PostgreSQL \([0-9]*\).*/\1/')

output=$(mktemp) life=$(mktemp)
trap 'rm -f "$output" "$life"; env -u PGHOST -u PGPORT "$clone/scripts/cluster" drop scenes "$nn" 2>/dev/null' EXIT
tests/demo/scene >"$life"
program=$(scripts/twilio)
coproc twilio { exec "$program" --scene "$life"; }
read -r _ _ url <&"${twilio[0]}"
env -u PGHOST -u PGPORT scripts/cluster start scenes "$nn" --fresh shared_preload_libraries=msgstatus \
  msgstatus.databases=demo msgstatus.poll_interval=5s "msgstatus.twilio_base_url=$url" \
  "msgstatus.twilio_account_sid=$(printf 'AC%032d' 1)" msgstatus.twilio_auth_token=simulated \
  msgstatus.whatsapp_app_secret=simulated >"$output" 2>&1 ||
  { cat "$output"; exit 1; }
eval "$(scripts/cluster env scenes "$nn")"
psql -qX -c 'CREATE DATABASE demo'
# Beside tables that are tracked already, as those of the demo's first scene.
psql -qX -d demo -c 'CREATE EXTENSION msgstatus' -c "DO \$\$ BEGIN PERFORM msgstatus.create_tables('public'); END \$\$"

cd tests/data
for scene in webhook stuck; do
  psql -qX -v ON_ERROR_STOP=1 -d demo -f "../demo/$scene.sql" >"$output" 2>&1 || { cat "$output"; exit 1; }
  if [ "${1:-}" = --write ]; then
    cp "$output" "../demo/$scene.out"
    continue
  fi
  diff -u "../demo/$scene.out" "$output"
  if awk 'length > 100 { print "wider than 100 columns: " $0; wide = 1 } END { exit !wide }' "$output"; then exit 1; fi
done
