#!/usr/bin/env bash
# TCP ping-pong and UDP echo over a veth pair, the servers in turn: ringwire, the kernel's io_uring, and
# (for UDP) a raw AF_XDP loop; TCP in memory beside smoltcp; requests in memory, with and without copies, and multishot receives. Each round runs all three, so a machine that slows down slows all of them: compare the ratios.
# On two cores the load itself is the limit at small sizes: there the CPU time per echo tells more.
#   scripts/bench.sh [ROUNDS] [MILLISECONDS] [WINDOW]
set -uo pipefail
cd "$(dirname "$0")/.."

readonly ROUNDS=${1:-5} MILLISECONDS=${2:-1000} WINDOW=${3:-32}
readonly RING="ringwire-bench-ring-$$" PEER="ringwire-bench-peer-$$" PORT=7777 V4=10.7.0.2
readonly BIN=target/release SIZES="64 512 1400"
work=$(mktemp -d)
server=

cleanup() {
    trap - EXIT INT TERM
    [ -n "$server" ] && kill "$server" 2>/dev/null && wait "$server" 2>/dev/null
    ip netns del "$RING" 2>/dev/null
    ip netns del "$PEER" 2>/dev/null
    rm -rf "$work"
}
trap cleanup EXIT
trap 'cleanup; exit 130' INT TERM
die() { echo "bench: $*" >&2; exit 1; }

ip netns add "$RING" && ip netns add "$PEER" || die "cannot make network namespaces (root?)"
ip -n "$RING" link add rw0 type veth peer name rw1 || die "cannot make a veth pair"
ip -n "$RING" link set rw1 netns "$PEER"
ip -n "$RING" link set rw0 up
ip -n "$PEER" link set rw1 up
ip -n "$PEER" addr add 10.7.0.1/24 dev rw1
# A kernel at the other end of a veth leaves UDP checksums to a device that is not there.
ip netns exec "$PEER" ethtool -K rw1 tx off >/dev/null || die "ethtool failed"
# The raw loop answers no ARP.
mac=$(ip -n "$RING" -br link show rw0 | awk '{print $3}')
ip -n "$PEER" neigh replace "$V4" lladdr "$mac" dev rw1

start() {
    case $1 in
    ringwire) set -- "$BIN/echo" --interface rw0 --address "$V4/24" --port "$PORT" --no-dad ;;
    io_uring)
        ip -n "$RING" addr replace "$V4/24" dev rw0
        set -- "$BIN/echo" --backend kernel --port "$PORT"
        ;;
    raw) set -- "$BIN/raw" rw0 "$V4" ;;
    esac
    ip netns exec "$RING" "$@" >"$work/server" 2>&1 &
    server=$!
    for _ in $(seq 100); do
        grep -q '^listening' "$work/server" && return
        kill -0 "$server" 2>/dev/null || break
        sleep 0.05
    done
    cat "$work/server" >&2
    die "$1 did not start"
}

stop() {
    kill -INT "$server"
    wait "$server" 2>/dev/null
    server=
    ip -n "$RING" addr flush dev rw0 2>/dev/null
}

ticks() { awk '{print $14 + $15}' "/proc/$server/stat"; }

# TCP: ringwire and the kernel's io_uring in turn, 64-byte messages, one outstanding on a connection.
echo "TCP ping-pong over veth, 64 bytes, $ROUNDS rounds of $MILLISECONDS ms each, in turn"
for ((round = 0; round < ROUNDS; round++)); do
    for name in ringwire io_uring; do
        start "$name"
        for connections in 1 64; do
            before=$(ticks)
            read -r rate trips median < <(ip netns exec "$PEER" "$BIN/pingpong" "$V4:$PORT" 64 "$connections" "$MILLISECONDS")
            after=$(ticks)
            [ -n "${rate:-}" ] || die "the load against $name failed"
            echo "$connections $name $round $rate $trips $median $((after - before))" >>"$work/tcp"
        done
        stop
    done
done
awk -v hz="$(getconf CLK_TCK)" '
    function median(values, count,    i, j, t) {
        for (i = 1; i <= count; i++) for (j = i + 1; j <= count; j++)
            if (values[j] < values[i]) { t = values[i]; values[i] = values[j]; values[j] = t }
        return count % 2 ? values[(count + 1) / 2] : (values[count / 2] + values[count / 2 + 1]) / 2
    }
    { rate[$1, $2, $3] = $4; cpu[$1, $2, $3] = $5 ? $7 / hz / $5 * 1e9 : 0; trip[$1, $2, $3] = $6; rounds = $3 + 1 }
    END {
        split("1 64", sizes, " "); split("ringwire io_uring", names, " ")
        printf "%11s %-9s %10s %12s %12s %10s\n", "connections", "server", "ktrips/s", "median us", "CPU ns/trip", "/io_uring"
        for (s = 1; s <= 2; s++) for (n = 1; n <= 2; n++) {
            for (r = 0; r < rounds; r++) {
                v[r + 1] = rate[sizes[s], names[n], r] / 1000
                c[r + 1] = cpu[sizes[s], names[n], r]
                u[r + 1] = trip[sizes[s], names[n], r]
                base = rate[sizes[s], "io_uring", r]
                q[r + 1] = base ? rate[sizes[s], names[n], r] / base : 0
            }
            printf "%11d %-9s %10.1f %12.1f %12.0f %10.2f\n", sizes[s], names[n], median(v, rounds), median(u, rounds), median(c, rounds), median(q, rounds)
        }
    }' "$work/tcp"
echo
"$BIN/memory" "$ROUNDS"
echo
"$BIN/requests" "$ROUNDS"
echo
"$BIN/zero_copy" "$ROUNDS"
echo
"$BIN/scatter" "$ROUNDS"
echo
"$BIN/multishot" "$ROUNDS"
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
    valgrind --tool=callgrind --collect-atstart=no --toggle-collect='multishot::Bed::receive*' \
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
echo

echo "UDP echo over veth, $WINDOW outstanding, $ROUNDS rounds of $MILLISECONDS ms each, in turn"
for ((round = 0; round < ROUNDS; round++)); do
    for name in ringwire io_uring raw; do
        start "$name"
        for size in $SIZES; do
            before=$(ticks)
            read -r rate echoed lost < <(ip netns exec "$PEER" "$BIN/load" "$V4:$PORT" "$size" "$WINDOW" "$MILLISECONDS")
            after=$(ticks)
            [ -n "${rate:-}" ] || die "the load against $name failed"
            echo "$size $name $round $rate $echoed $lost $((after - before))" >>"$work/results"
        done
        stop
    done
done

# Ratios are taken round by round, against io_uring of the same round.
awk -v hz="$(getconf CLK_TCK)" '
    function median(values, count,    i, j, t) {
        for (i = 1; i <= count; i++) for (j = i + 1; j <= count; j++)
            if (values[j] < values[i]) { t = values[i]; values[i] = values[j]; values[j] = t }
        low = values[1]; high = values[count]
        return count % 2 ? values[(count + 1) / 2] : (values[count / 2] + values[count / 2 + 1]) / 2
    }
    { rate[$1, $2, $3] = $4; cpu[$1, $2, $3] = $5 ? $7 / hz / $5 * 1e9 : 0; lost[$1, $2] += $6; rounds = $3 + 1 }
    END {
        split("64 512 1400", sizes, " "); split("ringwire io_uring raw", names, " ")
        printf "%6s %-9s %10s %19s %12s %10s %6s\n", "bytes", "server", "kecho/s", "min - max", "CPU ns/echo", "/io_uring", "lost"
        for (s = 1; s <= 3; s++) for (n = 1; n <= 3; n++) {
            for (r = 0; r < rounds; r++) {
                v[r + 1] = rate[sizes[s], names[n], r] / 1000
                c[r + 1] = cpu[sizes[s], names[n], r]
                base = rate[sizes[s], "io_uring", r]
                q[r + 1] = base ? rate[sizes[s], names[n], r] / base : 0
            }
            m = median(v, rounds); spread = sprintf("%.0f - %.0f", low, high)
            printf "%6d %-9s %10.0f %19s %12.0f %10.2f %6d\n", sizes[s], names[n], m, spread, median(c, rounds), median(q, rounds), lost[sizes[s], names[n]]
        }
    }' "$work/results"
