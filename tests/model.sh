#!/usr/bin/env bash
# usage: tests/model.sh [ARGUMENT...], with libpq's variables (PGHOST, PGPORT, PGUSER) set; the user has to be a superuser
# Random schemas and random work on them, compared with a second writing of the rule (tests/model), for MODEL_SECONDS
# (60). MODEL_SEED says where to begin; without it each run begins elsewhere. Arguments go to the tester, such as
# --only plans. It works in a database of its own, which it drops.
set -euo pipefail

clone=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
if [ -n "${MSGSTATUS_PGBIN:-}" ]; then PATH=$MSGSTATUS_PGBIN:$PATH; fi
database=msgstatus_model_$$   # two of these can run at once
unset PGOPTIONS

# Always in a place of its own, never in that of an extension's build that called us.
export CARGO_TARGET_DIR=${MSGSTATUS_TARGET:-$clone/target}/model
mkdir -p "$CARGO_TARGET_DIR"
log=$CARGO_TARGET_DIR/build.log
cargo build --locked --manifest-path "$clone/tests/model/Cargo.toml" >"$log" 2>&1 || { tail -n 60 "$log" >&2; exit 1; }

drop_database() { PGOPTIONS="-c client_min_messages=warning" psql -Xq -d postgres -c "DROP DATABASE IF EXISTS $database WITH (FORCE)"; }
# A prepared transaction that a tester which was killed left behind would keep the database.
roll_back_prepared() {
  local gid
  for gid in $(psql -XqAt -d postgres -c "SELECT gid FROM pg_prepared_xacts WHERE database = '$database'"); do
    psql -Xq -d "$database" -c "ROLLBACK PREPARED '$gid'"
  done
}
trap 'roll_back_prepared; drop_database' EXIT
psql -Xq -d postgres -c "CREATE DATABASE $database"

url="host=${PGHOST:-localhost} port=${PGPORT:-5432} user=${PGUSER:-$(id -un)} dbname=$database"
"$CARGO_TARGET_DIR/debug/msgstatus-model" --url "$url" --seconds "${MODEL_SECONDS:-60}" \
  ${MODEL_SEED:+--seed "$MODEL_SEED"} "$@"
