#!/usr/bin/env bash
# Runs every test, sweeps the simulator, and sums up. As root, or where sudo asks for no password, the
# privileged tests run too; else their binaries list them as skipped, with the reason.
set -uo pipefail
cd "$(dirname "$0")/.."

# What two cores sweep in about eight minutes. A number of seeds, not of minutes: it finds the same everywhere.
SWARM=0..20000

# Its instructions are counted by a test, which may run as root: what cargo builds stays the user's.
cargo build --release --quiet -p ringwire-bench --bin instructions || exit 1

log=$(mktemp)
trap 'rm -f "$log"' EXIT

(
    if [ "$(id -u)" -ne 0 ] && command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        # Only the binaries run as root: what cargo builds stays the user's.
        export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="sudo -n -E"
        export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="sudo -n -E"
    fi
    cargo test --workspace --no-fail-fast
) 2>&1 | tee "$log"
status=${PIPESTATUS[0]}

echo
# In the dev profile: arithmetic that overflows is a finding too.
cargo run --quiet -p ringwire-sim -- --seeds "$SWARM" || status=1
scripts/broken.sh || status=1

awk '
    /^test result:/ {
        for (i = 1; i < NF; i++) {
            if ($(i + 1) ~ /^passed/) passed += $i
            if ($(i + 1) ~ /^failed/) failed += $i
            if ($(i + 1) ~ /^ignored/) skipped += $i
        }
    }
    END { printf "\ntests: %d passed, %d failed, %d skipped\n", passed, failed, skipped; exit passed == 0 }
' "$log" || { echo "no test ran" >&2; exit 1; }
exit "$status"
