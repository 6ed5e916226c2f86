#!/usr/bin/env bash
# Instructions of requests in memory, by callgrind: what a figure of time cannot tell apart from the machine's mood.
#   scripts/instructions.sh
set -euo pipefail
cd "$(dirname "$0")/.."

readonly BIN=target/release
# By the difference of two counts: what starting takes is in both.
instructions() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$BIN/requests" "$1" "$2" 2>&1 | awk '/Collected/ { print $4 }'
}
echo "instructions for the same, ringwire (callgrind):"
for kind in nop stream-64 stream-1024 datagram-64 datagram-1024; do
    echo "  $kind $((($(instructions "$kind" 3000) - $(instructions "$kind" 1000)) / 2000))"
done
zero_copy_instructions() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$BIN/zero_copy" "$@" 2>&1 | awk '/Collected/ { print $4 }'
}
echo "instructions for a request that is sent and received, the wire included (callgrind):"
for kind in "udp copy 1400" "udp in-place 1400" "udp scatter 1400" "tcp copy 1400" "tcp in-place 1400" "tcp scatter 1400"; do
    # shellcheck disable=SC2086
    echo "  $kind $((($(zero_copy_instructions $kind 3000) - $(zero_copy_instructions $kind 1000)) / 2000))"
done
receive_instructions() {
    valgrind --tool=callgrind --collect-atstart=no --toggle-collect='ringwire_bench::receiving::Bed::receive*' \
        --callgrind-out-file=/dev/null "$BIN/multishot" "$@" 2>&1 | awk '/Collected/ { print $4 }'
}
echo "instructions to receive a message, the receiver's alone (callgrind):"
for protocol in udp tcp; do
    for bytes in 64 1200; do
        for way in multishot single own lent-multishot lent-single; do
            kind="$protocol $way $bytes"
            # shellcheck disable=SC2086
            echo "  $kind $((($(receive_instructions $kind 3072) - $(receive_instructions $kind 1024)) / 2048))"
        done
    done
done
