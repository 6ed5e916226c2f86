#!/usr/bin/env bash
# Boots a guest with drivers that have zero copy, once for each, and runs ringwire in it (tests/guest). Needs
# neither root nor KVM: QEMU emulates. What is downloaded and made stays in target/zc.
#
#   scripts/zc.sh                all drivers
#   scripts/zc.sh igb            one
#
# Where the guest cannot be had it says "skipped" and why, and succeeds; with ZC_REQUIRED=1 it fails.
set -euo pipefail
cd "$(dirname "$0")/.."

cache=$PWD/target/zc
mkdir -p "$cache"

skip() {
    echo "zero copy: skipped: $1"
    [ -z "${ZC_REQUIRED-}" ] || exit 1
    exit 0
}

missing=$(scripts/zc/packages.sh "$cache") || skip "${missing:-the packages could not be had}"
cargo build --quiet -p ringwire-tests --bin zc-guest -p ringwire-cli --bin ringwire
scripts/zc/image.sh "$cache" target/debug/zc-guest target/debug/ringwire

drivers=("$@")
[ $# -gt 0 ] || drivers=(virtio_net igb)
status=0
for driver in "${drivers[@]}"; do
    scripts/zc/guest.sh "$cache" "$driver" || status=1
done
exit "$status"
