#!/usr/bin/env bash
# Everything that is not a test: formatting, lints, documentation, the library by itself, scripts.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/prepare.sh build
step() {
    echo "+ $*"
    "$@"
}

for component in rustfmt clippy; do
    if ! cargo "${component/rust/}" --version >/dev/null 2>&1; then
        step rustup component add "$component"
    fi
done
step cargo fmt --check
step cargo clippy --locked --all-targets -- -D warnings
RUSTDOCFLAGS="-D warnings" step cargo doc --locked --no-deps --document-private-items
# The verifier stands alone: no database, no terminal, nothing async.
step cargo build --locked --no-default-features
step cargo clippy --locked --no-default-features --all-targets -- -D warnings
if command -v shellcheck >/dev/null 2>&1; then
    step shellcheck scripts/*.sh bench/*.sh .ci/run
fi
