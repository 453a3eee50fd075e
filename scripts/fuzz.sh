#!/usr/bin/env bash
# Fuzzes what reads archives: no input may bring a panic, an endless loop, or memory without bound.
#
#   scripts/fuzz.sh [SECONDS] [TARGET...]     (20 s each; all targets of fuzz/targets)
#
# Stable Rust is enough: libFuzzer comes with a crate, the compiler's coverage is switched on by flags.
# The corpus grows in .cache/fuzz; what fails stays in .cache/fuzz/failed and is said. First comes a
# target that must fail: if it does not, nothing that the others say counts.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-20}
shift || true
all=(container manifest index object rows rules verify resealed repair salvage ddl dump)
[ $# -eq 0 ] || all=("$@")
cache=${PGARK_CACHE:-.cache}/fuzz

scripts/prepare.sh build fuzz
host=$(rustc -vV | sed -n 's/^host: //p')
flags='--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4'
flags+=' -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table'
flags+=' -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1'
RUSTFLAGS=$flags cargo build --release --manifest-path fuzz/Cargo.toml --target "$host" --target-dir target/fuzz
bin=target/fuzz/$host/release
mkdir -p "$cache/failed"
# A second for an input is far beyond what any takes; memory is that of the process.
limits=(-timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=512 -dict=fuzz/pgark.dict -artifact_prefix="$cache/failed/")

plant() { # plant TARGET
    mkdir -p "$cache/$1"
    PGARK_SEEDS=$cache/$1 "$bin/$1" -runs=0 >/dev/null 2>&1
}

plant canary
if "$bin/canary" -max_total_time=120 -max_len=64 -timeout=10 -artifact_prefix="$cache/canary-" "$cache/canary" >"$cache/log" 2>&1; then
    echo "fuzz.sh: the canary was not found: the harness does not work" >&2
    exit 1
fi
grep -q 'the canary sings' "$cache/log" || { cat "$cache/log" >&2; exit 1; }
rm -f "$cache"/canary-*
echo 'canary: found, as it must be'

status=0
for target in "${all[@]}"; do
    plant "$target"
    if "$bin/$target" -max_total_time="$seconds" "${limits[@]}" "$cache/$target" >"$cache/log" 2>&1; then
        tries=$(grep -oE '^Done [0-9]+ runs' "$cache/log" | grep -oE '[0-9]+' || echo '?')
        cover=$(grep -oE 'cov: [0-9]+' "$cache/log" | tail -n 1)
        echo "$target: $tries tries in $seconds s, $cover, nothing found"
    else
        status=1
        echo "$target: FAILED; the input is in $cache/failed" >&2
        grep -vE '^#[0-9]+' "$cache/log" | tail -n 40 >&2
    fi
done
exit "$status"
