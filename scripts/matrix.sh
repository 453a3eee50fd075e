#!/usr/bin/env bash
# Prints, as Markdown, what comes of restoring from each version of PostgreSQL to the same and newer
# ones. With --write it goes to docs/matrix.md, too. Needs what `make test` needs; takes minutes.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/prepare.sh build >&2
scripts/servers.sh 14 15 16 17 18 >&2
table=$(mktemp "${TMPDIR:-/tmp}/pgark-matrix.XXXXXX")
trap 'rm -f "$table"' EXIT
status=0
PGARK_MATRIX=$table cargo test --locked --test suite fidelity::the_whole_matrix -- --ignored --nocapture >&2 ||
    status=$?

page() {
    echo '# From version to version'
    echo
    echo 'Made by `scripts/matrix.sh --write`, with these servers:'
    echo
    for major in 14 15 16 17 18; do
        echo "- $("${PGARK_CACHE:-.cache}/postgresql/$major/bin/postgres" --version)"
    done
    cat <<'END'

Each cell is one round trip: a database on the older server, `pgark create` there, `pgark restore`
into an empty database of the newer server. "equal" means that all of this holds:

- `pgark restore` read every table, sequence and large object back and found the archive's digests;
  nothing was left to do but what no tool can (statistics of a foreign table that nobody can reach).
- `pgark compare` found no difference.
- On the same version, `pg_dump` of source and target are the same text but for order.
- On a newer version, which writes some of the same objects differently, `pg_dump` of the target is
  the same text, but for order, as of what `pg_dump` and `pg_restore` brought back there.
- Materialized views are filled or not, subscriptions enabled or not, sequences at their values as
  in the source.

Tables are those with rows of their own; entries are those of the compared `pg_dump`s. How the texts
are compared is in `tests/support/dump.rs`; the tests are in `tests/suite/fidelity.rs`, and a part
of the table is made again by every `make test`.

END
    cat "$table"
}

if [ "${1:-}" = --write ]; then page >docs/matrix.md; fi
page
exit "$status"
