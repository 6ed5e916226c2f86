#!/usr/bin/env bash
# Installs what is missing: `scripts/setup.sh build demo bench`. Says so, and does nothing twice.
set -euo pipefail
cd "$(dirname "$0")/.."

declare -A PACKAGES=(
    [build]="gcc pkg-config libelf-dev zlib1g-dev linux-libc-dev iproute2 ethtool"
    [demo]="iputils-ping socat ncat sockperf ethtool curl"
    [audit]="valgrind"
    [bench]="ethtool valgrind"
    [xsk-rs]="clang-14 libclang1-14 m4 libelf-dev zlib1g-dev"
    [tools]="ethtool curl wrk iperf3 nmap"
)

missing=()
for set in "$@"; do
    for package in ${PACKAGES[$set]}; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
done
if [ ${#missing[@]} -eq 0 ]; then
    exit 0
fi
echo "installing: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
scripts/as-root.sh apt-get update -qq
scripts/as-root.sh apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
