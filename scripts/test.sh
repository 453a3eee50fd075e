#!/usr/bin/env bash
# All tests, those on real servers included. Its last line says how many passed and failed.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/prepare.sh build
scripts/servers.sh 14 15 16 17 18

log=$(mktemp "${TMPDIR:-/tmp}/pgark-test.XXXXXX")
trap 'rm -f "$log"' EXIT
status=0
cargo test --locked --no-fail-fast "$@" 2>&1 | tee "$log" || status=$?

# cargo says it once for every test program; this is all of them.
awk '/^test result: / { passed += $4; failed += $6; ignored += $8 }
    END { printf "\n%d passed, %d failed, %d skipped\n", passed, failed, ignored }' "$log"
exit "$status"
