#!/usr/bin/env bash
# Gets what a benchmark needs, and runs it:
#
#   bench/run.sh SCRIPT [OPTION...]    (SCRIPT: measure.py or damage.py, whose --help lists the options)
#
# Builds the release binary, gets a PostgreSQL server and the images (packages of Debian, into
# .cache/bench; neither needs root). PGARK=FILE takes that binary, PGARK_IMAGES=DIR those images.
set -euo pipefail
cd "$(dirname "$0")/.."

script=$1
shift

major=${PGARK_MAJOR:-17}
scripts/prepare.sh build
scripts/servers.sh "$major"
cache=$(cd "${PGARK_CACHE:-.cache}" && pwd)

# Clip art, photographs and icons: small PNG to large JPEG.
images=${PGARK_IMAGES:-$cache/bench/images}
packages='openclipart-png plasma-workspace-wallpapers mate-backgrounds gnome-backgrounds oxygen-icon-theme'
[ -z "${PGARK_IMAGES:-}" ] || packages=
for package in $packages; do
    [ -e "$images/$package" ] && continue
    echo "getting $package with apt-get download" >&2
    work=$(mktemp -d)
    # apt drops its rights for the download: it must be able to write there.
    chmod 777 "$work"
    (cd "$work" && apt-get download -q "$package" >&2) || {
        echo "run.sh: no $package: on Debian run 'apt-get update'; elsewhere put images into ${images#"$PWD/"}/$package" >&2
        exit 3
    }
    mkdir -p "$images"
    dpkg-deb -x "$work"/*.deb "$work/tree"
    mv "$work/tree" "$images/$package"
    rm -rf "$work"
done

pgark=${PGARK:-}
if [ -z "$pgark" ]; then
    cargo build --release --locked
    pgark=$(cargo metadata --format-version 1 --no-deps --locked |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')/release/pgark
fi
exec python3 "bench/$script" --bin "$cache/postgresql/$major/bin" --images "$images" --pgark "$pgark" "$@"
