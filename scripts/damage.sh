#!/usr/bin/env bash
# Damages backups in many ways and prints who notices: pgark, pg_restore, restic.
#
#   scripts/damage.sh [OPTION...]     (--tries N, --no-peers, --seed N: bench/damage.py --help)
#
# Builds the release binary, gets a PostgreSQL server and images as bench/measure.sh does, and restic
# from Debian's package if it is missing and this is root.
set -euo pipefail
cd "$(dirname "$0")/.."

case " $* " in
*' --no-peers '*) ;;
*) scripts/prepare.sh restic ;;
esac
PGARK_BENCH=damage.py exec bench/measure.sh "$@"
