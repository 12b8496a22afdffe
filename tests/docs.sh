#!/usr/bin/env bash
# usage: tests/docs.sh [--write] [DOCUMENT...]
# The documentation: runs every SQL example of these documents (README.md, doc/msgstatus.md, doc/webhooks.md), each document in a fresh
# database and each block in a session of its own, in order, and compares what psql prints with the text block that
# follows.
#   ```sql         must run without an error
#   ```sql error   must fail
#   ```text        right behind one of these: its output, blanks at the ends of lines aside
#   <!-- run FILE.sql -->   a line of its own, not seen by readers: runs that file at this point; what it prints has to be
#                  what FILE.out says
# --write puts the real output into the documents and the .out files. libpq's variables say which server.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

write=
if [ "${1:-}" = --write ]; then write=1; shift; fi
[ $# -gt 0 ] || set -- README.md doc/msgstatus.md doc/webhooks.md
database=msgstatus_docs_$$
rendered=$(mktemp)
# A role outlives its database; this is the only one that the documents make.
clean() { psql -qX -c "DROP DATABASE IF EXISTS $database WITH (FORCE)" -c 'DROP ROLE IF EXISTS webhook' 2>/dev/null; }
trap 'clean; rm -f "$rendered"' EXIT
failed=0 examples=0

# Runs the block, whose output is in $output afterwards.
run() { # run DOCUMENT LINE KIND
  local rc=0
  examples=$((examples + 1))
  output=$(psql -qX -v ON_ERROR_STOP=1 -v SHOW_CONTEXT=never -d "$database" <<<"$block" 2>&1) || rc=$?
  if [ "$3" = sql ] && [ "$rc" != 0 ]; then
    printf '%s:%s: the example fails:\n%s\n%s\n' "$1" "$2" "$block" "$output"
    failed=1
  elif [ "$3" != sql ] && [ "$rc" != 3 ]; then   # 3: psql ran it and the server refused it
    printf '%s:%s: the example should raise an error and does not:\n%s\n%s\n' "$1" "$2" "$block" "$output"
    failed=1
  fi
}

# Runs a file that the document names, and compares what it prints with what its .out file says.
run_file() { # run_file DOCUMENT LINE FILE
  local rc=0 expected=${3%.sql}.out
  examples=$((examples + 1))
  output=$(psql -qX -v ON_ERROR_STOP=1 -v SHOW_CONTEXT=never -d "$database" -f "$3" 2>&1) || rc=$?
  [ "$rc" != 0 ] || output=$(sed -E 's/^psql:[^:]*:[0-9]+: //' <<<"$output")
  if [ "$rc" != 0 ]; then
    printf '%s:%s: %s fails:\n%s\n' "$1" "$2" "$3" "$(tail -n 20 <<<"$output")"
    failed=1
  elif [ -n "$write" ]; then
    if [ -n "$output" ]; then sed 's/[[:blank:]]*$//' <<<"$output" >"$expected"; else rm -f "$expected"; fi
  elif [ -n "$output" ] || [ -f "$expected" ]; then
    diff -u -Z --label "$expected" --label "what $3 prints" "$expected" - <<<"$output" || failed=1
  fi
}

# Prints the document with the real output of its examples to $rendered.
render() { # render DOCUMENT
  local lines line number=0 state=prose began=0 kind='' output='' comparable='' block=''
  mapfile -t lines <"$1"
  : >"$rendered"
  for line in "${lines[@]}"; do
    number=$((number + 1))
    # What the document says itself below a replaced output is left out.
    if [ "$state" = replaced ]; then
      [ "$line" = '```' ] || continue
      state=prose
    elif [ "$state" = sql ]; then
      if [ "$line" = '```' ]; then
        run "$1" "$began" "$kind"
        state=prose comparable=1
      else
        block+=$line$'\n'
      fi
    elif [ "$state" = copied ]; then
      [ "$line" != '```' ] || state=prose
    else
      case $line in
        '```sql' | '```sql error') kind=${line#'```'} began=$number block='' state=sql ;;
        '```text')
          if [ -n "$comparable" ]; then
            printf '%s\n%s\n' "$line" "$output" >>"$rendered"
            state=replaced comparable=''
            continue
          fi
          state=copied
          ;;
        '```'*) state=copied comparable='' ;;
        '<!-- run '*' -->')
          line=${line#'<!-- run '}
          run_file "$1" "$number" "${line%' -->'}"
          line="<!-- run $line"
          ;;
        '') ;;
        *) comparable='' ;;
      esac
    fi
    printf '%s\n' "$line" >>"$rendered"
  done
  [ "$state" = prose ] || { echo "$1: a block has no end"; failed=1; }
}

for document; do
  clean
  psql -qX -c "CREATE DATABASE $database" -c "ALTER DATABASE $database SET timezone = 'UTC'"
  before=$examples
  render "$document"
  [ "$examples" != "$before" ] || { echo "$document: there is no example in it"; failed=1; }
  if [ -n "$write" ]; then
    sed 's/[[:blank:]]*$//' "$rendered" >"$document"
  else
    diff -u -Z --label "$document" --label "$document with the real output" "$document" "$rendered" || failed=1
  fi
done
echo "$examples examples run"
exit "$failed"
