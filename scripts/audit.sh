#!/usr/bin/env bash
# Does ringwire touch a byte of payload on its zero-copy paths? Two engines in memory under Valgrind's memcheck,
# which has the payload as memory that nobody may access; a line for each case, those that copy included: there
# it must find something. Where something is wrong, the stacks of what was found follow.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh build audit
cargo build --quiet -p ringwire-bench --bin zero_copy_audit
log=$(mktemp)
trap 'rm -f "$log"' EXIT
audit() {
    valgrind --log-file="$log" --partial-loads-ok=no --error-limit=no --num-callers=20 \
        target/debug/zero_copy_audit "$@"
}
if ! lines=$(audit); then
    echo "$lines"
    name=$(sed -n 's/^FAILED \(.*\) IPv[46] .*/\1/p' <<<"$lines" | head -n 1 | sed 's/ *$//')
    [ -n "$name" ] && audit "$name" >/dev/null || true
    head -n 100 "$log"
    exit 1
fi
echo "$lines"
