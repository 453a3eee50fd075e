#!/usr/bin/env bash
# What building and testing needs besides Rust: makes sure it is there.
#
#   scripts/prepare.sh [build] [servers] [fuzz] [restic]
#
# As root on Debian or Ubuntu it installs what is missing, saying so; else it says what to install.
set -euo pipefail

missing=()
need() { # need COMMAND PACKAGE
    command -v "$1" >/dev/null 2>&1 || missing+=("$2")
}

for part in "$@"; do
    case $part in
    build)
        if ! command -v cargo >/dev/null 2>&1 && [ -x "$HOME/.cargo/bin/cargo" ]; then
            echo "prepare.sh: cargo is in ~/.cargo/bin: put that into PATH (. ~/.cargo/env)" >&2
            exit 3
        fi
        if ! command -v cargo >/dev/null 2>&1; then
            echo "prepare.sh: Rust is missing: install the stable toolchain with rustup (1.88 or newer)" >&2
            exit 3
        fi
        # zstd and ring are compiled from C.
        need cc gcc
        need ld binutils
        need make make
        ;;
    servers)
        need python3 python3
        python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip)
        # A server as root runs as another user.
        need setpriv util-linux
        ;;
    restic)
        need restic restic
        ;;
    fuzz)
        # libFuzzer is C++.
        need c++ g++
        ;;
    *)
        echo "prepare.sh: unknown part: $part" >&2
        exit 2
        ;;
    esac
done
if command -v cc >/dev/null 2>&1 && ! echo '#include <stdlib.h>' | cc -E - >/dev/null 2>&1; then
    missing+=(libc6-dev)
fi

[ ${#missing[@]} -gt 0 ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing ${missing[*]} (apt-get)" >&2
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
else
    echo "prepare.sh: not installed: ${missing[*]} (Debian's names for them). Install them, as with" >&2
    echo "    sudo apt-get install ${missing[*]}" >&2
    exit 3
fi
