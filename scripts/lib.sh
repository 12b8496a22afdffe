# shellcheck shell=bash
# What the scripts beside this file share: where things are kept, how a step is announced, and how a script
# that root started hands the server to an unprivileged user. Sourced, never run.

set -euo pipefail
umask 022               # what root puts into the cache, the user that runs the server must be able to read
unset RUST_BACKTRACE    # it would put a backtrace into the DETAIL of errors, and so into expected output
unset MAKEFLAGS MFLAGS MAKELEVEL   # of the Makefile that called us: what is built below is not part of its job

clone=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
target=${MSGSTATUS_TARGET:-$clone/target}   # everything that is made from this clone
majors=(15 16 17 18)
# The pgrx version stands once, in Cargo.toml; cargo-pgrx must be of the very same version.
pgrx_version=$(sed -n 's/^pgrx *= *"=\([0-9.]*\)".*/\1/p' "$clone/Cargo.toml")

say() { printf '%s\n' "$*" >&2; }
die() { say "${0##*/}: $*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
am_root() { [ "$(id -u)" = 0 ]; }

# Keeps the output of a long command in a file and shows it only if the command fails.
quietly() { # quietly LOGFILE COMMAND...
  local log=$1
  shift
  mkdir -p "$(dirname "$log")"
  "$@" >"$log" 2>&1 </dev/null || { local rc=$?; tail -n "${quiet_lines:-60}" "$log" >&2; return "$rc"; }
}

check_major() {
  [[ " ${majors[*]} " == *" ${1:-} "* ]] || die "expected a PostgreSQL major version (${majors[*]}), got '${1:-}'"
}

# --- the cache: servers, cargo-pgrx, PGRX_HOME; everything in it can be deleted at any time -----------------
if [ -n "${MSGSTATUS_CACHE:-}" ]; then cache=$MSGSTATUS_CACHE
elif am_root; then cache=/var/cache/msgstatus
else cache=${XDG_CACHE_HOME:-$HOME/.cache}/msgstatus
fi
mkdir -p "$cache"
cache=$(cd "$cache" && pwd -P)

# --- the user that runs the server --------------------------------------------------------------------------
# PostgreSQL refuses to run as root, so root hands over to the user that the server's own package made, or to
# nobody where there is none; anyone else runs the server himself.
if ! am_root; then server_user=$(id -un)
elif id postgres >/dev/null 2>&1; then server_user=postgres
else server_user=nobody
fi

# Runs a command as that user, in a directory he can enter (the current one may be closed to him).
as_server() (
  cd /
  if [ "$(id -un)" = "$server_user" ]; then exec "$@"; fi
  exec setpriv --reuid="$(id -u "$server_user")" --regid="$(id -g "$server_user")" --clear-groups \
    env HOME=/nonexistent "$@"
)

as_server test -r "$cache" -a -x "$cache" ||
  die "user $server_user, who runs the server, cannot read $cache: set MSGSTATUS_CACHE to a directory he can"

# Forgets what points libpq's programs to some other server, or makes them and the server behave otherwise.
no_pg_environment() {
  unset PGHOST PGHOSTADDR PGPORT PGUSER PGDATABASE PGPASSWORD PGPASSFILE PGOPTIONS PGSERVICE PGDATA PGSSLMODE \
    PGTZ PGDATESTYLE PGCLIENTENCODING
  export LC_ALL=C.UTF-8
}

# The directory pgxs of a server: makefiles and test drivers for extensions.
pgxs_dir() { # pgxs_dir PG_CONFIG
  local mk
  mk=$("$1" --pgxs)
  printf '%s\n' "${mk%/src/makefiles/pgxs.mk}"
}

# --- packages -----------------------------------------------------------------------------------------------
# Installs what is missing where that is possible (root on Debian or Ubuntu), else says what to type. On other
# systems it does nothing: the tool that misses something will say so.
need_packages() {
  have dpkg-query && have apt-get || return 0
  local p missing=()
  for p; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing+=("$p")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  am_root || die "missing packages, install them with: apt-get install ${missing[*]}"
  say "installing ${missing[*]}"
  apt_update
  DEBIAN_FRONTEND=noninteractive quietly "$cache/log/apt-install" \
    apt-get install -y --no-install-recommends "${missing[@]}"
}

# Once per hour is enough: package lists of a fresh machine are empty, and old lists name vanished files.
apt_update() {
  [ -n "$(find "$cache/log/apt-update" -mmin -60 2>/dev/null)" ] || quietly "$cache/log/apt-update" apt-get update
}

# --- cargo-pgrx ---------------------------------------------------------------------------------------------
# Puts the pinned cargo-pgrx on PATH, building it into the cache where the machine has none of that version.
use_cargo_pgrx() {
  local root=$cache/cargo-pgrx-$pgrx_version
  have cargo || die "cargo is not on PATH: install Rust first (rustup)"
  [ "$(cargo pgrx --version 2>/dev/null)" = "cargo-pgrx $pgrx_version" ] && return 0
  (
    flock 9
    if [ ! -x "$root/bin/cargo-pgrx" ]; then
      need_packages gcc libc6-dev pkg-config libssl-dev
      say "building cargo-pgrx $pgrx_version into $root (some minutes, once)"
      quietly "$cache/log/cargo-pgrx" cargo install cargo-pgrx --version "=$pgrx_version" --locked --root "$root"
    fi
  ) 9>"$cache/cargo-pgrx.lock"
  export PATH=$root/bin:$PATH
}

# --- what tests need of others ------------------------------------------------------------------------------------
# Called where bash does not end at the first error, hence the chains.

# Prints a directory in the cache, whose name ends with a hash of FILE and VERSION. If there is none yet, or one that
# was left unfinished, it is made by COMMAND, called with the directory.
made_once() { # made_once NAME FILE VERSION COMMAND...
  local dir
  dir=$cache/clients/$1-$({ cat "$2"; echo "$3"; } | sha256sum | cut -c 1-12)
  mkdir -p "$cache/clients" || return
  (
    flock 9
    if [ ! -e "$dir/.made" ]; then
      rm -rf "$dir" && mkdir "$dir" && quietly "$cache/log/clients-$1" "${@:4}" "$dir" && touch "$dir/.made"
    fi
  ) 9>"$cache/clients/$1.lock" && echo "$dir"
}

# All that is needed stands in the file: pip looks for nothing besides, and check says if something is missing.
make_venv() { # make_venv FILE DIRECTORY
  python3 -m venv "$2" && "$2/bin/pip" install --no-deps -r "$1" && "$2/bin/pip" check
}

# Prints the path of a python that has what stands in FILE.
python_with() { # python_with NAME FILE
  local venv python='import sys; print(sys.version, sys.base_prefix)'
  python3 -c 'import ensurepip, venv' 2>/dev/null || need_packages python3 python3-venv
  venv=$(made_once "$1" "$2" "$(python3 -c "$python")" make_venv "$2") && echo "$venv/bin/python"
}

# --- building -----------------------------------------------------------------------------------------------
# What building needs: a C toolchain, libclang for pgrx's bindings, and cargo-pgrx.
use_rust() {
  if ! have cc || ! find_libclang; then need_packages build-essential clang libclang-dev; fi
  use_cargo_pgrx
}

# Sets up this shell to build for the private PostgreSQL NN, whose pg_config is $pg_config afterwards. Each major
# has its own target directory: switching between them in one would build pgrx anew every time.
use_private_server() { # use_private_server NN
  use_rust
  PGRX_HOME=$("$clone/scripts/pgrx-home" "$1")
  pg_config=$("$clone/scripts/server" --cached "$1")
  export PGRX_HOME PGRX_PG_CONFIG_PATH=$pg_config CARGO_TARGET_DIR=$target/pg$1
}

# pgrx reads PostgreSQL's headers with libclang, which bindgen looks for in these places, among others.
find_libclang() {
  [ -n "${LIBCLANG_PATH:-}" ] || ldconfig -p 2>/dev/null | grep -q 'libclang[-.][s0-9]' ||
    compgen -G '/usr/lib/llvm-*/lib/libclang[-.][s0-9]*' >/dev/null
}
