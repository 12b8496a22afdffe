#!/usr/bin/env bash
# The measurements: every one of them runs, at a hundredth of its size, its sides agree on the messages, and the report
# lists it. What they measure is not looked at. libpq's variables say which server's version.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

nn=$(psql -qXAtc "SELECT current_setting('server_version_num')::integer / 10000")
report=$(SCALE=0.01 RUNS=1 bench/run --installed "$nn" 2>&1) || { echo "$report"; exit 1; }
# Each line of the comparison in bench/report.sql that has something to compare is a line of the report.
wanted=$(grep -cE "^    \('[a-z0-9_]+', " bench/report.sql)
# Twilio's signatures are made by pgcrypto, which not every build of PostgreSQL has.
[ -n "$(psql -qXAtc "SELECT 1 FROM pg_available_extensions WHERE name = 'pgcrypto'")" ] || wanted=$((wanted - 1))
printed=$(grep -cE '^ .*\|.*\|.*[0-9]\.[0-9]{2} \|.*\|.*\|' <<<"$report")
if [ "$printed" != "$wanted" ]; then
  echo "$report"
  echo "the report has $printed comparisons, not $wanted"
  exit 1
fi
