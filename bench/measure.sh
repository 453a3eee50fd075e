#!/usr/bin/env bash
# Time, size and peak memory of pgark beside pg_dump and pg_restore, on real images.
#
#   bench/measure.sh [OPTION...]      (make bench; SCALE=0.1 for a tenth; bench/measure.py --help)
#
# What it builds and gets is said in bench/run.sh.
set -euo pipefail
exec "$(dirname "$0")/run.sh" measure.py "$@"
