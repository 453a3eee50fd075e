#!/usr/bin/env bash
# A PostgreSQL server that lives as long as this script's standard input stays open.
#
#   scripts/throwaway.sh BINDIR [OPTION...]
#
# makes an empty cluster in a new directory under ${TMPDIR:-/tmp}, starts it, prints
# "ready DIRECTORY" on standard output and waits for the end of its input; then it stops the server
# and removes the directory. Whoever starts it holds the other end of a pipe: when that process
# ends, in whatever way, the server goes too. The superuser is "postgres"; the server listens on a
# Unix socket in DIRECTORY only. As root, the server runs as "nobody" (PostgreSQL refuses root).
#
# Options: auth=METHOD     how it asks (default: trust); the password is $THROWAWAY_PASSWORD
#          files=DIR       copies these files into the data directory, readable by the server only
#          sql-ascii       a cluster of encoding SQL_ASCII (default: UTF8)
#          NAME=VALUE      a server setting, such as listen_addresses=127.0.0.1 port=5499
set -euo pipefail

bin=$1
shift

nobody=65534
as=()
if [ "$(id -u)" = 0 ]; then
    as=(setpriv "--reuid=$nobody" "--regid=$nobody" --clear-groups env HOME=/nonexistent)
fi
run() { "${as[@]}" "$@"; }

# Is this process the server of that cluster? A server's working directory is its data directory.
serves() { [ "$(readlink "/proc/$1/cwd" 2>/dev/null)" = "$2/data" ]; }

remove() {
    local dir=$1 pid=
    if [ -r "$dir/data/postmaster.pid" ]; then
        pid=$(head -n 1 "$dir/data/postmaster.pid")
        if serves "$pid" "$dir"; then
            kill -QUIT "$pid" 2>/dev/null || true
            for _ in $(seq 100); do
                serves "$pid" "$dir" || break
                sleep 0.05
            done
            if serves "$pid" "$dir"; then kill -KILL "$pid" 2>/dev/null || true; fi
        fi
    fi
    # Backends may still be writing their last words.
    for _ in $(seq 50); do
        rm -rf "$dir" 2>/dev/null && return
        sleep 0.1
    done
    rm -rf "$dir"
}

# A socket's path may have 107 bytes, and the server's user must be able to get there.
base=${TMPDIR:-/tmp}
if [ ${#base} -gt 60 ] || ! run test -x "$base" || ! run test -r "$base"; then base=/tmp; fi
base=$(cd "$base" && pwd -P)

# What a killed predecessor left behind: its watcher (this script) is gone, its directory is not.
for old in "$base"/pgark-server.*; do
    if [ ! -f "$old/watcher" ] || [ ! -O "$old/watcher" ]; then continue; fi
    kill -0 "$(cat "$old/watcher")" 2>/dev/null || remove "$old" || true
done

dir=$(mktemp -d "$base/pgark-server.XXXXXX")
trap 'remove "$dir"' EXIT
# An interrupt is for the one who started this; we go when the input ends.
trap '' INT HUP
trap 'exit 143' TERM
echo $$ >"$dir/watcher"
if [ ${#as[@]} -gt 0 ]; then chown "$nobody:$nobody" "$dir"; fi

fail() {
    echo "throwaway.sh: $1" >&2
    if [ -r "$dir/log" ]; then tail -n 20 "$dir/log" >&2; fi
    exit 1
}

if ! run "$bin/postgres" --version >/dev/null 2>&1; then
    # Out of reach for the other user (a checkout below /root): it gets a copy.
    cp -rL "$bin/.." "$dir/postgresql"
    if [ ${#as[@]} -gt 0 ]; then chown -R "$nobody:$nobody" "$dir/postgresql"; fi
    bin=$dir/postgresql/bin
    run "$bin/postgres" --version >/dev/null || fail "$1: this server does not run"
fi

auth=trust
files=
encoding=UTF8
locale=C
if locale -a 2>/dev/null | grep -qix 'c\.utf-\?8'; then locale=C.UTF-8; fi
settings=(fsync=off full_page_writes=off synchronous_commit=off shared_buffers=64MB max_wal_size=4GB
    unix_socket_permissions=0777 listen_addresses= timezone=UTC log_timezone=UTC)
for option in "$@"; do
    case $option in
    auth=*) auth=${option#*=} ;;
    files=*) files=${option#*=} ;;
    sql-ascii) encoding=SQL_ASCII locale=C ;;
    *) settings+=("$option") ;;
    esac
done

initdb=("$bin/initdb" -D "$dir/data" -U postgres -A "$auth" -E "$encoding" "--locale=$locale" -N)
if [ -n "${THROWAWAY_PASSWORD:-}" ]; then
    (umask 077 && printf '%s\n' "$THROWAWAY_PASSWORD" >"$dir/password")
    if [ ${#as[@]} -gt 0 ]; then chown "$nobody:$nobody" "$dir/password"; fi
    initdb+=("--pwfile=$dir/password")
fi
cd "$dir"
run "${initdb[@]}" >"$dir/log" 2>&1 </dev/null || fail "initdb failed"
rm -f "$dir/password"

if [ -n "$files" ]; then
    mkdir "$dir/files"
    cp -R "$files/." "$dir/files"
    chmod -R u=rwX,go= "$dir/files"
    if [ ${#as[@]} -gt 0 ]; then chown -R "$nobody:$nobody" "$dir/files"; fi
    cp -Rp "$dir/files/." "$dir/data"
    rm -rf "$dir/files"
fi

{
    printf "unix_socket_directories = '%s'\n" "$dir"
    for setting in "${settings[@]}"; do
        printf "%s = '%s'\n" "${setting%%=*}" "${setting#*=}"
    done
} >>"$dir/data/postgresql.conf"

: >"$dir/log"
if [ ${#as[@]} -gt 0 ]; then chown "$nobody:$nobody" "$dir/log"; fi
run env -u PGDATA -u PGPORT "$bin/pg_ctl" -D "$dir/data" -l "$dir/log" -w -t 120 -s start </dev/null >/dev/null 2>&1 ||
    fail "the server did not start"

echo "ready $dir"
# The reader may be gone before the input ends; writing is over.
exec >/dev/null
while read -r _; do :; done
