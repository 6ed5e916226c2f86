#!/usr/bin/env bash
# Builds the raw loop on xsk-rs, which has a workspace of its own, and prints where it is: nothing if it cannot be built.
set -uo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh xsk-rs >&2 || echo "not all that xsk-rs needs can be installed" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if CLANG=clang-14 cargo build --release --locked --manifest-path bench/raw-xsk-rs/Cargo.toml --target-dir target/xsk-rs >"$log" 2>&1; then
    echo "$PWD/target/xsk-rs/release/raw-xsk-rs"
else
    echo "the raw loop on xsk-rs cannot be built, so its rows are skipped:" >&2
    grep -m 5 -E '^error|panicked|Failed|not found' "$log" >&2
fi
