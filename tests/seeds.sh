#!/usr/bin/env bash
# The systems that msgstatus replaces, adopted: runs every page of doc/adopting, each in a database of its own, with the
# tables, the life and the assertions of tests/seeds (see tests/docs.sh for how). Where the descriptions of these systems
# are at hand, checks that every query of theirs is among what ran, word for word. libpq's variables say which server.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tests/docs.sh doc/adopting/*.md

seeds=../shared/seeds
[ -d "$seeds" ] || exit 0
# Statements without comments and with single blanks, each on a line.
statements() { sed 's/--.*//' | tr -s '[:space:]' ' ' | tr ';' '\n' | sed 's/^ *//; s/ *$//; /^$/d'; }
# What a document writes as SQL: blocks, and queries between backticks or in quotes behind psql -c.
sql_of() { # sql_of DOCUMENT
  awk '/^ *```sql/ { inside = 1; next } /^ *```/ { if (inside) print ";"; inside = 0 } inside' "$1"
  grep -o '`SELECT [^`]*`' "$1" | tr -d '`' | sed 's/$/;/' || true
  grep -E '^SELECT .*;$' "$1" || true
}
missing=0 found=0
for document in "$seeds"/*.txt; do
  number=$(basename "$document")
  number=${number%%-*}
  ran=$(cat tests/seeds/"$number"/*.sql <(awk '/^```sql/ { inside = 1; next } /^```/ { print ";"; inside = 0 } inside' doc/adopting/"$number"-*.md) |
    sed 's/\\g[a-z]*.*$/;/; s/^\\.*$/;/' | statements | sed 's/^CREATE VIEW [a-z_]* AS //')
  while read -r statement; do
    # This one is no SQL: ADD COLUMN takes one column.
    [ "$statement" != 'ALTER TABLE sms_message_audit ADD COLUMN last_status_check timestamptz, status_check_count int DEFAULT 0, final_status boolean DEFAULT false' ] || continue
    if grep -qxF -- "$statement" <<<"$ran"; then
      found=$((found + 1))
    else
      missing=$((missing + 1))
      printf '%s: not among what ran: %s\n' "$(basename "$document")" "$statement"
    fi
  done < <(sql_of "$document" | statements | sort -u)
done
echo "$found queries of the old systems ran word for word"
[ "$found" -gt 0 ] && [ "$missing" = 0 ]
