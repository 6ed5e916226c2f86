#!/usr/bin/env bash
# Builds the simulator over deliberately broken crates, and fails unless its checkers find each break.
set -euo pipefail
cd "$(dirname "$0")/.."

# Seeds within which a break must be found.
SEEDS=0..20
export RINGWIRE_BROKEN=1

for break in broken-checksum broken-ledger broken-returns broken-loans broken-slots; do
    # A folder of its own: nothing broken stays where other builds would find it.
    cargo build --quiet --target-dir target/broken -p ringwire-sim --features "$break"
    if found=$(target/broken/debug/ringwire-sim --seeds "$SEEDS" 2>&1); then
        echo "simulator: $break was not found in seeds $SEEDS:" >&2
        echo "$found" >&2
        exit 1
    fi
    first=$(grep -m 1 '^seed ' <<<"$found") || {
        echo "simulator: $break broke the simulator itself:" >&2
        echo "$found" >&2
        exit 1
    }
    echo "simulator: $break was found: $first"
done
