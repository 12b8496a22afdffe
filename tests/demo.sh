#!/usr/bin/env bash
# The demo: runs tests/demo/demo.sql in a fresh database and compares what it prints with tests/demo/demo.out. Written
# anew with: tests/demo.sh --write. libpq's variables say which server.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/data"

database=msgstatus_demo_$$
output=$(mktemp)
trap 'rm -f "$output"; psql -qXc "DROP DATABASE IF EXISTS $database WITH (FORCE)" 2>/dev/null' EXIT
psql -qXc "CREATE DATABASE $database"
psql -qX -d "$database" -f ../demo/demo.sql >"$output" 2>&1 || { cat "$output"; exit 1; }

if [ "${1:-}" = --write ]; then
  cp "$output" ../demo/demo.out
  exit
fi
diff -u ../demo/demo.out "$output"
if awk 'length > 100 { print "wider than 100 columns: " $0; wide = 1 } END { exit !wide }' "$output"; then exit 1; fi
