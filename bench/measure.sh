#!/usr/bin/env bash
# Time, size and peak memory of pgark beside pg_dump and pg_restore, on real images.
#
#   bench/measure.sh [OPTION...]      (make bench; SCALE=0.1 for a tenth)
#
# Builds the release binary, gets a PostgreSQL server and the images (packages of Debian, into
# .cache/bench; neither needs root), and runs bench/measure.py, whose --help lists the options.
set -euo pipefail
cd "$(dirname "$0")/.."

major=${PGARK_MAJOR:-17}
scripts/prepare.sh build
scripts/servers.sh "$major"
cache=$(cd "${PGARK_CACHE:-.cache}" && pwd)

# Clip art, photographs and icons: small PNG to large JPEG.
images=$cache/bench/images
for package in openclipart-png plasma-workspace-wallpapers mate-backgrounds gnome-backgrounds oxygen-icon-theme; do
    [ -e "$images/$package" ] && continue
    echo "getting $package with apt-get download" >&2
    work=$(mktemp -d)
    # apt drops its rights for the download: it must be able to write there.
    chmod 777 "$work"
    (cd "$work" && apt-get download -q "$package" >&2) || {
        echo "measure.sh: no $package: on Debian run 'apt-get update'; elsewhere put images into ${images#"$PWD/"}/$package" >&2
        exit 3
    }
    mkdir -p "$images"
    dpkg-deb -x "$work"/*.deb "$work/tree"
    mv "$work/tree" "$images/$package"
    rm -rf "$work"
done

cargo build --release --locked
pgark=$(cargo metadata --format-version 1 --no-deps --locked |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')/release/pgark
exec python3 "bench/${PGARK_BENCH:-measure.py}" --bin "$cache/postgresql/$major/bin" --images "$images" --pgark "$pgark" "$@"
