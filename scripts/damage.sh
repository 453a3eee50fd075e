#!/usr/bin/env bash
# Damages backups in many ways and prints who notices: pgark, pg_restore, restic.
#
#   scripts/damage.sh [OPTION...]     (--tries N, --no-peers, --seed N: bench/damage.py --help)
#
# Builds and gets what bench/run.sh says, and restic from Debian's package if it is missing and this is
# root.
set -euo pipefail
cd "$(dirname "$0")/.."

case " $* " in
*' --no-peers '*) ;;
*) scripts/prepare.sh restic ;;
esac
exec bench/run.sh damage.py "$@"
