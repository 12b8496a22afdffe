#!/usr/bin/env bash
# The demo's second half: a worker, a simulated Twilio and messages that got stuck. Runs tests/demo/stuck.sql as
# scripts/demo does, on a cluster of its own, and compares what it prints with tests/demo/stuck.out. Written anew with:
# tests/stuck.sh --write. PG_CONFIG says which server.
set -euo pipefail
clone=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$clone"
nn=$("${PG_CONFIG:?}" --version | sed 's/^PostgreSQL \([0-9]*\).*/\1/')

output=$(mktemp) scene=$(mktemp)
trap 'rm -f "$output" "$scene"; env -u PGHOST -u PGPORT scripts/cluster drop stuck "$nn" 2>/dev/null' EXIT
tests/demo/scene >"$scene"
program=$(scripts/twilio)
coproc twilio { exec "$program" --scene "$scene"; }
read -r _ _ url <&"${twilio[0]}"
env -u PGHOST -u PGPORT scripts/cluster start stuck "$nn" --fresh shared_preload_libraries=msgstatus \
  msgstatus.databases=demo msgstatus.poll_interval=1h "msgstatus.twilio_base_url=$url" \
  "msgstatus.twilio_account_sid=$(printf 'AC%032d' 1)" msgstatus.twilio_auth_token=simulated >"$output" 2>&1 ||
  { cat "$output"; exit 1; }
eval "$(scripts/cluster env stuck "$nn")"
psql -qX -c 'CREATE DATABASE demo'
psql -qX -d demo -c 'CREATE EXTENSION msgstatus'
psql -qX -v ON_ERROR_STOP=1 -d demo -f tests/demo/stuck.sql >"$output" 2>&1 || { cat "$output"; exit 1; }

if [ "${1:-}" = --write ]; then
  cp "$output" tests/demo/stuck.out
  exit
fi
diff -u tests/demo/stuck.out "$output"
if awk 'length > 100 { print "wider than 100 columns: " $0; wide = 1 } END { exit !wide }' "$output"; then exit 1; fi
