#!/usr/bin/env bash
# The whole way on a sample database: create, inspect, verify, restore, and what verify says of a
# file with one wrong byte. Uses a throwaway server on a Unix socket, no port, and leaves nothing.
#
#   scripts/demo.sh          (make demo)
#   PGARK_MAJOR=16           another version of the server than 17
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
major=${PGARK_MAJOR:-17}

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\e[1m' plain=$'\e[0m'; else bold='' plain=''; fi
say() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
show() {
    printf '\n%s$ %s%s\n' "$bold" "$*" "$plain"
    "$@"
}

scripts/prepare.sh build
say "Building"
cargo build --release --locked
pgark_dir=$(cargo metadata --format-version 1 --no-deps --locked |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')/release

# A server that is installed will do; else one is fetched, without root.
bin=
if [ -z "${PGARK_MAJOR:-}" ]; then
    for candidate in "${PGARK_CACHE:-.cache}"/postgresql/1[4-8]/bin /usr/lib/postgresql/1[4-8]/bin /usr/pgsql-1[4-8]/bin; do
        # Newest first would be nicer to read; the last one that is there wins.
        if [ -x "$candidate/postgres" ] && [ -x "$candidate/pg_dump" ] && [ -x "$candidate/initdb" ] &&
            "$candidate/postgres" --version >/dev/null 2>&1; then
            bin=$(cd "$candidate" && pwd)
        fi
    done
fi
if [ -z "$bin" ]; then
    scripts/servers.sh "$major"
    bin=$(cd "${PGARK_CACHE:-.cache}/postgresql/$major/bin" && pwd)
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/pgark-demo.XXXXXX")
server=
finish() {
    # Closing its input ends the server.
    if [ -n "$server" ]; then
        exec 3>&- || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say "Starting a throwaway server: $("$bin/postgres" --version)"
mkfifo "$work/leash"
scripts/throwaway.sh "$bin" <"$work/leash" >"$work/ready" &
server=$!
exec 3>"$work/leash"
until [ -s "$work/ready" ]; do
    kill -0 "$server" 2>/dev/null || exit 1
    sleep 0.1
done
read -r _ socket <"$work/ready"
while IFS= read -r name; do unset "$name"; done < <(compgen -e | grep '^PG' | grep -v '^PGARK_' || true)
export PGHOST=$socket PGPORT=5432 PGUSER=postgres
export PATH=$pgark_dir:$bin:$PATH

say "Loading the sample: accounts, templates in three languages, 123 images"
createdb --template=template0 shop
createdb --template=template0 shop_new
python3 "$root/fixtures/sample/sql.py" | psql -X -q -v ON_ERROR_STOP=1 -d shop

cd "$work"
show pgark create shop -o shop.pgark
show pgark inspect shop.pgark
show pgark verify shop.pgark
show pgark restore shop.pgark --to shop_new

say "Are both databases the same?"
count='SELECT (SELECT count(*) FROM "user") AS users, (SELECT count(*) FROM template) AS templates,
    (SELECT count(*) FROM image) AS images, (SELECT count(*) FROM image WHERE length(file) > 0) AS "not empty",
    (SELECT md5(string_agg(md5(file), $$$$ ORDER BY id)) FROM image) AS "md5 of all images"'
for database in shop shop_new; do
    echo "$database:"
    psql -X -q -d "$database" -c "$count"
    # The dump of each, but for the random key that newer versions write. Rows were loaded in
    # parallel, and a table has no order: the lines are sorted.
    pg_dump "$database" | grep -v '^\\\(un\)\?restrict ' | LC_ALL=C sort >"$database.sql"
done
if ! cmp shop.sql shop_new.sql; then
    echo "demo: the two databases differ" >&2
    exit 1
fi
echo "pg_dump of both: the same $(wc -l <shop.sql) lines"

say "One byte in a copy of the archive is changed"
python3 - <<'PYTHON'
import random, shutil
shutil.copyfile("shop.pgark", "damaged.pgark")
with open("damaged.pgark", "r+b") as file:
    size = file.seek(0, 2)
    place = size // 3
    file.seek(place)
    byte = file.read(1)[0]
    file.seek(place)
    file.write(bytes([byte ^ 1]))
print(f"byte {place:,} of {size:,}: {byte:#04x} is now {byte ^ 1:#04x}")
PYTHON
status=0
show pgark verify damaged.pgark || status=$?
echo "(exit code $status)"
if [ "$status" != 1 ]; then
    echo "demo: verify should have found that" >&2
    exit 1
fi
say "Done. Nothing is left behind."
